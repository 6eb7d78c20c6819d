"""Server-sent events: the fragments of a page that have changed, as they change."""

import asyncio
from collections.abc import AsyncIterator
from datetime import date
from typing import Final

import orjson
from starlette.responses import Response, StreamingResponse

from services.cockpit.handlers.render import Renderer
from services.cockpit.usecases import Cockpit

READERS_MAX: Final = 200
# Changes are gathered this long, so that a burst of payments is drawn a few times, not each.
PUSH_INTERVAL_S: Final = 0.4
HEARTBEAT_INTERVAL_S: Final = 10.0
RECONNECT_DELAY_MS: Final = 1_500
BUSY_STATUS: Final = 503


class LiveStream:
    """Serves any number of readers up to READERS_MAX; `close` ends all streams."""

    def __init__(self, cockpit: Cockpit, renderer: Renderer) -> None:
        """Readers share the renderer's work."""
        self._cockpit = cockpit
        self._renderer = renderer
        self._closing = False
        self._readers = 0

    def close(self) -> None:
        """Let every stream end, so that the server can stop; readers come back by themselves."""
        self._closing = True
        self._cockpit.wake()

    def respond(self, day: date | None) -> Response:
        """A stream of fragments for a day; None follows the latest."""
        if self._readers >= READERS_MAX:
            return Response("too many readers", BUSY_STATUS, headers={"Retry-After": "5"})
        return StreamingResponse(self._counted(day), media_type="text/event-stream")

    async def _counted(self, day: date | None) -> AsyncIterator[bytes]:
        self._readers += 1
        try:
            async for message in self._messages(day):
                yield message
        finally:
            self._readers -= 1

    async def _messages(self, day: date | None) -> AsyncIterator[bytes]:
        """First all fragments, for the reader may have missed some; then those that change."""
        yield f"retry: {RECONNECT_DELAY_MS}\n\n".encode()
        sent: dict[str, str] = {}
        while not self._closing:
            self._cockpit.watch(day or self._cockpit.latest_day())
            revision = self._cockpit.revision
            for name, html in self._renderer.fragments(day).items():
                if sent.get(name) != html:
                    sent[name] = html
                    yield _message(name, html)
            await asyncio.sleep(PUSH_INTERVAL_S)
            if not await self._cockpit.wait_for_change(revision, HEARTBEAT_INTERVAL_S):
                yield b": still here\n\n"


def _message(name: str, html: str) -> bytes:
    return b"event: fragment\ndata: " + orjson.dumps({"id": name, "html": html}) + b"\n\n"
