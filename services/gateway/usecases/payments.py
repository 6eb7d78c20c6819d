"""Payments: take, read, list, cancel, watch."""

import asyncio
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import timedelta

from libs.clock import Clock
from libs.errors import FiscError
from libs.ids import IdSource
from libs.paging import Page, PageRequest
from libs.saga.driver import Driver
from libs.saga.drives import Drives
from services.gateway.domain import method as methods
from services.gateway.domain import payment as payments
from services.gateway.domain import payment_flow, saga
from services.gateway.domain.errors import (
    PaymentNotAuthorized,
    PaymentNotFound,
    RequestIdRepeated,
    RequestIdReused,
)
from services.gateway.domain.merchant import Merchant
from services.gateway.domain.method import Input
from services.gateway.domain.neighbours import RiskQuery, RiskVerdict, RouteQuery
from services.gateway.domain.payment import Payment, PaymentState, PaymentStep, Verdicts
from services.gateway.domain.saga import Attempt, Plan
from services.gateway.store.sagas import SagaTable
from services.gateway.usecases.bulk import BulkIntake
from services.gateway.usecases.intake import Ask, Intake
from services.gateway.usecases.screening import check_currency

WATCH_INTERVAL_S = 0.25


@dataclass(frozen=True, slots=True, kw_only=True)
class PaymentOrder:
    """What a merchant asks for, validated in form."""

    request_id: str
    fingerprint: str
    amount_minor: int
    currency: str
    method: str
    order_ref: str
    description: str
    customer_id: str
    payer_token: str
    ip: str
    country: str
    device_id: str
    routing: str
    channel_ids: tuple[str, ...]
    expires_in_s: int
    capture_later: bool
    auth_code: str = field(default="", repr=False)
    wallet_user_id: str = ""
    bank_code: str = ""
    payer_account_id: str = ""
    return_url: str = ""


