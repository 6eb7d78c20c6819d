"""The payer's view at `/`: orders to pay, money reserved, payouts to send back, the accounts."""

from collections.abc import Callable
from pathlib import Path
from urllib.parse import parse_qs

import jinja2
from starlette.requests import Request
from starlette.responses import HTMLResponse, PlainTextResponse, RedirectResponse, Response
from starlette.routing import Route

from libs.money import Money
from services.sandbox.control import is_loopback
from services.sandbox.errors import OrderUnknown, PayoutUnknown
from services.sandbox.exchange import Exchange
from services.sandbox.faults import FaultBoard
from services.sandbox.records import Account, Order, Payout

ORDERS_SHOWN = 100
PAYOUTS_SHOWN = 20
_SEE_OTHER = 303


class Page:
    """The page and the forms behind its buttons."""

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
            Route("/return", self._return, methods=["POST"]),
        ]

    async def _show(self, _: Request) -> Response:
        self._exchange.release_expired()
        book = self._exchange.book
        reserved = book.select(
            Order,
            "WHERE status = 'AUTHORIZED' ORDER BY authorized_until DESC LIMIT ?",
            ORDERS_SHOWN,
        )
        payouts = book.select(
            Payout,
            "WHERE status IN ('SUCCEEDED', 'RETURNED') ORDER BY finished_at DESC LIMIT ?",
            PAYOUTS_SHOWN,
        )
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
            self._template.render(
                orders=orders,
                reserved=reserved,
                payouts=payouts,
                accounts=accounts,
                now=now,
                amount=_amount,
            )
        )

    async def _pay(self, request: Request) -> Response:
        return await self._press(request, self._exchange.pay)

    async def _return(self, request: Request) -> Response:
        return await self._press(
            request,
            lambda account, out_ref: self._exchange.payouts.send_back(account.account_id, out_ref),
        )

    async def _press(self, request: Request, act: Callable[[Account, str], object]) -> Response:
        if not (self._open_to_all or is_loopback(request)):
            return PlainTextResponse("only from this machine", 403)
        form = parse_qs((await request.body()).decode(errors="replace"))
        account = self._exchange.book.account(form.get("account_id", [""])[0])
        if account is None:
            return PlainTextResponse("no such account", 404)
        try:
            act(account, form.get("out_ref", [""])[0])
        except (OrderUnknown, PayoutUnknown):
            return PlainTextResponse("no such order or payout", 404)
        return RedirectResponse("/", _SEE_OTHER)


def _amount(amount_minor: int, currency: str) -> str:
    return f"{Money(currency, amount_minor).format()} {currency}"
