"""What payments, refunds and payouts have in common: attempts, signals, commands, steps and their timing.

A flow is a pure function (subject, attempt, signal, now) → Step. The driver saves the step, carries out its command, and feeds what
came of it back as the next signal. The row itself is the truth: whoever claims it later goes on from what it says.
"""

import enum
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Generic, TypeAlias, TypeVar

from services.gateway.domain.channel import Outcome, OutcomeKind

# While a step runs, the row is due again this much later: longer than any one channel call, so that only a
# crash lets a sweeper take it over.
LEASE_S = 15
# A channel that does not know our number yet may still be writing it down.
VISIBILITY_WINDOW_S = 5
# Without a definite word for this long, a person decides.
HARD_DEADLINE_S = 24 * 3600
# A channel that says "accepted, working on it" may take a bank's days over it.
PENDING_DEADLINE_S = 7 * 24 * 3600
# What stands before a person is still asked about from time to time: a definite word ends the matter.
RARE_QUERY_S = 3600
OUTCOME_UNKNOWN = "OUTCOME_UNKNOWN"
QUERY_BACKOFF_S = (1, 2, 5, 15, 60, 300)


class AttemptState(enum.StrEnum):
    """What is known of one try at one channel."""

    SENT = "SENT"
    PENDING = "PENDING"
    UNKNOWN = "UNKNOWN"
    SUCCEEDED = "SUCCEEDED"
    DECLINED = "DECLINED"
    CLOSED = "CLOSED"


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """One try at one channel. Its out_ref is derived from its subject, so that a replay sends the same."""

    attempt_id: str
    subject_id: str
    number: int
    operation: str
    channel_id: str
    out_ref: str
    state: AttemptState
    provider_ref: str = ""
    code: str = ""
    latency_ms: int = 0
    fee_minor: int | None = None
    sent_at: datetime
    answered_at: datetime | None = None


class Signal:
    """Something happened to a subject."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Answered(Signal):
    """The channel answered what was asked of this attempt: a charge, refund or payout, a query, a close or by callback."""

    outcome: Outcome
    attempt_number: int
    latency_ms: int | None = None
    """How long the order took to be answered; None for queries and callbacks."""
    attempt: Attempt | None = None
    """The attempt as the teller knew it; needed where it may be an earlier one by the time this is decided."""


class Due(Signal):
    """The time set on the row has come, or its last owner died."""


class CancelRequested(Signal):
    """The merchant wants to stop."""


class Approved(Signal):
    """A person of risk lets it go on."""


class Rejected(Signal):
    """A person of risk stops it."""


class StillOpen(Signal):
    """Nobody of risk has decided yet."""


class HoldPlaced(Signal):
    """The ledger has set the money aside."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HoldRefused(Signal):
    """The ledger has not set the money aside, and will not."""

    reason: str


class HoldUnknown(Signal):
    """The ledger did not answer; asking again with the same id is harmless."""


class Command(enum.Enum):
    """What the driver must do next, always about the step's attempt."""

    ORDER = "order"
    """Send the charge, refund or payout."""
    QUERY = "query"
    CLOSE = "close"
    HOLD = "hold"
    """Set the money aside in the ledger."""
    REVIEW = "review"
    """Ask risk whether somebody has decided."""


S = TypeVar("S")


@dataclass(frozen=True, slots=True, kw_only=True)
class Step(Generic[S]):
    """A decision: the subject and attempt as they shall stand, the facts to tell, and what to do next."""

    subject: S
    attempts: tuple[Attempt, ...] = ()
    """The attempts that changed, the current one last."""
    events: tuple[str, ...] = ()
    command: Command | None = None

    @property
    def attempt(self) -> Attempt | None:
        """The attempt the command is about."""
        return self.attempts[-1] if self.attempts else None


Plan: TypeAlias = tuple[str, ...]


