"""Payments, captures, refunds, payouts and settlement batches as merchants get to see them: flat, snake_case, plain words.

Left out on purpose: payers and payees (personal data), attempts and what only the platform needs.
"""

from google.protobuf import timestamp_pb2

from fisc.clearing.v1 import clearing_pb2
from fisc.common.v1 import method_pb2
from fisc.gateway.v1 import payment_pb2
from libs.rpc import convert
from services.notification.domain.notice import Data, moment


def payment(message: payment_pb2.Payment) -> Data:
    """A payment."""
    return {
        "payment_id": message.payment_id,
        "merchant_id": message.merchant_id,
        "request_id": message.request_id,
        "order_ref": message.order_ref,
        "currency": message.amount.currency,
        "amount_minor": message.amount.amount_minor,
        "capture_method": payment_pb2.CaptureMethod.Name(message.capture_method).removeprefix(
            "CAPTURE_METHOD_"
        ),
        "captured_minor": message.captured_minor,
        "refunded_minor": message.refunded_minor,
        "method": method_pb2.PaymentMethod.Name(message.method).removeprefix("PAYMENT_METHOD_"),
        "state": _state(payment_pb2.Payment.State.Name(message.state)),
        "reason": message.reason,
        "channel_id": message.channel_id,
        "description": message.description,
        "version": message.version,
        "created_at": _moment(message.created_at),
        "updated_at": _moment(message.updated_at),
        "succeeded_at": _moment(message.succeeded_at),
    }


def capture(message: payment_pb2.Capture) -> Data:
    """A capture."""
    return {
        "capture_id": message.capture_id,
        "payment_id": message.payment_id,
        "merchant_id": message.merchant_id,
        "request_id": message.request_id,
        "currency": message.amount.currency,
        "amount_minor": message.amount.amount_minor,
        "state": _state(payment_pb2.Capture.State.Name(message.state)),
        "reason": message.reason,
        "channel_id": message.channel_id,
        "version": message.version,
        "created_at": _moment(message.created_at),
        "updated_at": _moment(message.updated_at),
        "succeeded_at": _moment(message.succeeded_at),
    }


def refund(message: payment_pb2.Refund) -> Data:
    """A refund."""
    return {
        "refund_id": message.refund_id,
        "payment_id": message.payment_id,
        "merchant_id": message.merchant_id,
        "request_id": message.request_id,
        "currency": message.amount.currency,
        "amount_minor": message.amount.amount_minor,
        "state": _state(payment_pb2.Refund.State.Name(message.state)),
        "reason": message.reason,
        "origin": payment_pb2.Refund.Origin.Name(message.origin).removeprefix("ORIGIN_"),
        "note": message.note,
        "channel_id": message.channel_id,
        "version": message.version,
        "created_at": _moment(message.created_at),
        "updated_at": _moment(message.updated_at),
        "succeeded_at": _moment(message.succeeded_at),
    }


def payout(message: payment_pb2.Payout) -> Data:
    """A payout."""
    return {
        "payout_id": message.payout_id,
        "merchant_id": message.merchant_id,
        "request_id": message.request_id,
        "currency": message.amount.currency,
        "amount_minor": message.amount.amount_minor,
        "state": _state(payment_pb2.Payout.State.Name(message.state)),
        "reason": message.reason,
        "description": message.description,
        "channel_id": message.channel_id,
        "version": message.version,
        "created_at": _moment(message.created_at),
        "updated_at": _moment(message.updated_at),
        "succeeded_at": _moment(message.succeeded_at),
        "returned_at": _moment(message.returned_at),
    }


def batch(message: clearing_pb2.Batch) -> Data:
    """A settlement batch."""
    return {
        "batch_id": message.batch_id,
        "merchant_id": message.merchant_id,
        "business_date": message.business_date,
        "settle_date": message.settle_date,
        "items_count": message.items_count,
        "currency": message.currency,
        "gross_minor": message.gross_minor,
        "refunds_minor": message.refunds_minor,
        "fees_minor": message.fees_minor,
        "net_minor": message.net_minor,
        "state": _state(clearing_pb2.Batch.State.Name(message.state)),
        "settled_at": _moment(message.settled_at),
    }


def _state(name: str) -> str:
    return name.removeprefix("STATE_")


def _moment(timestamp: timestamp_pb2.Timestamp) -> str | None:
    if not timestamp.ByteSize():  # not set
        return None
    return moment(convert.from_timestamp(timestamp))
