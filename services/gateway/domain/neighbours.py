"""What the gateway asks of risk, router and account, and what it hears, in its own words."""

from dataclasses import dataclass
from typing import Final

from libs.errors import ErrorKind

# What a neighbour says, or its silence, when it cannot be asked now; anything else is an answer.
AWAY: Final = frozenset({ErrorKind.UNAVAILABLE, ErrorKind.INTERNAL, ErrorKind.EXHAUSTED})


@dataclass(frozen=True, slots=True, kw_only=True)
class RiskQuery:
    """An operation to judge."""

    evaluation_id: str
    merchant_id: str
    operation: str
    amount_minor: int
    currency: str
    method: str
    customer_id: str = ""
    ip: str = ""
    country: str = ""
    device_id: str = ""
    payer_token: str = ""
    payee_account: str = ""
    subject_id: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class RiskVerdict:
    """ALLOW, REVIEW or DENY, with the case that a person decides."""

    verdict: str
    case_id: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class RouteQuery:
    """An operation to plan."""

    route_key: str
    merchant_id: str
    operation: str
    amount_minor: int
    currency: str
    method: str
    routing: str
    allowed_channel_ids: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class HoldOrder:
    """Money to set aside in the ledger."""

    hold_id: str
    debit_account_id: str
    credit_account_id: str
    amount_minor: int
    currency: str
    reference: str


@dataclass(frozen=True, slots=True, kw_only=True)
class LedgerAccount:
    """A ledger account to be opened."""

    account_id: str
    owner_id: str
    role: str
    currency: str
    display_name: str
