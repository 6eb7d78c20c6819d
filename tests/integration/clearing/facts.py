"""What the gateway tells, in a test's short words."""

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from fisc.common.v1 import money_pb2
from fisc.gateway.v1 import events_pb2 as gateway_events
from fisc.gateway.v1 import payment_pb2
from libs.db.pool import Pool
from libs.events import log as event_log
from libs.rpc.convert import to_timestamp
from tests.integration.calls import Caller

DAY = "2026-03-02"
NOON = datetime(2026, 3, 2, 4, tzinfo=UTC)


def cny(amount_minor: int) -> money_pb2.Money:
    return money_pb2.Money(currency="CNY", amount_minor=amount_minor)


@dataclass(kw_only=True)
class Facts(Caller):
    """A gateway that tells what the test says."""

    gateway_pool: Pool
    _number: int = field(default=0)

    def number(self) -> int:
        self._number += 1
        return self._number

    async def paid(
        self,
        payment_id: str,
        amount_minor: int,
        *,
        channel_id: str = "sim-a",
        merchant_id: str = "mer_1",
        at: datetime = NOON,
        capture_method: payment_pb2.CaptureMethod.ValueType = payment_pb2.CAPTURE_METHOD_AUTOMATIC,
    ) -> None:
        """The gateway tells of a succeeded payment, after a decline elsewhere."""
        payload = gateway_events.PaymentEvent(
            payment=payment_pb2.Payment(
                payment_id=payment_id,
                merchant_id=merchant_id,
                amount=cny(amount_minor),
                channel_id=channel_id,
                succeeded_at=to_timestamp(at),
                capture_method=capture_method,
            ),
            attempts=[
                _attempt(f"{payment_id}-1", "sim-z", "DECLINED"),
                _attempt(payment_id, channel_id, "SUCCEEDED"),
            ],
        )
        await self.tell("payment.succeeded", merchant_id, payment_id, payload)

    async def refunded(
        self,
        refund_id: str,
        payment_id: str,
        amount_minor: int,
        *,
        channel_id: str = "sim-a",
        merchant_id: str = "mer_1",
        at: datetime = NOON,
        origin: payment_pb2.Refund.Origin.ValueType = payment_pb2.Refund.ORIGIN_MERCHANT,
    ) -> None:
        """The gateway tells of a succeeded refund."""
        payload = gateway_events.RefundEvent(
            refund=payment_pb2.Refund(
                refund_id=refund_id,
                payment_id=payment_id,
                merchant_id=merchant_id,
                amount=cny(amount_minor),
                channel_id=channel_id,
                succeeded_at=to_timestamp(at),
                origin=origin,
            ),
            attempt=_attempt(refund_id, channel_id, "SUCCEEDED"),
        )
        await self.tell("refund.succeeded", merchant_id, refund_id, payload)

    async def paid_out(
        self, payout_id: str, amount_minor: int, *, channel_id: str = "sim-a"
    ) -> None:
        """The gateway tells of a succeeded payout."""
        payload = gateway_events.PayoutEvent(
            payout=payment_pb2.Payout(
                payout_id=payout_id,
                merchant_id="mer_1",
                amount=cny(amount_minor),
                channel_id=channel_id,
                succeeded_at=to_timestamp(NOON),
            ),
            attempts=[_attempt(payout_id, channel_id, "SUCCEEDED")],
        )
        await self.tell("payout.succeeded", "mer_1", payout_id, payload)

    async def captured(
        self, capture_id: str, payment_id: str, amount_minor: int, *, channel_id: str = "sim-a"
    ) -> None:
        """The gateway tells of a succeeded capture."""
        payload = gateway_events.CaptureEvent(
            capture=payment_pb2.Capture(
                capture_id=capture_id,
                payment_id=payment_id,
                merchant_id="mer_1",
                amount=cny(amount_minor),
                channel_id=channel_id,
                succeeded_at=to_timestamp(NOON),
            ),
            attempt=_attempt(capture_id, channel_id, "SUCCEEDED"),
        )
        await self.tell("capture.succeeded", "mer_1", capture_id, payload)

    async def paid_late(
        self, payment_id: str, amount_minor: int, *, channel_id: str = "sim-a"
    ) -> None:
        """The gateway tells that a channel took money for a payment that had ended otherwise."""
        payload = gateway_events.PaymentEvent(
            payment=payment_pb2.Payment(
                payment_id=payment_id,
                merchant_id="mer_1",
                amount=cny(amount_minor),
                channel_id="sim-b",
                succeeded_at=to_timestamp(datetime(2026, 2, 1, tzinfo=UTC)),
            ),
            attempts=[
                _attempt(payment_id, "sim-b", "SUCCEEDED"),
                _attempt(f"{payment_id}-late", channel_id, "SUCCEEDED"),
            ],
        )
        await self.tell("payment.late_success", "mer_1", payment_id, payload)

    async def moved_late(self, kind: str, subject_id: str, amount_minor: int) -> None:
        """The gateway tells of money that a channel moved for a capture, refund or payout that had ended otherwise, or that came back."""
        terms: dict[str, Any] = {
            "merchant_id": "mer_1",
            "amount": cny(amount_minor),
            "channel_id": "sim-a",
        }
        attempt = _attempt(subject_id, "sim-a", "SUCCEEDED")
        payload: Any
        match kind.partition(".")[0]:
            case "capture":
                capture = payment_pb2.Capture(capture_id=subject_id, payment_id="pay_1", **terms)
                payload = gateway_events.CaptureEvent(capture=capture, attempt=attempt)
            case "refund":
                refund = payment_pb2.Refund(refund_id=subject_id, payment_id="pay_1", **terms)
                payload = gateway_events.RefundEvent(refund=refund, attempt=attempt)
            case _:
                payout = payment_pb2.Payout(payout_id=subject_id, **terms)
                payload = gateway_events.PayoutEvent(payout=payout, attempts=[attempt])
        await self.tell(kind, "mer_1", subject_id, payload)

    async def sent_back(
        self, payout_id: str, amount_minor: int, *, channel_id: str = "sim-a"
    ) -> None:
        """The gateway tells that the payee's bank sent a payout back, a day after it had succeeded."""
        payload = gateway_events.PayoutEvent(
            payout=payment_pb2.Payout(
                payout_id=payout_id,
                merchant_id="mer_1",
                amount=cny(amount_minor),
                channel_id=channel_id,
                succeeded_at=to_timestamp(NOON),
                returned_at=to_timestamp(NOON + timedelta(days=1)),
            ),
            attempts=[_attempt(payout_id, channel_id, "RETURNED")],
        )
        await self.tell("payout.returned", "mer_1", payout_id, payload)

    async def tell(self, kind: str, merchant_id: str, subject_id: str, payload: Any) -> None:
        """Append to the gateway's event log."""
        event = event_log.NewEvent(
            event_id=f"evt_{self.number()}",
            type=kind,
            merchant_id=merchant_id,
            subject_id=subject_id,
            occurred_at=NOON,
            payload=payload.SerializeToString(),
            payload_type=payload.DESCRIPTOR.full_name,
        )
        async with self.gateway_pool.acquire() as connection, connection.transaction():
            await event_log.append(connection, [event])


def _attempt(subject_id: str, channel_id: str, state: str) -> gateway_events.AttemptRecord:
    return gateway_events.AttemptRecord(
        attempt_id=f"att-{subject_id}",
        subject_id=subject_id,
        channel_id=channel_id,
        out_ref=f"o-{subject_id}",
        provider_ref=f"p-{subject_id}",
        state=state,
    )
