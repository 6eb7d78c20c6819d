"""The channel client tells "nothing left us" from "who knows", over real sockets."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest

from services.gateway.channels.http import ChannelHttp, NoAnswer, NotSent

Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@contextlib.asynccontextmanager
async def _listening(serve: Serve) -> AsyncIterator[str]:
    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await serve(reader, writer)
        finally:
            writer.close()

    server = await asyncio.start_server(handle, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        server.close()


@pytest.fixture
async def http() -> AsyncIterator[ChannelHttp]:
    async with ChannelHttp() as client:
        yield client


async def test_bytes_go_out_and_come_back_untouched(http: ChannelHttp) -> None:
    seen = bytearray()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        seen.extend(await reader.readuntil(b"\r\n\r\n"))
        seen.extend(await reader.readexactly(9))
        writer.write(
            b"HTTP/1.1 418 x\r\nContent-Encoding: gzip\r\nContent-Length: 4\r\n\r\n\x1f\x8b\x00z"
        )

    async with _listening(serve) as base:
        target = "/v3/x/pay%2F1?mchid=1&d=2026-11-11"
        answer = await http.send("POST", base + target, headers={"X-A": "1"}, body=b'{"a": 1 }')
    assert seen.startswith(b"POST " + target.encode() + b" HTTP/1.1\r\n")
    assert seen.endswith(b'\r\n\r\n{"a": 1 }')
    assert (answer.status, answer.body) == (418, b"\x1f\x8b\x00z")
    assert answer.headers["content-encoding"] == "gzip"


async def test_a_refused_connection_was_never_sent(http: ChannelHttp) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        raise AssertionError("nobody may come here")

    async with _listening(serve) as base:
        pass
    with pytest.raises(NotSent, match="ConnectError"):
        await http.send("POST", base, headers={}, body=b"{}")


@pytest.mark.parametrize(
    "url", ["http://does-not-exist.invalid/", "ftp://127.0.0.1/", "http://[x/"]
)
async def test_an_address_that_leads_nowhere_was_never_sent(http: ChannelHttp, url: str) -> None:
    with pytest.raises(NotSent):
        await http.send("POST", url, headers={}, body=b"{}")


async def test_silence_is_no_answer_within_the_time_given(http: ChannelHttp) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()

    async with _listening(serve) as base:
        began = asyncio.get_running_loop().time()
        with pytest.raises(NoAnswer):
            await http.send("POST", base, headers={}, body=b"{}", timeout_s=0.2)
        assert asyncio.get_running_loop().time() - began < 2


async def test_a_trickle_does_not_stretch_the_time_given(http: ChannelHttp) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n")
        with contextlib.suppress(ConnectionError):
            while not writer.is_closing():
                writer.write(b".")
                await writer.drain()
                await asyncio.sleep(0.05)

    async with _listening(serve) as base:
        with pytest.raises(NoAnswer, match="TimeoutError"):
            await http.send("GET", base, headers={}, timeout_s=0.3)


@pytest.mark.parametrize(
    "reply",
    [
        b"",
        b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf",
        b"this is not HTTP\r\n\r\n",
    ],
)
async def test_a_broken_answer_is_no_answer(http: ChannelHttp, reply: bytes) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(reply)

    async with _listening(serve) as base:
        with pytest.raises(NoAnswer):
            await http.send("GET", base, headers={})


async def test_an_endless_answer_is_cut_off(http: ChannelHttp) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 5000\r\n\r\n" + b"x" * 5000)

    async with _listening(serve) as base:
        with pytest.raises(NoAnswer, match="longer than 4096 bytes"):
            await http.send("GET", base, headers={}, answer_bytes_max=4096)


async def test_nothing_is_sent_twice(http: ChannelHttp) -> None:
    requests = 0

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal requests
        await reader.readuntil(b"\r\n\r\n")
        requests += 1

    async with _listening(serve) as base:
        with pytest.raises(NoAnswer):
            await http.send("POST", base, headers={}, body=b"")
        await asyncio.sleep(0.05)
    assert requests == 1
