"""Cases: a person decides what the rules would not."""

import dataclasses

from libs.clock import Clock
from libs.paging import Page, PageRequest
from services.risk.domain import errors
from services.risk.domain.model import Case, CaseState
from services.risk.store.database import RecordedRequest, Store
from services.risk.usecases.events import CaseEvents
from services.risk.usecases.requests import fingerprint, made_before


class Cases:
    """Shows and decides cases."""

    def __init__(self, *, store: Store, events: CaseEvents, clock: Clock) -> None:
        """Each decision is told through the feed, in its transaction."""
        self._store = store
        self._events = events
        self._clock = clock

    async def list_cases(self, state: CaseState | None, page: PageRequest) -> Page[Case]:
        """Cases, oldest first, in one state or all. Raises InvalidPageToken."""
        found = await self._store.cases(state, page.after, page.limit)
        return page.page(found, lambda case: case.case_id)

    async def get(self, case_id: str) -> Case:
        """One case. Raises CaseNotFound."""
        return await self._store.case(case_id)

    async def decide(
        self, request_id: str, case_id: str, *, is_approved: bool, actor: str, note: str
    ) -> Case:
        """Approve or reject a case; a rejected operation gives its day amounts back.

        A case that was decided the same way before is returned as it was decided, by whomever.
        Raises CaseNotFound, CaseAlreadyDecided, ActorRequired, RequestIdReused.
        """
        actor = actor.strip()
        if not actor:
            raise errors.ActorRequired(field="actor")
        state = CaseState.APPROVED if is_approved else CaseState.REJECTED
        digest = fingerprint([case_id, state, actor, note])
        now = self._clock.now()
        async with self._store.transaction() as transaction:
            case = await transaction.lock_case(case_id)
            if await made_before(transaction, "DecideCase", request_id, digest) is not None:
                return case
            if case.state not in (CaseState.OPEN, state):
                raise errors.CaseAlreadyDecided(
                    field="case_id", state=case.state.name, decided_by=case.decided_by
                )
            if case.state is CaseState.OPEN:
                case = dataclasses.replace(
                    case, state=state, decided_by=actor, note=note, decided_at=now
                )
                await transaction.update_case(case)
                if state is CaseState.REJECTED:
                    await transaction.give_back_evaluation(case.evaluation.evaluation_id)
                await transaction.append_events([self._events.of(case, now)])
            recorded = RecordedRequest(digest, case_id)
            await transaction.insert_request("DecideCase", request_id, recorded, now)
        return case
