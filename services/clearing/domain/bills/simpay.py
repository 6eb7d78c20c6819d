"""The day file of simpay: UTF-8 CSV, amounts in minor units, last line `#total,<rows>,<sum of amounts>`."""

from collections.abc import Mapping
from datetime import datetime

from services.clearing.domain.bills import model
from services.clearing.domain.bills.model import Bill, BillLine, LineStatus
from services.clearing.domain.errors import BillReason, BillRejected
from services.clearing.domain.model import ItemKind

TOTAL_MARK = "#total"
_TOTAL_CELLS = 3
_COLUMNS = (
    "order_no", "refund_no", "payout_no", "kind", "amount", "currency", "fee", "status",
    "provider_no", "time",
)  # fmt: skip
# Files written before there were captures have no such column.
_OPTIONAL_COLUMNS = ("capture_no",)
_KINDS = {
    "PAY": (ItemKind.PAYMENT, "order_no"),
    "CAPTURE": (ItemKind.PAYMENT, "capture_no"),
    "REFUND": (ItemKind.REFUND, "refund_no"),
    "PAYOUT": (ItemKind.PAYOUT, "payout_no"),
    "PAYOUT_RETURN": (ItemKind.PAYOUT_RETURN, "payout_no"),
}


def parse(content: bytes) -> Bill:
    """Read the file; columns are found by name. Raises BillRejected."""
    lines = model.decode(content)
    header = lines[0].split(",")
    total = lines[-1].split(",")
    if total[0] != TOTAL_MARK or len(total) != _TOTAL_CELLS:
        raise BillRejected(BillReason.TRUNCATED, "has no #total line", line_number=len(lines))
    missing = [name for name in _COLUMNS if header.count(name) != 1]
    missing += [name for name in _OPTIONAL_COLUMNS if header.count(name) > 1]
    if missing:
        raise model.header_invalid(1, f"wants each of these once: {', '.join(missing)}")
    parsed = [_line(number, header, text) for number, text in enumerate(lines[1:-1], start=2)]
    try:
        stated_count, stated_sum = (model.whole(cell) for cell in total[1:])
    except ValueError as error:
        raise model.row_invalid(len(lines), f"a total {error}") from error
    model.check_total("rows", stated_count, [len(parsed)])
    model.check_total("amounts", stated_sum, [line.amount_minor for line in parsed])
    return Bill(tuple(parsed))


def _line(number: int, header: list[str], text: str) -> BillLine:
    cells = text.split(",")
    if len(cells) != len(header):
        raise model.row_invalid(number, f"has {len(cells)} cells, not {len(header)}")
    row = dict(zip(header, cells, strict=True))
    try:
        kind, reference = _KINDS[row["kind"]]
    except KeyError:
        raise model.row_invalid(number, f"unknown kind {row['kind'][:20]!r}") from None
    return model.check_line(
        BillLine(
            line_number=number,
            kind=kind,
            out_ref=row.get(reference, ""),
            provider_ref=row["provider_no"],
            currency=row["currency"],
            amount_minor=_whole(number, row, "amount"),
            fee_e4=_whole(number, row, "fee") * model.FEE_SCALE,
            status=_status(row["status"]),
            occurred_at=_moment(number, row["time"]),
        )
    )


def _whole(number: int, row: Mapping[str, str], column: str) -> int:
    try:
        return model.whole(row[column])
    except ValueError as error:
        raise model.row_invalid(number, f"{column} {error}") from error


def _status(text: str) -> LineStatus:
    try:
        return LineStatus(text)
    except ValueError:
        return LineStatus.FAILED


def _moment(number: int, text: str) -> datetime:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as error:
        raise model.row_invalid(number, "the time is not a time") from error
    if moment.tzinfo is None:
        raise model.row_invalid(number, "the time has no zone")
    return moment
