"""The control API under `/control`: accounts, clock, faults, payers, and the book to check against.

It is for tests and demonstrations on the same machine, without authentication; so it answers only
callers on the loopback interface unless told otherwise.
"""

import ipaddress
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import httpx
import orjson
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Mount, Route

from services.sandbox.clock import parse_day, real_now, rfc3339
from services.sandbox.errors import OrderUnknown, PayoutUnknown
from services.sandbox.exchange import Exchange
from services.sandbox.faults import FaultBoard, FaultName
from services.sandbox.gate import Failing
from services.sandbox.notifier import DELIVERY_TIMEOUT_S, Notifier
from services.sandbox.provider import Player
from services.sandbox.records import Account, Callback, Order
from services.sandbox.registry import PROVIDERS
from services.sandbox.validation import bad_param, parse

LATENCY_MAX_MS = 120_000
CALLBACKS_SHOWN = 1000

Json = dict[str, Any] | list[dict[str, Any]]
Handler = Callable[[Request], Awaitable[Json]]


class _Body(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class ClockBody(_Body):
    """POST /control/clock."""

    now: AwareDatetime | None


class FaultBody(_Body):
    """POST /control/faults."""

    account_id: str
    fault: FaultName
    count: int | None = Field(default=None, ge=1)
    out_ref: str | None = None
    operation: str | None = None
    latency_ms: int = Field(default=0, ge=0, le=LATENCY_MAX_MS)


class PayBody(_Body):
    """POST /control/pay."""

    account_id: str
    out_ref: str
    late: bool = False


class ReturnBody(_Body):
    """POST /control/return."""

    account_id: str
    out_ref: str


class SigntestBody(_Body):
    """POST /control/signtest. Without `notify_url`, that of the account's latest order."""

    account_id: str
    notify_url: str = ""


class Control:
    """Everything under `/control`."""

    def __init__(
        self,
        *,
        exchange: Exchange,
        faults: FaultBoard,
        notifier: Notifier,
        players: Mapping[str, Player],
        open_to_all: bool,
    ) -> None:
        self._exchange = exchange
        self._book = exchange.book
        self._faults = faults
        self._notifier = notifier
        self._players = players
        self._open_to_all = open_to_all

    def routes(self) -> Mount:
        """What to mount in the application."""
        table: list[tuple[str, str, Handler]] = [
            ("POST", "/accounts", self._register),
            ("GET", "/accounts", self._accounts),
            ("POST", "/clock", self._set_clock),
            ("GET", "/clock", self._clock),
            ("POST", "/faults", self._add_fault),
            ("GET", "/faults", self._list_faults),
            ("DELETE", "/faults", self._clear_faults),
            ("POST", "/pay", self._pay),
            ("POST", "/return", self._return),
            ("POST", "/signtest", self._signtest),
            ("GET", "/book", self._show_book),
            ("GET", "/callbacks", self._callbacks),
            ("GET", "/health", self._health),
        ]
        return Mount(
            "/control",
            routes=[
                Route(path, self._endpoint(handler), methods=[method])
                for method, path, handler in table
            ],
        )

    def _endpoint(self, handler: Handler) -> Callable[[Request], Awaitable[Response]]:
        async def endpoint(request: Request) -> Response:
            status, content = 200, None
            try:
                self._check_caller(request)
                content = await handler(request)
            except Failing as failing:
                status, content = failing.status, failing.body()
            return Response(orjson.dumps(content), status, media_type="application/json")

        return endpoint

    def _check_caller(self, request: Request) -> None:
        if not (self._open_to_all or is_loopback(request)):
            raise Failing(403, "LOOPBACK_ONLY", "the control API is for this machine only")

    async def _register(self, request: Request) -> Json:
        account = parse(Account, await request.body())
        provider = PROVIDERS.get(account.provider)
        if provider is None:
            raise bad_param("/provider", f"is none of {', '.join(sorted(PROVIDERS))}")
        parse(provider.terms, orjson.dumps(account.terms))
        known = self._book.account(account.account_id)
        if known is not None and known.provider != account.provider:
            raise Failing(409, "ACCOUNT_CONFLICT", "the account exists with another provider")
        self._book.save_account(account)
        return {
            "account_id": account.account_id,
            "provider": account.provider,
            "base_path": provider.base_path.format(account_id=account.account_id),
            **self._players[account.provider].introduction(account),
        }

    async def _accounts(self, _: Request) -> Json:
        return [
            {
                "account_id": account.account_id,
                "provider": account.provider,
                "profile": account.profile.model_dump(mode="json"),
                "available": self._book.available(account.account_id, account.profile.currency),
            }
            for account in self._book.accounts()
        ]

    async def _set_clock(self, request: Request) -> Json:
        self._exchange.clock.set(parse(ClockBody, await request.body()).now)
        return await self._clock(request)

    async def _clock(self, _: Request) -> Json:
        now, real = self._exchange.clock.now(), real_now()
        return {"now": rfc3339(now), "business_date": now.date().isoformat(), "real": rfc3339(real)}

    async def _add_fault(self, request: Request) -> Json:
        body = parse(FaultBody, await request.body())
        self._account(body.account_id)
        fault = self._faults.add(**body.model_dump())
        return {"fault_id": fault.fault_id}

    async def _list_faults(self, request: Request) -> Json:
        account_id = request.query_params.get("account_id")
        standing = [
            {name: getattr(fault, name) for name in fault.__slots__}
            for fault in self._faults.standing()
            if account_id in (None, fault.account_id)
        ]
        return {"fired": self._faults.fired(account_id), "standing": standing}

    async def _clear_faults(self, request: Request) -> Json:
        return {"cleared": self._faults.clear(request.query_params.get("account_id"))}

    async def _pay(self, request: Request) -> Json:
        body = parse(PayBody, await request.body())
        try:
            order = self._exchange.pay(self._account(body.account_id), body.out_ref, late=body.late)
        except OrderUnknown as unknown:
            raise Failing(404, "ORDER_NOT_FOUND", "no such order") from unknown
        return {"status": order.status, "times_charged": order.times_charged}

    async def _return(self, request: Request) -> Json:
        body = parse(ReturnBody, await request.body())
        account = self._account(body.account_id)
        try:
            payout = self._exchange.payouts.send_back(account.account_id, body.out_ref)
        except PayoutUnknown as unknown:
            raise Failing(404, "PAYOUT_NOT_FOUND", "no such payout") from unknown
        return {"status": payout.status, "code": payout.code}

    async def _signtest(self, request: Request) -> Json:
        body = parse(SigntestBody, await request.body())
        account = self._account(body.account_id)
        probe = self._players[account.provider].probe(account)
        if probe is None:
            raise bad_param("/account_id", f"{account.provider} sends no probes")
        url = body.notify_url
        if not url:
            latest = self._book.select(
                Order, "WHERE account_id = ? ORDER BY created_at DESC LIMIT 1", account.account_id
            )
            url = latest[0].notify_url if latest else ""
        async with httpx.AsyncClient(timeout=DELIVERY_TIMEOUT_S, trust_env=False) as client:
            passed, answer = await self._notifier.send(client, url, probe)
        return {"passed": passed, "answer": answer}

    async def _show_book(self, request: Request) -> Json:
        query = request.query_params
        try:
            day = parse_day(query["date"]) if "date" in query else None
        except ValueError as error:
            raise bad_param("date", "must be YYYY-MM-DD", location="query") from error
        self._exchange.release_expired()
        return self._book.rows(query.get("account_id"), day)

    async def _callbacks(self, request: Request) -> Json:
        account_id = request.query_params.get("account_id")
        found = self._book.select(
            Callback,
            "WHERE ?1 IS NULL OR account_id = ?1 ORDER BY next_attempt_ms DESC LIMIT ?2",
            account_id,
            CALLBACKS_SHOWN,
        )
        return [
            {name: getattr(callback, name) for name in callback.__slots__} for callback in found
        ]

    async def _health(self, _: Request) -> Json:
        return {"status": "ok", "accounts": len(self._book.accounts())}

    def _account(self, account_id: str) -> Account:
        account = self._book.account(account_id)
        if account is None:
            raise Failing(404, "ACCOUNT_NOT_FOUND", f"no account {account_id}")
        return account


def is_loopback(request: Request) -> bool:
    """Whether the caller is on this machine."""
    if request.client is None:
        return False
    try:
        return ipaddress.ip_address(request.client.host).is_loopback
    except ValueError:
        return False
