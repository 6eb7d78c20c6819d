"""Forced steps: proposed by one person, decided by another, carried out by the flow."""

from collections.abc import Mapping
from typing import Protocol

from libs.audit import NewRecord
from libs.clock import Clock
from libs.ids import IdSource
from libs.paging import Page, PageRequest
from services.gateway.domain import forcing, saga, stuck
from services.gateway.domain.errors import (
    ForceAlreadyDecided,
    ForceNotFound,
    ForceRefused,
    RequestIdReused,
    SubjectNotFound,
)
from services.gateway.domain.forcing import Force, ForceState, SubjectFacts
from services.gateway.store.operators import OperatorStore


class Forcible(Protocol):
    """A flow whose subjects can be forced to an end."""

    async def look(self, subject_id: str) -> SubjectFacts | None:
        """What stands now; None when there is no such subject."""
        ...

    async def force(
        self, subject_id: str, *, to_state: str, from_state: str, from_reason: str
    ) -> int | None:
        """Ends it in that state for the reason FORCED; answers the new version, or None when it no longer stands where it stood.

        Raises ForceRefused when the flow does not allow it.
        """
        ...


class Forcing:
    """Maker and checker."""

    def __init__(
        self,
        *,
        store: OperatorStore,
        flows: Mapping[str, Forcible],
        clock: Clock,
        ids: IdSource,
    ) -> None:
        """`flows` by name: payment, capture, refund, payout."""
        self._store = store
        self._flows = flows
        self._clock = clock
        self._ids = ids

    async def propose(
        self, subject_id: str, *, to_state: str, note: str, request_id: str, maker_id: str
    ) -> Force:
        """Changes nothing yet. Idempotent by request_id. Raises SubjectNotFound, ForceRefused, RequestIdReused."""
        facts = await self._facts(subject_id)
        forcing.check_target(facts.flow, to_state)
        if to_state == saga.RESOLVED and await self._store.find_force(request_id) is None:
            await self._check_case(subject_id)
        force = Force(
            force_id=self._ids.new("for"),
            request_id=request_id,
            subject_id=subject_id,
            subject_version=facts.version,
            subject_state=facts.state,
            subject_reason=facts.reason,
            to_state=to_state,
            note=note,
            maker_id=maker_id,
            proposed_at=self._clock.now(),
        )
        record = self._record("FORCE_PROPOSED", force, maker_id, note=note, state=facts.state)
        stored = await self._store.add_force(force, record)
        if not forcing.is_same_wish(stored, force):
            raise RequestIdReused(field="request_id")
        return stored

    async def decide(
        self, force_id: str, *, is_approved: bool, note: str, checker_id: str
    ) -> Force:
        """Rejects, or approves and carries out. A repetition by the same person answers the same, and completes what a crash cut off.

        Raises ForceNotFound, CheckerIsMaker, ForceAlreadyDecided, and ForceRefused when the flow does not allow it: the proposal is
        rejected then.
        """
        force = await self._get(force_id)
        decided = forcing.decide(
            force,
            is_approved=is_approved,
            checker_id=checker_id,
            note=note,
            now=self._clock.now(),
        )
        if decided is not None:
            action = "FORCE_APPROVED" if is_approved else "FORCE_REJECTED"
            record = self._record(action, decided, checker_id, note=note)
            if not await self._store.write_decision(force, decided, record):
                raise ForceAlreadyDecided("somebody else was faster", force_id=force_id)
            force = decided
        if force.state is not ForceState.PROPOSED:
            return force
        return await self._carry_out(force, checker_id)

    async def page(self, state: str, page: PageRequest) -> Page[Force]:
        """Newest first; "" for every state. Raises InvalidPageToken."""
        asked = page.about(state)
        found = await self._store.list_forces(state, asked.after, asked.limit)
        return asked.page(found, lambda force: force.force_id)

    async def _carry_out(self, force: Force, actor_id: str) -> Force:
        """Sees an approved proposal through; harmless however often it is done."""
        try:
            is_done = await self._apply(force)
        except ForceRefused:
            await self._settle(force, ForceState.REJECTED, "FORCE_REFUSED", actor_id)
            raise
        if is_done:
            return await self._settle(force, ForceState.APPLIED, "FORCE_APPLIED", actor_id)
        return await self._settle(force, ForceState.STALE, "FORCE_STALE", actor_id)

    async def _apply(self, force: Force) -> bool:
        """Whether it stands carried out: by this call, by one that a crash cut off, or by another replica at the same time."""
        try:
            version = await self._flow(force.subject_id).force(
                force.subject_id,
                to_state=force.to_state,
                from_state=force.subject_state,
                from_reason=force.subject_reason,
            )
        except ForceRefused:
            if await self._is_applied(force):
                return True
            raise
        return version is not None or await self._is_applied(force)

    async def _is_applied(self, force: Force) -> bool:
        facts = await self._facts(force.subject_id)
        return forcing.is_applied(force, facts) and not await self._store.is_superseded(force)

    async def _settle(self, force: Force, state: ForceState, action: str, actor_id: str) -> Force:
        settled = forcing.settle(force, state, self._clock.now())
        record = self._record(action, settled, actor_id)
        if await self._store.write_decision(force, settled, record):
            return settled
        # Somebody else has seen it through meanwhile.
        return await self._get(force.force_id)

    async def _check_case(self, subject_id: str) -> None:
        cases = await self._store.cases_of(subject_id)
        if all(case.closed_at for case in cases):
            raise ForceRefused("no case of it is open", field="to_state", to_state=saga.RESOLVED)

    async def _get(self, force_id: str) -> Force:
        force = await self._store.get_force(force_id)
        if force is None:
            raise ForceNotFound(field="force_id")
        return force

    async def _facts(self, subject_id: str) -> SubjectFacts:
        facts = await self._flow(subject_id).look(subject_id)
        if facts is None:
            raise SubjectNotFound(field="subject_id")
        return facts

    def _flow(self, subject_id: str) -> Forcible:
        flow = self._flows.get(stuck.flow_of(subject_id))
        if flow is None:
            raise SubjectNotFound(field="subject_id")
        return flow

    def _record(self, action: str, force: Force, actor_id: str, **more: str) -> NewRecord:
        return NewRecord(
            at=self._clock.now(),
            actor_id=actor_id,
            action=action,
            subject_id=force.subject_id,
            detail={
                "force_id": force.force_id,
                "to_state": force.to_state,
                "maker_id": force.maker_id,
                "checker_id": force.checker_id,
                **more,
            },
        )
