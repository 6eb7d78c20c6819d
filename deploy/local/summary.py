"""Sums a replay and a close up in figures; what is printed of them stands in tables.py."""

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final

from deploy.local.outcomes import Outcomes, has_succeeded, state_name
from fisc.gateway.v1 import events_pb2, payment_pb2
from fisc.router.v1 import router_pb2
from libs import money

PPM: Final = 1_000_000


@dataclass(slots=True, kw_only=True)
class ChannelLine:
    """One channel's day, by our attempts at it. Amounts are minor units, one currency each."""

    channel_id: str
    currency: str
    attempts: int = 0
    succeeded: int = 0
    declined: int = 0
    failed_over: int = 0
    """Attempts after which another channel was tried."""
    refunds: int = 0
    amount_minor: int = 0
    expected_cost_minor: int = 0
    latencies_ms: list[int] = field(default_factory=list)

    @property
    def success_percent(self) -> str:
        """Successes of attempts, to a tenth of a percent."""
        if not self.attempts:
            return "–"
        per_mille = money.mul_div(self.succeeded, 1000, self.attempts)
        return f"{per_mille // 10}.{per_mille % 10} %"

    def latency_ms(self, percent: int) -> int:
        """The percentile of how long the channel took to answer."""
        return percentile(self.latencies_ms, percent)


def percentile(values: Sequence[int], percent: int) -> int:
    """The nearest-rank percentile; 0 of nothing."""
    if not values:
        return 0
    rank = max(1, math.ceil(len(values) * percent / 100))
    return sorted(values)[rank - 1]


def fee_minor(schedule: router_pb2.FeeSchedule, amount_minor: int) -> int:
    """What a channel is expected to charge: rate half up, plus the fixed part, within bounds."""
    fee = money.mul_div(amount_minor, schedule.rate_ppm, PPM) + schedule.fixed_minor
    fee = max(fee, schedule.minimum_minor)
    return min(fee, schedule.maximum_minor) if schedule.maximum_minor else fee


def by_channel(outcomes: Outcomes, channels: Iterable[router_pb2.Channel]) -> list[ChannelLine]:
    """One line a channel and currency, by channel id."""
    schedules = {channel.channel_id: channel.fee for channel in channels}
    lines: dict[tuple[str, str], ChannelLine] = {}
    tries: dict[str, list[events_pb2.AttemptRecord]] = defaultdict(list)
    for attempt in outcomes.attempts.values():
        tries[attempt.subject_id].append(attempt)
    for subject_id, attempts in tries.items():
        subject = outcomes.subjects[subject_id]
        currency, amount_minor = subject.amount.currency, subject.amount.amount_minor
        for attempt in attempts:
            key = (attempt.channel_id, currency)
            line = lines.setdefault(
                key, ChannelLine(channel_id=attempt.channel_id, currency=currency)
            )
            if isinstance(subject, payment_pb2.Refund):
                line.refunds += has_succeeded(subject)
                continue
            line.attempts += 1
            line.latencies_ms.append(attempt.latency_ms)
            line.declined += attempt.state == "DECLINED"
            line.failed_over += any(other.number > attempt.number for other in attempts)
            if attempt.state == "SUCCEEDED":
                line.succeeded += 1
                line.amount_minor += amount_minor
                schedule = schedules.get(attempt.channel_id, router_pb2.FeeSchedule())
                line.expected_cost_minor += fee_minor(schedule, amount_minor)
    return [lines[key] for key in sorted(lines)]


def states(outcomes: Outcomes) -> dict[str, Counter[str]]:
    """How many of each kind stand in each state; a reason is added where there is one."""
    counts: dict[str, Counter[str]] = defaultdict(Counter)
    for subject in outcomes.subjects.values():
        reason = f" {subject.reason}" if subject.reason else ""
        counts[type(subject).__name__.lower()][f"{state_name(subject)}{reason}"] += 1
    return counts
