"""What payments, captures, refunds and payouts have in common: attempts, signals, commands and their timing.

The engine is libs.saga; here are the gateway's own words for it. Commands are about an attempt, one try at one channel.
"""

import enum
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any, TypeAlias

from typing_extensions import override

from libs.saga import flow
from libs.saga.flow import Due, Forced, Signal, Step, leased_until
from services.gateway.domain.channel import Outcome, OutcomeKind

__all__ = ["Due", "Forced", "Signal", "Step", "leased_until"]

# A channel that does not know our number yet may still be writing it down.
VISIBILITY_WINDOW_S = 5
# Without a definite word for this long, a person decides.
HARD_DEADLINE_S = 24 * 3600
# A channel that says "accepted, working on it" may take a bank's days over it.
PENDING_DEADLINE_S = 7 * 24 * 3600
# What stands before a person is still asked about from time to time: a definite word ends the matter.
RARE_QUERY_S = 3600
# Why something stands before a person although nothing is known to be wrong: nobody has said how it ended.
OUTCOME_UNKNOWN = "OUTCOME_UNKNOWN"
# The channel moved another amount than we asked.
AMOUNT_MISMATCH = "AMOUNT_MISMATCH"
# Money has moved for what had ended otherwise, or a second time.
LATE_SUCCESS = "LATE_SUCCESS"
# Likewise, and another amount than ours.
LATE_AMOUNT_MISMATCH = "LATE_AMOUNT_MISMATCH"
# Two people have said how it ended.
FORCED = "FORCED"
# Two people have squared a matter that its machine cannot: a subject forced to it keeps its state, and its case is closed.
RESOLVED = "RESOLVED"
# How long to wait between asking: soon at first, then rarely.
_QUERY_BACKOFF_S = (1, 2, 5, 15, 60, 300)
_BACKOFF_S: Mapping[str, tuple[float, ...]] = {
    # The ledger is a neighbour, and a payee waits.
    "HOLDING": (0.5, 1, 2, 5, 10),
    # A person decides; risk's own word hurries it.
    "REVIEW": (5, 15, 60, 300),
    # Captures in flight keep an authorisation from being released.
    "AUTHORIZED": (5, 15, 60, 300),
}


class AttemptState(enum.StrEnum):
    """What is known of one try at one channel."""

    SENT = "SENT"
    PENDING = "PENDING"
    UNKNOWN = "UNKNOWN"
    AUTHORIZED = "AUTHORIZED"
    SUCCEEDED = "SUCCEEDED"
    RETURNED = "RETURNED"
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Answered(Signal):
    """The channel answered what was asked of this attempt: an order, a query, a close, by callback or by its bill."""

    outcome: Outcome
    attempt_number: int
    latency_ms: int | None = None
    """How long the order took to be answered; None for everything but the order itself."""
    attempt: Attempt | None = None
    """The attempt as it stands; needed where it may be an earlier one by the time this is decided."""
    attempts: tuple[Attempt, ...] = ()
    """All of them as they stand, where the teller knew them."""

    @override
    def as_of(self, attempts: Sequence[Any]) -> Signal:
        found = [each for each in attempts if each.number == self.attempt_number]
        return replace(self, attempt=found[0], attempts=tuple(attempts)) if found else self


class CancelRequested(Signal):
    """The merchant wants to stop, or to release what is reserved."""


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


class Command(flow.Command):
    """What the driver must do next, always about the step's attempt."""

    ORDER = "order"
    """Send the charge, capture, refund or payout."""
    QUERY = "query"
    CLOSE = "close"
    HOLD = "hold"
    """Set the money aside in the ledger."""
    REVIEW = "review"
    """Ask risk whether somebody has decided."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenCase:
    """No machine can end this matter by itself: a person must know of it. Written beside the step."""

    subject_id: str
    merchant_id: str
    reason: str

    def case_id(self, version: int) -> str:
        """Its id, when it is opened by a step to this version."""
        return f"case_{self.subject_id}_{self.reason.lower()}_{version}"


@dataclass(frozen=True, slots=True, kw_only=True)
class CloseCase:
    """The matter has ended. Written beside the step; harmless where no case is open."""

    subject_id: str
    resolution: str
    reason: str = ""
    """That of the case to be closed; "" for every one that is open."""


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
    OutcomeKind.AUTHORIZED: AttemptState.AUTHORIZED,
    OutcomeKind.PENDING: AttemptState.PENDING,
    OutcomeKind.DECLINED_SOFT: AttemptState.DECLINED,
    OutcomeKind.DECLINED_HARD: AttemptState.DECLINED,
    OutcomeKind.CLOSED: AttemptState.CLOSED,
    OutcomeKind.RETURNED: AttemptState.RETURNED,
    OutcomeKind.UNKNOWN: AttemptState.UNKNOWN,
    OutcomeKind.NOT_FOUND: AttemptState.UNKNOWN,
}
# What is known stays known when a later question is not answered.
_KNOWN = frozenset({AttemptState.PENDING, AttemptState.AUTHORIZED, AttemptState.SUCCEEDED})


def record(attempt: Attempt, answered: Answered, now: datetime) -> Attempt:
    """The attempt with what the channel said. The latency of its first answer stays."""
    outcome = answered.outcome
    state = _ATTEMPT_STATES[outcome.kind]
    if state is AttemptState.UNKNOWN and attempt.state in _KNOWN:
        state = attempt.state
    return replace(
        attempt,
        state=state,
        provider_ref=outcome.provider_ref or attempt.provider_ref,
        code=outcome.code or attempt.code,
        latency_ms=attempt.latency_ms if answered.latency_ms is None else answered.latency_ms,
        fee_minor=attempt.fee_minor if outcome.fee_minor is None else outcome.fee_minor,
        answered_at=attempt.answered_at or now,
    )


def forced(attempt: Attempt | None, state: AttemptState, now: datetime) -> tuple[Attempt, ...]:
    """The attempt as two people say it ended."""
    if attempt is None:
        return ()
    answered_at = attempt.answered_at or now
    return (replace(attempt, state=state, code=FORCED, answered_at=answered_at),)


def next_query_at(state: str, query_count: int, now: datetime) -> datetime:
    """When to ask again in this state."""
    return flow.next_try_at(_BACKOFF_S.get(state, _QUERY_BACKOFF_S), query_count, now)


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


# Why a payee's bank sends money back, in words no channel owns.
RETURN_REASONS = frozenset({"ACCOUNT_CLOSED", "ACCOUNT_NAME_MISMATCH", "ACCOUNT_NOT_FOUND"})


def public_return(code: str) -> str:
    """A channel's code of a return as a merchant may read it."""
    return code if code in RETURN_REASONS else "RETURNED_BY_BANK"


def late_success_of(subject_id: str, merchant_id: str, *, is_agreed: bool) -> OpenCase:
    """The matter of money that moved late: how much it was is for a person to find out where the amounts differ."""
    reason = LATE_SUCCESS if is_agreed else LATE_AMOUNT_MISMATCH
    return OpenCase(subject_id=subject_id, merchant_id=merchant_id, reason=reason)


def late(told: Attempt, *, is_agreed: bool) -> Attempt:
    """An attempt that had its definite word, and moved money after all; its code tells whether it was the right amount."""
    return told if is_agreed else replace(told, code=LATE_AMOUNT_MISMATCH)


def some(attempt: Attempt | None) -> tuple[Attempt, ...]:
    """Of none or one, those there are."""
    return () if attempt is None else (attempt,)
