"""Notification on a real Postgres, called over gRPC, sending to a real receiver, with a clock the test moves."""

import random
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest
from cryptography.fernet import Fernet

from fisc.notification.v1 import notification_pb2_grpc
from libs.clock import FrozenClock
from libs.db.pool import open_pool
from libs.ids import SortableIds
from libs.rpc import client, server
from services.notification.clients.http import HttpSender
from services.notification.clients.seal import FernetSeal
from services.notification.domain.endpoint import UrlPolicy
from services.notification.handlers import SERVICE_NAME, NotificationServicer
from services.notification.usecases.deliveries import Deliveries, Pace
from services.notification.usecases.endpoints import Endpoints
from services.notification.usecases.fanout import Fanout
from services.notification.workers import DeliveryWorker
from tests.integration.notification.support import (
    LEASE_S,
    NOON,
    RETRY_DELAYS_S,
    Fixture,
    Receiver,
    receiving,
)

ENDPOINT_CONCURRENCY_MAX = 2


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    """A merchant's receiver."""
    async with receiving() as receiver:
        yield receiver


@pytest.fixture
def policy() -> UrlPolicy:
    """The receivers of these tests listen on loopback, without TLS."""
    return UrlPolicy(allow_http=True, allow_private=True)


@pytest.fixture
async def notification(
    fresh_database: Callable[[str], Awaitable[str]], policy: UrlPolicy
) -> AsyncIterator[Fixture]:
    """Notification without endpoints, at noon; nothing is sent before a test says so."""
    clock = FrozenClock(NOON)
    pool = await open_pool(await fresh_database("notification"), size=6, application_name="test")
    ids = SortableIds(clock, random.Random(7))
    seal = FernetSeal(Fernet.generate_key().decode())
    sender = HttpSender(policy, timeout_s=2.0)
    endpoints = Endpoints(
        pool, clock=clock, ids=ids, seal=seal, random_bytes=secrets.token_bytes, url_policy=policy
    )
    deliveries = Deliveries(
        pool,
        clock=clock,
        seal=seal,
        sender=sender,
        jitter=lambda: 0.5,
        pace=Pace(retry_delays_s=RETRY_DELAYS_S, lease_s=LEASE_S),
    )

    def make_worker() -> DeliveryWorker:
        return DeliveryWorker(
            deliveries,
            concurrency_max=8,
            endpoint_concurrency_max=ENDPOINT_CONCURRENCY_MAX,
            poll_interval_s=0.02,
        )

    servicer = NotificationServicer(endpoints, deliveries)
    async with (
        server.running(registrations=[servicer.register], service_names=[SERVICE_NAME]) as target,
        client.open_channel(target, peer="notification") as channel,
    ):
        yield Fixture(
            stub=notification_pb2_grpc.NotificationServiceStub(channel),
            pool=pool,
            clock=clock,
            fanout=Fanout(clock=clock, ids=ids),
            deliveries=deliveries,
            make_worker=make_worker,
        )
    await sender.close()
    await pool.close()
