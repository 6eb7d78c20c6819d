"""The pool speaks Python objects for jsonb, and a hung statement ends by itself."""

import asyncio
from collections.abc import Awaitable, Callable
from urllib.parse import urlsplit

import pytest

from libs.db import pool as pools
from libs.db.errors import is_connection_lost
from libs.db.pool import connecting, open_pool
from libs.testing.proxy import Proxy, Swallow

EmptyDatabase = Callable[[], Awaitable[str]]


async def test_jsonb_comes_and_goes_as_python_objects(empty_database: EmptyDatabase) -> None:
    pool = await open_pool(await empty_database(), size=1, application_name="test")
    value = {"名": ["a", 1, None, True], "nested": {"n": 2**53}}
    assert await pool.fetchval("SELECT $1::jsonb", value) == value
    assert await pool.fetchval("SELECT $1::jsonb ->> '名'", {"名": "值"}) == "值"
    await pool.close()


async def test_connections_carry_their_name_and_their_limits(empty_database: EmptyDatabase) -> None:
    pool = await open_pool(await empty_database(), size=1, application_name="router")
    for _ in range(2):  # the second use of the same connection still has them
        row = await pool.fetchrow(
            "SELECT current_setting('application_name') AS name, "
            "current_setting('statement_timeout') AS statement_timeout, "
            "current_setting('idle_in_transaction_session_timeout') AS idle_timeout, "
            "current_setting('timezone') AS timezone"
        )
        assert row is not None
        assert tuple(row) == ("router", "15s", "15s", "UTC")
    await pool.close()


async def test_an_unfinished_transaction_does_not_reach_the_next_user(
    empty_database: EmptyDatabase,
) -> None:
    pool = await open_pool(await empty_database(), size=1, application_name="test")
    async with pool.acquire() as connection:
        await connection.execute("BEGIN; CREATE TABLE left_behind (n int)")
    assert await pool.fetchval("SELECT to_regclass('left_behind') IS NULL")
    await pool.close()


async def test_a_database_that_goes_silent_is_given_up_and_found_again(
    empty_database: EmptyDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pools, "COMMAND_TIMEOUT_S", 0.3)
    parts = urlsplit(await empty_database())
    async with Proxy(parts.hostname or "", parts.port or 0) as proxy:
        url = parts._replace(netloc=f"{parts.username}:{parts.password}@{proxy.target}").geturl()
        pool = await open_pool(url, size=1, application_name="test")

        async def transact() -> None:
            async with pool.acquire() as connection, connection.transaction():
                await connection.execute("SELECT 1")

        await transact()
        await proxy.poison(Swallow())
        patience = asyncio.timeout(10)
        with pytest.raises(Exception) as lost:
            async with patience:
                await transact()
        assert is_connection_lost(lost.value)
        assert not patience.expired()

        await proxy.heal()
        await transact()
        await pool.close()


async def test_a_database_that_is_just_starting_is_waited_for() -> None:
    attempts = 0

    async def connect() -> str:
        nonlocal attempts
        attempts += 1
        if attempts < 3:
            raise ConnectionRefusedError
        return "connected"

    assert await connecting(connect) == "connected"
    assert attempts == 3
