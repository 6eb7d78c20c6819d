"""Items, fee plans, channels, and requests already made."""

import operator
from collections.abc import Collection, Mapping, Sequence
from datetime import date, datetime
from pathlib import Path
from typing import Final
from zoneinfo import ZoneInfo

import asyncpg

from libs.db import queries
from libs.db.pool import Connection
from services.clearing.domain import errors
from services.clearing.domain.fees import PaidFee
from services.clearing.domain.model import Channel, FeePlan, Item, ItemKind, MatchState

_ITEM_COLUMNS: Final = (
    "subject_id",
    "kind",
    "merchant_id",
    "channel_id",
    "out_ref",
    "provider_ref",
    "currency",
    "amount_minor",
    "payment_id",
    "merchant_fee_minor",
    "fee_refundable",
    "plan_ref",
    "business_date",
    "occurred_at",
    "settles",
)
_AS_RECORD: Final = operator.attrgetter(*_ITEM_COLUMNS)
_SQL: Final = queries.load(Path(__file__).with_suffix(".sql"))


async def known_subjects(connection: Connection, subject_ids: Collection[str]) -> set[str]:
    """Those of the subjects that are items already."""
    rows = await connection.fetch(_SQL["known_subjects"], list(subject_ids))
    return {row["subject_id"] for row in rows}


async def insert_items(connection: Connection, items: Collection[Item]) -> None:
    """Write items that are not known yet, in the order of their ids.

    Their consumer's cursor is locked by this transaction, so that nobody else writes them meanwhile.
    """
    ordered = sorted(items, key=lambda item: item.subject_id)
    await connection.copy_records_to_table(
        "item",
        columns=(*_ITEM_COLUMNS, "bill_date"),
        records=[(*_AS_RECORD(item), item.business_date) for item in ordered],
    )


async def paid_fees(connection: Connection, payment_ids: Collection[str]) -> dict[str, PaidFee]:
    """What these payments cost and how much of them went back, by payment."""
    rows = await connection.fetch(_SQL["paid_fees"], list(payment_ids))
    return {
        row["payment_id"]: PaidFee(
            amount_minor=row["amount_minor"],
            fee_minor=row["merchant_fee_minor"],
            fee_refundable=row["fee_refundable"],
            refunded_minor=row["refunded_minor"],
        )
        for row in rows
    }


async def list_items(
    connection: Connection, *, day: date | None, merchant_id: str, after: str, limit: int
) -> list[Item]:
    """Items by id; no day and an empty merchant mean any."""
    rows = await connection.fetch(_SQL["list_items"], day, merchant_id, after, limit)
    return [_item(row) for row in rows]


async def plans_of(connection: Connection, merchant_ids: Collection[str]) -> list[FeePlan]:
    """Every plan of these merchants, the latest version of each day."""
    rows = await connection.fetch(_SQL["plans_of"], list(merchant_ids))
    return [_plan(row) for row in rows]


async def get_plan(connection: Connection, plan_id: str) -> FeePlan:
    """One plan, which must exist."""
    (row,) = await connection.fetch(_SQL["get_plan"], plan_id)
    return _plan(row)


async def list_plans(
    connection: Connection, *, merchant_id: str, after: tuple[str, date], limit: int
) -> list[FeePlan]:
    """Current plans by merchant and day."""
    rows = await connection.fetch(_SQL["list_plans"], merchant_id, *after, limit)
    return [_plan(row) for row in rows]


async def insert_plan(connection: Connection, plan: FeePlan, now: datetime) -> None:
    """Write a plan as the next version of its merchant and day."""
    await connection.execute(
        _SQL["insert_plan"],
        plan.plan_id,
        plan.merchant_id,
        plan.effective_from,
        plan.rate_ppm,
        plan.fixed_minor,
        plan.payout_fixed_minor,
        plan.fee_refundable,
        plan.settle_delay_days,
        now,
    )


async def put_channels(connection: Connection, channels: Sequence[Channel]) -> None:
    """Remember what the router says."""
    await connection.execute(
        _SQL["put_channels"],
        [channel.channel_id for channel in channels],
        [channel.provider for channel in channels],
        [channel.zone.key for channel in channels],
        [channel.cut_off for channel in channels],
    )


async def channels(
    connection: Connection, channel_ids: Collection[str] | None = None
) -> Mapping[str, Channel]:
    """Known channels by id; all of them by default."""
    wanted = None if channel_ids is None else list(channel_ids)
    rows = await connection.fetch(_SQL["channels"], wanted)
    return {
        row["channel_id"]: Channel(
            channel_id=row["channel_id"],
            provider=row["provider"],
            zone=ZoneInfo(row["zone"]),
            cut_off=row["cut_off"],
        )
        for row in rows
    }


async def channels_of_day(connection: Connection, day: date) -> list[str]:
    """Channels that have a bill to be asked for: known to the router, or with items of the day."""
    return [row["channel_id"] for row in await connection.fetch(_SQL["channels_of_day"], day)]


async def claim_request(
    connection: Connection, request_id: str, fingerprint: str, resource_id: str, now: datetime
) -> str | None:
    """None if the request is new and is now ours to do, else the resource it made before.

    Waits for a concurrent holder of the id. Raises RequestIdReused if it was another request.
    """
    is_new = await connection.fetchval(
        _SQL["claim_request"], request_id, fingerprint, resource_id, now
    )
    if is_new:
        return None
    (row,) = await connection.fetch(_SQL["get_request"], request_id)
    if row["fingerprint"] != fingerprint:
        raise errors.RequestIdReused(field="request_id")
    made: str = row["resource_id"]
    return made


def _item(row: asyncpg.Record) -> Item:
    return Item(
        subject_id=row["subject_id"],
        kind=ItemKind(row["kind"]),
        merchant_id=row["merchant_id"],
        channel_id=row["channel_id"],
        out_ref=row["out_ref"],
        provider_ref=row["provider_ref"],
        currency=row["currency"],
        amount_minor=row["amount_minor"],
        payment_id=row["payment_id"],
        merchant_fee_minor=row["merchant_fee_minor"],
        fee_refundable=row["fee_refundable"],
        plan_ref=row["plan_ref"],
        business_date=row["business_date"],
        occurred_at=row["occurred_at"],
        settles=row["settles"],
        match_state=MatchState(row["match_state"]),
        batch_id=row["batch_id"] or "",
    )


def _plan(row: asyncpg.Record) -> FeePlan:
    return FeePlan(
        plan_id=row["plan_id"],
        merchant_id=row["merchant_id"],
        rate_ppm=row["rate_ppm"],
        fixed_minor=row["fixed_minor"],
        payout_fixed_minor=row["payout_fixed_minor"],
        fee_refundable=row["fee_refundable"],
        effective_from=row["effective_from"],
        settle_delay_days=row["settle_delay_days"],
    )
