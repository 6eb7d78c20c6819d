"""What the providers' bills have in common: what a day is made of, and the faults planted in it."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime

from services.sandbox.records import Capture, Order, Payout, Refund

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


def yuan(amount: int) -> str:
    """Fen as yuan with two decimals."""
    sign = "-" if amount < 0 else ""
    return f"{sign}{abs(amount) // 100}.{abs(amount) % 100:02d}"
