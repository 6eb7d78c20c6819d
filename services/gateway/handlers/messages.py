"""Payments, captures, refunds, payouts and their events as the contract says them."""

from collections.abc import Sequence

from google.protobuf.message import Message

from fisc.common.v1 import money_pb2
from fisc.gateway.v1 import events_pb2, payment_pb2
from libs.events.log import NewEvent
from libs.rpc.convert import to_timestamp
from services.gateway.clients.wire import METHODS
from services.gateway.domain.capture import Capture
from services.gateway.domain.follow_up import FollowUpState
from services.gateway.domain.next_action import (
    CallSdk,
    NextAction,
    Redirect,
    ShowQr,
    SubmitForm,
    Wait,
)
from services.gateway.domain.payment import Payment, PaymentState
from services.gateway.domain.payout import Payout, PayoutState
from services.gateway.domain.refund import Refund, RefundOrigin
from services.gateway.domain.saga import Attempt, Step

_P, _R, _O = payment_pb2.Payment, payment_pb2.Refund, payment_pb2.Payout
_C, _N = payment_pb2.Capture, payment_pb2.NextAction
PAYMENT_STATES = {
    PaymentState.REVIEW: _P.STATE_REQUIRES_REVIEW,
    PaymentState.SENT: _P.STATE_PROCESSING,
    PaymentState.PENDING: _P.STATE_PENDING,
    PaymentState.AUTHORIZED: _P.STATE_AUTHORIZED,
    PaymentState.UNKNOWN: _P.STATE_PROCESSING,
    PaymentState.CLOSING: _P.STATE_PROCESSING,
    PaymentState.SUCCEEDED: _P.STATE_SUCCEEDED,
    PaymentState.FAILED: _P.STATE_FAILED,
    PaymentState.CANCELED: _P.STATE_CANCELED,
    PaymentState.MANUAL: _P.STATE_MANUAL,
}
REFUND_STATES = {
    FollowUpState.READY: _R.STATE_PROCESSING,
    FollowUpState.SENT: _R.STATE_PROCESSING,
    FollowUpState.PENDING: _R.STATE_PROCESSING,
    FollowUpState.UNKNOWN: _R.STATE_PROCESSING,
    FollowUpState.SUCCEEDED: _R.STATE_SUCCEEDED,
    FollowUpState.FAILED: _R.STATE_FAILED,
    FollowUpState.MANUAL: _R.STATE_MANUAL,
}
CAPTURE_STATES = {
    FollowUpState.READY: _C.STATE_PROCESSING,
    FollowUpState.SENT: _C.STATE_PROCESSING,
    FollowUpState.PENDING: _C.STATE_PROCESSING,
    FollowUpState.UNKNOWN: _C.STATE_PROCESSING,
    FollowUpState.SUCCEEDED: _C.STATE_SUCCEEDED,
    FollowUpState.FAILED: _C.STATE_FAILED,
    FollowUpState.MANUAL: _C.STATE_MANUAL,
}
_ORIGINS = {
    RefundOrigin.MERCHANT: _R.ORIGIN_MERCHANT,
    RefundOrigin.LATE_SUCCESS: _R.ORIGIN_LATE_SUCCESS,
}
PAYOUT_STATES = {
    PayoutState.REVIEW: _O.STATE_REQUIRES_REVIEW,
    PayoutState.HOLDING: _O.STATE_PROCESSING,
    PayoutState.SENT: _O.STATE_PROCESSING,
    PayoutState.PENDING: _O.STATE_PROCESSING,
    PayoutState.UNKNOWN: _O.STATE_PROCESSING,
    PayoutState.SUCCEEDED: _O.STATE_SUCCEEDED,
    PayoutState.FAILED: _O.STATE_FAILED,
    PayoutState.RETURNED: _O.STATE_RETURNED,
    PayoutState.MANUAL: _O.STATE_MANUAL,
}
# A reason is told to merchants only where the subject has ended; before that it is the gateway's own note.
_PAYMENT_ENDED = {
    PaymentState.FAILED,
    PaymentState.CANCELED,
    PaymentState.MANUAL,
}
ACCOUNT_TAIL = 4


