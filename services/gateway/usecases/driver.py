"""Drives a subject through its flow: decide, save, act, and again, until it rests.

Every save carries the version and epoch it was decided on. A lost race is decided anew on the fresh row; a row with a newer epoch
belongs to somebody else, and the driver stops without another word to the outside.
"""

import asyncio
from collections.abc import Callable, Coroutine
from datetime import datetime
from typing import Any, Generic, Protocol, TypeVar

import prometheus_client

from libs import crashpoints
from libs.clock import Clock
from libs.db.errors import is_connection_lost
from libs.errors import FiscError
from libs.log import get_logger
from libs.rpc import deadline
from services.gateway.domain.errors import StaleWrite
from services.gateway.domain.payment import Payment
from services.gateway.domain.payout import Payout
from services.gateway.domain.refund import Refund
from services.gateway.domain.saga import Attempt, Command, Signal, Step
from services.gateway.store.sagas import NewSaga, SagaTable, SavedStep
from services.gateway.usecases.ports import EventEncoder, Writer

CONFLICTS_MAX = 8
# The longest a caller is kept waiting for an outcome; then it gets the subject as it stands.
ANSWER_WAIT_MAX_S = 10.0
ANSWER_MARGIN_S = 0.1

S = TypeVar("S", bound=Payment | Refund | Payout)
S_contra = TypeVar("S_contra", bound=Payment | Refund | Payout, contravariant=True)
T = TypeVar("T")

_log = get_logger()
fenced_writes = prometheus_client.Counter(
    "saga_fenced_writes_total", "Writes refused because somebody else owns the row.", ["flow"]
)
transitions = prometheus_client.Counter(
    "saga_transitions_total", "States reached.", ["flow", "state"]
)


class Performer(Protocol[S_contra]):
    async def __call__(
        self, command: Command, subject: S_contra, attempt: Attempt | None
    ) -> Signal:
        """Carries a command out and answers with what came of it. Does not raise for what happens outside."""
        ...


Decide = Callable[[S, Attempt | None, Signal, datetime], Step[S] | None]


class Driver(Generic[S]):
    """One flow's engine."""

    def __init__(
        self,
        *,
        flow: str,
        table: SagaTable[S],
        create: Writer[NewSaga[S], S],
        save: Writer[SavedStep[S], S],
        decide: Decide[S],
        perform: Performer[S],
        encode: EventEncoder[S],
        clock: Clock,
    ) -> None:
        self._flow = flow
        self._table = table
        self._create = create
        self._save = save
        self._decide = decide
        self._perform = perform
        self._encode = encode
        self._clock = clock

    def first(self, step: Step[S]) -> NewSaga[S]:
        """The first step as the store takes it."""
        return NewSaga(step=step, events=self._encode(step))

    async def create(self, step: Step[S]) -> S:
        """B1: writes the first step; answers what stands under its request_id, which may be older."""
        stored = await self._create.submit(self.first(step))
        crashpoints.reach("K2")
        if self._table.key(stored) == self._table.key(step.subject):
            transitions.labels(self._flow, step.subject.state.value).inc()
        return stored

    async def drive(self, step: Step[S]) -> S:
        """Carries out a saved step's command, and whatever follows from it."""
        subject, attempt, command = step.subject, step.attempt, step.command
        while command is not None:
            signal = await self._perform(command, subject, attempt)
            crashpoints.reach("K9")
            taken = await self._take(subject, attempt, signal, is_owner=True)
            subject, command = taken.subject, taken.command
            attempt = taken.attempt or attempt
        crashpoints.reach("K10")
        return subject

    async def resume(self, subject: S, attempt: Attempt | None, signal: Signal) -> S:
        """Goes on with a row this caller has claimed."""
        return await self.drive(await self._take(subject, attempt, signal, is_owner=True))

    async def tell(self, subject_id: str, signal: Signal) -> S | None:
        """Lets anybody tell a subject something, and drives what follows; None when there is no such subject.

        Raises what the flow raises for a signal it refuses.
        """
        step = await self.note(subject_id, signal)
        return None if step is None else await self.drive(step)

    async def note(self, subject_id: str, signal: Signal) -> Step[S] | None:
        """Writes down what a signal means and acts on nothing yet; `drive` the step for that.

        None when there is no such subject. Raises what the flow raises for a signal it refuses.
        """
        loaded = await self._table.load(subject_id)
        if loaded is None:
            return None
        subject, attempts = loaded
        return await self._take(subject, attempts[-1] if attempts else None, signal, is_owner=False)

    async def _take(
        self, subject: S, attempt: Attempt | None, signal: Signal, *, is_owner: bool
    ) -> Step[S]:
        for _ in range(CONFLICTS_MAX):
            step = self._decide(subject, attempt, signal, self._clock.now())
            if step is None:
                return Step(subject=subject)
            try:
                await self._save.submit(SavedStep(step=step, events=self._encode(step)))
            except StaleWrite:
                loaded = await self._table.load(self._table.key(subject))
                if loaded is None:
                    raise
                fresh, attempts = loaded
                if is_owner and fresh.epoch != subject.epoch:
                    fenced_writes.labels(self._flow).inc()
                    return Step(subject=fresh)
                subject, attempt = fresh, attempts[-1] if attempts else None
            else:
                if step.subject.state != subject.state:
                    transitions.labels(self._flow, step.subject.state.value).inc()
                if not step.attempts and attempt is not None:
                    return Step(subject=step.subject, attempts=(attempt,), command=step.command)
                return step
        raise StaleWrite(f"lost {CONFLICTS_MAX} races for one {self._flow}")


class Drives:
    """Sagas under way. They outlive the RPC that began them; what breaks in one is logged and left to the sweeper."""

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[Any]] = set()

    def __len__(self) -> int:
        """How many are under way."""
        return len(self._tasks)

    def start(self, work: Coroutine[Any, Any, T]) -> "asyncio.Task[T]":
        """Runs on without the caller's deadline."""
        with deadline.detached():
            task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._finished)
        return task

    async def wait(self, task: "asyncio.Task[T]") -> T | None:
        """Its result if it comes before the caller's time is up; None otherwise, and if it broke."""
        remaining_s = deadline.remaining_s()
        limit_s = ANSWER_WAIT_MAX_S if remaining_s is None else remaining_s - ANSWER_MARGIN_S
        await asyncio.wait([task], timeout=max(0.0, min(limit_s, ANSWER_WAIT_MAX_S)))
        if not task.done() or task.cancelled() or task.exception() is not None:
            return None
        return task.result()

    async def drain(self, timeout_s: float = 5.0) -> None:
        """Waits for what is under way; what is not done by then is left to the sweepers."""
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=timeout_s)

    def _finished(self, task: "asyncio.Task[Any]") -> None:
        self._tasks.discard(task)
        if task.cancelled():
            return
        error = task.exception()
        if isinstance(error, FiscError):
            _log.warning("saga step postponed", reason=error.reason, message=error.message)
        elif error is not None and is_connection_lost(error):
            _log.warning("saga step postponed", reason="CONNECTION_LOST")
        elif error is not None:
            _log.error("saga step broke", exc_info=error)
