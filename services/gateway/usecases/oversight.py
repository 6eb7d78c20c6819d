"""What stands before the platform's people: stuck sagas, cases, and the chain of what they did about them."""

from collections.abc import Mapping
from datetime import datetime
from typing import Protocol

from libs.audit import NewRecord, Record, Verdict
from libs.clock import Clock
from libs.log import get_logger
from libs.paging import PAGE_SIZE_DEFAULT, PAGE_SIZE_MAX, InvalidPageToken, Page, PageRequest
from services.gateway.domain import stuck
from services.gateway.domain.cases import Case
from services.gateway.domain.errors import SagaEnded, SubjectNotFound, UnknownFlow
from services.gateway.domain.stuck import StuckLine
from services.gateway.store.operators import OperatorStore
from services.gateway.usecases.forcing import Forcible

_log = get_logger()


class Sagas(Protocol):
    """All flows, as far as an on-call needs them."""

    async def stuck(self, flow: str, now: datetime, limit: int) -> list[StuckLine]:
        """One flow's subjects that a person should look at, oldest first."""
        ...

    async def retry(self, subject_id: str, now: datetime) -> StuckLine | None:
        """Makes it due now and ends its quarantine; None when it has ended, or when there is none."""
        ...


class Oversight:
    """Lists and retries."""

    def __init__(
        self,
        *,
        sagas: Sagas,
        flows: Mapping[str, Forcible],
        store: OperatorStore,
        clock: Clock,
    ) -> None:
        """`flows` by name, to tell what has ended from what never was."""
        self._sagas = sagas
        self._flows = flows
        self._store = store
        self._clock = clock

    async def stuck(self, flow: str, size: int) -> list[StuckLine]:
        """Oldest first; "" for every flow. Raises UnknownFlow."""
        if flow and flow not in stuck.FLOWS:
            raise UnknownFlow(field="flow", flow=flow)
        limit, now = min(size or PAGE_SIZE_DEFAULT, PAGE_SIZE_MAX), self._clock.now()
        lines = [
            line
            for name in ((flow,) if flow else stuck.FLOWS)
            for line in await self._sagas.stuck(name, now, limit)
        ]
        return sorted(lines, key=lambda line: (line.created_at, line.subject_id))[:limit]

    async def retry(self, subject_id: str, *, actor_id: str) -> StuckLine:
        """Makes it due now. Harmless when repeated. Raises SubjectNotFound, SagaEnded."""
        flow = self._flows.get(stuck.flow_of(subject_id))
        facts = None if flow is None else await flow.look(subject_id)
        if facts is None:
            raise SubjectNotFound(field="subject_id")
        line = await self._sagas.retry(subject_id, self._clock.now())
        if line is None:
            raise SagaEnded(f"it has ended as {facts.state}", field="subject_id")
        await self._store.add_record(
            NewRecord(
                at=self._clock.now(),
                actor_id=actor_id,
                action="SAGA_RETRIED",
                subject_id=subject_id,
                detail={"state": line.state, "reason": line.reason},
            )
        )
        return line

    async def cases(self, page: PageRequest, *, only_open: bool) -> Page[Case]:
        """Newest first. Raises InvalidPageToken."""
        asked = page.about(str(only_open))
        before = _case_key(asked.after) if asked.after else None
        found = await self._store.list_cases(only_open=only_open, before=before, limit=asked.limit)
        return asked.page(found, lambda case: f"{case.opened_at.isoformat()} {case.case_id}")

    async def records(self, subject_id: str, page: PageRequest) -> Page[Record]:
        """The audit chain, newest first; "" for every subject. Raises InvalidPageToken."""
        asked = page.about(subject_id)
        before = _number(asked.after) if asked.after else 0
        found = await self._store.list_records(subject_id, before, asked.limit)
        return asked.page(found, lambda record: str(record.number))

    async def verify(self) -> Verdict:
        """Computes the chain's hashes anew. The last one goes into the log too, out of reach of the chain's own database."""
        verdict = await self._store.check_chain()
        write = _log.error if verdict.first_broken_number else _log.info
        write(
            "audit chain verified",
            records_count=verdict.records_count,
            first_broken_number=verdict.first_broken_number,
            last_hash=verdict.last_hash,
        )
        return verdict


def _case_key(text: str) -> tuple[datetime, str]:
    at, _, case_id = text.partition(" ")
    try:
        opened_at = datetime.fromisoformat(at)
    except ValueError:
        raise InvalidPageToken(field="page_token") from None
    if opened_at.tzinfo is None or not case_id:
        raise InvalidPageToken(field="page_token")
    return opened_at, case_id


def _number(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) <= 18):  # noqa: PLR2004 - fits a bigint
        raise InvalidPageToken(field="page_token")
    return int(text)
