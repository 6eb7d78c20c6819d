"""All alipay accounts, under `/alipay`; an account is known by its app_id."""

import asyncio
import html
import json
from collections.abc import Awaitable, Callable, Mapping, Sequence
from urllib.parse import urlsplit

from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import BaseRoute, Route

from services.sandbox import gate, records
from services.sandbox.alipay import authority, funds, merchants, wire
from services.sandbox.alipay.authority import Authority
from services.sandbox.alipay.funds import Funds
from services.sandbox.alipay.statements import DOWNLOAD_PATH, Statements
from services.sandbox.alipay.trades import METHODS, Trades
from services.sandbox.alipay.wire import Call, Json, Refusal
from services.sandbox.gate import Failing
from services.sandbox.notifier import Letter
from services.sandbox.provider import House
from services.sandbox.records import Account, Callback, Order, Payout, Refund

PREFIX = "/alipay"
GATEWAY_PATH = "/gateway.do"
PHONE_PATH = "/phone"
KEY_PATH = "/key"
# Alipay's own waits between deliveries: 4 and 10 and 10 minutes, 1, 2, 6 and 15 hours.
NOTICE_WAITS_S = (240.0, 600.0, 600.0, 3600.0, 7200.0, 21600.0, 54000.0)
TRANSFER_NOTICE = "alipay.fund.trans.order.changed"
_GENERATION = "alipay_key_generation"
_SERVER_FAULT_MIN = 500
_BY_THE_PAYER = frozenset({"alipay.trade.page.pay", "alipay.trade.wap.pay", "alipay.trade.app.pay"})

Handler = Callable[[Call], Awaitable[Json]]


