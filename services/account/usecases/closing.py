"""Closing balances of booking days: one pass a day, and as many as were missed."""

from datetime import date, datetime, time, timedelta, tzinfo

from libs.clock import Clock
from services.account.store import Store

ACCOUNTS_PER_PAGE = 500
# A transaction that took its time before midnight commits or is ended by then, and clocks agree so far.
MARGIN = timedelta(minutes=2)
_DAY = timedelta(days=1)


class Closing:
    """Writes down how every account stood when a booking day ended."""

    def __init__(self, store: Store, clock: Clock, *, booking_zone: tzinfo) -> None:
        """A day ends at midnight in the booking zone."""
        self._store = store.closing
        self._clock = clock
        self._zone = booking_zone

    async def close_due_days(self) -> int:
        """Close every day that has ended and is not closed, in order; returns how many. Idempotent."""
        day = await self._next_day()
        count = 0
        while day is not None and self._ended_at(day) + MARGIN <= self._clock.now():
            await self._close(day)
            day += _DAY
            count += 1
        return count

    async def _next_day(self) -> date | None:
        last = await self._store.get_last_closed_day()
        if last is not None:
            return last + _DAY
        first = await self._store.get_first_booking()
        return None if first is None else first.astimezone(self._zone).date()

    def _ended_at(self, day: date) -> datetime:
        return datetime.combine(day + _DAY, time(), self._zone)

    async def _close(self, day: date) -> None:
        # An entry of midnight itself belongs to the new day.
        last_moment = self._ended_at(day) - timedelta(microseconds=1)
        after: str | None = ""
        while after is not None:
            after = await self._store.close_accounts(
                day, last_moment, after=after, limit=ACCOUNTS_PER_PAGE
            )
        await self._store.insert_closed_day(day, self._ended_at(day), self._clock.now())
