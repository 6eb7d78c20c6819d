"""The life of a payment (支付): from the intent to a definite word, over one channel after another.

From UNKNOWN one may only query or close. Another channel is tried only after a definite word on the previous attempt, and
FAILED is never reached while money may have moved.
"""

import enum
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any, TypeAlias

from services.gateway.domain import saga
from services.gateway.domain.channel import Outcome, OutcomeKind
from services.gateway.domain.errors import PaymentNotCancelable
from services.gateway.domain.saga import Answered, Attempt, Command, Plan, Signal

EXPIRES_DEFAULT_S = 15 * 60
ATTEMPTS_MAX = 4


class PaymentState(enum.StrEnum):
    """Where a payment stands, in the operator's words."""

    REVIEW = "REVIEW"
    SENT = "SENT"
    PENDING = "PENDING"
    UNKNOWN = "UNKNOWN"
    CLOSING = "CLOSING"
    SUCCEEDED = "SUCCEEDED"
    FAILED = "FAILED"
    CANCELED = "CANCELED"
    MANUAL = "MANUAL"


ENDED = frozenset(
    {PaymentState.SUCCEEDED, PaymentState.FAILED, PaymentState.CANCELED, PaymentState.MANUAL}
)
# Why an order is being closed at its channel decides where the payment goes once it is.
CLOSE_CANCELED = "CANCELED_BY_MERCHANT"
CLOSE_EXPIRED = "EXPIRED"
CLOSE_UNKNOWN = saga.OUTCOME_UNKNOWN


@dataclass(frozen=True, slots=True, kw_only=True)
class Payment:
    """One order to take money from a payer. Field names are the columns of its row."""

    payment_id: str
    merchant_id: str
    request_id: str
    fingerprint: str
    order_ref: str
    description: str
    amount_minor: int
    currency: str
    method: str
    payer_token: str
    state: PaymentState
    reason: str = ""
    evaluation_id: str
    case_id: str = ""
    plan: Plan
    channel_id: str = ""
    attempts_count: int = 0
    query_count: int = 0
    qr_content: str = ""
    cancel_requested: bool = False
    refunded_minor: int = 0
    created_at: datetime
    updated_at: datetime
    succeeded_at: datetime | None = None
    expires_at: datetime
    hard_deadline_at: datetime
    next_run_at: datetime | None
    version: int = 1
    epoch: int = 1


PaymentStep: TypeAlias = saga.Step[Payment]


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdicts:
    """What risk and router said before the payment was written down."""

    risk: str
    """ALLOW, REVIEW or DENY."""
    case_id: str
    plan: Plan


def open_payment(draft: Payment, verdicts: Verdicts, now: datetime) -> PaymentStep:
    """B1: the durable intent, with its first attempt when it may go out at once."""
    payment = replace(draft, plan=verdicts.plan[:ATTEMPTS_MAX], case_id=verdicts.case_id)
    if verdicts.risk == "DENY":
        return _ended(payment, None, PaymentState.FAILED, "RISK_DENIED", now)
    if verdicts.risk == "REVIEW":
        waiting = replace(
            payment, state=PaymentState.REVIEW, next_run_at=saga.next_query_at(0, now)
        )
        return saga.Step(subject=waiting, events=("payment.review",))
    return _send_next(payment, None, "NO_CHANNEL", now)


def decide(
    payment: Payment, attempt: Attempt | None, signal: Signal, now: datetime
) -> PaymentStep | None:
    """What a signal means for a payment; None when it means nothing (any more).

    Raises PaymentNotCancelable for a wish to cancel what has ended otherwise.
    """
    match signal:
        case Answered():
            return _answered(payment, attempt, signal, now)
        case saga.Due():
            return _due(payment, attempt, now)
        case saga.CancelRequested():
            return _cancel(payment, attempt, now)
        case saga.Approved() if payment.state is PaymentState.REVIEW:
            # The payer's time starts now: a review may have taken hours.
            lifetime = payment.expires_at - payment.created_at
            approved = replace(
                payment,
                expires_at=now + lifetime,
                hard_deadline_at=hard_deadline(now + lifetime),
            )
            return _send_next(approved, attempt, "NO_CHANNEL", now)
        case saga.StillOpen() if payment.state is PaymentState.REVIEW:
            return _still_in_review(payment, attempt, now)
        case saga.Rejected() if payment.state is PaymentState.REVIEW:
            return _ended(payment, attempt, PaymentState.FAILED, "RISK_REJECTED", now)
        case _:
            return None


