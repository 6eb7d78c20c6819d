"""WeChat Pay's trade bill of type ALL, in its 27-column form and the older one of 24 columns.

Format: pay.weixin.qq.com, "交易账单". Header without backticks, then rows whose every cell begins
with one, then a summary header and one summary row. Commas in free text are escaped by WeChat;
amounts are yuan, fees have five decimals and are negative on refunds; times are Beijing time.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from typing import Final

from libs import money
from services.clearing.domain.bills import model
from services.clearing.domain.bills.model import Bill, BillLine, LineStatus
from services.clearing.domain.errors import BillReason, BillRejected
from services.clearing.domain.model import ItemKind

CELL_MARK: Final = "`"
BEIJING: Final = timezone(timedelta(hours=8))
TIME_FORMAT: Final = "%Y-%m-%d %H:%M:%S"
SUMMARY_LINES: Final = 2
# Six decimals of a yuan: the finest that a fee in ten-thousandths of a fen can say.
_SCALE_DIGITS: Final = 6
_COUNT: Final = "总交易单数"
_FEE: Final = "手续费"
_REQUIRED: Final = (
    "交易时间", "微信订单号", "商户订单号", "交易状态", "货币种类", "微信退款单号", "商户退款单号",
    "退款状态", _FEE,
)  # fmt: skip
# What an order and a refund came to, coupons included: in the newer form, else in the older one.
_ORDER_AMOUNT: Final = ("订单金额", "总金额")
_REFUND_AMOUNT: Final = ("申请退款金额", "退款金额")
# A column, under each of its names, and the names of its total.
_TOTALS: Final = (
    (("应结订单金额",), ("应结订单总金额",)),
    (("退款金额",), ("退款总金额", "总退款金额")),
    (("充值券退款金额",), ("充值券退款总金额",)),
    (("代金券或立减优惠退款金额", "企业红包退款金额"), ("总代金券或立减优惠退款金额", "总企业红包退款金额", "企业红包退款总金额")),
    ((_FEE,), ("手续费总金额",)),
    (("订单金额",), ("订单总金额",)),
    (("总金额",), ("总交易额", "总金额")),
    (("申请退款金额",), ("申请退款总金额",)),
)  # fmt: skip
_REFUND_STATUS: Final = {
    "SUCCESS": LineStatus.SUCCEEDED,
    "PROCESSING": LineStatus.PROCESSING,
}


@dataclass(frozen=True, slots=True)
class _Row:
    number: int
    cells: Mapping[str, str]

    def scaled(self, column: str) -> int:
        try:
            return model.scaled(self.cells[column], _SCALE_DIGITS)
        except ValueError as error:
            raise model.row_invalid(self.number, f"{column} {error}") from error

    def amount_minor(self, column: str, currency: str) -> int:
        try:
            return model.scaled(self.cells[column], money.exponent(currency))
        except ValueError as error:
            raise model.row_invalid(self.number, f"{column} {error}") from error


def parse(content: bytes) -> Bill:
    """Read the file; columns are found by name. Raises BillRejected."""
    lines = model.decode(content)
    header = _header(lines[0], 1)
    summary = _summary(lines)
    for name in _REQUIRED:
        if header.count(name) != 1:
            raise model.header_invalid(1, f"wants the column {name} once")
    order_column = _first_of(_ORDER_AMOUNT, header)
    refund_column = _first_of(_REFUND_AMOUNT, header)
    rows = [
        _row(number, header, text) for number, text in enumerate(lines[1:-SUMMARY_LINES], start=2)
    ]
    parsed = [_line(row, order_column, refund_column) for row in rows]
    _check_totals(header, rows, summary, {order_column, refund_column, _FEE})
    return Bill(tuple(parsed))


def _header(text: str, number: int) -> list[str]:
    names = [name.strip().removeprefix(CELL_MARK) for name in text.split(",")]
    if "交易时间" not in names and _COUNT not in names:
        raise model.header_invalid(number, "is not the header of a WeChat trade bill")
    return names


def _summary(lines: Sequence[str]) -> _Row:
    number = len(lines)
    if number <= SUMMARY_LINES or not lines[-SUMMARY_LINES].startswith(_COUNT):
        raise BillRejected(BillReason.TRUNCATED, "has no summary at its end", line_number=number)
    names = _header(lines[-SUMMARY_LINES], number - 1)
    cells = _cells(lines[-1], number)
    if len(cells) != len(names):
        raise BillRejected(BillReason.TRUNCATED, "breaks off in its summary", line_number=number)
    return _Row(number, dict(zip(names, cells, strict=True)))


def _row(number: int, header: Sequence[str], text: str) -> _Row:
    cells = _cells(text, number)
    if len(cells) != len(header):
        raise model.row_invalid(number, f"has {len(cells)} cells, not {len(header)}")
    return _Row(number, dict(zip(header, cells, strict=True)))


def _cells(text: str, number: int) -> list[str]:
    if not text.startswith(CELL_MARK):
        raise model.row_invalid(number, "does not begin with a backtick")
    return text[1:].split("," + CELL_MARK)


def _first_of(names: Sequence[str], header: Sequence[str]) -> str:
    for name in names:
        if header.count(name) == 1:
            return name
    raise model.header_invalid(1, f"wants one of the columns {', '.join(names)}")


def _line(row: _Row, order_column: str, refund_column: str) -> BillLine:
    cells = row.cells
    currency = cells["货币种类"]
    if not money.is_currency(currency):
        raise model.row_invalid(row.number, f"{currency[:8]!r} is not a currency")
    kind, status, column = ItemKind.PAYMENT, LineStatus.SUCCEEDED, order_column
    state = cells["交易状态"]
    if state == "REFUND":
        kind, column = ItemKind.REFUND, refund_column
        status = _REFUND_STATUS.get(cells["退款状态"], LineStatus.FAILED)
    elif state == "REVOKED":
        status = LineStatus.REVOKED
    elif state != "SUCCESS":
        raise model.row_invalid(row.number, f"unknown state {state[:20]!r}")
    is_refund = kind is ItemKind.REFUND
    return model.check_line(
        BillLine(
            line_number=row.number,
            kind=kind,
            out_ref=cells["商户退款单号" if is_refund else "商户订单号"],
            provider_ref=cells["微信退款单号" if is_refund else "微信订单号"],
            currency=currency,
            amount_minor=row.amount_minor(column, currency),
            fee_e4=_fee_e4(row, currency),
            status=status,
            occurred_at=_moment(row),
        )
    )


def _fee_e4(row: _Row, currency: str) -> int:
    try:
        return model.scaled(row.cells[_FEE], money.exponent(currency) + 4)
    except ValueError as error:
        raise model.row_invalid(row.number, f"{_FEE} {error}") from error


def _moment(row: _Row) -> datetime:
    try:
        moment = datetime.strptime(row.cells["交易时间"], TIME_FORMAT)  # noqa: DTZ007 -- zone follows
    except ValueError as error:
        raise model.row_invalid(row.number, "交易时间 is not a time") from error
    return moment.replace(tzinfo=BEIJING)


def _check_totals(
    header: Sequence[str], rows: Sequence[_Row], summary: _Row, required: Collection[str]
) -> None:
    try:
        stated_count = model.scaled(summary.cells[_COUNT], 0)
    except ValueError as error:
        raise model.row_invalid(summary.number, f"{_COUNT} {error}") from error
    model.check_total(_COUNT, stated_count, [len(rows)])
    for columns, totals in _TOTALS:
        column = next((name for name in columns if name in header), None)
        total = next((name for name in totals if name in summary.cells), None)
        if total is None and column in required:
            raise model.header_invalid(summary.number - 1, f"has no total of {column}")
        if column is not None and total is not None:
            values = [row.scaled(column) for row in rows]
            model.check_total(total, summary.scaled(total), values)
