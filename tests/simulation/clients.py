"""Merchants: they pay, repeat themselves, change their mind, ask for more back than there was, and remember every answer."""

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from random import Random
from typing import Any, TypeVar

import asyncpg

from libs.errors import ErrorKind, FiscError
from services.gateway.domain.errors import RefundTooLarge, RequestIdReused
from services.gateway.domain.merchant import Merchant
from services.gateway.domain.payment import Payment, PaymentState
from services.gateway.domain.payout import Payout
from services.gateway.domain.refund import Refund
from services.gateway.usecases.payments import PaymentOrder
from services.gateway.usecases.payouts import PayoutRequest
from services.gateway.usecases.refunds import RefundOrder
from tests.simulation.chaos import Chaos
from tests.simulation.connectors import Poison
from tests.simulation.database import Database, Subject
from tests.simulation.history import History
from tests.simulation.neighbours import CURRENCY
from tests.simulation.replica import CallLost, Replica

BUSY_S = 35.0
RETRY_MAX_S = 6.0
EXPIRES_S = (30, 60)
REFUND_WAIT_STEPS = 12
REFUND_WAIT_S = 4.0
MERCHANT = Merchant(
    merchant_id="mer_1",
    tenant_id="ten_1",
    display_name="One",
    currencies=(CURRENCY,),
    risk_down_allowed=True,
    risk_down_limit_minor=20_000,
    created_at=datetime(2026, 1, 1, tzinfo=UTC),
)

T = TypeVar("T")
Work = Callable[[Replica], Coroutine[Any, Any, T]]
_TRY_AGAIN = frozenset({ErrorKind.UNAVAILABLE, ErrorKind.INTERNAL, ErrorKind.EXHAUSTED})


@dataclass(frozen=True, slots=True)
class Acknowledgement:
    """What a merchant was told."""

    kind: str
    subject_id: str
    request_id: str
    state: str


