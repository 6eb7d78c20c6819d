"""Events as the services below want to hear them: postings, outcomes, endings."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from zoneinfo import ZoneInfo

from google.protobuf.timestamp_pb2 import Timestamp

from fisc.account.v1 import account_pb2
from fisc.common.v1 import method_pb2, money_pb2
from fisc.gateway.v1 import events_pb2, payment_pb2
from fisc.risk.v1 import risk_pb2
from fisc.router.v1 import router_pb2
from libs.events.log import StoredEvent
from libs.rpc.convert import from_timestamp, to_timestamp
from services.gateway.domain import merchant
from services.gateway.domain.saga import FORCED, PAYER_REASONS

BOOKING_ZONE = ZoneInfo("Asia/Shanghai")
# An attempt's word is definite in these; only then does it say something about its channel.
_DEFINITE = frozenset({"SUCCEEDED", "DECLINED", "CLOSED"})
# Declines that are our own doing say nothing about the channel. An open breaker does: it is how a sick channel declines.
_OURS = frozenset(
    {
        "CHANNEL_BULKHEAD_FULL",
        "CHANNEL_OPERATION_UNSUPPORTED",
        "CHANNEL_ACCOUNT_NOT_FOUND",
        FORCED,
    }
)


def payment_event(event: StoredEvent) -> events_pb2.PaymentEvent:
    return events_pb2.PaymentEvent.FromString(event.payload)


def capture_event(event: StoredEvent) -> events_pb2.CaptureEvent:
    return events_pb2.CaptureEvent.FromString(event.payload)


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


def takes_money(payment: payment_pb2.Payment) -> bool:
    """Whether this payment's success moves its money; that of an authorised one was moved by its captures."""
    return payment.capture_method != payment_pb2.CAPTURE_METHOD_MANUAL


def collect_capture(capture: payment_pb2.Capture) -> account_pb2.Transfer:
    """The channel owes us what was taken of an authorised payment; we owe it to the merchant, once settled."""
    currency = capture.amount.currency
    return account_pb2.Transfer(
        transfer_id=f"{capture.capture_id}:collect",
        debit_account_id=merchant.receivable_account(capture.channel_id, currency),
        credit_account_id=merchant.pending_account(capture.merchant_id, currency),
        amount=capture.amount,
        reference=capture.capture_id,
        description=f"capture of {capture.payment_id}",
        effective_date=_day(capture.succeeded_at),
    )


def took_late(event: StoredEvent) -> account_pb2.Transfer:
    """A channel has taken money for what had ended otherwise: it is the payer's again as soon as its refund is through."""
    attempt, amount = _late_move(event)
    return account_pb2.Transfer(
        transfer_id=f"{attempt.attempt_id}:late",
        debit_account_id=merchant.receivable_account(attempt.channel_id, amount.currency),
        credit_account_id=merchant.late_success_account(amount.currency),
        amount=amount,
        reference=event.subject_id,
        description=f"late success of {event.subject_id}",
        effective_date=_day(to_timestamp(event.occurred_at)),
    )


def gave_late(event: StoredEvent) -> account_pb2.Transfer:
    """A channel has given money away for what had ended otherwise: somebody owes it to us until people have squared it."""
    attempt, amount = _late_move(event)
    return account_pb2.Transfer(
        transfer_id=f"{attempt.attempt_id}:late",
        debit_account_id=merchant.late_success_account(amount.currency),
        credit_account_id=merchant.receivable_account(attempt.channel_id, amount.currency),
        amount=amount,
        reference=event.subject_id,
        description=f"late success of {event.subject_id}",
        effective_date=_day(to_timestamp(event.occurred_at)),
    )


def came_back_late(event: StoredEvent) -> account_pb2.Transfer:
    """What left late has been sent back by the payee's bank: nobody owes it any more."""
    attempt, amount = _late_move(event)
    return account_pb2.Transfer(
        transfer_id=f"{attempt.attempt_id}:late-return",
        debit_account_id=merchant.receivable_account(attempt.channel_id, amount.currency),
        credit_account_id=merchant.late_success_account(amount.currency),
        amount=amount,
        reference=event.subject_id,
        description=f"return of the late success of {event.subject_id}",
        effective_date=_day(to_timestamp(event.occurred_at)),
    )


