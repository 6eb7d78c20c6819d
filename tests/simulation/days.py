"""What happens after the first rush: days turn, bills come, merchants are settled, people look at what is stuck."""

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from datetime import date, datetime, time, timedelta
from random import Random
from typing import Any, TypeVar

import asyncpg

from libs.errors import FiscError
from tests.simulation import book
from tests.simulation.book import Line
from tests.simulation.channels import Channel
from tests.simulation.clearing import ClearingReplica, bill_line
from tests.simulation.clients import Clients
from tests.simulation.loop import EPOCH, SimulatedLoop
from tests.simulation.replica import CallLost, Replica

# As long as we keep an authorisation, a day until what could not be released stands before a person, and a bill after that.
DAYS = 8
BILL_AFTER_MIDNIGHT_S = 3 * 3600.0
FEED_WAIT_S = 20.0
FEED_WAITS_MAX = 10
RETRY_MAX_S = 3.0

T = TypeVar("T")


class Days:
    """Turns the days."""

    def __init__(
        self,
        *,
        loop: SimulatedLoop,
        rng: Random,
        channels: Sequence[Channel],
        clients: Clients,
        clearing: Callable[[], ClearingReplica],
        is_taken_in: Callable[[], bool],
    ) -> None:
        """`is_taken_in`: whether clearing has had every event of the gateway."""
        self.settled_count = 0
        self.absent_count = 0
        self._loop = loop
        self._rng = rng
        self._channels = channels
        self._clients = clients
        self._clearing = clearing
        self._is_taken_in = is_taken_in
        self._untold: list[tuple[str, date, Sequence[Line]]] = []

    @property
    def today(self) -> date:
        return book.instant(self._loop.now_s).astimezone(book.ZONE).date()

    async def sleep_until_bills(self, day: date) -> None:
        """Until the bills of this day are there."""
        midnight = datetime.combine(day + timedelta(days=1), time(), book.ZONE)
        at_s = (midnight - EPOCH).total_seconds() + BILL_AFTER_MIDNIGHT_S
        await asyncio.sleep(max(0.0, at_s - self._loop.now_s))

    async def close(self, day: date) -> None:
        """As services.clearing closes a day: bills, what they tell the gateway, matching again, settlement."""
        untold, self._untold = self._untold, []
        for earlier in untold:
            await self._tell(*earlier)
        for channel in self._channels:
            lines = list(book.bill(channel.book, day))
            unexplained = await self._match(lines)
            await self._tell(channel.channel_id, day, unexplained)
        await self._until_taken_in()
        for channel in self._channels:
            await self._match(list(book.bill(channel.book, day)))
        at_once = self._rng.random() < 0.5
        await self._insist(lambda clearing: clearing.settle(day, at_once=at_once))

    async def _match(self, lines: Sequence[Line]) -> list[Line]:
        return await self._insist(lambda clearing: clearing.take_bill(lines))

    async def _tell(self, channel_id: str, day: date, lines: Sequence[Line]) -> None:
        async def tell(replica: Replica) -> Any:
            return await replica.bills.settle(
                channel_id, day, [bill_line(line) for line in lines], is_complete=True
            )

        told = await self._clients.until_answered(tell)
        if told.failed_count:
            # Clearing tells all of it again at the next close.
            self._untold.append((channel_id, day, lines))
        self.settled_count += told.settled_count
        self.absent_count += told.absent_count

    async def _until_taken_in(self) -> None:
        for _ in range(FEED_WAITS_MAX):
            await asyncio.sleep(FEED_WAIT_S)
            if self._is_taken_in():
                return

    async def _insist(self, work: Callable[[ClearingReplica], Coroutine[Any, Any, T]]) -> T:
        while True:
            try:
                return await self._clearing().call(work)
            except (CallLost, FiscError, asyncpg.PostgresConnectionError):
                await asyncio.sleep(RETRY_MAX_S * self._rng.random())
