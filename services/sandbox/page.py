"""The payer's view at `/`: orders that wait for a payer, each with a button, and the accounts."""

from pathlib import Path
from urllib.parse import parse_qs

import jinja2
from starlette.requests import Request
from starlette.responses import HTMLResponse, PlainTextResponse, RedirectResponse, Response
from starlette.routing import Route

from libs.money import Money
from services.sandbox.control import is_loopback
from services.sandbox.exchange import Exchange, OrderUnknown
from services.sandbox.faults import FaultBoard
from services.sandbox.records import Order

ORDERS_SHOWN = 100
_SEE_OTHER = 303


class Page:
    """The page and the form behind its buttons."""

    def __init__(self, *, exchange: Exchange, faults: FaultBoard, open_to_all: bool) -> None:
        self._exchange = exchange
        self._faults = faults
        self._open_to_all = open_to_all
        environment = jinja2.Environment(autoescape=True)
        source = Path(__file__).with_name("page.html").read_text("utf-8")
        self._template = environment.from_string(source)

    def routes(self) -> list[Route]:
        """What to add to the application."""
        return [
            Route("/", self._show, methods=["GET"]),
            Route("/pay", self._pay, methods=["POST"]),
        ]

    async def _show(self, _: Request) -> Response:
        book = self._exchange.book
        orders = book.select(
            Order, "WHERE status = 'PENDING' ORDER BY created_at DESC LIMIT ?", ORDERS_SHOWN
        )
        accounts = [
            (
                account,
                book.available(account.account_id, account.profile.currency),
                ", ".join(
                    fault.fault
                    for fault in self._faults.standing()
                    if fault.account_id == account.account_id
                ),
            )
            for account in book.accounts()
        ]
        now = self._exchange.clock.now().strftime("%Y-%m-%d %H:%M:%S")
        return HTMLResponse(
            self._template.render(orders=orders, accounts=accounts, now=now, amount=_amount)
        )

    async def _pay(self, request: Request) -> Response:
        if not (self._open_to_all or is_loopback(request)):
            return PlainTextResponse("only from this machine", 403)
        form = parse_qs((await request.body()).decode(errors="replace"))
        account = self._exchange.book.account(form.get("account_id", [""])[0])
        if account is None:
            return PlainTextResponse("no such account", 404)
        try:
            self._exchange.pay(account, form.get("out_ref", [""])[0])
        except OrderUnknown:
            return PlainTextResponse("no such order", 404)
        return RedirectResponse("/", _SEE_OTHER)


def _amount(amount_minor: int, currency: str) -> str:
    return f"{Money(currency, amount_minor).format()} {currency}"
