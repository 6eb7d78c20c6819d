"""What has not ended, for the on-call."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime
from typing import NoReturn

import prometheus_client

from libs.clock import Clock
from libs.saga.table import BacklogLine

GAUGE_INTERVAL_S = 5.0

subjects = prometheus_client.Gauge(
    "saga_nonterminal", "Subjects that have not ended.", ["flow", "state"]
)
oldest_age = prometheus_client.Gauge(
    "saga_oldest_nonterminal_age_seconds", "Age of the oldest that has not ended.", ["flow"]
)
quarantined = prometheus_client.Gauge(
    "saga_quarantined",
    "Subjects that nobody takes up any more until a person has looked.",
    ["flow"],
)

Backlog = Callable[[], Awaitable[Sequence[BacklogLine]]]


async def keep(backlog: Backlog, clock: Clock) -> NoReturn:
    """Background loop."""
    while True:
        show(await backlog(), clock.now())
        await asyncio.sleep(GAUGE_INTERVAL_S)


def show(lines: Sequence[BacklogLine], now: datetime) -> None:
    """Sets the gauges."""
    subjects.clear()
    oldest_age.clear()
    quarantined.clear()
    for line in lines:
        subjects.labels(line.flow, line.state).set(line.count)
        quarantined.labels(line.flow).inc(line.quarantined_count)
    # Oldest last, so that each flow's gauge ends with its oldest state.
    for line in sorted(lines, key=lambda line: line.oldest_at, reverse=True):
        oldest_age.labels(line.flow).set((now - line.oldest_at).total_seconds())
