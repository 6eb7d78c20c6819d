"""simpay's day file is read exactly, and not believed when anything is off."""

from datetime import UTC, datetime

import pytest

from services.clearing.domain import bills
from services.clearing.domain.errors import BillReason, BillRejected
from services.clearing.domain.model import ItemKind

HEADER = "order_no,refund_no,payout_no,kind,amount,currency,fee,status,provider_no,time"
PAY = "o1,,,PAY,1000,CNY,4,SUCCEEDED,p1,2026-11-11T23:30:00+08:00"
REFUND = "o1,r1,,REFUND,300,CNY,0,SUCCEEDED,p2,2026-11-11T23:40:00+08:00"
PAYOUT = ",,u1,PAYOUT,200,CNY,1,SUCCEEDED,p3,2026-11-11T23:50:00+08:00"
HEADER_WITH_CAPTURES = f"{HEADER},capture_no"
CAPTURE = "o1,,,CAPTURE,400,CNY,3,SUCCEEDED,p4,2026-11-11T23:52:00+08:00,c1"
PAYOUT_RETURN = ",,u1,PAYOUT_RETURN,200,CNY,0,SUCCEEDED,p3,2026-11-11T23:55:00+08:00,"


def file(*rows: str, total: str) -> bytes:
    return ("\n".join([HEADER, *rows, f"#total,{total}"]) + "\n").encode()


def rejection(content: bytes) -> BillRejected:
    with pytest.raises(BillRejected) as caught:
        bills.parse("simpay", content)
    return caught.value


def test_payments_refunds_and_payouts_are_read_exactly() -> None:
    lines = bills.parse("simpay", file(PAY, REFUND, PAYOUT, total="3,1500")).lines
    assert [(line.kind, line.out_ref, line.amount_minor, line.fee_e4) for line in lines] == [
        (ItemKind.PAYMENT, "o1", 1000, 40000),
        (ItemKind.REFUND, "r1", 300, 0),
        (ItemKind.PAYOUT, "u1", 200, 10000),
    ]
    assert lines[0].occurred_at == datetime(2026, 11, 11, 15, 30, tzinfo=UTC)


def with_captures(*rows: str, total: str) -> bytes:
    return ("\n".join([HEADER_WITH_CAPTURES, *rows, f"#total,{total}"]) + "\n").encode()


def test_captures_are_payments_under_their_own_number_and_returns_are_told_from_payouts() -> None:
    content = with_captures(f"{PAY},", CAPTURE, f"{PAYOUT},", PAYOUT_RETURN, total="4,1800")
    lines = bills.parse("simpay", content).lines
    assert [(line.kind, line.out_ref, line.amount_minor, line.fee_e4) for line in lines] == [
        (ItemKind.PAYMENT, "o1", 1000, 40000),
        (ItemKind.PAYMENT, "c1", 400, 30000),
        (ItemKind.PAYOUT, "u1", 200, 10000),
        (ItemKind.PAYOUT_RETURN, "u1", 200, 0),
    ]


@pytest.mark.parametrize(
    "content",
    [
        file(CAPTURE.removesuffix(",c1"), total="1,400"),
        with_captures(CAPTURE.removesuffix("c1"), total="1,400"),
    ],
)
def test_a_capture_without_its_number_is_refused(content: bytes) -> None:
    error = rejection(content)
    assert (error.reason, error.line_number) == (BillReason.ROW_INVALID, 2)


def test_a_column_that_stands_twice_is_refused() -> None:
    content = with_captures(f"{CAPTURE},c2", total="1,400").replace(
        b",capture_no", b",capture_no,capture_no"
    )
    assert rejection(content).reason is BillReason.HEADER_INVALID


def test_a_day_without_rows_is_an_empty_bill() -> None:
    assert not bills.parse("simpay", file(total="0,0")).lines


def test_columns_may_stand_in_another_order() -> None:
    names = HEADER.split(",")
    cells = dict(zip(names, PAY.split(","), strict=True))
    turned = "\n".join([",".join(reversed(names)), ",".join(cells[n] for n in reversed(names))])
    (line,) = bills.parse("simpay", f"{turned}\n#total,1,1000\n".encode()).lines
    assert (line.out_ref, line.amount_minor) == ("o1", 1000)


def test_a_file_that_broke_off_is_truncated() -> None:
    content = file(PAY, REFUND, total="2,1300")
    for end in range(len(HEADER) + 2, len(content) - 9):
        assert rejection(content[:end]).reason is BillReason.TRUNCATED


@pytest.mark.parametrize("total", ["2,1000", "1,1001"])
def test_totals_that_do_not_add_up_are_refused(total: str) -> None:
    assert rejection(file(PAY, total=total)).reason is BillReason.TOTALS_MISMATCH


def test_a_missing_column_is_named() -> None:
    error = rejection(file(PAY, total="1,1000").replace(b",fee,", b",cost,"))
    assert (error.reason, error.line_number) == (BillReason.HEADER_INVALID, 1)
    assert "fee" in error.detail


def test_another_encoding_is_refused() -> None:
    content = file(PAY.replace("p1", "渠道"), total="1,1000").decode().encode("gbk")
    assert rejection(content).reason is BillReason.ENCODING_INVALID


@pytest.mark.parametrize(
    "bad",
    [
        "garbage",
        PAY.replace("PAY", "GIFT"),
        PAY.replace("1000", "10.5"),
        PAY.replace("1000", "1000.00"),
        PAY.replace("1000", "-5"),
        PAY.replace("CNY", "RMB"),
        PAY.replace("o1", ""),
        PAY.replace("+08:00", ""),
        PAY.replace("2026-11-11T", "yesterday "),
    ],
)
def test_a_row_that_cannot_be_true_is_refused_with_its_number(bad: str) -> None:
    error = rejection(file(PAY, bad, total="2,2000"))
    assert (error.reason, error.line_number) == (BillReason.ROW_INVALID, 3)
