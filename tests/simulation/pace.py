"""Waits until there is something to do, where the real loops look every half second and mostly find nothing.

A sweeper or pusher still waits its interval, with its jitter; then, instead of asking the database in vain, it waits until a row is due
by its own clock, or an event is there that it has not read.
"""

import asyncio
from collections import defaultdict
from contextvars import ContextVar
from datetime import datetime

from libs.clock import Clock
from tests.simulation.database import Database, position
from tests.simulation.loop import SimulatedLoop
from tests.simulation.stores import MemoryTable

Bell = asyncio.Future[None]


class Pace:
    """Wakes the loops that look at one database."""

    def __init__(self, loop: SimulatedLoop, database: Database) -> None:
        self._loop = loop
        self._database = database
        self._waiting: dict[str, list[tuple[datetime | None, Bell]]] = defaultdict(list)
        self._idle: list[Bell] = []
        database.on_due = self._ring
        database.on_news = self._tell

    async def until_due(self, table: MemoryTable, clock: Clock) -> None:
        """Until a row may be claimed."""
        while True:
            due_at = self._database.next_due(table.layout)
            wait_s = None if due_at is None else (due_at - clock.now()).total_seconds()
            if wait_s is not None and wait_s <= 0:
                return
            bell: Bell = self._loop.create_future()
            self._waiting[table.flow].append((due_at, bell))
            timer = None if wait_s is None else self._loop.call_later(wait_s, _strike, bell)
            await bell
            if timer is not None:
                timer.cancel()

    async def until_news(self, cursor: str) -> None:
        """Until there are events after this one."""
        while len(self._database.events) <= position(cursor):
            bell: Bell = self._loop.create_future()
            self._idle.append(bell)
            await bell

    def _ring(self, name: str, due_at: datetime) -> None:
        waiting = self._waiting.get(name)
        if not waiting:
            return
        kept: list[tuple[datetime | None, Bell]] = []
        for until, bell in waiting:
            if bell.done():
                continue
            if until is None or due_at < until:
                _strike(bell)
            else:
                kept.append((until, bell))
        self._waiting[name] = kept

    def _tell(self) -> None:
        for bell in self._idle:
            _strike(bell)
        self._idle.clear()


class Watch:
    """What one process's loops look at. Each loop is a task of its own, so each sees its own."""

    def __init__(self, pace: Pace, clock: Clock) -> None:
        self._pace = pace
        self._clock = clock

    def claims(self, table: MemoryTable) -> None:
        """The sweeper that calls looks at this table."""
        _claimed.set((self._pace, table, self._clock))

    def reads(self, cursor: str) -> None:
        """The consumer that calls has read up to here."""
        _read.set((self._pace, cursor))


_claimed: ContextVar[tuple[Pace, MemoryTable, Clock]] = ContextVar("claimed")
_read: ContextVar[tuple[Pace, str]] = ContextVar("read")


async def sweep_again(interval_s: float) -> None:
    """In the place of a sweeper's sleep."""
    await asyncio.sleep(interval_s)
    pace, table, clock = _claimed.get()
    await pace.until_due(table, clock)


async def push_again(interval_s: float) -> None:
    """In the place of an idle pusher's sleep."""
    await asyncio.sleep(interval_s)
    pace, cursor = _read.get()
    await pace.until_news(cursor)


def _strike(bell: Bell) -> None:
    if not bell.done():
        bell.set_result(None)
