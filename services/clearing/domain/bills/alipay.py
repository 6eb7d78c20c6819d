"""Alipay's bills of a day: trades and movements of the balance, each in details and a summary, one after another.

Format: opendocs.alipay.com, "查询对账单下载地址". GBK; a part begins with a line that names it, its table stands
between dashed lines, `#` marks all that is no table; cells may end in a TAB; amounts are yuan, times Beijing time.
Refunds carry their payment's numbers and negative amounts, and our refund number in a column of its own. Transfers
stand among the movements alone.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta, timezone
from itertools import pairwise
from typing import Final

from services.clearing.domain.bills import model
from services.clearing.domain.bills.model import Bill, BillLine, LineStatus
from services.clearing.domain.errors import BillReason, BillRejected
from services.clearing.domain.model import ItemKind

CODEC: Final = "gb18030"
CURRENCY: Final = "CNY"
BEIJING: Final = timezone(timedelta(hours=8))
TIME_FORMAT: Final = "%Y-%m-%d %H:%M:%S"
TRADES, TRADES_SUMMARY = "业务明细查询", "业务汇总查询"
MOVEMENTS, MOVEMENTS_SUMMARY = "账务明细查询", "账务汇总查询"
_TITLES: Final = (TRADES, TRADES_SUMMARY, MOVEMENTS, MOVEMENTS_SUMMARY)
_COMMENT, _TITLE_MARK, _END_MARK = "#", "#支付宝", "列表结束"
# Two decimals are fen; two more are the fractions of a fen that a fee may have.
_FEN_DIGITS, _SCALE_DIGITS = 2, 6
_TRADE_COLUMNS: Final = (
    "支付宝交易号", "商户订单号", "业务类型", "完成时间", "订单金额", "商家实收", "退款批次号/请求号", "服务费",
)  # fmt: skip
_SUMMARY_COLUMNS: Final = ("交易订单总笔数", "退款订单总笔数", "订单金额", "商家实收", "服务费")
_MOVEMENT_COLUMNS: Final = (
    "业务流水号", "商户订单号", "发生时间", "收入金额", "支出金额", "账户余额", "业务类型",
)  # fmt: skip
_TRADE_KINDS: Final = {"交易": ItemKind.PAYMENT, "退款": ItemKind.REFUND}
_TRANSFER: Final = "转账"
_TRANSFER_RETURNS: Final = frozenset({"转账退回", "转账退款", "退票"})
_CHARGE: Final = "收费"
_NOTHING: Final = frozenset({"", "-"})
_PAID_TOTAL = re.compile(r"#交易合计：([0-9]+)笔，商家实收共(-?[0-9.]+)元.*")
_REFUNDED_TOTAL = re.compile(r"#退款合计：([0-9]+)笔，商家实收退款共(-?[0-9.]+)元.*")
_OUT_TOTAL = re.compile(r"#支出合计：([0-9]+)笔，共(-?[0-9.]+)元.*")
_IN_TOTAL = re.compile(r"#收入合计：([0-9]+)笔，共(-?[0-9.]+)元.*")


@dataclass(frozen=True, slots=True)
class _Row:
    number: int
    cells: Mapping[str, str]

    def scaled(self, column: str, digits: int = _SCALE_DIGITS) -> int:
        text = self.cells[column]
        try:
            return 0 if text in _NOTHING else model.scaled(text.removeprefix("+"), digits)
        except ValueError as error:
            raise model.row_invalid(self.number, f"{column} {error}") from error

    def moment(self, column: str) -> datetime:
        try:
            written = datetime.strptime(self.cells[column], TIME_FORMAT)  # noqa: DTZ007 -- zone follows
        except ValueError as error:
            raise model.row_invalid(self.number, f"{column} is not a time") from error
        return written.replace(tzinfo=BEIJING)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Part:
    """One of the files: its table, and what is said around it."""

    number: int
    rows: Sequence[_Row]
    comments: Sequence[str]


def parse(content: bytes) -> Bill:
    """Read the day's files, whatever their order; columns are found by name. Raises BillRejected."""
    parts = _parts(model.decode(content, CODEC))
    lines: list[BillLine] = []
    for details, summary in ((TRADES, TRADES_SUMMARY), (MOVEMENTS, MOVEMENTS_SUMMARY)):
        if (details in parts) != (summary in parts):
            raise BillRejected(BillReason.TRUNCATED, f"has only one of {details} and {summary}")
    if TRADES in parts:
        lines += _trades(parts[TRADES])
        _check_summary(parts[TRADES_SUMMARY], parts[TRADES].rows)
    if MOVEMENTS in parts:
        lines += _transfers(parts[MOVEMENTS])
    return Bill(tuple(lines))