class Payments:
    """The payment use cases of all merchants."""

    def __init__(
        self,
        *,
        driver: Driver[Payment, Attempt],
        drives: Drives,
        table: SagaTable[Payment],
        intake: Intake[Payment],
        bulk: BulkIntake[Payment],
        clock: Clock,
        ids: IdSource,
    ) -> None:
        self._driver = driver
        self._drives = drives
        self._table = table
        self._intake = intake
        self._bulk = bulk
        self._clock = clock
        self._ids = ids

    async def create(self, merchant: Merchant, order: PaymentOrder) -> Payment:
        """Takes a payment; idempotent by (merchant, request_id).

        Answers with the outcome if it comes in the caller's time, else with the payment as it stands. Raises UnknownCurrency,
        CurrencyNotEnabled, RequestIdReused, what `check_payment` says of its method, and Overloaded before anything is written.
        """
        taken = await self._intake.take(self._ask(merchant, order))
        if not taken.is_new and taken.subject.fingerprint != order.fingerprint:
            raise RequestIdReused(field="request_id", payment_id=taken.subject.payment_id)
        if taken.drive is None:
            return taken.subject
        ended = await self._drives.wait(taken.drive)
        return ended or await self.get(merchant.merchant_id, taken.subject.payment_id)

    async def create_all(
        self, merchant: Merchant, orders: Sequence[PaymentOrder | FiscError]
    ) -> list[Payment | FiscError]:
        """Takes many, each as `create` would and with its own verdict, in order; an error among them stays as it is."""
        asks = [self._try_ask(merchant, order) for order in _once_each(orders)]
        answers = iter(await self._bulk.carry_out([each for each in asks if isinstance(each, Ask)]))
        return [next(answers) if isinstance(each, Ask) else each for each in asks]

    async def get(self, merchant_id: str, payment_id: str) -> Payment:
        """Raises PaymentNotFound, also for another merchant's payment."""
        loaded = await self._table.load(payment_id)
        if loaded is None or loaded[0].merchant_id != merchant_id:
            raise PaymentNotFound(field="payment_id")
        return loaded[0]

    async def page(
        self, merchant_id: str, states: list[str], order_ref: str, page: PageRequest
    ) -> Page[Payment]:
        """Newest first; an empty merchant_id means all merchants. Raises InvalidPageToken."""
        found = await self._table.page(merchant_id, page.after, states, order_ref, page.limit)
        return page.page(found, lambda payment: payment.payment_id)

    async def void(self, merchant_id: str, payment_id: str) -> Payment:
        """Asks to release what is reserved; idempotent. Raises PaymentNotFound, PaymentNotAuthorized, CaptureInFlight."""
        payment = await self.get(merchant_id, payment_id)
        is_released = payment.state in payments.ENDED and payment.cancel_requested
        if is_released or payment.state is PaymentState.CLOSING:
            return payment
        if payment.state is not PaymentState.AUTHORIZED:
            raise PaymentNotAuthorized(field="payment_id", state=payment.state.value)
        return await self.cancel(merchant_id, payment_id)

    async def cancel(self, merchant_id: str, payment_id: str) -> Payment:
        """Asks to stop; idempotent. Raises PaymentNotFound, PaymentNotCancelable, CaptureInFlight."""
        await self.get(merchant_id, payment_id)
        task = self._drives.start(self._driver.tell(payment_id, saga.CancelRequested()))
        await self._drives.wait(task)
        if task.done() and isinstance(error := task.exception(), FiscError):
            raise error
        return await self.get(merchant_id, payment_id)

    async def watch(self, merchant_id: str, payment_id: str) -> AsyncIterator[Payment]:
        """The payment now and after each change, until it has ended. Raises PaymentNotFound."""
        seen_version = 0
        while True:
            payment = await self.get(merchant_id, payment_id)
            if payment.version > seen_version:
                seen_version = payment.version
                yield payment
            if payment.state in payments.ENDED:
                return
            await asyncio.sleep(WATCH_INTERVAL_S)

    def _ask(self, merchant: Merchant, order: PaymentOrder) -> Ask[Payment]:
        check_currency(merchant, order.currency)
        methods.check_payment(order.method, _given(order))
        evaluation_id = f"{merchant.merchant_id}:{order.request_id}"

        def open_payment(risk: RiskVerdict, plan: Plan) -> PaymentStep:
            verdicts = Verdicts(risk=risk.verdict, case_id=risk.case_id, plan=plan)
            draft = self._draft(merchant, order, evaluation_id)
            return payment_flow.open_payment(draft, verdicts, self._clock.now())

        return Ask(
            merchant=merchant,
            fingerprint=order.fingerprint,
            risk_query=_risk_query(merchant, order, evaluation_id),
            route_query=_route_query(merchant, order, evaluation_id),
            open=open_payment,
        )

    def _try_ask(
        self, merchant: Merchant, order: PaymentOrder | FiscError
    ) -> Ask[Payment] | FiscError:
        try:
            return order if isinstance(order, FiscError) else self._ask(merchant, order)
        except FiscError as error:
            return error

    def _draft(self, merchant: Merchant, order: PaymentOrder, evaluation_id: str) -> Payment:
        now = self._clock.now()
        lifetime = timedelta(seconds=order.expires_in_s or payments.EXPIRES_DEFAULT_S)
        return Payment(
            payment_id=self._ids.new("pay"),
            merchant_id=merchant.merchant_id,
            request_id=order.request_id,
            fingerprint=order.fingerprint,
            order_ref=order.order_ref,
            description=order.description,
            amount_minor=order.amount_minor,
            currency=order.currency,
            method=order.method,
            payer_token=order.payer_token,
            auth_code=order.auth_code,
            wallet_user_id=order.wallet_user_id,
            payer_ip=order.ip,
            bank_code=order.bank_code,
            payer_account_id=order.payer_account_id,
            return_url=order.return_url,
            capture_later=order.capture_later,
            state=PaymentState.SENT,
            evaluation_id=evaluation_id,
            plan=(),
            created_at=now,
            updated_at=now,
            expires_at=now + lifetime,
            hard_deadline_at=payments.hard_deadline(now + lifetime),
            next_run_at=None,
        )


def _given(order: PaymentOrder) -> dict[Input, str]:
    return {
        Input.AUTH_CODE: order.auth_code,
        Input.WALLET_USER_ID: order.wallet_user_id,
        Input.PAYER_IP: order.ip,
        Input.ACCOUNT_ID: order.payer_account_id,
        Input.RETURN_URL: order.return_url,
    }


def _once_each(
    orders: Sequence[PaymentOrder | FiscError],
) -> Iterator[PaymentOrder | FiscError]:
    """A request_id counts where it comes first; nobody could tell which of two was meant."""
    seen: set[str] = set()
    for order in orders:
        if isinstance(order, FiscError):
            yield order
        elif order.request_id in seen:
            yield RequestIdRepeated(field="request_id")
        else:
            seen.add(order.request_id)
            yield order


def _risk_query(merchant: Merchant, order: PaymentOrder, evaluation_id: str) -> RiskQuery:
    return RiskQuery(
        evaluation_id=evaluation_id,
        merchant_id=merchant.merchant_id,
        operation="PAYMENT",
        amount_minor=order.amount_minor,
        currency=order.currency,
        method=order.method,
        customer_id=order.customer_id,
        ip=order.ip,
        country=order.country,
        device_id=order.device_id,
        payer_token=order.payer_token,
    )


def _route_query(merchant: Merchant, order: PaymentOrder, route_key: str) -> RouteQuery:
    return RouteQuery(
        route_key=route_key,
        merchant_id=merchant.merchant_id,
        operation="AUTHORIZATION" if order.capture_later else "PAYMENT",
        amount_minor=order.amount_minor,
        currency=order.currency,
        method=order.method,
        routing=order.routing,
        allowed_channel_ids=order.channel_ids,
    )
