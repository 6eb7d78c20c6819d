"""Batches, vouchers and channel fees."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from pathlib import Path
from typing import Final

import asyncpg

from libs.db import queries
from libs.db.pool import Connection
from services.clearing.domain import settling
from services.clearing.domain.model import Batch, BatchState, ChannelFee, ItemKind
from services.clearing.domain.vouchers import Draft, Flow, Voucher, VoucherLine

_SQL: Final = queries.load(Path(__file__).with_suffix(".sql"))


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class Group:
    """Items that become one batch."""

    business_date: date
    merchant_id: str
    currency: str


async def settleable(connection: Connection, until: date) -> list[Group]:
    """The batches that items of days up to `until` can make now."""
    rows = await connection.fetch(_SQL["settleable"], until)
    return [
        Group(
            business_date=row["business_date"],
            merchant_id=row["merchant_id"],
            currency=row["currency"],
        )
        for row in rows
    ]


async def make_batch(
    connection: Connection,
    batch_id: str,
    group: Group,
    *,
    settle_date: date,
    due_at: datetime,
    now: datetime,
) -> Batch | None:
    """Take the group's items into a batch; None if someone else took them."""
    row = await connection.fetchrow(
        _SQL["make_batch"],
        batch_id,
        group.merchant_id,
        group.currency,
        group.business_date,
        settle_date,
        now,
        due_at,
        settling.FLOW_VERSION,
    )
    return None if row is None else batch_of(row)


async def get_batches(connection: Connection, batch_ids: Collection[str]) -> list[Batch]:
    """These batches as they stand, by id."""
    rows = await connection.fetch(_SQL["get_batches"], list(batch_ids))
    return [batch_of(row) for row in rows]


async def list_batches(
    connection: Connection, *, day: date | None, merchant_id: str, after: str, limit: int
) -> list[Batch]:
    """Batches by id; no day and an empty merchant mean any."""
    rows = await connection.fetch(_SQL["list_batches"], day, merchant_id, after, limit)
    return [batch_of(row) for row in rows]


async def computed_fees(connection: Connection, limit: int) -> list[ChannelFee]:
    """Channel fees not booked yet."""
    rows = await connection.fetch(_SQL["computed_fees"], limit)
    return [
        ChannelFee(
            channel_id=row["channel_id"],
            business_date=row["business_date"],
            currency=row["currency"],
            fee_e4=row["fee_e4"],
            booked_minor=row["booked_minor"],
        )
        for row in rows
    ]


async def mark_fee_booked(connection: Connection, fee: ChannelFee) -> bool:
    """Mark a fee booked; False if it was."""
    marked = await connection.fetchval(
        _SQL["mark_fee_booked"], fee.channel_id, fee.business_date, fee.currency
    )
    return marked is True


async def unvouchered_flows(
    connection: Connection, day: date
) -> list[tuple[str, ItemKind, str, bool]]:
    """Channel, kind, currency and whether it settles, of the day's items that are in no voucher yet."""
    rows = await connection.fetch(_SQL["unvouchered_flows"], day)
    return [
        (row["channel_id"], ItemKind(row["kind"]), row["currency"], row["settles"]) for row in rows
    ]


async def take_flow(
    connection: Connection,
    voucher_id: str,
    day: date,
    *,
    channel_id: str,
    kind: ItemKind,
    currency: str,
    settles: bool,
) -> Flow:
    """Put the flow's items into a voucher that is written in the same transaction."""
    row = await connection.fetchrow(
        _SQL["take_flow"], voucher_id, day, channel_id, kind, currency, settles
    )
    return Flow(
        channel_id=channel_id,
        business_date=day,
        kind=kind,
        currency=currency,
        settles=settles,
        amount_minor=row["amount_minor"] if row else 0,
        items_count=row["items_count"] if row else 0,
    )


async def count_vouchers_of(connection: Connection, source: str) -> int:
    """Vouchers made from a source so far, the later ones included."""
    count: int = await connection.fetchval(_SQL["count_vouchers_of"], source)
    return count


async def insert_voucher(
    connection: Connection, voucher_id: str, draft: Draft, now: datetime
) -> None:
    """Write a voucher; its source makes it once. The database refuses one that does not balance."""
    is_new = await connection.fetchval(
        _SQL["insert_voucher"],
        voucher_id,
        draft.voucher_date,
        draft.currency,
        draft.summary,
        draft.source,
        now,
    )
    if not is_new:
        return
    await connection.execute(
        _SQL["insert_voucher_lines"],
        voucher_id,
        [line.subject_code for line in draft.lines],
        [line.summary for line in draft.lines],
        [line.debit_minor for line in draft.lines],
        [line.credit_minor for line in draft.lines],
    )


async def list_vouchers(
    connection: Connection, *, day: date | None, after: str, limit: int
) -> Sequence[Voucher]:
    """Vouchers with their lines, by id."""
    rows = await connection.fetch(_SQL["list_vouchers"], day, after, limit)
    return [
        Voucher(
            voucher_id=row["voucher_id"],
            voucher_date=row["voucher_date"],
            currency=row["currency"],
            summary=row["summary"],
            source=row["source"],
            lines=[
                VoucherLine(
                    subject_code=subject_code,
                    summary=summary,
                    debit_minor=debit_minor,
                    credit_minor=credit_minor,
                )
                for subject_code, summary, debit_minor, credit_minor in row["lines"]
            ],
        )
        for row in rows
    ]


def batch_of(row: asyncpg.Record) -> Batch:
    """The batch of a row."""
    return Batch(**dict(row) | {"state": BatchState(row["state"])})
