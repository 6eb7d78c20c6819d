"""Trades and refunds, each as its interface documents it."""

from datetime import datetime
from typing import Any

from services.sandbox import gate, records
from services.sandbox.alipay import wire
from services.sandbox.alipay.wire import Call, Json, Refusal, failed
from services.sandbox.clock import SHANGHAI
from services.sandbox.errors import Conflict
from services.sandbox.exchange import ChargeRequest, Exchange
from services.sandbox.records import Account, Order, Refund

# By these the trade comes into being when the payer takes it up; until then it is unknown to queries.
MADE_BY_THE_PAYER = frozenset({"QR", "PAGE", "WAP", "APP"})
METHODS = {
    "alipay.trade.precreate": "QR",
    "alipay.trade.page.pay": "PAGE",
    "alipay.trade.wap.pay": "WAP",
    "alipay.trade.app.pay": "APP",
    "alipay.trade.create": "JSAPI",
    "alipay.trade.pay": "CODE",
}
SUBJECT_LENGTH_MAX = 256
# What a payer's code may say in its last digits, so that a till can be tested without a phone: the rest waits.
CODE_PREFIXES = tuple(str(prefix) for prefix in range(25, 31))
CODE_PAID_AT_ONCE, CODE_REFUSED = "0001", "0002"
TOTAL_MAX = 100_000_000_00

_NO_TRADE = ("ACQ.TRADE_NOT_EXIST", "交易不存在")


