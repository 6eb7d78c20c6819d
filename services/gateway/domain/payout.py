"""The life of a payout (付款): hold first, send, and book last. The money stays held until the channel has given a definite word."""

import enum
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, TypeAlias

from services.gateway.domain import saga
from services.gateway.domain.channel import OutcomeKind
from services.gateway.domain.saga import Answered, Attempt, Command, Plan, Signal


class PayoutState(enum.StrEnum):
    """Where a payout stands, in the operator's words."""

    REVIEW = "REVIEW"
    HOLDING = "HOLDING"
    SENT = "SENT"
    PENDING = "PENDING"
    UNKNOWN = "UNKNOWN"
    SUCCEEDED = "SUCCEEDED"
    FAILED = "FAILED"
    MANUAL = "MANUAL"


LATE_SUCCESS = "LATE_SUCCESS"
_FOR_A_PERSON = frozenset({LATE_SUCCESS, "AMOUNT_MISMATCH"})


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
    state: PayoutState
    reason: str = ""
    evaluation_id: str
    case_id: str = ""
    plan: Plan
    channel_id: str = ""
    attempts_count: int = 0
    query_count: int = 0
    created_at: datetime
    updated_at: datetime
    succeeded_at: datetime | None = None
    hard_deadline_at: datetime
    next_run_at: datetime | None
    version: int = 1
    epoch: int = 1


PayoutStep: TypeAlias = saga.Step[Payout]


def open_payout(draft: Payout, risk: str, case_id: str, plan: Plan, now: datetime) -> PayoutStep:
    """B1: the durable intent, before the ledger is asked to hold the money."""
    payout = replace(draft, plan=plan, case_id=case_id)
    if risk == "DENY":
        return _ended(payout, None, PayoutState.FAILED, "RISK_DENIED", now)
    if not plan:
        return _ended(payout, None, PayoutState.FAILED, "NO_CHANNEL", now)
    if risk == "REVIEW":
        waiting = replace(payout, state=PayoutState.REVIEW, next_run_at=saga.next_query_at(0, now))
        return saga.Step(subject=waiting, events=("payout.review",))
    return _hold(payout, ("payout.created",), now)


def decide(
    payout: Payout, attempt: Attempt | None, signal: Signal, now: datetime
) -> PayoutStep | None:
    """What a signal means for a payout; None when it means nothing (any more)."""
    if payout.state is PayoutState.SUCCEEDED:
        return None
    match signal:
        case Answered() if attempt is not None and signal.attempt_number == attempt.number:
            return _answered(payout, attempt, signal, now)
        case saga.HoldPlaced() if payout.state is PayoutState.HOLDING:
            return _send_next(payout, None, "CHANNEL_DECLINED", now)
        case saga.HoldRefused() if payout.state is PayoutState.HOLDING:
            return _ended(payout, attempt, PayoutState.FAILED, signal.reason, now)
        case saga.HoldUnknown() if payout.state is PayoutState.HOLDING:
            return _waiting(payout, attempt, PayoutState.HOLDING, now)
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
    if payout.state is PayoutState.REVIEW:
        asking = _moved(payout, now, next_run_at=saga.leased_until(now))
        return saga.Step(subject=asking, command=Command.REVIEW)
    if payout.state is PayoutState.HOLDING:
        return _hold(payout, (), now)
    asking = _moved(payout, now, next_run_at=saga.leased_until(now))
    return saga.Step(subject=asking, attempts=_some(attempt), command=Command.QUERY)


