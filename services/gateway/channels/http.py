"""The one HTTP client through which channels are spoken to: pooled, exact bytes, no retries.

A channel's signature covers bytes, so bytes go out and come back untouched: no content decoding,
no redirects, no cookies, no proxy from the environment. Whoever calls must know whether anything
can have happened at the other end; that is the difference between the two errors.
"""

import asyncio
import select
import weakref
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Self

import aiohttp
import yarl
from aiohttp.client_proto import ResponseHandler
from aiohttp.connector import Connection
from aiohttp.tracing import Trace

CONNECT_TIMEOUT_S = 2.0
CALL_TIMEOUT_S = 5.0
# More than all channels may have under way together (each has its own bound), so that no channel waits for another.
CONNECTIONS_MAX = 1024
# Shorter than the five seconds after which common servers drop an idle connection, so that a
# charge is rarely written to a connection that the other end is closing.
IDLE_EXPIRY_S = 4.0
ANSWER_BYTES_MAX = 1 << 20
# One header of an answer, or its status line.
ANSWER_LINE_BYTES_MAX = 1 << 16

_NEVER_LEFT = (
    aiohttp.InvalidURL,
    aiohttp.NonHttpUrlClientError,
    aiohttp.ClientConnectorError,
    aiohttp.ConnectionTimeoutError,
)


class NotSent(Exception):
    """No connection was made: nothing left us, so nothing can have happened."""


class NoAnswer(Exception):
    """The request may have arrived, but no complete answer came back."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpAnswer:
    """A complete answer as it stood on the wire; header names are lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class ChannelHttp:
    """A connection pool for all channels. Safe for concurrent use in one event loop."""

    def __init__(self, *, connections_max: int = CONNECTIONS_MAX) -> None:
        self._connections_max = connections_max
        self._opened: aiohttp.ClientSession | None = None
        self._is_closed = False

    async def send(
        self,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str],
        body: bytes = b"",
        timeout_s: float = CALL_TIMEOUT_S,
        answer_bytes_max: int = ANSWER_BYTES_MAX,
    ) -> HttpAnswer:
        """Send exactly `body` and return the whole answer, within `timeout_s` seconds.

        `url` goes out as it stands, so it must be percent-encoded already.
        Raises NotSent or NoAnswer; an answer of any status is an answer.
        """
        target = _parse(url)
        try:
            async with (
                asyncio.timeout(timeout_s),
                self._session.request(
                    method,
                    target,
                    data=body or None,
                    headers={"Accept-Encoding": "identity", **headers},
                    allow_redirects=False,
                    timeout=aiohttp.ClientTimeout(connect=min(CONNECT_TIMEOUT_S, timeout_s)),
                ) as response,
            ):
                return await _read(response, answer_bytes_max)
        except _NEVER_LEFT as error:
            raise NotSent(_describe(error)) from error
        # A header or a method that would break the message apart is refused with a ValueError.
        except (aiohttp.ClientError, OSError, ValueError) as error:
            raise NoAnswer(_describe(error)) from error

    @property
    def _session(self) -> aiohttp.ClientSession:
        """Opened by the first call, since it belongs to the event loop that is running then."""
        if self._is_closed:
            raise RuntimeError("the client is closed")
        if self._opened is None:
            self._opened = aiohttp.ClientSession(
                connector=_QuietConnector(connections_max=self._connections_max),
                middlewares=(_send_once,),
                cookie_jar=aiohttp.DummyCookieJar(),
                skip_auto_headers=("Content-Type",),
                auto_decompress=False,
                trust_env=False,
                max_line_size=ANSWER_LINE_BYTES_MAX,
                max_field_size=ANSWER_LINE_BYTES_MAX,
            )
        return self._opened

    async def aclose(self) -> None:
        """Close every connection."""
        self._is_closed = True
        if self._opened is not None:
            await self._opened.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.aclose()


class _QuietConnector(aiohttp.TCPConnector):
    """Reuses an idle connection only while the other end has kept quiet on it.

    What came unasked is the end of the connection, or an answer that the next request would
    take for its own.
    """

    def __init__(self, *, connections_max: int) -> None:
        super().__init__(
            limit=connections_max, keepalive_timeout=IDLE_EXPIRY_S, use_dns_cache=False
        )
        self._used = weakref.WeakSet[ResponseHandler]()

    async def connect(
        self, req: aiohttp.ClientRequest, traces: list[Trace], timeout: aiohttp.ClientTimeout
    ) -> Connection:
        """As aiohttp's, which notices only an end that the event loop has already seen.

        Raises NotSent, besides what aiohttp raises, for a host name that cannot be looked up.
        """
        while True:
            try:
                connection = await super().connect(req, traces, timeout)
            except UnicodeError as error:
                raise NotSent(_describe(error)) from error
            protocol = connection.protocol
            if protocol is None or self._is_new(protocol) or _is_quiet(protocol):
                return connection
            connection.close()

    def _is_new(self, protocol: ResponseHandler) -> bool:
        """Whether this is its first use; a server that greets every connection is not closed on."""
        if protocol in self._used:
            return False
        self._used.add(protocol)
        return True


async def _send_once(
    request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType
) -> aiohttp.ClientResponse:
    """Hides a lost connection from aiohttp, which would send GET, PUT and DELETE a second time."""
    try:
        return await handler(request)
    except aiohttp.ClientConnectorError:
        raise
    except (aiohttp.ClientOSError, aiohttp.ServerDisconnectedError) as error:
        raise NoAnswer(_describe(error)) from error


def _is_quiet(protocol: ResponseHandler) -> bool:
    """Whether nothing has come, neither read by the event loop already nor still in the socket."""
    transport = protocol.transport
    if transport is None or len(protocol) > 0:
        return False
    poll = select.poll()
    poll.register(transport.get_extra_info("socket"), select.POLLIN)
    return not poll.poll(0)


def _parse(url: str) -> yarl.URL:
    """Raises NotSent for what cannot stand in a request as it is."""
    if not (url.isascii() and url.isprintable() and " " not in url):
        raise NotSent("InvalidURL: the address is not percent-encoded")
    try:
        parsed = yarl.URL(url, encoded=True)
        # yarl looks at the port only when it is asked for.
        if parsed.host is None or parsed.port is None:
            raise NotSent("InvalidURL: no host or no port")
    except ValueError as error:
        raise NotSent(f"InvalidURL: {error}") from error
    return parsed


async def _read(response: aiohttp.ClientResponse, answer_bytes_max: int) -> HttpAnswer:
    body = bytearray()
    async for chunk in response.content.iter_any():
        body += chunk
        if len(body) > answer_bytes_max:
            raise NoAnswer(f"the answer is longer than {answer_bytes_max} bytes")
    headers = _decode(response.raw_headers)
    return HttpAnswer(status=response.status, headers=headers, body=bytes(body))


def _decode(raw_headers: Iterable[tuple[bytes, bytes]]) -> dict[str, str]:
    """Lower-case names; a header that came more than once is one list (RFC 9110, 5.3)."""
    headers: dict[str, str] = {}
    for raw_name, raw_value in raw_headers:
        name, value = _text(raw_name).lower(), _text(raw_value)
        headers[name] = f"{headers[name]}, {value}" if name in headers else value
    return headers


def _text(raw: bytes) -> str:
    try:
        return raw.decode()
    except UnicodeDecodeError:
        return raw.decode("latin-1")


def _describe(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}".rstrip(": ")
