"""Events are read without gaps, and each takes effect once in each consumer."""

import asyncio
import contextlib
import dataclasses
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from datetime import UTC, datetime

import asyncpg
import grpc
import pytest

from fisc.common.v1 import events_pb2, events_pb2_grpc
from libs.db.pool import Pool, open_pool
from libs.errors import FiscError, InvalidArgument
from libs.events import consumer, log
from libs.events.feed import EventFeedServicer
from libs.events.kinds import KNOWN

NOON = datetime(2026, 11, 22, 12, 0, 0, 123_456, tzinfo=UTC)
PROMPT_S = 10.0
EFFECT_SQL = "CREATE TABLE effect (id bigint GENERATED ALWAYS AS IDENTITY, event_id text NOT NULL)"


def event(number: int) -> log.NewEvent:
    return log.NewEvent(
        event_id=f"evt_{number}",
        type="payment.succeeded",
        merchant_id="mer_1",
        subject_id=f"pay_{number}",
        occurred_at=NOON,
        payload=bytes([number]),
        payload_type="fisc.gateway.v1.Payment",
    )


def ids(events: Sequence[log.StoredEvent]) -> list[str]:
    return [stored.event_id for stored in events]


@pytest.fixture
async def pool(
    empty_database: Callable[[], Awaitable[str]],
) -> AsyncIterator[Pool]:
    """A database that is source and consumer in one."""
    pool = await open_pool(await empty_database(), size=8, application_name="test")
    await pool.execute(log.SCHEMA_SQL + EFFECT_SQL)
    yield pool
    await pool.close()


async def append(pool: Pool, *numbers: int) -> None:
    async with pool.acquire() as connection, connection.transaction():
        await log.append(connection, [event(number) for number in numbers])


async def read_all(pool: Pool, cursor: str = log.BEGINNING) -> list[str]:
    async with pool.acquire() as connection:
        return ids(await log.read(connection, cursor, 100))


async def read_in_pages(pool: Pool, limit: int) -> list[str]:
    seen: list[str] = []
    cursor = log.BEGINNING
    async with pool.acquire() as connection:
        while page := await log.read(connection, cursor, limit):
            seen += ids(page)
            cursor = page[-1].cursor
    return seen


async def test_events_come_back_as_they_went_in_and_in_order(
    pool: Pool,
) -> None:
    await append(pool, 3, 1, 2)
    async with pool.acquire() as connection:
        stored = await log.read(connection, log.BEGINNING, 100)
    assert ids(stored) == ["evt_3", "evt_1", "evt_2"]
    first = stored[0]
    assert first == log.StoredEvent(
        event_id="evt_3",
        type="payment.succeeded",
        merchant_id="mer_1",
        subject_id="pay_3",
        occurred_at=NOON,
        payload=b"\x03",
        payload_type="fisc.gateway.v1.Payment",
        cursor=first.cursor,
    )


async def test_reading_on_from_each_cursor_visits_every_event_once(
    pool: Pool,
) -> None:
    await append(pool, 1, 2, 3)
    await append(pool, 4, 5)
    assert await read_in_pages(pool, 2) == ["evt_1", "evt_2", "evt_3", "evt_4", "evt_5"]


async def test_a_transaction_that_commits_late_is_not_skipped(
    pool: Pool,
) -> None:
    async with pool.acquire() as late, pool.acquire() as reader:
        transaction = late.transaction()
        await transaction.start()
        await log.append(late, [event(1)])
        await append(pool, 2)

        seen = await log.read(reader, log.BEGINNING, 100)
        cursor = seen[-1].cursor if seen else log.BEGINNING
        await transaction.commit()
        seen += await log.read(reader, cursor, 100)
    assert ids(seen) == ["evt_1", "evt_2"]


async def test_an_early_number_that_commits_after_a_later_one_was_read_is_not_skipped(
    pool: Pool,
) -> None:
    """The later transaction takes the lower number: order by number alone would lose it."""
    async with pool.acquire() as first, pool.acquire() as second, pool.acquire() as reader:
        first_transaction, second_transaction = first.transaction(), second.transaction()
        await first_transaction.start()
        await first.execute("SELECT pg_current_xact_id()")
        await second_transaction.start()
        await log.append(second, [event(2)])
        await log.append(first, [event(1)])
        await first_transaction.commit()

        seen = await log.read(reader, log.BEGINNING, 100)
        assert ids(seen) == ["evt_1"]
        await second_transaction.commit()
        seen += await log.read(reader, seen[-1].cursor, 100)
    assert ids(seen) == ["evt_1", "evt_2"]
    assert await read_in_pages(pool, 1) == ["evt_1", "evt_2"]


