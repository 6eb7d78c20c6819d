"""The day file: one row a payment, refund or payout. Columns and rules: docs/replay.md.

A file is read whole and judged whole: either every row is usable, or DayFileError lists what is
wrong, by line, and nothing has been sent anywhere.
"""

import csv
import hashlib
import io
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from pathlib import Path
from typing import Final, Literal, TypeAlias, cast

from deploy.local.errors import LocalError
from libs import money
from libs.errors import FiscError
from libs.money import Money

COLUMNS: Final = (
    "time", "kind", "ref", "merchant", "amount", "currency", "method", "channel_hint",
    "customer", "country", "refund_of", "payee_account", "payee_name", "description",
)  # fmt: skip
KINDS: Final = ("payment", "refund", "payout")
PAYMENT_METHODS: Final = ("WECHAT_QR", "ALIPAY_QR", "UNIONPAY_QR", "CARD", "ONLINE_BANKING")
PAYOUT_METHOD: Final = "BANK_TRANSFER"
AMOUNT_MINOR_MAX: Final = 10**12
FILE_BYTES_MAX: Final = 256 << 20
PROBLEMS_SHOWN_MAX: Final = 20
HASH_CHARS: Final = 16

Kind: TypeAlias = Literal["payment", "refund", "payout"]

# Column → (pattern, what it must be); the empty text passes where the pattern lets it.
_PATTERNS: Final[Mapping[str, tuple[re.Pattern[str], str]]] = {
    "ref": (re.compile(r"[A-Za-z0-9_.-]{1,40}"), "1 to 40 letters, digits, '_', '.' or '-'"),
    "merchant": (re.compile(r"[a-z][a-z0-9_-]{2,39}"), "a merchant id such as shop"),
    "channel_hint": (re.compile(r"([a-z][a-z0-9-]{1,39})?"), "empty or a channel id"),
    "customer": (re.compile(r".{0,128}"), "at most 128 characters"),
    "country": (re.compile(r"([A-Z]{2})?"), "empty or an ISO 3166 code of two capitals"),
    "description": (re.compile(r".{0,80}"), "at most 80 characters"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One usable row. `line` is where it stands in the file; amounts are minor units."""

    line: int
    time: datetime
    kind: Kind
    ref: str
    merchant: str
    amount_minor: int
    currency: str
    method: str
    channel_hint: str
    customer: str
    country: str
    refund_of: str
    payee_account: str
    payee_name: str
    description: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """What is wrong with one line; `column` is empty when the whole line is."""

    line: int
    column: str
    reason: str

    def __str__(self) -> str:
        return f"line {self.line}: " + (f"{self.column}: " if self.column else "") + self.reason


class DayFileError(LocalError):
    """The file cannot be used; nothing was sent."""

    def __init__(self, name: str, problems: Sequence[Problem]) -> None:
        shown = [str(problem) for problem in problems[:PROBLEMS_SHOWN_MAX]]
        if len(problems) > len(shown):
            shown.append(f"… and {len(problems) - len(shown)} more")
        super().__init__(f"{name} was refused, nothing was sent:\n  " + "\n  ".join(shown))
        self.problems = tuple(problems)


@dataclass(frozen=True, slots=True, kw_only=True)
class DayFile:
    """Usable rows in time order, and the hash that tells this content from any other."""

    name: str
    sha256: str
    rows: tuple[Row, ...]

    @property
    def business_date(self) -> date:
        """The day of the first row, in the zone it is written in."""
        return self.rows[0].time.date()

    @property
    def merchants(self) -> tuple[str, ...]:
        """Everyone a row belongs to, sorted."""
        return tuple(sorted({row.merchant for row in self.rows}))

    def request_id(self, row: Row) -> str:
        """The idempotency key of a row: the same file sent again changes nothing."""
        return f"{self.sha256[:HASH_CHARS]}:{row.ref}"


def load(path: Path) -> DayFile:
    """Read and judge a file. Raises DayFileError; LocalError when it cannot be read at all."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise LocalError(f"{path} cannot be read: {error.strerror or error}") from error
    return parse(content, path.name)


def parse(content: bytes, name: str) -> DayFile:
    """Judge a file's content. Raises DayFileError with every problem, by line."""
    if len(content) > FILE_BYTES_MAX:
        reason = f"is larger than {FILE_BYTES_MAX} bytes"
        raise DayFileError(name, [Problem(line=1, column="", reason=reason)])
    records = _records(content, name)
    problems: list[Problem] = []
    rows: list[Row] = []
    for line, cells in records:
        row = _row(line, cells, problems)
        if row is not None:
            rows.append(row)
    _check_together(rows, problems)
    if not problems and not rows:
        problems.append(Problem(line=2, column="", reason="the file has no rows"))
    if problems:
        raise DayFileError(name, sorted(problems, key=lambda problem: problem.line))
    ordered = tuple(sorted(rows, key=lambda row: (row.time, row.line)))
    return DayFile(name=name, sha256=hashlib.sha256(content).hexdigest(), rows=ordered)


def check_merchants(file: DayFile, known: Sequence[str]) -> None:
    """Raise DayFileError naming the lines whose merchant nobody has a key for."""
    have = ", ".join(sorted(known)) or "none"
    problems = [
        Problem(line=row.line, column="merchant", reason=f"{row.merchant} has no key here ({have})")
        for row in file.rows
        if row.merchant not in known
    ]
    if problems:
        raise DayFileError(file.name, problems)


def _records(content: bytes, name: str) -> list[tuple[int, dict[str, str]]]:
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        reason = f"is not UTF-8 (byte {error.start + 1} of the file)"
        raise DayFileError(name, [Problem(line=line, column="", reason=reason)]) from error
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    records: list[tuple[int, dict[str, str]]] = []
    problems: list[Problem] = []
    try:
        header = next(reader, None)
        if header is None:
            raise DayFileError(name, [Problem(line=1, column="", reason="the file is empty")])
        _check_header(header, name)
        first_line = reader.line_num + 1
        for cells in reader:
            line, first_line = first_line, reader.line_num + 1
            if not cells:
                continue
            if len(cells) != len(header):
                reason = f"has {len(cells)} cells, the header has {len(header)}"
                problems.append(Problem(line=line, column="", reason=reason))
                continue
            records.append((line, dict(zip(header, cells, strict=True))))
    except csv.Error as error:
        problems.append(Problem(line=reader.line_num, column="", reason=f"is not CSV: {error}"))
    if problems:
        raise DayFileError(name, problems)
    return records


def _check_header(header: Sequence[str], name: str) -> None:
    missing = [column for column in COLUMNS if column not in header]
    unknown = [column for column in header if column not in COLUMNS]
    twice = sorted({column for column in header if header.count(column) > 1})
    found = (("lacks", missing), ("has unknown", unknown), ("has twice", twice))
    if len(missing) == len(COLUMNS):
        reason = f"is not the header, which names {', '.join(COLUMNS)}"
        raise DayFileError(name, [Problem(line=1, column="", reason=reason)])
    reasons = [f"the header {what} {', '.join(columns)}" for what, columns in found if columns]
    if reasons:
        problems = [Problem(line=1, column="", reason=reason) for reason in reasons]
        raise DayFileError(name, problems)


def _row(line: int, cells: Mapping[str, str], problems: list[Problem]) -> Row | None:
    before = len(problems)

    def refuse(column: str, reason: str) -> None:
        problems.append(Problem(line=line, column=column, reason=reason))

    time = _time(cells["time"], refuse)
    kind = cells["kind"]
    if kind not in KINDS:
        refuse("kind", f"is {kind!r}, must be one of {', '.join(KINDS)}")
    for column, (pattern, wanted) in _PATTERNS.items():
        if not pattern.fullmatch(cells[column]):
            refuse(column, f"is {cells[column]!r}, must be {wanted}")
    amount_minor = _amount(cells["amount"], cells["currency"], refuse)
    _check_kind(kind, cells, refuse)
    if len(problems) > before or time is None:
        return None
    texts = {name: cells[name] for name in COLUMNS if name not in ("time", "kind", "amount")}
    return Row(line=line, time=time, kind=cast("Kind", kind), amount_minor=amount_minor, **texts)


Refuse: TypeAlias = Callable[[str, str], None]


def _time(text: str, refuse: Refuse) -> datetime | None:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        refuse("time", f"is {text!r}, must be ISO 8601 such as 2026-11-11T20:00:00+08:00")
        return None
    if moment.tzinfo is None:
        refuse("time", f"is {text!r}, without a zone such as +08:00")
        return None
    return moment


def _amount(text: str, currency: str, refuse: Refuse) -> int:
    if not money.is_currency(currency):
        refuse("currency", f"is {currency!r}, must be an ISO 4217 code")
        return 0
    try:
        amount_minor = Money.parse(text, currency).amount_minor
    except FiscError as error:
        refuse("amount", f"is {text!r}: {error.message}")
        return 0
    if not 0 < amount_minor <= AMOUNT_MINOR_MAX:
        refuse(
            "amount", f"is {text}, must be above zero and at most {AMOUNT_MINOR_MAX} minor units"
        )
    return amount_minor


def _check_kind(kind: str, cells: Mapping[str, str], refuse: Refuse) -> None:
    """What each kind needs, and what it must leave empty."""
    method, is_payout, is_refund = cells["method"], kind == "payout", kind == "refund"
    if kind == "payment" and method not in PAYMENT_METHODS:
        refuse("method", f"is {method!r}, must be one of {', '.join(PAYMENT_METHODS)}")
    if is_payout and method not in ("", PAYOUT_METHOD):
        refuse("method", f"is {method!r}, must be empty or {PAYOUT_METHOD} for a payout")
    if is_refund and not cells["refund_of"]:
        refuse("refund_of", "is empty, must be the ref of the payment")
    if is_payout and not 4 <= len(cells["payee_account"]) <= 64:  # noqa: PLR2004 the contract's
        refuse("payee_account", "must have 4 to 64 characters for a payout")
    if is_payout and not 1 <= len(cells["payee_name"]) <= 120:  # noqa: PLR2004 the contract's
        refuse("payee_name", "must have 1 to 120 characters for a payout")
    for column, needed in (("refund_of", is_refund), ("payee_account", is_payout)):
        if cells[column] and not needed and kind in KINDS:
            refuse(column, f"must be empty for a {kind}")


def _check_together(rows: Sequence[Row], problems: list[Problem]) -> None:
    """Refs are unique; a refund follows its payment and stays within it."""
    known: dict[str, Row] = {}
    for row in rows:
        first = known.setdefault(row.ref, row)
        if first is not row:
            reason = f"{row.ref} stands on line {first.line} already"
            problems.append(Problem(line=row.line, column="ref", reason=reason))
    refunded: dict[str, int] = {}
    for row in rows:
        if row.kind != "refund":
            continue
        payment = known.get(row.refund_of)
        total = refunded[row.refund_of] = refunded.get(row.refund_of, 0) + row.amount_minor
        reason = _refund_problem(row, payment, total)
        if reason:
            problems.append(Problem(line=row.line, column="refund_of", reason=reason))


def _refund_problem(row: Row, payment: Row | None, total_minor: int) -> str:
    if payment is None or payment.kind != "payment":
        return f"{row.refund_of} is not a payment of this file"
    where = f"{payment.ref} on line {payment.line}"
    if (payment.merchant, payment.currency) != (row.merchant, row.currency):
        return f"{where} has another merchant or currency"
    if payment.time > row.time:
        return f"{where} is later than its refund"
    if total_minor > payment.amount_minor:
        paid = Money(payment.currency, payment.amount_minor).format()
        return f"all refunds of {where} exceed its {paid}"
    return ""
