"""Events of gateway and clearing become what merchants may know, and nothing more."""

from datetime import UTC, datetime

import pytest
from google.protobuf import any_pb2, message

from fisc.clearing.v1 import clearing_pb2
from fisc.common.v1 import events_pb2, method_pb2, money_pb2
from fisc.gateway.v1 import events_pb2 as gateway_events_pb2
from fisc.gateway.v1 import payment_pb2
from libs.rpc import convert
from services.notification.clients import feeds
from services.notification.domain.notice import EVENT_TYPES

NOON = datetime(2026, 3, 2, 12, tzinfo=UTC)
AMOUNT = money_pb2.Money(currency="CNY", amount_minor=2**40)


def event(event_type: str, payload: message.Message) -> events_pb2.Event:
    packed = any_pb2.Any()
    packed.Pack(payload)
    return events_pb2.Event(
        event_id="evt_1",
        type=event_type,
        merchant_id="mer_1",
        subject_id="sub_1",
        occurred_at=convert.to_timestamp(NOON),
        payload=packed,
    )


def test_a_payment_is_told_flat_with_whole_numbers_and_plain_words() -> None:
    payment = payment_pb2.Payment(
        payment_id="pay_1",
        merchant_id="mer_1",
        amount=AMOUNT,
        method=method_pb2.PAYMENT_METHOD_WECHAT_QR,
        state=payment_pb2.Payment.STATE_SUCCEEDED,
        succeeded_at=convert.to_timestamp(NOON),
        version=3,
    )
    notice = feeds.read(
        event("payment.succeeded", gateway_events_pb2.PaymentEvent(payment=payment))
    )
    assert notice is not None
    assert (notice.event_id, notice.merchant_id, notice.subject_id) == ("evt_1", "mer_1", "sub_1")
    assert notice.occurred_at == NOON
    told = {
        "payment_id": "pay_1",
        "currency": "CNY",
        "amount_minor": 2**40,
        "method": "WECHAT_QR",
        "state": "SUCCEEDED",
        "succeeded_at": "2026-03-02T12:00:00.000000Z",
        "created_at": None,
        "version": 3,
    }
    assert told.items() <= notice.data.items()


def test_a_payout_does_not_tell_who_is_paid() -> None:
    payout = payment_pb2.Payout(
        payout_id="pout_1",
        amount=AMOUNT,
        payee=payment_pb2.Payee(account="6222000011112222", name="Zhang San"),
        state=payment_pb2.Payout.STATE_FAILED,
        reason="ACCOUNT_CLOSED",
    )
    notice = feeds.read(event("payout.failed", gateway_events_pb2.PayoutEvent(payout=payout)))
    assert notice is not None
    assert notice.data["reason"] == "ACCOUNT_CLOSED"
    assert not {"6222000011112222", "Zhang San"} & {str(each) for each in notice.data.values()}


def test_refunds_and_settlement_batches_are_told() -> None:
    refund = payment_pb2.Refund(
        refund_id="ref_1", amount=AMOUNT, state=payment_pb2.Refund.STATE_SUCCEEDED
    )
    batch = clearing_pb2.Batch(
        batch_id="set_1", net_minor=-5, state=clearing_pb2.Batch.STATE_SETTLED
    )
    refunded = feeds.read(event("refund.succeeded", gateway_events_pb2.RefundEvent(refund=refund)))
    settled = feeds.read(event("batch.settled", batch))
    assert refunded is not None
    assert settled is not None
    assert (refunded.data["refund_id"], refunded.data["state"]) == ("ref_1", "SUCCEEDED")
    assert (settled.data["net_minor"], settled.data["state"]) == (-5, "SETTLED")


@pytest.mark.parametrize("event_type", ["payment.created", "refund.manual", "channel.changed"])
def test_what_merchants_are_not_told_is_passed_over(event_type: str) -> None:
    assert feeds.read(event(event_type, gateway_events_pb2.PaymentEvent())) is None


@pytest.mark.parametrize("event_type", sorted(EVENT_TYPES))
def test_an_event_that_cannot_be_read_is_passed_over(event_type: str) -> None:
    wrong = event(event_type, money_pb2.Money())
    broken = event(event_type, money_pb2.Money())
    broken.payload.type_url = (
        "type.googleapis.com/"
        + {
            "payment": "fisc.gateway.v1.PaymentEvent",
            "capture": "fisc.gateway.v1.CaptureEvent",
            "refund": "fisc.gateway.v1.RefundEvent",
            "payout": "fisc.gateway.v1.PayoutEvent",
            "batch": "fisc.clearing.v1.Batch",
        }[event_type.partition(".")[0]]
    )
    broken.payload.value = b"\xff\xff"
    assert feeds.read(wrong) is None
    assert feeds.read(broken) is None
