"""The event feed over a real connection and a real event log."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg
import grpc
import pytest

from fisc.common.v1 import events_pb2, events_pb2_grpc, money_pb2
from libs.db import pool as db_pool
from libs.events import feed, log
from libs.rpc import client, server
from libs.testing import eventually

OCCURRED_AT = datetime(2026, 3, 4, 5, 6, 7, 891011, tzinfo=UTC)


@pytest.fixture
async def pool(
    empty_database: Callable[[], Awaitable[str]],
) -> AsyncIterator["asyncpg.Pool[asyncpg.Record]"]:
    opened = await db_pool.open_pool(await empty_database(), size=3, application_name="test")
    await opened.execute(log.EVENT_LOG_SQL)
    yield opened
    await opened.close()


@asynccontextmanager
async def _feed(
    pool: "asyncpg.Pool[asyncpg.Record]",
) -> AsyncIterator[tuple[Any, feed.EventFeedServicer]]:
    servicer = feed.EventFeedServicer(pool)
    async with server.running(
        registrations=[servicer.register], service_names=[feed.SERVICE_NAME]
    ) as target:
        channel = client.open_channel(target, peer="feed")
        try:
            yield events_pb2_grpc.EventFeedServiceStub(channel), servicer
        finally:
            await channel.close()


async def _append(pool: "asyncpg.Pool[asyncpg.Record]", numbers: Sequence[int]) -> None:
    async with pool.acquire() as connection, connection.transaction():
        await log.append(connection, [_event(number) for number in numbers])


def _event(number: int) -> log.NewEvent:
    return log.NewEvent(
        event_id=f"evt_{number}",
        type="payment.succeeded",
        merchant_id="mer_1",
        subject_id=f"pay_{number}",
        occurred_at=OCCURRED_AT + timedelta(seconds=number),
        payload=money_pb2.Money(currency="CNY", amount_minor=number).SerializeToString(),
        payload_type="fisc.common.v1.Money",
    )


async def _read_all(stub: Any, cursor: str = "", batch_max: int = 0) -> list[Any]:
    request = events_pb2.StreamEventsRequest(cursor=cursor, batch_max=batch_max)
    return [response async for response in stub.StreamEvents(request, timeout=10)]


def _ids(responses: Sequence[Any]) -> list[str]:
    return [event.event_id for response in responses for event in response.events]


async def test_an_event_arrives_as_it_was_written(pool: "asyncpg.Pool[asyncpg.Record]") -> None:
    await _append(pool, [1])
    async with _feed(pool) as (stub, _):
        (response,) = await _read_all(stub)
    (event,) = response.events
    assert (event.event_id, event.type) == ("evt_1", "payment.succeeded")
    assert (event.merchant_id, event.subject_id) == ("mer_1", "pay_1")
    assert event.occurred_at.ToDatetime(UTC) == OCCURRED_AT + timedelta(seconds=1)
    money = money_pb2.Money()
    assert event.payload.Unpack(money)
    assert (money.currency, money.amount_minor) == ("CNY", 1)


async def test_reading_on_from_any_cursor_neither_skips_nor_repeats(
    pool: "asyncpg.Pool[asyncpg.Record]",
) -> None:
    await _append(pool, range(5))
    await _append(pool, range(5, 9))
    everything = [f"evt_{number}" for number in range(9)]
    async with _feed(pool) as (stub, _):
        responses = await _read_all(stub, batch_max=2)
        assert _ids(responses) == everything
        assert [len(response.events) for response in responses] == [2, 2, 2, 2, 1]
        for index, response in enumerate(responses):
            rest = await _read_all(stub, cursor=response.next_cursor)
            assert _ids(rest) == everything[2 * (index + 1) :]
            assert rest[-1].next_cursor == responses[-1].next_cursor


async def test_no_batch_exceeds_the_servers_limit(pool: "asyncpg.Pool[asyncpg.Record]") -> None:
    await _append(pool, range(feed.BATCH_MAX + 1))
    async with _feed(pool) as (stub, _):
        responses = await _read_all(stub, batch_max=100_000)
    assert [len(response.events) for response in responses] == [feed.BATCH_MAX, 1]


async def test_a_follower_hears_what_happens_later_and_where_it_stands(
    pool: "asyncpg.Pool[asyncpg.Record]", monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(feed, "HEARTBEAT_INTERVAL_S", 0.1)
    await _append(pool, [1])
    async with _feed(pool) as (stub, _):
        call = stub.StreamEvents(events_pb2.StreamEventsRequest(follow=True))
        first = await call.read()
        heartbeat = await call.read()
        assert _ids([first]) == ["evt_1"]
        assert _ids([heartbeat]) == []
        assert heartbeat.next_cursor == first.next_cursor
        await _append(pool, [2])
        assert await eventually(lambda: _next_ids(call)) == ["evt_2"]
        call.cancel()


async def test_an_open_transaction_holds_back_what_committed_after_it_began(
    pool: "asyncpg.Pool[asyncpg.Record]",
) -> None:
    async with _feed(pool) as (stub, _):
        async with pool.acquire() as slow, slow.transaction():
            await log.append(slow, [_event(1)])
            await _append(pool, [2])
            assert _ids(await _read_all(stub)) == []
        assert _ids(await _read_all(stub)) == ["evt_1", "evt_2"]


async def test_a_cursor_of_another_world_is_refused(pool: "asyncpg.Pool[asyncpg.Record]") -> None:
    async with _feed(pool) as (stub, _):
        with pytest.raises(grpc.aio.AioRpcError) as raised:
            await _read_all(stub, cursor="nonsense")
    assert raised.value.code() is grpc.StatusCode.INVALID_ARGUMENT


async def test_draining_sends_followers_away_at_once(pool: "asyncpg.Pool[asyncpg.Record]") -> None:
    async with _feed(pool) as (stub, servicer):
        call = stub.StreamEvents(events_pb2.StreamEventsRequest(follow=True))
        reading = asyncio.ensure_future(call.read())
        await asyncio.sleep(0.1)
        await servicer.drain()
        with pytest.raises(grpc.aio.AioRpcError) as raised:
            async with asyncio.timeout(2):
                await reading
    assert raised.value.code() is grpc.StatusCode.UNAVAILABLE


async def _next_ids(call: Any) -> list[str]:
    return _ids([await call.read()])
