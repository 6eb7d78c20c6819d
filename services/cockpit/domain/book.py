"""The read model: every subject once, by its newest version, and the figures of every business day.

Applying a fact again, or an older one, changes nothing, so the feed may be read again from any
cursor.
"""

import itertools
from collections.abc import Iterator
from datetime import date, datetime, timedelta
from typing import Final

from services.cockpit.domain import days
from services.cockpit.domain.facts import MANUAL, SUCCEEDED, Attempt, Fact, Kind
from services.cockpit.domain.figures import DayFigures, Record

DAYS_KEPT_MAX: Final = 62
# A payment created and confirmed within this time tells how far the channels' clock is from ours:
# the moment of payment, by either clock, lies in between.
PROMPT_SUCCESS_MAX: Final = timedelta(seconds=60)
# Less is delay, not another day being replayed.
CLOCK_SKEW_MIN: Final = timedelta(minutes=10)


class Book:
    """Subjects by id and figures by business day (the day of `succeeded_at` in Shanghai).

    A subject without success counts at its creation, moved to the channels' clock: where a past day
    is replayed, its failures stand beside its successes. At most `days_max` days are kept.
    """

    def __init__(self, days_max: int = DAYS_KEPT_MAX) -> None:
        self._days_max = days_max
        self._records: dict[str, Record] = {}
        self._days: dict[date, DayFigures] = {}
        self._manual: dict[str, None] = {}
        self._forgotten_through = date.min
        self._clock_skew = timedelta()

    def apply(self, fact: Fact) -> bool:
        """Take a fact in; False when it was known or is older than what is known."""
        known = self._records.get(fact.subject_id)
        if known is not None and fact.version < known.fact.version:
            return False
        self._learn_clock_skew(fact)
        record = Record(
            fact=fact,
            moment=self._moment(fact, known),
            attempts=_merge(known.attempts if known else (), fact.attempts),
        )
        if record == known:
            return False
        if known is not None:
            self._count(known, -1)
        self._records[fact.subject_id] = record
        self._count(record, 1)
        self._manual.pop(fact.subject_id, None)
        if fact.state == MANUAL:
            self._manual[fact.subject_id] = None
        return True

    def days(self) -> list[date]:
        """The days that have figures, newest first."""
        return sorted((day for day, figures in self._days.items() if figures.subject_ids))[::-1]

    def latest_day(self) -> date | None:
        """The latest day on which money moved, else the latest with anything at all."""
        known = self.days()
        moved = (day for day in known if self._days[day].has_success)
        return next(moved, known[0] if known else None)

    def day(self, day: date) -> DayFigures:
        """The figures of a day; all zero when nothing happened on it."""
        return self._days.get(day) or DayFigures()

    def manual(self) -> list[Record]:
        """What waits for a person, oldest first."""
        return [self._records[subject_id] for subject_id in self._manual]

    def latest_payments(self, day: date, limit: int) -> list[Record]:
        """Payments of a day, the last changed first."""
        return list(itertools.islice(self._payments_backwards(day), limit))

    def _payments_backwards(self, day: date) -> Iterator[Record]:
        for subject_id in reversed(self.day(day).subject_ids):
            record = self._records[subject_id]
            if record.fact.kind is Kind.PAYMENT:
                yield record

    def _moment(self, fact: Fact, known: Record | None) -> datetime:
        if fact.succeeded_at is not None:
            return fact.succeeded_at
        if known is not None and known.fact.succeeded_at is None:
            return known.moment
        return fact.created_at + self._clock_skew

    def _learn_clock_skew(self, fact: Fact) -> None:
        if fact.state != SUCCEEDED or fact.succeeded_at is None:
            return
        if fact.updated_at - fact.created_at > PROMPT_SUCCESS_MAX:
            return
        skew = fact.succeeded_at - fact.updated_at
        self._clock_skew = skew if abs(skew) >= CLOCK_SKEW_MIN else timedelta()

    def _count(self, record: Record, sign: int) -> None:
        day = days.business_day(record.moment)
        if day <= self._forgotten_through:
            return
        self._days.setdefault(day, DayFigures()).add(record, sign)
        while len(self._days) > self._days_max:
            self._forget(min(self._days))

    def _forget(self, day: date) -> None:
        figures = self._days.pop(day)
        self._forgotten_through = day
        for subject_id in figures.subject_ids:
            if subject_id not in self._manual:
                self._records.pop(subject_id, None)


def _merge(known: tuple[Attempt, ...], told: tuple[Attempt, ...]) -> tuple[Attempt, ...]:
    if not told:
        return known
    attempts = {attempt.attempt_id: attempt for attempt in (*known, *told)}
    return tuple(sorted(attempts.values(), key=lambda attempt: attempt.number))