def _answered(
    payment: Payment, attempt: Attempt | None, signal: Answered, now: datetime
) -> PaymentStep | None:
    if attempt is None:
        return None
    if signal.attempt_number != attempt.number:
        return _answered_earlier(payment, signal, now)
    outcome = signal.outcome
    if outcome.kind is OutcomeKind.SUCCEEDED:
        is_known = attempt.state is saga.AttemptState.SUCCEEDED
        return _paid(payment, saga.record(attempt, signal, now), outcome, now, is_known=is_known)
    if payment.state in ENDED:
        return None
    told = saga.record(attempt, signal, now)
    match outcome.kind:
        case OutcomeKind.DECLINED_SOFT:
            return _send_next(payment, told, saga.public_reason(outcome.code), now)
        case OutcomeKind.DECLINED_HARD:
            reason = saga.public_reason(outcome.code)
            return _ended(payment, told, PaymentState.FAILED, reason, now)
        case OutcomeKind.PENDING:
            return _pending(payment, told, outcome, now)
        case OutcomeKind.CLOSED:
            return _closed(payment, told, now)
        case OutcomeKind.NOT_FOUND if payment.state is PaymentState.CLOSING:
            return _closing_later(payment, told, now)
        case OutcomeKind.NOT_FOUND if saga.is_visible(attempt, now):
            # Closing leaves a mark at the channel that bars a late arrival of our order.
            return _close(payment, told, payment.reason or CLOSE_UNKNOWN, now)
        case _:
            return _unknown(payment, told, now)


def _paid(
    payment: Payment, attempt: Attempt, outcome: Outcome, now: datetime, *, is_known: bool
) -> PaymentStep | None:
    if payment.state is PaymentState.SUCCEEDED:
        return None
    if payment.state is PaymentState.MANUAL and payment.reason != CLOSE_UNKNOWN:
        # A person looks at it already, for a reason that more money does not answer.
        return None if is_known else _late_success(payment, attempt, now)
    if not saga.amounts_agree(outcome, payment.amount_minor, payment.currency):
        return _ended(payment, attempt, PaymentState.MANUAL, "AMOUNT_MISMATCH", now)
    if payment.state in {PaymentState.FAILED, PaymentState.CANCELED}:
        # The channel took money after it had said it would not: only a person can make that good.
        return _ended(payment, attempt, PaymentState.MANUAL, "LATE_SUCCESS", now)
    paid = replace(payment, succeeded_at=outcome.paid_at or now)
    return _ended(paid, attempt, PaymentState.SUCCEEDED, "", now)


def _answered_earlier(payment: Payment, signal: Answered, now: datetime) -> PaymentStep | None:
    """A word on an attempt that had its definite one: only "paid after all" is news."""
    attempt = signal.attempt
    is_paid = signal.outcome.kind is OutcomeKind.SUCCEEDED
    if attempt is None or not is_paid or attempt.state is saga.AttemptState.SUCCEEDED:
        return None
    return _late_success(payment, saga.record(attempt, signal, now), now)


def _late_success(payment: Payment, attempt: Attempt, now: datetime) -> PaymentStep:
    if payment.state in {PaymentState.SUCCEEDED, PaymentState.MANUAL}:
        return saga.Step(
            subject=_moved(payment, now), attempts=(attempt,), events=("payment.late_success",)
        )
    return _ended(payment, attempt, PaymentState.MANUAL, "LATE_SUCCESS", now)


def _pending(payment: Payment, attempt: Attempt, outcome: Outcome, now: datetime) -> PaymentStep:
    if payment.state is PaymentState.CLOSING:
        return _closing_later(payment, attempt, now)
    if payment.cancel_requested:
        return _close(payment, attempt, payment.reason or CLOSE_CANCELED, now)
    qr_content = outcome.qr_content or payment.qr_content
    if payment.state is PaymentState.UNKNOWN and not qr_content:
        # The order stands but its answer was lost: nobody can show this payer what to scan.
        return _close(payment, attempt, CLOSE_UNKNOWN, now)
    if now >= payment.expires_at:
        return _close(payment, attempt, CLOSE_EXPIRED, now)
    is_news = payment.state is not PaymentState.PENDING
    pending = _moved(
        payment,
        now,
        state=PaymentState.PENDING,
        qr_content=qr_content,
        query_count=0 if is_news else payment.query_count + 1,
    )
    due_at = min(saga.next_query_at(pending.query_count + 1, now), payment.expires_at)
    return saga.Step(
        subject=replace(pending, next_run_at=due_at),
        attempts=(attempt,),
        events=("payment.pending",) if is_news else (),
    )


def _unknown(payment: Payment, attempt: Attempt, now: datetime) -> PaymentStep:
    if now >= payment.hard_deadline_at:
        return _ended(payment, attempt, PaymentState.MANUAL, CLOSE_UNKNOWN, now)
    state = PaymentState.UNKNOWN if payment.state is PaymentState.SENT else payment.state
    waiting = _moved(
        payment,
        now,
        state=state,
        query_count=payment.query_count + 1,
        next_run_at=saga.next_query_at(payment.query_count, now),
    )
    return saga.Step(subject=waiting, attempts=(attempt,))


def _closed(payment: Payment, attempt: Attempt, now: datetime) -> PaymentStep:
    if payment.cancel_requested or payment.reason == CLOSE_CANCELED:
        return _ended(payment, attempt, PaymentState.CANCELED, CLOSE_CANCELED, now)
    if payment.state is PaymentState.PENDING or payment.reason == CLOSE_EXPIRED:
        return _ended(payment, attempt, PaymentState.CANCELED, CLOSE_EXPIRED, now)
    return _send_next(payment, attempt, "CHANNEL_UNAVAILABLE", now)


