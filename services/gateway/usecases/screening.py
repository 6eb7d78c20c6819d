"""What is asked before an operation is written down: may the merchant, does risk allow, which channels."""

import asyncio

from libs.errors import FiscError
from libs.money import is_currency
from services.gateway.domain.errors import CurrencyNotEnabled, RequestIdReused, UnknownCurrency
from services.gateway.domain.merchant import Merchant
from services.gateway.domain.neighbours import AWAY, RiskQuery, RiskVerdict, RouteQuery
from services.gateway.domain.saga import Plan
from services.gateway.usecases.ports import Risk, Router

# Both neighbours keep what they decided under a key made of the request_id, and notice another body before we do.
_REUSED = frozenset({"EVALUATION_ID_REUSED", "ROUTE_KEY_REUSED"})


def check_currency(merchant: Merchant, currency: str) -> None:
    """Raises UnknownCurrency or CurrencyNotEnabled."""
    if not is_currency(currency):
        raise UnknownCurrency(field="amount.currency", currency=currency)
    if currency not in merchant.currencies:
        raise CurrencyNotEnabled(field="amount.currency", currency=currency)


class Screening:
    """Asks risk and the router at the same time."""

    def __init__(self, risk: Risk, router: Router) -> None:
        self._risk = risk
        self._router = router

    async def screen(
        self, merchant: Merchant, risk_query: RiskQuery, route_query: RouteQuery
    ) -> tuple[RiskVerdict, Plan]:
        """Risk's verdict and the plan. Raises RequestIdReused, and FiscErrors of kind UNAVAILABLE."""
        try:
            async with asyncio.TaskGroup() as group:
                judging = group.create_task(self._judge(merchant, risk_query))
                planning = group.create_task(self._router.route(route_query))
        except BaseExceptionGroup as errors:
            first = errors.exceptions[0]
            if isinstance(first, FiscError) and first.reason in _REUSED:
                raise RequestIdReused(field="request_id") from None
            raise first from None
        return judging.result(), planning.result()

    async def _judge(self, merchant: Merchant, query: RiskQuery) -> RiskVerdict:
        """Risk's word, or the merchant's own policy while risk cannot be asked."""
        try:
            return await self._risk.evaluate(query)
        except FiscError as error:
            is_small = query.amount_minor <= merchant.risk_down_limit_minor
            if error.kind in AWAY and merchant.risk_down_allowed and is_small:
                return RiskVerdict(verdict="ALLOW")
            raise
