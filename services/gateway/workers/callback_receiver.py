"""The HTTP door for channels' notifications: POST /callbacks/{channel_id}."""

import asyncio
from collections.abc import Awaitable, Callable

import prometheus_client
from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from libs import web
from libs.errors import FiscError
from libs.log import get_logger
from services.gateway.domain.errors import ChannelNotFound
from services.gateway.usecases.callbacks import Callbacks

BODY_BYTES_MAX = 64 * 1024
APPLY_TIMEOUT_S = 10.0
GRACE_S = 3

# A channel's notification is one small message; who takes longer to send it only holds a place.
BODY_TIMEOUT_S = 5.0
BODY_TOO_LARGE, BODY_TOO_SLOW, BODY_INCOMPLETE = (
    "BODY_TOO_LARGE",
    "BODY_TOO_SLOW",
    "BODY_INCOMPLETE",
)
TRY_AGAIN = "TRY_AGAIN"

_log = get_logger()

# Without a channel: what is refused here has not shown that it comes from one.
refused = prometheus_client.Counter(
    "callback_requests_refused_total", "Requests at the door that were not read.", ["reason"]
)


def app(callbacks: Callbacks) -> Starlette:
    """The ASGI application."""

    async def receive(request: Request) -> Response:
        try:
            async with asyncio.timeout(BODY_TIMEOUT_S):
                body = await _body(request)
        except TimeoutError:
            return _refused(BODY_TOO_SLOW, 408)
        except ClientDisconnect:
            return _refused(BODY_INCOMPLETE, 400)
        if body is None:
            return _refused(BODY_TOO_LARGE, 413)
        headers = {name.lower(): value for name, value in request.headers.items()}
        try:
            async with asyncio.timeout(APPLY_TIMEOUT_S):
                ack = await callbacks.receive(request.path_params["channel_id"], headers, body)
        except ChannelNotFound:
            return _refused(ChannelNotFound.reason, 404)
        except (FiscError, TimeoutError) as error:
            # Not applied now: the channel will notify again.
            _log.warning("callback postponed", error=repr(error))
            return _refused(TRY_AGAIN, 503)
        return Response(ack.body, status_code=ack.status, media_type=ack.content_type)

    async def health(_: Request) -> Response:
        return PlainTextResponse("ok")

    return Starlette(
        routes=[
            Route("/callbacks/{channel_id}", receive, methods=["POST"]),
            Route("/healthz", health),
        ]
    )


def serving(callbacks: Callbacks, host: str, port: int) -> Callable[[], Awaitable[None]]:
    """A background loop that serves the door until it is cancelled."""

    async def serve() -> None:
        # The process's signals belong to the RPC server's drain, which cancels this loop.
        await web.serve(
            app(callbacks),
            service="gateway",
            host=host,
            port=port,
            options=web.Options(grace_s=GRACE_S),
            handles_signals=False,
        )

    return serve


def _refused(reason: str, status: int) -> Response:
    refused.labels(reason).inc()
    return JSONResponse({"code": reason}, status_code=status)


async def _body(request: Request) -> bytes | None:
    """The raw body; None when it is larger than any channel's notification."""
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > BODY_BYTES_MAX:
            return None
    return bytes(body)
