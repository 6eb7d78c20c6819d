"""The cockpit's memory: takes in what workers bring, answers what handlers draw.

Everything here lives in one event loop and in memory; a restart begins again from the feed's start.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from datetime import date, datetime, timedelta
from typing import Any, Final, Protocol, TypeVar

from libs import log
from libs.clock import Clock
from libs.errors import FiscError
from services.cockpit.domain import actions, chart, days, overview
from services.cockpit.domain.book import Book
from services.cockpit.domain.evidence import Evidence
from services.cockpit.domain.facts import FeedBatch
from services.cockpit.domain.overview import Overview, SourceStatus
from services.cockpit.domain.readings import (
    Backlog,
    Channel,
    DeadDelivery,
    Difference,
    Ledger,
    Listed,
    Reading,
    Readings,
    RiskCase,
    Settlement,
    Source,
)

LATEST_PAYMENTS_SHOWN: Final = 20
# A settlement is read again this long after somebody last looked at its day.
WATCH_LIFETIME: Final = timedelta(seconds=60)
WATCHED_DAYS_MAX: Final = 32

T = TypeVar("T")

_NEVER_READ: Final[Reading[Settlement]] = Reading()

_log = log.get_logger()


class Feed(Protocol):
    """The gateway's event feed."""

    def batches(self, cursor: str) -> AsyncIterator[FeedBatch]:
        """What comes after the cursor, endlessly. Raises FiscError when the feed is away."""
        ...


class Sources(Protocol):
    """The reads the page polls; each raises FiscError when its service does not answer."""

    async def channels(self) -> tuple[Channel, ...]: ...
    async def ledger(self) -> Ledger: ...
    async def differences(self) -> Listed[Difference]: ...
    async def backlog(self) -> Backlog: ...
    async def cases(self) -> Listed[RiskCase]: ...
    async def dead_deliveries(self) -> Listed[DeadDelivery]: ...
    async def settlement(self, day: date) -> Settlement: ...
    async def evidence(self, subject_id: str) -> Evidence: ...


