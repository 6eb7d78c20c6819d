"""Composition root of notification: `python -m services.notification`."""

import random
import secrets
from pathlib import Path

from libs import config, log
from libs.clock import SystemClock
from libs.db import migrate
from libs.db.pool import open_pool
from libs.ids import SortableIds
from libs.rpc import client, server
from services.notification import workers
from services.notification.clients.feeds import EventFeed, bearer
from services.notification.clients.http import HttpSender
from services.notification.clients.seal import FernetSeal
from services.notification.config import Settings
from services.notification.domain.endpoint import UrlPolicy
from services.notification.handlers import SERVICE_NAME, NotificationServicer
from services.notification.usecases.deliveries import Deliveries, Pace
from services.notification.usecases.endpoints import Endpoints
from services.notification.usecases.fanout import Fanout

MIGRATIONS = Path(__file__).parent / "migrations"


async def main() -> None:
    """Serve until SIGTERM or SIGINT."""
    settings = config.load(Settings)
    log.configure("notification", settings.log_level, settings.log_format)
    await migrate.upgrade(settings.database_url, MIGRATIONS)
    pool = await open_pool(
        settings.database_url, size=settings.db_pool_size, application_name="fisc-notification"
    )
    clock, chance = SystemClock(), random.SystemRandom()
    ids = SortableIds(clock, chance)
    seal = FernetSeal(settings.seal_key.get_secret_value())
    policy = UrlPolicy(
        allow_http=settings.allow_http, allow_private=settings.allow_private_endpoints
    )
    endpoints = Endpoints(
        pool, clock=clock, ids=ids, seal=seal, random_bytes=secrets.token_bytes, url_policy=policy
    )
    sender = HttpSender(policy, timeout_s=settings.attempt_timeout_s)
    pace = Pace(retry_delays_s=settings.retry_delays_s, lease_s=settings.lease_s)
    deliveries = Deliveries(
        pool, clock=clock, seal=seal, sender=sender, jitter=chance.random, pace=pace
    )
    worker = workers.DeliveryWorker(
        deliveries,
        concurrency_max=settings.concurrency_max,
        endpoint_concurrency_max=settings.endpoint_concurrency_max,
        poll_interval_s=settings.poll_interval_s,
    )
    fanout = Fanout(clock=clock, ids=ids)
    gateway = client.open_channel(settings.gateway_target, peer="gateway")
    clearing = client.open_channel(settings.clearing_target, peer="clearing")
    operator = bearer(settings.operator_token.get_secret_value())

    async def follow_gateway() -> None:
        feed = EventFeed(source="gateway", channel=gateway, pool=pool, metadata=operator)
        await workers.follow(feed, fanout)

    async def follow_clearing() -> None:
        feed = EventFeed(source="clearing", channel=clearing, pool=pool, metadata=operator)
        await workers.follow(feed, fanout)

    async def measure_backlog() -> None:
        await workers.measure_backlog(deliveries)

    await server.serve(
        service="notification",
        settings=settings,
        registrations=[NotificationServicer(endpoints, deliveries).register],
        service_names=[SERVICE_NAME],
        background=[follow_gateway, follow_clearing, worker.run, measure_backlog],
        ready=deliveries.is_ready,
    )
    await sender.close()
    await gateway.close()
    await clearing.close()
    await pool.close()


if __name__ == "__main__":
    server.run(main())
