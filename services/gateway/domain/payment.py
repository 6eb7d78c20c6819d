"""A payment (支付), and the steps that its flow is made of; `payment_flow` decides which one is next."""

import enum
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any, TypeAlias

from services.gateway.domain import saga
from services.gateway.domain.next_action import NextAction
from services.gateway.domain.saga import (
    Attempt,
    CloseCase,
    Command,
    OpenCase,
    Plan,
    Step,
)

FLOW_VERSION = 1
EXPIRES_DEFAULT_S = 15 * 60
ATTEMPTS_MAX = 4


class PaymentState(enum.StrEnum):
    """Where a payment stands, in the operator's words."""

    REVIEW = "REVIEW"
    SENT = "SENT"
    PENDING = "PENDING"
    AUTHORIZED = "AUTHORIZED"
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
CLOSE_AUTHORIZATION_EXPIRED = "AUTHORIZATION_EXPIRED"
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
    auth_code: str = field(default="", repr=False)
    """Forgotten as soon as the payment has ended."""
    wallet_user_id: str = ""
    payer_ip: str = ""
    bank_code: str = ""
    payer_account_id: str = ""
    return_url: str = ""
    state: PaymentState
    reason: str = ""
    evaluation_id: str
    case_id: str = ""
    plan: Plan
    channel_id: str = ""
    attempts_count: int = 0
    query_count: int = 0
    next_action: NextAction | None = None
    """Of the current attempt."""
    cancel_requested: bool = False
    capture_later: bool = False
    capturing_minor: int = 0
    """Reserved by captures in flight."""
    captured_minor: int = 0
    is_captured: bool = False
    """No more will be captured."""
    refunded_minor: int = 0
    created_at: datetime
    updated_at: datetime
    succeeded_at: datetime | None = None
    authorized_until: datetime | None = None
    expires_at: datetime
    hard_deadline_at: datetime
    next_run_at: datetime | None
    version: int = 1
    epoch: int = 1
    flow_version: int = FLOW_VERSION
    faults_count: int = 0
    last_fault: str = ""


PaymentStep: TypeAlias = Step[Payment, Attempt]


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdicts:
    """What risk and router said before the payment was written down."""

    risk: str
    """ALLOW, REVIEW or DENY."""
    case_id: str
    plan: Plan


def send_next(
    payment: Payment, told: Attempt | None, reason_if_none: str, now: datetime
) -> PaymentStep:
    """The next channel of the plan, or the end of it. `told` has had a definite word, so no money is out there."""
    if payment.cancel_requested:
        return ended(payment, told, PaymentState.CANCELED, CLOSE_CANCELED, now)
    if payment.attempts_count >= len(payment.plan):
        return ended(payment, told, PaymentState.FAILED, reason_if_none, now)
    if now >= payment.expires_at:
        return ended(payment, told, PaymentState.CANCELED, CLOSE_EXPIRED, now)
    number = payment.attempts_count + 1
    channel_id = payment.plan[number - 1]
    attempt = saga.first_attempt(payment.payment_id, "PAYMENT", channel_id, number, now)
    sent = moved(
        payment,
        now,
        state=PaymentState.SENT,
        reason="",
        channel_id=channel_id,
        attempts_count=number,
        query_count=0,
        next_action=None,
        next_run_at=saga.leased_until(now),
    )
    events = ("payment.created",) if number == 1 else ("payment.rerouted",)
    return Step(
        subject=sent, attempts=(*saga.some(told), attempt), events=events, command=Command.ORDER
    )


def close(payment: Payment, attempt: Attempt | None, why: str, now: datetime) -> PaymentStep:
    if now >= payment.hard_deadline_at and payment.state is PaymentState.CLOSING:
        return ended(payment, attempt, PaymentState.MANUAL, CLOSE_UNKNOWN, now)
    # However late it is, the channel is told once: nobody else would release what it holds.
    closing = moved(
        payment,
        now,
        state=PaymentState.CLOSING,
        reason=why,
        next_run_at=saga.leased_until(now),
    )
    return Step(subject=closing, attempts=saga.some(attempt), command=Command.CLOSE)


def ask_later(payment: Payment, attempt: Attempt | None, now: datetime) -> PaymentStep:
    """The channel would not close it now; asked again, but not at once, and rarely once it stands before a person."""
    if payment.state is PaymentState.MANUAL:
        resting = moved(payment, now, next_run_at=saga.next_rare_query_at(now))
        return Step(subject=resting, attempts=saga.some(attempt))
    if now >= payment.hard_deadline_at:
        return ended(payment, attempt, PaymentState.MANUAL, CLOSE_UNKNOWN, now)
    waiting = moved(
        payment,
        now,
        query_count=payment.query_count + 1,
        next_run_at=next_query_at(payment, now),
    )
    return Step(subject=waiting, attempts=saga.some(attempt))


def ended(
    payment: Payment, attempt: Attempt | None, state: PaymentState, reason: str, now: datetime
) -> PaymentStep:
    is_manual = state is PaymentState.MANUAL
    asked_on = is_manual and reason == CLOSE_UNKNOWN
    after = moved(
        payment,
        now,
        state=state,
        reason=reason,
        auth_code="",
        next_action=None,
        next_run_at=saga.next_rare_query_at(now) if asked_on else None,
    )
    beside: tuple[object, ...] = ()
    if is_manual:
        beside = (
            OpenCase(subject_id=payment.payment_id, merchant_id=payment.merchant_id, reason=reason),
        )
    elif payment.state is PaymentState.MANUAL:
        beside = (
            CloseCase(subject_id=payment.payment_id, resolution=state.value, reason=payment.reason),
        )
    return Step(
        subject=after,
        attempts=saga.some(attempt),
        events=(f"payment.{state.lower()}",),
        beside=beside,
    )


def moved(payment: Payment, now: datetime, **changes: Any) -> Payment:
    return replace(payment, updated_at=now, version=payment.version + 1, **changes)


def next_query_at(payment: Payment, now: datetime) -> datetime:
    return saga.next_query_at(payment.state, payment.query_count, now)


def hard_deadline(now: datetime) -> datetime:
    return now + timedelta(seconds=saga.HARD_DEADLINE_S)
