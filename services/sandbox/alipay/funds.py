"""Transfers, the balance, and royalties, each as its interface documents it."""

import json
from collections.abc import Sequence
from typing import Any

from services.sandbox import gate, records
from services.sandbox.alipay import merchants, wire
from services.sandbox.alipay.trades import Trades, leave
from services.sandbox.alipay.wire import Call, Json, Refusal, failed
from services.sandbox.clock import rfc3339
from services.sandbox.errors import Conflict
from services.sandbox.exchange import Exchange
from services.sandbox.records import Account, Order, Payout

STATUSES = {
    records.PROCESSING: "DEALING",
    records.SUCCEEDED: "SUCCESS",
    records.FAILED: "FAIL",
    records.RETURNED: "REFUND",
}
IDENTITY_TYPES = ("ALIPAY_USER_ID", "ALIPAY_LOGON_ID", "BANKCARD_ACCOUNT")
PARTS_MAX = 5
# Of a trade, in percent, unless Alipay has agreed to more.
SHARE_MAX_PERCENT = 30
UNKNOWN_PAYEE = "nobody@"
_SCHEMA = """
CREATE TABLE IF NOT EXISTS alipay_relation (
    account_id TEXT NOT NULL, receiver TEXT NOT NULL, kind TEXT NOT NULL,
    PRIMARY KEY (account_id, receiver)
);
CREATE TABLE IF NOT EXISTS alipay_split (
    account_id TEXT NOT NULL, out_ref TEXT NOT NULL, order_ref TEXT NOT NULL,
    settle_no TEXT NOT NULL, amount INTEGER NOT NULL, parts TEXT NOT NULL, created_at TEXT NOT NULL,
    PRIMARY KEY (account_id, out_ref)
);
"""