def _parts(lines: Sequence[str]) -> Mapping[str, _Part]:
    starts = [index for index, line in enumerate(lines) if line.startswith(_TITLE_MARK)]
    if not starts or starts[0] != 0:
        raise model.header_invalid(1, "is not the title of an Alipay bill")
    found: dict[str, _Part] = {}
    for start, end in pairwise([*starts, len(lines)]):
        title = lines[start].removeprefix(_TITLE_MARK).strip()
        if title not in _TITLES or title in found:
            raise model.header_invalid(start + 1, f"an unexpected part {title[:20]!r}")
        found[title] = _part(title, lines[start:end], start + 1)
    return found


def _part(title: str, lines: Sequence[str], first_number: int) -> _Part:
    columns = {
        TRADES: _TRADE_COLUMNS,
        TRADES_SUMMARY: _SUMMARY_COLUMNS,
        MOVEMENTS: _MOVEMENT_COLUMNS,
        MOVEMENTS_SUMMARY: (),
    }[title]
    header: list[str] = []
    rows: list[_Row] = []
    comments: list[str] = []
    for number, text in enumerate(lines, start=first_number):
        if text.startswith(_COMMENT) or not text.strip():
            comments.append(text)
        elif any(_END_MARK in comment for comment in comments):
            raise model.row_invalid(number, "stands after the end of the table")
        elif not header:
            header = _header(text, number, columns)
        else:
            rows.append(_row(number, header, text))
    if not any(_END_MARK in comment for comment in comments):
        last = first_number + len(lines) - 1
        raise BillRejected(BillReason.TRUNCATED, f"{title} has no end", line_number=last)
    if not header:
        raise model.header_invalid(first_number, f"{title} has no table")
    return _Part(number=first_number, rows=rows, comments=comments)


def _header(text: str, number: int, wanted: Iterable[str]) -> list[str]:
    """Names without their unit, which stands in full-width brackets or in plain ones."""
    names = [re.split(r"[（(]", name.strip())[0] for name in text.split(",")]
    for name in wanted:
        if names.count(name) != 1:
            raise model.header_invalid(number, f"wants the column {name} once")
    return names


def _row(number: int, header: Sequence[str], text: str) -> _Row:
    cells = [cell.strip() for cell in text.split(",")]
    if len(cells) != len(header):
        raise model.row_invalid(number, f"has {len(cells)} cells, not {len(header)}")
    return _Row(number, dict(zip(header, cells, strict=True)))


def _trades(part: _Part) -> list[BillLine]:
    lines = [_trade(row) for row in part.rows]
    for pattern, kind in ((_PAID_TOTAL, ItemKind.PAYMENT), (_REFUNDED_TOTAL, ItemKind.REFUND)):
        count, total = _stated(part, pattern)
        rows = [row for row, line in zip(part.rows, lines, strict=True) if line.kind is kind]
        model.check_total(f"{kind} count", count, [len(rows)])
        # Refunds are written with either sign, here and there.
        received = [abs(row.scaled("商家实收")) for row in rows]
        model.check_total(f"{kind} total", abs(total), received)
    return lines


def _trade(row: _Row) -> BillLine:
    kind = _TRADE_KINDS.get(row.cells["业务类型"])
    if kind is None:
        raise model.row_invalid(row.number, f"unknown kind {row.cells['业务类型'][:20]!r}")
    is_refund = kind is ItemKind.REFUND
    amount = row.scaled("订单金额", _FEN_DIGITS)
    if amount < 0 and not is_refund:
        raise model.row_invalid(row.number, "a payment of less than nothing")
    # The fee of a sale is written with either sign, too; what it means is never in doubt.
    fee_e4 = abs(row.scaled("服务费"))
    return model.check_line(
        BillLine(
            line_number=row.number,
            kind=kind,
            out_ref=row.cells["退款批次号/请求号" if is_refund else "商户订单号"],
            provider_ref=row.cells["支付宝交易号"],
            currency=CURRENCY,
            amount_minor=abs(amount),
            fee_e4=-fee_e4 if is_refund else fee_e4,
            status=LineStatus.SUCCEEDED,
            occurred_at=row.moment("完成时间"),
        )
    )


