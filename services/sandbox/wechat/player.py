"""WeChat Pay's endpoints and notifications: native orders, close, refunds, trade bills."""

import asyncio
import uuid
from collections.abc import Awaitable, Callable
from typing import Any

import orjson
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from services.sandbox import gate, records
from services.sandbox.clock import rfc3339
from services.sandbox.errors import Conflict, OrderUnknown
from services.sandbox.exchange import ChargeRequest
from services.sandbox.gate import Failing
from services.sandbox.notifier import Letter
from services.sandbox.provider import House
from services.sandbox.records import Account, Callback, Order, Refund
from services.sandbox.validation import bad_param, parse
from services.sandbox.wechat import auth, messages, signing
from services.sandbox.wechat.auth import Call
from services.sandbox.wechat.trade_bills import DOWNLOAD_PATH, TradeBills

KEY_FILE = "wechat_platform_key.pem"
ACKNOWLEDGED = frozenset({200, 204})
_GATE_CODES = {gate.RATE_LIMITED: "FREQUENCY_LIMITED"}

Json = dict[str, Any]
Handler = Callable[[Call], Awaitable[Json | Response | None]]


class WechatPay:
    """All wechat accounts, under `/wechat`; an account is known by its mchid."""

    def __init__(self, house: House) -> None:
        self._exchange = house.exchange
        self._book = house.exchange.book
        self._gate = house.gate
        self._key = signing.PlatformKey(house.data_dir / KEY_FILE)
        self._trade_bills = TradeBills(
            book=house.exchange.book,
            clock=house.exchange.clock,
            faults=house.faults,
            ready_hour=house.options.bill_ready_hour,
            byte_order_mark=house.options.bill_byte_order_mark,
        )

    def routes(self) -> list[Route]:
        """One set for all merchants: who asks stands in the signature."""
        transactions = "/v3/pay/transactions"
        refunds = "/v3/refund/domestic/refunds"
        table: list[tuple[str, str, str, Handler]] = [
            ("POST", f"{transactions}/native", "charge", self._create),
            ("GET", f"{transactions}/id/{{transaction_id}}", "query", self._query_by_id),
            ("GET", f"{transactions}/out-trade-no/{{out_ref}}", "query", self._query),
            ("POST", f"{transactions}/out-trade-no/{{out_ref}}/close", "close", self._close),
            ("POST", refunds, "refund", self._refund),
            ("GET", f"{refunds}/{{out_ref}}", "query_refund", self._query_refund),
            ("GET", "/v3/bill/tradebill", "bill", self._announce_bill),
            ("GET", DOWNLOAD_PATH, "bill_download", self._download_bill),
        ]
        return [
            Route(path, self._endpoint(operation, handler), methods=[method])
            for method, path, operation, handler in table
        ]

    def introduction(self, _: Account) -> dict[str, str]:
        """WeChat's own key, and the number under which it signs."""
        return {
            "platform_public_key_pem": self._key.public_key_pem,
            "public_key_id": self._key.public_key_id,
        }

    async def letter(self, callback: Callback) -> Letter | None:
        """The encrypted and signed notification of what the book says now."""
        account = self._book.account(callback.account_id)
        body = self._notice(account, callback) if account else None
        if account is None or body is None:
            return None
        signed = await asyncio.to_thread(self._key.headers, body)
        if self._gate.spoils_signature(account, "callback", callback.out_ref):
            signed |= {"Wechatpay-Nonce": "0" * 32}
        return Letter(
            headers={"Content-Type": "application/json"} | signed,
            body=body,
            is_acknowledged=lambda status, _: status in ACKNOWLEDGED,
        )

    def probe(self, account: Account) -> Letter:
        """A notification whose signature must fail; only a 4xx or 5xx is the right answer."""
        resource = signing.encrypt_resource(
            account.terms["apiv3_key"], b"{}", "transaction", "transaction"
        )
        body = self._envelope(str(uuid.uuid4()), "TRANSACTION.SUCCESS", "支付成功", resource)
        signed = self._key.headers(body) | {"Wechatpay-Signature": signing.probe_signature()}
        return Letter(
            headers={"Content-Type": "application/json"} | signed,
            body=body,
            is_acknowledged=lambda status, _: status >= 400,  # noqa: PLR2004 (HTTP's errors)
        )

    def _notice(self, account: Account, callback: Callback) -> bytes | None:
        if callback.kind == "payment":
            order = self._book.find(Order, account.account_id, callback.out_ref)
            if order is None:
                return None
            content = messages.transaction(account, order, refunded=False)
            event_type, summary, associated = "TRANSACTION.SUCCESS", "支付成功", "transaction"
        else:
            refund = self._book.find(Refund, account.account_id, callback.out_ref)
            if refund is None:
                return None
            content = messages.refund_notice(account, refund, self._order_of(refund))
            event_type, summary, associated = "REFUND.SUCCESS", "退款成功", "refund"
        resource = signing.encrypt_resource(
            account.terms["apiv3_key"], orjson.dumps(content), associated, associated
        )
        return self._envelope(callback.event_id, event_type, summary, resource)

    def _envelope(
        self, event_id: str, event_type: str, summary: str, resource: dict[str, str]
    ) -> bytes:
        return orjson.dumps(
            {
                "id": event_id,
                "create_time": rfc3339(self._exchange.clock.now()),
                "resource_type": "encrypt-resource",
                "event_type": event_type,
                "summary": summary,
                "resource": resource,
            }
        )

    def _endpoint(
        self, operation: str, handler: Handler
    ) -> Callable[[Request], Awaitable[Response]]:
        async def endpoint(request: Request) -> Response:
            body = await request.body()
            account, status, answer = None, 200, b""
            try:
                call = auth.authenticate(self._book, request, body)
                account = call.account
                result = await handler(call)
                if isinstance(result, Response):
                    return result
                status = 200 if result is not None else 204
                answer = orjson.dumps(result) if result is not None else b""
            except gate.Gone as gone:
                return gone.response
            except Failing as failing:
                status = failing.status
                code = _GATE_CODES.get(failing.code, failing.code)
                answer = orjson.dumps(failing.body() | {"code": code})
            gate.requests_total.labels("wechat", operation, status).inc()
            headers = await asyncio.to_thread(self._key.headers, answer)
            out_ref = request.path_params.get("out_ref", "")
            if account and self._gate.spoils_signature(account, "answer", out_ref):
                headers |= {"Wechatpay-Nonce": "0" * 32}
            headers |= {"Request-ID": uuid.uuid4().hex.upper()}
            media_type = "application/json" if answer else None
            return Response(answer, status, headers, media_type)

        return endpoint

    async def _create(self, call: Call) -> Json:
        body = parse(messages.NativeOrder, call.body)
        account, out_ref = call.account, body.out_trade_no
        _check_mchid(account, body.mchid)
        if body.appid != account.terms["appid"]:
            raise Failing(400, "APPID_MCHID_NOT_MATCH", "the appid does not belong to the mchid")
        await self._gate.enter(account, "charge", out_ref)
        if body.time_expire and self._exchange.clock.remaining_s(body.time_expire) <= 0:
            raise bad_param("/time_expire", "is in the past")
        known = self._exchange.order(account, out_ref)
        if known is not None and known.status == records.SUCCEEDED:
            raise Failing(400, "ORDERPAID", "the order was paid")
        if known is not None and known.status == records.CLOSED:
            raise Failing(400, "ORDER_CLOSED", "the order was closed")
        fault = "" if known else self._gate.hidden(account, "charge", out_ref)
        try:
            order = self._exchange.charge(
                account,
                ChargeRequest(
                    out_ref=out_ref,
                    amount=body.amount.total,
                    currency=body.amount.currency,
                    method="NATIVE",
                    description=body.description,
                    notify_url=body.notify_url,
                    expires_at=body.time_expire,
                    attach=body.attach,
                    immediate=False,
                ),
                certainly=bool(fault),
            )
        except Conflict as conflict:
            message = "the order number is taken by another amount"
            raise Failing(403, "OUT_TRADE_NO_USED", message) from conflict
        self._gate.leave(fault)
        return {"code_url": order.qr_content}

    async def _query(self, call: Call) -> Json:
        out_ref = call.request.path_params["out_ref"]
        _check_mchid(call.account, call.request.query_params.get("mchid", ""), location="query")
        await self._gate.enter(call.account, "query", out_ref)
        return self._transaction(call.account, self._exchange.order(call.account, out_ref))

    async def _query_by_id(self, call: Call) -> Json:
        _check_mchid(call.account, call.request.query_params.get("mchid", ""), location="query")
        order = self._by_transaction(call.account, call.request.path_params["transaction_id"])
        await self._gate.enter(call.account, "query", order.out_ref if order else "")
        return self._transaction(call.account, order)

    def _transaction(self, account: Account, order: Order | None) -> Json:
        if order is None:
            raise Failing(404, "ORDER_NOT_EXIST", "no such order")
        refunded = self._book.refunded(account.account_id, order.out_ref) > 0
        return messages.transaction(account, order, refunded=refunded)

    async def _close(self, call: Call) -> None:
        body = parse(messages.CloseOrder, call.body)
        out_ref = call.request.path_params["out_ref"]
        _check_mchid(call.account, body.mchid)
        await self._gate.enter(call.account, "close", out_ref)
        before = self._exchange.order(call.account, out_ref)
        try:
            order = self._exchange.close(call.account, out_ref, tombstone=False)
        except OrderUnknown as unknown:
            raise Failing(404, "ORDER_NOT_EXIST", "no such order") from unknown
        if order.status == records.SUCCEEDED:
            raise Failing(400, "ORDERPAID", "the order was paid")
        if before is not None and before.status == records.CLOSED:
            raise Failing(400, "ORDER_CLOSED", "the order was closed before")

    async def _refund(self, call: Call) -> Json:
        body = parse(messages.RefundOrder, call.body)
        account, out_ref = call.account, body.out_refund_no
        await self._gate.enter(account, "refund", out_ref)
        order = (
            self._exchange.order(account, body.out_trade_no)
            if body.out_trade_no
            else self._by_transaction(account, body.transaction_id or "")
        )
        if order is None:
            raise Failing(404, "RESOURCE_NOT_EXISTS", "the order to refund does not exist")
        if body.amount.total != order.amount:
            raise bad_param("/amount/total", "is not the order's amount")
        known = self._book.find(Refund, account.account_id, out_ref)
        if known is None:
            self._refuse_refund(self._exchange.refund_problem(account, order, body.amount.refund))
        fault = "" if known else self._gate.hidden(account, "refund", out_ref)
        try:
            refund = self._exchange.refund(
                account,
                out_ref=out_ref,
                order=order,
                amount=body.amount.refund,
                reason=body.reason,
                notify_url=body.notify_url or "",
                fee_returns=True,
            )
        except Conflict as conflict:
            raise bad_param("/out_refund_no", "is taken by another refund") from conflict
        self._gate.leave(fault)
        return messages.refund_answer(refund, order)

    def _refuse_refund(self, problem: str) -> None:
        if problem == "NOT_ENOUGH":
            raise Failing(403, "NOT_ENOUGH", "the account's balance is too small for the refund")
        if problem == "ORDER_NOT_PAID":
            raise bad_param("/out_trade_no", "the order was not paid")
        if problem:
            raise bad_param("/amount/refund", "is more than is left of the order")

    async def _query_refund(self, call: Call) -> Json:
        out_ref = call.request.path_params["out_ref"]
        await self._gate.enter(call.account, "query_refund", out_ref)
        refund = self._book.find(Refund, call.account.account_id, out_ref)
        if refund is None:
            raise Failing(404, "RESOURCE_NOT_EXISTS", "no such refund")
        return messages.refund_answer(refund, self._order_of(refund))

    async def _announce_bill(self, call: Call) -> Json:
        await self._gate.enter(call.account, "bill", "")
        return dict(self._trade_bills.announce(call))

    async def _download_bill(self, call: Call) -> Response:
        await self._gate.enter(call.account, "bill_download", "")
        return self._trade_bills.download(call)

    def _order_of(self, refund: Refund) -> Order:
        order = self._book.find(Order, refund.account_id, refund.order_ref)
        if order is None:
            raise LookupError(f"the book has refund {refund.out_ref} without its order")
        return order

    def _by_transaction(self, account: Account, transaction_id: str) -> Order | None:
        found = self._book.select(
            Order,
            "WHERE account_id = ? AND provider_ref = ? AND paid_at IS NOT NULL",
            account.account_id,
            transaction_id,
        )
        return found[0] if found else None


def _check_mchid(account: Account, mchid: str, location: str = "body") -> None:
    if mchid != account.account_id:
        raise bad_param("mchid", "is not the merchant who signed", location=location)
