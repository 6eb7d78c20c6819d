"""The rows of a payout file (代发文件): one line a row, judged by itself, so that what is wrong with one spoils no other.

Lines are cut before they are decoded: in UTF-8 and in GB18030 alike a line feed is never part of another character. So a file is read in
pieces of any size, and a bad character costs the row it stands in.
"""

import csv
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

from libs import money
from libs.errors import FiscError
from libs.money import Money

ROWS_MAX: Final = 100_000
LINE_BYTES_MAX: Final = 4096
AMOUNT_MINOR_MAX: Final = 10**12
DUPLICATE: Final = "the same ref stands in an earlier row"
CODECS: Final = {"UTF8": "utf-8", "GB18030": "gb18030"}
REQUIRED: Final = ("ref", "amount", "payee_account", "payee_name")
OPTIONAL: Final = ("bank_code", "description")
# As banks' own templates head them.
CHINESE: Final[Mapping[str, str]] = {
    "流水号": "ref",
    "金额": "amount",
    "收款账号": "payee_account",
    "收款户名": "payee_name",
    "联行号": "bank_code",
    "附言": "description",
}
_BOM: Final = "\ufeff"
# Column → (pattern, what it must be).
_PATTERNS: Final[Mapping[str, tuple[re.Pattern[str], str]]] = {
    "ref": (re.compile(r"[A-Za-z0-9_.:-]{1,64}"), "1 to 64 letters, digits, '_', '.', ':' or '-'"),
    "payee_account": (re.compile(r"[A-Za-z0-9-]{4,64}"), "4 to 64 letters, digits or '-'"),
    "payee_name": (re.compile(r".{1,120}"), "1 to 120 characters"),
    "bank_code": (re.compile(r"[A-Za-z0-9]{0,32}"), "at most 32 letters or digits"),
    "description": (re.compile(r".{0,80}"), "at most 80 characters"),
}
_SCIENTIFIC: Final = re.compile(r"[0-9.]+[eE]\+?[0-9]+")
# What a bad row keeps of each of its texts, for the person who looks for it.
_KEPT_CHARS_MAX: Final = 64


