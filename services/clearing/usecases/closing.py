"""Closing a business day: everything that is missing is done, what was done stays."""

from collections.abc import AsyncIterator, Collection
from dataclasses import dataclass
from datetime import date

from libs.clock import Clock
from libs.db.pool import Pool
from libs.errors import FiscError
from libs.events import log as event_log
from services.clearing.domain.model import ChannelDay, DayReport, Told
from services.clearing.store import items as item_store
from services.clearing.store import reports as store
from services.clearing.usecases.events import Events
from services.clearing.usecases.items import Items
from services.clearing.usecases.matching import Matched, Matching
from services.clearing.usecases.ports import Feed
from services.clearing.usecases.reports import Reports
from services.clearing.usecases.settlement import Booking, Settlement
from services.clearing.usecases.statements import Statements
from services.clearing.usecases.telling import Telling


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """One step done; `report` only in the last."""

    text: str
    channel_id: str = ""
    report: DayReport | None = None


class Closing:
    """Closes days. Two closes at once do no harm: every step is done once."""

    def __init__(
        self,
        *,
        pool: Pool,
        feed: Feed,
        items: Items,
        statements: Statements,
        matching: Matching,
        settlement: Settlement,
        telling: Telling,
        reports: Reports,
        events: Events,
        clock: Clock,
    ) -> None:
        """Composes the steps."""
        self._pool = pool
        self._feed = feed
        self._items = items
        self._statements = statements
        self._matching = matching
        self._settlement = settlement
        self._telling = telling
        self._reports = reports
        self._events = events
        self._clock = clock

    async def close_day(self, day: date) -> AsyncIterator[Progress]:
        """Close a day step by step. Raises FiscError if gateway or account cannot be asked.

        Broken off at any step, it is simply run again. A bill that is not in, or is rejected, is a
        progress message and leaves the day open.
        """
        try:
            count = await self._items.refresh_channels()
            yield Progress(text=f"router knows {count} channels")
        except FiscError as error:
            yield Progress(text=f"router not reached ({error.reason}); channels as last known")
        applied = await self._feed.catch_up()
        yield Progress(text=f"event feed consumed, {applied} new events")
        async with self._pool.acquire() as connection:
            await store.begin_closing(connection, day, self._clock.now())
            channel_ids = await item_store.channels_of_day(connection, day)
        days = {day}
        for channel_id in channel_ids:
            channel_day = await self._statements.obtain(channel_id, day)
            yield Progress(text=_bill_text(channel_day), channel_id=channel_id)
            matched = await self._matching.match(channel_id, day)
            if matched is not None:
                yield Progress(text=_match_text(matched), channel_id=channel_id)
            async for progress in self._tell(channel_id, day, days):
                yield progress
        async for progress in self._settle(day, days):
            yield progress
        report = await self._finish(day)
        yield Progress(text="closed" if report.closed else "still open", report=report)

    async def finish_days(self) -> None:
        """Tell of days whose last batch was booked after their close. Idempotent."""
        async with self._pool.acquire() as connection:
            days = await store.unfinished_days(connection)
        for day in days:
            await self._finish(day)

    async def _tell(self, channel_id: str, day: date, days: set[date]) -> AsyncIterator[Progress]:
        """Tell the gateway of lines without an item, and match again what that settled; adds to `days` what it touched."""
        for each in await self._telling.days_to_tell(channel_id, day):
            try:
                told = await self._telling.tell(channel_id, each)
            except FiscError as error:
                text = f"gateway not told of the bill of {each} ({error.reason}); next time"
                yield Progress(text=text, channel_id=channel_id)
                return
            # One line that its order breaks over leaves this day untold; it holds up no other day.
            yield Progress(text=_told_text(each, told), channel_id=channel_id)
            if told.settled_count:
                await self._feed.catch_up()
                days.add(each)
                matched = await self._matching.match(channel_id, each)
                if matched is not None:
                    yield Progress(text=_match_text(matched), channel_id=channel_id)

    async def _settle(self, day: date, days: Collection[date]) -> AsyncIterator[Progress]:
        written = 0
        for each in sorted(days):
            written += await self._settlement.write_flow_vouchers(each)
        yield Progress(text=f"{written} vouchers of collections, refunds and payouts")
        made = await self._settlement.make_batches(day)
        yield Progress(text=f"{len(made)} settlement batches made")
        batches = await self._settlement.book_batches()
        yield Progress(text=_booking_text("settlement batches", batches))
        fees = await self._settlement.book_channel_fees()
        yield Progress(text=_booking_text("channel fees", fees))
        await self.finish_days()

    async def _finish(self, day: date) -> DayReport:
        report = await self._reports.day_report(day)
        if not report.closed:
            return report
        now = self._clock.now()
        async with self._pool.acquire() as connection, connection.transaction():
            if await store.finish_closing(connection, day, now):
                await event_log.append(connection, [self._events.day_closed(report, now)])
        return report


def _bill_text(channel_day: ChannelDay) -> str:
    reason = f": {channel_day.reason}" if channel_day.reason else ""
    return f"bill {channel_day.state}{reason}, {channel_day.lines_count} lines"


def _match_text(matched: Matched) -> str:
    return (
        f"{matched.matched_count} matched, {matched.findings_count} do not agree,"
        f" {matched.opened_count} new differences"
    )


def _told_text(day: date, told: Told) -> str:
    failed = f", {told.failed_count} could not be told; next time" if told.failed_count else ""
    return (
        f"gateway told of {told.lines_count} lines of {day} without an item: {told.settled_count} orders"
        f" settled, {told.absent_count} settled by absence, {told.unknown_count} not ours{failed}"
    )


def _booking_text(what: str, booking: Booking) -> str:
    refused = f"; refused: {', '.join(booking.refused)}" if booking.refused else ""
    unanswered = f"; no answer: {', '.join(booking.unanswered)}" if booking.unanswered else ""
    return f"{booking.booked_count} {what} booked{refused}{unanswered}"
