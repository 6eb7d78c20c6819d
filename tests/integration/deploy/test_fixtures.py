"""The fixtures every other integration test stands on."""

from collections.abc import Awaitable, Callable

import asyncpg
import redis.asyncio


async def test_two_empty_databases_share_nothing(
    empty_database: Callable[[], Awaitable[str]],
) -> None:
    first = await asyncpg.connect(await empty_database())
    second = await asyncpg.connect(await empty_database())

    await first.execute("CREATE TABLE only_here (id int)")

    assert await first.fetchval("SELECT to_regclass('only_here') IS NOT NULL")
    assert await second.fetchval("SELECT to_regclass('only_here') IS NULL")
    await first.close()
    await second.close()


async def test_tests_run_on_a_durable_cluster(
    empty_database: Callable[[], Awaitable[str]],
) -> None:
    connection = await asyncpg.connect(await empty_database())
    durable = ("fsync", "synchronous_commit", "full_page_writes", "data_checksums")

    values = {name: await connection.fetchval(f"SHOW {name}") for name in durable}

    assert values == dict.fromkeys(durable, "on")
    await connection.close()


async def test_redis_holds_no_key_of_another_test(redis_url: str) -> None:
    client = redis.asyncio.from_url(redis_url)

    assert await client.dbsize() == 0

    await client.set("left-behind", "1")
    await client.aclose()


async def test_redis_holds_no_key_of_another_test_either(redis_url: str) -> None:
    client = redis.asyncio.from_url(redis_url)

    assert await client.dbsize() == 0

    await client.set("left-behind", "1")
    await client.aclose()


async def test_clones_of_a_migrated_database_share_the_tables_but_no_rows(
    fresh_database: Callable[[str], Awaitable[str]],
) -> None:
    first = await asyncpg.connect(await fresh_database("router"))
    second = await asyncpg.connect(await fresh_database("router"))
    tables = "SELECT count(*) FROM information_schema.tables WHERE table_schema = 'public'"

    await first.execute("CREATE TABLE only_here (id int)")

    assert await second.fetchval(tables) == await first.fetchval(tables) - 1 > 0
    await first.close()
    await second.close()
