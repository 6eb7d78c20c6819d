"""A toy flow, small enough to see through: an errand that asks once, may be told to wait, and ends."""

import enum
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from typing_extensions import override

from libs.clock import FrozenClock
from libs.errors import ErrorKind, FiscError
from libs.events.log import NewEvent
from libs.saga import flow
from libs.saga.driver import Driver
from libs.saga.flow import FAULTS_MAX, LEASE_S, FlowTooNew, StaleWrite
from libs.saga.table import Saved

NOW: Final = datetime(2026, 11, 11, 4, 0, tzinfo=UTC)
FLOW_VERSION: Final = 2
RETRY_S: Final = 60


class State(enum.StrEnum):
    """Where an errand stands."""

    READY = "READY"
    ASKED = "ASKED"
    WAITING = "WAITING"
    DONE = "DONE"
    MANUAL = "MANUAL"


ENDED: Final = frozenset({State.DONE})


@dataclass(frozen=True, slots=True, kw_only=True)
class Errand:
    """A subject. Field names are the columns of its row."""

    errand_id: str
    owner_id: str
    request_id: str
    note: str = ""
    state: State
    created_at: datetime = NOW
    updated_at: datetime = NOW
    next_run_at: datetime | None = None
    version: int = 1
    epoch: int = 1
    flow_version: int = FLOW_VERSION
    faults_count: int = 0
    last_fault: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Try:
    """An attempt."""

    errand_id: str
    number: int
    word: str = ""


class Command(flow.Command):
    """What the driver must do next."""

    ASK = "ask"


@dataclass(frozen=True, slots=True, kw_only=True)
class Told(flow.Signal):
    """The outside answered: "yes", "wait" or "again"."""

    word: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Heard(flow.Signal):
    """Somebody brings late news of one try, with the copy of it that was read before."""

    attempt: Try

    @override
    def as_of(self, attempts: Sequence[Try]) -> flow.Signal:
        found = [each for each in attempts if each.number == self.attempt.number]
        return Heard(attempt=found[0]) if found else self


class Renamed(flow.Signal):
    """Somebody changed the note; harmless in any state."""


class Refused(FiscError):
    """The flow does not allow that."""

    kind = ErrorKind.REJECTED
    reason = "REFUSED"


ErrandStep = flow.Step[Errand, Try]


def open_errand(errand_id: str = "errand_1", request_id: str = "", note: str = "") -> ErrandStep:
    """Written down, and asked about at once."""
    errand = Errand(
        errand_id=errand_id,
        owner_id="o",
        request_id=request_id or errand_id,
        note=note,
        state=State.ASKED,
        next_run_at=flow.leased_until(NOW),
    )
    first = Try(errand_id=errand_id, number=1)
    return flow.Step(
        subject=errand, attempts=(first,), events=("errand.asked",), command=Command.ASK
    )


def decide(
    errand: Errand, attempt: Try | None, signal: flow.Signal, now: datetime
) -> ErrandStep | None:
    """Raises Refused for a force into anything but DONE."""
    if isinstance(signal, flow.Forced):
        if signal.to_state != State.DONE:
            raise Refused(to_state=signal.to_state)
        return flow.Step(subject=_moved(errand, now, state=State.DONE, next_run_at=None))
    if isinstance(signal, Heard):
        return _heard(errand, signal.attempt, now)
    if errand.state is State.DONE:
        return None
    match signal:
        case Renamed():
            return flow.Step(subject=_moved(errand, now, note="renamed"))
        case flow.Due():
            asking = _moved(errand, now, state=State.ASKED, next_run_at=flow.leased_until(now))
            return flow.Step(
                subject=asking, attempts=(attempt,) if attempt else (), command=Command.ASK
            )
        case Told(word="yes"):
            assert attempt is not None
            done = _moved(errand, now, state=State.DONE, next_run_at=None)
            told = replace(attempt, word="yes")
            return flow.Step(subject=done, attempts=(told,), events=("errand.done",))
        case Told(word="again"):
            again = Try(errand_id=errand.errand_id, number=(attempt.number if attempt else 0) + 1)
            asking = _moved(errand, now, next_run_at=flow.leased_until(now))
            return flow.Step(subject=asking, attempts=(again,), command=Command.ASK)
        case Told():
            later = now + timedelta(seconds=RETRY_S)
            return flow.Step(subject=_moved(errand, now, state=State.WAITING, next_run_at=later))
        case _:
            return None


def _heard(errand: Errand, attempt: Try, now: datetime) -> ErrandStep | None:
    """Late news of a try is told once, whatever the errand does meanwhile."""
    if attempt.word == "late":
        return None
    told = replace(attempt, word="late")
    return flow.Step(subject=_moved(errand, now), attempts=(told,), events=("errand.late",))


def _moved(errand: Errand, now: datetime, **changes: Any) -> Errand:
    return replace(errand, updated_at=now, version=errand.version + 1, **changes)


