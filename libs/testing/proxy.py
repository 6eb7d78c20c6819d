"""A TCP proxy that misbehaves on demand: for tests of what stands on both sides of a wire.

The toxics are those of Shopify's toxiproxy, in asyncio, each for either way or both. They are
switched while connections are open. A byte stream cannot lose its middle: a connection of which
bytes were swallowed is reset when the toxic is lifted, as a firewall forgets a connection it cut.
"""

import asyncio
import contextlib
import enum
import random
import socket
import struct
from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager
from dataclasses import dataclass
from types import TracebackType
from typing import Final, Self, TypeAlias

CHUNK_BYTES_MAX: Final = 64 * 1024
# What may wait inside one way of one connection; then its sender is held up, as a socket would.
CHUNKS_WAITING_MAX: Final = 64
# SO_LINGER with zero seconds makes close() send RST instead of FIN.
_LINGER_RESET: Final = struct.pack("ii", 1, 0)


class Way(enum.Flag):
    """Which bytes a toxic meets."""

    REQUESTS = enum.auto()  # from the client to the server
    ANSWERS = enum.auto()
    BOTH = REQUESTS | ANSWERS


@dataclass(frozen=True, slots=True, kw_only=True)
class Latency:
    """Every chunk arrives this much later, plus up to the jitter; order is kept."""

    delay_s: float
    jitter_s: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Bandwidth:
    """A narrow wire."""

    bytes_per_s: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Slicer:
    """Chunks arrive in small pieces with a pause after each."""

    piece_bytes: int
    pause_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Swallow:
    """Bytes vanish while the connection stays: requests, answers, or both (a half-open peer)."""


@dataclass(frozen=True, slots=True)
class Cut:
    """Connections are closed in order (FIN), new ones as soon as they are accepted."""


@dataclass(frozen=True, slots=True)
class Reset:
    """Connections are torn (RST), new ones as soon as they are accepted."""


Toxic: TypeAlias = Latency | Bandwidth | Slicer | Swallow | Cut | Reset


