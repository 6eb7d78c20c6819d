"""Merchants under a fault: payments, refunds and payouts at a bounded rate, and what each was told."""

import asyncio
import enum
import itertools
import random
import secrets
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any, Final

import grpc

from fisc.common.v1 import money_pb2
from fisc.gateway.v1 import payment_pb2
from tests.faults.world import CARD
from tests.integration.gateway.house import House

RATE: Final = 24.0
OUTSTANDING_MAX: Final = 256
# What a patient client allows a call.
TIMEOUT_S: Final = 4.0
REPLAY_PAUSE_S: Final = 0.25
REPLAYED_AT_ONCE_MAX: Final = 16
FUNDS_MINOR: Final = 100_000_000
TRY_AGAIN: Final = frozenset(
    {
        grpc.StatusCode.UNAVAILABLE,
        grpc.StatusCode.DEADLINE_EXCEEDED,
        grpc.StatusCode.RESOURCE_EXHAUSTED,
    }
)


class Kind(enum.StrEnum):
    """What is asked."""

    PAYMENT = "payment"
    REFUND = "refund"
    PAYOUT = "payout"


@dataclass(slots=True, kw_only=True)
class Call:
    """One request and every code its caller was given, the replays' included."""

    kind: Kind
    request: Any
    codes: list[grpc.StatusCode] = field(default_factory=list)
    subject_id: str = ""

    @property
    def is_answered(self) -> bool:
        return bool(self.subject_id)


class Load:
    """The calls of one merchant."""

    def __init__(self, house: House, rng: random.Random) -> None:
        self._house = house
        self._rng = rng
        self._numbers = itertools.count(1)
        self._paid: list[str] = []
        self._outstanding = 0
        self.calls: list[Call] = []

    async def run(self, duration_s: float, *, rate: float = RATE) -> None:
        """Calls due at a fixed rate for so long; returns when each was answered one way or another."""
        loop = asyncio.get_running_loop()
        began_s = loop.time()
        async with asyncio.TaskGroup() as group:
            for number in range(int(duration_s * rate)):
                await asyncio.sleep(max(0.0, began_s + number / rate - loop.time()))
                if self._outstanding < OUTSTANDING_MAX:
                    group.create_task(self.send(self._next()))

    async def send(self, call: Call) -> bool:
        """One try; whether it was answered with the subject."""
        if not call.codes:
            self.calls.append(call)
        self._outstanding += 1
        try:
            subject = await self._send(call)
        except grpc.aio.AioRpcError as error:
            call.codes.append(error.code())
            return False
        finally:
            self._outstanding -= 1
        call.codes.append(grpc.StatusCode.OK)
        call.subject_id = _id_of(subject)
        if call.kind is Kind.PAYMENT and subject.state == payment_pb2.Payment.STATE_SUCCEEDED:
            self._paid.append(subject.payment_id)
        return True

    async def replay(self, timeout_s: float) -> None:
        """Asks again, under the same request_id, until every call has its answer or the time is up."""
        room = asyncio.Semaphore(REPLAYED_AT_ONCE_MAX)

        async def insist(call: Call) -> None:
            async with room:
                while not await self.send(call):
                    if call.codes[-1] not in TRY_AGAIN:
                        return
                    await asyncio.sleep(REPLAY_PAUSE_S)

        try:
            async with asyncio.timeout(timeout_s), asyncio.TaskGroup() as group:
                for call in self.calls:
                    if not call.is_answered:
                        group.create_task(insist(call))
        except TimeoutError:
            return

    def codes(self) -> Counter[grpc.StatusCode]:
        """How often each code was given."""
        return Counter(code for call in self.calls for code in call.codes)

    def pay(self) -> Call:
        """A payment by card, each of another amount."""
        request = payment_pb2.CreatePaymentRequest(
            request_id=secrets.token_hex(8), amount=_money(1_000 + next(self._numbers)), method=CARD
        )
        return Call(kind=Kind.PAYMENT, request=request)

    def _next(self) -> Call:
        draw = self._rng.random()
        if draw < 0.2 and self._paid:
            request = payment_pb2.CreateRefundRequest(
                request_id=secrets.token_hex(8),
                payment_id=self._rng.choice(self._paid),
                amount=_money(1 + next(self._numbers) % 7),
            )
            return Call(kind=Kind.REFUND, request=request)
        if draw < 0.4:
            payout = payment_pb2.CreatePayoutRequest(
                request_id=secrets.token_hex(8),
                amount=_money(100 + next(self._numbers)),
                payee=payment_pb2.Payee(account="6222000011112222", name="test payee"),
                description="salary",
            )
            return Call(kind=Kind.PAYOUT, request=payout)
        return self.pay()

    async def _send(self, call: Call) -> Any:
        stub = self._house.payments
        methods: dict[Kind, Callable[..., Awaitable[Any]]] = {
            Kind.PAYMENT: stub.CreatePayment,
            Kind.REFUND: stub.CreateRefund,
            Kind.PAYOUT: stub.CreatePayout,
        }
        method = methods[call.kind]
        response = await method(call.request, timeout=TIMEOUT_S, metadata=self._house.key)
        return getattr(response, call.kind.value)


def _money(amount_minor: int) -> money_pb2.Money:
    return money_pb2.Money(currency="CNY", amount_minor=amount_minor)


def _id_of(subject: Any) -> str:
    match subject:
        case payment_pb2.Payment():
            return subject.payment_id
        case payment_pb2.Refund():
            return subject.refund_id
        case _:
            return str(subject.payout_id)
