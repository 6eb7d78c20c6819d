"""The words of a flow: signals, steps, and when a row is due again.

A flow is a pure function (subject, attempt, signal, now) → Step. The driver saves the step, carries out its command, and feeds what
came of it back as the next signal. The row itself is the truth: whoever claims it later goes on from what it says.
"""

import enum
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any, ClassVar, Generic, Protocol, TypeVar

from libs.errors import ErrorKind, FiscError

# While a step runs, its row is due again this much later: longer than any one call to the outside, so that only a crash
# lets a sweeper take it over.
LEASE_S = 8.0
# Taken up this often without a step, a row is left alone until a person has looked (隔离).
FAULTS_MAX = 8
FAULT_TEXT_MAX = 500
# A row whose time came this long ago without anybody taking it up is a matter for the on-call.
OVERDUE_S = 60.0


class StaleWrite(FiscError):
    """Somebody else has moved this row meanwhile; nothing was written."""

    kind: ClassVar[ErrorKind] = ErrorKind.CONFLICT
    reason: ClassVar[str] = "STALE_WRITE"


class FlowTooNew(FiscError):
    """This row was last written by a later release; its replicas must go on with it."""

    kind: ClassVar[ErrorKind] = ErrorKind.UNAVAILABLE
    reason: ClassVar[str] = "FLOW_TOO_NEW"


class Subject(Protocol):
    """What a flow is about: a frozen dataclass whose field names are the columns of its row."""

    @property
    def state(self) -> enum.StrEnum: ...
    @property
    def version(self) -> int:
        """Grows by one with every step."""
        ...

    @property
    def epoch(self) -> int:
        """Grows with every owner."""
        ...

    @property
    def next_run_at(self) -> datetime | None:
        """When anybody may take it up; None for never."""
        ...

    @property
    def faults_count(self) -> int:
        """How often it was taken up since it last got anywhere."""
        ...

    @property
    def last_fault(self) -> str: ...
    @property
    def flow_version(self) -> int:
        """The flow that wrote it last: an older one must not touch it."""
        ...


class Signal:
    """Something happened to a subject."""

    def as_of(self, attempts: "Sequence[Any]") -> "Signal":  # noqa: ARG002 - for signals about an attempt
        """The same news, told with these attempts in view, which the teller may not have seen; oldest first."""
        return self


class Due(Signal):
    """The time set on the row has come, or its last owner died."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Forced(Signal):
    """Two people have decided, on evidence from outside, in which state it shall end."""

    to_state: str


class Command(enum.Enum):
    """What the driver must do next; each flow has its own."""


S = TypeVar("S", bound=Subject)
A = TypeVar("A")


@dataclass(frozen=True, slots=True, kw_only=True)
class Step(Generic[S, A]):
    """A decision: the subject and its attempts as they shall stand, the facts to tell, and what to do next."""

    subject: S
    attempts: tuple[A, ...] = ()
    """The attempts that changed, the current one last."""
    events: tuple[str, ...] = ()
    command: Command | None = None
    """What to do next, always about the step's attempt; None to rest."""
    beside: tuple[object, ...] = ()
    """What else the same transaction writes, in words that the flow's store knows: cases, first steps of other sagas."""

    @property
    def attempt(self) -> A | None:
        """The attempt the command is about."""
        return self.attempts[-1] if self.attempts else None


Decide = Callable[[S, A | None, Signal, datetime], Step[S, A] | None]


def arrived(step: Step[S, A], before: S, now: datetime) -> Step[S, A]:
    """The step as it is saved.

    One that rests, or that reaches another state, has got somewhere, and its faults are forgotten. Any other keeps them, and the
    lease of its claim with them, so that what fails again and again is taken up ever more rarely.
    """
    subject: Any = step.subject
    if not subject.faults_count:
        return step
    if step.command is not None and subject.state == before.state:
        return replace(
            step, subject=replace(subject, next_run_at=leased_until(now, subject.faults_count))
        )
    return replace(step, subject=replace(subject, faults_count=0, last_fault=""))


def leased_until(now: datetime, claims_count: int = 1) -> datetime:
    """When a row is due again that has been taken up so often; each claim that gets nowhere makes the next one wait twice as long."""
    return now + timedelta(seconds=LEASE_S * 2 ** max(claims_count - 1, 0))


def next_try_at(delays_s: Sequence[float], tries_count: int, now: datetime) -> datetime:
    """When to try again after so many tries: soon at first, then rarely."""
    return now + timedelta(seconds=delays_s[min(tries_count, len(delays_s) - 1)])
