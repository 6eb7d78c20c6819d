"""What the use cases need of the world outside the gateway; clients.py and channels/ satisfy it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

from libs.events.log import NewEvent, StoredEvent
from services.gateway.domain.channel import Connector
from services.gateway.domain.payment import Payment
from services.gateway.domain.payout import Payout
from services.gateway.domain.refund import Refund
from services.gateway.domain.saga import Plan, Step

T_contra = TypeVar("T_contra", contravariant=True)
R_co = TypeVar("R_co", covariant=True)
S = TypeVar("S", bound=Payment | Refund | Payout)


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


class Risk(Protocol):
    async def evaluate(self, query: RiskQuery) -> RiskVerdict:
        """Raises a FiscError of kind UNAVAILABLE when risk cannot be asked."""
        ...

    async def case_state(self, case_id: str) -> str:
        """OPEN, APPROVED or REJECTED."""
        ...


class Router(Protocol):
    async def route(self, query: RouteQuery) -> Plan:
        """Channels, best first; empty when none fits. Falls back to what it knows while the router is away."""
        ...


class Ledger(Protocol):
    async def open_accounts(self, accounts: Sequence[LedgerAccount]) -> None:
        """Idempotent. Raises a FiscError when an account cannot be opened."""
        ...

    async def place_hold(self, order: HoldOrder) -> str:
        """ "" when placed (now or before), else the reason it is refused. Raises FiscError when unknown."""
        ...


class Channels(Protocol):
    async def connector(self, channel_id: str) -> Connector:
        """Raises ChannelNotFound."""
        ...

    def forget(self, channel_id: str) -> None:
        """Its account has changed: build it anew at the next use."""
        ...


class Sealer(Protocol):
    """Keeps credentials unreadable at rest."""

    def seal(self, credentials: Mapping[str, str]) -> bytes: ...

    def unseal(self, sealed: bytes) -> dict[str, str]: ...


class Writer(Protocol, Generic[T_contra, R_co]):
    """A group commit: many callers' rows in one transaction."""

    async def submit(self, item: T_contra) -> R_co: ...


class Outbox(Protocol):
    """The event log as the pushers read it, and where each of them stands."""

    async def read_events(self, cursor: str, limit: int) -> list[StoredEvent]: ...

    async def get_cursor(self, consumer: str) -> str: ...

    async def set_cursor(self, consumer: str, cursor: str) -> None: ...


class EventEncoder(Protocol, Generic[S]):
    def __call__(self, step: Step[S]) -> Sequence[NewEvent]:
        """The facts of a step as the event log keeps them."""
        ...
