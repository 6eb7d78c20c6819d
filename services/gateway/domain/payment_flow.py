"""What happens to a payment: the flow from its intent to a definite word, over one channel after another.

From UNKNOWN one may only query or close. Another channel is tried only after a definite word on the previous attempt, and
FAILED is never reached while money may have moved. What a channel takes after all that is given back by a refund of its own.
"""

from dataclasses import replace
from datetime import datetime

from services.gateway.domain import authorization, saga
from services.gateway.domain import method as methods
from services.gateway.domain import payment as payments
from services.gateway.domain import refund as refunds
from services.gateway.domain.channel import Outcome, OutcomeKind
from services.gateway.domain.errors import CaptureInFlight, ForceRefused, PaymentNotCancelable
from services.gateway.domain.payment import Payment, PaymentState, PaymentStep, Verdicts
from services.gateway.domain.saga import (
    Answered,
    Attempt,
    AttemptState,
    Command,
    Signal,
    Step,
)

_FORCEABLE = {
    PaymentState.SUCCEEDED: AttemptState.SUCCEEDED,
    PaymentState.FAILED: AttemptState.CLOSED,
    PaymentState.CANCELED: AttemptState.CLOSED,
}


def open_payment(draft: Payment, verdicts: Verdicts, now: datetime) -> PaymentStep:
    """B1: the durable intent, with its first attempt when it may go out at once."""
    payment = replace(draft, plan=verdicts.plan[: payments.ATTEMPTS_MAX], case_id=verdicts.case_id)
    if verdicts.risk == "DENY":
        return payments.ended(payment, None, PaymentState.FAILED, "RISK_DENIED", now)
    if verdicts.risk == "REVIEW":
        waiting = replace(
            payment, state=PaymentState.REVIEW, next_run_at=saga.next_query_at("REVIEW", 0, now)
        )
        return Step(subject=waiting, events=("payment.review",))
    return payments.send_next(payment, None, "NO_CHANNEL", now)


def decide(
    payment: Payment, attempt: Attempt | None, signal: Signal, now: datetime
) -> PaymentStep | None:
    """What a signal means for a payment; None when it means nothing (any more).

    Raises PaymentNotCancelable for a wish to cancel what has ended otherwise, CaptureInFlight for one to release what is just being
    captured, and ForceRefused.
    """
    match signal:
        case Answered():
            return _answered(payment, attempt, signal, now)
        case saga.Due():
            return _due(payment, attempt, now)
        case saga.CancelRequested():
            return _cancel(payment, attempt, now)
        case saga.Forced():
            return _forced(payment, attempt, signal, now)
        case saga.Approved() if payment.state is PaymentState.REVIEW:
            # The payer's time starts now: a review may have taken hours.
            lifetime = payment.expires_at - payment.created_at
            approved = replace(
                payment,
                expires_at=now + lifetime,
                hard_deadline_at=payments.hard_deadline(now + lifetime),
            )
            return payments.send_next(approved, attempt, "NO_CHANNEL", now)
        case saga.StillOpen() if payment.state is PaymentState.REVIEW:
            return _still_in_review(payment, attempt, now)
        case saga.Rejected() if payment.state is PaymentState.REVIEW:
            return payments.ended(payment, attempt, PaymentState.FAILED, "RISK_REJECTED", now)
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
    told = saga.record(attempt, signal, now)
    if outcome.kind is OutcomeKind.SUCCEEDED:
        is_known = attempt.state is AttemptState.SUCCEEDED
        return _paid(payment, told, outcome, now, is_known=is_known)
    if payment.state is PaymentState.MANUAL and payment.reason == payments.CLOSE_UNKNOWN:
        return _answered_late(payment, told, outcome, now)
    if payment.state in {PaymentState.FAILED, PaymentState.CANCELED}:
        return authorization.answered_after_end(payment, attempt, told, outcome, now)
    if payment.state in payments.ENDED:
        return None
    if outcome.kind is OutcomeKind.AUTHORIZED:
        is_agreed = saga.amounts_agree(outcome, payment.amount_minor, payment.currency)
        return authorization.authorized(payment, told, now, is_agreed=is_agreed)
    if payment.state is PaymentState.AUTHORIZED:
        return authorization.still_authorized(payment, told, outcome, now)
    return _not_paid(payment, told, outcome, now)


