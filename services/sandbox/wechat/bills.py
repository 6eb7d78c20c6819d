"""WeChat's trade bill "ALL".

The layout follows pay.weixin.qq.com, "交易账单文件格式说明" (27 columns), with its traps: cells begin with a backtick,
headers do not; fees have five decimals and are negative on refunds; refund rows repeat the order's numbers with an order
amount of 0.00; the count may be written `45.0`.
"""

from collections.abc import Iterable, Mapping, Sequence
from datetime import date, datetime

from services.sandbox.bills import BYTE_ORDER_MARK, Line, yuan
from services.sandbox.clock import SHANGHAI
from services.sandbox.records import Account, Order, Refund

COLUMNS = (
    "交易时间", "公众账号ID", "商户号", "特约商户号", "设备号", "微信订单号", "商户订单号",
    "用户标识", "交易类型", "交易状态", "付款银行", "货币种类", "应结订单金额", "代金券金额",
    "微信退款单号", "商户退款单号", "退款金额", "充值券退款金额", "退款类型", "退款状态",
    "商品名称", "商户数据包", "手续费", "费率", "订单金额", "申请退款金额", "费率备注",
)  # fmt: skip
SUMMARY_COLUMNS = (
    "总交易单数", "应结订单总金额", "退款总金额", "充值券退款总金额", "手续费总金额",
    "订单总金额", "申请退款总金额",
)  # fmt: skip


def trade_bill(
    account: Account,
    day: date,
    lines: Sequence[Line],
    orders: Mapping[str, Order],
    *,
    byte_order_mark: bool,
) -> bytes:
    """The trade bill "ALL" of a day. `orders` holds the orders that the refund lines belong to."""
    payments = [line for line in lines if isinstance(line, Order)]
    refunds = [line for line in lines if isinstance(line, Refund)]
    rows = [_payment(account, line) for line in payments]
    rows += [_refund(account, line, orders[line.order_ref]) for line in refunds]
    rows.sort()
    paid = sum(line.amount for line in payments)
    refunded = sum(line.amount for line in refunds)
    fees = sum(line.fee for line in payments) - sum(line.fee for line in refunds)
    count = f"{len(rows)}.0" if day.toordinal() % 2 == 0 else str(len(rows))
    summary = [count, yuan(paid), yuan(refunded), "0.00", _fee(fees), yuan(paid)]
    text = [",".join(COLUMNS), *map(_cells, rows)]
    text += [",".join(SUMMARY_COLUMNS), _cells([*summary, yuan(refunded)])]
    content = "".join(f"{line}\r\n" for line in text).encode()
    return BYTE_ORDER_MARK + content if byte_order_mark else content


def _payment(account: Account, order: Order) -> list[str]:
    amount = yuan(order.amount)
    return [
        *_opening(account, order, order.paid_at or order.created_at, "SUCCESS"),
        *(amount, "0.00", "0", "0", "0.00", "0.00", "", ""),
        *(_free_text(order.description), _free_text(order.attach)),
        *(_fee(order.fee), _rate(account), amount, "0.00", ""),
    ]


def _refund(account: Account, refund: Refund, order: Order) -> list[str]:
    amount = yuan(refund.amount)
    state = "SUCCESS" if refund.status == "SUCCEEDED" else "PROCESSING"
    return [
        *_opening(account, order, refund.created_at, "REFUND"),
        *("0.00", "0.00", refund.provider_ref, refund.out_ref, amount, "0.00", "ORIGINAL", state),
        *(_free_text(order.description), _free_text(order.attach)),
        *(_fee(-refund.fee), _rate(account), "0.00", amount, ""),
    ]


def _opening(account: Account, order: Order, moment: datetime, state: str) -> list[str]:
    written = moment.astimezone(SHANGHAI).strftime("%Y-%m-%d %H:%M:%S")
    return [
        *(
            written,
            account.terms["appid"],
            account.account_id,
            "0",
            "",
            order.provider_ref,
            order.out_ref,
        ),
        *(order.payer, "NATIVE", state, "OTHERS", order.currency),
    ]


def _cells(cells: Iterable[str]) -> str:
    return ",".join("`" + cell for cell in cells)


def _free_text(text: str) -> str:
    """As WeChat escapes it, so that splitting a line on commas stays safe."""
    return text.replace(",", "\\ ").replace("\r", "").replace("\n", "\\n")


def _fee(amount: int) -> str:
    return yuan(amount) + "000"


def _rate(account: Account) -> str:
    return yuan(account.profile.fee_bps) + "%"
