"""The day file: what is taken, and how precisely everything else is refused."""

import csv
import io
import random
from pathlib import Path

import pytest

from deploy.local import dayfile, make_day
from deploy.local.day import SHIPPED
from deploy.local.dayfile import COLUMNS, DayFileError
from deploy.local.errors import LocalError

PAYMENT = {
    "time": "2026-11-11T08:00:00+08:00",
    "kind": "payment",
    "ref": "P1",
    "merchant": "shop",
    "amount": "49.90",
    "currency": "CNY",
    "method": "CARD",
}
REFUND = {
    "time": "2026-11-11T09:00:00+08:00",
    "kind": "refund",
    "ref": "R1",
    "merchant": "shop",
    "amount": "9.90",
    "currency": "CNY",
    "refund_of": "P1",
}
PAYOUT = {
    "time": "2026-11-11T07:00:00+08:00",
    "kind": "payout",
    "ref": "O1",
    "merchant": "shop",
    "amount": "100",
    "currency": "CNY",
    "payee_account": "110922000000001",
    "payee_name": "Supplier",
}


def content(*rows: dict[str, str]) -> bytes:
    out = io.StringIO()
    writer = csv.DictWriter(out, COLUMNS, restval="")
    writer.writeheader()
    writer.writerows(rows)
    return out.getvalue().encode()


def problems(data: bytes) -> list[str]:
    with pytest.raises(DayFileError) as caught:
        dayfile.parse(data, "day.csv")
    return [str(problem) for problem in caught.value.problems]


def test_rows_come_out_in_time_order_with_exact_amounts() -> None:
    file = dayfile.parse(content(PAYMENT, REFUND, PAYOUT), "day.csv")

    assert [(row.ref, row.amount_minor, row.line) for row in file.rows] == [
        ("O1", 10_000, 4),
        ("P1", 4_990, 2),
        ("R1", 990, 3),
    ]
    assert file.merchants == ("shop",)
    assert file.business_date.isoformat() == "2026-11-11"


def test_a_byte_order_mark_and_quoted_commas_are_taken() -> None:
    row = {**PAYMENT, "description": 'tea, "green"'}
    file = dayfile.parse(b"\xef\xbb\xbf" + content(row), "day.csv")
    assert file.rows[0].description == 'tea, "green"'


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"time": "yesterday"}, "line 2: time: is 'yesterday', must be ISO 8601"),
        ({"time": "2026-11-11T08:00:00"}, "line 2: time: is '2026-11-11T08:00:00', without a zone"),
        ({"kind": "gift"}, "line 2: kind: is 'gift', must be one of payment, refund, payout"),
        ({"ref": ""}, "line 2: ref: is '', must be 1 to 40 letters"),
        ({"ref": "a b"}, "line 2: ref: is 'a b', must be"),
        ({"merchant": "Shop"}, "line 2: merchant: is 'Shop', must be a merchant id"),
        ({"amount": "12.345"}, "line 2: amount: is '12.345': "),
        ({"amount": "1e3"}, "line 2: amount: is '1e3': "),
        ({"amount": "0.00"}, "line 2: amount: is 0.00, must be above zero"),
        ({"amount": "-1.00"}, "line 2: amount: is -1.00, must be above zero"),
        ({"amount": "10000000000.01"}, "line 2: amount: is 10000000000.01, must be above zero"),
        ({"amount": "5.5", "currency": "JPY"}, "line 2: amount: is '5.5': "),
        ({"currency": "RMB"}, "line 2: currency: is 'RMB', must be an ISO 4217 code"),
        ({"method": "CASH"}, "line 2: method: is 'CASH', must be one of WECHAT_QR"),
        ({"method": "BANK_TRANSFER"}, "line 2: method: is 'BANK_TRANSFER', must be one of"),
        ({"channel_hint": "Card A"}, "line 2: channel_hint: is 'Card A', must be"),
        ({"country": "china"}, "line 2: country: is 'china', must be"),
        ({"refund_of": "P9"}, "line 2: refund_of: must be empty for a payment"),
        ({"payee_account": "1109220"}, "line 2: payee_account: must be empty for a payment"),
    ],
)
def test_a_payment_that_cannot_be_sent_is_named_by_line_and_column(
    change: dict[str, str], expected: str
) -> None:
    (problem,) = problems(content({**PAYMENT, **change}))
    assert problem.startswith(expected)


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"refund_of": ""}, "line 3: refund_of: is empty"),
        ({"refund_of": "P9"}, "line 3: refund_of: P9 is not a payment of this file"),
        ({"merchant": "market"}, "line 3: refund_of: P1 on line 2 has another merchant"),
        ({"currency": "USD"}, "line 3: refund_of: P1 on line 2 has another merchant or currency"),
        ({"time": "2026-11-11T07:59:59+08:00"}, "line 3: refund_of: P1 on line 2 is later than"),
        ({"amount": "49.91"}, "line 3: refund_of: all refunds of P1 on line 2 exceed its 49.90"),
        ({"ref": "P1"}, "line 3: ref: P1 stands on line 2 already"),
    ],
)
def test_a_refund_that_does_not_fit_its_payment_is_refused(
    change: dict[str, str], expected: str
) -> None:
    assert any(
        problem.startswith(expected) for problem in problems(content(PAYMENT, {**REFUND, **change}))
    )


