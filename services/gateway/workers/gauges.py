"""What has not ended, and what nobody knows, for the on-call."""

import asyncio
from typing import NoReturn

import prometheus_client

from libs.clock import Clock
from libs.saga import gauges
from services.gateway.usecases.ports import Backlog

unknown_outcomes = prometheus_client.Gauge(
    "saga_unknown_outcomes", "Orders whose outcome nobody knows.", ["channel"]
)


async def keep(store: Backlog, clock: Clock) -> NoReturn:
    """Background loop."""
    while True:
        gauges.show(await store.backlog(), clock.now())
        unknown_outcomes.clear()
        for channel_id, count in (await store.unknown_by_channel()).items():
            unknown_outcomes.labels(channel_id).set(count)
        await asyncio.sleep(gauges.GAUGE_INTERVAL_S)