def _check_summary(summary: _Part, rows: Sequence[_Row]) -> None:
    totals = [row for row in summary.rows if "合计" in row.cells.values()]
    if len(totals) != 1:
        raise model.header_invalid(summary.number, "wants one row of totals")
    [total] = totals
    for column, kind in (("交易订单总笔数", "交易"), ("退款订单总笔数", "退款")):
        count = sum(row.cells["业务类型"] == kind for row in rows)
        model.check_total(column, total.scaled(column, 0), [count])
    for column in ("订单金额", "商家实收", "服务费"):
        model.check_total(column, total.scaled(column), [row.scaled(column) for row in rows])


def _transfers(part: _Part) -> list[BillLine]:
    _check_movements(part)
    lines: dict[tuple[ItemKind, str], BillLine] = {}
    charges: dict[str, int] = {}
    for row in part.rows:
        kind, out_ref = row.cells["业务类型"], row.cells["商户订单号"]
        if kind == _CHARGE:
            charges[out_ref] = charges.get(out_ref, 0) + abs(row.scaled("支出金额"))
            continue
        is_return = kind in _TRANSFER_RETURNS
        if not is_return and (kind != _TRANSFER or not row.scaled("支出金额") or not out_ref):
            # Trades stand in their own table; the rest is between Alipay and the merchant.
            continue
        line = _transfer(row, is_return=is_return)
        if (line.kind, out_ref) in lines:
            raise model.row_invalid(row.number, "the transfer stands there twice")
        lines[line.kind, out_ref] = line
    return [
        replace(line, fee_e4=charges.get(out_ref, 0)) if kind is ItemKind.PAYOUT else line
        for (kind, out_ref), line in lines.items()
    ]


def _transfer(row: _Row, *, is_return: bool) -> BillLine:
    column = "收入金额" if is_return else "支出金额"
    return model.check_line(
        BillLine(
            line_number=row.number,
            kind=ItemKind.PAYOUT_RETURN if is_return else ItemKind.PAYOUT,
            out_ref=row.cells["商户订单号"],
            provider_ref=row.cells["业务流水号"],
            currency=CURRENCY,
            amount_minor=abs(row.scaled(column, _FEN_DIGITS)),
            fee_e4=0,
            status=LineStatus.SUCCEEDED,
            occurred_at=row.moment("发生时间"),
        )
    )


def _check_movements(part: _Part) -> None:
    """Counts and sums agree with what is stated, and each balance follows from the one before."""
    for pattern, column in ((_OUT_TOTAL, "支出金额"), (_IN_TOTAL, "收入金额")):
        count, total = _stated(part, pattern)
        amounts = [abs(row.scaled(column)) for row in part.rows if row.scaled(column)]
        model.check_total(f"{column} count", count, [len(amounts)])
        model.check_total(column, abs(total), amounts)
    is_backwards = len(part.rows) > 1 and part.rows[0].moment("发生时间") > part.rows[-1].moment(
        "发生时间"
    )
    for earlier, later in pairwise(part.rows[::-1] if is_backwards else part.rows):
        change = abs(later.scaled("收入金额")) - abs(later.scaled("支出金额"))
        stated = later.scaled("账户余额")
        model.check_total(
            f"balance in line {later.number}", stated, [earlier.scaled("账户余额"), change]
        )


def _stated(part: _Part, pattern: re.Pattern[str]) -> tuple[int, int]:
    """A count and a sum out of the comments around the table."""
    for comment in part.comments:
        match = pattern.fullmatch(comment.strip())
        if match is not None:
            try:
                return int(match.group(1)[:18]), model.scaled(match.group(2), _SCALE_DIGITS)
            except ValueError as error:
                raise model.row_invalid(part.number, f"a total {error}") from error
    raise BillRejected(BillReason.TRUNCATED, "has no totals at its end", line_number=part.number)
