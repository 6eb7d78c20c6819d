"""Plays the person of risk: approves and rejects in turn what a replay makes risk stop."""

import asyncio
from dataclasses import dataclass
from typing import Final

from deploy.local.clients import Platform
from fisc.risk.v1 import risk_pb2
from libs.errors import FiscError
from libs.money import Money

ACTOR: Final = "demo"
POLL_S: Final = 0.4


@dataclass(frozen=True, slots=True, kw_only=True)
class Review:
    """A case and what was decided."""

    case_id: str
    evaluation_id: str
    amount: str
    why: str
    approved: bool


class Reviewer:
    """Decides open cases of requests with one prefix: the first yes, the second no, and so on."""

    def __init__(self, platform: Platform, request_prefix: str) -> None:
        self._platform = platform
        self._prefix = request_prefix
        self.decided: list[Review] = []

    async def run(self) -> None:
        """Look for cases until cancelled."""
        while True:
            await asyncio.sleep(POLL_S)
            try:
                await self._decide_open()
            except FiscError:
                continue

    async def _decide_open(self) -> None:
        platform = self._platform
        request = risk_pb2.ListCasesRequest(state=risk_pb2.Case.STATE_OPEN)
        async for case in platform.pages(platform.risk.ListCases, request, "cases"):
            if self._prefix not in case.evaluation.evaluation_id:
                continue
            approved = len(self.decided) % 2 == 0
            await platform.call(
                platform.risk.DecideCase,
                risk_pb2.DecideCaseRequest(
                    request_id=f"demo:{case.case_id}",
                    case_id=case.case_id,
                    approved=approved,
                    actor=ACTOR,
                    note="The customer was called." if approved else "Nobody answered.",
                ),
            )
            amount = case.evaluation.amount
            self.decided.append(
                Review(
                    case_id=case.case_id,
                    evaluation_id=case.evaluation.evaluation_id,
                    amount=f"{Money(amount.currency, amount.amount_minor).format()} "
                    f"{amount.currency}",
                    why="; ".join(rule.detail or rule.rule_id for rule in case.fired_rules),
                    approved=approved,
                )
            )
