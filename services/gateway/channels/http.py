"""The one HTTP client through which channels are spoken to: pooled, exact bytes, no retries.

A channel's signature covers bytes, so bytes go out and come back untouched: no content decoding,
no redirects, no proxy from the environment. Whoever calls must know whether anything can have
happened at the other end; that is the difference between the two errors.
"""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Self

import httpx

CONNECT_TIMEOUT_S = 2.0
CALL_TIMEOUT_S = 5.0
CONNECTIONS_MAX = 128
CONNECTIONS_IDLE_MAX = 64
# Shorter than the five seconds after which common servers drop an idle connection, so that a
# charge is rarely written to a connection that the other end is closing.
IDLE_EXPIRY_S = 4.0
ANSWER_BYTES_MAX = 1 << 20

_NEVER_LEFT = (
    httpx.InvalidURL,
    httpx.UnsupportedProtocol,
    httpx.ConnectError,
    httpx.ConnectTimeout,
    httpx.PoolTimeout,
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
        self._client = httpx.AsyncClient(
            http1=True,
            http2=False,
            trust_env=False,
            follow_redirects=False,
            limits=httpx.Limits(
                max_connections=connections_max,
                max_keepalive_connections=min(connections_max, CONNECTIONS_IDLE_MAX),
                keepalive_expiry=IDLE_EXPIRY_S,
            ),
        )

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

        Raises NotSent or NoAnswer; an answer of any status is an answer.
        """
        connect_s = min(CONNECT_TIMEOUT_S, timeout_s)
        try:
            request = self._client.build_request(
                method,
                url,
                content=body,
                headers={"Accept-Encoding": "identity", **headers},
                timeout=httpx.Timeout(timeout_s, connect=connect_s, pool=connect_s),
            )
            async with asyncio.timeout(timeout_s):
                return await self._exchange(request, answer_bytes_max)
        except _NEVER_LEFT as error:
            raise NotSent(_describe(error)) from error
        except (httpx.HTTPError, httpx.StreamError, TimeoutError) as error:
            raise NoAnswer(_describe(error)) from error

    async def _exchange(self, request: httpx.Request, answer_bytes_max: int) -> HttpAnswer:
        response = await self._client.send(request, stream=True)
        try:
            body = bytearray()
            async for chunk in response.aiter_raw():
                body += chunk
                if len(body) > answer_bytes_max:
                    raise NoAnswer(f"the answer is longer than {answer_bytes_max} bytes")
        finally:
            await response.aclose()
        headers = {name.lower(): value for name, value in response.headers.items()}
        return HttpAnswer(status=response.status_code, headers=headers, body=bytes(body))

    async def aclose(self) -> None:
        """Close every connection."""
        await self._client.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.aclose()


def _describe(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}".rstrip(": ")