class Alipay:
    """The gateway, the cashier that a payer's browser meets, and the app on the payer's phone."""

    def __init__(self, house: House) -> None:
        self._exchange = house.exchange
        self._book = house.exchange.book
        self._gate = house.gate
        self._data_dir = house.data_dir
        self._made: Authority | None = None
        self._trades = Trades(exchange=house.exchange, entry=house.gate)
        self._funds = Funds(exchange=house.exchange, entry=house.gate, trades=self._trades)
        self._statements = Statements(
            book=house.exchange.book,
            clock=house.exchange.clock,
            faults=house.faults,
            funds=self._funds,
            ready_hour=house.options.bill_ready_hour,
        )
        self._base_url = ""
        self._table = self._handlers()

    def _handlers(self) -> Mapping[str, tuple[str, Handler]]:
        trades, money = self._trades, self._funds
        created = {method for method in METHODS if method not in _BY_THE_PAYER}
        return {
            **dict.fromkeys(created, ("charge", trades.create)),
            "alipay.trade.query": ("query", trades.query),
            "alipay.trade.close": ("close", trades.close),
            "alipay.trade.cancel": ("cancel", trades.cancel),
            "alipay.trade.refund": ("refund", trades.refund),
            "alipay.trade.fastpay.refund.query": ("query_refund", trades.query_refund),
            "alipay.fund.trans.uni.transfer": ("payout", money.transfer),
            "alipay.fund.trans.common.query": ("query_payout", money.query_transfer),
            "alipay.fund.account.query": ("balance", money.balance),
            "alipay.trade.royalty.relation.bind": ("relation", money.bind),
            "alipay.trade.royalty.relation.unbind": ("relation", money.unbind),
            "alipay.trade.order.settle": ("split", money.settle),
            "alipay.trade.order.settle.query": ("query_split", money.query_settle),
            "alipay.data.dataservice.bill.downloadurl.query": ("bill", self._bill),
            "alipay.open.app.alipaycert.download": ("certificate", self._certificate),
        }

    def routes(self) -> Sequence[BaseRoute]:
        """The gateway, the payer's phone, the address of bills, and the key to be replaced."""
        return [
            Route(GATEWAY_PATH, self._gateway, methods=["GET", "POST"]),
            Route(PHONE_PATH, self._phone, methods=["POST"]),
            Route(DOWNLOAD_PATH, self._download, methods=["GET"]),
            Route(KEY_PATH, self._replace_key, methods=["POST"]),
        ]

    def probe(self, account: Account) -> Letter | None:
        """Alipay sends none."""
        del account
        return None

    @property
    def authority(self) -> Authority:
        """Made when it is first needed: keys take time."""
        if self._made is None:
            generation = int(self._book.meta(_GENERATION, "0"))
            self._made = Authority(self._data_dir, generation=generation)
        return self._made

    def introduction(self, account: Account) -> Mapping[str, str]:
        """Alipay's key, and the certificates of certificate mode."""
        certificate = self.authority.certificate_for(account.account_id, merchants.key(account))
        return {
            "alipay_public_key": self.authority.signer.public_key_pem,
            "app_cert_pem": authority.certificate_pem(certificate),
            "app_cert_sn": authority.serial(certificate),
            "alipay_cert_pem": self.authority.chain(self.authority.generation),
            "alipay_root_cert_pem": self.authority.root_bundle,
        }

    async def letter(self, callback: Callback) -> Letter | None:
        """The signed form that says what the book says now."""
        account = self._book.account(callback.account_id)
        fields = self._notice(account, callback) if account else None
        if account is None or fields is None:
            return None
        charset = fields["charset"]
        body = await asyncio.to_thread(wire.notice, fields, self.authority.signer, charset=charset)
        if self._gate.spoils_signature(account, "callback", callback.out_ref):
            body = body.replace(b"notify_id=", b"notify_id=0", 1)
        return Letter(
            headers={"Content-Type": f"application/x-www-form-urlencoded; charset={charset}"},
            body=body,
            is_acknowledged=lambda _, answer: answer.strip() == b"success",
            waits_s=NOTICE_WAITS_S,
        )

    def _notice(self, account: Account, callback: Callback) -> dict[str, str] | None:
        common = {
            "notify_id": callback.event_id.replace("-", ""),
            "app_id": account.account_id,
            "charset": merchants.terms(account).charset,
            "version": "1.0",
        }
        if callback.kind == "payout":
            payout = self._book.find(Payout, account.account_id, callback.out_ref)
            if payout is None:
                return None
            content = funds.transfer_fields(payout) | {"action_type": "FINISH"}
            moment = str(int(self._exchange.clock.now().timestamp() * 1000))
            message = {"msg_method": TRANSFER_NOTICE, "utc_timestamp": moment}
            return {**common, **message, "biz_content": json.dumps(content, ensure_ascii=False)}
        refund = None
        order_ref = callback.out_ref
        if callback.kind == "refund":
            refund = self._book.find(Refund, account.account_id, callback.out_ref)
            order_ref = refund.order_ref if refund else ""
        order = self._book.find(Order, account.account_id, order_ref)
        if order is None:
            return None
        return common | self._trade_notice(account, order, refund)

    def _trade_notice(
        self, account: Account, order: Order, refund: Refund | None
    ) -> dict[str, str]:
        amount = wire.yuan(order.amount)
        fields = {
            "notify_time": wire.beijing(self._exchange.clock.now()),
            "notify_type": "trade_status_sync",
            "trade_no": order.provider_ref,
            "out_trade_no": order.out_ref,
            "seller_id": merchants.terms(account).seller_id,
            "buyer_id": f"2088{order.payer[-12:]}",
            "trade_status": self._trades.status(order),
            "total_amount": amount,
            "receipt_amount": amount,
            "buyer_pay_amount": amount,
            "subject": order.description,
            "gmt_create": wire.beijing(order.created_at),
            "fund_bill_list": json.dumps([{"amount": amount, "fundChannel": "ALIPAYACCOUNT"}]),
        }
        if order.attach:
            fields["passback_params"] = order.attach
        if order.paid_at is not None:
            fields["gmt_payment"] = wire.beijing(order.paid_at)
        if refund is not None:
            total = self._book.refunded(account.account_id, order.out_ref)
            finished = refund.finished_at or refund.created_at
            fields |= {
                "out_biz_no": refund.out_ref,
                "refund_fee": wire.yuan(total),
                "gmt_refund": f"{wire.beijing(finished)}.{finished.microsecond // 1000:03d}",
            }
        return fields

    async def _gateway(self, request: Request) -> Response:
        body = await request.body()
        parameters = wire.read(request.scope["query_string"], body)
        method = parameters.get("method", "")
        self._base_url = f"{request.url.scheme}://{request.url.netloc}{PREFIX}"
        if method in _BY_THE_PAYER:
            return await self._cashier(parameters)
        operation, handler = self._table.get(method, ("unknown", _unknown))
        call: Call | None = None
        try:
            call = wire.authenticate(self._book, parameters, root_serial=self._root_serial)
            fields: Json = {"code": wire.DONE, **await handler(call)}
            fields = {"code": fields.pop("code"), "msg": wire.MESSAGES[wire.DONE], **fields}
            if fields["code"] != wire.DONE:
                fields["msg"] = wire.MESSAGES[fields["code"]]
        except gate.Gone as gone:
            return gone.response
        except Refusal as refusal:
            fields = refusal.body()
        except Failing as failing:
            if failing.status >= _SERVER_FAULT_MIN:
                gate.requests_total.labels("alipay", operation, failing.status).inc()
                return HTMLResponse("<html>Bad Gateway</html>", failing.status)
            fields = Refusal("40005", "isv.app-call-limited", "应用调用次数超限").body()
        gate.requests_total.labels("alipay", operation, fields["code"]).inc()
        return await self._answer(method, call, fields)

    async def _answer(self, method: str, call: Call | None, fields: Json) -> Response:
        # Whoever is not known, or has not signed, is answered without a signature.
        codec = call.charset if call else "utf-8"
        node = wire.node_of(method) if method in self._table else "error_response"
        text = await asyncio.to_thread(
            wire.answer,
            node,
            fields,
            self.authority.signer if call else None,
            codec=codec,
            certified=bool(call and merchants.terms(call.account).certificate_mode),
        )
        out_ref = str(fields.get("out_request_no", fields.get("out_trade_no", "")))
        if call and self._gate.spoils_signature(call.account, "answer", out_ref):
            text = text.replace('"msg":"', '"msg":" ', 1)
        media_type = f"text/html;charset={codec}"
        return Response(text.encode(codec, "replace"), media_type=media_type)

    async def _cashier(self, parameters: Mapping[str, str]) -> Response:
        """What a payer's browser sees who comes with a signed form: the trade exists from now on."""
        try:
            call = self._presented(parameters)
            order = self._trades.hand_in(call)
        except Refusal as refusal:
            return HTMLResponse(html.escape(f"{refusal.sub_code} {refusal.message}"), 400)
        if parameters["method"] == "alipay.trade.app.pay":
            return HTMLResponse("app orders are for the phone", 400)
        return HTMLResponse(
            _CASHIER.format(
                amount=wire.yuan(order.amount),
                subject=html.escape(order.description),
                account_id=html.escape(order.account_id),
                out_ref=html.escape(order.out_ref),
                back=html.escape(_back(parameters.get("return_url", ""))),
            )
        )

    async def _phone(self, request: Request) -> Response:
        """The payer's phone, given a merchant app's order string; the payer pays at the sandbox's page."""
        parameters = wire.read(b"", await request.body())
        try:
            order = self._trades.hand_in(self._presented(parameters))
        except Refusal as refusal:
            result = {"resultStatus": "4000", "memo": refusal.message, "sub_code": refusal.sub_code}
        else:
            paid = order.status == records.SUCCEEDED
            result = {"resultStatus": "9000" if paid else "8000", "out_trade_no": order.out_ref}
        return Response(json.dumps(result), media_type="application/json")

    def _presented(self, parameters: Mapping[str, str]) -> Call:
        return wire.authenticate(self._book, parameters, root_serial=self._root_serial, fresh=False)

    async def _replace_key(self, request: Request) -> Response:
        """Sign with a new key from now on; only for callers on this machine, as all that commands the sandbox."""
        # The control module knows every provider, so it cannot be known to one at import.
        from services.sandbox.control import is_loopback

        if not is_loopback(request):
            return Response(status_code=403)
        await asyncio.to_thread(self.authority.replace_key)
        self._book.set_meta(_GENERATION, str(self.authority.generation))
        told = {"alipay_public_key": self.authority.signer.public_key_pem}
        return Response(json.dumps(told), media_type="application/json")

    async def _download(self, request: Request) -> Response:
        return self._statements.download(request.query_params.get("fileId", ""))

    async def _bill(self, call: Call) -> Json:
        await self._gate.enter(call.account, "bill", "")
        return self._statements.offer(call, self._base_url)

    async def _certificate(self, call: Call) -> Json:
        chain = self.authority.chain_of(call.text("alipay_cert_sn"))
        if not chain:
            raise wire.failed("isv.alipay-cert-not-exist", "支付宝公钥证书不存在")
        return {"alipay_cert_content": authority.encoded(chain)}

    @property
    def _root_serial(self) -> str:
        return authority.root_serial(self.authority)


async def _unknown(call: Call) -> Json:
    del call  # nothing is known of it
    raise Refusal("40002", "isv.invalid-method", "不存在的方法名")


def _back(return_url: str) -> str:
    return return_url if urlsplit(return_url).scheme in ("http", "https") else ""


_CASHIER = """<!doctype html><meta charset="utf-8"><title>Alipay</title>
<h1>¥ {amount}</h1><p>{subject}</p>
<form method="post" action="/pay"><input type="hidden" name="account_id" value="{account_id}">
<input type="hidden" name="out_ref" value="{out_ref}"><button>Pay</button></form>
<p><a href="{back}">Back to the merchant</a></p>"""
