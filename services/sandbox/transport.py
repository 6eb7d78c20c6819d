"""Two answers HTTP has no words for: hanging up, and never answering.

uvicorn gives an application no handle on its connection, so the protocol adds one to the scope.
"""

import asyncio
from typing import Any, Final

from starlette.responses import Response
from starlette.types import Receive, Scope, Send
from typing_extensions import override
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from libs import web

HANG_UP = "fisc.hang_up"
HOLD_MAX_S = 60.0
# Longer than clients keep idle connections, so that no request meets a connection being closed.
KEEP_ALIVE_S = 75


class HangUpProtocol(HttpToolsProtocol):
    """HTTP/1.1 whose scope carries `extensions["fisc.hang_up"]`: drop the connection now."""

    @override
    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        inner = self.app

        async def app(scope: Any, receive: Any, send: Any) -> None:
            scope.setdefault("extensions", {})[HANG_UP] = transport.abort
            await inner(scope, receive, send)

        self.app = app


OPTIONS: Final = web.Options(protocol=HangUpProtocol, keep_alive_s=KEEP_ALIVE_S)


class HangUp(Response):
    """Drops the connection without a byte of answer, as a dead channel does."""

    @override
    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        del send  # nothing is said
        scope["extensions"][HANG_UP]()
        while (await receive())["type"] != "http.disconnect":
            continue


class NeverAnswer(Response):
    """Holds the connection open until the caller gives up, at most a minute; then hangs up."""

    @override
    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            async with asyncio.timeout(HOLD_MAX_S):
                while (await receive())["type"] != "http.disconnect":
                    continue
        except TimeoutError:
            await HangUp()(scope, receive, send)