async def test_what_was_rolled_back_never_happened(pool: Pool) -> None:
    async with pool.acquire() as connection:
        transaction = connection.transaction()
        await transaction.start()
        await log.append(connection, [event(1)])
        await transaction.rollback()
    await append(pool, 2)
    assert await read_all(pool) == ["evt_2"]


async def test_an_event_id_enters_the_log_once(pool: Pool) -> None:
    await append(pool, 1)
    with pytest.raises(asyncpg.UniqueViolationError):
        await append(pool, 2, 1)
    assert await read_all(pool) == ["evt_1"]


@pytest.mark.parametrize("cursor", ["x", "1", "1-", "-1", "1-2-3", "1-x", "9" * 30 + "-1"])
async def test_a_cursor_of_elsewhere_is_refused(pool: Pool, cursor: str) -> None:
    with pytest.raises(InvalidArgument):
        await read_all(pool, cursor)


class Feed:
    """The real feed on one port, which can go away and come back."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self._server: grpc.aio.Server | None = None
        self.port = 0

    async def start(self) -> None:
        self._server = grpc.aio.server()
        events_pb2_grpc.add_EventFeedServiceServicer_to_server(
            EventFeedServicer(self._pool), self._server
        )
        self.port = self._server.add_insecure_port(f"127.0.0.1:{self.port}")
        await self._server.start()

    async def stop(self) -> None:
        if self._server:
            await self._server.stop(grace=None)


@pytest.fixture
async def feed(pool: Pool) -> AsyncIterator[Feed]:
    feed = Feed(pool)
    await feed.start()
    yield feed
    await feed.stop()


@pytest.fixture
async def stub(feed: Feed) -> "AsyncIterator[events_pb2_grpc.EventFeedServiceAsyncStub]":
    options = [("grpc.initial_reconnect_backoff_ms", 100), ("grpc.max_reconnect_backoff_ms", 200)]
    async with grpc.aio.insecure_channel(f"127.0.0.1:{feed.port}", options) as channel:
        yield events_pb2_grpc.EventFeedServiceStub(channel)


async def apply(
    connection: "asyncpg.Connection[asyncpg.Record]", events: Sequence[events_pb2.Event]
) -> None:
    await connection.executemany(
        "INSERT INTO effect (event_id) VALUES ($1)", [(event.event_id,) for event in events]
    )


async def effects(pool: Pool) -> list[str]:
    rows = await pool.fetch("SELECT event_id FROM effect ORDER BY id")
    return [row["event_id"] for row in rows]


async def wait_for_effects(pool: Pool, count: int) -> None:
    async with asyncio.timeout(PROMPT_S):
        while len(await effects(pool)) < count:  # noqa: ASYNC110 -- a table has no bell
            await asyncio.sleep(0.02)


@contextlib.asynccontextmanager
async def following(
    stub: "events_pb2_grpc.EventFeedServiceAsyncStub", pool: Pool
) -> AsyncIterator[None]:
    task = asyncio.create_task(
        consumer.follow(
            stub=stub, consumer="books", source="gateway", pool=pool, apply=apply, batch_max=2
        )
    )
    yield
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task


async def catch_up(
    stub: "events_pb2_grpc.EventFeedServiceAsyncStub",
    pool: Pool,
    apply: consumer.Apply = apply,
    name: str = "books",
) -> int:
    return await consumer.catch_up(
        stub=stub, consumer=name, source="gateway", pool=pool, apply=apply, batch_max=2
    )


async def test_catching_up_applies_all_there_is_and_then_nothing_twice(
    stub: "events_pb2_grpc.EventFeedServiceAsyncStub", pool: Pool
) -> None:
    await append(pool, 1, 2, 3)
    assert await catch_up(stub, pool) == 3
    assert await catch_up(stub, pool) == 0
    await append(pool, 4)
    assert await catch_up(stub, pool) == 1
    assert await effects(pool) == ["evt_1", "evt_2", "evt_3", "evt_4"]


async def test_each_consumer_has_its_own_place(
    stub: "events_pb2_grpc.EventFeedServiceAsyncStub", pool: Pool
) -> None:
    await append(pool, 1)
    assert await catch_up(stub, pool, name="books") == 1
    assert await catch_up(stub, pool, name="mail") == 1


async def test_an_effect_that_fails_leaves_the_event_for_the_next_try(
    stub: "events_pb2_grpc.EventFeedServiceAsyncStub", pool: Pool
) -> None:
    async def fail_after_writing(
        connection: "asyncpg.Connection[asyncpg.Record]", events: Sequence[events_pb2.Event]
    ) -> None:
        await apply(connection, events)
        raise ValueError("a bug")

    await append(pool, 1)
    with pytest.raises(ValueError, match="a bug"):
        await catch_up(stub, pool, fail_after_writing)
    assert await effects(pool) == []
    assert await catch_up(stub, pool) == 1


async def test_catching_up_with_a_feed_that_is_away_says_so(
    feed: Feed,
    stub: "events_pb2_grpc.EventFeedServiceAsyncStub",
    pool: Pool,
) -> None:
    await feed.stop()
    with pytest.raises(FiscError) as raised:
        await catch_up(stub, pool)
    assert raised.value.kind.retryable


async def test_a_follower_applies_news_as_it_comes_and_survives_a_restart_of_the_feed(
    feed: Feed,
    stub: "events_pb2_grpc.EventFeedServiceAsyncStub",
    pool: Pool,
) -> None:
    await append(pool, 1, 2, 3)
    async with following(stub, pool):
        await wait_for_effects(pool, 3)
        await append(pool, 4)
        await wait_for_effects(pool, 4)
        await feed.stop()
        await append(pool, 5)
        await feed.start()
        await wait_for_effects(pool, 5)
    assert await effects(pool) == [f"evt_{number}" for number in range(1, 6)]


async def append_of_a_later_release(pool: Pool, number: int) -> None:
    later = dataclasses.replace(event(number), type="payment.foreseen")
    async with pool.acquire() as connection, connection.transaction():
        await log.append(connection, [later])


async def test_a_follower_stops_before_what_it_does_not_know_and_goes_on_where_a_later_release_left_off(
    stub: "events_pb2_grpc.EventFeedServiceAsyncStub", pool: Pool
) -> None:
    await append(pool, 1, 2)
    await append_of_a_later_release(pool, 3)
    await append(pool, 4)
    async with following(stub, pool):
        await wait_for_effects(pool, 2)
        await asyncio.sleep(0.5)
        assert await effects(pool) == ["evt_1", "evt_2"]

        async with pool.acquire() as connection:
            [third] = [each for each in await log.read(connection, "", 9) if each.type not in KNOWN]
        await pool.execute("UPDATE event_cursor SET cursor = $1", third.cursor)
        await wait_for_effects(pool, 3)
    assert await effects(pool) == ["evt_1", "evt_2", "evt_4"]


async def test_what_a_follower_learns_to_know_is_applied_with_all_behind_it(
    stub: "events_pb2_grpc.EventFeedServiceAsyncStub", pool: Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    await append_of_a_later_release(pool, 1)
    await append(pool, 2)
    with pytest.raises(FiscError) as too_new:
        await catch_up(stub, pool)
    assert (too_new.value.reason, await effects(pool)) == ("EVENT_TOO_NEW", [])

    monkeypatch.setattr("libs.events.kinds.KNOWN", KNOWN | {"payment.foreseen"})

    assert await catch_up(stub, pool) == 2
    assert await effects(pool) == ["evt_1", "evt_2"]


async def test_two_replicas_that_follow_apply_each_event_once(
    stub: "events_pb2_grpc.EventFeedServiceAsyncStub", pool: Pool
) -> None:
    async with following(stub, pool), following(stub, pool):
        for number in range(10):
            await append(pool, number)
        await wait_for_effects(pool, 10)
    assert await effects(pool) == [f"evt_{number}" for number in range(10)]


async def test_a_follower_whose_effect_is_broken_ends_with_the_error(
    stub: "events_pb2_grpc.EventFeedServiceAsyncStub", pool: Pool
) -> None:
    await pool.execute("DROP TABLE effect")
    await append(pool, 1)
    with pytest.raises(asyncpg.UndefinedTableError):
        async with asyncio.timeout(PROMPT_S):
            await consumer.follow(
                stub=stub, consumer="books", source="gateway", pool=pool, apply=apply
            )