def _due(payment: Payment, attempt: Attempt | None, now: datetime) -> PaymentStep | None:
    if payment.state in ENDED:
        return None
    if payment.state is PaymentState.REVIEW:
        asking = _moved(payment, now, next_run_at=saga.leased_until(now))
        return saga.Step(subject=asking, command=Command.REVIEW)
    if payment.state is PaymentState.CLOSING:
        return _close(payment, attempt, payment.reason, now)
    if payment.state is PaymentState.PENDING and now >= payment.expires_at:
        return _close(payment, attempt, CLOSE_EXPIRED, now)
    asking = _moved(payment, now, next_run_at=saga.leased_until(now))
    return saga.Step(subject=asking, attempts=_some(attempt), command=Command.QUERY)


def _still_in_review(payment: Payment, attempt: Attempt | None, now: datetime) -> PaymentStep:
    if now >= payment.hard_deadline_at:
        return _ended(payment, attempt, PaymentState.CANCELED, CLOSE_EXPIRED, now)
    waiting = _moved(
        payment,
        now,
        query_count=payment.query_count + 1,
        next_run_at=saga.next_query_at(payment.query_count, now),
    )
    return saga.Step(subject=waiting)


def _cancel(payment: Payment, attempt: Attempt | None, now: datetime) -> PaymentStep | None:
    if payment.state is PaymentState.CANCELED or payment.cancel_requested:
        return None
    if payment.state in ENDED:
        raise PaymentNotCancelable(
            f"the payment has ended as {payment.state}", state=payment.state.value
        )
    if payment.state is PaymentState.REVIEW:
        return _ended(payment, attempt, PaymentState.CANCELED, CLOSE_CANCELED, now)
    wished = replace(payment, cancel_requested=True)
    if payment.state is PaymentState.PENDING:
        return _close(wished, attempt, CLOSE_CANCELED, now)
    # An answer is on its way; the wish is kept and heeded when it comes.
    return saga.Step(subject=_moved(wished, now), attempts=_some(attempt))


def _send_next(
    payment: Payment, told: Attempt | None, reason_if_none: str, now: datetime
) -> PaymentStep:
    """The next channel of the plan, or the end of it. `told` has had a definite word, so no money is out there."""
    if payment.cancel_requested:
        return _ended(payment, told, PaymentState.CANCELED, CLOSE_CANCELED, now)
    if payment.attempts_count >= len(payment.plan):
        return _ended(payment, told, PaymentState.FAILED, reason_if_none, now)
    if now >= payment.expires_at:
        return _ended(payment, told, PaymentState.CANCELED, CLOSE_EXPIRED, now)
    number = payment.attempts_count + 1
    channel_id = payment.plan[number - 1]
    attempt = saga.first_attempt(payment.payment_id, "PAYMENT", channel_id, number, now)
    sent = _moved(
        payment,
        now,
        state=PaymentState.SENT,
        reason="",
        channel_id=channel_id,
        attempts_count=number,
        query_count=0,
        next_run_at=saga.leased_until(now),
    )
    events = ("payment.created",) if number == 1 else ("payment.rerouted",)
    return saga.Step(
        subject=sent, attempts=(*_some(told), attempt), events=events, command=Command.ORDER
    )


def _close(payment: Payment, attempt: Attempt | None, why: str, now: datetime) -> PaymentStep:
    if now >= payment.hard_deadline_at:
        return _ended(payment, attempt, PaymentState.MANUAL, CLOSE_UNKNOWN, now)
    closing = _moved(
        payment,
        now,
        state=PaymentState.CLOSING,
        reason=why,
        next_run_at=saga.leased_until(now),
    )
    return saga.Step(subject=closing, attempts=_some(attempt), command=Command.CLOSE)


def _closing_later(payment: Payment, attempt: Attempt, now: datetime) -> PaymentStep:
    """The channel would not close it now; asked again, but not at once."""
    if now >= payment.hard_deadline_at:
        return _ended(payment, attempt, PaymentState.MANUAL, CLOSE_UNKNOWN, now)
    waiting = _moved(
        payment,
        now,
        query_count=payment.query_count + 1,
        next_run_at=saga.next_query_at(payment.query_count, now),
    )
    return saga.Step(subject=waiting, attempts=(attempt,))


def _ended(
    payment: Payment, attempt: Attempt | None, state: PaymentState, reason: str, now: datetime
) -> PaymentStep:
    ended = _moved(payment, now, state=state, reason=reason, next_run_at=None)
    return saga.Step(subject=ended, attempts=_some(attempt), events=(f"payment.{state.lower()}",))


def _moved(payment: Payment, now: datetime, **changes: Any) -> Payment:
    return replace(payment, updated_at=now, version=payment.version + 1, **changes)


def _some(attempt: Attempt | None) -> tuple[Attempt, ...]:
    return () if attempt is None else (attempt,)


def hard_deadline(now: datetime) -> datetime:
    return now + timedelta(seconds=saga.HARD_DEADLINE_S)
