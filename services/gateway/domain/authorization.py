"""What is reserved of a payer's money (预授权): captures take it, the merchant or time releases it."""

from dataclasses import replace
from datetime import datetime, timedelta

from services.gateway.domain import payment as payments
from services.gateway.domain import saga
from services.gateway.domain.channel import Outcome, OutcomeKind
from services.gateway.domain.payment import Payment, PaymentState, PaymentStep
from services.gateway.domain.saga import Attempt, AttemptState, Step

# Channels keep an authorisation for seven days; ours is released before, while it is still ours to decide.
AUTHORIZATION_S = 6 * 24 * 3600
# The channel took money of an authorisation that no capture asked for: a person must square that.
CAPTURED_UNASKED = "CAPTURED_UNASKED"


def authorized(payment: Payment, attempt: Attempt, now: datetime) -> PaymentStep | None:
    if payment.state is PaymentState.AUTHORIZED:
        return resting(payment, attempt, now)
    if payment.state is PaymentState.CLOSING:
        return payments.ask_later(payment, attempt, now)
    if payment.cancel_requested or not payment.capture_later:
        # Nobody wants it, or nobody will capture it.
        why = payments.CLOSE_CANCELED if payment.cancel_requested else payments.CLOSE_UNKNOWN
        return payments.close(payment, attempt, why, now)
    authorized = payments.moved(
        payment,
        now,
        state=PaymentState.AUTHORIZED,
        reason="",
        qr_content="",
        query_count=0,
        authorized_until=now + timedelta(seconds=AUTHORIZATION_S),
        hard_deadline_at=payments.hard_deadline(now + timedelta(seconds=AUTHORIZATION_S)),
    )
    return Step(
        subject=replace(authorized, next_run_at=authorized.authorized_until),
        attempts=(attempt,),
        events=("payment.authorized",),
    )


def still_authorized(
    payment: Payment, attempt: Attempt, outcome: Outcome, now: datetime
) -> PaymentStep:
    """A word other than "authorised" on what was authorised: only its end is news."""
    is_over = outcome.kind in {OutcomeKind.CLOSED, OutcomeKind.DECLINED_HARD}
    if not is_over or payment.capturing_minor:
        return resting(payment, attempt, now)
    return released(payment, attempt, payments.CLOSE_AUTHORIZATION_EXPIRED, now)


def due(payment: Payment, attempt: Attempt | None, now: datetime) -> PaymentStep:
    is_over = payment.authorized_until is not None and now >= payment.authorized_until
    if payment.is_captured:
        return released(payment, attempt, "", now)
    if is_over and not payment.capturing_minor:
        return payments.close(payment, attempt, payments.CLOSE_AUTHORIZATION_EXPIRED, now)
    return resting(payment, attempt, now)


def captured(payment: Payment, attempt: Attempt, outcome: Outcome, now: datetime) -> PaymentStep:
    """The channel says that an authorisation has been used; what our captures took is what counts."""
    if payment.capturing_minor:
        return payments.ask_later(payment, attempt, now)
    if not payment.captured_minor:
        return payments.ended(payment, attempt, PaymentState.MANUAL, CAPTURED_UNASKED, now)
    if not saga.amounts_agree(outcome, payment.captured_minor, payment.currency):
        return payments.ended(payment, attempt, PaymentState.MANUAL, saga.AMOUNT_MISMATCH, now)
    done = replace(payment, succeeded_at=payment.succeeded_at or now, is_captured=True)
    return payments.ended(done, attempt, PaymentState.SUCCEEDED, "", now)


def resting(payment: Payment, attempt: Attempt | None, now: datetime) -> PaymentStep:
    """Authorised, until a capture or its time ends it; asked again soon while captures hold up its release."""
    until = payment.authorized_until
    is_early = until is not None and now < until and not payment.is_captured
    due_at = until if is_early else payments.next_query_at(payment, now)
    resting = payments.moved(payment, now, query_count=payment.query_count + 1, next_run_at=due_at)
    return Step(subject=resting, attempts=saga.some(attempt))


def released(payment: Payment, attempt: Attempt | None, why: str, now: datetime) -> PaymentStep:
    """Nothing more can be captured; what was captured stays. While a capture is in flight nobody knows how much that is."""
    if payment.capturing_minor:
        return payments.ask_later(payment, attempt, now)
    if payment.captured_minor:
        done = replace(payment, succeeded_at=payment.succeeded_at or now, is_captured=True)
        told = attempt and replace(attempt, state=AttemptState.SUCCEEDED)
        return payments.ended(done, told, PaymentState.SUCCEEDED, "", now)
    return payments.ended(payment, attempt, PaymentState.CANCELED, why, now)