def payment_states_named(state: payment_pb2.Payment.State.ValueType) -> list[str]:
    """The operator's states behind one public state; none for "any"."""
    return [ours.value for ours, public in PAYMENT_STATES.items() if public == state]


def payment(subject: Payment) -> payment_pb2.Payment:
    """As a merchant sees it."""
    message = payment_pb2.Payment(
        payment_id=subject.payment_id,
        merchant_id=subject.merchant_id,
        request_id=subject.request_id,
        order_ref=subject.order_ref,
        amount=money_pb2.Money(currency=subject.currency, amount_minor=subject.amount_minor),
        method=METHODS[subject.method],
        state=PAYMENT_STATES[subject.state],
        reason=subject.reason if subject.state in _PAYMENT_ENDED else "",
        refunded_minor=subject.refunded_minor,
        channel_id=subject.channel_id,
        attempts_count=subject.attempts_count,
        created_at=to_timestamp(subject.created_at),
        updated_at=to_timestamp(subject.updated_at),
        expires_at=to_timestamp(subject.expires_at),
        version=subject.version,
        description=subject.description,
        capture_method=(
            payment_pb2.CAPTURE_METHOD_MANUAL
            if subject.capture_later
            else payment_pb2.CAPTURE_METHOD_AUTOMATIC
        ),
        captured_minor=subject.captured_minor + subject.capturing_minor,
    )
    if subject.authorized_until is not None:
        message.authorized_until.CopyFrom(to_timestamp(subject.authorized_until))
    if subject.state is PaymentState.PENDING and subject.next_action is not None:
        message.next_action.CopyFrom(next_action(subject.next_action))
    if subject.succeeded_at is not None:
        message.succeeded_at.CopyFrom(to_timestamp(subject.succeeded_at))
    return message


def capture(subject: Capture) -> payment_pb2.Capture:
    """As a merchant sees it."""
    message = payment_pb2.Capture(
        capture_id=subject.capture_id,
        payment_id=subject.payment_id,
        merchant_id=subject.merchant_id,
        request_id=subject.request_id,
        amount=money_pb2.Money(currency=subject.currency, amount_minor=subject.amount_minor),
        is_final=subject.is_final,
        state=CAPTURE_STATES[subject.state],
        reason=subject.reason,
        channel_id=subject.channel_id,
        created_at=to_timestamp(subject.created_at),
        updated_at=to_timestamp(subject.updated_at),
        version=subject.version,
    )
    if subject.succeeded_at is not None:
        message.succeeded_at.CopyFrom(to_timestamp(subject.succeeded_at))
    return message


def refund(subject: Refund) -> payment_pb2.Refund:
    """As a merchant sees it."""
    message = payment_pb2.Refund(
        refund_id=subject.refund_id,
        payment_id=subject.payment_id,
        merchant_id=subject.merchant_id,
        request_id=subject.request_id,
        amount=money_pb2.Money(currency=subject.currency, amount_minor=subject.amount_minor),
        state=REFUND_STATES[subject.state],
        reason=subject.reason,
        note=subject.note,
        channel_id=subject.channel_id,
        created_at=to_timestamp(subject.created_at),
        updated_at=to_timestamp(subject.updated_at),
        version=subject.version,
        origin=_ORIGINS[subject.origin],
    )
    if subject.succeeded_at is not None:
        message.succeeded_at.CopyFrom(to_timestamp(subject.succeeded_at))
    return message


def payout(subject: Payout) -> payment_pb2.Payout:
    """As a merchant sees it; of the payee's account only the tail."""
    message = payment_pb2.Payout(
        payout_id=subject.payout_id,
        merchant_id=subject.merchant_id,
        request_id=subject.request_id,
        amount=money_pb2.Money(currency=subject.currency, amount_minor=subject.amount_minor),
        payee=payment_pb2.Payee(
            account=f"****{subject.payee_account[-ACCOUNT_TAIL:]}",
            name=subject.payee_name,
            bank_code=subject.payee_bank_code,
        ),
        state=PAYOUT_STATES[subject.state],
        reason=subject.reason,
        description=subject.description,
        method=METHODS[subject.method],
        channel_id=subject.channel_id,
        created_at=to_timestamp(subject.created_at),
        updated_at=to_timestamp(subject.updated_at),
        version=subject.version,
    )
    if subject.succeeded_at is not None:
        message.succeeded_at.CopyFrom(to_timestamp(subject.succeeded_at))
    if subject.returned_at is not None:
        message.returned_at.CopyFrom(to_timestamp(subject.returned_at))
    if subject.state is PayoutState.PENDING and subject.next_action is not None:
        message.next_action.CopyFrom(next_action(subject.next_action))
    return message


