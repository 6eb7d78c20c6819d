"""The life of a payout (付款): hold first, send, and book last. The money stays held until the channel has given a definite word.

A payout that succeeded may still come back: the payee's bank returns it, and the money is the merchant's again.
"""

import enum
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any, TypeAlias

from services.gateway.domain import method as methods
from services.gateway.domain import saga
from services.gateway.domain.channel import OutcomeKind
from services.gateway.domain.errors import ForceRefused
from services.gateway.domain.next_action import NextAction
from services.gateway.domain.saga import (
    Answered,
    Attempt,
    AttemptState,
    CloseCase,
    Command,
    OpenCase,
    Plan,
    Signal,
    Step,
)

FLOW_VERSION = 1
# A payee's bank may send money back days after it took it (退票): so long a payout that succeeded is still asked about.
RETURN_WINDOW_S = 3 * 24 * 3600
RETURN_QUERY_S = 12 * 3600


class PayoutState(enum.StrEnum):
    """Where a payout stands, in the operator's words."""

    REVIEW = "REVIEW"
    HOLDING = "HOLDING"
    SENT = "SENT"
    PENDING = "PENDING"
    UNKNOWN = "UNKNOWN"
    SUCCEEDED = "SUCCEEDED"
    FAILED = "FAILED"
    RETURNED = "RETURNED"
    MANUAL = "MANUAL"


