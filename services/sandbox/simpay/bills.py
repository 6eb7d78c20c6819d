"""Simpay's day file."""

from collections.abc import Sequence

from services.sandbox.bills import Line, PayoutReturn
from services.sandbox.clock import rfc3339
from services.sandbox.records import SUCCEEDED, Capture, Order, Payout, Refund

COLUMNS = (
    "order_no", "refund_no", "payout_no", "kind", "amount", "currency", "fee", "status",
    "provider_no", "time", "capture_no",
)  # fmt: skip


def day_file(lines: Sequence[Line]) -> bytes:
    """The day file of simpay: a header, a row a line, and `#total,<rows>,<sum of amounts>`."""
    rows = [",".join(COLUMNS)]
    rows += [",".join(_cells(line)) for line in lines]
    rows.append(f"#total,{len(lines)},{sum(line.amount for line in lines)}")
    return ("\n".join(rows) + "\n").encode()


def _cells(line: Line) -> list[str]:
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
