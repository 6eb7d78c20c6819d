"""What every bill says, whatever its format, and what parsers share."""

import enum
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from libs.money import AMOUNT_MINOR_MAX, is_currency
from services.clearing.domain.errors import BillReason, BillRejected
from services.clearing.domain.model import ItemKind

FEE_SCALE = 10_000
"""Fees are kept in ten-thousandths of a minor unit: bills carry fractions of a fen."""
OUT_REF_LENGTH_MAX = 128
_DECIMAL = re.compile(r"(-?)([0-9]{1,16})(?:\.([0-9]{1,12}))?", re.ASCII)
_WHOLE = re.compile(r"-?[0-9]{1,18}", re.ASCII)
_BYTE_ORDER_MARK = "\ufeff"
# How the codecs of UTF-8 and of GB18030 call it.
_CUT_CHARACTER = frozenset({"unexpected end of data", "incomplete multibyte sequence"})


class LineStatus(enum.StrEnum):
    """What the channel says became of it."""

    SUCCEEDED = "SUCCEEDED"
    PROCESSING = "PROCESSING"
    REVOKED = "REVOKED"
    FAILED = "FAILED"


@dataclass(frozen=True, slots=True, kw_only=True)
class BillLine:
    """One line. `fee_e4` is what the channel took (negative: gave back), scaled by FEE_SCALE."""

    line_number: int
    kind: ItemKind
    out_ref: str
    provider_ref: str
    currency: str
    amount_minor: int
    fee_e4: int
    status: LineStatus
    occurred_at: datetime


@dataclass(frozen=True, slots=True)
class Bill:
    """A bill whose count and sums agree with its own summary.

    `account_fees_e4` is what the channel took for the account as a whole, by currency.
    """

    lines: Sequence[BillLine]
    account_fees_e4: Mapping[str, int] = field(default_factory=dict)

    def fees_e4(self) -> dict[str, int]:
        """The channel's fee by currency."""
        fees = dict(self.account_fees_e4)
        for line in self.lines:
            fees[line.currency] = fees.get(line.currency, 0) + line.fee_e4
        return fees


def decode(content: bytes, codec: str = "utf-8") -> list[str]:
    """Return the lines of a file, without BOM, line ends, and empty lines at the end.

    Raises BillRejected: TRUNCATED for nothing at all or a character cut in two at the very end,
    else ENCODING_INVALID.
    """
    try:
        text = content.decode(codec)
    except UnicodeDecodeError as error:
        if error.reason in _CUT_CHARACTER:
            raise BillRejected(BillReason.TRUNCATED, "ends within a character") from error
        line_number = content.count(b"\n", 0, error.start) + 1
        raise BillRejected(
            BillReason.ENCODING_INVALID, f"is not {codec.upper()}", line_number=line_number
        ) from error
    lines = [line.removesuffix("\r") for line in text.removeprefix(_BYTE_ORDER_MARK).split("\n")]
    while lines and not lines[-1].strip():
        lines.pop()
    if not lines:
        raise BillRejected(BillReason.TRUNCATED, "is empty")
    return lines


def row_invalid(line_number: int, detail: str) -> BillRejected:
    """The rejection of one row."""
    return BillRejected(BillReason.ROW_INVALID, detail, line_number=line_number)


def header_invalid(line_number: int, detail: str) -> BillRejected:
    """The rejection of a header."""
    return BillRejected(BillReason.HEADER_INVALID, detail, line_number=line_number)


def scaled(text: str, digits: int) -> int:
    """Read a plain decimal as an integer of 10**-digits, exactly. Raises ValueError.

    More decimals than `digits` are fine as long as they are zeros.
    """
    match = _DECIMAL.fullmatch(text)
    if match is None:
        raise ValueError("is not a plain decimal number")
    sign, whole, fraction = match.group(1), match.group(2), match.group(3) or ""
    if fraction[digits:].strip("0"):
        raise ValueError(f"has more than {digits} decimals")
    value = int(whole + fraction[:digits].ljust(digits, "0"))
    return -value if sign else value


def whole(text: str) -> int:
    """Read an integer; "40.00" is none, it may be meant in another unit. Raises ValueError."""
    if _WHOLE.fullmatch(text) is None:
        raise ValueError("is not a whole number")
    return int(text)


def check_line(line: BillLine) -> BillLine:
    """Return the line if its values can be true. Raises BillRejected with its number."""
    if not line.out_ref or len(line.out_ref) > OUT_REF_LENGTH_MAX:
        raise row_invalid(line.line_number, "our reference is missing or too long")
    if "\0" in line.out_ref + line.provider_ref:
        raise row_invalid(line.line_number, "a reference holds a NUL character")
    if not is_currency(line.currency):
        raise row_invalid(line.line_number, f"{line.currency[:8]!r} is not a currency")
    if not 0 <= line.amount_minor <= AMOUNT_MINOR_MAX:
        raise row_invalid(line.line_number, "the amount is out of range")
    if abs(line.fee_e4) > AMOUNT_MINOR_MAX:
        raise row_invalid(line.line_number, "the fee is out of range")
    return line


def check_total(name: str, stated: int, values: Iterable[int]) -> None:
    """Raise BillRejected unless the values add up to what the summary states."""
    added = sum(values)
    if stated != added:
        raise BillRejected(
            BillReason.TOTALS_MISMATCH, f"{name}: the summary says {stated}, the lines {added}"
        )
