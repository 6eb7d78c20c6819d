"""Rows of payout files: what is wrong with one is said of it alone, and nothing breaks the reader."""

import csv
import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.gateway.domain import payout_rows
from services.gateway.domain.payout_rows import (
    LINE_BYTES_MAX,
    Format,
    HeaderInvalid,
    Piece,
    Position,
    Row,
)

HEADER = b"ref,amount,payee_account,payee_name,bank_code,description\n"
COLUMNS = ("ref", "amount", "payee_account", "payee_name", "bank_code", "description")
FORM = Format(encoding="UTF8", currency="CNY", columns=COLUMNS)


def read(line: str | bytes, form: Format = FORM) -> Row:
    data = line if isinstance(line, bytes) else line.encode()
    return payout_rows.read_row(data, form, row_number=1, line_number=2)


def wrong(line: str | bytes) -> list[tuple[str, str]]:
    return [(problem.column, problem.reason) for problem in read(line).problems]


def piece(
    data: bytes, *, at: Position | None = None, encoding: str = "UTF8", is_last: bool = True
) -> Piece:
    return payout_rows.read_piece(
        data,
        at or Position(),
        encoding=encoding,
        currency="CNY",
        is_last=is_last,
        lines_max=1000,
    )


def whole(data: bytes, size: int, lines_max: int = 1000) -> tuple[list[Row], Position]:
    """A file read through a window of this size."""
    at, start = Position(), 0
    rows: list[Row] = []
    while start < len(data):
        window = data[start : start + size]
        read = payout_rows.read_piece(
            window,
            at,
            encoding="UTF8",
            currency="CNY",
            is_last=start + len(window) == len(data),
            lines_max=lines_max,
        )
        assert read.bytes_count > 0
        start, at = start + read.bytes_count, read.end
        rows += read.rows
    return rows, at


def test_a_good_row_is_read_exactly() -> None:
    row = read('r-1, 1234.5 ,\t6222000011112222,"Zhang, San",102100099996,"wages ""May"""\r\n')
    assert row == Row(
        row_number=1,
        line_number=2,
        ref="r-1",
        amount_minor=123_450,
        payee_account="6222000011112222",
        payee_name="Zhang, San",
        bank_code="102100099996",
        description='wages "May"',
    )


@pytest.mark.parametrize(
    ("line", "problems"),
    [
        ("r,0,62220001,a,,", [("amount", "must be positive")]),
        ("r,-1,62220001,a,,", [("amount", "must be positive")]),
        ("r,1.001,62220001,a,,", [("amount", "must be a plain number such as 1000.00")]),
        ("r,1e3,62220001,a,,", [("amount", "must be a plain number such as 1000.00")]),
        ('r,"1,000",62220001,a,,', [("amount", "must be a plain number such as 1000.00")]),
        ("r,,62220001,a,,", [("amount", "must be a plain number such as 1000.00")]),
        ("r,10000000000.01,62220001,a,,", [("amount", f"must not exceed {10**12} minor units")]),
        ("r,1,622,a,,", [("payee_account", "must be 4 to 64 letters, digits or '-'")]),
        (
            "r,1,6.22E+15,a,,",
            [("payee_account", "is a number as spreadsheets shorten it; format the column as text")],
        ),
        ("r,1,62220001,,,", [("payee_name", "is missing")]),
        (",1,62220001,a,,", [("ref", "is missing")]),
        ("r r,1,62220001,a,,", [("ref", "must be 1 to 64 letters, digits, '_', '.', ':' or '-'")]),
        ("r,1,62220001,a\0b,,", [("payee_name", "holds a control character")]),
        (f"r,1,62220001,a,,{'x' * 81}", [("description", "must be at most 80 characters")]),
        ("r,1,62220001,a,", [("", "5 cells where the header has 6")]),
        ("r,1,62220001,a,,,", [("", "7 cells where the header has 6")]),
        ('r,1,62220001,"a,,', [("", "the line is not CSV: a quote is not closed, or stands inside a cell")]),
        (b"r,1,62220001,\xff,,", [("", "the line is not UTF8")]),
        ("x" * LINE_BYTES_MAX, [("", f"the line is longer than {LINE_BYTES_MAX} bytes")]),
    ],
)  # fmt: skip
def test_what_is_wrong_is_said_by_column(
    line: str | bytes, problems: list[tuple[str, str]]
) -> None:
    assert wrong(line) == problems


def test_every_problem_of_a_row_is_named_at_once() -> None:
    assert [column for column, _ in wrong("r r,x,1,,!,ok")] == [
        "ref", "payee_account", "payee_name", "bank_code", "amount",
    ]  # fmt: skip


def test_a_bad_row_still_counts_the_amount_that_can_be_read() -> None:
    assert read("r r,12.00,62220001,a,,").amount_minor == 1_200