def _not_paid(payment: Payment, told: Attempt, outcome: Outcome, now: datetime) -> PaymentStep:
    match outcome.kind:
        case OutcomeKind.DECLINED_SOFT | OutcomeKind.DECLINED_HARD if payment.authorized_until:
            # It had been reserved, and captures may have taken of it.
            return authorization.released(payment, told, payment.reason, now)
        case OutcomeKind.DECLINED_SOFT:
            return payments.send_next(payment, told, saga.public_reason(outcome.code), now)
        case OutcomeKind.DECLINED_HARD:
            reason = saga.public_reason(outcome.code)
            return payments.ended(payment, told, PaymentState.FAILED, reason, now)
        case OutcomeKind.PENDING:
            return _pending(payment, told, outcome, now)
        case OutcomeKind.CLOSED:
            return _closed(payment, told, now)
        case OutcomeKind.NOT_FOUND if payment.state is PaymentState.CLOSING:
            return payments.ask_later(payment, told, now)
        case OutcomeKind.NOT_FOUND if saga.is_visible(told, now):
            # Closing leaves a mark at the channel that bars a late arrival of our order.
            return payments.close(payment, told, payment.reason or payments.CLOSE_UNKNOWN, now)
        case _:
            return _unknown(payment, told, now)


def _paid(
    payment: Payment, attempt: Attempt, outcome: Outcome, now: datetime, *, is_known: bool
) -> PaymentStep | None:
    if payment.state is PaymentState.SUCCEEDED:
        return None
    if payment.state in {PaymentState.FAILED, PaymentState.CANCELED}:
        return None if is_known else _late_success(payment, attempt, outcome, now)
    if payment.state is PaymentState.MANUAL and payment.reason != payments.CLOSE_UNKNOWN:
        # A person looks at it already, for a reason that this does not answer.
        return None
    if payment.capture_later:
        return authorization.captured(payment, attempt, outcome, now)
    if not saga.amounts_agree(outcome, payment.amount_minor, payment.currency):
        return payments.ended(payment, attempt, PaymentState.MANUAL, saga.AMOUNT_MISMATCH, now)
    paid = replace(
        payment,
        succeeded_at=outcome.paid_at or now,
        captured_minor=payment.amount_minor,
        is_captured=True,
    )
    return payments.ended(paid, attempt, PaymentState.SUCCEEDED, "", now)


def _answered_late(
    payment: Payment, attempt: Attempt, outcome: Outcome, now: datetime
) -> PaymentStep:
    """It stands before a person because nobody knew; a definite word ends that, anything else is asked about rarely."""
    match outcome.kind:
        case OutcomeKind.CLOSED:
            return authorization.released(payment, attempt, payments.CLOSE_EXPIRED, now)
        case OutcomeKind.DECLINED_HARD | OutcomeKind.DECLINED_SOFT if payment.authorized_until:
            return authorization.released(payment, attempt, payments.CLOSE_EXPIRED, now)
        case OutcomeKind.DECLINED_HARD | OutcomeKind.DECLINED_SOFT:
            reason = saga.public_reason(outcome.code)
            return payments.ended(payment, attempt, PaymentState.FAILED, reason, now)
        case _:
            return payments.ask_later(payment, attempt, now)


def _answered_earlier(payment: Payment, signal: Answered, now: datetime) -> PaymentStep | None:
    """A word on an attempt that had its definite one: only "paid after all" is news."""
    attempt = signal.attempt
    is_paid = signal.outcome.kind is OutcomeKind.SUCCEEDED
    if attempt is None or not is_paid or attempt.state is AttemptState.SUCCEEDED:
        return None
    told = saga.record(attempt, signal, now)
    return _late_success(payment, told, signal.outcome, now)


