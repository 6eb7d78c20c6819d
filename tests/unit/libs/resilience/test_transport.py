"""A torn connection is known for one also where uvloop says so in its own way."""

import asyncio

import pytest
import uvloop

from libs.db.errors import is_connection_lost
from libs.resilience import transport


async def write_after_the_end() -> None:
    async def serve(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        _, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
        writer.transport.abort()
        await writer.wait_closed()
        writer.write(b"too late")


def test_uvloop_says_that_the_transport_is_closed() -> None:
    with pytest.raises(RuntimeError) as closed:
        uvloop.run(write_after_the_end())
    assert transport.is_closed(closed.value)
    assert is_connection_lost(closed.value)


def test_other_errors_are_what_they_are() -> None:
    assert not transport.is_closed(RuntimeError("cannot reuse already awaited coroutine"))
    assert not transport.is_closed(ValueError("the handler is closed"))