class Cockpit:
    """Read models and their changes. `revision` grows with each change of what the page shows."""

    def __init__(self, sources: Sources, clock: Clock) -> None:
        """Start knowing nothing; workers bring everything."""
        self._sources = sources
        self._clock = clock
        self._book = Book()
        self._readings = Readings()
        self._settlements: dict[date, Reading[Settlement]] = {}
        self._watched: dict[date, datetime] = {}
        self._feed = SourceStatus(name=Source.FEED, state="wait", detail="connecting")
        self._changed = asyncio.Event()
        self.revision = 0
        self.polls: dict[str, Callable[[], Awaitable[Any]]] = {
            "channels": sources.channels,
            "ledger": sources.ledger,
            "differences": sources.differences,
            "backlog": sources.backlog,
            "cases": sources.cases,
            "dead_deliveries": sources.dead_deliveries,
        }

    def take_in(self, batch: FeedBatch) -> None:
        """Apply a batch of the feed; applying it again changes nothing."""
        applied = sum(self._book.apply(fact) for fact in batch.facts)
        state = "up" if batch.is_last else "wait"
        self._set_feed(state, "" if batch.is_last else "catching up", has_news=applied > 0)

    def feed_failed(self, why: str) -> None:
        """The feed is away; its figures stand as they were."""
        self._set_feed("down", why)

    def start_over(self) -> None:
        """Forget all facts: the feed is another one than before and is read from its start."""
        self._book = Book()
        self._set_feed("wait", "reading again from the start", has_news=True)

    async def refresh(self, name: str) -> None:
        """Poll one source of `polls`. It never raises: what went wrong is part of the reading."""
        known = getattr(self._readings, name)
        reading = await self._read(known, self.polls[name], name)
        if _differ(known, reading):
            self._announce()
        self._readings = replace(self._readings, **{name: reading})

    async def refresh_settlement(self, day: date) -> None:
        """Read clearing's view of a day, as `refresh` does, and keep it watched."""
        self.watch(day)
        known = self._settlements.get(day) or _NEVER_READ
        reading = await self._read(known, lambda: self._sources.settlement(day), "settlement")
        if _differ(known, reading):
            self._announce()
        self._settlements[day] = reading

    async def refresh_watched(self) -> None:
        """Read the settlement of every day somebody looks at."""
        horizon = self._clock.now() - WATCH_LIFETIME
        self._watched = {day: at for day, at in self._watched.items() if at > horizon}
        self._settlements = {
            day: reading for day, reading in self._settlements.items() if day in self._watched
        }
        for day, looked_at in list(self._watched.items()):
            await self.refresh_settlement(day)
            if day in self._watched:
                self._watched[day] = looked_at  # our own reading is no look

    def watch(self, day: date) -> None:
        """Somebody looks at this day: keep its settlement fresh for a while."""
        if day in self._watched or len(self._watched) < WATCHED_DAYS_MAX:
            self._watched[day] = self._clock.now()

    def has_settlement(self, day: date) -> bool:
        """Whether clearing was asked about this day lately."""
        return day in self._settlements

    async def evidence(self, subject_id: str) -> Evidence:
        """Everything the gateway knows of one subject. Raises FiscError."""
        return await self._sources.evidence(subject_id)

    def latest_day(self) -> date:
        """The latest business day with data, or today."""
        return self._book.latest_day() or days.business_day(self._clock.now())

    def overview(self, day: date | None) -> Overview:
        """What the page says about a day; None follows the latest."""
        shown = day or self.latest_day()
        figures, readings, manual = self._book.day(shown), self._readings, self._book.manual()
        settlement = self._settlements.get(shown) or _NEVER_READ
        channels = readings.channels.value or ()
        feed_error = self._feed.detail if self._feed.state == "down" else ""
        known_days = self._book.days()
        currency = figures.main_currency()
        return Overview(
            day=shown,
            days=known_days if shown in known_days else sorted((*known_days, shown), reverse=True),
            is_latest=shown == self.latest_day(),
            sources=self._sources_status(settlement),
            actions=actions.actions(readings, manual, feed_error),
            people=actions.people(readings, manual),
            tiles=overview.tiles(figures, readings.ledger, settlement),
            hours=chart.bars(figures.hours, currency),
            currency=currency,
            channels=overview.channel_rows(figures, channels, actions.troubles(channels)),
            positions=overview.position_rows(readings.ledger.value),
            readings=readings,
            settlement=settlement,
            payments=self._book.latest_payments(shown, LATEST_PAYMENTS_SHOWN),
        )

    async def wait_for_change(self, revision: int, timeout_s: float) -> bool:
        """Wait until the revision is another one; False when time was up first."""
        try:
            async with asyncio.timeout(timeout_s):
                while self.revision == revision:
                    await self._changed.wait()
        except TimeoutError:
            return False
        return True

    def wake(self) -> None:
        """End every wait for a change, as if something had changed."""
        self._announce()

    async def _read(
        self, known: Reading[T], read: Callable[[], Awaitable[T]], name: str
    ) -> Reading[T]:
        try:
            value = await read()
        except FiscError as error:
            why = f"{error.reason}: {error.message}"
        except Exception as error:  # noqa: BLE001 -- an answer we cannot read must not break the page
            why = f"unreadable answer: {type(error).__name__}"
            _log.error("answer could not be read", source=name, exc_info=error)
        else:
            return Reading(value=value, read_at=self._clock.now())
        if not known.error:
            _log.warning("source is down", source=name, why=why)
        return replace(known, error=why)

    def _sources_status(self, settlement: Reading[Settlement]) -> list[SourceStatus]:
        readings = self._readings
        return [
            self._feed,
            _status(Source.GATEWAY, readings.backlog),
            _status(Source.ROUTER, readings.channels),
            _status(Source.RISK, readings.cases),
            _status(Source.ACCOUNT, readings.ledger),
            _status(Source.CLEARING, readings.differences, settlement),
            _status(Source.NOTIFICATION, readings.dead_deliveries),
        ]

    def _set_feed(self, state: str, detail: str, *, has_news: bool = False) -> None:
        status = SourceStatus(name=Source.FEED, state=state, detail=detail)
        if has_news or status != self._feed:
            self._announce()
        self._feed = status

    def _announce(self) -> None:
        self.revision += 1
        self._changed.set()
        self._changed = asyncio.Event()


def _differ(known: Reading[Any], reading: Reading[Any]) -> bool:
    return known.value != reading.value or known.error != reading.error


def _status(source: Source, *readings: Reading[Any]) -> SourceStatus:
    errors = [reading.error for reading in readings if reading.error]
    if errors:
        return SourceStatus(name=source, state="down", detail=errors[0])
    if all(reading.read_at is None for reading in readings):
        return SourceStatus(name=source, state="wait", detail="connecting")
    return SourceStatus(name=source, state="up", detail="")
