"""What channels did lately, and what to expect of them next.

An *arm* is a channel used for one method and one operation. Two memories judge it. The long one
sums the last 30 minutes in one-minute buckets. The short one is the row of its newest outcomes, at
most 20, and forgets once the arm has been silent for a minute. The long memory is what counts,
unless the short one lies so far below it that chance hardly explains it; then the short one
decides, so that a channel that dies at noon is at the end of the plans once about five payments
have met it. When it has been silent for a minute the long memory speaks again and the channel is
tried again: that is how it comes back.
"""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Final, NamedTuple

from services.router.domain.channel import Method, Operation

BUCKET: Final = timedelta(seconds=60)
WINDOW: Final = timedelta(minutes=30)
RECENT_MAX: Final = 20
RECENT_SILENCE_MAX: Final = timedelta(seconds=60)

# Nine successes and one failure are assumed before anything is known: Beta(9, 1).
PRIOR_SUCCESSES: Final = 9.0
PRIOR_FAILURES: Final = 1.0
PRIOR_LATENCY_MS: Final = 500.0
PRIOR_LATENCY_WEIGHT: Final = 5.0
# In an alarm the long rate still weighs as much as this many recent outcomes.
RECENT_PRIOR_WEIGHT: Final = 3.0
ALARM_STANDARD_ERRORS: Final = 2.0
# A rate next to 1 would make any single failure an alarm.
ALARM_RATE_MAX: Final = 0.95
ALARM_FAILURES_MIN: Final = 2


class ArmKey(NamedTuple):
    """A channel used for one method and one operation."""

    channel_id: str
    method: Method
    operation: Operation


class BucketKey(NamedTuple):
    """One minute of one arm."""

    arm: ArmKey
    bucket_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What a channel did with one attempt.

    A business decline is the payer's fault and not held against it.
    """

    attempt_id: str
    arm: ArmKey
    succeeded: bool
    business_decline: bool
    latency_ms: int
    code: str
    occurred_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Counts:
    """Sums over outcomes. `samples` leaves business declines out; latency_sum_ms is over both."""

    samples: int = 0
    successes: int = 0
    business_declines: int = 0
    latency_sum_ms: int = 0

    def plus(self, other: "Counts") -> "Counts":
        """The sums of both."""
        return Counts(
            samples=self.samples + other.samples,
            successes=self.successes + other.successes,
            business_declines=self.business_declines + other.business_declines,
            latency_sum_ms=self.latency_sum_ms + other.latency_sum_ms,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Recent:
    """The newest outcomes of an arm in order, oldest first, and when the last of them was."""

    successes: tuple[bool, ...]
    last_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Arm:
    """Both memories of an arm."""

    window: Counts = Counts()
    recent: Recent | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """What to expect of an arm; `alarm` is (successes, outcomes) of a recent row that decided."""

    success_rate: float
    latency_ms: float
    samples: int
    successes: int
    alarm: tuple[int, int] | None


def estimate(arm: Arm, now: datetime) -> Estimate:
    """The expected success rate (posterior mean, Beta prior) and latency (mean shrunk to a prior).

    In an alarm, with r successes in n recent outcomes and the long rate p, the rate is (r + 3p) /
    (n + 3).
    """
    window = arm.window
    long_rate = (PRIOR_SUCCESSES + window.successes) / (
        PRIOR_SUCCESSES + PRIOR_FAILURES + window.samples
    )
    answers = window.samples + window.business_declines
    latency_ms = (PRIOR_LATENCY_MS * PRIOR_LATENCY_WEIGHT + window.latency_sum_ms) / (
        PRIOR_LATENCY_WEIGHT + answers
    )
    alarm = _alarm(arm.recent, long_rate, now)
    rate = long_rate
    if alarm is not None:
        successes, outcomes = alarm
        rate = (successes + RECENT_PRIOR_WEIGHT * long_rate) / (outcomes + RECENT_PRIOR_WEIGHT)
    return Estimate(
        success_rate=round(rate, 6),
        latency_ms=round(latency_ms, 3),
        samples=window.samples,
        successes=window.successes,
        alarm=alarm,
    )


def _alarm(recent: Recent | None, long_rate: float, now: datetime) -> tuple[int, int] | None:
    if recent is None or now - recent.last_at > RECENT_SILENCE_MAX:
        return None
    outcomes, successes = len(recent.successes), sum(recent.successes)
    if outcomes - successes < ALARM_FAILURES_MIN:
        return None
    reference = min(long_rate, ALARM_RATE_MAX)
    standard_error = math.sqrt(reference * (1 - reference) / outcomes)
    if successes / outcomes >= reference - ALARM_STANDARD_ERRORS * standard_error:
        return None
    return successes, outcomes


def combine(arms: Iterable[Arm]) -> Arm:
    """Several arms as one: sums of the windows, the recent row of the one that was used last."""
    total = Arm()
    for arm in arms:
        recents = [recent for recent in (total.recent, arm.recent) if recent is not None]
        total = Arm(
            window=total.window.plus(arm.window),
            recent=max(recents, key=lambda recent: recent.last_at, default=None),
        )
    return total


def not_later_than(outcomes: Iterable[Outcome], now: datetime) -> list[Outcome]:
    """The outcomes, those from a clock that runs ahead of ours moved back to now, oldest first."""
    clamped = (replace(each, occurred_at=min(each.occurred_at, now)) for each in outcomes)
    return sorted(clamped, key=lambda each: (each.occurred_at, each.attempt_id))


def tally(outcomes: Iterable[Outcome]) -> Mapping[BucketKey, Counts]:
    """The outcomes summed by arm and minute, in ascending key order."""
    sums: dict[BucketKey, Counts] = {}
    for outcome in outcomes:
        key = BucketKey(outcome.arm, bucket_of(outcome.occurred_at))
        counted = not outcome.business_decline
        sums[key] = sums.get(key, Counts()).plus(
            Counts(
                samples=int(counted),
                successes=int(counted and outcome.succeeded),
                business_declines=int(not counted),
                latency_sum_ms=outcome.latency_ms,
            )
        )
    return dict(sorted(sums.items()))


def recent_rows(outcomes: Iterable[Outcome], now: datetime) -> Mapping[ArmKey, Recent]:
    """What the outcomes, oldest first, add to the short memory.

    Old news and business declines add nothing.
    """
    rows: dict[ArmKey, Recent] = {}
    for outcome in outcomes:
        if outcome.business_decline or now - outcome.occurred_at > RECENT_SILENCE_MAX:
            continue
        before = rows[outcome.arm].successes if outcome.arm in rows else ()
        rows[outcome.arm] = Recent(
            successes=(*before, outcome.succeeded)[-RECENT_MAX:], last_at=outcome.occurred_at
        )
    return dict(sorted(rows.items()))


def bucket_of(moment: datetime) -> datetime:
    """The start of the bucket that a moment falls into."""
    return moment.replace(second=0, microsecond=0)


def window_start(now: datetime) -> datetime:
    """The first bucket that still counts."""
    return bucket_of(now - WINDOW) + BUCKET