def out_ref(subject_id: str, number: int) -> str:
    """Our reference at a channel: letters and digits only, at most 32, since that is what every channel takes."""
    prefix, _, rest = subject_id.partition("_")
    return f"{prefix[0]}{rest}{number:02d}"


def attempt_id(subject_id: str, number: int) -> str:
    return f"att_{subject_id.partition('_')[2]}{number:02d}"


def first_attempt(
    subject_id: str, operation: str, channel_id: str, number: int, now: datetime
) -> Attempt:
    """A try about to be sent."""
    return Attempt(
        attempt_id=attempt_id(subject_id, number),
        subject_id=subject_id,
        number=number,
        operation=operation,
        channel_id=channel_id,
        out_ref=out_ref(subject_id, number),
        state=AttemptState.SENT,
        sent_at=now,
    )


_ATTEMPT_STATES = {
    OutcomeKind.SUCCEEDED: AttemptState.SUCCEEDED,
    OutcomeKind.PENDING: AttemptState.PENDING,
    OutcomeKind.DECLINED_SOFT: AttemptState.DECLINED,
    OutcomeKind.DECLINED_HARD: AttemptState.DECLINED,
    OutcomeKind.CLOSED: AttemptState.CLOSED,
    OutcomeKind.UNKNOWN: AttemptState.UNKNOWN,
    OutcomeKind.NOT_FOUND: AttemptState.UNKNOWN,
}


def record(attempt: Attempt, answered: Answered, now: datetime) -> Attempt:
    """The attempt with what the channel said. The latency of its first answer stays."""
    outcome = answered.outcome
    state = _ATTEMPT_STATES[outcome.kind]
    if state is AttemptState.UNKNOWN and attempt.state is AttemptState.PENDING:
        state = AttemptState.PENDING
    return replace(
        attempt,
        state=state,
        provider_ref=outcome.provider_ref or attempt.provider_ref,
        code=outcome.code or attempt.code,
        latency_ms=attempt.latency_ms if answered.latency_ms is None else answered.latency_ms,
        fee_minor=attempt.fee_minor if outcome.fee_minor is None else outcome.fee_minor,
        answered_at=attempt.answered_at or now,
    )


def leased_until(now: datetime) -> datetime:
    return now + timedelta(seconds=LEASE_S)


def next_query_at(query_count: int, now: datetime) -> datetime:
    """When to ask again: soon at first, then rarely."""
    return now + timedelta(seconds=QUERY_BACKOFF_S[min(query_count, len(QUERY_BACKOFF_S) - 1)])


def next_rare_query_at(now: datetime) -> datetime:
    """When to ask again about what stands before a person already."""
    return now + timedelta(seconds=RARE_QUERY_S)


def patience_ends_at(
    created_at: datetime, hard_deadline_at: datetime, is_pending: bool
) -> datetime:
    """When a person must look: soon where nothing is known, later where the channel is at work on it."""
    if is_pending:
        return max(hard_deadline_at, created_at + timedelta(seconds=PENDING_DEADLINE_S))
    return hard_deadline_at


def is_visible(attempt: Attempt, now: datetime) -> bool:
    """Whether a channel that says "unknown number" can be believed."""
    return now >= attempt.sent_at + timedelta(seconds=VISIBILITY_WINDOW_S)


def amounts_agree(outcome: Outcome, amount_minor: int, currency: str) -> bool:
    """Whether the channel moved what we asked; a channel that does not say is believed."""
    return (outcome.amount_minor is None or outcome.amount_minor == amount_minor) and (
        not outcome.currency or outcome.currency == currency
    )


# A payer's fault, in words no channel owns; anything else is the channel's.
PAYER_REASONS = frozenset(
    {"INSUFFICIENT_FUNDS", "CARD_EXPIRED", "RISK_REJECTED", "CARD_DECLINED", "PAYER_CANCELED"}
)


def public_reason(code: str) -> str:
    """A channel's code as a merchant may read it."""
    return code if code in PAYER_REASONS else "CHANNEL_DECLINED"
