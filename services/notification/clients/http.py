"""POST to merchants' endpoints, and only to addresses that may be called.

A name is resolved right before each connection, every address it has is judged, and the connection goes to a judged
address: a name that changes its mind in between gains nothing. Connections are not kept, so none outlives its check.
"""

import asyncio
import socket
import ssl
from collections.abc import Awaitable, Callable, Mapping
from typing import Final

import httpx

from services.notification.domain import errors
from services.notification.domain.delivery import Answer
from services.notification.domain.endpoint import UrlPolicy

USER_AGENT: Final = "Fisc-Webhooks/1"
# Of a name with many addresses, so many are tried; the whole attempt has one deadline.
ADDRESSES_MAX: Final = 3
_PORTS: Final = {"http": 80, "https": 443}

Resolve = Callable[[str, int], Awaitable[list[str]]]


async def resolve(host: str, port: int) -> list[str]:
    """The addresses of a host, as the system knows them. Raises OSError."""
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(entry[4][0]) for entry in found))


class VettedTransport(httpx.AsyncBaseTransport):
    """Resolves, judges, and connects to what it judged; TLS still proves the name."""

    def __init__(
        self, policy: UrlPolicy, *, resolve: Resolve, tls: ssl.SSLContext | None = None
    ) -> None:
        """Without `tls`, certificates are checked against the usual authorities."""
        self._policy = policy
        self._resolve = resolve
        self._inner = httpx.AsyncHTTPTransport(
            verify=tls or True,
            trust_env=False,
            limits=httpx.Limits(max_connections=None, max_keepalive_connections=0),
        )

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send one request. Raises AddressNotPublic before anything is connected."""
        host = request.url.raw_host.decode("ascii")
        port = request.url.port or _PORTS[request.url.scheme]
        addresses = await self._resolve(host, port)
        if not addresses or not all(map(self._policy.permits, addresses)):
            raise errors.AddressNotPublic
        *others, last = addresses[:ADDRESSES_MAX]
        for address in others:
            try:
                return await self._inner.handle_async_request(_pinned(request, host, address))
            except (httpx.ConnectError, httpx.ConnectTimeout):
                continue
        return await self._inner.handle_async_request(_pinned(request, host, last))

    async def aclose(self) -> None:
        """Close what is open."""
        await self._inner.aclose()


class HttpSender:
    """Sends deliveries. Follows no redirect, uses no proxy, keeps no cookie, never reads an answer's body."""

    def __init__(
        self,
        policy: UrlPolicy,
        *,
        timeout_s: float,
        resolve: Resolve = resolve,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        """`timeout_s` is for the whole attempt, from the name to the status line."""
        self._policy = policy
        self._timeout_s = timeout_s
        self._transport = VettedTransport(policy, resolve=resolve, tls=tls)

    async def post(self, url: str, headers: Mapping[str, str], body: bytes) -> Answer:
        """POST once; whatever happens is an answer."""
        try:
            self._policy.check(url)
            request = httpx.Request(
                "POST", url, headers={"user-agent": USER_AGENT, **headers}, content=body
            )
            async with asyncio.timeout(self._timeout_s):
                response = await self._transport.handle_async_request(request)
                await response.aclose()
        except (errors.AddressNotPublic, errors.HttpsRequired) as refusal:
            return Answer(http_status=0, error=refusal.reason)
        except (httpx.InvalidURL, errors.EndpointUrlInvalid, UnicodeError):
            return Answer(http_status=0, error=errors.EndpointUrlInvalid.reason)
        except (httpx.HTTPError, OSError) as error:
            return Answer(http_status=0, error=_reason(error))
        return Answer(http_status=response.status_code)

    async def close(self) -> None:
        """Close what is open."""
        await self._transport.aclose()


def _pinned(request: httpx.Request, host: str, address: str) -> httpx.Request:
    """The same request to an address; the Host header and the name that TLS checks stay."""
    return httpx.Request(
        request.method,
        request.url.copy_with(host=address),
        headers=request.headers,
        stream=request.stream,
        extensions={**request.extensions, "sni_hostname": host},
    )


def _reason(error: httpx.HTTPError | OSError) -> str:
    if isinstance(error, TimeoutError | httpx.TimeoutException):
        return "TIMEOUT"
    if isinstance(error, socket.gaierror):
        return "NAME_NOT_RESOLVED"
    if any(isinstance(cause, ssl.SSLError) for cause in _causes(error)):
        return "TLS_FAILED"
    if isinstance(error, httpx.ConnectError | OSError):
        return "CONNECT_FAILED"
    return "CONNECTION_BROKEN"


def _causes(error: BaseException) -> list[BaseException]:
    causes: list[BaseException] = []
    current: BaseException | None = error
    while current is not None and current not in causes:
        causes.append(current)
        current = current.__cause__ or current.__context__
    return causes
