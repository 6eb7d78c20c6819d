"""Events as the services below want to hear them: postings, outcomes, endings."""

from collections.abc import Iterator
from datetime import datetime
from zoneinfo import ZoneInfo

from google.protobuf.timestamp_pb2 import Timestamp

from fisc.account.v1 import account_pb2
from fisc.common.v1 import method_pb2
from fisc.gateway.v1 import events_pb2, payment_pb2
from fisc.risk.v1 import risk_pb2
from fisc.router.v1 import router_pb2
from libs.events.log import StoredEvent
from libs.rpc.convert import from_timestamp, to_timestamp
from services.gateway.domain import merchant
from services.gateway.domain.saga import PAYER_REASONS

BOOKING_ZONE = ZoneInfo("Asia/Shanghai")
# An attempt's word is definite in these; only then does it say something about its channel.
_DEFINITE = frozenset({"SUCCEEDED", "DECLINED", "CLOSED"})
# Declines that are our own doing say nothing about the channel. An open breaker does: it is how a sick channel declines.
_OURS = frozenset(
    {"CHANNEL_BULKHEAD_FULL", "CHANNEL_OPERATION_UNSUPPORTED", "CHANNEL_ACCOUNT_NOT_FOUND"}
)


def payment_event(event: StoredEvent) -> events_pb2.PaymentEvent:
    return events_pb2.PaymentEvent.FromString(event.payload)


def refund_event(event: StoredEvent) -> events_pb2.RefundEvent:
    return events_pb2.RefundEvent.FromString(event.payload)


def payout_event(event: StoredEvent) -> events_pb2.PayoutEvent:
    return events_pb2.PayoutEvent.FromString(event.payload)


def collect(payment: payment_pb2.Payment) -> account_pb2.Transfer:
    """The channel owes us what the payer paid; we owe it to the merchant, once settled."""
    currency = payment.amount.currency
    return account_pb2.Transfer(
        transfer_id=f"{payment.payment_id}:collect",
        debit_account_id=merchant.receivable_account(payment.channel_id, currency),
        credit_account_id=merchant.pending_account(payment.merchant_id, currency),
        amount=payment.amount,
        reference=payment.payment_id,
        description=f"payment {payment.order_ref or payment.payment_id}",
        effective_date=_day(payment.succeeded_at),
    )


def give_back(refund: payment_pb2.Refund) -> account_pb2.Transfer:
    """The channel has given the payer's money back, at the merchant's cost."""
    currency = refund.amount.currency
    return account_pb2.Transfer(
        transfer_id=f"{refund.refund_id}:refund",
        debit_account_id=merchant.pending_account(refund.merchant_id, currency),
        credit_account_id=merchant.receivable_account(refund.channel_id, currency),
        amount=refund.amount,
        reference=refund.refund_id,
        description=f"refund of {refund.payment_id}",
        effective_date=_day(refund.succeeded_at),
    )


def leave(payout: payment_pb2.Payout) -> account_pb2.Transfer:
    """The money of a captured hold has left through this channel."""
    currency = payout.amount.currency
    return account_pb2.Transfer(
        transfer_id=f"{payout.payout_id}:payout",
        debit_account_id=merchant.payout_transit_account(currency),
        credit_account_id=merchant.receivable_account(payout.channel_id, currency),
        amount=payout.amount,
        reference=payout.payout_id,
        description=f"payout {payout.payout_id}",
        effective_date=_day(payout.succeeded_at),
    )


def outcomes(event: StoredEvent) -> Iterator[router_pb2.AttemptOutcome]:
    """What channels did with the attempts of a payment's or payout's event."""
    if event.type.startswith("payment."):
        message = payment_event(event)
        method, operation = message.payment.method, method_pb2.OPERATION_PAYMENT
        attempts = message.attempts
    elif event.type.startswith("payout."):
        method, operation = method_pb2.PAYMENT_METHOD_BANK_TRANSFER, method_pb2.OPERATION_PAYOUT
        attempts = payout_event(event).attempts
    else:
        return
    for attempt in attempts:
        # An order that its payer or merchant let lie was closed by us: no failure of the channel.
        is_let_lie = attempt.state == "CLOSED" and event.type == "payment.canceled"
        if attempt.state in _DEFINITE and attempt.code not in _OURS and not is_let_lie:
            yield router_pb2.AttemptOutcome(
                attempt_id=attempt.attempt_id,
                channel_id=attempt.channel_id,
                method=method,
                operation=operation,
                succeeded=attempt.state == "SUCCEEDED",
                business_decline=attempt.state == "DECLINED" and attempt.code in PAYER_REASONS,
                latency_ms=attempt.latency_ms,
                code=attempt.code,
                occurred_at=to_timestamp(event.occurred_at),
            )


def endings(event: StoredEvent) -> Iterator[risk_pb2.OperationOutcome]:
    """How a judged operation ended."""
    kind, _, state = event.type.partition(".")
    if state not in {"succeeded", "failed", "canceled"}:
        return
    if kind == "payment":
        payment = payment_event(event).payment
        evaluation_id = f"{payment.merchant_id}:{payment.request_id}"
    elif kind == "payout":
        payout = payout_event(event).payout
        evaluation_id = f"{payout.merchant_id}:payout:{payout.request_id}"
    else:
        return
    yield risk_pb2.OperationOutcome(evaluation_id=evaluation_id, succeeded=state == "succeeded")


def _day(moment: Timestamp) -> str:
    """The booking day of a channel's time."""
    local: datetime = from_timestamp(moment).astimezone(BOOKING_ZONE)
    return local.date().isoformat()
