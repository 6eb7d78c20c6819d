"""Payouts: send, read, list."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta

from libs.clock import Clock
from libs.errors import FiscError
from libs.ids import IdSource
from libs.paging import Page, PageRequest
from libs.saga.drives import Drives
from services.gateway.domain import method as methods
from services.gateway.domain import payout as payouts
from services.gateway.domain import saga
from services.gateway.domain.errors import PayoutNotFound, RequestIdReused
from services.gateway.domain.merchant import Merchant
from services.gateway.domain.neighbours import RiskQuery, RiskVerdict, RouteQuery
from services.gateway.domain.payout import Payout, PayoutState, PayoutStep
from services.gateway.domain.saga import Plan
from services.gateway.store.sagas import SagaTable
from services.gateway.usecases.bulk import BulkIntake
from services.gateway.usecases.intake import Ask, Intake
from services.gateway.usecases.screening import check_currency


@dataclass(frozen=True, slots=True, kw_only=True)
class PayoutRequest:
    """What a merchant asks for, validated in form."""

    request_id: str
    fingerprint: str
    amount_minor: int
    currency: str
    payee_account: str
    payee_name: str
    payee_bank_code: str
    description: str
    method: str
    routing: str


class Payouts:
    """The payout use cases of all merchants."""

    def __init__(
        self,
        *,
        drives: Drives,
        table: SagaTable[Payout],
        intake: Intake[Payout],
        bulk: BulkIntake[Payout],
        clock: Clock,
        ids: IdSource,
    ) -> None:
        self._drives = drives
        self._table = table
        self._intake = intake
        self._bulk = bulk
        self._clock = clock
        self._ids = ids

    async def create(self, merchant: Merchant, request: PayoutRequest) -> Payout:
        """Holds the money and sends it; idempotent by (merchant, request_id).

        Raises UnknownCurrency, CurrencyNotEnabled, RequestIdReused, MethodNotForPayouts.
        """
        check_currency(merchant, request.currency)
        methods.check_payout(request.method)
        taken = await self._intake.take(self._ask(merchant, request))
        stored = taken.subject
        if not taken.is_new and stored.fingerprint != request.fingerprint:
            raise RequestIdReused(field="request_id", payout_id=stored.payout_id)
        if taken.drive is None:
            return stored
        ended = await self._drives.wait(taken.drive)
        return ended or await self.get(merchant.merchant_id, stored.payout_id)

    async def create_all(
        self, merchant: Merchant, requests: Sequence[PayoutRequest]
    ) -> list[Payout | FiscError]:
        """Many, each as `create` would and with its own verdict, in order; their currency was checked before."""
        return await self._bulk.carry_out([self._ask(merchant, request) for request in requests])

    async def get(self, merchant_id: str, payout_id: str) -> Payout:
        """Raises PayoutNotFound, also for another merchant's payout."""
        loaded = await self._table.load(payout_id)
        if loaded is None or loaded[0].merchant_id != merchant_id:
            raise PayoutNotFound(field="payout_id")
        return loaded[0]

    async def page(self, merchant_id: str, page: PageRequest) -> Page[Payout]:
        """Newest first. Raises InvalidPageToken."""
        found = await self._table.page(merchant_id, page.after, page.limit)
        return page.page(found, lambda payout: payout.payout_id)

    def _ask(self, merchant: Merchant, request: PayoutRequest) -> Ask[Payout]:
        evaluation_id = f"{merchant.merchant_id}:payout:{request.request_id}"

        def open_payout(risk: RiskVerdict, plan: Plan) -> PayoutStep:
            draft = self._draft(merchant.merchant_id, request, evaluation_id)
            return payouts.open_payout(draft, risk.verdict, risk.case_id, plan, self._clock.now())

        return Ask(
            merchant=merchant,
            fingerprint=request.fingerprint,
            risk_query=RiskQuery(
                evaluation_id=evaluation_id,
                merchant_id=merchant.merchant_id,
                operation="PAYOUT",
                amount_minor=request.amount_minor,
                currency=request.currency,
                method=request.method,
                payee_account=request.payee_account,
            ),
            route_query=RouteQuery(
                route_key=evaluation_id,
                merchant_id=merchant.merchant_id,
                operation="PAYOUT",
                amount_minor=request.amount_minor,
                currency=request.currency,
                method=request.method,
                routing=request.routing,
            ),
            open=open_payout,
        )

    def _draft(self, merchant_id: str, request: PayoutRequest, evaluation_id: str) -> Payout:
        now = self._clock.now()
        return Payout(
            payout_id=self._ids.new("pout"),
            merchant_id=merchant_id,
            request_id=request.request_id,
            fingerprint=request.fingerprint,
            amount_minor=request.amount_minor,
            currency=request.currency,
            payee_account=request.payee_account,
            payee_name=request.payee_name,
            payee_bank_code=request.payee_bank_code,
            description=request.description,
            method=request.method,
            state=PayoutState.HOLDING,
            evaluation_id=evaluation_id,
            plan=(),
            created_at=now,
            updated_at=now,
            hard_deadline_at=now + timedelta(seconds=saga.HARD_DEADLINE_S),
            next_run_at=None,
        )
