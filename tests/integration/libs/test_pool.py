"""The pool speaks Python objects for jsonb, and a hung statement ends by itself."""

from collections.abc import Awaitable, Callable

from libs.db.pool import connecting, open_pool

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
