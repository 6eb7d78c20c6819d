"""The channel client tells "nothing left us" from "who knows", over real sockets."""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field

import pytest

from services.gateway.channels import http as http_module
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
    with pytest.raises(NotSent, match="Cannot connect"):
        await http.send("POST", base, headers={}, body=b"{}")


@pytest.mark.parametrize(
    "url",
    [
        "http://does-not-exist.invalid/",
        "http://two..dots.invalid/",
        "ftp://127.0.0.1/",
        "http://[x/",
        "http:///x",
        "http://127.0.0.1:99999/",
    ],
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


@dataclass
class _Channel:
    """Answers every request on every connection with `answer`, and remembers what it saw."""

    answer: bytes = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
    heads: list[str] = field(default_factory=list)
    connections: list[asyncio.StreamWriter] = field(default_factory=list)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections.append(writer)
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                self.heads.append(head.decode())
                writer.write(self.answer)

    def targets(self) -> list[str]:
        return [head.split()[1] for head in self.heads]


@pytest.mark.parametrize(
    "target",
    [
        "/a%2Fb/%zz?x=1&y=%e4+b",
        "/a/../b/./c",
        "//d",
        "/a;b=c,d:@!$'()*~?x={}|[]",
        "/v3/x?next=/y?z=&=&",
    ],
)
async def test_an_address_goes_out_as_it_was_signed(http: ChannelHttp, target: str) -> None:
    channel = _Channel()
    async with _listening(channel.serve) as base:
        await http.send("GET", base + target, headers={})
    assert channel.targets() == [target]


@pytest.mark.parametrize("target", ["/a b", "/ü", "/a\r\nX-Forged: 1", "/a\x00"])
async def test_an_address_that_would_have_to_be_changed_is_not_sent(
    http: ChannelHttp, target: str
) -> None:
    channel = _Channel()
    async with _listening(channel.serve) as base:
        with pytest.raises(NotSent):
            await http.send("GET", base + target, headers={})
    assert channel.heads == []


@pytest.mark.parametrize("value", ["a\r\nX-Forged: 1", "a\nX-Forged: 1", "a\x00"])
async def test_a_header_cannot_bring_another_one(http: ChannelHttp, value: str) -> None:
    channel = _Channel()
    async with _listening(channel.serve) as base:
        with pytest.raises(NoAnswer):
            await http.send("POST", base, headers={"X-A": value}, body=b"{}")
    assert channel.heads == []


async def test_only_our_headers_describe_the_body(http: ChannelHttp) -> None:
    channel = _Channel()
    async with _listening(channel.serve) as base:
        await http.send("POST", base, headers={}, body=b"")
    head = channel.heads[0].lower()
    assert "content-type" not in head
    assert "content-length: 0\r\n" in head
    assert "accept-encoding: identity\r\n" in head


async def test_repeated_and_odd_headers_are_readable(http: ChannelHttp) -> None:
    channel = _Channel(b"HTTP/1.1 204 x\r\nX-A: 1\r\nx-a: 2\r\nX-B: \xe9\r\n\r\n")
    async with _listening(channel.serve) as base:
        answer = await http.send("GET", base, headers={})
    assert (answer.headers["x-a"], answer.headers["x-b"]) == ("1, 2", "é")


async def test_no_redirect_is_followed_and_no_cookie_kept(http: ChannelHttp) -> None:
    channel = _Channel(
        b"HTTP/1.1 307 x\r\nLocation: /y\r\nSet-Cookie: a=b\r\nContent-Length: 0\r\n\r\n"
    )
    async with _listening(channel.serve) as base:
        for _ in range(2):
            assert (await http.send("GET", base + "/x", headers={})).status == 307
    assert channel.targets() == ["/x", "/x"]
    assert "cookie" not in channel.heads[1].lower()


async def test_the_environment_names_no_proxy(
    http: ChannelHttp, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
    channel = _Channel()
    async with _listening(channel.serve) as base:
        assert (await http.send("GET", base, headers={})).status == 200


async def test_a_connection_is_used_again(http: ChannelHttp) -> None:
    channel = _Channel()
    async with _listening(channel.serve) as base:
        for _ in range(3):
            await http.send("POST", base, headers={}, body=b"")
    assert (len(channel.heads), len(channel.connections)) == (3, 1)


@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "DELETE"])
async def test_a_used_connection_that_breaks_is_no_answer_and_nothing_is_sent_twice(
    http: ChannelHttp, method: str
) -> None:
    requests: list[int] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        requests.append(1)
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
        await reader.readuntil(b"\r\n\r\n")
        requests.append(2)

    async with _listening(serve) as base:
        await http.send(method, base, headers={})
        with pytest.raises(NoAnswer):
            await http.send(method, base, headers={})
        await asyncio.sleep(0.05)
    assert requests == [1, 2]


