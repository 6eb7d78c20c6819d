"""Takes up what nobody is working on: rows whose time has come, and rows whose owner died."""

import asyncio
import random
from datetime import datetime
from typing import Generic, Protocol, TypeVar

import prometheus_client

from libs.clock import Clock
from libs.log import get_logger
from libs.saga import flow
from libs.saga.driver import Driver
from libs.saga.drives import Drives
from libs.saga.flow import FAULTS_MAX, Subject

SWEEP_INTERVAL_S = 0.5
CLAIM_MAX = 100
IN_FLIGHT_MAX = 200

S = TypeVar("S", bound=Subject)
A = TypeVar("A")
A_co = TypeVar("A_co", covariant=True)

_log = get_logger()
recoveries = prometheus_client.Counter(
    "saga_recoveries_total", "Rows taken up by a sweeper.", ["flow"]
)


class Claims(Protocol[S, A_co]):
    """What a sweeper needs of a table."""

    def key(self, subject: S) -> str: ...
    async def claim(self, now: datetime, limit: int) -> list[S]: ...
    async def attempts_of(self, subject_id: str) -> tuple[A_co, ...]: ...
    async def note_fault(self, subject: S, fault: str) -> None: ...


class Sweeper(Generic[S, A]):
    """One flow's sweeper. Every replica may run one: claims skip each other's rows."""

    def __init__(
        self,
        *,
        flow: str,
        table: Claims[S, A],
        driver: Driver[S, A],
        drives: Drives,
        clock: Clock,
    ) -> None:
        self._flow = flow
        self._table = table
        self._driver = driver
        self._drives = drives
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
        due = await self._table.claim(self._clock.now(), room)
        for subject in due:
            recoveries.labels(self._flow).inc()
            self._in_flight += 1
            task = self._drives.start(self._resume(subject))
            task.add_done_callback(self._done)
        return len(due)

    async def _resume(self, subject: S) -> None:
        try:
            attempts = await self._table.attempts_of(self._table.key(subject))
            await self._driver.resume(subject, attempts[-1] if attempts else None, flow.Due())
        except Exception as error:
            await self._note(subject, error)
            raise

    async def _note(self, subject: S, error: Exception) -> None:
        """Leaves a trace of what broke on the row itself, where the on-call will look."""
        if subject.faults_count >= FAULTS_MAX:
            _log.error("saga quarantined", flow=self._flow, subject_id=self._table.key(subject))
        await self._table.note_fault(subject, f"{type(error).__name__}: {error}")

    def _done(self, _: "asyncio.Task[None]") -> None:
        self._in_flight -= 1
