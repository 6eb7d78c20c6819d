"""Books of ours and of a channel, with faults planted between them."""

import random
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime

from services.clearing.domain.bills.model import BillLine, LineStatus
from services.clearing.domain.model import DifferenceKind, Item, ItemKind

HALF = 0.5
DAY = date(2026, 3, 2)
NOON = datetime(2026, 3, 2, 4, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Book:
    """Both sides, and what was planted, by (kind, out_ref)."""

    items: list[Item]
    lines: list[BillLine]
    planted: dict[tuple[ItemKind, str], DifferenceKind]


def make_item(number: int, *, kind: ItemKind = ItemKind.PAYMENT, amount_minor: int = 1_000) -> Item:
    """An item of the day."""
    return Item(
        subject_id=f"{kind.lower()}_{number:06}",
        kind=kind,
        merchant_id="mer_1",
        channel_id="sim-a",
        out_ref=f"out{number:06}",
        provider_ref=f"prov{number}",
        currency="CNY",
        amount_minor=amount_minor,
        payment_id="",
        merchant_fee_minor=0,
        fee_refundable=True,
        plan_ref="default",
        business_date=DAY,
        occurred_at=NOON,
    )


def line_of(
    item: Item,
    *,
    line_number: int = 2,
    amount_minor: int | None = None,
    status: LineStatus = LineStatus.SUCCEEDED,
) -> BillLine:
    """What the channel writes of an item when all is well."""
    return BillLine(
        line_number=line_number,
        kind=item.kind,
        out_ref=item.out_ref,
        provider_ref=item.provider_ref,
        currency=item.currency,
        amount_minor=item.amount_minor if amount_minor is None else amount_minor,
        fee_e4=0,
        status=status,
        occurred_at=item.occurred_at,
    )


def random_book(rng: random.Random, items_max: int = 12) -> Book:
    """Some items; a part of them has a fault in the bill."""
    items: list[Item] = []
    lines: list[BillLine] = []
    planted: dict[tuple[ItemKind, str], DifferenceKind] = {}
    for number in range(rng.randint(0, items_max)):
        kind = rng.choice(list(ItemKind))
        item = make_item(number, kind=kind, amount_minor=rng.randint(1, 10**9))
        line = line_of(item, line_number=2 + 2 * number)
        fault = rng.choice([None, *DifferenceKind])
        if fault is not None:
            planted[kind, item.out_ref] = fault
        match fault:
            case DifferenceKind.SHORT:
                items.append(item)
                continue
            case DifferenceKind.LONG:
                lines.append(line)
                continue
            case DifferenceKind.DUPLICATE if rng.random() < HALF:
                items.append(replace(item, subject_id=f"{item.subject_id}_again"))
            case DifferenceKind.DUPLICATE:
                lines.append(replace(line, line_number=line.line_number + 1))
            case DifferenceKind.AMOUNT:
                line = replace(line, amount_minor=line.amount_minor + rng.randint(1, 99))
            case DifferenceKind.STATUS:
                status = rng.choice([LineStatus.PROCESSING, LineStatus.REVOKED, LineStatus.FAILED])
                line = replace(line, status=status)
            case DifferenceKind.CURRENCY:
                line = replace(line, currency="USD")
        items.append(item)
        lines.append(line)
    for number in range(rng.randint(0, 2)):
        unknown = make_item(900_000 + number, kind=ItemKind.REFUND)
        status = rng.choice([LineStatus.PROCESSING, LineStatus.REVOKED, LineStatus.FAILED])
        lines.append(line_of(unknown, line_number=900_000 + number, status=status))
    return Book(items, lines, planted)
