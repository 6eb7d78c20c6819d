"""Protobuf as our own types."""

from collections.abc import Iterable

from google.protobuf import message

from fisc.common.v1 import events_pb2, method_pb2, money_pb2
from fisc.gateway.v1 import events_pb2 as gateway_events_pb2
from fisc.gateway.v1 import payment_pb2
from libs.rpc import convert
from services.cockpit.domain.facts import Attempt, Fact, Kind
from services.cockpit.domain.readings import Amount


def fact_of(event: events_pb2.Event) -> Fact | None:
    """What an event of the gateway says; None for events that are about something else.

    Raises ValueError for a payload that is not what the event's type promises.
    """
    family = event.type.partition(".")[0]
    if family == Kind.PAYMENT:
        of_payment = gateway_events_pb2.PaymentEvent()
        _unpack(event, of_payment)
        return payment_fact(of_payment.payment, of_payment.attempts)
    if family == Kind.REFUND:
        of_refund = gateway_events_pb2.RefundEvent()
        _unpack(event, of_refund)
        attempts = (of_refund.attempt,) if of_refund.HasField("attempt") else ()
        return refund_fact(of_refund.refund, attempts)
    if family == Kind.PAYOUT:
        of_payout = gateway_events_pb2.PayoutEvent()
        _unpack(event, of_payout)
        return payout_fact(of_payout.payout, of_payout.attempts)
    return None


def payment_fact(
    payment: payment_pb2.Payment, attempts: Iterable[gateway_events_pb2.AttemptRecord]
) -> Fact:
    """A payment with these attempts. Of one that was only authorised first, what captures took is what was paid."""
    is_captured = (
        payment.state == payment_pb2.Payment.STATE_SUCCEEDED
        and payment.capture_method == payment_pb2.CAPTURE_METHOD_MANUAL
    )
    return Fact(
        kind=Kind.PAYMENT,
        subject_id=payment.payment_id,
        merchant_id=payment.merchant_id,
        currency=payment.amount.currency,
        amount_minor=payment.captured_minor if is_captured else payment.amount.amount_minor,
        state=payment_pb2.Payment.State.Name(payment.state).removeprefix("STATE_"),
        reason=payment.reason,
        method=method_pb2.PaymentMethod.Name(payment.method).removeprefix("PAYMENT_METHOD_"),
        reference=payment.order_ref,
        channel_id=payment.channel_id,
        attempts_count=payment.attempts_count,
        created_at=convert.from_timestamp(payment.created_at),
        updated_at=convert.from_timestamp(payment.updated_at),
        succeeded_at=convert.from_timestamp(payment.succeeded_at)
        if payment.HasField("succeeded_at")
        else None,
        version=payment.version,
        attempts=_attempts(attempts),
    )


def refund_fact(
    refund: payment_pb2.Refund, attempts: Iterable[gateway_events_pb2.AttemptRecord]
) -> Fact:
    """A refund with these attempts; its reference is the payment."""
    return Fact(
        kind=Kind.REFUND,
        subject_id=refund.refund_id,
        merchant_id=refund.merchant_id,
        currency=refund.amount.currency,
        amount_minor=refund.amount.amount_minor,
        state=payment_pb2.Refund.State.Name(refund.state).removeprefix("STATE_"),
        reason=refund.reason,
        reference=refund.payment_id,
        channel_id=refund.channel_id,
        created_at=convert.from_timestamp(refund.created_at),
        updated_at=convert.from_timestamp(refund.updated_at),
        succeeded_at=convert.from_timestamp(refund.succeeded_at)
        if refund.HasField("succeeded_at")
        else None,
        version=refund.version,
        attempts=_attempts(attempts),
    )


def payout_fact(
    payout: payment_pb2.Payout, attempts: Iterable[gateway_events_pb2.AttemptRecord]
) -> Fact:
    """A payout with these attempts; its reference is the payee's masked account."""
    return Fact(
        kind=Kind.PAYOUT,
        subject_id=payout.payout_id,
        merchant_id=payout.merchant_id,
        currency=payout.amount.currency,
        amount_minor=payout.amount.amount_minor,
        state=payment_pb2.Payout.State.Name(payout.state).removeprefix("STATE_"),
        reason=payout.reason,
        reference=payout.payee.account,
        channel_id=payout.channel_id,
        created_at=convert.from_timestamp(payout.created_at),
        updated_at=convert.from_timestamp(payout.updated_at),
        succeeded_at=convert.from_timestamp(payout.succeeded_at)
        if payout.HasField("succeeded_at")
        else None,
        version=payout.version,
        attempts=_attempts(attempts),
    )


def amount_of(money: money_pb2.Money) -> Amount:
    """An amount as the page holds it; the currency need not be one we know."""
    return Amount(currency=money.currency, amount_minor=money.amount_minor)


def _attempts(records: Iterable[gateway_events_pb2.AttemptRecord]) -> tuple[Attempt, ...]:
    return tuple(
        Attempt(
            attempt_id=record.attempt_id,
            number=record.number,
            channel_id=record.channel_id,
            out_ref=record.out_ref,
            provider_ref=record.provider_ref,
            state=record.state,
            code=record.code,
            latency_ms=record.latency_ms,
        )
        for record in records
    )


def _unpack(event: events_pb2.Event, payload: message.Message) -> None:
    if not event.payload.Unpack(payload):
        raise ValueError(f"event {event.event_id} of type {event.type} carries another payload")
