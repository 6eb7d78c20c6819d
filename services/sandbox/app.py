"""Puts the sandbox together: book, clock, faults, the providers there are, control, page, as one app."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Mount, Route

from services.sandbox import gate
from services.sandbox.book import Book
from services.sandbox.chance import Chance
from services.sandbox.clock import BusinessClock
from services.sandbox.control import Control
from services.sandbox.exchange import Exchange
from services.sandbox.fate import Fate
from services.sandbox.faults import FaultBoard
from services.sandbox.notifier import Notifier
from services.sandbox.page import Page
from services.sandbox.provider import Busy, House, Options
from services.sandbox.registry import PROVIDERS

__all__ = ["Options", "build"]

BOOK_FILE = "sandbox.sqlite3"
_CLOCK_OFFSET = "clock_offset_ms"


def build(data_dir: Path, options: Options) -> Starlette:
    """The application over the book in `data_dir`. Its lifespan delivers callbacks."""
    book = Book(data_dir / BOOK_FILE)
    clock = BusinessClock(
        int(book.meta(_CLOCK_OFFSET, "0")),
        on_change=lambda offset_ms: book.set_meta(_CLOCK_OFFSET, str(offset_ms)),
    )
    faults = FaultBoard(book, clock)
    habits = {name: provider.habits for name, provider in PROVIDERS.items()}
    fate = Fate(Chance(options.seed), habits)
    notifier = Notifier(book=book, faults=faults, backoff_s=options.callback_backoff_s)
    exchange = Exchange(book=book, clock=clock, fate=fate, notifier=notifier)
    house = House(
        exchange=exchange,
        gate=gate.Gate(faults, fate),
        faults=faults,
        data_dir=data_dir,
        options=options,
    )
    players = {name: provider.play(house) for name, provider in PROVIDERS.items()}
    notifier.renderers = {name: player.letter for name, player in players.items()}
    control = Control(
        exchange=exchange,
        faults=faults,
        notifier=notifier,
        players=players,
        open_to_all=options.control_open,
    )
    page = Page(exchange=exchange, faults=faults, open_to_all=options.control_open)

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        exchange.start()
        tasks = [asyncio.create_task(notifier.run(), name="callbacks")]
        for name, player in players.items():
            if isinstance(player, Busy):
                tasks.append(asyncio.create_task(player.run(), name=name))
        yield
        exchange.stop()
        for task in tasks:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task
        book.close()

    async def healthz(_: Request) -> Response:
        running = any(task.get_name() == "callbacks" for task in asyncio.all_tasks())
        return JSONResponse({"status": "ok" if running else "failing"}, 200 if running else 503)

    routes = [
        Route("/healthz", healthz, methods=["GET"]),
        *page.routes(),
        control.routes(),
        *(Mount(f"/{name}", routes=player.routes()) for name, player in players.items()),
    ]
    return Starlette(routes=routes, lifespan=lifespan)