class Trades:
    """What the trade interfaces do over the exchange."""

    def __init__(self, *, exchange: Exchange, entry: gate.Gate) -> None:
        self._exchange = exchange
        self._book = exchange.book
        self._gate = entry

    def exists(self, order: Order | None) -> bool:
        """Whether Alipay itself knows of a trade."""
        if order is None or order.is_tombstone:
            return False
        return order.method not in MADE_BY_THE_PAYER or order.paid_at is not None

    async def create(self, call: Call) -> Json:
        """`precreate`, `create`, `pay`: the calls that a merchant's server makes."""
        request = self._request(call)
        account, out_ref = call.account, request.out_ref
        await self._gate.enter(account, "charge", out_ref)
        order, fault = self._charge(account, request)
        if request.method == "CODE" and not fault:
            order = self._show_code(account, order, call.text("auth_code"))
        leave(self._gate, fault)
        if order.status == records.SUCCEEDED and request.method != "CODE":
            raise failed("ACQ.TRADE_HAS_SUCCESS", "交易已被支付")
        if request.method == "QR":
            return {"out_trade_no": out_ref, "qr_code": order.qr_content}
        if request.method == "JSAPI":
            return {"out_trade_no": out_ref, "trade_no": order.provider_ref}
        return self._code_answer(order)

    def hand_in(self, call: Call) -> Order:
        """`page.pay`, `wap.pay`, `app.pay`: what a payer's browser or phone brings along."""
        order, _ = self._charge(call.account, self._request(call), with_faults=False)
        return order

    async def query(self, call: Call) -> Json:
        """`alipay.trade.query`."""
        order = self._find(call)
        await self._gate.enter(call.account, "query", order.out_ref if order else self._named(call))
        if order is None or not self.exists(order):
            raise failed(*_NO_TRADE)
        fields: Json = {
            **_numbers(order),
            "buyer_logon_id": _logon_id(order),
            "buyer_user_id": f"2088{order.payer[-12:]}",
            "total_amount": wire.yuan(order.amount),
            "trade_status": self.status(order),
        }
        if order.paid_at is not None:
            fields |= {
                "send_pay_date": wire.beijing(order.paid_at),
                "receipt_amount": wire.yuan(order.amount),
                "buyer_pay_amount": wire.yuan(order.amount),
                "invoice_amount": wire.yuan(order.amount),
                "point_amount": "0.00",
                "fund_bill_list": [
                    {"amount": wire.yuan(order.amount), "fund_channel": "ALIPAYACCOUNT"}
                ],
            }
        return fields

    async def close(self, call: Call) -> Json:
        """`alipay.trade.close`. A code nobody has scanned is unknown, and yet nobody can pay it after this.

        Of a number that never came it knows nothing, and bars nothing: that is what a cancel is for.
        """
        order = self._find(call)
        out_ref = order.out_ref if order else self._named(call)
        await self._gate.enter(call.account, "close", out_ref)
        if order is None:
            raise failed(*_NO_TRADE)
        known = self.exists(order)
        if known and order.status != records.PENDING:
            raise failed("ACQ.TRADE_STATUS_ERROR", "交易状态不合法")
        closed = self._exchange.close(call.account, out_ref, tombstone=False)
        if not known:
            raise failed(*_NO_TRADE)
        return _numbers(closed)

    async def cancel(self, call: Call) -> Json:
        """`alipay.trade.cancel`: what is paid is given back, what is not is closed, what is not there is barred."""
        order = self._find(call)
        out_ref = order.out_ref if order else self._named(call)
        await self._gate.enter(call.account, "cancel", out_ref)
        if order is None or order.status != records.SUCCEEDED:
            known = self.exists(order)
            closed = self._exchange.close(call.account, out_ref, tombstone=True)
            action: Json = {"action": "close"} if known else {}
            return {
                **(_numbers(closed) if known else {"out_trade_no": out_ref}),
                **action,
                "retry_flag": "N",
            }
        left = order.taken - self._book.refunded(call.account.account_id, out_ref)
        if left and self._exchange.refund_problem(call.account, order, left):
            raise failed("ACQ.SELLER_BALANCE_NOT_ENOUGH", "卖家余额不足")
        if left:
            self._give_back(call.account, order, out_ref, left, "")
        return {**_numbers(order), "action": "refund", "retry_flag": "N"}

    async def refund(self, call: Call) -> Json:
        """`alipay.trade.refund`. `fund_change` says whether this very call moved money."""
        account, amount = call.account, call.amount("refund_amount")
        order = self._find(call)
        out_ref = call.optional("out_request_no") or (order.out_ref if order else "")
        await self._gate.enter(account, "refund", out_ref)
        if order is None or not self.exists(order):
            raise failed(*_NO_TRADE)
        known = self._book.find(Refund, account.account_id, out_ref)
        if known is None:
            self._check_refund(account, order, amount)
            if not call.optional("out_request_no") and amount != order.amount:
                raise failed("ACQ.REFUND_AMT_NOT_EQUAL_TOTAL", "退款金额超限")
        fault = "" if known else self._gate.hidden(account, "refund", out_ref)
        refund = self._give_back(account, order, out_ref, amount, call.optional("refund_reason"))
        leave(self._gate, fault)
        moved = known is None and refund.status == records.SUCCEEDED
        total = self._book.refunded(account.account_id, order.out_ref)
        fields: Json = {
            **_numbers(order),
            "buyer_logon_id": _logon_id(order),
            "fund_change": "Y" if moved else "N",
            "refund_fee": wire.yuan(total),
            "send_back_fee": "0.00",
        }
        if refund.finished_at is not None:
            fields["gmt_refund_pay"] = wire.beijing(refund.finished_at)
        return fields

    async def query_refund(self, call: Call) -> Json:
        """`alipay.trade.fastpay.refund.query`: "done" with nothing in it says that there is no such refund."""
        out_ref = call.text("out_request_no")
        order = self._find(call)
        await self._gate.enter(call.account, "query_refund", out_ref)
        if order is None or not self.exists(order):
            raise failed(*_NO_TRADE)
        refund = self._book.find(Refund, call.account.account_id, out_ref)
        if refund is None or refund.order_ref != order.out_ref or refund.status == records.FAILED:
            return {}
        fields: Json = {
            **_numbers(order),
            "out_request_no": out_ref,
            "total_amount": wire.yuan(order.amount),
            "refund_amount": wire.yuan(refund.amount),
        }
        if refund.finished_at is None:
            return fields | {"refund_status": "REFUND_PROCESSING"}
        fields["refund_status"] = "REFUND_SUCCESS"
        options: Any = call.content.get("query_options")
        if isinstance(options, list) and "gmt_refund_pay" in options:
            fields["gmt_refund_pay"] = wire.beijing(refund.finished_at)
        return fields

    def status(self, order: Order) -> str:
        """A trade given back as a whole is closed, as one that nobody paid."""
        if order.status == records.SUCCEEDED:
            refunded = self._book.refunded(order.account_id, order.out_ref)
            return "TRADE_CLOSED" if refunded >= order.amount else "TRADE_SUCCESS"
        return "WAIT_BUYER_PAY" if order.status == records.PENDING else "TRADE_CLOSED"

    def _request(self, call: Call) -> ChargeRequest:
        subject = call.text("subject", length_max=SUBJECT_LENGTH_MAX)
        if any(character in subject for character in "/=&"):
            raise failed("ACQ.INVALID_PARAMETER", "参数无效: subject")
        amount = call.amount("total_amount")
        if amount > TOTAL_MAX:
            raise failed("ACQ.TOTAL_FEE_EXCEED", "订单总金额超过限额")
        method = METHODS[call.method]
        if method == "JSAPI" and not (call.optional("buyer_id") or call.optional("buyer_open_id")):
            raise failed("ACQ.INVALID_PARAMETER", "参数无效: buyer_id")
        return ChargeRequest(
            out_ref=call.text("out_trade_no"),
            amount=amount,
            currency="CNY",
            method=method,
            description=subject,
            notify_url=call.parameters.get("notify_url", ""),
            expires_at=self._deadline(call),
            attach=call.optional("passback_params"),
            immediate=False,
        )

    def _deadline(self, call: Call) -> datetime | None:
        text = call.optional("time_expire")
        if not text:
            return None
        try:
            moment = datetime.strptime(text, wire.TIME_FORMAT).replace(tzinfo=SHANGHAI)
        except ValueError as error:
            raise failed("ACQ.INVALID_PARAMETER", "参数无效: time_expire") from error
        if self._exchange.clock.remaining_s(moment) <= 0:
            raise failed("ACQ.INVALID_PARAMETER", "参数无效: time_expire")
        return moment

    def _charge(
        self, account: Account, request: ChargeRequest, *, with_faults: bool = True
    ) -> tuple[Order, str]:
        known = self._exchange.order(account, request.out_ref)
        if known is not None and known.status == records.SUCCEEDED:
            raise failed("ACQ.TRADE_HAS_SUCCESS", "交易已被支付")
        if known is not None and known.status == records.CLOSED:
            raise failed("ACQ.TRADE_HAS_CLOSE", "交易已经关闭")
        fault = ""
        if known is None and with_faults:
            fault = self._gate.hidden(account, "charge", request.out_ref)
        try:
            order = self._exchange.charge(account, request, certainly=bool(fault))
        except Conflict as conflict:
            raise failed("ACQ.CONTEXT_INCONSISTENT", "交易信息被篡改") from conflict
        return order, fault

    def _show_code(self, account: Account, order: Order, code: str) -> Order:
        if not (code.isascii() and code.isdigit() and code.startswith(CODE_PREFIXES)):
            raise failed("ACQ.PAYMENT_AUTH_CODE_INVALID", "支付失败，获取顾客账户信息失败")
        if code.endswith(CODE_REFUSED):
            self._exchange.close(account, order.out_ref, tombstone=False)
            raise failed("ACQ.BUYER_BALANCE_NOT_ENOUGH", "买家余额不足")
        if code.endswith(CODE_PAID_AT_ONCE):
            return self._exchange.pay(account, order.out_ref)
        return order

    def _code_answer(self, order: Order) -> Json:
        if order.status != records.SUCCEEDED or order.paid_at is None:
            return {"code": wire.PAYER_MUST_ACT, **_numbers(order)}
        return {
            **_numbers(order),
            "buyer_logon_id": _logon_id(order),
            "total_amount": wire.yuan(order.amount),
            "receipt_amount": wire.yuan(order.amount),
            "gmt_payment": wire.beijing(order.paid_at),
            "fund_bill_list": [
                {"amount": wire.yuan(order.amount), "fund_channel": "ALIPAYACCOUNT"}
            ],
        }

    def _check_refund(self, account: Account, order: Order, amount: int) -> None:
        match self._exchange.refund_problem(account, order, amount):
            case "":
                return
            case "NOT_ENOUGH":
                raise failed("ACQ.SELLER_BALANCE_NOT_ENOUGH", "卖家余额不足")
            case "ORDER_NOT_PAID":
                raise failed("ACQ.TRADE_STATUS_ERROR", "交易状态非法")
            case _:
                raise failed("ACQ.REASON_TRADE_REFUND_FEE_ERR", "退款金额无效")

    def _give_back(
        self, account: Account, order: Order, out_ref: str, amount: int, reason: str
    ) -> Refund:
        try:
            return self._exchange.refund(
                account,
                out_ref=out_ref,
                order=order,
                amount=amount,
                reason=reason,
                notify_url=order.notify_url,
                fee_returns=True,
            )
        except Conflict as conflict:
            raise failed("ACQ.DISCORDANT_REPEAT_REQUEST", "请求信息不一致") from conflict

    def _find(self, call: Call) -> Order | None:
        if trade_no := call.optional("trade_no"):
            return self.by_number(call.account, trade_no)
        return self._exchange.order(call.account, self._named(call))

    def by_number(self, account: Account, trade_no: str) -> Order | None:
        """By Alipay's own number."""
        found = self._book.select(
            Order, "WHERE account_id = ? AND provider_ref = ?", account.account_id, trade_no
        )
        return found[0] if found else None

    def _named(self, call: Call) -> str:
        out_ref = call.optional("out_trade_no")
        if not out_ref and not call.optional("trade_no"):
            raise failed("ACQ.INVALID_PARAMETER", "参数无效: out_trade_no")
        return out_ref


def leave(entry: gate.Gate, fault: str) -> None:
    """As the gate, with Alipay's word for not knowing what it did itself."""
    try:
        entry.leave(fault)
    except gate.Failing as failing:
        raise Refusal("20000", "aop.ACQ.SYSTEM_ERROR", "系统异常") from failing


def _numbers(order: Order) -> Json:
    return {"out_trade_no": order.out_ref, "trade_no": order.provider_ref}


def _logon_id(order: Order) -> str:
    return f"{order.payer[1:4]}****{order.payer[-4:]}"
