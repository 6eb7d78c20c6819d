"""What is asked before an operation is written down: may the merchant, does risk allow, which channels."""

import asyncio
from collections.abc import Sequence

from libs.errors import FiscError
from libs.money import is_currency
from services.gateway.domain.capability import OPERATIONS
from services.gateway.domain.errors import CurrencyNotEnabled, RequestIdReused, UnknownCurrency
from services.gateway.domain.merchant import Merchant
from services.gateway.domain.neighbours import AWAY, RiskQuery, RiskVerdict, RouteQuery
from services.gateway.domain.saga import Plan
from services.gateway.usecases.ports import Channels, Risk, Router

# Both neighbours keep what they decided under a key made of the request_id, and notice another body before we do.
_REUSED = frozenset({"EVALUATION_ID_REUSED", "ROUTE_KEY_REUSED"})


def check_currency(merchant: Merchant, currency: str) -> None:
    """Raises UnknownCurrency or CurrencyNotEnabled."""
    if not is_currency(currency):
        raise UnknownCurrency(field="amount.currency", currency=currency)
    if currency not in merchant.currencies:
        raise CurrencyNotEnabled(field="amount.currency", currency=currency)


class Screening:
    """Asks risk and the router at the same time, each once for all. A plan holds only channels that can carry it out."""

    def __init__(self, risk: Risk, router: Router, channels: Channels) -> None:
        self._risk = risk
        self._router = router
        self._channels = channels

    async def screen(
        self, asks: Sequence[tuple[Merchant, RiskQuery, RouteQuery]]
    ) -> list[tuple[RiskVerdict, Plan] | FiscError]:
        """Risk's verdict and the plan for each; RequestIdReused, or an error of kind UNAVAILABLE, for each that has none."""
        async with asyncio.TaskGroup() as group:
            judging = group.create_task(self._judge([(ask[0], ask[1]) for ask in asks]))
            planning = group.create_task(self._plan([query for _, _, query in asks]))
        answers = zip(judging.result(), planning.result(), strict=True)
        return [_both(judged, planned) for judged, planned in answers]

    async def _plan(self, queries: Sequence[RouteQuery]) -> list[Plan | FiscError]:
        answers = await self._router.route(queries)
        return [
            answer if isinstance(answer, FiscError) else self._feasible(query, answer)
            for query, answer in zip(queries, answers, strict=True)
        ]

    def _feasible(self, query: RouteQuery, plan: Plan) -> Plan:
        """What the router was told of a channel may be more than its provider offers."""
        feature = OPERATIONS[query.operation]
        return tuple(each for each in plan if self._channels.offers(each, query.method, feature))

    async def _judge(
        self, asks: Sequence[tuple[Merchant, RiskQuery]]
    ) -> list[RiskVerdict | FiscError]:
        answers = await self._risk.evaluate([query for _, query in asks])
        return [_or_policy(*ask, answer) for ask, answer in zip(asks, answers, strict=True)]


def _or_policy(
    merchant: Merchant, query: RiskQuery, answer: RiskVerdict | FiscError
) -> RiskVerdict | FiscError:
    """Risk's word, or the merchant's own policy while risk cannot be asked."""
    if isinstance(answer, FiscError) and answer.kind in AWAY and merchant.risk_down_allowed:
        is_small = query.amount_minor <= merchant.risk_down_limit_minor
        return RiskVerdict(verdict="ALLOW") if is_small else answer
    return answer


def _both(
    judged: RiskVerdict | FiscError, planned: Plan | FiscError
) -> tuple[RiskVerdict, Plan] | FiscError:
    for answer in (judged, planned):
        if isinstance(answer, FiscError):
            is_reused = answer.reason in _REUSED
            return RequestIdReused(field="request_id") if is_reused else answer
    assert isinstance(judged, RiskVerdict)  # noqa: S101 - errors were answered above
    assert isinstance(planned, tuple)  # noqa: S101
    return judged, planned
