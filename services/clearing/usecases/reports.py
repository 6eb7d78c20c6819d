"""The report of a day."""

from datetime import date

from libs.db.pool import Pool
from services.clearing.domain.model import DayReport
from services.clearing.store import reports as store

_NO_DAY = DayReport(
    business_date=date.min,
    channels=(),
    payments_count=0,
    refunds_count=0,
    payouts_count=0,
    matched_count=0,
    differences_count=0,
    differences_open_count=0,
    batches=(),
    vouchers_count=0,
    closed=False,
)


class Reports:
    """Sums days up."""

    def __init__(self, pool: Pool) -> None:
        """Reads only."""
        self._pool = pool

    async def is_ready(self) -> bool:
        """Whether the database answers; raises what the driver raises if not."""
        return await self._pool.fetchval("SELECT true") is True

    async def day_report(self, day: date | None) -> DayReport:
        """The report of a day, by default of the latest that has items; zeros for one without any.

        While there is no item at all its day is date.min.
        """
        async with (
            self._pool.acquire() as connection,
            connection.transaction(isolation="repeatable_read", readonly=True),
        ):
            day = day or await store.latest_day(connection)
            return _NO_DAY if day is None else await store.day_report(connection, day)