def test_two_refunds_that_together_exceed_their_payment_are_refused_at_the_second() -> None:
    first, second = {**REFUND, "amount": "40.00"}, {**REFUND, "ref": "R2", "amount": "10.00"}
    (problem,) = problems(content(PAYMENT, first, second))
    assert problem.startswith("line 4: refund_of: all refunds of P1 on line 2 exceed")


@pytest.mark.parametrize(
    ("change", "column"),
    [({"payee_account": "123"}, "payee_account"), ({"payee_name": ""}, "payee_name")],
)
def test_a_payout_needs_its_payee(change: dict[str, str], column: str) -> None:
    (problem,) = problems(content({**PAYOUT, **change}))
    assert problem.startswith(f"line 2: {column}: must have")


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"", "line 1: the file is empty"),
        (content(), "line 2: the file has no rows"),
        (b"# Fisc\n", "line 1: is not the header, which names time, kind, ref"),
        (b"time,kind\n", "line 1: the header lacks ref, merchant"),
        (content().replace(b"kind", b"sort"), "line 1: the header lacks kind"),
        (content(PAYMENT) + b"a,b\n", "line 3: has 2 cells, the header has 14"),
        (content(PAYMENT) + b'"' + b"," * 13, "line 3: is not CSV: "),
        (content(PAYMENT) + b"\xff", "line 3: is not UTF-8"),
    ],
)
def test_a_file_that_is_no_day_file_is_refused(data: bytes, expected: str) -> None:
    assert problems(data)[0].startswith(expected)


def test_every_problem_of_a_file_is_told_at_once_in_line_order() -> None:
    bad = [{**PAYMENT, "ref": f"P{number}", "amount": "x"} for number in range(30)]
    with pytest.raises(DayFileError) as caught:
        dayfile.parse(content(*bad), "day.csv")
    assert len(caught.value.problems) == 30
    assert "… and 10 more" in str(caught.value)


def test_a_file_that_is_not_there_is_said_to_be_so(tmp_path: Path) -> None:
    with pytest.raises(LocalError, match="No such file"):
        dayfile.load(tmp_path / "none.csv")


def test_a_merchant_without_a_key_is_refused_by_line() -> None:
    file = dayfile.parse(content(PAYMENT), "day.csv")
    dayfile.check_merchants(file, ["shop"])
    with pytest.raises(DayFileError, match=r"line 2: merchant: shop has no key here \(market\)"):
        dayfile.check_merchants(file, ["market"])


def test_the_same_file_gives_the_same_request_ids_and_another_file_others() -> None:
    first = dayfile.parse(content(PAYMENT, REFUND), "day.csv")
    again = dayfile.parse(content(PAYMENT, REFUND), "renamed.csv")
    other = dayfile.parse(content({**PAYMENT, "amount": "49.91"}, REFUND), "day.csv")

    ids = [first.request_id(row) for row in first.rows]
    assert ids == [again.request_id(row) for row in again.rows]
    assert len(set(ids)) == 2
    assert not set(ids) & {other.request_id(row) for row in other.rows}
    assert all(len(request_id) <= 64 for request_id in ids)


def test_the_shipped_day_is_what_its_generator_makes_and_is_usable() -> None:
    out = io.StringIO()
    make_day.write(make_day.make(random.Random(make_day.SEED)), out)
    assert SHIPPED.read_text() == out.getvalue()

    file = dayfile.load(SHIPPED)
    kinds = [row.kind for row in file.rows]
    methods = {row.method for row in file.rows if row.kind == "payment"}
    assert len(file.rows) >= 2_000
    assert 0.04 < kinds.count("refund") / len(kinds) < 0.08
    assert 0.01 < kinds.count("payout") / len(kinds) < 0.03
    assert methods == set(dayfile.PAYMENT_METHODS)
    assert {row.time.date().isoformat() for row in file.rows} == {"2026-11-11"}
