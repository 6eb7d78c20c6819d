"""Each flow as the platform's people and its channels' words reach it."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Generic, TypeVar

from libs.saga.driver import Driver
from libs.saga.drives import Drives
from libs.saga.flow import FAULTS_MAX, OVERDUE_S, Forced
from services.gateway.domain import stuck
from services.gateway.domain.forcing import SubjectFacts
from services.gateway.domain.saga import Answered, Attempt
from services.gateway.domain.stuck import StuckLine, Why
from services.gateway.store.sagas import SagaTable, Subject

S = TypeVar("S", bound=Subject)


class Door(Generic[S]):
    """One flow's."""

    def __init__(
        self, *, flow: str, table: SagaTable[S], driver: Driver[S, Attempt], drives: Drives
    ) -> None:
        self._flow = flow
        self._table = table
        self._driver = driver
        self._drives = drives

    async def tell(self, subject_id: str, answered: Answered) -> None:
        """Notes what a channel said; what follows from it goes on by itself."""
        step = await self._driver.note(subject_id, answered)
        if step is not None:
            self._drives.start(self._driver.drive(step))

    async def look(self, subject_id: str) -> SubjectFacts | None:
        """What stands now; None when there is no such subject."""
        loaded = await self._table.load(subject_id)
        if loaded is None:
            return None
        subject = loaded[0]
        return SubjectFacts(
            flow=self._flow,
            state=subject.state.value,
            reason=subject.reason,
            version=subject.version,
            merchant_id=subject.merchant_id,
        )

    async def force(
        self, subject_id: str, *, to_state: str, from_state: str, from_reason: str
    ) -> int | None:
        """Ends it in that state; the new version, or None when it no longer stands where it stood. Raises ForceRefused."""

        def stands_there(subject: S) -> bool:
            return (subject.state.value, subject.reason) == (from_state, from_reason)

        step = await self._driver.note(subject_id, Forced(to_state=to_state), guard=stands_there)
        return None if step is None else step.subject.version

    async def stuck(self, now: datetime, limit: int) -> list[StuckLine]:
        """What a person should look at, oldest first."""
        return [self._line(each, now) for each in await self._table.stuck(now, limit)]

    async def retry(self, subject_id: str, now: datetime) -> StuckLine | None:
        """Makes it due now and ends its quarantine; None when it has ended, or when there is none."""
        subject = await self._table.retry(subject_id, now)
        return None if subject is None else self._line(subject, now)

    def _line(self, subject: S, now: datetime) -> StuckLine:
        return StuckLine(
            flow=self._flow,
            subject_id=self._table.key(subject),
            merchant_id=subject.merchant_id,
            state=subject.state.value,
            reason=subject.reason,
            why=_why(subject, now),
            created_at=subject.created_at,
            next_run_at=subject.next_run_at,
            faults_count=subject.faults_count,
            last_fault=subject.last_fault,
        )


class AllDoors:
    """All flows', for the on-call."""

    def __init__(self, doors: Mapping[str, Door[Any]]) -> None:
        """By the flow's name."""
        self._doors = doors

    async def stuck(self, flow: str, now: datetime, limit: int) -> list[StuckLine]:
        """One flow's subjects that a person should look at, oldest first."""
        return await self._doors[flow].stuck(now, limit)

    async def retry(self, subject_id: str, now: datetime) -> StuckLine | None:
        """Makes it due now and ends its quarantine; None when it has ended, or when there is none."""
        door = self._doors.get(stuck.flow_of(subject_id))
        return None if door is None else await door.retry(subject_id, now)


def _why(subject: Subject, now: datetime) -> Why | None:
    if subject.state.value == "MANUAL":
        return Why.MANUAL
    if subject.faults_count >= FAULTS_MAX:
        return Why.QUARANTINED
    due_at = subject.next_run_at
    is_overdue = due_at is not None and (now - due_at).total_seconds() >= OVERDUE_S
    return Why.OVERDUE if is_overdue else None