def _answered(
    payout: Payout, attempt: Attempt, signal: Answered, now: datetime
) -> PayoutStep | None:
    if payout.reason in _FOR_A_PERSON:
        # No word of the channel settles what a person must square.
        return None
    outcome = signal.outcome
    told = saga.record(attempt, signal, now)
    match outcome.kind:
        case OutcomeKind.SUCCEEDED:
            if not saga.amounts_agree(outcome, payout.amount_minor, payout.currency):
                return _ended(payout, told, PayoutState.MANUAL, "AMOUNT_MISMATCH", now)
            done = replace(payout, succeeded_at=outcome.paid_at or now)
            if payout.state is PayoutState.FAILED:
                # Its hold has been released meanwhile: only a person can square that.
                return _ended(done, told, PayoutState.MANUAL, LATE_SUCCESS, now)
            return _ended(done, told, PayoutState.SUCCEEDED, "", now)
        case _ if payout.state is PayoutState.FAILED:
            return None
        case OutcomeKind.DECLINED_SOFT | OutcomeKind.DECLINED_HARD | OutcomeKind.CLOSED:
            if attempt.state is saga.AttemptState.UNKNOWN and signal.latency_ms is not None:
                # A refusal of the repeated order says nothing of the first one; only a query does.
                return _waiting(payout, attempt, PayoutState.UNKNOWN, now)
            reason = saga.public_reason(outcome.code)
            if outcome.kind is OutcomeKind.DECLINED_HARD or payout.state is PayoutState.MANUAL:
                return _ended(payout, told, PayoutState.FAILED, reason, now)
            return _send_next(payout, told, reason, now)
        case OutcomeKind.PENDING:
            return _waiting(payout, told, PayoutState.PENDING, now)
        case OutcomeKind.NOT_FOUND if (
            saga.is_visible(attempt, now) and payout.state is not PayoutState.MANUAL
        ):
            # The same number again is safe: a channel executes a payout number once.
            again = _moved(payout, now, next_run_at=saga.leased_until(now))
            return saga.Step(subject=again, attempts=(told,), command=Command.ORDER)
        case _:
            return _waiting(payout, told, PayoutState.UNKNOWN, now)


def _still_in_review(payout: Payout, now: datetime) -> PayoutStep:
    if now >= payout.hard_deadline_at:
        return _ended(payout, None, PayoutState.FAILED, "REVIEW_EXPIRED", now)
    waiting = _moved(
        payout,
        now,
        query_count=payout.query_count + 1,
        next_run_at=saga.next_query_at(payout.query_count, now),
    )
    return saga.Step(subject=waiting)


def _hold(payout: Payout, events: tuple[str, ...], now: datetime) -> PayoutStep:
    holding = _moved(payout, now, state=PayoutState.HOLDING, next_run_at=saga.leased_until(now))
    return saga.Step(subject=holding, events=events, command=Command.HOLD)


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
        next_run_at=saga.leased_until(now),
    )
    events = ("payout.rerouted",) if told else ()
    return saga.Step(
        subject=sent, attempts=(*_some(told), attempt), events=events, command=Command.ORDER
    )


def _waiting(
    payout: Payout, attempt: Attempt | None, state: PayoutState, now: datetime
) -> PayoutStep:
    if payout.state is PayoutState.MANUAL:
        waiting = _moved(payout, now, next_run_at=saga.next_rare_query_at(now))
        return saga.Step(subject=waiting, attempts=_some(attempt))
    is_pending = state is PayoutState.PENDING
    if now >= saga.patience_ends_at(payout.created_at, payout.hard_deadline_at, is_pending):
        # A person looks at it now; a definite word that comes after all is still heeded.
        step = _ended(payout, attempt, PayoutState.MANUAL, saga.OUTCOME_UNKNOWN, now)
        asked_on = replace(step.subject, next_run_at=saga.next_rare_query_at(now))
        return saga.Step(subject=asked_on, attempts=step.attempts, events=step.events)
    waiting = _moved(
        payout,
        now,
        state=state,
        query_count=payout.query_count + 1,
        next_run_at=saga.next_query_at(payout.query_count, now),
    )
    return saga.Step(subject=waiting, attempts=_some(attempt))


def _ended(
    payout: Payout, attempt: Attempt | None, state: PayoutState, reason: str, now: datetime
) -> PayoutStep:
    ended = _moved(payout, now, state=state, reason=reason, next_run_at=None)
    return saga.Step(subject=ended, attempts=_some(attempt), events=(f"payout.{state.lower()}",))


def _moved(payout: Payout, now: datetime, **changes: Any) -> Payout:
    return replace(payout, updated_at=now, version=payout.version + 1, **changes)


def _some(attempt: Attempt | None) -> tuple[Attempt, ...]:
    return () if attempt is None else (attempt,)
