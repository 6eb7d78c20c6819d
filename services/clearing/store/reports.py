"""The figures of a day, and whether it is closed."""

from datetime import date, datetime
from pathlib import Path
from typing import Final

from libs.db import queries
from libs.db.pool import Connection
from services.clearing.domain.model import ChannelReport, DayReport
from services.clearing.store import settlement

BATCHES_MAX: Final = 10_000
_SQL: Final = queries.load(Path(__file__).with_name("settlement.sql"))


async def begin_closing(connection: Connection, day: date, now: datetime) -> None:
    """Remember that a close of the day was begun."""
    await connection.execute(_SQL["begin_closing"], day, now)


async def finish_closing(connection: Connection, day: date, now: datetime) -> bool:
    """Remember that the day is closed; False if that was known."""
    return await connection.fetchval(_SQL["finish_closing"], day, now) is True


async def unfinished_days(connection: Connection) -> list[date]:
    """Days whose close was begun and that were not closed when last looked at."""
    return [row["business_date"] for row in await connection.fetch(_SQL["unfinished_days"])]


async def latest_day(connection: Connection) -> date | None:
    """The latest day that has items."""
    day: date | None = await connection.fetchval(_SQL["latest_day"])
    return day


async def day_report(connection: Connection, day: date) -> DayReport:
    """Sum a day up; call it in one snapshot."""
    channels = await connection.fetch(_SQL["report_channels"], day)
    (counts,) = await connection.fetch(_SQL["report_counts"], day)
    batches = await settlement.list_batches(
        connection, day=day, merchant_id="", after="", limit=BATCHES_MAX
    )
    return DayReport(
        business_date=day,
        channels=[ChannelReport(**dict(row)) for row in channels],
        batches=batches,
        closed=await connection.fetchval(_SQL["is_closed"], day),
        **dict(counts),
    )