def encode(step: ErrandStep) -> Sequence[NewEvent]:
    """The facts of a step."""
    subject = step.subject
    return [
        NewEvent(
            event_id=f"{subject.errand_id}-{subject.version}",
            type=kind,
            merchant_id=subject.owner_id,
            subject_id=subject.errand_id,
            occurred_at=subject.updated_at,
            payload=b"",
            payload_type="",
        )
        for kind in step.events
    ]


class MemoryTable:
    """Rows in a dict, with what libs.saga.table promises of them."""

    def __init__(self) -> None:
        self.rows: dict[str, Errand] = {}
        self.tries: dict[str, dict[int, Try]] = {}
        self.told: list[str] = []
        self.faults: list[str] = []

    def key(self, subject: Errand) -> str:
        return subject.errand_id

    async def create(self, batch: Sequence[Saved[Errand, Try]]) -> list[Errand | BaseException]:
        return [self._create(saved) for saved in batch]

    def _create(self, saved: Saved[Errand, Try]) -> Errand:
        subject = saved.step.subject
        for row in self.rows.values():
            if row.request_id == subject.request_id:
                return row
        self._write(saved)
        return subject

    async def save(self, saved: Saved[Errand, Try]) -> Errand:
        new = saved.step.subject
        old = self.rows[new.errand_id]
        if (old.version, old.epoch) != (new.version - 1, new.epoch):
            raise StaleWrite
        self._write(saved)
        return new

    async def load(self, subject_id: str) -> tuple[Errand, tuple[Try, ...]] | None:
        row = self.rows.get(subject_id)
        if row is None:
            return None
        if row.flow_version > FLOW_VERSION:
            raise FlowTooNew
        return row, await self.attempts_of(subject_id)

    async def attempts_of(self, subject_id: str) -> tuple[Try, ...]:
        return tuple(each for _, each in sorted(self.tries.get(subject_id, {}).items()))

    async def claim(self, now: datetime, limit: int) -> list[Errand]:
        due = [
            row
            for row in self.rows.values()
            if row.next_run_at and row.next_run_at <= now and row.faults_count < FAULTS_MAX
        ]
        return [self.take_over(row.errand_id, now) for row in due[:limit]]

    def take_over(self, errand_id: str, now: datetime) -> Errand:
        """What a sweeper's claim does to a row."""
        row = self.rows[errand_id]
        lease = timedelta(seconds=LEASE_S * 2**row.faults_count)
        taken = replace(
            row, epoch=row.epoch + 1, faults_count=row.faults_count + 1, next_run_at=now + lease
        )
        self.rows[errand_id] = taken
        return taken

    async def hand_over(self, owned: Sequence[Errand], now: datetime) -> int:
        mine = [each for each in owned if self.rows[each.errand_id].epoch == each.epoch]
        for each in mine:
            self.rows[each.errand_id] = replace(self.rows[each.errand_id], next_run_at=now)
        return len(mine)

    async def note_fault(self, subject: Errand, fault: str) -> None:
        self.faults.append(fault)

    def _write(self, saved: Saved[Errand, Try]) -> None:
        subject = saved.step.subject
        self.rows[subject.errand_id] = subject
        mine = self.tries.setdefault(subject.errand_id, {})
        mine |= {each.number: each for each in saved.step.attempts}
        self.told += [event.type for event in saved.events]


class _Writer:
    """One caller's row, one write."""

    def __init__(self, write: Callable[[Saved[Errand, Try]], Awaitable[Errand]]) -> None:
        self._write = write

    async def submit(self, item: Saved[Errand, Try]) -> Errand:
        return await self._write(item)


class Outside:
    """What the errand asks: answers as it is told to, one word after the other."""

    def __init__(self, *words: str) -> None:
        self.words = list(words)
        self.asked: list[tuple[flow.Command, int | None]] = []

    async def __call__(
        self, command: flow.Command, subject: Errand, attempt: Try | None
    ) -> flow.Signal:
        self.asked.append((command, attempt.number if attempt else None))
        await self.happens(subject)
        return Told(word=self.words.pop(0))

    async def happens(self, subject: Errand) -> None:
        """While the question is out."""


class Interrupted(Outside):
    """While its first question is out, something else happens."""

    def __init__(self, interrupt: Callable[[Errand], Awaitable[object]], *words: str) -> None:
        super().__init__(*words)
        self._interrupts = [interrupt]

    @override
    async def happens(self, subject: Errand) -> None:
        if self._interrupts:
            await self._interrupts.pop()(subject)


def driver(table: MemoryTable, outside: Outside, clock: FrozenClock) -> Driver[Errand, Try]:
    """A driver over rows in memory."""
    return Driver(
        flow="errand",
        table=table,
        save=_Writer(table.save),
        decide=decide,
        perform=outside,
        encode=encode,
        clock=clock,
    )
