"""Bill files as the channels write them: WeChat's trade bill "ALL", and simpay's day file.

WeChat's layout follows pay.weixin.qq.com, "交易账单文件格式说明" (27 columns), with its traps: cells
begin with a backtick, headers do not; fees have five decimals and are negative on refunds; refund
rows repeat the order's numbers with an order amount of 0.00; the count may be written `45.0`.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime

from services.sandbox.clock import SHANGHAI, rfc3339
from services.sandbox.records import SUCCEEDED, Account, Capture, Order, Payout, Refund

WECHAT_COLUMNS = (
    "交易时间", "公众账号ID", "商户号", "特约商户号", "设备号", "微信订单号", "商户订单号",
    "用户标识", "交易类型", "交易状态", "付款银行", "货币种类", "应结订单金额", "代金券金额",
    "微信退款单号", "商户退款单号", "退款金额", "充值券退款金额", "退款类型", "退款状态",
    "商品名称", "商户数据包", "手续费", "费率", "订单金额", "申请退款金额", "费率备注",
)  # fmt: skip
WECHAT_SUMMARY_COLUMNS = (
    "总交易单数", "应结订单总金额", "退款总金额", "充值券退款总金额", "手续费总金额",
    "订单总金额", "申请退款总金额",
)  # fmt: skip
SIMPAY_COLUMNS = (
    "order_no", "refund_no", "payout_no", "kind", "amount", "currency", "fee", "status",
    "provider_no", "time", "capture_no",
)  # fmt: skip

WRONG_AMOUNT_EXTRA = 100
BYTE_ORDER_MARK = b"\xef\xbb\xbf"
TRUNCATED_NUMERATOR, TRUNCATED_DENOMINATOR = 3, 5


@dataclass(frozen=True, slots=True, kw_only=True)
class PayoutReturn:
    """The money of a payout coming back, under the payout's number; its fee stays taken."""

    out_ref: str
    amount: int
    currency: str
    provider_ref: str
    returned_at: datetime | None


Line = Order | Capture | Refund | Payout | PayoutReturn


def payout_return(payout: Payout) -> PayoutReturn:
    """The line of a payout's return."""
    return PayoutReturn(
        out_ref=payout.out_ref,
        amount=payout.amount,
        currency=payout.currency,
        provider_ref=payout.provider_ref,
        returned_at=payout.returned_at,
    )


def altered(lines: Iterable[Line], alterations: Mapping[str, str]) -> list[Line]:
    """The lines as they go out: with the planted wrong amounts, without the planted gaps."""
    result = []
    for line in lines:
        fault = alterations.get(line.out_ref)
        if fault == "bill_missing_row":
            continue
        wrong = fault == "bill_wrong_amount"
        result.append(replace(line, amount=line.amount + WRONG_AMOUNT_EXTRA) if wrong else line)
    return result


def truncated(content: bytes) -> bytes:
    """A file whose transfer broke off, in the middle of a row."""
    return content[: len(content) * TRUNCATED_NUMERATOR // TRUNCATED_DENOMINATOR]


def simpay(lines: Sequence[Line]) -> bytes:
    """The day file of simpay: a header, a row a line, and `#total,<rows>,<sum of amounts>`."""
    rows = [",".join(SIMPAY_COLUMNS)]
    rows += [",".join(_simpay_cells(line)) for line in lines]
    rows.append(f"#total,{len(lines)},{sum(line.amount for line in lines)}")
    return ("\n".join(rows) + "\n").encode()


def _simpay_cells(line: Line) -> list[str]:
    number, capture_no = line.out_ref, ""
    fee = 0 if isinstance(line, PayoutReturn) else line.fee
    match line:
        case Order():
            numbers, kind, moment = [number, "", ""], "PAY", line.paid_at
        case Capture():
            numbers, kind, moment = [line.order_ref, "", ""], "CAPTURE", line.finished_at
            capture_no = number
        case Refund():
            numbers, kind, moment = [line.order_ref, number, ""], "REFUND", line.finished_at
        case Payout():
            numbers, kind, moment = ["", "", number], "PAYOUT", line.finished_at
        case _:
            numbers, kind, moment = ["", "", number], "PAYOUT_RETURN", line.returned_at
    # What a bill lists has happened, whatever became of it since.
    cells = [*numbers, kind, str(line.amount), line.currency, str(fee), SUCCEEDED]
    return [*cells, line.provider_ref, rfc3339(moment) if moment else "", capture_no]


def wechat(
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
    rows = [_wechat_payment(account, line) for line in payments]
    rows += [_wechat_refund(account, line, orders[line.order_ref]) for line in refunds]
    rows.sort()
    paid = sum(line.amount for line in payments)
    refunded = sum(line.amount for line in refunds)
    fees = sum(line.fee for line in payments) - sum(line.fee for line in refunds)
    count = f"{len(rows)}.0" if day.toordinal() % 2 == 0 else str(len(rows))
    summary = [count, _yuan(paid), _yuan(refunded), "0.00", _fee(fees), _yuan(paid)]
    text = [",".join(WECHAT_COLUMNS), *map(_cells, rows)]
    text += [",".join(WECHAT_SUMMARY_COLUMNS), _cells([*summary, _yuan(refunded)])]
    content = "".join(f"{line}\r\n" for line in text).encode()
    return BYTE_ORDER_MARK + content if byte_order_mark else content


def _wechat_payment(account: Account, order: Order) -> list[str]:
    amount = _yuan(order.amount)
    return [
        *_wechat_opening(account, order, order.paid_at or order.created_at, "SUCCESS"),
        *(amount, "0.00", "0", "0", "0.00", "0.00", "", ""),
        *(_free_text(order.description), _free_text(order.attach)),
        *(_fee(order.fee), _rate(account), amount, "0.00", ""),
    ]


def _wechat_refund(account: Account, refund: Refund, order: Order) -> list[str]:
    amount = _yuan(refund.amount)
    state = "SUCCESS" if refund.status == "SUCCEEDED" else "PROCESSING"
    return [
        *_wechat_opening(account, order, refund.created_at, "REFUND"),
        *("0.00", "0.00", refund.provider_ref, refund.out_ref, amount, "0.00", "ORIGINAL", state),
        *(_free_text(order.description), _free_text(order.attach)),
        *(_fee(-refund.fee), _rate(account), "0.00", amount, ""),
    ]


def _wechat_opening(account: Account, order: Order, moment: datetime, state: str) -> list[str]:
    written = moment.astimezone(SHANGHAI).strftime("%Y-%m-%d %H:%M:%S")
    return [
        *(written, account.appid, account.account_id, "0", "", order.provider_ref, order.out_ref),
        *(order.payer, "NATIVE", state, "OTHERS", order.currency),
    ]


def _cells(cells: Iterable[str]) -> str:
    return ",".join("`" + cell for cell in cells)


def _free_text(text: str) -> str:
    """As WeChat escapes it, so that splitting a line on commas stays safe."""
    return text.replace(",", "\\ ").replace("\r", "").replace("\n", "\\n")


def _yuan(amount: int) -> str:
    sign = "-" if amount < 0 else ""
    return f"{sign}{abs(amount) // 100}.{abs(amount) % 100:02d}"


def _fee(amount: int) -> str:
    return _yuan(amount) + "000"


def _rate(account: Account) -> str:
    return _yuan(account.profile.fee_bps) + "%"
