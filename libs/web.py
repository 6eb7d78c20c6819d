"""Serving HTTP: one application on uvicorn, which ends cleanly on a signal or when cancelled."""

import asyncio
import contextlib
import signal
import socket
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from typing import Final

import uvicorn
from starlette.applications import Starlette
from typing_extensions import override

from libs import ports

BACKLOG: Final = 2_048


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """How connections are treated; `on_stop` runs first when the server ends."""

    protocol: type[asyncio.Protocol] | None = None
    """What speaks HTTP on a connection; None leaves the choice to uvicorn."""
    keep_alive_s: int = 5
    grace_s: int = 2
    """What requests in flight still get at the end."""
    on_stop: Callable[[], None] | None = None


DEFAULT: Final = Options()


async def serve(
    app: Starlette,
    *,
    service: str,
    host: str,
    port: int,
    options: Options = DEFAULT,
    handles_signals: bool = True,
) -> None:
    """Serve until SIGTERM or SIGINT, then return; or until cancelled, when it ends the same way.

    First on_stop runs, then requests in flight get their grace, then the lifespan ends. Without
    handles_signals the process's signals are left to others. Exits 2 when the port is taken.
    """
    with ports.needed(service, host, port):
        listener = _listen(host, port)
    server = _Server(_config(app, options), options, handles_signals=handles_signals)
    await server.serve_on(listener)


@contextlib.asynccontextmanager
async def running(
    app: Starlette, *, host: str = "127.0.0.1", port: int = 0, options: Options = DEFAULT
) -> AsyncIterator[str]:
    """Serve inside the block and leave signals alone; yields the URL. Port 0 means a free one.

    Raises OSError when the port is taken.
    """
    listener = _listen(host, port)
    bound_port = listener.getsockname()[1]
    server = _Server(_config(app, options), options, handles_signals=False)
    task = asyncio.create_task(server.serve_on(listener))
    try:
        yield f"http://{host}:{bound_port}"
    finally:
        server.should_exit = True
        await task


class _Server(uvicorn.Server):
    """uvicorn without its own ideas about signals."""

    def __init__(self, config: uvicorn.Config, options: Options, *, handles_signals: bool) -> None:
        super().__init__(config)
        self._on_stop = options.on_stop
        self._handles_signals = handles_signals

    async def serve_on(self, listener: socket.socket) -> None:
        """Serve on a listening socket, which is closed in the end."""
        with listener:
            try:
                await self.serve([listener])
            except asyncio.CancelledError:
                if self.started:
                    await self.shutdown([listener])
                raise

    @override
    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        # uvicorn would raise the signal again in the end: not a clean exit status.
        loop = asyncio.get_running_loop()
        numbers = (signal.SIGTERM, signal.SIGINT) if self._handles_signals else ()
        for number in numbers:
            loop.add_signal_handler(number, self.handle_exit, number, None)
        try:
            yield
        finally:
            for number in numbers:
                loop.remove_signal_handler(number)

    @override
    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        if self._on_stop is not None:
            self._on_stop()
        await super().shutdown(sockets)


def _listen(host: str, port: int) -> socket.socket:
    """Listen before the application starts, so that a taken port costs nothing."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    return socket.create_server((host, port), family=family, backlog=BACKLOG)


def _config(app: Starlette, options: Options) -> uvicorn.Config:
    return uvicorn.Config(
        app,
        http=options.protocol or "auto",
        ws="none",
        lifespan="on",
        access_log=False,
        log_config=None,
        proxy_headers=False,
        server_header=False,
        backlog=BACKLOG,
        timeout_keep_alive=options.keep_alive_s,
        timeout_graceful_shutdown=options.grace_s,
    )
