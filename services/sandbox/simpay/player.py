"""Simpay's endpoints and notifications."""

import hashlib
import hmac
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

import orjson
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Mount, Route

from services.sandbox import bills, gate, keys
from services.sandbox.clock import parse_day
from services.sandbox.errors import Conflict
from services.sandbox.exchange import ChargeRequest
from services.sandbox.gate import Failing
from services.sandbox.notifier import Letter
from services.sandbox.provider import House
from services.sandbox.records import Account, Callback, Capture, Payout, Refund
from services.sandbox.simpay import messages, signing
from services.sandbox.simpay.bills import day_file
from services.sandbox.validation import bad_param, parse

OK = 200

Json = dict[str, Any]


@dataclass(slots=True, kw_only=True)
class _Call:
    account: Account
    request: Request
    body: bytes
    out_ref: str = ""
    headers: dict[str, str] = field(default_factory=dict)


Handler = Callable[[_Call], Awaitable[Json | bytes]]


class Simpay:
    """All simpay accounts, under `/simpay/{account_id}`."""

    def __init__(self, house: House) -> None:
        self._exchange = house.exchange
        self._book = house.exchange.book
        self._gate = house.gate
        self._faults = house.faults

    def routes(self) -> list[Mount]:
        """An account's own below its number."""
        table: list[tuple[str, str, str, Handler]] = [
            ("POST", "/charges", "charge", self._charge),
            ("GET", "/charges/{out_ref}", "query", self._query_charge),
            ("POST", "/charges/{out_ref}/close", "close", self._close),
            ("POST", "/captures", "capture", self._capture),
            ("GET", "/captures/{out_ref}", "query_capture", self._query_capture),
            ("POST", "/refunds", "refund", self._refund),
            ("GET", "/refunds/{out_ref}", "query_refund", self._query_refund),
            ("POST", "/payouts", "payout", self._payout),
            ("GET", "/payouts/{out_ref}", "query_payout", self._query_payout),
            ("GET", "/bills/{day}", "bill", self._bill),
            ("GET", "/balance", "balance", self._balance),
        ]
        routes = [
            Route(path, self._endpoint(operation, handler), methods=[method])
            for method, path, operation, handler in table
        ]
        return [Mount("/{account_id}", routes=routes)]

    def probe(self, _: Account) -> Letter | None:
        """None is sent."""
        return None

    def introduction(self, _: Account) -> dict[str, str]:
        """Both sides know the secret already."""
        return {}

    async def letter(self, callback: Callback) -> Letter | None:
        """The signed notification of what the book says now."""
        account = self._book.account(callback.account_id)
        if account is None:
            return None
        content: Json = {"event_id": callback.event_id, "kind": callback.kind}
        body = orjson.dumps(content | self._subject(account, callback))
        spoiled = self._gate.spoils_signature(account, "callback", callback.out_ref)
        return Letter(
            headers={"Content-Type": "application/json"} | _signed(account, body, spoiled=spoiled),
            body=body,
            is_acknowledged=lambda status, answer: status == OK and answer.strip() == b"ok",
        )

    def _subject(self, account: Account, callback: Callback) -> Json:
        match callback.kind:
            case "payment":
                order = self._exchange.order(account, callback.out_ref)
                return messages.charge(order) if order else {}
            case "capture":
                capture = self._book.find(Capture, account.account_id, callback.out_ref)
                return messages.capture(capture) if capture else {}
            case "payout":
                payout = self._book.find(Payout, account.account_id, callback.out_ref)
                return messages.payout(payout) if payout else {}
            case _:
                refund = self._book.find(Refund, account.account_id, callback.out_ref)
                return messages.refund(refund) if refund else {}

    def _endpoint(
        self, operation: str, handler: Handler
    ) -> Callable[[Request], Awaitable[Response]]:
        async def endpoint(request: Request) -> Response:
            account = self._book.account(request.path_params["account_id"])
            if account is None or account.provider != "simpay":
                failing = Failing(404, "ACCOUNT_NOT_FOUND", "no such simpay account")
                return _json_response(failing.status, orjson.dumps(failing.body()), {})
            call = _Call(account=account, request=request, body=await request.body())
            call.out_ref = request.path_params.get("out_ref", "")
            status = OK
            try:
                self._verify(call)
                answer = await handler(call)
                body = answer if isinstance(answer, bytes) else orjson.dumps(answer)
            except gate.Gone as gone:
                return gone.response
            except Failing as failing:
                status, body = failing.status, orjson.dumps(failing.body())
            gate.requests_total.labels("simpay", operation, status).inc()
            spoiled = self._gate.spoils_signature(account, "answer", call.out_ref)
            return _json_response(
                status, body, _signed(account, body, spoiled=spoiled) | call.headers
            )

        return endpoint

    def _verify(self, call: _Call) -> None:
        request, headers = call.request, call.request.headers
        timestamp, nonce = headers.get("x-sim-timestamp", ""), headers.get("x-sim-nonce", "")
        target = request.scope["raw_path"].decode("ascii")
        if query := request.scope["query_string"].decode("ascii"):
            target += "?" + query
        expected = signing.sign(
            call.account.terms["secret"], request.method, target, timestamp, nonce, body=call.body
        )
        given = headers.get("x-sim-signature", "")
        right = hmac.compare_digest(expected.encode(), given.encode("latin-1"))
        if not (nonce and keys.is_fresh(timestamp) and right):
            raise Failing(401, "SIGN_ERROR", "the request signature does not hold")

    async def _charge(self, call: _Call) -> Json:
        body = parse(messages.ChargeBody, call.body)
        account, call.out_ref = call.account, body.order_no
        await self._gate.enter(account, "charge", body.order_no)
        if body.expires_at and self._exchange.clock.remaining_s(body.expires_at) <= 0:
            raise bad_param("/expires_at", "is in the past")
        known = self._exchange.order(account, body.order_no)
        fault = "" if known else self._gate.hidden(account, "charge", body.order_no)
        waits = any(word in body.method.lower() for word in account.profile.pending_methods)
        try:
            order = self._exchange.charge(
                account,
                ChargeRequest(
                    out_ref=body.order_no,
                    amount=body.amount,
                    currency=body.currency,
                    method=body.method,
                    description=body.description,
                    notify_url=body.notify_url,
                    expires_at=body.expires_at,
                    payer_token=body.payer_token,
                    immediate=not waits,
                    capture_later=not body.capture,
                ),
                certainly=bool(fault),
            )
        except Conflict as conflict:
            message = "the order number is taken by other terms"
            raise Failing(409, "ORDER_CONFLICT", message) from conflict
        self._gate.leave(fault)
        return messages.charge(order)

    async def _query_charge(self, call: _Call) -> Json:
        await self._gate.enter(call.account, "query", call.out_ref)
        order = self._exchange.order(call.account, call.out_ref)
        if order is None:
            raise Failing(404, "ORDER_NOT_FOUND", "no such order")
        return messages.charge(order)

    async def _close(self, call: _Call) -> Json:
        await self._gate.enter(call.account, "close", call.out_ref)
        return messages.charge(self._exchange.close(call.account, call.out_ref, tombstone=True))

    async def _capture(self, call: _Call) -> Json:
        body = parse(messages.CaptureBody, call.body)
        account, call.out_ref = call.account, body.capture_no
        await self._gate.enter(account, "capture", body.capture_no)
        order = self._exchange.order(account, body.order_no)
        if order is None:
            raise Failing(404, "ORDER_NOT_FOUND", "no such order")
        known = self._book.find(Capture, account.account_id, body.capture_no)
        if known is None and body.currency != order.currency:
            raise bad_param("/currency", f"the order is in {order.currency}")
        fault = "" if known else self._gate.hidden(account, "capture", body.capture_no)
        try:
            capture = self._exchange.captures.capture(
                account,
                out_ref=body.capture_no,
                order=order,
                amount=body.amount,
                currency=body.currency,
                is_final=body.final,
                notify_url=body.notify_url,
            )
        except Conflict as conflict:
            message = "the capture number is taken by other terms"
            raise Failing(409, "ORDER_CONFLICT", message) from conflict
        self._gate.leave(fault)
        return messages.capture(capture)

    async def _query_capture(self, call: _Call) -> Json:
        await self._gate.enter(call.account, "query_capture", call.out_ref)
        capture = self._book.find(Capture, call.account.account_id, call.out_ref)
        if capture is None:
            raise Failing(404, "CAPTURE_NOT_FOUND", "no such capture")
        return messages.capture(capture)

    async def _refund(self, call: _Call) -> Json:
        body = parse(messages.RefundBody, call.body)
        account, call.out_ref = call.account, body.refund_no
        await self._gate.enter(account, "refund", body.refund_no)
        order = self._exchange.order(account, body.order_no)
        if order is None:
            raise Failing(404, "ORDER_NOT_FOUND", "no such order")
        if body.currency != order.currency:
            raise bad_param("/currency", f"the order was in {order.currency}")
        known = self._book.find(Refund, account.account_id, body.refund_no)
        fault = "" if known else self._gate.hidden(account, "refund", body.refund_no)
        try:
            refund = self._exchange.refund(
                account,
                out_ref=body.refund_no,
                order=order,
                amount=body.amount,
                reason=body.reason,
                notify_url=body.notify_url,
                fee_returns=False,
            )
        except Conflict as conflict:
            message = "the refund number is taken by another refund"
            raise Failing(409, "REFUND_CONFLICT", message) from conflict
        self._gate.leave(fault)
        return messages.refund(refund)

    async def _query_refund(self, call: _Call) -> Json:
        await self._gate.enter(call.account, "query_refund", call.out_ref)
        refund = self._book.find(Refund, call.account.account_id, call.out_ref)
        if refund is None:
            raise Failing(404, "REFUND_NOT_FOUND", "no such refund")
        return messages.refund(refund)

    async def _payout(self, call: _Call) -> Json:
        body = parse(messages.PayoutBody, call.body)
        account, call.out_ref = call.account, body.payout_no
        await self._gate.enter(account, "payout", body.payout_no)
        known = self._book.find(Payout, account.account_id, body.payout_no)
        fault = "" if known else self._gate.hidden(account, "payout", body.payout_no)
        try:
            payout = self._exchange.payouts.payout(
                account,
                out_ref=body.payout_no,
                amount=body.amount,
                currency=body.currency,
                payee_account=body.payee_account,
                payee_name=body.payee_name,
                description=body.description,
                notify_url=body.notify_url,
            )
        except Conflict as conflict:
            message = "the payout number is taken by another payout"
            raise Failing(409, "PAYOUT_CONFLICT", message) from conflict
        self._gate.leave(fault)
        return messages.payout(payout)

    async def _query_payout(self, call: _Call) -> Json:
        await self._gate.enter(call.account, "query_payout", call.out_ref)
        payout = self._book.find(Payout, call.account.account_id, call.out_ref)
        if payout is None:
            raise Failing(404, "PAYOUT_NOT_FOUND", "no such payout")
        return messages.payout(payout)

    async def _bill(self, call: _Call) -> bytes:
        await self._gate.enter(call.account, "bill", "")
        try:
            day = parse_day(call.request.path_params["day"])
        except ValueError as error:
            raise bad_param("day", "is not a date", location="path") from error
        if day > self._exchange.clock.today():
            raise Failing(404, "BILL_NOT_READY", "that day is still to come")
        account_id = call.account.account_id
        lines: list[bills.Line] = [
            *self._book.paid_on(account_id, day),
            *self._book.captured_on(account_id, day),
            *self._book.refunds_of(account_id, day, by="finished_at"),
            *self._book.paid_out_on(account_id, day),
            *map(bills.payout_return, self._book.returned_on(account_id, day)),
        ]
        refs = [line.out_ref for line in lines]
        alterations = self._faults.bill_alterations(account_id, day, refs)
        content = day_file(bills.altered(lines, alterations))
        call.headers["Content-Type"] = "text/csv; charset=utf-8"
        call.headers["X-Sim-SHA256"] = hashlib.sha256(content).hexdigest()
        if self._faults.take(account_id, "bill_truncated", "bill", "", day.isoformat()):
            return bills.truncated(content)
        return content

    async def _balance(self, call: _Call) -> Json:
        await self._gate.enter(call.account, "balance", "")
        currency = call.account.profile.currency
        available = self._book.available(call.account.account_id, currency)
        return {"currency": currency, "available": available}


def _signed(account: Account, body: bytes, *, spoiled: bool) -> dict[str, str]:
    return signing.headers(account.terms["secret"] + ("?" if spoiled else ""), body)


def _json_response(status: int, body: bytes, headers: dict[str, str]) -> Response:
    return Response(body, status, {"Content-Type": "application/json"} | headers)
