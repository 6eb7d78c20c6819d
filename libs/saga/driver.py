"""Drives a subject through its flow: decide, save, act, and again, until it rests.

Every save carries the version and epoch it was decided on. A lost race is decided anew on the fresh row; a row with a newer epoch
belongs to somebody else, and the driver stops without another word to the outside.
"""

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any, Generic, Protocol, TypeVar

import prometheus_client

from libs import crashpoints
from libs.clock import Clock
from libs.events.log import NewEvent
from libs.log import get_logger
from libs.saga import flow
from libs.saga.flow import Command, Decide, Signal, StaleWrite, Step, Subject
from libs.saga.table import Saved

CONFLICTS_MAX = 8

S = TypeVar("S", bound=Subject)
S_contra = TypeVar("S_contra", bound=Subject, contravariant=True)
A = TypeVar("A")
A_contra = TypeVar("A_contra", contravariant=True)
T_contra = TypeVar("T_contra", contravariant=True)
R_co = TypeVar("R_co", covariant=True)

_log = get_logger()
fenced_writes = prometheus_client.Counter(
    "saga_fenced_writes_total", "Writes refused because somebody else owns the row.", ["flow"]
)
transitions = prometheus_client.Counter(
    "saga_transitions_total", "States reached.", ["flow", "state"]
)
handed_over = prometheus_client.Counter(
    "saga_handed_over_total", "Rows left to other replicas by one that stops.", ["flow"]
)


class Performer(Protocol[S_contra, A_contra]):
    async def __call__(
        self, command: Command, subject: S_contra, attempt: A_contra | None
    ) -> Signal:
        """Carries a command out and answers with what came of it. Does not raise for what happens outside."""
        ...


class Writer(Protocol, Generic[T_contra, R_co]):
    """A group commit: many callers' rows in one transaction."""

    async def submit(self, item: T_contra) -> R_co: ...


class EventEncoder(Protocol[S]):
    def __call__(self, step: Step[S, Any]) -> Sequence[NewEvent]:
        """The facts of a step as the event log keeps them."""
        ...


class Rows(Protocol[S, A]):
    """What the driver needs of a table besides its group commits."""

    def key(self, subject: S) -> str: ...
    async def create(self, batch: Sequence[Saved[S, A]]) -> Sequence[S | BaseException]:
        """Writes the new ones in one transaction; answers each with what stands under its identity."""
        ...

    async def load(self, subject_id: str) -> tuple[S, tuple[A, ...]] | None:
        """The subject and its attempts, oldest first. Raises FlowTooNew."""
        ...

    async def hand_over(self, owned: Sequence[S], now: datetime) -> int:
        """Makes these due now, unless somebody else has them by now; how many."""
        ...


class _NotAsExpected(Exception):
    """The row is not what the teller believes it to be."""


