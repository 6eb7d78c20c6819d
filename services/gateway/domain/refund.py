"""The life of a refund (退款). It goes where its payment went, under one number that the channel knows it by for ever.

The refundable amount is reserved in the transaction that writes the intent, and given back when the channel refuses.
"""

import enum
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, TypeAlias

from services.gateway.domain import saga
from services.gateway.domain.channel import OutcomeKind
from services.gateway.domain.saga import Answered, Attempt, Command, Signal


class RefundState(enum.StrEnum):
    """Where a refund stands, in the operator's words."""

    SENT = "SENT"
    PENDING = "PENDING"
    UNKNOWN = "UNKNOWN"
    SUCCEEDED = "SUCCEEDED"
    FAILED = "FAILED"
    MANUAL = "MANUAL"


LATE_SUCCESS = "LATE_SUCCESS"
_FOR_A_PERSON = frozenset({LATE_SUCCESS, "AMOUNT_MISMATCH"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Refund:
    """One order to give a payer's money back. Field names are the columns of its row."""

    refund_id: str
    payment_id: str
    merchant_id: str
    request_id: str
    fingerprint: str
    amount_minor: int
    currency: str
    note: str
    state: RefundState
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


RefundStep: TypeAlias = saga.Step[Refund]


def open_refund(refund: Refund, now: datetime) -> RefundStep:
    """The durable intent, sent at once."""
    attempt = saga.first_attempt(refund.refund_id, "REFUND", refund.channel_id, 1, now)
    return saga.Step(
        subject=refund, attempts=(attempt,), events=("refund.created",), command=Command.ORDER
    )


def decide(
    refund: Refund, attempt: Attempt | None, signal: Signal, now: datetime
) -> RefundStep | None:
    """What a signal means for a refund; None when it means nothing (any more)."""
    if attempt is None or refund.state is RefundState.SUCCEEDED:
        return None
    if isinstance(signal, Answered):
        return _answered(refund, attempt, signal, now)
    if isinstance(signal, saga.Due) and refund.next_run_at is not None:
        asking = _moved(refund, now, next_run_at=saga.leased_until(now))
        return saga.Step(subject=asking, attempts=(attempt,), command=Command.QUERY)
    return None


def _answered(
    refund: Refund, attempt: Attempt, signal: Answered, now: datetime
) -> RefundStep | None:
    if refund.reason in _FOR_A_PERSON:
        # No word of the channel settles what a person must square.
        return None
    outcome = signal.outcome
    told = saga.record(attempt, signal, now)
    match outcome.kind:
        case OutcomeKind.SUCCEEDED:
            if not saga.amounts_agree(outcome, refund.amount_minor, refund.currency):
                return _ended(refund, told, RefundState.MANUAL, "AMOUNT_MISMATCH", now)
            done = replace(refund, succeeded_at=outcome.paid_at or now)
            if refund.state is RefundState.FAILED:
                # Its amount has been given back meanwhile: only a person can square that.
                return _ended(done, told, RefundState.MANUAL, LATE_SUCCESS, now)
            return _ended(done, told, RefundState.SUCCEEDED, "", now)
        case _ if refund.state is RefundState.FAILED:
            return None
        case OutcomeKind.DECLINED_HARD | OutcomeKind.DECLINED_SOFT | OutcomeKind.CLOSED:
            if attempt.state is saga.AttemptState.UNKNOWN and signal.latency_ms is not None:
                # A refusal of the repeated order says nothing of the first one; only a query does.
                return _waiting(refund, attempt, RefundState.UNKNOWN, now)
            reason = saga.public_reason(outcome.code)
            return _ended(refund, told, RefundState.FAILED, reason, now)
        case OutcomeKind.PENDING:
            return _waiting(refund, told, RefundState.PENDING, now)
        case OutcomeKind.NOT_FOUND if (
            saga.is_visible(attempt, now) and refund.state is not RefundState.MANUAL
        ):
            # The same number again is safe: a channel executes a refund number once.
            again = _moved(refund, now, next_run_at=saga.leased_until(now))
            return saga.Step(subject=again, attempts=(told,), command=Command.ORDER)
        case _:
            return _waiting(refund, told, RefundState.UNKNOWN, now)


def _waiting(refund: Refund, attempt: Attempt, state: RefundState, now: datetime) -> RefundStep:
    if refund.state is RefundState.MANUAL:
        waiting = _moved(refund, now, next_run_at=saga.next_rare_query_at(now))
        return saga.Step(subject=waiting, attempts=(attempt,))
    is_pending = state is RefundState.PENDING
    if now >= saga.patience_ends_at(refund.created_at, refund.hard_deadline_at, is_pending):
        # A person looks at it now; a definite word that comes after all is still heeded.
        step = _ended(refund, attempt, RefundState.MANUAL, saga.OUTCOME_UNKNOWN, now)
        asked_on = replace(step.subject, next_run_at=saga.next_rare_query_at(now))
        return saga.Step(subject=asked_on, attempts=step.attempts, events=step.events)
    waiting = _moved(
        refund,
        now,
        state=state,
        query_count=refund.query_count + 1,
        next_run_at=saga.next_query_at(refund.query_count, now),
    )
    return saga.Step(subject=waiting, attempts=(attempt,))


def _ended(
    refund: Refund, attempt: Attempt, state: RefundState, reason: str, now: datetime
) -> RefundStep:
    ended = _moved(refund, now, state=state, reason=reason, next_run_at=None)
    return saga.Step(subject=ended, attempts=(attempt,), events=(f"refund.{state.lower()}",))


def _moved(refund: Refund, now: datetime, **changes: Any) -> Refund:
    return replace(refund, updated_at=now, version=refund.version + 1, **changes)
