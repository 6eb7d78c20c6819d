"""What the sandbox remembers: accounts, orders, captures, refunds, payouts, callbacks."""

from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Any, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

Rate = Annotated[float, Field(ge=0, le=1)]
SpanMs = tuple[Annotated[int, Field(ge=0)], Annotated[int, Field(ge=0)]]

PENDING, SUCCEEDED, DECLINED, CLOSED = "PENDING", "SUCCEEDED", "DECLINED", "CLOSED"
PROCESSING, FAILED = "PROCESSING", "FAILED"
AUTHORIZED, RETURNED = "AUTHORIZED", "RETURNED"

OPENING_BALANCE_DEFAULT = 10_000_000_000
BASIS_POINTS = 10_000

_SPANS = (
    "latency_ms",
    "auto_pay_after_ms",
    "settle_after_ms",
    "payout_return_after_ms",
    "callback_after_ms",
)


class Profile(BaseModel):
    """How an account's channel behaves. Rates are shares of references, spans are milliseconds."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    latency_ms: SpanMs = (0, 0)
    decline_rate: Rate = 0.0
    soft_decline_rate: Rate = 0.0
    fee_bps: int = Field(default=60, ge=0, le=BASIS_POINTS)
    fee_fixed: int = Field(default=0, ge=0)
    payout_fee: int = Field(default=0, ge=0)
    auto_pay_after_ms: SpanMs | None = (200, 1500)
    pay_rate: Rate = 1.0
    pending_methods: tuple[str, ...] = ("qr", "native")
    settle_after_ms: SpanMs | None = None
    """When captures, refunds and payouts finish; None is at once (WeChat refunds never are)."""
    payout_return_rate: Rate = 0.0
    payout_return_after_ms: SpanMs = (1000, 5000)
    """What share of the paid payouts the payees' banks send back by themselves, and when."""
    callback_after_ms: SpanMs = (20, 200)
    notify_immediate: bool = True
    """Whether a charge that was paid in its own answer is also told by callback."""
    currency: str = "CNY"
    opening_balance: int = OPENING_BALANCE_DEFAULT

    @model_validator(mode="after")
    def _spans_rise(self) -> Self:
        for name in _SPANS:
            span = getattr(self, name)
            if span is not None and span[0] > span[1]:
                raise ValueError(f"{name}: the low end is above the high end")
        if self.decline_rate + self.soft_decline_rate > 1:
            raise ValueError("decline_rate and soft_decline_rate together exceed 1")
        return self

    def fee(self, amount: int) -> int:
        """The channel's fee for a charge, in minor units, half up, never above the amount."""
        share = (amount * self.fee_bps * 2 + BASIS_POINTS) // (BASIS_POINTS * 2)
        return min(share + self.fee_fixed, amount)


class Account(BaseModel):
    """A merchant registered with a provider. `terms` are what its provider asks for: numbers, keys, secrets.

    In JSON they stand beside the other fields, which no provider may ask for again.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    provider: str
    account_id: str = Field(pattern=r"^[0-9A-Za-z_\-]{1,64}$")
    profile: Profile = Profile()
    terms: dict[str, str] = Field(default_factory=dict)

    @model_validator(mode="before")
    @classmethod
    def _terms_stand_beside(cls, values: Any) -> Any:
        if not isinstance(values, dict) or "terms" in values:
            return values
        own = {name: value for name, value in values.items() if name in cls.model_fields}
        terms = {name: value for name, value in values.items() if name not in cls.model_fields}
        return own | {"terms": terms}


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """A charge as the channel sees it. Times are business time; amounts are minor units.

    One to be captured later is AUTHORIZED until its money is taken, released or its time is over;
    `captured` is what its captures took, and `paid_at` when the latest of them did.
    """

    account_id: str
    out_ref: str
    status: str
    amount: int
    currency: str
    method: str
    description: str
    attach: str
    payer: str
    notify_url: str
    deadline_ms: int | None
    auto_pay_at_ms: int | None
    provider_ref: str
    qr_content: str
    code: str
    message: str
    fee: int
    times_charged: int
    created_at: datetime
    paid_at: datetime | None
    capture_later: bool = False
    captured: int = 0
    authorized_until: datetime | None = None
    extra: str = ""
    """What the provider's protocol wants kept with it."""

    @property
    def is_tombstone(self) -> bool:
        """Closed before it was ever created: no charge may happen under this reference."""
        return self.status == CLOSED and self.amount == 0

    @property
    def taken(self) -> int:
        """What the payer has been charged, before refunds."""
        if self.capture_later:
            return self.captured
        return self.amount if self.status == SUCCEEDED else 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Capture:
    """Reserved money taken. `is_final` releases what is left of the order's authorisation."""

    account_id: str
    out_ref: str
    order_ref: str
    status: str
    amount: int
    currency: str
    is_final: bool
    notify_url: str
    provider_ref: str
    code: str
    fee: int
    settle_at_ms: int | None
    created_at: datetime
    finished_at: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Refund:
    """Money going back for an order. `fee` is the part of the charge's fee that is returned."""

    account_id: str
    out_ref: str
    order_ref: str
    status: str
    amount: int
    currency: str
    reason: str
    notify_url: str
    provider_ref: str
    code: str
    fee: int
    settle_at_ms: int | None
    created_at: datetime
    finished_at: datetime | None
    extra: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Payout:
    """Money going out to a payee, whose bank may send it back after it was paid."""

    account_id: str
    out_ref: str
    status: str
    amount: int
    currency: str
    payee_account: str
    payee_name: str
    description: str
    provider_ref: str
    code: str
    fee: int
    settle_at_ms: int | None
    created_at: datetime
    finished_at: datetime | None
    notify_url: str = ""
    return_at_ms: int | None = None
    returned_at: datetime | None = None
    extra: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Callback:
    """One notification to deliver; its body is rendered at each delivery from the book."""

    event_id: str
    account_id: str
    kind: str
    out_ref: str
    url: str
    status: str
    attempts: int
    next_attempt_ms: int
    repeats: int
    last_answer: str


BookRow = dict[str, Any]
