"""What the gateway's events say: a payment, refund or payout right after something happened."""

import enum
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

SUCCEEDED: Final = "SUCCEEDED"
MANUAL: Final = "MANUAL"
ENDED: Final = frozenset({SUCCEEDED, "FAILED", "CANCELED", "RETURNED", MANUAL})

ATTEMPT_UNKNOWN: Final = "UNKNOWN"
ATTEMPT_OPEN: Final = frozenset({"SENT", "PENDING"})


class Kind(enum.StrEnum):
    """What moves money."""

    PAYMENT = "payment"
    REFUND = "refund"
    PAYOUT = "payout"


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """One try at one channel. `latency_ms` is 0 while the channel has not answered."""

    attempt_id: str
    number: int
    channel_id: str
    out_ref: str = ""
    provider_ref: str = ""
    state: str
    code: str = ""
    latency_ms: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Fact:
    """A subject as it stood; `attempts` are those the event was about, not all there were."""

    kind: Kind
    subject_id: str
    merchant_id: str
    currency: str
    amount_minor: int
    state: str
    reason: str = ""
    method: str = ""
    reference: str = ""
    """The merchant's order number, the refunded payment, or the payee."""
    channel_id: str = ""
    attempts_count: int = 0
    created_at: datetime
    updated_at: datetime
    succeeded_at: datetime | None = None
    version: int
    attempts: tuple[Attempt, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class FeedBatch:
    """Facts in the feed's order, and where to go on after them."""

    facts: Sequence[Fact]
    next_cursor: str
    is_last: bool
    """Whether the feed had no more when it sent this."""