ENDED = frozenset({PayoutState.SUCCEEDED, PayoutState.FAILED, PayoutState.RETURNED})
_FORCEABLE = {
    PayoutState.SUCCEEDED: AttemptState.SUCCEEDED,
    PayoutState.FAILED: AttemptState.CLOSED,
    PayoutState.RETURNED: AttemptState.RETURNED,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Payout:
    """One order to send money to a payee. Field names are the columns of its row."""

    payout_id: str
    merchant_id: str
    request_id: str
    fingerprint: str
    amount_minor: int
    currency: str
    payee_account: str
    payee_name: str
    payee_bank_code: str
    description: str
    method: str = methods.PAYOUT_DEFAULT
    state: PayoutState
    reason: str = ""
    evaluation_id: str
    case_id: str = ""
    plan: Plan
    channel_id: str = ""
    attempts_count: int = 0
    query_count: int = 0
    next_action: NextAction | None = None
    created_at: datetime
    updated_at: datetime
    succeeded_at: datetime | None = None
    returned_at: datetime | None = None
    hard_deadline_at: datetime
    next_run_at: datetime | None
    version: int = 1
    epoch: int = 1
    flow_version: int = FLOW_VERSION
    faults_count: int = 0
    last_fault: str = ""


PayoutStep: TypeAlias = Step[Payout, Attempt]


def open_payout(draft: Payout, risk: str, case_id: str, plan: Plan, now: datetime) -> PayoutStep:
    """B1: the durable intent, before the ledger is asked to hold the money."""
    payout = replace(draft, plan=plan, case_id=case_id)
    if risk == "DENY":
        return _ended(payout, None, PayoutState.FAILED, "RISK_DENIED", now)
    if not plan:
        return _ended(payout, None, PayoutState.FAILED, "NO_CHANNEL", now)
    if risk == "REVIEW":
        waiting = replace(
            payout, state=PayoutState.REVIEW, next_run_at=saga.next_query_at("REVIEW", 0, now)
        )
        return Step(subject=waiting, events=("payout.review",))
    return _hold(payout, ("payout.created",), now)


def decide(
    payout: Payout, attempt: Attempt | None, signal: Signal, now: datetime
) -> PayoutStep | None:
    """What a signal means for a payout; None when it means nothing (any more). Raises ForceRefused."""
    match signal:
        case saga.Forced():
            return _forced(payout, attempt, signal, now)
        case Answered() if attempt is not None:
            return _answered(payout, attempt, signal, now)
        case saga.HoldPlaced() if payout.state is PayoutState.HOLDING:
            return _send_next(payout, None, "CHANNEL_DECLINED", now)
        case saga.HoldRefused() if payout.state is PayoutState.HOLDING:
            return _ended(payout, attempt, PayoutState.FAILED, signal.reason, now)
        case saga.HoldUnknown() if payout.state is PayoutState.HOLDING:
            return _still_holding(payout, now)
        case saga.Approved() if payout.state is PayoutState.REVIEW:
            # The channel's time starts now: a review may have taken hours.
            patience = payout.hard_deadline_at - payout.created_at
            approved = replace(payout, hard_deadline_at=now + patience)
            return _hold(approved, ("payout.created",), now)
        case saga.Rejected() if payout.state is PayoutState.REVIEW:
            return _ended(payout, attempt, PayoutState.FAILED, "RISK_REJECTED", now)
        case saga.StillOpen() if payout.state is PayoutState.REVIEW:
            return _still_in_review(payout, now)
        case saga.Due() if payout.next_run_at is not None:
            return _due(payout, attempt, now)
        case _:
            return None


def _due(payout: Payout, attempt: Attempt | None, now: datetime) -> PayoutStep:
    if payout.reason == saga.AMOUNT_MISMATCH:
        # Somebody had it tried again; no word of the channel would change anything.
        return Step(subject=_moved(payout, now, next_run_at=None))
    if payout.state is PayoutState.REVIEW:
        asking = _moved(payout, now, next_run_at=saga.leased_until(now))
        return Step(subject=asking, command=Command.REVIEW)
    if payout.state is PayoutState.HOLDING:
        return _hold(payout, (), now)
    asking = _moved(payout, now, next_run_at=saga.leased_until(now))
    return Step(subject=asking, attempts=saga.some(attempt), command=Command.QUERY)


def _answered_late(
    payout: Payout, attempt: Attempt | None, signal: Answered, now: datetime
) -> PayoutStep | None:
    """A word on an attempt that had its definite one: money that left after all, or twice, is for a person to get back.

    The payout stays as it was: its hold has been released, or captured for another attempt.
    """
    if attempt is None:
        return None
    is_agreed = saga.amounts_agree(signal.outcome, payout.amount_minor, payout.currency)
    told = saga.late(saga.record(attempt, signal, now), is_agreed=is_agreed)
    has_left = attempt.state is AttemptState.SUCCEEDED
    match signal.outcome.kind:
        case OutcomeKind.SUCCEEDED if not has_left and attempt.state is not AttemptState.RETURNED:
            case = saga.late_success_of(payout.payout_id, payout.merchant_id, is_agreed=is_agreed)
            return Step(
                subject=_moved(payout, now),
                attempts=(told,),
                events=("payout.late_success",) if is_agreed else (),
                beside=(case,),
            )
        case OutcomeKind.RETURNED if (
            has_left and attempt.code != saga.LATE_AMOUNT_MISMATCH and is_agreed
        ):
            back = CloseCase(
                subject_id=payout.payout_id,
                resolution=told.state.value,
                reason=saga.LATE_SUCCESS,
            )
            return Step(
                subject=_moved(payout, now),
                attempts=(told,),
                events=("payout.late_return",),
                beside=() if _is_more_out(payout, signal) else (back,),
            )
        case _:
            return None


def _is_more_out(payout: Payout, signal: Answered) -> bool:
    """Whether another attempt than the one told of has left late, and is still out."""
    return any(
        each.state is AttemptState.SUCCEEDED
        and each.number != signal.attempt_number
        and (each.number != payout.attempts_count or payout.state is PayoutState.FAILED)
        for each in signal.attempts
    )


def _answered_after_success(
    payout: Payout, attempt: Attempt, signal: Answered, now: datetime
) -> PayoutStep | None:
    """The payee's bank may send it back; nothing else undoes a success."""
    if signal.outcome.kind is OutcomeKind.RETURNED:
        told = saga.record(attempt, signal, now)
        back = replace(payout, returned_at=signal.outcome.paid_at or now)
        return _ended(
            back, told, PayoutState.RETURNED, saga.public_return(signal.outcome.code), now
        )
    if payout.next_run_at is None:
        return None
    resting = _moved(payout, now, next_run_at=_watched_until(payout, now))
    return Step(subject=resting, attempts=(attempt,))


def _watched_until(payout: Payout, now: datetime) -> datetime | None:
    since = payout.succeeded_at or now
    next_at = now + timedelta(seconds=RETURN_QUERY_S)
    return next_at if next_at <= since + timedelta(seconds=RETURN_WINDOW_S) else None


def _answered(
    payout: Payout, attempt: Attempt, signal: Answered, now: datetime
) -> PayoutStep | None:
    if signal.attempt_number != attempt.number:
        return _answered_late(payout, signal.attempt, signal, now)
    match payout.state:
        case PayoutState.FAILED:
            return _answered_late(payout, attempt, signal, now)
        case PayoutState.SUCCEEDED:
            return _answered_after_success(payout, attempt, signal, now)
        case PayoutState.RETURNED:
            return None
        case _:
            return _answered_in_time(payout, attempt, signal, now)


def _answered_in_time(
    payout: Payout, attempt: Attempt, signal: Answered, now: datetime
) -> PayoutStep | None:
    if payout.reason == saga.AMOUNT_MISMATCH:
        # No word of the channel settles what a person must square.
        return None
    outcome = signal.outcome
    told = saga.record(attempt, signal, now)
    match outcome.kind:
        case OutcomeKind.SUCCEEDED:
            if not saga.amounts_agree(outcome, payout.amount_minor, payout.currency):
                return _ended(payout, told, PayoutState.MANUAL, saga.AMOUNT_MISMATCH, now)
            done = replace(payout, succeeded_at=outcome.paid_at or now)
            return _ended(done, told, PayoutState.SUCCEEDED, "", now)
        case OutcomeKind.RETURNED:
            # It had succeeded, and nobody told us: first things first, the return is heard of at the next question.
            gone = replace(told, state=AttemptState.SUCCEEDED)
            step = _ended(replace(payout, succeeded_at=now), gone, PayoutState.SUCCEEDED, "", now)
            return replace(step, subject=replace(step.subject, next_run_at=now))
        case OutcomeKind.DECLINED_SOFT | OutcomeKind.DECLINED_HARD | OutcomeKind.CLOSED:
            if attempt.state is saga.AttemptState.UNKNOWN and signal.latency_ms is not None:
                # A refusal of the repeated order says nothing of the first one; only a query does.
                return _waiting(payout, attempt, PayoutState.UNKNOWN, now)
            reason = saga.public_reason(outcome.code)
            if outcome.kind is OutcomeKind.DECLINED_HARD or payout.state is PayoutState.MANUAL:
                return _ended(payout, told, PayoutState.FAILED, reason, now)
            return _send_next(payout, told, reason, now)
        case OutcomeKind.NOT_FOUND if (
            saga.is_visible(attempt, now) and payout.state is not PayoutState.MANUAL
        ):
            # The same number again is safe: a channel executes a payout number once.
            again = _moved(payout, now, next_run_at=saga.leased_until(now))
            return Step(subject=again, attempts=(told,), command=Command.ORDER)
        case _:
            # What the channel is at work on stays so when a question is not answered.
            is_at_work = told.state is AttemptState.PENDING
            state = PayoutState.PENDING if is_at_work else PayoutState.UNKNOWN
            shown = replace(payout, next_action=outcome.next_action or payout.next_action)
            return _waiting(shown, told, state, now)


def _still_in_review(payout: Payout, now: datetime) -> PayoutStep:
    if now >= payout.hard_deadline_at:
        return _ended(payout, None, PayoutState.FAILED, "REVIEW_EXPIRED", now)
    waiting = _moved(
        payout,
        now,
        query_count=payout.query_count + 1,
        next_run_at=_next_query_at(payout, now),
    )
    return Step(subject=waiting)


def _still_holding(payout: Payout, now: datetime) -> PayoutStep:
    """No channel has heard of it yet, so it may end: releasing a hold also bars one that is placed late."""
    if now >= payout.hard_deadline_at:
        return _ended(payout, None, PayoutState.FAILED, "LEDGER_UNAVAILABLE", now)
    return _waiting(payout, None, PayoutState.HOLDING, now)


def _hold(payout: Payout, events: tuple[str, ...], now: datetime) -> PayoutStep:
    holding = _moved(payout, now, state=PayoutState.HOLDING, next_run_at=saga.leased_until(now))
    return Step(subject=holding, events=events, command=Command.HOLD)


def _send_next(
    payout: Payout, told: Attempt | None, reason_if_none: str, now: datetime
) -> PayoutStep:
    if payout.attempts_count >= len(payout.plan):
        return _ended(payout, told, PayoutState.FAILED, reason_if_none, now)
    number = payout.attempts_count + 1
    channel_id = payout.plan[number - 1]
    attempt = saga.first_attempt(payout.payout_id, "PAYOUT", channel_id, number, now)
    sent = _moved(
        payout,
        now,
        state=PayoutState.SENT,
        channel_id=channel_id,
        attempts_count=number,
        query_count=0,
        next_action=None,
        next_run_at=saga.leased_until(now),
    )
    events = ("payout.rerouted",) if told else ()
    return Step(
        subject=sent, attempts=(*saga.some(told), attempt), events=events, command=Command.ORDER
    )


def _waiting(
    payout: Payout, attempt: Attempt | None, state: PayoutState, now: datetime
) -> PayoutStep:
    if payout.state is PayoutState.MANUAL:
        waiting = _moved(payout, now, next_run_at=saga.next_rare_query_at(now))
        return Step(subject=waiting, attempts=saga.some(attempt))
    is_pending = state is PayoutState.PENDING
    if now >= saga.patience_ends_at(payout.created_at, payout.hard_deadline_at, is_pending):
        # A person looks at it now; a definite word that comes after all is still heeded.
        step = _ended(payout, attempt, PayoutState.MANUAL, saga.OUTCOME_UNKNOWN, now)
        return replace(
            step, subject=replace(step.subject, next_run_at=saga.next_rare_query_at(now))
        )
    waiting = _moved(
        payout,
        now,
        state=state,
        query_count=payout.query_count + 1,
        next_run_at=saga.next_query_at(state, payout.query_count, now),
    )
    return Step(subject=waiting, attempts=saga.some(attempt))


def _ended(
    payout: Payout, attempt: Attempt | None, state: PayoutState, reason: str, now: datetime
) -> PayoutStep:
    watched_until = _watched_until(payout, now) if state is PayoutState.SUCCEEDED else None
    ended = _moved(
        payout, now, state=state, reason=reason, next_action=None, next_run_at=watched_until
    )
    beside: tuple[object, ...] = ()
    if state is PayoutState.MANUAL:
        beside = (
            OpenCase(subject_id=payout.payout_id, merchant_id=payout.merchant_id, reason=reason),
        )
    elif payout.state is PayoutState.MANUAL:
        beside = (
            CloseCase(subject_id=payout.payout_id, resolution=state.value, reason=payout.reason),
        )
    return Step(
        subject=ended,
        attempts=saga.some(attempt),
        events=(f"payout.{state.lower()}",),
        beside=beside,
    )


def _forced(
    payout: Payout, attempt: Attempt | None, signal: saga.Forced, now: datetime
) -> PayoutStep:
    if signal.to_state == saga.RESOLVED and payout.state in ENDED:
        case = CloseCase(subject_id=payout.payout_id, resolution=saga.RESOLVED)
        return Step(subject=_moved(payout, now), beside=(case,))
    returns = signal.to_state == PayoutState.RETURNED
    is_open = payout.state not in ENDED
    if signal.to_state not in set(_FORCEABLE) or attempt is None:
        raise ForceRefused(state=payout.state.value, to_state=signal.to_state)
    if returns != (payout.state is PayoutState.SUCCEEDED) or not (is_open or returns):
        raise ForceRefused(state=payout.state.value, to_state=signal.to_state)
    state = PayoutState(signal.to_state)
    (told,) = saga.forced(attempt, _FORCEABLE[state], now)
    dated = {
        PayoutState.SUCCEEDED: replace(payout, succeeded_at=now),
        PayoutState.RETURNED: replace(payout, returned_at=now),
    }
    return _ended(dated.get(state, payout), told, state, saga.FORCED, now)


def _next_query_at(payout: Payout, now: datetime) -> datetime:
    return saga.next_query_at(payout.state, payout.query_count, now)


def _moved(payout: Payout, now: datetime, **changes: Any) -> Payout:
    return replace(payout, updated_at=now, version=payout.version + 1, **changes)
