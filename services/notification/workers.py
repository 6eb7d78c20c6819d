"""Background loops: following feeds, sending what is due, measuring the backlog."""

import asyncio
import contextlib
from collections import Counter
from typing import Final

import prometheus_client

from libs import log
from libs.db.errors import is_connection_lost
from services.notification.domain.delivery import Claim
from services.notification.usecases.deliveries import Deliveries
from services.notification.usecases.fanout import Fanout, Feed

BACKLOG_INTERVAL_S: Final = 5.0
DATABASE_AWAY_PAUSE_S: Final = 1.0
LINGER_S: Final = 0.01

_ATTEMPTS = prometheus_client.Counter(
    "fisc_notification_attempts", "Attempts to deliver, by what they came to.", ["result"]
)
_IN_FLIGHT = prometheus_client.Gauge(
    "fisc_notification_in_flight", "Attempts of this process under way."
)
_PENDING = prometheus_client.Gauge(
    "fisc_notification_pending", "Deliveries that wait for an attempt."
)
_OLDEST_PENDING = prometheus_client.Gauge(
    "fisc_notification_oldest_pending_seconds",
    "Age of the oldest delivery not heard yet, 0 if none.",
)
_DEAD = prometheus_client.Gauge(
    "fisc_notification_dead", "Deliveries given up and not sent again by hand."
)

_log = log.get_logger()


async def follow(feed: Feed, fanout: Fanout) -> None:
    """Make deliveries of one feed's events, for ever."""
    await feed.follow(fanout.take)


class DeliveryWorker:
    """Sends due deliveries, many at once but few to the same endpoint.

    The limits are for this process: replicas share the work by claiming rows.
    """

    def __init__(
        self,
        deliveries: Deliveries,
        *,
        concurrency_max: int,
        endpoint_concurrency_max: int,
        poll_interval_s: float,
    ) -> None:
        """Looks for due deliveries every `poll_interval_s`, and whenever there is room and more to do."""
        self._deliveries = deliveries
        self._concurrency_max = concurrency_max
        self._endpoint_concurrency_max = endpoint_concurrency_max
        self._poll_interval_s = poll_interval_s
        self._in_flight: Counter[str] = Counter()
        self._finished = asyncio.Event()

    async def run(self) -> None:
        """Endless. Cancelled, it drops the attempts under way; their leases run out and they are sent again."""
        try:
            async with asyncio.TaskGroup() as attempts:
                while True:
                    self._finished.clear()
                    claims = await self._claim()
                    for claim in claims:
                        self._in_flight[claim.endpoint_id] += 1
                        attempts.create_task(self._attempt(claim))
                    _IN_FLIGHT.set(self._in_flight.total())
                    if not claims or self._room == 0:
                        await self._pause()
        finally:
            self._in_flight.clear()
            _IN_FLIGHT.set(0)

    @property
    def _room(self) -> int:
        return self._concurrency_max - self._in_flight.total()

    async def _claim(self) -> list[Claim]:
        if self._room == 0:
            return []
        try:
            return await self._deliveries.claim(
                count_max=self._room,
                endpoint_max=self._endpoint_concurrency_max,
                in_flight=self._in_flight,
            )
        except Exception as error:
            if not is_connection_lost(error):
                raise
            _log.warning("no deliveries claimed", error=repr(error))
            await asyncio.sleep(DATABASE_AWAY_PAUSE_S)
            return []

    async def _attempt(self, claim: Claim) -> None:
        try:
            result = await self._deliveries.attempt(claim)
            _ATTEMPTS.labels(result).inc()
        except Exception as error:  # noqa: BLE001 -- one delivery must not stop the others; its lease runs out
            _ATTEMPTS.labels("error").inc()
            _log.error("attempt not recorded", delivery_id=claim.delivery_id, exc_info=error)
        finally:
            self._in_flight -= Counter([claim.endpoint_id])  # drops an endpoint with none left
            self._finished.set()

    async def _pause(self) -> None:
        """Wait until an attempt ends, or for the next look; a little longer, so that one claim finds several."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._poll_interval_s):
                await self._finished.wait()
        await asyncio.sleep(LINGER_S)


async def measure_backlog(deliveries: Deliveries) -> None:
    """Keep the gauges of the backlog current, for ever; they stand still while the database is away."""
    while True:
        try:
            backlog, oldest_age_s = await deliveries.backlog()
        except Exception as error:
            if not is_connection_lost(error):
                raise
            _log.warning("backlog not measured", error=repr(error))
        else:
            _PENDING.set(backlog.pending_count)
            _OLDEST_PENDING.set(oldest_age_s)
            _DEAD.set(backlog.dead_count)
        await asyncio.sleep(BACKLOG_INTERVAL_S)