def next_action(action: NextAction) -> payment_pb2.NextAction:
    """As a merchant sees it."""
    match action:
        case ShowQr():
            return _N(qr_content=action.content)
        case Redirect():
            return _N(redirect=_N.Redirect(url=action.url))
        case SubmitForm():
            fields = [_N.Form.Field(name=name, value=value) for name, value in action.fields]
            return _N(form=_N.Form(url=action.url, fields=fields, charset=action.charset))
        case CallSdk():
            return _N(sdk_call=_N.SdkCall(parameters=action.parameters))
        case Wait():
            return _N(wait=_N.Wait(poll_after_s=action.poll_after_s))


def attempt(subject: Attempt) -> events_pb2.AttemptRecord:
    """As an operator sees it."""
    return events_pb2.AttemptRecord(
        attempt_id=subject.attempt_id,
        subject_id=subject.subject_id,
        number=subject.number,
        channel_id=subject.channel_id,
        out_ref=subject.out_ref,
        provider_ref=subject.provider_ref,
        state=subject.state.value,
        code=subject.code,
        latency_ms=subject.latency_ms,
        channel_fee_minor=-1 if subject.fee_minor is None else subject.fee_minor,
    )


def encode_payment_events(step: Step[Payment, Attempt]) -> Sequence[NewEvent]:
    """The facts of a payment's step, for the event log."""
    if not step.events:
        return ()
    message = events_pb2.PaymentEvent(
        payment=payment(step.subject), attempts=[attempt(each) for each in step.attempts]
    )
    return _events(step, step.subject.payment_id, message)


def encode_capture_events(step: Step[Capture, Attempt]) -> Sequence[NewEvent]:
    """The facts of a capture's step. The payment is named, not repeated: its row lives its own life."""
    if not step.events:
        return ()
    message = events_pb2.CaptureEvent(
        capture=capture(step.subject), payment_out_ref=step.subject.payment_out_ref
    )
    if step.attempt is not None:
        message.attempt.CopyFrom(attempt(step.attempt))
    return _events(step, step.subject.capture_id, message)


def encode_refund_events(step: Step[Refund, Attempt]) -> Sequence[NewEvent]:
    """The facts of a refund's step. The payment is named, not repeated: its row lives its own life."""
    if not step.events:
        return ()
    message = events_pb2.RefundEvent(
        refund=refund(step.subject), payment_out_ref=step.subject.payment_out_ref
    )
    if step.attempt is not None:
        message.attempt.CopyFrom(attempt(step.attempt))
    return _events(step, step.subject.refund_id, message)


def encode_payout_events(step: Step[Payout, Attempt]) -> Sequence[NewEvent]:
    """The facts of a payout's step."""
    if not step.events:
        return ()
    message = events_pb2.PayoutEvent(
        payout=payout(step.subject), attempts=[attempt(each) for each in step.attempts]
    )
    return _events(step, step.subject.payout_id, message)


def _events(
    step: "Step[Payment, Attempt] | Step[Capture, Attempt] | Step[Refund, Attempt] | Step[Payout, Attempt]",
    subject_id: str,
    message: Message,
) -> list[NewEvent]:
    payload = message.SerializeToString()
    return [
        NewEvent(
            # The history of a subject is found by how these begin.
            event_id=f"{subject_id}-{step.subject.version}-{number}",
            type=kind,
            merchant_id=step.subject.merchant_id,
            subject_id=subject_id,
            occurred_at=step.subject.updated_at,
            payload=payload,
            payload_type=message.DESCRIPTOR.full_name,
        )
        for number, kind in enumerate(step.events)
    ]
