"""The Redis client fails fast and does not try again by itself."""

import asyncio
import time

import pytest
import redis.exceptions

from libs import cache


async def test_a_command_reaches_redis_once(redis_url: str) -> None:
    client = cache.open_redis(redis_url)
    assert await client.incr("n") == 1
    assert await client.incr("n") == 2
    await client.aclose()


async def test_a_redis_that_hangs_costs_little_and_is_tried_once() -> None:
    connections = 0

    async def hang(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal connections
        connections += 1
        await reader.read()
        writer.close()

    server = await asyncio.start_server(hang, "127.0.0.1")
    port = server.sockets[0].getsockname()[1]
    client = cache.open_redis(f"redis://127.0.0.1:{port}")
    started_s = time.monotonic()
    with pytest.raises(redis.exceptions.TimeoutError):
        await client.incr("n")
    assert time.monotonic() - started_s < 4 * cache.SOCKET_TIMEOUT_S
    assert connections == 1
    await client.aclose()
    server.close()
