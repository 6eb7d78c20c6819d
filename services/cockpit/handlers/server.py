"""The HTTP server: uvicorn, ending cleanly on a signal although streams are open."""

import asyncio
import contextlib
import signal
import socket
from collections.abc import Iterator

import uvicorn
from starlette.applications import Starlette
from typing_extensions import override

SHUTDOWN_GRACE_S = 2


class Server(uvicorn.Server):
    """Ends with status 0 on SIGTERM or SIGINT: first the live streams, then the rest."""

    @override
    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            with contextlib.suppress(ValueError):  # not the main thread: the caller ends us
                loop.add_signal_handler(number, self.handle_exit, number, None)
        yield

    @override
    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        app = self.config.app
        if isinstance(app, Starlette):
            app.state.live.close()
        await super().shutdown(sockets)

    @property
    def port(self) -> int:
        """The port that was bound; useful after asking for port 0."""
        return int(self.servers[0].sockets[0].getsockname()[1])


def build(app: Starlette, host: str, port: int) -> Server:
    """A server for the application; `serve()` runs it."""
    return Server(
        uvicorn.Config(
            app,
            host=host,
            port=port,
            ws="none",
            lifespan="on",
            access_log=False,
            log_config=None,
            proxy_headers=False,
            server_header=False,
            timeout_graceful_shutdown=SHUTDOWN_GRACE_S,
        )
    )