@pytest.mark.parametrize(
    ("line", "columns"),
    [
        (HEADER, COLUMNS),
        ("\ufeffRef, Amount,payee_name,payee_account\r\n".encode(), ("ref", "amount", "payee_name", "payee_account")),
        ("流水号,收款户名,收款账号,金额,附言\n".encode(), ("ref", "payee_name", "payee_account", "amount", "description")),
    ],
)  # fmt: skip
def test_columns_may_come_in_any_order_and_in_chinese(
    line: bytes, columns: tuple[str, ...]
) -> None:
    assert payout_rows.read_header(line, "UTF8") == columns


@pytest.mark.parametrize(
    ("line", "why"),
    [
        (b"ref,amount,payee_account\n", "payee_name is missing"),
        (HEADER.replace(b"bank_code", b"bank"), "unknown column 'bank'"),
        (HEADER.replace(b"bank_code", b"ref"), "stands twice"),
        (b'"ref\n', "not CSV"),
        (b"\xff\n", "not UTF8"),
    ],
)
def test_a_header_that_does_not_name_the_columns_is_refused(line: bytes, why: str) -> None:
    with pytest.raises(HeaderInvalid, match=why):
        payout_rows.read_header(line, "UTF8")


def test_gb18030_is_read_by_its_name() -> None:
    text = "流水号,金额,收款账号,收款户名\nr-1,1.00,62220001,镕\nr-2,2.00,62220002,\U00020000\n"
    read = piece(text.encode("gb18030"), encoding="GB18030")
    assert [(row.payee_name, row.problems) for row in read.rows] == [("镕", ()), ("\U00020000", ())]


def test_a_line_that_is_too_long_is_one_bad_row_and_the_next_is_read() -> None:
    long = b"r-1,1.00," + b"9" * (3 * LINE_BYTES_MAX) + b"\n"
    good = b"r-2,1.00,62220002,b,,\n"
    for size in (LINE_BYTES_MAX, LINE_BYTES_MAX + 7, 10 * LINE_BYTES_MAX):
        rows, end = whole(HEADER + long + good + long + good, size)
        assert [(row.row_number, row.line_number, bool(row.problems)) for row in rows] == [
            (1, 2, True), (2, 3, False), (3, 4, True), (4, 5, False),
        ]  # fmt: skip
        assert end.lines_count == 5


def test_empty_lines_are_no_rows_but_count_as_lines() -> None:
    read = piece(b"\n" + HEADER + b"\r\n ,,,,,\nr-1,1.00,62220001,a,,\n\n")
    assert [(row.row_number, row.line_number) for row in read.rows] == [(1, 5)]


def test_the_last_line_needs_no_line_feed_and_an_unfinished_one_waits_for_its_rest() -> None:
    data = HEADER + b"r-1,1.00,62220001,a,,"
    assert len(piece(data).rows) == 1
    waiting = piece(data, is_last=False)
    assert (waiting.rows, waiting.bytes_count) == ((), len(HEADER))


def test_a_ref_that_came_before_is_bad_the_second_time() -> None:
    rows = piece(HEADER + b"a,1,62220001,x,,\nb,1,62220001,x,,\na,1,62220001,x,,\n").rows
    judged = payout_rows.without_repeats(rows, {"b"})
    assert [bool(row.problems) for row in judged] == [False, True, True]


ANY_CELL = st.text(max_size=20) | st.from_regex(r"[0-9]{1,6}(\.[0-9]{1,2})?", fullmatch=True)


@given(st.binary(max_size=3 * LINE_BYTES_MAX), st.sampled_from(["UTF8", "GB18030"]))
def test_no_bytes_break_the_reader_or_make_it_keep_more_than_it_should(
    noise: bytes, encoding: str
) -> None:
    read = piece(HEADER + noise, encoding=encoding)
    assert read.bytes_count == len(HEADER) + len(noise)
    for row in read.rows:
        assert row.problems or (row.ref and row.payee_name and row.amount_minor > 0)
        assert all(
            len(text) <= 120
            for text in (row.ref, row.payee_account, row.payee_name, row.description)
        )
        assert "\0" not in row.payee_name + row.description + row.ref


@given(
    st.lists(st.lists(ANY_CELL, min_size=1, max_size=8), max_size=12),
    st.integers(LINE_BYTES_MAX, 3 * LINE_BYTES_MAX),
    st.integers(1, 5),
)
def test_a_file_says_the_same_in_whatever_pieces_it_is_read(
    cells: list[list[str]], size: int, lines_max: int
) -> None:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(cells)
    data = HEADER + text.getvalue().encode("utf-8", "surrogatepass")

    assert whole(data, size, lines_max) == whole(data, len(data))
