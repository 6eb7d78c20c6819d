"""What needs action: the first thing the page says."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final, TypeVar

from services.cockpit.domain import wording
from services.cockpit.domain.facts import ATTEMPT_UNKNOWN
from services.cockpit.domain.figures import Record
from services.cockpit.domain.readings import (
    Backlog,
    Channel,
    DeadDelivery,
    Listed,
    Reading,
    Readings,
    RiskCase,
    Source,
)

# Below this, with enough outcomes behind it, a channel is in trouble.
CHANNEL_SUCCESS_RATE_MIN: Final = 0.85
CHANNEL_SAMPLES_MIN: Final = 10
PEOPLE_SHOWN_MAX: Final = 50

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Action:
    """A pile of work. Tone: "clear", "warn", "bad", or "unknown" when its source is down."""

    key: str
    label: str
    term: str
    value: str
    note: str
    tone: str
    section: str
    """The part of the page that lists it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PersonItem:
    """One thing that waits for a person."""

    what: str
    term: str
    subject_id: str
    merchant_id: str
    amount: str
    why: str
    since: datetime


def actions(readings: Readings, manual: Sequence[Record], feed_error: str) -> list[Action]:
    """Every pile, also the empty ones: seeing that nothing waits is worth something."""
    feed = Reading(value=Listed(items=tuple(manual)), error=feed_error)
    return [
        _listed(
            readings.differences, Source.CLEARING, "differences", "Open differences", "未平差异",
            note="to be explained", tone="bad", section="differences",
        ),
        _listed(
            readings.cases, Source.RISK, "cases", "Risk cases", "风控审核",
            note="wait for approval", tone="warn", section="people",
        ),
        _listed(
            feed, Source.FEED, "manual", "Manual decisions", "人工处理",
            note="outcome to be decided by a person", tone="bad", section="people",
        ),
        _unknown(readings.backlog),
        _listed(
            readings.dead_deliveries, Source.NOTIFICATION, "webhooks", "Dead webhooks", "通知失败",
            note="given up, may be sent again", tone="warn", section="people",
        ),
        _channels(readings.channels),
    ]  # fmt: skip


def troubles(channels: Iterable[Channel]) -> dict[str, str]:
    """Why each channel in trouble is; the others are left out."""
    found = {}
    for channel in channels:
        rate = channel.expected_success_rate
        if channel.status != "ENABLED":
            found[channel.channel_id] = channel.status.lower()
        elif (
            rate is not None
            and channel.samples >= CHANNEL_SAMPLES_MIN
            and rate < CHANNEL_SUCCESS_RATE_MIN
        ):
            found[channel.channel_id] = f"succeeds in only {wording.percent(rate)} of attempts"
    return found


def people(readings: Readings, manual: Sequence[Record]) -> list[PersonItem]:
    """What waits for a person, the longest wait first, at most PEOPLE_SHOWN_MAX."""
    cases, dead = readings.cases.value, readings.dead_deliveries.value
    items = [
        *(_manual_item(record) for record in manual),
        *(_case_item(case) for case in (cases.items if cases else ())),
        *(_dead_item(delivery) for delivery in (dead.items if dead else ())),
    ]
    return sorted(items, key=lambda item: item.since)[:PEOPLE_SHOWN_MAX]


def _case_item(case: RiskCase) -> PersonItem:
    return PersonItem(
        what=f"Risk case: {case.operation.lower()}",
        term="风控审核",
        subject_id=case.subject_id or case.case_id,
        merchant_id=case.merchant_id,
        amount=_amount(case.amount.amount_minor, case.amount.currency),
        why=case.why,
        since=case.opened_at,
    )


def _dead_item(delivery: DeadDelivery) -> PersonItem:
    return PersonItem(
        what="Dead webhook",
        term="通知失败",
        subject_id=delivery.subject_id,
        merchant_id=delivery.merchant_id,
        amount=wording.NONE,
        why=f"{delivery.event_type}, {delivery.attempts_count} attempts",
        since=delivery.created_at,
    )


def _manual_item(record: Record) -> PersonItem:
    fact = record.fact
    return PersonItem(
        what=f"Manual {fact.kind}",
        term="人工处理",
        subject_id=fact.subject_id,
        merchant_id=fact.merchant_id,
        amount=_amount(fact.amount_minor, fact.currency),
        why=fact.reason,
        since=fact.updated_at,
    )


def _listed(
    reading: Reading[Listed[T]], source: Source, key: str, label: str, term: str, *,
    note: str, tone: str, section: str,
) -> Action:  # fmt: skip
    value = reading.value
    return _action(
        reading, source, key, label, term,
        value=wording.NONE if value is None else value.count_text,
        note=note,
        tone=tone if value is not None and value.items else "clear",
        section=section,
    )  # fmt: skip


def _unknown(reading: Reading[Backlog]) -> Action:
    lines = reading.value.lines if reading.value else ()
    unknown = [line for line in lines if line.state == ATTEMPT_UNKNOWN]
    oldest_min = max((line.oldest_age_min for line in unknown), default=0)
    return _action(
        reading, Source.GATEWAY, "unknown", "Unknown outcomes", "结果未知",
        value=(
            wording.NONE if reading.value is None
            else wording.count(sum(line.count for line in unknown))
        ),
        note=f"being asked about; oldest {wording.age(oldest_min)}",
        tone="warn" if unknown else "clear",
        section="payments",
    )  # fmt: skip


def _channels(reading: Reading[tuple[Channel, ...]]) -> Action:
    ill = troubles(reading.value or ())
    return _action(
        reading, Source.ROUTER, "channels", "Channels in trouble", "渠道异常",
        value=wording.NONE if reading.value is None else wording.count(len(ill)),
        note=", ".join(sorted(ill)),
        tone="bad" if ill else "clear",
        section="channels",
    )  # fmt: skip


def _action(
    reading: Reading[T], source: Source, key: str, label: str, term: str, *,
    value: str, note: str, tone: str, section: str,
) -> Action:  # fmt: skip
    """What is not known now is never shown as nothing to do."""
    if reading.error:
        tone, note = "unknown", f"{source} is down"
        if reading.value is not None and reading.read_at is not None:
            note = f"{note}; as of {wording.clock(reading.read_at)}"
    elif reading.value is None:
        tone, note = "unknown", "not read yet"
    elif tone == "clear":
        note = "nothing to do"
    return Action(
        key=key, label=label, term=term, value=value, note=note, tone=tone, section=section
    )


def _amount(amount_minor: int, currency: str) -> str:
    return f"{wording.amount(amount_minor, currency)} {currency}"