async def test_after_a_server_closed_a_charge_arrives_at_most_once(http: ChannelHttp) -> None:
    arrived: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        arrived.append(head.split()[1])
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")

    async with _listening(serve) as base:
        answered: list[bytes] = []
        for number in range(50):
            target = f"/{number}"
            with contextlib.suppress(NoAnswer):
                await http.send("POST", base + target, headers={}, body=b"")
                answered.append(target.encode())
        await asyncio.sleep(0.05)
    assert len(arrived) == len(set(arrived))
    assert set(answered) <= set(arrived)
    assert b"/0" in answered


async def test_a_connection_closed_behind_our_back_is_not_written_to(http: ChannelHttp) -> None:
    channel = _Channel()
    async with _listening(channel.serve) as base:
        await http.send("POST", base + "/1", headers={}, body=b"")
        # The end is in our socket before the event loop has had a turn to read it.
        channel.connections[0].get_extra_info("socket").shutdown(socket.SHUT_WR)
        answer = await http.send("POST", base + "/2", headers={}, body=b"")
    assert answer.status == 200
    assert (channel.targets(), len(channel.connections)) == (["/1", "/2"], 2)


async def test_an_answer_nobody_asked_for_is_not_the_next_one(http: ChannelHttp) -> None:
    channel = _Channel()
    async with _listening(channel.serve) as base:
        await http.send("POST", base, headers={}, body=b"")
        channel.connections[0].write(b"HTTP/1.1 408 Late\r\nContent-Length: 0\r\n\r\n")
        await asyncio.sleep(0.05)
        answer = await http.send("POST", base, headers={}, body=b"")
    assert (answer.status, answer.body) == (200, b"ok")
    assert len(channel.connections) == 2


async def test_a_server_that_greets_is_still_asked_once(http: ChannelHttp) -> None:
    connections = 0

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal connections
        connections += 1
        writer.write(b"HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n")
        await reader.read()

    async with _listening(serve) as base:
        with contextlib.suppress(NoAnswer):
            await http.send("POST", base, headers={}, body=b"", timeout_s=0.3)
    assert connections == 1


async def test_whoever_finds_no_place_in_the_pool_was_never_sent(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(http_module, "CONNECT_TIMEOUT_S", 0.1)
    heads: list[bytes] = []
    arrived = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heads.append(await reader.readuntil(b"\r\n\r\n"))
        arrived.set()
        await asyncio.sleep(0.4)
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")

    async with _listening(serve) as base, ChannelHttp(connections_max=1) as http:
        first = asyncio.create_task(http.send("POST", base, headers={}, body=b""))
        await arrived.wait()
        with pytest.raises(NotSent, match="timeout"):
            await http.send("POST", base, headers={}, body=b"")
        assert (await first).status == 200
    assert len(heads) == 1


async def test_a_closed_client_sends_nothing(http: ChannelHttp) -> None:
    await http.aclose()
    with pytest.raises(RuntimeError):
        await http.send("GET", "http://127.0.0.1:1/", headers={})
