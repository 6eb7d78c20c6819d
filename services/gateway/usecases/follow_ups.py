"""What captures and refunds have in common: reserve and send, read, list."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Generic, TypeVar

from libs.clock import Clock
from libs.errors import FiscError
from libs.ids import IdSource
from libs.paging import Page, PageRequest
from libs.saga.driver import Driver
from libs.saga.drives import Drives
from libs.saga.flow import StaleWrite
from services.gateway.domain import follow_up
from services.gateway.domain.capture import Capture
from services.gateway.domain.errors import PaymentNotFound, RequestIdReused
from services.gateway.domain.payment import Payment
from services.gateway.domain.refund import Refund
from services.gateway.domain.saga import Attempt
from services.gateway.store.sagas import SagaStore, SagaTable
from services.gateway.usecases.ports import Channels

F = TypeVar("F", Capture, Refund)


@dataclass(frozen=True, slots=True, kw_only=True)
class FollowUpOrder:
    """What a merchant asks for, validated in form."""

    request_id: str
    fingerprint: str
    payment_id: str
    amount_minor: int | None
    """None for all there is."""
    currency: str
    note: str = ""
    is_final: bool = False


class FollowUps(ABC, Generic[F]):
    """The use cases of one kind of follow-up, of all merchants."""

    def __init__(
        self,
        *,
        driver: Driver[F, Attempt],
        drives: Drives,
        store: SagaStore,
        table: SagaTable[F],
        channels: Channels,
        clock: Clock,
        ids: IdSource,
    ) -> None:
        self._driver: Driver[F, Attempt] = driver
        self._drives = drives
        self._store = store
        self._table: SagaTable[F] = table
        self._channels = channels
        self._clock = clock
        self._ids = ids

    async def create(self, merchant_id: str, order: FollowUpOrder) -> F:
        """Reserves and sends; idempotent by (merchant, request_id).

        Raises PaymentNotFound, RequestIdReused, and what `draft` and `too_large` give.
        """
        existing = await self._table.find_request(merchant_id, order.request_id)
        if existing is not None:
            return self._same(existing, order)
        payment, attempts = await self._payment(merchant_id, order)
        draft = self.draft(payment, attempts, order)
        step = follow_up.open_now(draft, self._clock.now())
        try:
            stored = await self._store.create_follow_up(self._table, self._driver.saved(step))
        except StaleWrite:
            # The same request came twice at once; by now the first one stands.
            stored = await self._store.create_follow_up(self._table, self._driver.saved(step))
        if stored is None:
            payment, _ = await self._payment(merchant_id, order)
            raise self.too_large(payment)
        if stored.subject_id != draft.subject_id:
            return self._same(stored, order)
        task = self._drives.start(self._driver.drive(step))
        return await self._drives.wait(task) or await self.get(merchant_id, stored.subject_id)

    async def get(self, merchant_id: str, subject_id: str) -> F:
        """Raises what `not_found` gives, also for another merchant's."""
        loaded = await self._table.load(subject_id)
        if loaded is None or loaded[0].merchant_id != merchant_id:
            raise self.not_found()
        return loaded[0]

    async def page(self, merchant_id: str, payment_id: str, page: PageRequest) -> Page[F]:
        """Newest first. Raises InvalidPageToken."""
        found = await self._table.page(merchant_id, page.after, payment_id, page.limit)
        return page.page(found, lambda order: order.subject_id)

    @abstractmethod
    def draft(self, payment: Payment, attempts: tuple[Attempt, ...], order: FollowUpOrder) -> F:
        """The intent. Raises for a payment that cannot bear any."""

    @abstractmethod
    def too_large(self, payment: Payment) -> FiscError:
        """Says how much could still be taken of it."""

    @abstractmethod
    def not_found(self) -> FiscError: ...

    async def _payment(
        self, merchant_id: str, order: FollowUpOrder
    ) -> tuple[Payment, tuple[Attempt, ...]]:
        loaded = await self._store.payments.load(order.payment_id)
        if loaded is None or loaded[0].merchant_id != merchant_id:
            raise PaymentNotFound(field="payment_id")
        return loaded

    def _same(self, stored: F, order: FollowUpOrder) -> F:
        if stored.fingerprint != order.fingerprint:
            raise RequestIdReused(field="request_id", subject_id=stored.subject_id)
        return stored