class Funds:
    """What the fund and royalty interfaces do over the exchange and two tables of their own."""

    def __init__(self, *, exchange: Exchange, entry: gate.Gate, trades: Trades) -> None:
        self._exchange = exchange
        self._book = exchange.book
        self._gate = entry
        self._trades = trades
        for statement in filter(str.strip, _SCHEMA.split(";")):
            self._book.execute(statement)

    async def transfer(self, call: Call) -> Json:
        """`alipay.fund.trans.uni.transfer`."""
        _certified(call)
        account, out_ref, amount = (
            call.account,
            call.text("out_biz_no"),
            call.amount("trans_amount"),
        )
        call.text("order_title", length_max=256)
        payee: Any = call.content.get("payee_info")
        if not isinstance(payee, dict) or payee.get("identity_type") not in IDENTITY_TYPES:
            raise failed("INVALID_PARAMETER", "参数有误: payee_info")
        identity, name = str(payee.get("identity", "")), str(payee.get("name", ""))
        await self._gate.enter(account, "payout", out_ref)
        if not identity or identity.startswith(UNKNOWN_PAYEE):
            raise failed("PAYEE_NOT_EXIST", "收款账号不存在")
        if payee["identity_type"] == "ALIPAY_LOGON_ID" and not name:
            raise failed("PAYEE_USER_INFO_ERROR", "支付宝账号和姓名不匹配，请确认姓名是否正确")
        known = self._book.find(Payout, account.account_id, out_ref)
        fee = account.profile.payout_fee
        if known is None and self._book.available(account.account_id, "CNY") < amount + fee:
            raise failed("PAYER_BALANCE_NOT_ENOUGH", "付款方余额不足")
        fault = "" if known else self._gate.hidden(account, "payout", out_ref)
        try:
            payout = self._exchange.payouts.payout(
                account,
                out_ref=out_ref,
                amount=amount,
                currency="CNY",
                payee_account=identity,
                payee_name=name,
                description=call.optional("remark"),
                notify_url=merchants.terms(account).messages_url
                or call.parameters.get("notify_url", ""),
            )
        except Conflict as conflict:
            message = "两次请求商户单号一样，但是参数不一致"
            raise failed("PAYMENT_INFO_INCONSISTENCY", message) from conflict
        leave(self._gate, fault)
        fields = {
            "out_biz_no": out_ref,
            "order_id": payout.provider_ref,
            "pay_fund_order_id": payout.provider_ref,
            "status": STATUSES[payout.status],
        }
        if payout.finished_at is not None:
            fields["trans_date"] = wire.beijing(payout.finished_at)
        return fields

    async def query_transfer(self, call: Call) -> Json:
        """`alipay.fund.trans.common.query`."""
        _certified(call)
        out_ref = call.text("out_biz_no")
        for name in ("product_code", "biz_scene"):
            call.text(name)
        await self._gate.enter(call.account, "query_payout", out_ref)
        payout = self._book.find(Payout, call.account.account_id, out_ref)
        if payout is None:
            raise failed("ORDER_NOT_EXIST", "转账订单不存在")
        return transfer_fields(payout)

    async def balance(self, call: Call) -> Json:
        """`alipay.fund.account.query`."""
        _certified(call)
        await self._gate.enter(call.account, "balance", "")
        if call.text("alipay_user_id") != merchants.terms(call.account).seller_id:
            raise Refusal("40006", "isv.insufficient-isv-permissions", "ISV权限不足")
        available = self._book.available(call.account.account_id, "CNY")
        return {"available_amount": wire.yuan(available), "freeze_amount": "0.00"}

    async def bind(self, call: Call) -> Json:
        """`alipay.trade.royalty.relation.bind`; one that stands already is fine."""
        for receiver in await self._receivers(call):
            self._book.execute(
                "INSERT OR REPLACE INTO alipay_relation VALUES (?, ?, ?)",
                *(call.account.account_id, receiver["account"], receiver["type"]),
            )
        return {"result_code": "SUCCESS"}

    async def unbind(self, call: Call) -> Json:
        """`alipay.trade.royalty.relation.unbind`."""
        for receiver in await self._receivers(call):
            self._book.execute(
                "DELETE FROM alipay_relation WHERE account_id = ? AND receiver = ?",
                *(call.account.account_id, receiver["account"]),
            )
        return {"result_code": "SUCCESS"}

    async def settle(self, call: Call) -> Json:
        """`alipay.trade.order.settle`, synchronous: every part is paid, or none is."""
        account, out_ref = call.account, call.text("out_request_no")
        await self._gate.enter(account, "split", out_ref)
        order = self._trades.by_number(account, call.text("trade_no"))
        if order is None or not self._trades.exists(order):
            raise failed("ACQ.TRADE_NOT_EXIST", "交易不存在")
        parts = self._parts(call)
        known = self._split(account, out_ref)
        if known is not None:
            if (known["order_ref"], known["parts"]) != (order.out_ref, json.dumps(parts)):
                raise failed("ACQ.DISCORDANT_REPEAT_REQUEST", "请求信息不一致")
            return {"trade_no": order.provider_ref, "settle_no": known["settle_no"]}
        total = sum(amount for _, amount in parts)
        self._check(account, order, parts, total)
        fault = self._gate.hidden(account, "split", out_ref)
        settle_no = f"{order.provider_ref}{len(self._splits(account)):04d}"
        with self._book.transaction():
            self._book.execute(
                "INSERT INTO alipay_split VALUES (?, ?, ?, ?, ?, ?, ?)",
                *(account.account_id, out_ref, order.out_ref, settle_no, total, json.dumps(parts)),
                rfc3339(self._exchange.clock.now()),
            )
            self._book.credit(account.account_id, "CNY", -total)
        leave(self._gate, fault)
        return {"trade_no": order.provider_ref, "settle_no": settle_no}

    async def query_settle(self, call: Call) -> Json:
        """`alipay.trade.order.settle.query`."""
        out_ref = call.text("out_request_no")
        await self._gate.enter(call.account, "query_split", out_ref)
        split = self._split(call.account, out_ref)
        if split is None:
            raise failed("ACQ.TRADE_SETTLE_NOT_EXIST", "分账请求不存在")
        when = split["created_at"][:19].replace("T", " ")
        details = [
            {
                "operation_type": "transfer",
                "execute_dt": when,
                "trans_in": receiver,
                "amount": wire.yuan(amount),
                "state": "SUCCESS",
            }
            for receiver, amount in json.loads(split["parts"])
        ]
        return {
            "out_request_no": out_ref,
            "operation_dt": when,
            "royalty_detail_list": details,
        }

    def splits_of(self, account: Account) -> Sequence[tuple[str, str, int, str]]:
        """Settlement number, order, total and time of every division, for the bill."""
        return [
            (split["settle_no"], split["order_ref"], split["amount"], split["created_at"])
            for split in self._splits(account)
        ]

    async def _receivers(self, call: Call) -> Sequence[dict[str, str]]:
        await self._gate.enter(call.account, "relation", call.text("out_request_no"))
        receivers: Any = call.content.get("receiver_list")
        if not isinstance(receivers, list) or not 0 < len(receivers) <= 20:  # noqa: PLR2004 (documented)
            raise failed("ACQ.INVALID_PARAMETER", "参数无效: receiver_list")
        for receiver in receivers:
            is_right = isinstance(receiver, dict) and isinstance(receiver.get("account"), str)
            if not is_right or receiver.get("type") not in ("userId", "loginName", "openId"):
                raise failed("ACQ.INVALID_PARAMETER", "参数无效: receiver_list")
        return receivers

    def _parts(self, call: Call) -> list[list[Any]]:
        written: Any = call.content.get("royalty_parameters")
        if not isinstance(written, list) or not 0 < len(written) <= PARTS_MAX:
            raise failed("ACQ.INVALID_PARAMETER", "参数无效: royalty_parameters")
        parts = []
        for part in written:
            amount = wire.fen_of(part.get("amount")) if isinstance(part, dict) else -1
            if amount <= 0 or not isinstance(part.get("trans_in"), str):
                raise failed("ACQ.INVALID_PARAMETER", "参数无效: royalty_parameters")
            parts.append([part["trans_in"], amount])
        return parts

    def _check(self, account: Account, order: Order, parts: list[list[Any]], total: int) -> None:
        bound = {
            row[0]
            for row in self._book.execute(
                "SELECT receiver FROM alipay_relation WHERE account_id = ?", account.account_id
            )
        }
        if any(receiver not in bound for receiver, _ in parts):
            raise failed("ACQ.ROYALTY_RECEIVER_INVALID", "分账收入方账户无效")
        if order.status != records.SUCCEEDED:
            raise failed("ACQ.TRADE_STATUS_ERROR", "交易状态不合法")
        before = sum(
            split["amount"]
            for split in self._splits(account)
            if split["order_ref"] == order.out_ref
        )
        if (before + total) * 100 > order.amount * SHARE_MAX_PERCENT:
            raise failed("ACQ.ALLOC_AMOUNT_VALIDATE_ERROR", "分账金额校验失败")

    def _split(self, account: Account, out_ref: str) -> dict[str, Any] | None:
        found = [split for split in self._splits(account) if split["out_ref"] == out_ref]
        return found[0] if found else None

    def _splits(self, account: Account) -> list[dict[str, Any]]:
        names = ("out_ref", "order_ref", "settle_no", "amount", "parts", "created_at")
        rows = self._book.execute(
            f"SELECT {', '.join(names)} FROM alipay_split WHERE account_id = ? ORDER BY created_at",
            account.account_id,
        )
        return [dict(zip(names, row, strict=True)) for row in rows]


def transfer_fields(payout: Payout) -> Json:
    """A transfer as its query and its notice show it."""
    fields = {
        "out_biz_no": payout.out_ref,
        "order_id": payout.provider_ref,
        "status": STATUSES[payout.status],
        "trans_amount": wire.yuan(payout.amount),
        "order_fee": wire.yuan(payout.fee),
    }
    if payout.finished_at is not None and payout.status != records.FAILED:
        fields["pay_date"] = wire.beijing(payout.finished_at)
    if payout.code:
        fields |= {"error_code": payout.code, "fail_reason": payout.code.lower()}
    return fields


def _certified(call: Call) -> None:
    if not merchants.terms(call.account).certificate_mode:
        raise Refusal(
            "40006", "isv.insufficient-isv-permissions", "ISV权限不足，建议使用公钥证书模式"
        )
