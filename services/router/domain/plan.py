"""What is asked of the router and what it answers."""

import enum
from dataclasses import dataclass
from datetime import datetime

from libs import money
from services.router.domain import errors
from services.router.domain.channel import Method, Operation


class Policy(enum.StrEnum):
    """What a plan should favour."""

    CHEAPEST = "CHEAPEST"
    MOST_SUCCESSFUL = "MOST_SUCCESSFUL"
    FASTEST = "FASTEST"
    BALANCED = "BALANCED"


@dataclass(frozen=True, slots=True, kw_only=True)
class RouteQuery:
    """An operation to plan."""

    route_key: str
    merchant_id: str
    currency: str
    amount_minor: int
    method: Method
    operation: Operation
    policy: Policy
    allowed_channel_ids: frozenset[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """One channel of a plan; the score lies between 0 and 1, higher is better."""

    channel_id: str
    score: float
    expected_cost_minor: int
    success_rate: float
    latency_ms: float
    samples: int
    reasons: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Exclusion:
    """A channel that was not planned, and why."""

    channel_id: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """Channels to try, best first, never empty."""

    route_key: str
    candidates: tuple[Candidate, ...]
    exclusions: tuple[Exclusion, ...]
    policy: Policy
    explanation: str
    decided_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """A plan and the operation it was made for, as recorded."""

    merchant_id: str
    currency: str
    amount_minor: int
    method: Method
    operation: Operation
    plan: Plan

    def is_for(self, query: RouteQuery) -> bool:
        """Whether the query asks for the operation that was decided; what it favours may differ."""
        return (
            self.merchant_id == query.merchant_id
            and self.currency == query.currency
            and self.amount_minor == query.amount_minor
            and self.method == query.method
            and self.operation == query.operation
        )


def check(query: RouteQuery) -> None:
    """Refuse what no channel could ever do. Raises UnknownCurrency or OperationNotRoutable."""
    if not money.is_currency(query.currency):
        raise errors.UnknownCurrency(
            f"{query.currency!r} is not a currency of ISO 4217", field="amount.currency"
        )
    if query.operation is Operation.REFUND:
        raise errors.OperationNotRoutable(field="operation")