class HeaderInvalid(ValueError):
    """The first line does not name the columns; says what is wrong."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """One thing wrong with a row; `column` is empty when the whole line cannot be read."""

    column: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One row of a file. `amount_minor` is 0 where it cannot be read."""

    row_number: int
    line_number: int
    ref: str = ""
    amount_minor: int = 0
    payee_account: str = ""
    payee_name: str = ""
    bank_code: str = ""
    description: str = ""
    problems: tuple[Problem, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Format:
    """What must be known to read a file's lines."""

    encoding: str
    currency: str
    columns: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Position:
    """How far a file has been read."""

    lines_count: int = 0
    rows_count: int = 0
    columns: tuple[str, ...] = ()
    """In the order of the file, once its header has been read."""
    is_in_long_line: bool = False
    """Whether what comes next still belongs to a line that was too long."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Piece:
    """What was read of a file."""

    rows: tuple[Row, ...]
    bytes_count: int
    end: Position


def read_piece(
    data: bytes, at: Position, *, encoding: str, currency: str, is_last: bool, lines_max: int
) -> Piece:
    """Reads the whole lines of a piece that begins at a position, at most so many. Raises HeaderInvalid."""
    rows: list[Row] = []
    bytes_count = 0
    for line in lines(data, is_last=is_last, limit=lines_max):
        bytes_count += len(line)
        is_rest = at.is_in_long_line
        at = replace(
            at,
            lines_count=at.lines_count + (not is_rest),
            is_in_long_line=len(line) >= LINE_BYTES_MAX and not line.endswith(b"\n"),
        )
        if is_rest or is_blank(line):
            # The end of a long line may be short, and is none of its own.
            ends = is_rest and line.endswith(b"\n")
            at = replace(at, is_in_long_line=at.is_in_long_line or (is_rest and not ends))
            continue
        if not at.columns:
            at = replace(at, columns=read_header(line, encoding))
            continue
        at = replace(at, rows_count=at.rows_count + 1)
        form = Format(encoding=encoding, currency=currency, columns=at.columns)
        rows.append(read_row(line, form, row_number=at.rows_count, line_number=at.lines_count))
    return Piece(rows=tuple(rows), bytes_count=bytes_count, end=at)


def without_repeats(rows: Sequence[Row], known: Collection[str]) -> tuple[Row, ...]:
    """The rows, those bad whose ref is known or stands in a row before."""
    seen = set(known)
    judged: list[Row] = []
    for row in rows:
        if row.ref and row.ref in seen:
            problem = Problem(column="ref", reason=DUPLICATE)
            judged.append(replace(row, problems=(*row.problems, problem)))
        else:
            judged.append(row)
        seen.add(row.ref)
    return tuple(judged)


def lines(data: bytes, *, is_last: bool, limit: int) -> Iterator[bytes]:
    """The whole lines of a piece of a file, line feeds included, at most `limit`; what follows belongs to the next piece.

    A line longer than LINE_BYTES_MAX comes in parts of that length without a line feed, the last part with it.
    """
    at = 0
    for _ in range(limit):
        end = data.find(b"\n", at, at + LINE_BYTES_MAX)
        if end >= 0:
            line = data[at : end + 1]
        elif len(data) - at >= LINE_BYTES_MAX or (is_last and at < len(data)):
            line = data[at : at + LINE_BYTES_MAX]
        else:
            return
        at += len(line)
        yield line


def read_header(line: bytes, encoding: str) -> tuple[str, ...]:
    """The columns, by their English names. Raises HeaderInvalid."""
    try:
        text = line.decode(CODECS[encoding]).removeprefix(_BOM)
    except UnicodeDecodeError:
        raise HeaderInvalid(f"the first line is not {encoding}") from None
    cells = _cells(text)
    if cells is None:
        raise HeaderInvalid("the first line is not CSV")
    names = [cell.strip().lower() for cell in cells]
    columns = tuple(CHINESE.get(name, name) for name in names)
    unknown = [name for name in columns if name not in (*REQUIRED, *OPTIONAL)]
    if unknown:
        raise HeaderInvalid(f"unknown column {unknown[0][:_KEPT_CHARS_MAX]!r}")
    if len(set(columns)) < len(columns):
        raise HeaderInvalid("a column stands twice")
    missing = [name for name in REQUIRED if name not in columns]
    if missing:
        raise HeaderInvalid(f"the column {missing[0]} is missing")
    return columns


def is_blank(line: bytes) -> bool:
    """Whether a line holds nothing: no row."""
    return not line.strip(b" \t\r\n,")


def read_row(line: bytes, form: Format, *, row_number: int, line_number: int) -> Row:
    """A row with what is wrong with it. Raises nothing, whatever the line holds."""

    def bad(reason: str) -> Row:
        problem = Problem(column="", reason=reason)
        return Row(row_number=row_number, line_number=line_number, problems=(problem,))

    if len(line) >= LINE_BYTES_MAX:
        return bad(f"the line is longer than {LINE_BYTES_MAX} bytes")
    try:
        text = line.decode(CODECS[form.encoding])
    except UnicodeDecodeError:
        return bad(f"the line is not {form.encoding}")
    cells = _cells(text)
    if cells is None:
        return bad("the line is not CSV: a quote is not closed, or stands inside a cell")
    if len(cells) != len(form.columns):
        return bad(f"{len(cells)} cells where the header has {len(form.columns)}")
    return _row(dict(zip(form.columns, cells, strict=True)), form.currency, row_number, line_number)


def _row(cells: Mapping[str, str], currency: str, row_number: int, line_number: int) -> Row:
    # Spreadsheets put tabs around numbers to keep them from becoming numbers.
    texts = {column: text.strip() for column, text in cells.items()}
    problems = [
        Problem(column=column, reason=reason)
        for column, (pattern, words) in _PATTERNS.items()
        if (reason := _wrong(texts.get(column, ""), pattern, words))
    ]
    amount_minor, reason = _amount(texts["amount"], currency)
    if reason:
        problems.append(Problem(column="amount", reason=reason))
    kept = {
        column: _printable(texts.get(column, ""))[: _KEPT_CHARS_MAX if problems else None]
        for column in _PATTERNS
    }
    return Row(
        row_number=row_number,
        line_number=line_number,
        amount_minor=amount_minor,
        problems=tuple(problems),
        **kept,
    )


def _wrong(text: str, pattern: re.Pattern[str], words: str) -> str:
    """Why a cell is not usable, "" when it is."""
    if not text.isprintable():
        return "holds a control character"
    if pattern.fullmatch(text):
        return ""
    if _SCIENTIFIC.fullmatch(text):
        return "is a number as spreadsheets shorten it; format the column as text"
    return f"must be {words}" if text else "is missing"


def _amount(text: str, currency: str) -> tuple[int, str]:
    """(minor units, "") or (what can be counted, why it cannot be paid)."""
    try:
        amount_minor = Money.parse(text, currency).amount_minor
    except FiscError:
        decimals = money.exponent(currency)
        example = Money(currency, 10 ** (decimals + 3)).format()
        return 0, f"must be a plain number such as {example}"
    if amount_minor <= 0:
        return 0, "must be positive"
    if amount_minor > AMOUNT_MINOR_MAX:
        return amount_minor, f"must not exceed {AMOUNT_MINOR_MAX} minor units"
    return amount_minor, ""


def _cells(text: str) -> Sequence[str] | None:
    try:
        found = list(csv.reader([text.rstrip("\r\n")], strict=True))
    except csv.Error:
        return None
    return found[0] if len(found) == 1 else None


def _printable(text: str) -> str:
    return text if text.isprintable() else "".join(filter(str.isprintable, text))
