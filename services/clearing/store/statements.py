"""Bills, and how far each day's has come."""

from collections.abc import Mapping, Sequence
from datetime import date, datetime
from pathlib import Path
from typing import Final

from libs.db import queries
from libs.db.pool import Connection
from services.clearing.domain import settlement
from services.clearing.domain.bills.model import BillLine, LineStatus
from services.clearing.domain.model import ChannelDay, ItemKind, Statement, StatementState

# One statement of this many rows stays well inside the statement timeout.
LINES_PER_INSERT_MAX: Final = 20_000
_SQL: Final = queries.load(Path(__file__).with_suffix(".sql"))


async def channel_days(
    connection: Connection, day: date, channel_id: str | None = None
) -> list[ChannelDay]:
    """How far the bills of a day have come, for all channels asked so far or for one."""
    rows = await connection.fetch(_SQL["channel_days"], day, channel_id)
    return [
        ChannelDay(
            channel_id=row["channel_id"],
            business_date=row["business_date"],
            state=StatementState(row["state"]),
            reason=row["reason"],
            statement_id=row["statement_id"] or "",
            lines_count=row["lines_count"],
        )
        for row in rows
    ]


async def put_channel_day(connection: Connection, channel_day: ChannelDay, now: datetime) -> None:
    """Remember how far a bill has come; an accepted one stays accepted."""
    await connection.execute(
        _SQL["put_channel_day"],
        channel_day.channel_id,
        channel_day.business_date,
        channel_day.state,
        channel_day.reason,
        channel_day.statement_id or None,
        channel_day.lines_count,
        now,
    )


async def insert_statement(
    connection: Connection,
    statement: Statement,
    *,
    provider: str,
    checked_hash: str,
    content: bytes,
) -> tuple[str, bool]:
    """Keep a file; return its id, and whether it is new.

    The same file with the same verdict is kept once. The id is empty if meanwhile another file was
    accepted for the day.
    """
    statement_id = await connection.fetchval(
        _SQL["insert_statement"],
        statement.statement_id,
        statement.channel_id,
        statement.business_date,
        provider,
        checked_hash,
        statement.sha256,
        statement.size_bytes,
        content,
        statement.state,
        statement.reason,
        statement.lines_count,
        statement.fetched_at,
    )
    if statement_id is not None:
        return statement.statement_id, True
    same = await connection.fetchval(
        _SQL["same_statement"],
        statement.channel_id,
        statement.business_date,
        statement.sha256,
        statement.state,
        statement.reason,
    )
    return same or "", False


async def insert_lines(
    connection: Connection, statement_id: str, lines: Sequence[BillLine]
) -> None:
    """Write the lines of a new statement."""
    for start in range(0, len(lines), LINES_PER_INSERT_MAX):
        part = lines[start : start + LINES_PER_INSERT_MAX]
        await connection.execute(
            _SQL["insert_lines"],
            statement_id,
            [line.line_number for line in part],
            [line.kind for line in part],
            [line.out_ref for line in part],
            [line.provider_ref for line in part],
            [line.currency for line in part],
            [line.amount_minor for line in part],
            [line.fee_e4 for line in part],
            [line.status for line in part],
            [line.occurred_at for line in part],
        )


async def insert_channel_fees(
    connection: Connection, channel_id: str, day: date, fees_e4: Mapping[str, int]
) -> None:
    """Write what a channel took for a day, by currency; once, with its accepted bill."""
    for currency, fee_e4 in sorted(fees_e4.items()):
        await connection.execute(
            _SQL["insert_channel_fee"],
            channel_id,
            day,
            currency,
            fee_e4,
            settlement.booked_minor(fee_e4),
        )


async def list_statements(
    connection: Connection, *, day: date | None, after: str, limit: int
) -> list[Statement]:
    """Statements by id, oldest first, without their content."""
    rows = await connection.fetch(_SQL["list_statements"], day, after, limit)
    return [
        Statement(
            statement_id=row["statement_id"],
            channel_id=row["channel_id"],
            business_date=row["business_date"],
            sha256=row["sha256"],
            size_bytes=row["size_bytes"],
            state=StatementState(row["state"]),
            reason=row["reason"],
            lines_count=row["lines_count"],
            fetched_at=row["fetched_at"],
        )
        for row in rows
    ]


async def days_to_tell(
    connection: Connection, channel_id: str, day: date, limit: int
) -> list[date]:
    """The day, if its bill is accepted, and earlier accepted ones never told of; in order."""
    rows = await connection.fetch(_SQL["days_to_tell"], channel_id, day, limit)
    return sorted(row["business_date"] for row in rows)


async def unexplained_lines(
    connection: Connection,
    channel_id: str,
    day: date,
    *,
    drift_days: int,
    after_line: int,
    limit: int,
) -> list[BillLine]:
    """Lines of the accepted bill that succeeded and that no item stands for, by number."""
    rows = await connection.fetch(
        _SQL["unexplained_lines"], channel_id, day, drift_days, after_line, limit
    )
    return [
        BillLine(**dict(row) | {"kind": ItemKind(row["kind"]), "status": LineStatus(row["status"])})
        for row in rows
    ]


async def mark_told(connection: Connection, channel_id: str, day: date, now: datetime) -> None:
    """Remember that the gateway was told of this bill."""
    await connection.execute(_SQL["mark_told"], channel_id, day, now)
