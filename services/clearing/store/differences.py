"""Matching in the database, and the differences it finds."""

from collections.abc import Collection, Sequence
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Final

import asyncpg

from libs.db import queries
from libs.db.pool import Connection
from services.clearing.domain import errors
from services.clearing.domain.matching import Finding
from services.clearing.domain.model import (
    Difference,
    DifferenceKind,
    DifferenceState,
    ItemKind,
)

_SQL: Final = queries.load(Path(__file__).with_name("statements.sql"))


async def adopt_drifted(
    connection: Connection, channel_id: str, day: date, *, days: int
) -> list[date]:
    """Move items to the neighbouring day's bill that has them; the days to be matched again.

    The channel's days within reach stay locked until the transaction ends.
    """
    reach = timedelta(days=days)
    await connection.fetch(_SQL["lock_channel_days"], channel_id, day - reach, day + reach)
    rows = await connection.fetch(_SQL["adopt_drifted"], channel_id, day - reach, day + reach, days)
    return [row["day"] for row in rows]


async def match_day(connection: Connection, channel_id: str, day: date) -> list[Finding] | None:
    """Mark the items of a bill and return what does not agree; None without an accepted bill."""
    statement_id = await connection.fetchval(_SQL["accepted_statement"], channel_id, day)
    if statement_id is None:
        return None
    rows = await connection.fetch(_SQL["match_day"], channel_id, day, statement_id)
    return [_finding(row) for row in rows]


async def count_matched(connection: Connection, channel_id: str, day: date) -> int:
    """Items that agree with that day's bill."""
    count: int = await connection.fetchval(_SQL["count_matched"], channel_id, day)
    return count


async def insert_differences(
    connection: Connection, differences: Sequence[Difference]
) -> list[Difference]:
    """Open differences of one channel and day; return those that are new."""
    if not differences:
        return []
    first = differences[0]
    rows = await connection.fetch(
        _SQL["insert_differences"],
        first.channel_id,
        first.business_date,
        first.opened_at,
        [each.difference_id for each in differences],
        [each.kind for each in differences],
        [each.item_kind for each in differences],
        [each.out_ref for each in differences],
        [each.subject_id for each in differences],
        [each.merchant_id for each in differences],
        [each.our_currency for each in differences],
        [each.our_amount_minor for each in differences],
        [each.channel_currency for each in differences],
        [each.channel_amount_minor for each in differences],
        [each.line_number for each in differences],
        [each.detail for each in differences],
    )
    return [_difference(row) for row in rows]


async def resolve_vanished(
    connection: Connection,
    channel_id: str,
    day: date,
    still_found: Collection[Finding],
    *,
    actor: str,
    note: str,
    now: datetime,
) -> list[Difference]:
    """Resolve open differences of a channel and day that are not found any more."""
    rows = await connection.fetch(
        _SQL["resolve_vanished"],
        channel_id,
        day,
        [each.kind for each in still_found],
        [each.item_kind for each in still_found],
        [each.out_ref for each in still_found],
        actor,
        note,
        now,
    )
    return [_difference(row) for row in rows]


async def list_differences(
    connection: Connection,
    *,
    day: date | None,
    state: DifferenceState | None,
    after: str,
    limit: int,
) -> list[Difference]:
    """Differences by id, oldest first."""
    rows = await connection.fetch(_SQL["list_differences"], day, state, after, limit)
    return [_difference(row) for row in rows]


async def get_difference(connection: Connection, difference_id: str) -> Difference:
    """One difference, or DifferenceNotFound."""
    row = await connection.fetchrow(_SQL["get_difference"], difference_id)
    if row is None:
        raise errors.DifferenceNotFound(field="difference_id")
    return _difference(row)


async def resolve_difference(
    connection: Connection, difference_id: str, *, actor: str, note: str, now: datetime
) -> Difference:
    """Close an open difference. Raises DifferenceNotFound, DifferenceResolved."""
    row = await connection.fetchrow(_SQL["resolve_difference"], difference_id, actor, note, now)
    if row is None:
        await get_difference(connection, difference_id)
        raise errors.DifferenceResolved(field="difference_id")
    return _difference(row)


def _finding(row: asyncpg.Record) -> Finding:
    return Finding(
        kind=DifferenceKind(row["class"]),
        item_kind=ItemKind(row["kind"]),
        out_ref=row["out_ref"],
        subject_id=row["subject_id"] or "",
        merchant_id=row["merchant_id"] or "",
        our_currency=row["our_currency"] or "",
        our_amount_minor=row["our_amount_minor"] or 0,
        channel_currency=row["channel_currency"] or "",
        channel_amount_minor=row["channel_amount_minor"] or 0,
        line_number=row["line_number"] or 0,
        channel_status=row["channel_status"] or "",
        items_count=row["items_count"] or 0,
        lines_count=row["lines_count"] or 0,
    )


def _difference(row: asyncpg.Record) -> Difference:
    return Difference(
        difference_id=row["difference_id"],
        kind=DifferenceKind(row["kind"]),
        channel_id=row["channel_id"],
        business_date=row["business_date"],
        item_kind=ItemKind(row["item_kind"]),
        out_ref=row["out_ref"],
        subject_id=row["subject_id"],
        merchant_id=row["merchant_id"],
        our_currency=row["our_currency"],
        our_amount_minor=row["our_amount_minor"],
        channel_currency=row["channel_currency"],
        channel_amount_minor=row["channel_amount_minor"],
        line_number=row["line_number"],
        detail=row["detail"],
        opened_at=row["opened_at"],
        state=DifferenceState(row["state"]),
        note=row["note"],
        resolved_by=row["resolved_by"],
        resolved_at=row["resolved_at"],
    )