class Proxy:
    """Listens on a loopback port and passes bytes on to `host`:`port`.

    `async with Proxy(...) as proxy`. Without a toxic it is transparent, half-closes included. One
    event loop only. `rng` decides the jitter.
    """

    def __init__(self, host: str, port: int, *, rng: random.Random | None = None) -> None:
        """`host` and `port` are the server's; nothing connects to it before a client comes."""
        self._upstream = (host, port)
        self._rng = rng or random.Random()  # noqa: S311 - jitter
        self._toxic: Toxic | None = None
        self._ways = Way.BOTH
        self._server: asyncio.Server | None = None
        self._connections: set[_Connection] = set()
        self._serving: set[asyncio.Task[None]] = set()
        self.accepted_count = 0
        """Connections accepted so far."""

    @property
    def port(self) -> int:
        """Where clients connect; known once started."""
        assert self._server is not None, "the proxy is not running"  # noqa: S101 misuse
        port: int = self._server.sockets[0].getsockname()[1]
        return port

    @property
    def target(self) -> str:
        """Its address as `host:port`."""
        return f"127.0.0.1:{self.port}"

    async def __aenter__(self) -> Self:
        """Listen."""
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Stop listening and reset whatever is open."""
        assert self._server is not None  # noqa: S101 entered before
        self._server.close()
        self._toxic = Reset()
        await _end(self._connections)
        if self._serving:
            await asyncio.wait(self._serving)
        await self._server.wait_closed()

    async def poison(self, toxic: Toxic, ways: Way = Way.BOTH) -> None:
        """Put a toxic in the place of the present one; it meets open connections too."""
        await self.heal()
        self._toxic, self._ways = toxic, ways
        if isinstance(toxic, Cut | Reset):
            await _end(self._connections, is_reset=isinstance(toxic, Reset))

    async def heal(self) -> None:
        """Be transparent again. Connections of which bytes were swallowed are reset."""
        self._toxic = None
        await _end([each for each in self._connections if each.has_lost_bytes])

    @asynccontextmanager
    async def poisoned(self, toxic: Toxic, ways: Way = Way.BOTH) -> AsyncIterator[None]:
        """A toxic for the length of a block."""
        await self.poison(toxic, ways)
        try:
            yield
        finally:
            await self.heal()

    def toxic_of(self, way: Way) -> Toxic | None:
        """What bytes of this way meet now."""
        return self._toxic if way in self._ways else None

    def delay_s(self, toxic: Latency) -> float:
        """How long this chunk is held back."""
        return toxic.delay_s + self._rng.uniform(0.0, toxic.jitter_s)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.accepted_count += 1
        # The server's own task would be cancelled with nobody to wait for it.
        serving = asyncio.create_task(self._serve(reader, writer))
        self._serving.add(serving)
        serving.add_done_callback(self._serving.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if await self._refuse(writer):
            return
        try:
            up_reader, up_writer = await asyncio.open_connection(*self._upstream)
        except OSError:
            await _close(writer, is_reset=True)
            return
        # The toxic may have come while we were connecting.
        if await self._refuse(writer, up_writer):
            return
        connection = _Connection(self, (reader, writer), (up_reader, up_writer))
        self._connections.add(connection)
        try:
            await connection.run()
        finally:
            self._connections.discard(connection)

    async def _refuse(self, *writers: asyncio.StreamWriter) -> bool:
        """Whether the toxic lets no connection live; then these are closed its way."""
        toxic = self._toxic
        if not isinstance(toxic, Cut | Reset):
            return False
        for writer in writers:
            await _close(writer, is_reset=isinstance(toxic, Reset))
        return True


Streams: TypeAlias = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class _Connection:
    """A client's connection and ours to the server, with a pump each way."""

    def __init__(self, proxy: Proxy, client: Streams, server: Streams) -> None:
        self._proxy = proxy
        self._client = client
        self._server = server
        self._pumps: list[asyncio.Task[None]] = []
        self.has_lost_bytes = False
        self._is_reset = True

    async def run(self) -> None:
        """Pass bytes on until both ends are done, or `end` is called."""
        self._pumps = [
            asyncio.create_task(self._pump(Way.REQUESTS, self._client[0], self._server[1])),
            asyncio.create_task(self._pump(Way.ANSWERS, self._server[0], self._client[1])),
        ]
        try:
            await asyncio.wait(self._pumps, return_when=asyncio.FIRST_EXCEPTION)
        finally:
            for pump in self._pumps:
                pump.cancel()
            await asyncio.wait(self._pumps)
        is_torn = [pump for pump in self._pumps if pump.cancelled() or pump.exception()]
        for _, writer in (self._client, self._server):
            await _close(writer, is_reset=bool(is_torn) and self._is_reset)

    async def end(self, *, is_reset: bool) -> None:
        """Tear or close both sides."""
        self._is_reset = is_reset
        for pump in self._pumps:
            pump.cancel()
        if self._pumps:
            await asyncio.wait(self._pumps)

    async def _pump(
        self, way: Way, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        """Reads as bytes come and writes them when they are due, so that a delay narrows nothing."""
        waiting: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue(CHUNKS_WAITING_MAX)
        async with asyncio.TaskGroup() as group:
            group.create_task(self._receive(way, reader, waiting))
            group.create_task(self._send(way, writer, waiting))

    async def _receive(
        self, way: Way, reader: asyncio.StreamReader, waiting: asyncio.Queue[tuple[float, bytes]]
    ) -> None:
        loop = asyncio.get_running_loop()
        last_due_s = 0.0
        while True:
            chunk = await reader.read(CHUNK_BYTES_MAX)
            toxic = self._proxy.toxic_of(way)
            if isinstance(toxic, Swallow):
                self.has_lost_bytes = True
                if not chunk:
                    return
                continue
            delay_s = self._proxy.delay_s(toxic) if isinstance(toxic, Latency) else 0.0
            last_due_s = max(last_due_s, loop.time() + delay_s)
            await waiting.put((last_due_s, chunk))
            if not chunk:
                return

    async def _send(
        self, way: Way, writer: asyncio.StreamWriter, waiting: asyncio.Queue[tuple[float, bytes]]
    ) -> None:
        loop = asyncio.get_running_loop()
        while True:
            due_s, chunk = await waiting.get()
            if due_s > loop.time():
                await asyncio.sleep(due_s - loop.time())
            if not chunk:
                with contextlib.suppress(OSError):
                    writer.write_eof()
                return
            await self._write(way, writer, chunk)

    async def _write(self, way: Way, writer: asyncio.StreamWriter, chunk: bytes) -> None:
        while chunk:
            toxic = self._proxy.toxic_of(way)
            match toxic:
                case Slicer():
                    piece, pause_s = chunk[: toxic.piece_bytes], toxic.pause_s
                case Bandwidth():
                    # Ten pieces a second keep the flow even.
                    piece = chunk[: max(1, toxic.bytes_per_s // 10)]
                    pause_s = len(piece) / toxic.bytes_per_s
                case _:
                    piece, pause_s = chunk, 0.0
            writer.write(piece)
            await writer.drain()
            chunk = chunk[len(piece) :]
            if pause_s:
                await asyncio.sleep(pause_s)


async def _end(connections: Collection[_Connection], *, is_reset: bool = True) -> None:
    for connection in tuple(connections):
        await connection.end(is_reset=is_reset)


async def _close(writer: asyncio.StreamWriter, *, is_reset: bool) -> None:
    if is_reset:
        raw = writer.get_extra_info("socket")
        with contextlib.suppress(OSError):
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER_RESET)
        writer.transport.abort()
    else:
        writer.close()
    with contextlib.suppress(OSError):
        await writer.wait_closed()
