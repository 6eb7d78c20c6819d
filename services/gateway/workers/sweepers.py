"""Takes up what nobody is working on: rows whose time has come, and rows whose owner died."""

import asyncio
import random
from datetime import timedelta
from typing import Generic, TypeVar

import prometheus_client

from libs.clock import Clock
from libs.log import get_logger
from services.gateway.domain import saga
from services.gateway.domain.payment import Payment
from services.gateway.domain.payout import Payout
from services.gateway.domain.refund import Refund
from services.gateway.store.sagas import SagaStore, SagaTable
from services.gateway.usecases.driver import Driver, Drives

SWEEP_INTERVAL_S = 0.5
GAUGE_INTERVAL_S = 5.0
CLAIM_MAX = 100
IN_FLIGHT_MAX = 200

S = TypeVar("S", bound=Payment | Refund | Payout)

_log = get_logger()
recoveries = prometheus_client.Counter(
    "saga_recoveries_total", "Rows taken up by a sweeper.", ["flow"]
)
subjects = prometheus_client.Gauge(
    "saga_nonterminal", "Subjects that have not ended.", ["flow", "state"]
)
oldest_age = prometheus_client.Gauge(
    "saga_oldest_nonterminal_age_seconds", "Age of the oldest that has not ended.", ["flow"]
)


class Sweeper(Generic[S]):
    """One flow's sweeper. Every replica may run one: claims skip each other's rows."""

    def __init__(
        self,
        *,
        flow: str,
        table: SagaTable[S],
        driver: Driver[S],
        drives: Drives,
        store: SagaStore,
        clock: Clock,
    ) -> None:
        self._flow = flow
        self._table = table
        self._driver = driver
        self._drives = drives
        self._store = store
        self._clock = clock
        self._in_flight = 0

    @property
    def in_flight(self) -> int:
        """Rows this sweeper has taken up and not finished."""
        return self._in_flight

    async def run(self) -> None:
        """Background loop."""
        while True:
            claimed = await self._sweep()
            if claimed < CLAIM_MAX:
                await asyncio.sleep(SWEEP_INTERVAL_S * random.uniform(0.8, 1.2))  # noqa: S311 - jitter

    async def _sweep(self) -> int:
        room = min(CLAIM_MAX, IN_FLIGHT_MAX - self._in_flight)
        if room <= 0:
            return 0
        now = self._clock.now()
        due = await self._table.claim(now, now + timedelta(seconds=saga.LEASE_S), room)
        for subject in due:
            recoveries.labels(self._flow).inc()
            self._in_flight += 1
            task = self._drives.start(self._resume(subject))
            task.add_done_callback(self._done)
        return len(due)

    async def _resume(self, subject: S) -> None:
        attempts = await self._store.attempts_of(self._table.key(subject))
        await self._driver.resume(subject, attempts[-1] if attempts else None, saga.Due())

    def _done(self, _: "asyncio.Task[None]") -> None:
        self._in_flight -= 1


async def keep_gauges(store: SagaStore, clock: Clock) -> None:
    """Background loop: what has not ended, for the on-call."""
    while True:
        lines = await store.backlog()
        subjects.clear()
        oldest_age.clear()
        now = clock.now()
        # Oldest last, so that each flow's gauge ends with its oldest state.
        for line in sorted(lines, key=lambda line: line.oldest_at, reverse=True):
            subjects.labels(line.flow, line.state).set(line.count)
            oldest_age.labels(line.flow).set((now - line.oldest_at).total_seconds())
        await asyncio.sleep(GAUGE_INTERVAL_S)