def _late_success(
    payment: Payment, attempt: Attempt, outcome: Outcome, now: datetime
) -> PaymentStep:
    """The channel took money after it had said it would not: it is given back, and a person is told. The payment stays as it was."""
    if not saga.amounts_agree(outcome, payment.amount_minor, payment.currency):
        wrong = saga.late_success_of(payment.payment_id, payment.merchant_id, is_agreed=False)
        told = saga.late(attempt, is_agreed=False)
        return Step(subject=payments.moved(payment, now), attempts=(told,), beside=(wrong,))
    return Step(
        subject=payments.moved(payment, now),
        attempts=(attempt,),
        events=("payment.late_success",),
        beside=refunds.of_late_success(
            attempt,
            payment_id=payment.payment_id,
            payment_out_ref=attempt.out_ref,
            merchant_id=payment.merchant_id,
            amount_minor=payment.amount_minor,
            payment_amount_minor=payment.amount_minor,
            currency=payment.currency,
            now=now,
        ),
    )


def _pending(payment: Payment, attempt: Attempt, outcome: Outcome, now: datetime) -> PaymentStep:
    if payment.state is PaymentState.CLOSING:
        return payments.ask_later(payment, attempt, now)
    if payment.cancel_requested:
        return payments.close(payment, attempt, payment.reason or payments.CLOSE_CANCELED, now)
    next_action = outcome.next_action or payment.next_action
    is_lost = next_action is None and methods.is_lost_without_answer(payment.method)
    if payment.state is PaymentState.UNKNOWN and is_lost:
        # The order stands but its answer was lost: nobody can show this payer what to scan.
        return payments.close(payment, attempt, payments.CLOSE_UNKNOWN, now)
    if now >= payment.expires_at:
        return payments.close(payment, attempt, payments.CLOSE_EXPIRED, now)
    is_news = payment.state is not PaymentState.PENDING
    pending = payments.moved(
        payment,
        now,
        state=PaymentState.PENDING,
        next_action=next_action,
        query_count=0 if is_news else payment.query_count + 1,
    )
    due_at = min(
        saga.next_query_at(pending.state, pending.query_count + 1, now), payment.expires_at
    )
    return Step(
        subject=replace(pending, next_run_at=due_at),
        attempts=(attempt,),
        events=("payment.pending",) if is_news else (),
    )


def _unknown(payment: Payment, attempt: Attempt, now: datetime) -> PaymentStep:
    if now >= payment.hard_deadline_at:
        return payments.ended(payment, attempt, PaymentState.MANUAL, payments.CLOSE_UNKNOWN, now)
    state = PaymentState.UNKNOWN if payment.state is PaymentState.SENT else payment.state
    waiting = payments.moved(
        payment,
        now,
        state=state,
        query_count=payment.query_count + 1,
        next_run_at=saga.next_query_at(state, payment.query_count, now),
    )
    return Step(subject=waiting, attempts=(attempt,))


def _closed(payment: Payment, attempt: Attempt, now: datetime) -> PaymentStep:
    if payment.authorized_until is not None:
        return authorization.released(payment, attempt, payment.reason, now)
    if payment.cancel_requested or payment.reason == payments.CLOSE_CANCELED:
        return payments.ended(payment, attempt, PaymentState.CANCELED, payments.CLOSE_CANCELED, now)
    if payment.state is PaymentState.PENDING or payment.reason == payments.CLOSE_EXPIRED:
        return payments.ended(payment, attempt, PaymentState.CANCELED, payments.CLOSE_EXPIRED, now)
    return payments.send_next(payment, attempt, "CHANNEL_UNAVAILABLE", now)