class Clients:
    """All merchants' callers."""

    def __init__(
        self,
        *,
        rng: Random,
        chaos: Chaos,
        history: History,
        database: Database,
        replica: Callable[[], Replica],
    ) -> None:
        self.told: list[Acknowledgement] = []
        self.breaches: list[str] = []
        self.payment_orders: list[PaymentOrder] = []
        self.refund_orders: list[RefundOrder] = []
        self._rng = rng
        self._chaos = chaos
        self._history = history
        self._database = database
        self._replica = replica

    def work(self, payments: int, payouts: int) -> list[Coroutine[Any, Any, None]]:
        """One coroutine for each caller."""
        return [self._pay(number) for number in range(payments)] + [
            self._pay_out(number) for number in range(payouts)
        ]

    async def repeat_payment(self, order: PaymentOrder) -> Payment | None:
        return await self._ask("payment", order.request_id, _create_payment(order))

    async def send_other_body(self, order: PaymentOrder) -> None:
        """The same request_id with another amount must be refused."""
        other = replace(order, amount_minor=order.amount_minor + 7, fingerprint="other")
        try:
            made = await self._until_answered(_create_payment(other))
        except RequestIdReused:
            self._chaos.counts["other body refused"] += 1
            return
        self.breaches.append(f"I8 another body under {order.request_id} was taken as {made!r}")

    async def _pay(self, number: int) -> None:
        await asyncio.sleep(BUSY_S * self._rng.random())
        order = self._payment_order(number)
        self.payment_orders.append(order)
        first = self._ask("payment", order.request_id, _create_payment(order))
        if self._rng.random() < 0.12:
            self._chaos.counts["same request twice at once"] += 1
            async with asyncio.TaskGroup() as group:
                asking = group.create_task(first)
                group.create_task(self._ask("payment", order.request_id, _create_payment(order)))
            payment = asking.result()
        else:
            payment = await first
        if payment is None:
            return
        if self._rng.random() < 0.04:
            await self.send_other_body(order)
        if self._rng.random() < 0.12:
            await self._cancel(payment)
        if self._rng.random() < 0.35:
            await self._refund(payment)

    async def _cancel(self, payment: Payment) -> None:
        await asyncio.sleep(self._rng.random() * 10)

        async def cancel(replica: Replica) -> Payment:
            return await replica.payments.cancel(MERCHANT.merchant_id, payment.payment_id)

        await self._ask("payment", payment.request_id, cancel)

    async def _refund(self, payment: Payment) -> None:
        """One to three refunds at once, which together may be too much; some asked for twice."""
        for _ in range(REFUND_WAIT_STEPS):
            if self._database.rows["payment"][payment.payment_id].state is PaymentState.SUCCEEDED:
                break
            await asyncio.sleep(REFUND_WAIT_S)
        else:
            return
        orders = []
        for number in range(self._rng.choice((1, 1, 2, 3))):
            share = self._rng.choice((0.3, 0.5, 0.7, 1.0))
            request_id = f"{payment.request_id}-r{number}"
            order = RefundOrder(
                request_id=request_id,
                fingerprint=f"{payment.payment_id}:{share}",
                payment_id=payment.payment_id,
                amount_minor=max(1, int(payment.amount_minor * share)),
                currency=CURRENCY,
                note="",
            )
            orders.extend([order] * (2 if self._rng.random() < 0.2 else 1))
        self.refund_orders.extend(dict.fromkeys(orders))
        async with asyncio.TaskGroup() as group:
            for order in orders:
                group.create_task(self._ask("refund", order.request_id, _create_refund(order)))

    async def _pay_out(self, number: int) -> None:
        await asyncio.sleep(BUSY_S * self._rng.random())
        request = PayoutRequest(
            request_id=f"out-{number}",
            fingerprint=f"out-{number}",
            amount_minor=self._rng.randint(1_000, 40_000),
            currency=CURRENCY,
            payee_account="6222020200112233445",
            payee_name="Li",
            payee_bank_code="102100099996",
            description="",
            routing="",
        )

        async def create(replica: Replica) -> Payout:
            return await replica.payouts.create(MERCHANT, request)

        await self._ask("payout", request.request_id, create)

    async def _ask(self, kind: str, request_id: str, work: Work[T]) -> T | None:
        """Insists until there is an answer, and remembers it; None when it was a refusal."""
        try:
            answer = await self._until_answered(work)
        except RefundTooLarge:
            self._chaos.counts["refund over the limit refused"] += 1
            return None
        except FiscError as error:
            self._history.add(request_id, f"{kind} refused: {error.reason}")
            return None
        assert isinstance(answer, Payment | Refund | Payout)
        self._remember(kind, request_id, answer)
        return answer

    async def _until_answered(self, work: Work[T]) -> T:
        while True:
            try:
                return await self._replica().call(work)
            except FiscError as error:
                if error.kind not in _TRY_AGAIN:
                    raise
            except (CallLost, Poison, asyncpg.PostgresConnectionError) as error:
                self._history.add("caller", f"tries again after {type(error).__name__}")
            await asyncio.sleep(0.2 + RETRY_MAX_S * self._rng.random())

    def _remember(self, kind: str, request_id: str, answer: Subject) -> None:
        subject_id = str(getattr(answer, f"{kind}_id"))
        self.told.append(Acknowledgement(kind, subject_id, request_id, answer.state.value))
        self._history.add(subject_id, f"the merchant hears: {kind} {answer.state.value}")

    def _payment_order(self, number: int) -> PaymentOrder:
        return PaymentOrder(
            request_id=f"order-{number}",
            fingerprint=f"order-{number}",
            amount_minor=self._rng.randint(1, 50_000),
            currency=CURRENCY,
            method=self._rng.choice(("CARD", "CARD", "WECHAT_QR")),
            order_ref=f"o{number}",
            description="",
            customer_id="",
            payer_token="",
            ip="",
            country="",
            device_id="",
            routing="",
            channel_ids=(),
            expires_in_s=self._rng.choice(EXPIRES_S),
        )


def _create_payment(order: PaymentOrder) -> Work[Payment]:
    async def create(replica: Replica) -> Payment:
        return await replica.payments.create(MERCHANT, order)

    return create


def _create_refund(order: RefundOrder) -> Work[Refund]:
    async def create(replica: Replica) -> Refund:
        return await replica.refunds.create(MERCHANT.merchant_id, order)

    return create
