"""The figures of one business day, kept by adding and taking away records."""

from collections import Counter
from dataclasses import dataclass, field
from datetime import datetime
from typing import TypeVar

from services.cockpit.domain import days
from services.cockpit.domain.facts import (
    ATTEMPT_OPEN,
    ATTEMPT_UNKNOWN,
    ENDED,
    SUCCEEDED,
    Attempt,
    Fact,
    Kind,
)

K = TypeVar("K")


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """A subject with every attempt seen so far, and the moment it counts for."""

    fact: Fact
    moment: datetime
    attempts: tuple[Attempt, ...]


@dataclass(slots=True)
class Tally:
    """Subjects of one kind. `volume` sums what succeeded, in minor units by currency."""

    states: Counter[str] = field(default_factory=Counter)
    volume: Counter[str] = field(default_factory=Counter)
    currencies: Counter[str] = field(default_factory=Counter)
    """How many succeeded in each currency."""

    @property
    def total(self) -> int:
        """How many there are."""
        return self.states.total()

    @property
    def ended(self) -> int:
        """How many have ended, one way or another."""
        return sum(count for state, count in self.states.items() if state in ENDED)

    @property
    def succeeded(self) -> int:
        """How many succeeded."""
        return self.states[SUCCEEDED]

    def add(self, fact: Fact, sign: int) -> None:
        """Count a subject, or with sign −1 no longer."""
        self.states[fact.state] += sign
        if fact.state == SUCCEEDED:
            self.volume[fact.currency] += sign * fact.amount_minor
            _add(self.currencies, fact.currency, sign)


@dataclass(slots=True)
class ChannelFigures:
    """What one channel did with the attempts at payments and payouts."""

    attempts: int = 0
    answered: int = 0
    succeeded: int = 0
    unknown: int = 0
    latencies_ms: Counter[int] = field(default_factory=Counter)
    amounts: Counter[tuple[str, int]] = field(default_factory=Counter)
    """Succeeded amounts, (currency, minor units) → count: what fees are computed from."""

    def add(self, attempt: Attempt, fact: Fact, sign: int) -> None:
        """Count an attempt, or with sign −1 no longer."""
        self.attempts += sign
        if attempt.latency_ms > 0:
            _add(self.latencies_ms, attempt.latency_ms, sign)
        if attempt.state in ATTEMPT_OPEN:
            return
        self.answered += sign
        if attempt.state == ATTEMPT_UNKNOWN:
            self.unknown += sign
        elif attempt.state == SUCCEEDED:
            self.succeeded += sign
            _add(self.amounts, (fact.currency, fact.amount_minor), sign)

    def latency_p50_ms(self) -> int | None:
        """The median (the lower one of two), or None before any answer."""
        half = (self.latencies_ms.total() + 1) // 2
        seen = 0
        for latency_ms in sorted(self.latencies_ms):
            seen += self.latencies_ms[latency_ms]
            if seen >= half:
                return latency_ms
        return None


@dataclass(slots=True)
class DayFigures:
    """One business day."""

    kinds: dict[Kind, Tally] = field(default_factory=lambda: {kind: Tally() for kind in Kind})
    hours: list[Tally] = field(default_factory=lambda: [Tally() for _ in range(days.HOURS_PER_DAY)])
    """Payments by hour of the day."""
    channels: dict[str, ChannelFigures] = field(default_factory=dict)
    failovers: int = 0
    """Payments that needed a second channel."""
    failovers_succeeded: int = 0
    subject_ids: dict[str, None] = field(default_factory=dict)
    """In the order of their latest change."""

    @property
    def has_success(self) -> bool:
        """Whether money moved on this day."""
        return any(tally.succeeded > 0 for tally in self.kinds.values())

    def main_currency(self) -> str:
        """The currency most payments succeeded in; "CNY" before any has."""
        counts = self.kinds[Kind.PAYMENT].currencies
        return max(counts, key=lambda currency: (counts[currency], currency), default="CNY")

    def add(self, record: Record, sign: int = 1) -> None:
        """Count a record, or with sign −1 no longer; the two undo each other exactly."""
        fact = record.fact
        self.kinds[fact.kind].add(fact, sign)
        self.subject_ids.pop(fact.subject_id, None)
        if sign > 0:
            self.subject_ids[fact.subject_id] = None
        if fact.kind is Kind.REFUND:
            return
        for attempt in record.attempts:
            self.channels.setdefault(attempt.channel_id, ChannelFigures()).add(attempt, fact, sign)
        if fact.kind is Kind.PAYMENT:
            self.hours[days.local(record.moment).hour].add(fact, sign)
            if fact.attempts_count > 1:
                self.failovers += sign
                self.failovers_succeeded += sign * (fact.state == SUCCEEDED)


def _add(counter: Counter[K], key: K, sign: int) -> None:
    counter[key] += sign
    if not counter[key]:
        del counter[key]