def _due(payment: Payment, attempt: Attempt | None, now: datetime) -> PaymentStep | None:
    if payment.state in payments.ENDED and payment.next_run_at is None:
        return None
    if payment.state in {PaymentState.FAILED, PaymentState.CANCELED}:
        return authorization.due_after_end(payment, attempt, now)
    if payment.state in payments.ENDED and payment.reason != payments.CLOSE_UNKNOWN:
        # Somebody had it tried again; no word of the channel would change anything.
        return Step(subject=payments.moved(payment, now, next_run_at=None))
    if payment.state is PaymentState.MANUAL:
        # Its time is long over: a channel that still knows of it shall end it, and says so if it was paid.
        closing = payments.moved(payment, now, next_run_at=saga.leased_until(now))
        return Step(subject=closing, attempts=saga.some(attempt), command=Command.CLOSE)
    if payment.state is PaymentState.AUTHORIZED:
        return authorization.due(payment, attempt, now)
    if payment.state is PaymentState.REVIEW:
        asking = payments.moved(payment, now, next_run_at=saga.leased_until(now))
        return Step(subject=asking, command=Command.REVIEW)
    if payment.state is PaymentState.CLOSING:
        return payments.close(payment, attempt, payment.reason, now)
    if payment.state is PaymentState.PENDING and now >= payment.expires_at:
        return payments.close(payment, attempt, payments.CLOSE_EXPIRED, now)
    asking = payments.moved(payment, now, next_run_at=saga.leased_until(now))
    return Step(subject=asking, attempts=saga.some(attempt), command=Command.QUERY)


def _still_in_review(payment: Payment, attempt: Attempt | None, now: datetime) -> PaymentStep:
    if now >= payment.hard_deadline_at:
        return payments.ended(payment, attempt, PaymentState.CANCELED, payments.CLOSE_EXPIRED, now)
    waiting = payments.moved(
        payment,
        now,
        query_count=payment.query_count + 1,
        next_run_at=payments.next_query_at(payment, now),
    )
    return Step(subject=waiting)


def _cancel(payment: Payment, attempt: Attempt | None, now: datetime) -> PaymentStep | None:
    if payment.state is PaymentState.CANCELED or payment.cancel_requested:
        return None
    if payment.state in payments.ENDED:
        raise PaymentNotCancelable(
            f"the payment has ended as {payment.state}", state=payment.state.value
        )
    if payment.state is PaymentState.REVIEW:
        return payments.ended(payment, attempt, PaymentState.CANCELED, payments.CLOSE_CANCELED, now)
    wished = replace(payment, cancel_requested=True)
    if payment.state is PaymentState.AUTHORIZED and payment.capturing_minor:
        raise CaptureInFlight(capturing_minor=str(payment.capturing_minor))
    if payment.state in {PaymentState.PENDING, PaymentState.AUTHORIZED}:
        return payments.close(wished, attempt, payments.CLOSE_CANCELED, now)
    # An answer is on its way; the wish is kept and heeded when it comes.
    return Step(subject=payments.moved(wished, now), attempts=saga.some(attempt))


def _forced(
    payment: Payment, attempt: Attempt | None, signal: saga.Forced, now: datetime
) -> PaymentStep:
    is_over = payment.state in payments.ENDED and payment.state is not PaymentState.MANUAL
    if signal.to_state == saga.RESOLVED and is_over:
        case = saga.CloseCase(subject_id=payment.payment_id, resolution=saga.RESOLVED)
        return Step(subject=payments.moved(payment, now), beside=(case,))
    if is_over or signal.to_state not in set(_FORCEABLE) or payment.capturing_minor:
        raise ForceRefused(state=payment.state.value, to_state=signal.to_state)
    state = PaymentState(signal.to_state)
    told = saga.forced(attempt, _FORCEABLE[state], now)
    if state is PaymentState.SUCCEEDED:
        if not told or (payment.capture_later and not payment.captured_minor):
            raise ForceRefused(state=payment.state.value, to_state=signal.to_state)
        # Of an authorised payment, what its captures have taken is what it comes to.
        captured_minor = payment.captured_minor if payment.capture_later else payment.amount_minor
        payment = replace(
            payment, succeeded_at=now, captured_minor=captured_minor, is_captured=True
        )
    elif payment.captured_minor:
        raise ForceRefused(state=payment.state.value, to_state=signal.to_state)
    return payments.ended(payment, told[0] if told else None, state, saga.FORCED, now)
