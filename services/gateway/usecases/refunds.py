"""Refunds: give back, read, list."""

from dataclasses import dataclass
from datetime import timedelta

from libs.clock import Clock
from libs.ids import IdSource
from libs.paging import Page, PageRequest
from services.gateway.domain import refund as refunds
from services.gateway.domain import saga
from services.gateway.domain.errors import (
    PaymentNotFound,
    PaymentNotRefundable,
    RefundCurrencyMismatch,
    RefundNotFound,
    RefundTooLarge,
    RequestIdReused,
    StaleWrite,
)
from services.gateway.domain.payment import Payment, PaymentState
from services.gateway.domain.refund import Refund, RefundState
from services.gateway.domain.saga import AttemptState
from services.gateway.store.sagas import SagaStore
from services.gateway.usecases.driver import Driver, Drives


@dataclass(frozen=True, slots=True, kw_only=True)
class RefundOrder:
    """What a merchant asks for, validated in form."""

    request_id: str
    fingerprint: str
    payment_id: str
    amount_minor: int
    currency: str
    note: str


class Refunds:
    """The refund use cases of all merchants."""

    def __init__(
        self,
        *,
        driver: Driver[Refund],
        drives: Drives,
        store: SagaStore,
        clock: Clock,
        ids: IdSource,
    ) -> None:
        self._driver = driver
        self._drives = drives
        self._store = store
        self._clock = clock
        self._ids = ids

    async def create(self, merchant_id: str, order: RefundOrder) -> Refund:
        """Reserves and sends a refund; idempotent by (merchant, request_id).

        Raises PaymentNotFound, PaymentNotRefundable, RefundTooLarge, RefundCurrencyMismatch, RequestIdReused.
        """
        draft = await self._draft(merchant_id, order)
        step = refunds.open_refund(draft, self._clock.now())
        try:
            stored = await self._store.create_refund(self._driver.first(step))
        except StaleWrite:
            # The same request came twice at once; by now the first one stands.
            stored = await self._store.create_refund(self._driver.first(step))
        if stored is None:
            await self._refuse(merchant_id, order)
            raise RefundTooLarge(field="amount.amount_minor")
        if stored.refund_id != draft.refund_id:
            if stored.fingerprint != order.fingerprint:
                raise RequestIdReused(field="request_id", refund_id=stored.refund_id)
            return stored
        task = self._drives.start(self._driver.drive(step))
        return await self._drives.wait(task) or await self.get(merchant_id, stored.refund_id)

    async def get(self, merchant_id: str, refund_id: str) -> Refund:
        """Raises RefundNotFound, also for another merchant's refund."""
        loaded = await self._store.refunds.load(refund_id)
        if loaded is None or loaded[0].merchant_id != merchant_id:
            raise RefundNotFound(field="refund_id")
        return loaded[0]

    async def page(self, merchant_id: str, payment_id: str, page: PageRequest) -> Page[Refund]:
        """Newest first. Raises InvalidPageToken."""
        found = await self._store.refunds.page(merchant_id, page.after, payment_id, page.limit)
        return page.page(found, lambda refund: refund.refund_id)

    async def _draft(self, merchant_id: str, order: RefundOrder) -> Refund:
        loaded = await self._store.payments.load(order.payment_id)
        if loaded is None or loaded[0].merchant_id != merchant_id:
            raise PaymentNotFound(field="payment_id")
        payment, attempts = loaded
        if order.currency != payment.currency:
            raise RefundCurrencyMismatch(field="amount.currency", currency=payment.currency)
        paid = [attempt for attempt in attempts if attempt.state is AttemptState.SUCCEEDED]
        if payment.state is not PaymentState.SUCCEEDED or not paid:
            raise PaymentNotRefundable(field="payment_id", state=payment.state.value)
        now = self._clock.now()
        return Refund(
            refund_id=self._ids.new("ref"),
            payment_id=payment.payment_id,
            merchant_id=merchant_id,
            request_id=order.request_id,
            fingerprint=order.fingerprint,
            amount_minor=order.amount_minor,
            currency=order.currency,
            note=order.note,
            state=RefundState.SENT,
            channel_id=paid[-1].channel_id,
            payment_out_ref=paid[-1].out_ref,
            payment_amount_minor=payment.amount_minor,
            created_at=now,
            updated_at=now,
            hard_deadline_at=now + timedelta(seconds=saga.HARD_DEADLINE_S),
            next_run_at=saga.leased_until(now),
        )

    async def _refuse(self, merchant_id: str, order: RefundOrder) -> None:
        """Says how much could still be given back."""
        loaded = await self._store.payments.load(order.payment_id)
        payment: Payment | None = loaded[0] if loaded else None
        if payment is not None and payment.merchant_id == merchant_id:
            rest_minor = payment.amount_minor - payment.refunded_minor
            raise RefundTooLarge(
                f"{rest_minor} minor units of this payment can still be refunded",
                field="amount.amount_minor",
                refundable_minor=str(rest_minor),
            )
