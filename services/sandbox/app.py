"""Puts the sandbox together: book, clock, faults, the two providers, control, page, as one app."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from services.sandbox import crypto, gate
from services.sandbox.book import Book
from services.sandbox.chance import Chance
from services.sandbox.clock import BusinessClock
from services.sandbox.control import Control
from services.sandbox.exchange import Exchange
from services.sandbox.fate import Fate
from services.sandbox.faults import FaultBoard
from services.sandbox.notifier import Notifier
from services.sandbox.page import Page
from services.sandbox.simpay import Simpay
from services.sandbox.wechat import WechatPay
from services.sandbox.wechat_bills import TradeBills

BOOK_FILE = "sandbox.sqlite3"
KEY_FILE = "wechat_platform_key.pem"
_CLOCK_OFFSET = "clock_offset_ms"


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """How the sandbox behaves; see the settings of the same names."""

    seed: str = "fisc"
    callback_backoff_s: Sequence[float] = (0.25, 1.0, 3.0, 10.0, 30.0)
    bill_ready_hour: int = 0
    bill_byte_order_mark: bool = True
    control_open: bool = False


def build(data_dir: Path, options: Options) -> Starlette:
    """The application over the book in `data_dir`. Its lifespan delivers callbacks."""
    book = Book(data_dir / BOOK_FILE)
    key = crypto.PlatformKey(data_dir / KEY_FILE)
    clock = BusinessClock(
        int(book.meta(_CLOCK_OFFSET, "0")),
        on_change=lambda offset_ms: book.set_meta(_CLOCK_OFFSET, str(offset_ms)),
    )
    faults = FaultBoard(book, clock)
    fate = Fate(Chance(options.seed))
    notifier = Notifier(book=book, faults=faults, backoff_s=options.callback_backoff_s)
    exchange = Exchange(book=book, clock=clock, fate=fate, notifier=notifier)
    entry = gate.Gate(faults, fate)
    simpay = Simpay(exchange=exchange, entry=entry, faults=faults)
    trade_bills = TradeBills(
        book=book,
        clock=clock,
        faults=faults,
        ready_hour=options.bill_ready_hour,
        byte_order_mark=options.bill_byte_order_mark,
    )
    wechat = WechatPay(exchange=exchange, entry=entry, key=key, trade_bills=trade_bills)
    notifier.renderers = {"simpay": simpay.letter, "wechat": wechat.letter}
    control = Control(
        exchange=exchange,
        faults=faults,
        notifier=notifier,
        wechat=wechat,
        key=key,
        open_to_all=options.control_open,
    )
    page = Page(exchange=exchange, faults=faults, open_to_all=options.control_open)

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        exchange.start()
        deliveries = asyncio.create_task(notifier.run(), name="callbacks")
        yield
        exchange.stop()
        deliveries.cancel()
        with suppress(asyncio.CancelledError):
            await deliveries
        book.close()

    async def healthz(_: Request) -> Response:
        running = any(task.get_name() == "callbacks" for task in asyncio.all_tasks())
        return JSONResponse({"status": "ok" if running else "failing"}, 200 if running else 503)

    routes = [
        Route("/healthz", healthz, methods=["GET"]),
        *page.routes(),
        control.routes(),
        simpay.routes(),
        wechat.routes(),
    ]
    return Starlette(routes=routes, lifespan=lifespan)
