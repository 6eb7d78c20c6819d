"""The life of an order that follows a payment to its channel: a capture (请款) or a refund (退款).

It goes where its payment went, under one number that the channel knows it by for ever. What it may take of the payment is reserved in the
transaction that writes the intent, and given back when the channel refuses.
"""

import enum
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, ClassVar, TypeVar

from services.gateway.domain import saga
from services.gateway.domain.channel import Outcome, OutcomeKind
from services.gateway.domain.errors import ForceRefused
from services.gateway.domain.saga import Answered, Attempt, AttemptState, Command, Signal, Step

FLOW_VERSION = 1


class FollowUpState(enum.StrEnum):
    """Where it stands, in the operator's words."""

    READY = "READY"
    """Written down by the platform itself, not sent yet."""
    SENT = "SENT"
    PENDING = "PENDING"
    UNKNOWN = "UNKNOWN"
    SUCCEEDED = "SUCCEEDED"
    FAILED = "FAILED"
    MANUAL = "MANUAL"


ENDED = frozenset({FollowUpState.SUCCEEDED, FollowUpState.FAILED})
_FORCEABLE = {
    FollowUpState.SUCCEEDED: AttemptState.SUCCEEDED,
    FollowUpState.FAILED: AttemptState.CLOSED,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class FollowUp:
    """What captures and refunds have in common. Field names are the columns of their rows."""

    kind: ClassVar[str]

    payment_id: str
    merchant_id: str
    request_id: str
    fingerprint: str
    amount_minor: int
    currency: str
    state: FollowUpState
    reason: str = ""
    channel_id: str
    payment_out_ref: str
    payment_amount_minor: int
    query_count: int = 0
    created_at: datetime
    updated_at: datetime
    succeeded_at: datetime | None = None
    hard_deadline_at: datetime
    next_run_at: datetime | None
    version: int = 1
    epoch: int = 1
    flow_version: int = FLOW_VERSION
    faults_count: int = 0
    last_fault: str = ""

    @property
    def subject_id(self) -> str:
        return str(getattr(self, f"{self.kind}_id"))

    @property
    def beside_success(self) -> tuple[object, ...]:
        """What else is written when it succeeds."""
        return ()

    @property
    def takes_of_payment(self) -> bool:
        """Whether its amount is reserved of its payment, and free for another when it fails."""
        return True

    def beside_late_success(self, attempt: Attempt, now: datetime) -> tuple[object, ...]:  # noqa: ARG002 - those who refund need them
        """What else is written when it moves money although it had failed."""
        return (saga.late_success_of(self.subject_id, self.merchant_id, is_agreed=True),)


@dataclass(frozen=True, slots=True, kw_only=True)
class Squared:
    """What was reserved of its payment for this order is taken, or free again. Written beside the step that ends it."""

    is_taken: bool


F = TypeVar("F", bound=FollowUp)


def open_now(order: F, now: datetime) -> Step[F, Attempt]:
    """The durable intent, sent at once."""
    return Step(
        subject=order,
        attempts=(_first_attempt(order, now),),
        events=(f"{order.kind}.created",),
        command=Command.ORDER,
    )


def open_later(order: F, now: datetime) -> Step[F, Attempt]:
    """The durable intent, to be sent by whoever takes it up."""
    return Step(subject=order, attempts=(_first_attempt(order, now),))


def decide(
    order: F, attempt: Attempt | None, signal: Signal, now: datetime
) -> Step[F, Attempt] | None:
    """What a signal means for a capture or refund; None when it means nothing (any more).

    Raises ForceRefused.
    """
    if isinstance(signal, saga.Forced):
        return _forced(order, attempt, signal, now)
    if attempt is None or order.state is FollowUpState.SUCCEEDED:
        return None
    if isinstance(signal, Answered) and order.state is FollowUpState.FAILED:
        return _answered_after_failure(order, attempt, signal, now)
    if isinstance(signal, Answered):
        return _answered(order, attempt, signal, now)
    if isinstance(signal, saga.Due) and order.next_run_at is not None:
        return _due(order, attempt, now)
    return None


def _due(order: F, attempt: Attempt, now: datetime) -> Step[F, Attempt]:
    leased = saga.leased_until(now)
    if order.reason == saga.AMOUNT_MISMATCH:
        # Somebody had it tried again; no word of the channel would change anything.
        return Step(subject=_moved(order, now, next_run_at=None))
    if order.state is FollowUpState.READY:
        sent = _moved(order, now, state=FollowUpState.SENT, next_run_at=leased)
        told = replace(attempt, sent_at=now)
        events = (f"{order.kind}.created",)
        return Step(subject=sent, attempts=(told,), events=events, command=Command.ORDER)
    asking = _moved(order, now, next_run_at=leased)
    return Step(subject=asking, attempts=(attempt,), command=Command.QUERY)


def _answered(
    order: F, attempt: Attempt, signal: Answered, now: datetime
) -> Step[F, Attempt] | None:
    if order.reason == saga.AMOUNT_MISMATCH:
        # No word of the channel settles what a person must square.
        return None
    outcome = signal.outcome
    told = saga.record(attempt, signal, now)
    match outcome.kind:
        case OutcomeKind.SUCCEEDED:
            if not saga.amounts_agree(outcome, order.amount_minor, order.currency):
                return _ended(order, told, FollowUpState.MANUAL, saga.AMOUNT_MISMATCH, now)
            return _succeeded(order, told, outcome, now)
        case OutcomeKind.DECLINED_HARD | OutcomeKind.DECLINED_SOFT | OutcomeKind.CLOSED:
            if attempt.state is AttemptState.UNKNOWN and signal.latency_ms is not None:
                # A refusal of the repeated order says nothing of the first one; only a query does.
                return _waiting(order, attempt, FollowUpState.UNKNOWN, now)
            reason = saga.public_reason(outcome.code)
            return _ended(order, told, FollowUpState.FAILED, reason, now)
        case OutcomeKind.NOT_FOUND if (
            saga.is_visible(attempt, now) and order.state is not FollowUpState.MANUAL
        ):
            # The same number again is safe: a channel executes a follow-up's number once.
            again = _moved(order, now, next_run_at=saga.leased_until(now))
            return Step(subject=again, attempts=(told,), command=Command.ORDER)
        case _:
            # What the channel is at work on stays so when a question is not answered.
            is_at_work = told.state is AttemptState.PENDING
            state = FollowUpState.PENDING if is_at_work else FollowUpState.UNKNOWN
            return _waiting(order, told, state, now)


def _answered_after_failure(
    order: F, attempt: Attempt, signal: Answered, now: datetime
) -> Step[F, Attempt] | None:
    """Only "done after all" is news. What it took of its payment may be another's by now, so that it stays as it was."""
    outcome = signal.outcome
    if outcome.kind is not OutcomeKind.SUCCEEDED or attempt.state is AttemptState.SUCCEEDED:
        return None
    is_agreed = saga.amounts_agree(outcome, order.amount_minor, order.currency)
    told = saga.late(saga.record(attempt, signal, now), is_agreed=is_agreed)
    if not is_agreed:
        case = saga.late_success_of(order.subject_id, order.merchant_id, is_agreed=False)
        return Step(subject=_moved(order, now), attempts=(told,), beside=(case,))
    if not order.takes_of_payment:
        return _succeeded(order, told, outcome, now)
    return Step(
        subject=_moved(order, now),
        attempts=(told,),
        events=(f"{order.kind}.late_success",),
        beside=order.beside_late_success(told, now),
    )


def _succeeded(order: F, told: Attempt, outcome: Outcome, now: datetime) -> Step[F, Attempt]:
    return _ended(
        order, told, FollowUpState.SUCCEEDED, "", now, succeeded_at=outcome.paid_at or now
    )


def _waiting(order: F, attempt: Attempt, state: FollowUpState, now: datetime) -> Step[F, Attempt]:
    if order.state is FollowUpState.MANUAL:
        waiting = _moved(order, now, next_run_at=saga.next_rare_query_at(now))
        return Step(subject=waiting, attempts=(attempt,))
    is_pending = state is FollowUpState.PENDING
    if now >= saga.patience_ends_at(order.created_at, order.hard_deadline_at, is_pending):
        # A person looks at it now; a definite word that comes after all is still heeded.
        step = _ended(order, attempt, FollowUpState.MANUAL, saga.OUTCOME_UNKNOWN, now)
        return replace(
            step, subject=replace(step.subject, next_run_at=saga.next_rare_query_at(now))
        )
    waiting = _moved(
        order,
        now,
        state=state,
        query_count=order.query_count + 1,
        next_run_at=saga.next_query_at(state, order.query_count, now),
    )
    return Step(subject=waiting, attempts=(attempt,))


def _forced(
    order: F, attempt: Attempt | None, signal: saga.Forced, now: datetime
) -> Step[F, Attempt]:
    if signal.to_state == saga.RESOLVED and order.state in ENDED:
        case = saga.CloseCase(subject_id=order.subject_id, resolution=saga.RESOLVED)
        return Step(subject=_moved(order, now), beside=(case,))
    if order.state in ENDED or signal.to_state not in set(_FORCEABLE):
        raise ForceRefused(state=order.state.value, to_state=signal.to_state)
    state = FollowUpState(signal.to_state)
    told = saga.forced(attempt, _FORCEABLE[state], now)
    succeeded_at = now if state is FollowUpState.SUCCEEDED else None
    return _ended(
        order, told[0] if told else None, state, saga.FORCED, now, succeeded_at=succeeded_at
    )


def _ended(
    order: F,
    attempt: Attempt | None,
    state: FollowUpState,
    reason: str,
    now: datetime,
    **changes: Any,
) -> Step[F, Attempt]:
    ended = _moved(order, now, state=state, reason=reason, next_run_at=None, **changes)
    beside = order.beside_success if state is FollowUpState.SUCCEEDED else ()
    if state in ENDED and order.takes_of_payment:
        beside = (*beside, Squared(is_taken=state is FollowUpState.SUCCEEDED))
    if state is FollowUpState.MANUAL:
        beside = (
            saga.OpenCase(
                subject_id=order.subject_id, merchant_id=order.merchant_id, reason=reason
            ),
        )
    elif order.state is FollowUpState.MANUAL:
        case = saga.CloseCase(
            subject_id=order.subject_id, resolution=state.value, reason=order.reason
        )
        beside = (*beside, case)
    return Step(
        subject=ended,
        attempts=saga.some(attempt),
        events=(f"{order.kind}.{state.lower()}",),
        beside=beside,
    )


def _first_attempt(order: FollowUp, now: datetime) -> Attempt:
    return saga.first_attempt(order.subject_id, order.kind.upper(), order.channel_id, 1, now)


def _moved(order: F, now: datetime, **changes: Any) -> F:
    return replace(order, updated_at=now, version=order.version + 1, **changes)
