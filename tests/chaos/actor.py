"""A merchant and its client: every call is repeated under its request_id until it is answered, as a real client would."""

import asyncio
import dataclasses
import secrets
import time
from collections.abc import Awaitable, Callable
from typing import Any, Final, TypeAlias, TypeVar

import grpc
import httpx

from fisc.common.v1 import method_pb2, money_pb2
from fisc.gateway.v1 import payment_pb2, payment_pb2_grpc
from tests.chaos.world import World
from tests.integration.gateway.house import House

CALL_TIMEOUT_S: Final = 5.0
PAUSE_S: Final = 0.15
PATIENCE_S: Final = 90.0
CARD: Final = method_pb2.PAYMENT_METHOD_CARD
QR: Final = method_pb2.PAYMENT_METHOD_ALIPAY_QR
PAYMENT_MINOR: Final = 1999
REFUND_MINOR: Final = 700
PAYOUT_MINOR: Final = 400
# More than the bank channel has: it refuses, and the hold must be released.
PAYOUT_TOO_LARGE_MINOR: Final = 2_000_000
RETRYABLE: Final = frozenset(
    {
        grpc.StatusCode.UNAVAILABLE,
        grpc.StatusCode.DEADLINE_EXCEEDED,
        grpc.StatusCode.RESOURCE_EXHAUSTED,
        grpc.StatusCode.ABORTED,
        grpc.StatusCode.CANCELLED,
    }
)

Subject: TypeAlias = payment_pb2.Payment | payment_pb2.Refund | payment_pb2.Payout
T = TypeVar("T")


