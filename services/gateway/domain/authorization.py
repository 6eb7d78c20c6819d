"""What is reserved of a payer's money (预授权): captures take it, the merchant or time releases it."""

from dataclasses import replace
from datetime import datetime, timedelta

from services.gateway.domain import payment as payments
from services.gateway.domain import saga
from services.gateway.domain.channel import Outcome, OutcomeKind
from services.gateway.domain.payment import Payment, PaymentState, PaymentStep
from services.gateway.domain.saga import Attempt, AttemptState, Command, Step

# So long channels keep an authorisation; ours is released before, while it is still ours to decide.
CHANNEL_KEEPS_S = 7 * 24 * 3600
AUTHORIZATION_S = 6 * 24 * 3600
# The channel took money of an authorisation that no capture asked for: a person must square that.
CAPTURED_UNASKED = "CAPTURED_UNASKED"

_NOT_RESERVED = frozenset({AttemptState.CLOSED, AttemptState.DECLINED})


def authorized(
    payment: Payment, attempt: Attempt, now: datetime, *, is_agreed: bool
) -> PaymentStep | None:
    """The channel has reserved the money: it waits for captures, or is released at once where nobody will make any."""
    if payment.state is PaymentState.AUTHORIZED:
        return resting(payment, attempt, now)
    if payment.state is PaymentState.CLOSING:
        return payments.ask_later(payment, attempt, now)
    if payment.cancel_requested or not payment.capture_later or not is_agreed:
        # Nobody wants it, or nobody will capture it, or it is not what we asked for.
        why = payments.CLOSE_CANCELED if payment.cancel_requested else payments.CLOSE_UNKNOWN
        return payments.close(payment, attempt, why, now)
    waiting = payments.moved(
        payment,
        now,
        state=PaymentState.AUTHORIZED,
        reason="",
        next_action=None,
        query_count=0,
        authorized_until=now + timedelta(seconds=AUTHORIZATION_S),
        hard_deadline_at=payments.hard_deadline(now + timedelta(seconds=AUTHORIZATION_S)),
    )
    return Step(
        subject=replace(waiting, next_run_at=waiting.authorized_until),
        attempts=(attempt,),
        events=("payment.authorized",),
    )


def still_authorized(
    payment: Payment, attempt: Attempt, outcome: Outcome, now: datetime
) -> PaymentStep:
    """A word other than "authorised" on what was authorised: only its end is news."""
    kept = replace(attempt, state=AttemptState.AUTHORIZED)
    if payment.capturing_minor:
        return resting(payment, kept, now)
    match outcome.kind:
        case OutcomeKind.CLOSED:
            return released(payment, attempt, payments.CLOSE_AUTHORIZATION_EXPIRED, now)
        case OutcomeKind.DECLINED_HARD | OutcomeKind.DECLINED_SOFT:
            # It may be an old word that comes late: the channel says for certain when it is told to close.
            return payments.close(payment, kept, payments.CLOSE_AUTHORIZATION_EXPIRED, now)
        case _:
            return resting(payment, kept, now)


def due(payment: Payment, attempt: Attempt | None, now: datetime) -> PaymentStep:
    """Its time is over, or its captures have taken all they wanted; otherwise it goes on waiting."""
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
    return released(payment, attempt, "", now)


def answered_after_end(
    payment: Payment, attempt: Attempt, told: Attempt, outcome: Outcome, now: datetime
) -> PaymentStep | None:
    """A channel that reserves money for what has ended is told to release it, until it says that it has."""
    is_reserved = attempt.state is AttemptState.AUTHORIZED
    if outcome.kind is OutcomeKind.AUTHORIZED and attempt.state in _NOT_RESERVED:
        return _release(payment, told, now)
    if is_reserved and told.state in _NOT_RESERVED:
        return Step(subject=payments.moved(payment, now, next_run_at=None), attempts=(told,))
    if is_reserved:
        # Anything but a definite word leaves it reserved.
        waiting = payments.moved(payment, now, next_run_at=saga.next_rare_query_at(now))
        return Step(subject=waiting, attempts=(attempt,))
    return None


def due_after_end(payment: Payment, attempt: Attempt | None, now: datetime) -> PaymentStep:
    """Released, if it is still reserved."""
    if attempt is None or attempt.state is not AttemptState.AUTHORIZED:
        return Step(subject=payments.moved(payment, now, next_run_at=None))
    if now >= attempt.sent_at + timedelta(seconds=CHANNEL_KEEPS_S):
        # By now it has released it by itself.
        over = replace(
            attempt, state=AttemptState.CLOSED, code=payments.CLOSE_AUTHORIZATION_EXPIRED
        )
        return Step(subject=payments.moved(payment, now, next_run_at=None), attempts=(over,))
    return _release(payment, attempt, now)


def _release(payment: Payment, attempt: Attempt, now: datetime) -> PaymentStep:
    closing = payments.moved(payment, now, next_run_at=saga.leased_until(now))
    return Step(subject=closing, attempts=(attempt,), command=Command.CLOSE)


def resting(payment: Payment, attempt: Attempt | None, now: datetime) -> PaymentStep:
    """Authorised, until a capture or its time ends it; asked again soon while captures hold up its release."""
    until = payment.authorized_until
    is_early = until is not None and now < until and not payment.is_captured
    due_at = until if is_early else payments.next_query_at(payment, now)
    waiting = payments.moved(payment, now, query_count=payment.query_count + 1, next_run_at=due_at)
    return Step(subject=waiting, attempts=saga.some(attempt))


def released(payment: Payment, attempt: Attempt | None, why: str, now: datetime) -> PaymentStep:
    """Nothing more can be captured; what was captured stays. While a capture is in flight nobody knows how much that is."""
    if payment.capturing_minor:
        return payments.ask_later(payment, attempt, now)
    if payment.captured_minor:
        done = replace(payment, succeeded_at=payment.succeeded_at or now, is_captured=True)
        told = attempt and replace(attempt, state=AttemptState.SUCCEEDED)
        return payments.ended(done, told, PaymentState.SUCCEEDED, "", now)
    return payments.ended(payment, attempt, PaymentState.CANCELED, why, now)
