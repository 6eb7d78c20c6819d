"""Bugs in what becomes of money that moved late."""

import itertools
from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

from libs.events.log import StoredEvent
from services.gateway.domain import follow_up, payout, saga
from services.gateway.domain.capture import Capture
from services.gateway.domain.channel import OutcomeKind
from services.gateway.domain.follow_up import FollowUp, Squared
from services.gateway.domain.forcing import Force, SubjectFacts
from services.gateway.domain.payout import Payout, PayoutStep
from services.gateway.domain.saga import Answered, Attempt, AttemptState, Signal, Step
from services.gateway.usecases.forcing import Forcing
from services.gateway.workers import facts
from services.gateway.workers.facts import Postings
from tests.simulation.bug import Patch, bug


@bug
def a_late_payout_is_not_booked(patch: Patch) -> None:
    right = facts.postings

    def postings(events: Iterable[StoredEvent]) -> Postings:
        return right(event for event in events if event.type != "payout.late_success")

    patch(facts, "postings", postings)


@bug
def a_late_success_is_booked_twice(patch: Patch) -> None:
    right, numbers = facts.gave_late, itertools.count()

    def gave(event: StoredEvent) -> Any:
        transfer = right(event)
        transfer.transfer_id += f":{next(numbers)}"
        return transfer

    def postings(events: Iterable[StoredEvent]) -> Postings:
        told = list(events)
        found = booked(told)
        found.transfers += [gave(each) for each in told if each.type == "refund.late_success"]
        return found

    booked = facts.postings
    patch(facts, "postings", postings)


@bug
def a_late_refund_is_booked_the_wrong_way_round(patch: Patch) -> None:
    patch(facts, "gave_late", facts.took_late)


@bug
def a_late_return_is_ignored(patch: Patch) -> None:
    right = payout._answered_late

    def answered(
        subject: Payout, attempt: Attempt | None, signal: Answered, now: datetime
    ) -> PayoutStep | None:
        if signal.outcome.kind is OutcomeKind.RETURNED:
            return None
        return right(subject, attempt, signal, now)

    patch(payout, "_answered_late", answered)


@bug
def a_late_payout_is_noted_before_nobody(patch: Patch) -> None:
    right = payout._answered_late

    def answered(*arguments: Any) -> PayoutStep | None:
        step = right(*arguments)
        return step and replace(step, beside=())

    patch(payout, "_answered_late", answered)


@bug
def a_late_capture_is_not_refunded(patch: Patch) -> None:
    patch(Capture, "beside_late_success", FollowUp.beside_late_success)


@bug
def a_late_success_gives_its_reservation_back_again(patch: Patch) -> None:
    right = follow_up._answered_after_failure

    def answered(order: Any, *arguments: Any) -> Step[Any, Attempt] | None:
        step = right(order, *arguments)
        if step is None or not order.takes_of_payment:
            return step
        return replace(step, beside=(*step.beside, Squared(is_taken=False)))

    patch(follow_up, "_answered_after_failure", answered)


@bug
def a_late_refund_succeeds_although_it_had_failed(patch: Patch) -> None:
    def answered(
        order: Any, attempt: Attempt, signal: Answered, now: datetime
    ) -> Step[Any, Attempt] | None:
        is_paid = signal.outcome.kind is OutcomeKind.SUCCEEDED
        if not is_paid or attempt.state is AttemptState.SUCCEEDED:
            return None
        told = saga.record(attempt, signal, now)
        return follow_up._succeeded(order, told, signal.outcome, now)

    patch(follow_up, "_answered_after_failure", answered)


@bug
def a_stale_copy_tells_a_late_success_twice(patch: Patch) -> None:
    def as_of(self: Answered, attempts: Sequence[Any]) -> Signal:
        return self

    patch(Answered, "as_of", as_of)


@bug
def a_matter_is_resolved_that_is_none(patch: Patch) -> None:
    async def check(self: Forcing, subject_id: str) -> None:
        return

    patch(Forcing, "_check_case", check)


@bug
def a_matter_is_resolved_by_one_person(patch: Patch) -> None:
    right = Forcing.propose

    async def propose(self: Forcing, subject_id: str, **terms: Any) -> Force:
        if terms["to_state"] == saga.RESOLVED:
            await self._flow(subject_id).force(
                subject_id, to_state=saga.RESOLVED, **await _standing(self, subject_id)
            )
        return await right(self, subject_id, **terms)

    patch(Forcing, "propose", propose)


async def _standing(use_case: Forcing, subject_id: str) -> dict[str, str]:
    stands: SubjectFacts = await use_case._facts(subject_id)
    return {"from_state": stands.state, "from_reason": stands.reason}