def _late_move(event: StoredEvent) -> tuple[events_pb2.AttemptRecord, money_pb2.Money]:
    """The attempt that moved money late, and how much."""
    match event.type.partition(".")[0]:
        case "payment":
            of_payment = payment_event(event)
            return of_payment.attempts[-1], of_payment.payment.amount
        case "capture":
            of_capture = capture_event(event)
            return of_capture.attempt, of_capture.capture.amount
        case "refund":
            of_refund = refund_event(event)
            return of_refund.attempt, of_refund.refund.amount
        case _:
            of_payout = payout_event(event)
            return of_payout.attempts[-1], of_payout.payout.amount


def come_back(payout: payment_pb2.Payout) -> account_pb2.Transfer:
    """The payee's bank has sent a payout back to the channel: the merchant has its money again."""
    currency = payout.amount.currency
    return account_pb2.Transfer(
        transfer_id=f"{payout.payout_id}:return",
        debit_account_id=merchant.receivable_account(payout.channel_id, currency),
        credit_account_id=merchant.available_account(payout.merchant_id, currency),
        amount=payout.amount,
        reference=payout.payout_id,
        description=f"return of payout {payout.payout_id}",
        effective_date=_day(payout.returned_at),
    )


def give_back(refund: payment_pb2.Refund) -> account_pb2.Transfer:
    """The channel has given the payer's money back, at the cost of whoever had it."""
    currency = refund.amount.currency
    was_late = refund.origin == payment_pb2.Refund.ORIGIN_LATE_SUCCESS
    return account_pb2.Transfer(
        transfer_id=f"{refund.refund_id}:refund",
        debit_account_id=(
            merchant.late_success_account(currency)
            if was_late
            else merchant.pending_account(refund.merchant_id, currency)
        ),
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


@dataclass(slots=True)
class Postings:
    """What the ledger must book, in the order of the facts."""

    captures: list[account_pb2.Capture] = field(default_factory=list)
    voids: list[str] = field(default_factory=list)
    transfers: list[account_pb2.Transfer] = field(default_factory=list)


def postings(events: Iterable[StoredEvent]) -> Postings:
    """Of all facts those that move money."""
    found = Postings()
    for event in events:
        match event.type.partition("."):
            case ("payment" | "capture", _, "late_success"):
                found.transfers.append(took_late(event))
            case ("refund" | "payout", _, "late_success"):
                found.transfers.append(gave_late(event))
            case ("payout", _, "late_return"):
                found.transfers.append(came_back_late(event))
            case ("payout", _, ending):
                _payout_postings(found, payout_event(event).payout, ending)
            case ("payment", _, "succeeded"):
                payment = payment_event(event).payment
                if takes_money(payment):
                    found.transfers.append(collect(payment))
            case ("capture", _, "succeeded"):
                found.transfers.append(collect_capture(capture_event(event).capture))
            case ("refund", _, "succeeded"):
                found.transfers.append(give_back(refund_event(event).refund))
            case _:
                pass
    return found


def _payout_postings(found: Postings, payout: payment_pb2.Payout, ending: str) -> None:
    match ending:
        case "succeeded":
            found.captures.append(account_pb2.Capture(hold_id=payout.payout_id))
            found.transfers.append(leave(payout))
        case "returned":
            found.transfers.append(come_back(payout))
        case "failed":
            found.voids.append(payout.payout_id)
        case _:
            pass


def outcomes(event: StoredEvent) -> Iterator[router_pb2.AttemptOutcome]:
    """What channels did with the attempts of a payment's or payout's event."""
    if event.type.startswith("payment."):
        message = payment_event(event)
        method, operation = message.payment.method, method_pb2.OPERATION_PAYMENT
        attempts = message.attempts
    elif event.type.startswith("payout."):
        told = payout_event(event)
        # Events written before payouts had methods name none.
        method = told.payout.method or method_pb2.PAYMENT_METHOD_BANK_TRANSFER
        attempts, operation = told.attempts, method_pb2.OPERATION_PAYOUT
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
