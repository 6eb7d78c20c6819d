"""The proxy of the fault tests does what it says, on real sockets."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest

from libs.testing import eventually
from libs.testing.proxy import Bandwidth, Cut, Latency, Proxy, Reset, Slicer, Swallow, Way

Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]
Connect = Callable[[], Awaitable[Streams]]
# An answer that has not come by now will not come.
SILENCE_S = 0.15
# A loaded machine may be late; never early.
PATIENCE_S = 5.0


class Echo:
    """Sends back what it hears, and remembers it."""

    def __init__(self) -> None:
        self.heard = bytearray()
        self.beginnings = self.endings = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.beginnings += 1
        try:
            while chunk := await reader.read(65_536):
                self.heard += chunk
                writer.write(chunk)
                await writer.drain()
        except ConnectionError:
            pass
        finally:
            writer.close()
            with contextlib.suppress(ConnectionError):
                await writer.wait_closed()
            self.endings += 1


@pytest.fixture
def echo() -> Echo:
    return Echo()


@pytest.fixture
async def proxy(echo: Echo) -> AsyncIterator[Proxy]:
    server = await asyncio.start_server(echo.serve, "127.0.0.1", 0)
    async with Proxy("127.0.0.1", server.sockets[0].getsockname()[1]) as running:
        yield running
    await eventually(lambda: echo.endings == echo.beginnings)
    server.close()
    await server.wait_closed()


@pytest.fixture
async def connect(proxy: Proxy) -> AsyncIterator[Connect]:
    writers = []

    async def opened() -> Streams:
        reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
        writers.append(writer)
        return reader, writer

    yield opened
    for writer in writers:
        writer.transport.abort()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()


async def ask(streams: Streams, message: bytes) -> bytes:
    reader, writer = streams
    writer.write(message)
    async with asyncio.timeout(PATIENCE_S):
        return await reader.readexactly(len(message))


async def is_silent(streams: Streams, message: bytes) -> bool:
    streams[1].write(message)
    try:
        async with asyncio.timeout(SILENCE_S):
            await streams[0].read(1)
    except TimeoutError:
        return True
    return False


async def ending_of(streams: Streams) -> bytes | type[ConnectionError]:
    """What a reader is told when its connection ends."""
    try:
        async with asyncio.timeout(PATIENCE_S):
            return await streams[0].read()
    except ConnectionResetError:
        return ConnectionResetError


async def test_without_a_toxic_bytes_pass_unchanged_and_an_end_is_an_end(
    connect: Connect, echo: Echo
) -> None:
    streams = await connect()
    message = bytes(range(256)) * 2_000

    assert await ask(streams, message) == message
    streams[1].write_eof()
    assert await streams[0].read() == b""
    assert bytes(echo.heard) == message


@pytest.mark.parametrize(("ways", "least_s"), [(Way.ANSWERS, 0.1), (Way.BOTH, 0.2)])
async def test_latency_delays_each_way_it_is_set_on(
    proxy: Proxy, connect: Connect, ways: Way, least_s: float
) -> None:
    streams = await connect()
    await proxy.poison(Latency(delay_s=0.1, jitter_s=0.01), ways)
    started_s = time.monotonic()

    assert await ask(streams, b"ping") == b"ping"

    assert time.monotonic() - started_s >= least_s


async def test_latency_keeps_the_order_and_does_not_add_up_over_chunks(
    proxy: Proxy, connect: Connect
) -> None:
    streams = await connect()
    await proxy.poison(Latency(delay_s=0.2, jitter_s=0.1), Way.REQUESTS)
    started_s = time.monotonic()
    for number in range(10):
        streams[1].write(bytes([number]))
        await asyncio.sleep(0.005)

    async with asyncio.timeout(PATIENCE_S):
        assert await streams[0].readexactly(10) == bytes(range(10))

    assert time.monotonic() - started_s < 10 * 0.2


async def test_a_narrow_wire_takes_as_long_as_its_bytes_need(
    proxy: Proxy, connect: Connect
) -> None:
    streams = await connect()
    await proxy.poison(Bandwidth(bytes_per_s=10_000), Way.REQUESTS)
    started_s = time.monotonic()

    assert await ask(streams, b"x" * 3_000) == b"x" * 3_000

    assert time.monotonic() - started_s >= 0.2


async def test_sliced_bytes_arrive_complete(proxy: Proxy, connect: Connect) -> None:
    streams = await connect()
    await proxy.poison(Slicer(piece_bytes=7, pause_s=0.001))
    message = bytes(range(256)) * 2

    assert await ask(streams, message) == message


@pytest.mark.parametrize("toxic", [Cut(), Reset()])
async def test_cut_and_reset_end_open_connections_and_new_ones_until_healed(
    proxy: Proxy, connect: Connect, echo: Echo, toxic: Cut | Reset
) -> None:
    old = await connect()
    assert await ask(old, b"ping") == b"ping"

    await proxy.poison(toxic)
    expected = b"" if isinstance(toxic, Cut) else ConnectionResetError
    assert await ending_of(old) == expected
    assert await ending_of(await connect()) == expected
    await eventually(lambda: echo.endings == 1)

    await proxy.heal()
    assert await ask(await connect(), b"pong") == b"pong"


@pytest.mark.parametrize(
    ("ways", "heard"), [(Way.ANSWERS, b"lost"), (Way.REQUESTS, b""), (Way.BOTH, b"")]
)
async def test_swallowed_bytes_leave_the_connection_open_and_tear_it_when_healed(
    proxy: Proxy, connect: Connect, echo: Echo, ways: Way, heard: bytes
) -> None:
    streams, untouched = await connect(), await connect()
    assert await ask(untouched, b"") == b""
    await proxy.poison(Swallow(), ways)

    assert await is_silent(streams, b"lost")
    assert bytes(echo.heard) == heard

    await proxy.heal()
    assert await ending_of(streams) is ConnectionResetError
    assert await ask(untouched, b"ping") == b"ping"
    assert await ask(await connect(), b"pong") == b"pong"


async def test_a_server_that_is_away_looks_torn() -> None:
    async with Proxy("127.0.0.1", 1) as nowhere:
        reader, writer = await asyncio.open_connection("127.0.0.1", nowhere.port)
        assert await ending_of((reader, writer)) is ConnectionResetError
        writer.close()
        with contextlib.suppress(ConnectionResetError):
            await writer.wait_closed()


async def test_a_toxic_ends_with_its_block(proxy: Proxy, connect: Connect) -> None:
    async with proxy.poisoned(Reset()):
        assert await ending_of(await connect()) is ConnectionResetError
    assert await ask(await connect(), b"ping") == b"ping"
