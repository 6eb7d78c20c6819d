"""The things clearing keeps: items, plans, channels, statements, differences, batches, reports."""

import enum
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime, time
from zoneinfo import ZoneInfo


class ItemKind(enum.StrEnum):
    """What a clearing item, and a line of a bill, is about."""

    PAYMENT = "PAYMENT"
    REFUND = "REFUND"
    PAYOUT = "PAYOUT"
    PAYOUT_RETURN = "PAYOUT_RETURN"


class MatchState(enum.StrEnum):
    """Whether the channel agrees."""

    UNMATCHED = "UNMATCHED"
    MATCHED = "MATCHED"
    DIFFERENT = "DIFFERENT"


class StatementState(enum.StrEnum):
    """What became of a channel's bill of one day."""

    FETCHED = "FETCHED"
    EMPTY = "EMPTY"
    REJECTED = "REJECTED"
    NOT_READY = "NOT_READY"
    FAILED = "FAILED"

    @property
    def is_accepted(self) -> bool:
        """Whether the day may be matched with it."""
        return self in {StatementState.FETCHED, StatementState.EMPTY}


class DifferenceKind(enum.StrEnum):
    """How the two sides disagree."""

    LONG = "LONG"
    SHORT = "SHORT"
    AMOUNT = "AMOUNT"
    STATUS = "STATUS"
    DUPLICATE = "DUPLICATE"
    CURRENCY = "CURRENCY"


class DifferenceState(enum.StrEnum):
    """Where a difference stands."""

    OPEN = "OPEN"
    RESOLVED = "RESOLVED"


class BatchState(enum.StrEnum):
    """Where a settlement batch stands."""

    COMPUTED = "COMPUTED"
    """Waits until it is due."""
    POSTING = "POSTING"
    """The ledger was asked, or will be at once."""
    REFUSED = "REFUSED"
    """The ledger said no, for a reason that can pass."""
    MANUAL = "MANUAL"
    """The ledger said no, and waiting will not help: a person decides."""
    SETTLED = "SETTLED"
    CANCELED = "CANCELED"
    """Its items go into another batch."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Succeeded:
    """A payment, capture, refund, payout or return that succeeded, as the gateway tells it."""

    subject_id: str
    kind: ItemKind
    merchant_id: str
    channel_id: str
    out_ref: str
    provider_ref: str
    currency: str
    amount_minor: int
    payment_id: str
    """The payment captured or given back; the subject itself for a payment; empty for a payout."""
    succeeded_at: datetime
    settles: bool = True
    """False for money that is not the merchant's: a late success, and what gives it back."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Item:
    """One succeeded operation, to be matched and settled."""

    subject_id: str
    kind: ItemKind
    merchant_id: str
    channel_id: str
    out_ref: str
    provider_ref: str
    currency: str
    amount_minor: int
    payment_id: str
    merchant_fee_minor: int
    fee_refundable: bool
    plan_ref: str
    business_date: date
    occurred_at: datetime
    settles: bool = True
    match_state: MatchState = MatchState.UNMATCHED
    batch_id: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class FeePlan:
    """What a merchant pays us from a business day on. `rate_ppm` is millionths of the amount."""

    plan_id: str
    merchant_id: str
    rate_ppm: int
    fixed_minor: int
    payout_fixed_minor: int
    fee_refundable: bool
    effective_from: date
    settle_delay_days: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Channel:
    """What clearing must know of a channel: when its business day turns."""

    channel_id: str
    provider: str
    zone: ZoneInfo
    cut_off: time


@dataclass(frozen=True, slots=True, kw_only=True)
class BillFile:
    """A bill as the gateway hands it over. `is_empty`: the channel says there was nothing."""

    provider: str
    is_empty: bool
    checked_hash: str
    content: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class ChannelDay:
    """How far a channel's bill of one day has come."""

    channel_id: str
    business_date: date
    state: StatementState
    reason: str = ""
    statement_id: str = ""
    lines_count: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Statement:
    """One bill file that arrived; it never changes."""

    statement_id: str
    channel_id: str
    business_date: date
    sha256: str
    size_bytes: int
    state: StatementState
    reason: str
    lines_count: int
    fetched_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """One disagreement with a channel. Currencies are empty on the side that has nothing."""

    difference_id: str
    kind: DifferenceKind
    channel_id: str
    business_date: date
    item_kind: ItemKind
    out_ref: str
    subject_id: str
    merchant_id: str
    our_currency: str
    our_amount_minor: int
    channel_currency: str
    channel_amount_minor: int
    line_number: int
    detail: str
    opened_at: datetime
    state: DifferenceState = DifferenceState.OPEN
    note: str = ""
    resolved_by: str = ""
    resolved_at: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """What one merchant is owed for one day in one currency. Field names are the columns of its row."""

    batch_id: str
    merchant_id: str
    currency: str
    business_date: date
    settle_date: date
    items_count: int
    gross_minor: int
    refunds_minor: int
    fees_minor: int
    net_minor: int
    state: BatchState = BatchState.COMPUTED
    reason: str = ""
    tries_count: int = 0
    refused_since: datetime | None = None
    """Since when the ledger has kept saying no."""
    settled_at: datetime | None = None
    decided_by: str = ""
    note: str = ""
    created_at: datetime
    updated_at: datetime
    next_run_at: datetime | None
    version: int = 1
    epoch: int = 1
    flow_version: int = 1
    faults_count: int = 0
    last_fault: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ChannelFee:
    """What a channel took for one day by its bill; what is booked is whole minor units."""

    channel_id: str
    business_date: date
    currency: str
    fee_e4: int
    booked_minor: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ChannelReport:
    """One channel's day in one currency."""

    channel_id: str
    currency: str
    items_count: int
    lines_count: int
    matched_count: int
    differences_count: int
    net_minor: int
    channel_fee_e4: int
    statement_state: str
    statement_reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class DayReport:
    """A business day, summed up."""

    business_date: date
    channels: Sequence[ChannelReport]
    payments_count: int
    refunds_count: int
    payouts_count: int
    matched_count: int
    differences_count: int
    differences_open_count: int
    batches: Sequence[Batch]
    vouchers_count: int
    closed: bool
    payout_returns_count: int = 0
    late_successes_count: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """What came of telling the gateway of a bill's lines without an item."""

    lines_count: int = 0
    settled_count: int = 0
    """Orders that a line settled."""
    absent_count: int = 0
    """Orders that the absence of a line settled."""
    unknown_count: int = 0
    """Lines whose reference is none of the gateway's."""
    failed_count: int = 0
    """Orders that the gateway could not be told of."""

    def __add__(self, more: "Told") -> "Told":
        """Both together."""
        return Told(
            lines_count=self.lines_count + more.lines_count,
            settled_count=self.settled_count + more.settled_count,
            absent_count=self.absent_count + more.absent_count,
            unknown_count=self.unknown_count + more.unknown_count,
            failed_count=self.failed_count + more.failed_count,
        )
