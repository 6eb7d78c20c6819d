"""Bank statements say what moved on an account, not what was ordered: from movements to lines.

What carries a number of ours is a payout, or one that came back. The bank's charges are fees, of a payout where they
name one. Everything else is kept as a line under the bank's own number: money that nobody here ordered.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final

from services.clearing.domain.bills import model
from services.clearing.domain.bills.model import Bill, BillLine, LineStatus
from services.clearing.domain.model import ItemKind

FOREIGN: Final = "bank:"
"""What the reference of a movement begins with that carries none of ours."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Movement:
    """One booked amount. `reference` is the payer's own, "" where the bank names none.

    Money that comes in may carry a stranger's: it is ours only when the bank says that it `is_return`.
    """

    line_number: int
    reference: str
    bank_reference: str
    currency: str
    amount_minor: int
    is_credit: bool
    is_charge: bool
    is_return: bool
    booked_at: datetime


def bill(movements: Iterable[Movement]) -> Bill:
    """The lines, each with its charges. Raises BillRejected."""
    lines: list[BillLine] = []
    charges: list[Movement] = []
    for each in movements:
        if each.is_charge:
            charges.append(each)
        else:
            lines.append(_line(each))
    places = {
        line.out_ref: index for index, line in enumerate(lines) if line.kind is ItemKind.PAYOUT
    }
    account_fees_e4: dict[str, int] = {}
    for charge in charges:
        fee_e4 = charge.amount_minor * model.FEE_SCALE * (-1 if charge.is_credit else 1)
        place = places.get(charge.reference)
        if place is not None and lines[place].currency == charge.currency:
            lines[place] = replace(lines[place], fee_e4=lines[place].fee_e4 + fee_e4)
        else:
            account_fees_e4[charge.currency] = account_fees_e4.get(charge.currency, 0) + fee_e4
    return Bill(tuple(model.check_line(line) for line in lines), account_fees_e4)


def _line(movement: Movement) -> BillLine:
    if movement.reference and (movement.is_return or not movement.is_credit):
        kind = ItemKind.PAYOUT_RETURN if movement.is_credit else ItemKind.PAYOUT
        out_ref = movement.reference
    else:
        kind = ItemKind.PAYMENT if movement.is_credit else ItemKind.PAYOUT
        out_ref = f"{FOREIGN}{movement.bank_reference or movement.line_number}"
    return BillLine(
        line_number=movement.line_number,
        kind=kind,
        out_ref=out_ref,
        provider_ref=movement.bank_reference,
        currency=movement.currency,
        amount_minor=movement.amount_minor,
        fee_e4=0,
        status=LineStatus.SUCCEEDED,
        occurred_at=movement.booked_at,
    )


def check_balances(
    opening: Mapping[str, int], closing: Mapping[str, int], movements: Iterable[Movement]
) -> None:
    """Raise BillRejected unless what stood there and what moved come to what stands there, by currency."""
    moved: dict[str, list[int]] = {currency: [] for currency in closing}
    for each in movements:
        signed = each.amount_minor if each.is_credit else -each.amount_minor
        moved.setdefault(each.currency, []).append(signed)
    for currency, amounts in moved.items():
        difference = closing.get(currency, 0) - opening.get(currency, 0)
        model.check_total(f"the balance in {currency}", difference, amounts)
