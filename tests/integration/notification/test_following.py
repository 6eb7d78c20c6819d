"""What a feed says becomes deliveries, once, however often it says it."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import asyncpg
import grpc
import pytest

from fisc.common.v1 import events_pb2 as common_pb2
from fisc.common.v1 import money_pb2
from fisc.gateway.v1 import events_pb2, payment_pb2
from libs.db.pool import Pool, open_pool
from libs.errors import InvalidArgument
from libs.events import feed, log
from libs.rpc import client, server
from libs.testing import eventually
from services.notification import workers
from services.notification.clients.feeds import EventFeed, bearer
from tests.integration.notification.support import NOON, Fixture, Receiver

TOKEN = "made up for this test"


class GuardedFeed(feed.EventFeedServicer):
    """Lets in who shows the token, as gateway does."""

    async def StreamEvents(  # noqa: N802 -- the name comes from the contract
        self, request: common_pb2.StreamEventsRequest, context: Any
    ) -> AsyncIterator[common_pb2.StreamEventsResponse]:
        """Stream, or refuse."""
        if dict(context.invocation_metadata()).get("authorization") != f"Bearer {TOKEN}":
            raise InvalidArgument("no token")
        async for response in super().StreamEvents(request, context):
            yield response


@pytest.fixture
async def source(empty_database: Callable[[], Awaitable[str]]) -> AsyncIterator[Pool]:
    """The database of a service that has news."""
    pool = await open_pool(await empty_database(), size=3, application_name="test")
    await pool.execute(log.SCHEMA_SQL)
    yield pool
    await pool.close()


@pytest.fixture
async def channel(source: Pool) -> AsyncIterator[grpc.aio.Channel]:
    """A channel to that service."""
    servicer = GuardedFeed(source)
    async with (
        server.running(
            registrations=[servicer.register],
            service_names=[feed.SERVICE_NAME],
        ) as target,
        client.open_channel(target, peer="gateway") as channel,
    ):
        yield channel


def succeeded(number: int, event_type: str = "payment.succeeded") -> log.NewEvent:
    payment = payment_pb2.Payment(
        payment_id=f"pay_{number}",
        merchant_id="mer_1",
        amount=money_pb2.Money(currency="CNY", amount_minor=1230),
        state=payment_pb2.Payment.STATE_SUCCEEDED,
    )
    return log.NewEvent(
        event_id=f"evt_{number}",
        type=event_type,
        merchant_id="mer_1",
        subject_id=f"pay_{number}",
        occurred_at=NOON,
        payload=events_pb2.PaymentEvent(payment=payment).SerializeToString(),
        payload_type="fisc.gateway.v1.PaymentEvent",
    )


async def append(source: Pool, *events: log.NewEvent) -> None:
    async with source.acquire() as connection, connection.transaction():
        await log.append(connection, events)


def feed_of(notification: Fixture, channel: grpc.aio.Channel) -> EventFeed:
    return EventFeed(
        source="gateway", channel=channel, pool=notification.pool, metadata=bearer(TOKEN)
    )


@contextlib.asynccontextmanager
async def following(notification: Fixture, channel: grpc.aio.Channel) -> AsyncIterator[None]:
    events = feed_of(notification, channel)
    task = asyncio.create_task(workers.follow(events, notification.fanout))
    try:
        yield
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


async def told(notification: Fixture) -> list[str]:
    return sorted(each.event_id for each in await notification.listed())


async def test_news_are_delivered_as_they_come_and_a_feed_read_anew_adds_nothing(
    notification: Fixture, receiver: Receiver, source: Pool, channel: grpc.aio.Channel
) -> None:
    await notification.create(receiver.url)
    await append(source, succeeded(1), succeeded(2, "payment.created"))
    async with following(notification, channel), notification.working():
        await eventually(lambda: len(receiver.requests) == 1)
        await append(source, succeeded(3))
        await eventually(lambda: len(receiver.requests) == 2)
    assert await told(notification) == ["evt_1", "evt_3"]

    await notification.pool.execute("UPDATE event_cursor SET cursor = ''")
    await append(source, succeeded(4))
    async with following(notification, channel), notification.working():
        await eventually(lambda: len(receiver.requests) == 3)
    assert await told(notification) == ["evt_1", "evt_3", "evt_4"]
    assert len(set(receiver.ids())) == 3


async def test_the_cursor_does_not_move_without_the_deliveries(
    notification: Fixture, receiver: Receiver, source: Pool, channel: grpc.aio.Channel
) -> None:
    await notification.create(receiver.url)
    await append(source, succeeded(1))
    await notification.pool.execute("ALTER TABLE delivery RENAME TO away")
    with pytest.raises(asyncpg.UndefinedTableError):
        async with asyncio.timeout(5):
            await workers.follow(feed_of(notification, channel), notification.fanout)
    await notification.pool.execute("ALTER TABLE away RENAME TO delivery")
    async with following(notification, channel):
        await eventually(lambda: told(notification))
    assert await told(notification) == ["evt_1"]
