"""Merchants: they pay, repeat themselves, change their mind, ask for more than there is, and remember every answer."""

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, replace
from random import Random
from typing import Any, TypeVar

import asyncpg

from libs.errors import ErrorKind, FiscError
from services.gateway.domain.capture import Capture
from services.gateway.domain.errors import (
    ApiKeyInvalid,
    CaptureExceedsAuthorization,
    CaptureInFlight,
    RefundTooLarge,
    RequestIdReused,
)
from services.gateway.domain.merchant import Merchant
from services.gateway.domain.payment import Payment, PaymentState
from services.gateway.domain.payout import Payout
from services.gateway.domain.refund import Refund
from services.gateway.store.sagas import Subject
from services.gateway.usecases.follow_ups import FollowUpOrder
from services.gateway.usecases.payments import PaymentOrder
from services.gateway.usecases.payouts import PayoutRequest
from tests.simulation.chaos import Chaos
from tests.simulation.connectors import Poison
from tests.simulation.database import Database
from tests.simulation.history import History
from tests.simulation.neighbours import CURRENCY
from tests.simulation.replica import CallLost, Replica, Unimplemented
from tests.simulation.wallets import Wallets

BUSY_S = 45.0
RETRY_MAX_S = 6.0
EXPIRES_S = (30, 60)
WAIT_STEPS = 12
WAIT_S = 4.0
CAPTURE_LATER_SHARE = 0.22
LATE_REFUNDS = 3

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
        wallets: Wallets,
        replica: Callable[[], Replica],
    ) -> None:
        self.told: list[Acknowledgement] = []
        self.breaches: list[str] = []
        self.payment_orders: list[tuple[Merchant, PaymentOrder]] = []
        self._rng = rng
        self._chaos = chaos
        self._history = history
        self._database = database
        self._wallets = wallets
        self._replica = replica

    def work(self, payments: int, payouts: int) -> list[Coroutine[Any, Any, None]]:
        """One coroutine for each caller."""
        return [self._pay(number) for number in range(payments)] + [
            self._pay_out(number) for number in range(payouts)
        ]

    async def repeat_payment(self, merchant: Merchant, order: PaymentOrder) -> Payment | None:
        return await self._ask("payment", order.request_id, self._create_payment(merchant, order))

    async def send_other_body(self, merchant: Merchant, order: PaymentOrder) -> None:
        """The same request_id with another amount must be refused."""
        other = replace(order, amount_minor=order.amount_minor + 7, fingerprint="other")
        try:
            made = await self.until_answered(self._create_payment(merchant, other))
        except RequestIdReused:
            self._chaos.counts["other body refused"] += 1
            return
        self.breaches.append(f"I8 another body under {order.request_id} was taken as {made!r}")

    async def _pay(self, number: int) -> None:
        await asyncio.sleep(BUSY_S * self._rng.random())
        merchant = self._wallets.merchant(self._rng)
        order = self._payment_order(number)
        self.payment_orders.append((merchant, order))
        create = self._create_payment(merchant, order)
        first = self._ask("payment", order.request_id, create)
        if self._rng.random() < 0.08:
            self._chaos.counts["same request twice at once"] += 1
            async with asyncio.TaskGroup() as group:
                asking = group.create_task(first)
                group.create_task(self._ask("payment", order.request_id, create))
            payment = asking.result()
        else:
            payment = await first
        if payment is None:
            return
        if self._rng.random() < 0.02:
            await self.send_other_body(merchant, order)
        if self._rng.random() < 0.1:
            await self._cancel(payment)
        if order.capture_later:
            await self._take(payment)
        if self._rng.random() < 0.25:
            await self._refund(payment)

    async def _cancel(self, payment: Payment) -> None:
        await asyncio.sleep(self._rng.random() * 10)

        async def cancel(replica: Replica) -> Payment:
            return await replica.payments.cancel(payment.merchant_id, payment.payment_id)

        await self._ask("payment", payment.request_id, cancel)

    async def _take(self, payment: Payment) -> None:
        """Captures of what was authorised, one after the other or at once, and perhaps a void among them."""
        if not await self._stands_at(payment, PaymentState.AUTHORIZED):
            return
        work: list[Coroutine[Any, Any, object]] = []
        for number in range(self._rng.choice((0, 1, 1, 1, 2, 3))):
            share = self._rng.choice((0.3, 0.5, 0.7, 1.0, 0.0))
            order = FollowUpOrder(
                request_id=f"{payment.request_id}-c{number}",
                fingerprint=f"{payment.payment_id}:{share}",
                payment_id=payment.payment_id,
                amount_minor=max(1, int(payment.amount_minor * share)) if share else None,
                currency=payment.currency,
                is_final=self._rng.random() < 0.3,
            )
            copies = 2 if self._rng.random() < 0.1 else 1
            work += [self._capture(payment, order) for _ in range(copies)]
        if self._rng.random() < 0.3:
            work.insert(self._rng.randint(0, len(work)), self._void(payment))
        if self._rng.random() < 0.5:
            async with asyncio.TaskGroup() as group:
                for each in work:
                    group.create_task(each)
            return
        for each in work:
            await each

    async def _capture(self, payment: Payment, order: FollowUpOrder) -> None:
        async def capture(replica: Replica) -> Capture:
            if replica.is_old:
                raise Unimplemented
            return await replica.captures.create(payment.merchant_id, order)

        await self._ask("capture", order.request_id, capture)

    async def _void(self, payment: Payment) -> None:
        async def void(replica: Replica) -> Payment:
            if replica.is_old:
                raise Unimplemented
            return await replica.payments.void(payment.merchant_id, payment.payment_id)

        if await self._ask("payment", payment.request_id, void) is not None:
            self._chaos.counts["authorisation voided"] += 1

    async def _stands_at(self, payment: Payment, state: PaymentState) -> bool:
        for _ in range(WAIT_STEPS):
            if self._database.rows["payment"][payment.payment_id].state is state:
                return True
            await asyncio.sleep(WAIT_S)
        return False

    async def _refund(self, payment: Payment) -> None:
        """One to three refunds at once, which together may be too much; some asked for twice."""
        if not await self._stands_at(payment, PaymentState.SUCCEEDED):
            return
        orders = []
        for number in range(self._rng.choice((1, 1, 2, 3))):
            share = self._rng.choice((0.3, 0.5, 0.7, 1.0))
            request_id = f"{payment.request_id}-r{number}"
            order = FollowUpOrder(
                request_id=request_id,
                fingerprint=f"{payment.payment_id}:{share}",
                payment_id=payment.payment_id,
                amount_minor=max(1, int(payment.amount_minor * share)),
                currency=payment.currency,
            )
            orders.extend([order] * (2 if self._rng.random() < 0.2 else 1))
        async with asyncio.TaskGroup() as group:
            for order in orders:
                refund = _create_refund(payment, order)
                group.create_task(self._ask("refund", order.request_id, refund))

    async def refund_another_day(self, day_number: int) -> None:
        """All that is left of a few payments of an earlier day, or too much of it."""
        paid = [
            row
            for row in self._database.rows["payment"].values()
            if row.state is PaymentState.SUCCEEDED and row.refunded_minor < row.captured_minor
        ]
        for payment in self._rng.sample(paid, min(len(paid), LATE_REFUNDS)):
            left_minor = payment.captured_minor - payment.refunded_minor
            order = FollowUpOrder(
                request_id=f"{payment.request_id}-day{day_number}",
                fingerprint=f"{payment.payment_id}:{day_number}",
                payment_id=payment.payment_id,
                amount_minor=left_minor + (self._rng.random() < 0.1),
                currency=payment.currency,
            )
            await self._ask("refund", order.request_id, _create_refund(payment, order))

    async def _pay_out(self, number: int) -> None:
        await asyncio.sleep(BUSY_S * self._rng.random())
        merchant = self._wallets.merchant(self._rng)
        request = PayoutRequest(
            request_id=f"out-{number}",
            fingerprint=f"out-{number}",
            amount_minor=self._rng.randint(1_000, 40_000),
            currency=CURRENCY,
            payee_account=self._wallets.account_number(self._rng),
            payee_name=self._wallets.payee_name,
            payee_bank_code="102100099996",
            description="",
            method="BANK_TRANSFER",
            routing="",
        )

        async def create(replica: Replica) -> Payout:
            return await replica.payouts.create(merchant, request)

        await self._ask("payout", request.request_id, create)

    async def _ask(self, kind: str, request_id: str, work: Work[T]) -> T | None:
        """Insists until there is an answer, and remembers it; None when it was a refusal."""
        try:
            answer = await self.until_answered(work)
        except FiscError as error:
            counted = _REFUSALS.get(type(error))
            if counted is not None:
                self._chaos.counts[counted] += 1
            self._history.add(request_id, f"{kind} refused: {error.reason}")
            return None
        assert isinstance(answer, Payment | Capture | Refund | Payout)
        self._remember(kind, request_id, answer)
        return answer

    async def until_answered(self, work: Work[T]) -> T:
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
        capture_later = self._rng.random() < CAPTURE_LATER_SHARE
        return PaymentOrder(
            request_id=f"order-{number}",
            fingerprint=f"order-{number}",
            amount_minor=self._rng.randint(1, 50_000),
            currency="USD" if self._rng.random() < 0.15 else CURRENCY,
            method="CARD" if capture_later else self._rng.choice(("CARD", "CARD", "WECHAT_QR")),
            order_ref=f"o{number}",
            description="",
            customer_id="",
            payer_token=self._wallets.payer_token(self._rng),
            ip="",
            country="",
            device_id="",
            routing="",
            channel_ids=(),
            expires_in_s=self._rng.choice(EXPIRES_S),
            capture_later=capture_later,
        )

    def _create_payment(self, merchant: Merchant, order: PaymentOrder) -> Work[Payment]:
        key = self._wallets.key_of(merchant)

        async def create(replica: Replica) -> Payment:
            if replica.is_old and order.capture_later:
                raise Unimplemented
            if key and await replica.merchants.authenticate(key) != merchant:
                raise ApiKeyInvalid
            return await replica.payments.create(merchant, order)

        return create


_REFUSALS: dict[type[FiscError], str] = {
    RefundTooLarge: "refund over the limit refused",
    CaptureExceedsAuthorization: "capture over the limit refused",
    CaptureInFlight: "capture beside a void refused",
}


def _create_refund(payment: Payment, order: FollowUpOrder) -> Work[Refund]:
    async def create(replica: Replica) -> Refund:
        return await replica.refunds.create(payment.merchant_id, order)

    return create