class GaveUp(Exception):
    """No answer, or no outcome, within PATIENCE_S."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """An operation as its client saw it end."""

    subject_id: str
    state: str
    channel_id: str
    began_at_s: float
    ended_at_s: float


@dataclasses.dataclass(kw_only=True)
class Actor:
    """One merchant with channels of its own. `stubs`: replicas of the gateway, the next one asked after a failure."""

    world: World
    house: House
    channels: tuple[str, ...] = ()
    stubs: list["payment_pb2_grpc.PaymentServiceAsyncStub"] = dataclasses.field(
        default_factory=list
    )
    ended: list[Ended] = dataclasses.field(default_factory=list)
    oddities: list[str] = dataclasses.field(default_factory=list)
    payment_id: str = ""

    @classmethod
    async def new(cls, world: World) -> "Actor":
        house = dataclasses.replace(world.house)
        actor = cls(world=world, house=house, stubs=[house.payments])
        await actor.persist(lambda _: house.new_merchant())
        return actor

    async def open_channels(self, *profiles: dict[str, Any]) -> None:
        """One channel a profile, tried in this order."""
        self.channels = tuple(
            [
                await self.house.new_channel(
                    CARD,
                    QR,
                    fee_ppm=1000 * (position + 1),
                    **{"notify_immediate": False, **profile},
                )
                for position, profile in enumerate(profiles)
            ]
        )

    async def persist(
        self, call: Callable[["payment_pb2_grpc.PaymentServiceAsyncStub"], Awaitable[T]]
    ) -> T:
        """Calls until it is answered. An answer that no client could act on is noted as an oddity."""
        give_up_at_s = time.monotonic() + PATIENCE_S
        while True:
            try:
                return await call(self.stubs[0])
            except grpc.aio.AioRpcError as error:
                if error.code() not in RETRYABLE:
                    self.oddities.append(f"{error.code().name}: {error.details()}")
                problem = str(error.details())
            except httpx.TransportError as error:
                problem = repr(error)
            if time.monotonic() > give_up_at_s:
                raise GaveUp(problem)
            self.stubs.append(self.stubs.pop(0))
            await asyncio.sleep(PAUSE_S)

    async def authorize(self) -> Ended:
        """A payment that is only reserved."""
        return await self.pay(capture_method=payment_pb2.CAPTURE_METHOD_MANUAL)

    async def pay(
        self,
        method: method_pb2.PaymentMethod.ValueType = CARD,
        payer_token: str = "",
        **fields: Any,
    ) -> Ended:
        request = payment_pb2.CreatePaymentRequest(
            request_id=secrets.token_hex(8),
            amount=money_pb2.Money(currency="CNY", amount_minor=PAYMENT_MINOR),
            method=method,
            channel_ids=self.channels,
            routing=payment_pb2.ROUTING_CHEAPEST,
            payer=payment_pb2.Payer(payer_token=payer_token),
            **fields,
        )
        began_at_s = time.time()

        async def create(stub: "payment_pb2_grpc.PaymentServiceAsyncStub") -> payment_pb2.Payment:
            return (
                await stub.CreatePayment(request, timeout=CALL_TIMEOUT_S, metadata=self.house.key)
            ).payment

        async def get(stub: "payment_pb2_grpc.PaymentServiceAsyncStub") -> payment_pb2.Payment:
            asked = payment_pb2.GetPaymentRequest(payment_id=payment.payment_id)
            return (
                await stub.GetPayment(asked, timeout=CALL_TIMEOUT_S, metadata=self.house.key)
            ).payment

        payment = await self.persist(create)
        waiting = {payment_pb2.Payment.STATE_PROCESSING, payment_pb2.Payment.STATE_PENDING}
        while payment.state in waiting:
            await self._wait(began_at_s, payment.payment_id)
            payment = await self.persist(get)
        again = await self.persist(create)
        if again.payment_id != payment.payment_id:
            self.oddities.append(f"{payment.payment_id} became {again.payment_id} when repeated")
        self.payment_id = payment.payment_id
        state = payment_pb2.Payment.State.Name(payment.state)
        return self._end(payment.payment_id, state, payment.channel_id, began_at_s)

    async def capture(self) -> Ended:
        """All of the last payment."""
        request = payment_pb2.CapturePaymentRequest(
            request_id=secrets.token_hex(8), payment_id=self.payment_id
        )
        began_at_s = time.time()

        async def create(stub: "payment_pb2_grpc.PaymentServiceAsyncStub") -> payment_pb2.Capture:
            return (
                await stub.CapturePayment(request, timeout=CALL_TIMEOUT_S, metadata=self.house.key)
            ).capture

        async def get(stub: "payment_pb2_grpc.PaymentServiceAsyncStub") -> payment_pb2.Capture:
            asked = payment_pb2.GetCaptureRequest(capture_id=capture.capture_id)
            return (
                await stub.GetCapture(asked, timeout=CALL_TIMEOUT_S, metadata=self.house.key)
            ).capture

        capture = await self.persist(create)
        while capture.state == payment_pb2.Capture.STATE_PROCESSING:
            await self._wait(began_at_s, capture.capture_id)
            capture = await self.persist(get)
        state = payment_pb2.Capture.State.Name(capture.state)
        return self._end(capture.capture_id, state, capture.channel_id, began_at_s)

    async def void(self) -> Ended:
        """Releases the last payment."""
        request = payment_pb2.VoidPaymentRequest(
            request_id=secrets.token_hex(8), payment_id=self.payment_id
        )
        began_at_s = time.time()

        async def release(stub: "payment_pb2_grpc.PaymentServiceAsyncStub") -> payment_pb2.Payment:
            return (
                await stub.VoidPayment(request, timeout=CALL_TIMEOUT_S, metadata=self.house.key)
            ).payment

        payment = await self.persist(release)
        while payment.state in {
            payment_pb2.Payment.STATE_PROCESSING,
            payment_pb2.Payment.STATE_AUTHORIZED,
        }:
            await self._wait(began_at_s, payment.payment_id)
            payment = await self.persist(release)
        state = payment_pb2.Payment.State.Name(payment.state)
        return self._end(payment.payment_id, state, payment.channel_id, began_at_s)

    async def refund(self) -> Ended:
        """Part of the last payment."""
        request = payment_pb2.CreateRefundRequest(
            request_id=secrets.token_hex(8),
            payment_id=self.payment_id,
            amount=money_pb2.Money(currency="CNY", amount_minor=REFUND_MINOR),
        )
        began_at_s = time.time()

        async def create(stub: "payment_pb2_grpc.PaymentServiceAsyncStub") -> payment_pb2.Refund:
            return (
                await stub.CreateRefund(request, timeout=CALL_TIMEOUT_S, metadata=self.house.key)
            ).refund

        async def get(stub: "payment_pb2_grpc.PaymentServiceAsyncStub") -> payment_pb2.Refund:
            asked = payment_pb2.GetRefundRequest(refund_id=refund.refund_id)
            return (
                await stub.GetRefund(asked, timeout=CALL_TIMEOUT_S, metadata=self.house.key)
            ).refund

        refund = await self.persist(create)
        while refund.state == payment_pb2.Refund.STATE_PROCESSING:
            await self._wait(began_at_s, refund.refund_id)
            refund = await self.persist(get)
        state = payment_pb2.Refund.State.Name(refund.state)
        return self._end(refund.refund_id, state, refund.channel_id, began_at_s)

    async def payout(self, amount_minor: int = PAYOUT_MINOR) -> Ended:
        request = payment_pb2.CreatePayoutRequest(
            request_id=secrets.token_hex(8),
            amount=money_pb2.Money(currency="CNY", amount_minor=amount_minor),
            payee=payment_pb2.Payee(account="6222000011112222", name="test payee"),
            description="crash test",
        )
        began_at_s = time.time()

        async def create(stub: "payment_pb2_grpc.PaymentServiceAsyncStub") -> payment_pb2.Payout:
            return (
                await stub.CreatePayout(request, timeout=CALL_TIMEOUT_S, metadata=self.house.key)
            ).payout

        async def get(stub: "payment_pb2_grpc.PaymentServiceAsyncStub") -> payment_pb2.Payout:
            asked = payment_pb2.GetPayoutRequest(payout_id=payout.payout_id)
            return (
                await stub.GetPayout(asked, timeout=CALL_TIMEOUT_S, metadata=self.house.key)
            ).payout

        payout = await self.persist(create)
        while payout.state == payment_pb2.Payout.STATE_PROCESSING:
            await self._wait(began_at_s, payout.payout_id)
            payout = await self.persist(get)
        state = payment_pb2.Payout.State.Name(payout.state)
        return self._end(payout.payout_id, state, payout.channel_id, began_at_s)

    async def _wait(self, began_at_s: float, subject_id: str) -> None:
        if time.time() - began_at_s > PATIENCE_S:
            raise GaveUp(f"{subject_id} has no outcome")
        await asyncio.sleep(PAUSE_S)

    def _end(self, subject_id: str, state: str, channel_id: str, began_at_s: float) -> Ended:
        ended = Ended(
            subject_id=subject_id,
            state=state.removeprefix("STATE_"),
            channel_id=channel_id,
            began_at_s=began_at_s,
            ended_at_s=time.time(),
        )
        self.ended.append(ended)
        return ended
