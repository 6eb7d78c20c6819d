"""What the other services answered when last asked."""

import enum
from dataclasses import dataclass, field
from datetime import date, datetime
from typing import Final, Generic, TypeVar

from libs import money

T = TypeVar("T")

PPM_PER_UNIT: Final = 1_000_000


class Source(enum.StrEnum):
    """Whom the page rests on, each of whom may be down."""

    FEED = "gateway feed"
    GATEWAY = "gateway"
    ROUTER = "router"
    RISK = "risk"
    ACCOUNT = "account"
    CLEARING = "clearing"
    NOTIFICATION = "notification"


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading(Generic[T]):
    """The last answer of a source, and why there is no newer one."""

    value: T | None = None
    read_at: datetime | None = None
    """When it was last read well."""
    error: str = ""
    """Empty while the source answers."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Channel:
    """A channel by the router's description and expectation."""

    channel_id: str
    display_name: str
    status: str
    rate_ppm: int = 0
    fixed_minor: int = 0
    minimum_minor: int = 0
    maximum_minor: int = 0
    samples: int = 0
    expected_success_rate: float | None = None

    def fee_minor(self, amount_minor: int) -> int:
        """What the channel charges for one operation, by its schedule (rate half up)."""
        proportional = money.mul_div(amount_minor, self.rate_ppm, PPM_PER_UNIT, "half_up")
        fee = max(proportional + self.fixed_minor, self.minimum_minor)
        return min(fee, self.maximum_minor) if self.maximum_minor else fee


@dataclass(frozen=True, slots=True, kw_only=True)
class LedgerLine:
    """The accounts of one role and currency, summed."""

    role: str
    currency: str
    accounts: int
    debits_minor: int
    credits_minor: int


@dataclass(frozen=True, slots=True, kw_only=True)
class AccountLine:
    """One account; amounts on its normal side."""

    account_id: str
    role: str
    currency: str
    posted_minor: int
    held_minor: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Ledger:
    """The trial balance and the accounts behind it."""

    lines: tuple[LedgerLine, ...]
    imbalance_minor: int
    transfers_count: int
    accounts: tuple[AccountLine, ...]
    has_more_accounts: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Amount:
    """So many minor units of a currency."""

    currency: str
    amount_minor: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """A disagreement with a channel that nobody has explained."""

    difference_id: str
    kind: str
    channel_id: str
    business_date: str
    subject_id: str
    out_ref: str
    our_amount: Amount | None
    channel_amount: Amount | None
    detail: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """What one merchant is owed for one day."""

    batch_id: str
    merchant_id: str
    currency: str
    settle_date: str
    items_count: int
    gross_minor: int
    refunds_minor: int
    fees_minor: int
    net_minor: int
    state: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ChannelDay:
    """How one channel's bill compares with our items."""

    channel_id: str
    currency: str
    items_count: int
    lines_count: int
    matched_count: int
    differences_count: int
    statement_state: str
    statement_reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Settlement:
    """Clearing's view of one business day."""

    day: date
    is_closed: bool
    items_count: int
    matched_count: int
    vouchers_count: int
    channels: tuple[ChannelDay, ...]
    batches: tuple[Batch, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Listed(Generic[T]):
    """The first page of a list, and whether there is more."""

    items: tuple[T, ...]
    has_more: bool = False

    @property
    def count_text(self) -> str:
        """How many, with a plus sign when that is only the first page."""
        return f"{len(self.items)}{'+' if self.has_more else ''}"


@dataclass(frozen=True, slots=True, kw_only=True)
class BacklogLine:
    """How many of one flow stand in one internal state."""

    flow: str
    state: str
    count: int
    oldest_age_min: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Backlog:
    """What has not ended at the gateway."""

    lines: tuple[BacklogLine, ...]
    events_unpushed: int


@dataclass(frozen=True, slots=True, kw_only=True)
class RiskCase:
    """An operation that waits for risk staff."""

    case_id: str
    operation: str
    subject_id: str
    merchant_id: str
    amount: Amount
    why: str
    opened_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class DeadDelivery:
    """A webhook given up."""

    delivery_id: str
    merchant_id: str
    event_type: str
    subject_id: str
    attempts_count: int
    created_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Readings:
    """The latest of everything that is polled."""

    channels: Reading[tuple[Channel, ...]] = field(default_factory=Reading)
    ledger: Reading[Ledger] = field(default_factory=Reading)
    differences: Reading[Listed[Difference]] = field(default_factory=Reading)
    backlog: Reading[Backlog] = field(default_factory=Reading)
    cases: Reading[Listed[RiskCase]] = field(default_factory=Reading)
    dead_deliveries: Reading[Listed[DeadDelivery]] = field(default_factory=Reading)
