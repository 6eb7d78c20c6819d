"""A day of CMB's transactions (DCTRSINF), as the gateway puts its pages together: JSON, amounts in yuan.

The bank has no file and no hash of a day; each page states how many debits and credits it holds and their sums. Whether
it means the page alone or all so far, published clients do not say, so either is believed.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta, timezone
from typing import Any, Final

import orjson

from libs import money
from services.clearing.domain.bills import model, movements
from services.clearing.domain.bills.model import Bill
from services.clearing.domain.bills.movements import Movement
from services.clearing.domain.errors import BillReason, BillRejected

FORMAT: Final = "cmb-transactions-1"
BEIJING: Final = timezone(timedelta(hours=8))
DEBIT, CREDIT = "D", "C"
CHARGE_WORD: Final = "手续费"
_TEXTS: Final = ("naryur", "busnam", "nusage", "busnar", "otrnar")

Row = Mapping[str, Any]


def parse(content: bytes) -> Bill:
    """Read the pages. Raises BillRejected."""
    try:
        document = orjson.loads(content)
    except orjson.JSONDecodeError as error:
        raise BillRejected(BillReason.TRUNCATED, "is not whole JSON") from error
    if not isinstance(document, dict) or document.get("format") != FORMAT:
        raise model.header_invalid(1, f"is not {FORMAT}")
    currency, pages = document.get("currency"), document.get("pages")
    if not isinstance(currency, str) or not money.is_currency(currency):
        raise model.header_invalid(1, "names no currency")
    if not isinstance(pages, list) or not pages:
        raise model.header_invalid(1, "has no pages")
    rows: list[Row] = []
    found: list[Movement] = []
    for page in pages:
        of_page = _rows(page, "ntqactrsz2")
        fresh = [
            _movement(row, len(rows) + number, currency)
            for number, row in enumerate(of_page, start=1)
        ]
        rows += of_page
        found += fresh
        (control, *_) = _rows(page, "ntrbptrsz1") or [{}]
        _check_control(control, fresh, found, currency)
        if (control.get("cotflg") == "Y") is (page is pages[-1]):
            raise BillRejected(BillReason.TRUNCATED, "pages are missing, or too many")
    _check_running_balance(rows, found, currency)
    return movements.bill(found)


def _rows(page: object, name: str) -> list[Row]:
    value = page.get(name, []) if isinstance(page, dict) else None
    if not isinstance(value, list) or not all(isinstance(each, dict) for each in value):
        raise model.header_invalid(1, f"{name} is no list of rows")
    return value


def _movement(row: Row, number: int, currency: str) -> Movement:
    direction = _text(row, "amtcdr")
    if direction not in (DEBIT, CREDIT):
        raise model.row_invalid(number, "is neither debit nor credit")
    try:
        moment = datetime.strptime(
            f"{_text(row, 'etydat')}{_text(row, 'etytim') or '000000'}", "%Y%m%d%H%M%S"
        ).replace(tzinfo=BEIJING)
    except ValueError as error:
        raise model.row_invalid(number, "the time is not a time") from error
    return Movement(
        line_number=number,
        reference=_text(row, "yurref"),
        bank_reference=_text(row, "refnbr"),
        currency=currency,
        amount_minor=_scaled(row, "trsamt", number, currency),
        is_credit=direction == CREDIT,
        # The bank puts this number beside what this company ordered, and nothing else.
        is_return=bool(_text(row, "yurref")),
        is_charge=any(CHARGE_WORD in _text(row, name) for name in _TEXTS),
        booked_at=moment,
    )


def _check_control(
    control: Row, page: Sequence[Movement], so_far: Sequence[Movement], currency: str
) -> None:
    """Raise BillRejected unless the counts and sums are those of the page, or of all pages so far."""
    stated = [
        (_count(control, f"{side}nbr"), _scaled(control, f"{side}amt", 1, currency))
        for side in ("dbt", "crt")
    ]
    sums = [_sums(page), _sums(so_far)]
    if stated not in sums:
        raise BillRejected(
            BillReason.TOTALS_MISMATCH, f"the page states {stated}, its rows come to {sums[0]}"
        )


def _sums(rows: Sequence[Movement]) -> list[tuple[int, int]]:
    sides = ([row for row in rows if row.is_credit is is_credit] for is_credit in (False, True))
    return [(len(side), sum(row.amount_minor for row in side)) for side in sides]


def _check_running_balance(rows: Sequence[Row], found: Sequence[Movement], currency: str) -> None:
    """Each row says what stood on the account after it; a row that was lost breaks the chain."""
    before: int | None = None
    for number, (row, movement) in enumerate(zip(rows, found, strict=True), start=1):
        if not _text(row, "trsblv"):
            return
        after = _scaled(row, "trsblv", number, currency)
        signed = movement.amount_minor if movement.is_credit else -movement.amount_minor
        if before is not None and before + signed != after:
            raise BillRejected(
                BillReason.TOTALS_MISMATCH, "the balance does not go on", line_number=number
            )
        before = after


def _text(row: Row, name: str) -> str:
    value = row.get(name, "")
    return value.strip()[: model.OUT_REF_LENGTH_MAX] if isinstance(value, str) else ""


def _count(row: Row, name: str) -> int:
    try:
        return model.whole(_text(row, name))
    except ValueError as error:
        raise model.row_invalid(1, f"{name} {error}") from error


def _scaled(row: Row, name: str, number: int, currency: str) -> int:
    try:
        return model.scaled(_text(row, name), money.exponent(currency))
    except ValueError as error:
        raise model.row_invalid(number, f"{name} {error}") from error