class Driver(Generic[S, A]):
    """One flow's engine."""

    def __init__(
        self,
        *,
        flow: str,
        table: Rows[S, A],
        save: Writer[Saved[S, A], S],
        decide: Decide[S, A],
        perform: Performer[S, A],
        encode: EventEncoder[S],
        clock: Clock,
    ) -> None:
        self._flow = flow
        self._table = table
        self._save = save
        self._decide = decide
        self._perform = perform
        self._encode = encode
        self._clock = clock
        self._owned: dict[str, S] = {}
        self._is_stopping = False

    def saved(self, step: Step[S, A]) -> Saved[S, A]:
        """A step as the store takes it."""
        return Saved(step=step, events=self._encode(step))

    async def create(self, step: Step[S, A]) -> S:
        """B1: writes the first step; answers what stands under its identity, which may be older."""
        [stored] = await self.create_all([step])
        if isinstance(stored, BaseException):
            raise stored
        return stored

    async def create_all(self, steps: Sequence[Step[S, A]]) -> Sequence[S | BaseException]:
        """B1 of many, in one commit; an exception for each that was refused alone."""
        if not steps:
            return []
        results = await self._table.create([self.saved(step) for step in steps])
        crashpoints.reach("K2")
        for step, stored in zip(steps, results, strict=True):
            if not isinstance(stored, BaseException) and self.is_same(stored, step.subject):
                transitions.labels(self._flow, step.subject.state.value).inc()
        return results

    def is_same(self, stored: S, subject: S) -> bool:
        """Whether what stands under an identity is this very subject, and not one that was there before."""
        return self._table.key(stored) == self._table.key(subject)

    async def drive(self, step: Step[S, A]) -> S:
        """Carries out a saved step's command, and whatever follows from it, until it rests or this process stops."""
        subject, attempt, command = step.subject, step.attempt, step.command
        key = self._table.key(subject)
        try:
            while command is not None:
                self._owned[key] = subject
                if self._is_stopping:
                    await self._table.hand_over([subject], self._clock.now())
                    break
                signal = await self._perform(command, subject, attempt)
                crashpoints.reach("K9")
                taken = await self._take(subject, attempt, signal, is_owner=True)
                subject, command = taken.subject, taken.command
                attempt = taken.attempt or attempt
        finally:
            self._owned.pop(key, None)
        crashpoints.reach("K10")
        return subject

    async def resume(self, subject: S, attempt: A | None, signal: Signal) -> S:
        """Goes on with a row this caller has claimed."""
        return await self.drive(await self._take(subject, attempt, signal, is_owner=True))

    async def tell(self, subject_id: str, signal: Signal) -> S | None:
        """Lets anybody tell a subject something, and drives what follows; None when there is no such subject.

        Raises what the flow raises for a signal it refuses.
        """
        step = await self.note(subject_id, signal)
        return None if step is None else await self.drive(step)

    async def note(
        self, subject_id: str, signal: Signal, *, guard: Callable[[S], bool] | None = None
    ) -> Step[S, A] | None:
        """Writes down what a signal means and acts on nothing yet; `drive` the step for that.

        None when there is no such subject, and when it does not pass the guard, which is asked of the very row that is written. Raises
        what the flow raises for a signal it refuses.
        """
        loaded = await self._table.load(subject_id)
        if loaded is None:
            return None
        subject, attempts = loaded
        attempt = attempts[-1] if attempts else None
        try:
            return await self._take(
                subject, attempt, signal.as_of(attempts), is_owner=False, guard=guard
            )
        except _NotAsExpected:
            return None

    async def hand_over(self) -> None:
        """Leaves what is under way to other replicas at once: no further command is begun here.

        A call already out is still listened to; its answer counts unless somebody else has taken the row by then.
        """
        self._is_stopping = True
        owned = list(self._owned.values())
        if owned:
            left_count = await self._table.hand_over(owned, self._clock.now())
            handed_over.labels(self._flow).inc(left_count)

    async def _take(
        self,
        subject: S,
        attempt: A | None,
        signal: Signal,
        *,
        is_owner: bool,
        guard: Callable[[S], bool] | None = None,
    ) -> Step[S, A]:
        for _ in range(CONFLICTS_MAX):
            if guard is not None and not guard(subject):
                raise _NotAsExpected
            now = self._clock.now()
            decided = self._decide(subject, attempt, signal, now)
            if decided is None:
                return Step(subject=subject)
            step = flow.arrived(decided, subject, now)
            try:
                await self._save.submit(self.saved(step))
            except StaleWrite:
                loaded = await self._table.load(self._table.key(subject))
                if loaded is None:
                    raise
                fresh, attempts = loaded
                if is_owner and fresh.epoch != subject.epoch:
                    fenced_writes.labels(self._flow).inc()
                    return Step(subject=fresh)
                subject, attempt = fresh, attempts[-1] if attempts else None
                signal = signal.as_of(attempts)
            else:
                if step.subject.state != subject.state:
                    transitions.labels(self._flow, step.subject.state.value).inc()
                if not step.attempts and attempt is not None:
                    return Step(subject=step.subject, attempts=(attempt,), command=step.command)
                return step
        raise StaleWrite(f"lost {CONFLICTS_MAX} races for one {self._flow}")
