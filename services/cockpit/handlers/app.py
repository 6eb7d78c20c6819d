"""The web application: routes, security headers, and what to answer when something is missing."""

import re
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from datetime import date
from pathlib import Path
from typing import Final

from starlette.applications import Starlette
from starlette.datastructures import MutableHeaders
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import HTMLResponse, PlainTextResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from libs.errors import ErrorKind, FiscError
from services.cockpit.domain import days
from services.cockpit.handlers.live import LiveStream
from services.cockpit.handlers.render import Renderer
from services.cockpit.usecases import Cockpit

STATIC: Final = Path(__file__).parent / "static"
BAD_REQUEST: Final = 400
NOT_FOUND: Final = 404
UNAVAILABLE: Final = 503
SECURITY_HEADERS: Final = {
    "Content-Security-Policy": (
        "default-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'; "
        "object-src 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
}
_SUBJECT_ID: Final = re.compile(r"[a-z]+_[A-Za-z0-9]{1,64}", re.ASCII)

Background = Callable[[], AbstractAsyncContextManager[None]]


def build(cockpit: Cockpit, *, background: Background) -> Starlette:
    """The application; its lifespan runs `background`. `app.state.live` is its LiveStream."""
    pages = Pages(cockpit)

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        async with background():
            yield

    app = Starlette(
        routes=[
            Route("/", pages.home, methods=["GET"]),
            Route("/live", pages.live, methods=["GET"]),
            Route("/payments/{subject_id}", pages.subject, methods=["GET"]),
            Route("/healthz", healthz, methods=["GET"]),
            Mount("/static", StaticFiles(directory=STATIC)),
        ],
        middleware=[Middleware(SecurityHeaders)],
        lifespan=lifespan,
    )
    app.state.live = pages.stream
    return app


async def healthz(_: Request) -> Response:
    """Alive as soon as it listens: a service that is down is no reason to restart the cockpit."""
    return PlainTextResponse("ok\n")


class Pages:
    """The routes."""

    def __init__(self, cockpit: Cockpit) -> None:
        """Draw this cockpit."""
        self._cockpit = cockpit
        self._renderer = Renderer(cockpit)
        self.stream = LiveStream(cockpit, self._renderer)

    async def home(self, request: Request) -> Response:
        """The page of one business day, `?day=YYYY-MM-DD`, or of the latest."""
        try:
            day = _day(request)
        except ValueError:
            return self._bad_day()
        shown = day or self._cockpit.latest_day()
        if not self._cockpit.has_settlement(shown):
            await self._cockpit.refresh_settlement(shown)
        return HTMLResponse(self._renderer.home(day))

    async def live(self, request: Request) -> Response:
        """The stream behind the page, for the same `?day=`."""
        try:
            return self.stream.respond(_day(request))
        except ValueError:
            return self._bad_day()

    async def subject(self, request: Request) -> Response:
        """Evidence of one payment, refund or payout."""
        subject_id = request.path_params["subject_id"]
        if not _SUBJECT_ID.fullmatch(subject_id):
            return self._message("Not found", "This is no id of a payment.", NOT_FOUND)
        try:
            evidence = await self._cockpit.evidence(subject_id)
        except FiscError as error:
            if error.kind in {ErrorKind.NOT_FOUND, ErrorKind.INVALID}:
                text = f"The gateway knows nothing by the id {subject_id}."
                return self._message("Not found", text, NOT_FOUND)
            text = f"The gateway does not answer now ({error.reason}). Try again in a moment."
            return self._message("Gateway is down", text, UNAVAILABLE)
        return HTMLResponse(self._renderer.subject(evidence))

    def _bad_day(self) -> Response:
        return self._message("Bad request", "A day is written YYYY-MM-DD.", BAD_REQUEST)

    def _message(self, title: str, text: str, status: int) -> Response:
        return HTMLResponse(self._renderer.message(title, text), status)


class SecurityHeaders:
    """Adds SECURITY_HEADERS to every answer; a header that a route set itself stays."""

    def __init__(self, app: ASGIApp) -> None:
        """Wrap an application."""
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass everything through."""

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in SECURITY_HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        await self._app(scope, receive, send_with_headers)


def _day(request: Request) -> date | None:
    text = request.query_params.get("day", "")
    return days.parse(text) if text else None
