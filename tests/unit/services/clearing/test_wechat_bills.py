"""WeChat's trade bill is read as it is published, and not believed when anything is off."""

from datetime import UTC, datetime

import pytest

from services.clearing.domain import bills
from services.clearing.domain.bills.model import LineStatus
from services.clearing.domain.errors import BillReason, BillRejected
from services.clearing.domain.model import ItemKind

HEADER = (
    "交易时间,公众账号ID,商户号,特约商户号,设备号,微信订单号,商户订单号,用户标识,交易类型,交易状态,"
    "付款银行,货币种类,应结订单金额,代金券金额,微信退款单号,商户退款单号,退款金额,充值券退款金额,"
    "退款类型,退款状态,商品名称,商户数据包,手续费,费率,订单金额,申请退款金额,费率备注"
)
OPENING = "wx81be3101902f7cb2,`1601959334,`0,`,`4200000925202101284997714292"


def row(
    state: str = "SUCCESS",
    *,
    out_ref: str = "S1",
    refund_ref: str = "0",
    amount: str = "0.00",
    refund: str = "0.00",
    refund_state: str = "",
    fee: str = "0.00000",
    currency: str = "CNY",
    goods: str = "tea",
    moment: str = "2026-11-11 23:59:59",
) -> str:
    return (
        f"`{moment},`{OPENING},`{out_ref},`ofyak5qR,`NATIVE,`{state},`OTHERS,`{currency},`{amount},"
        f"`0.00,`5030080717,`{refund_ref},`{refund},`0.00,`ORIGINAL,`{refund_state},`{goods},`,"
        f"`{fee},`0.60%,`{amount},`{refund},`"
    )


SUMMARY_HEADER = (
    "总交易单数,应结订单总金额,退款总金额,充值券退款总金额,手续费总金额,订单总金额,申请退款总金额"
)


def file(*rows: str, summary: str, end: str = "\r\n", mark: bytes = b"") -> bytes:
    text = "".join(f"{line}{end}" for line in (HEADER, *rows, SUMMARY_HEADER, summary))
    return mark + text.encode()


PAID = row(amount="2000.01", fee="20.00010")
REFUNDED = row("REFUND", refund_ref="R1", refund="50.00", refund_state="SUCCESS", fee="-0.50000")
GOOD_SUMMARY = "`2.0,`2000.01,`50.00,`0.00,`19.50010,`2000.01,`50.00"


@pytest.mark.parametrize("end", ["\r\n", "\n"])
@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"])
def test_payments_and_refunds_are_read_exactly(end: str, mark: bytes) -> None:
    content = file(PAID, REFUNDED, summary=GOOD_SUMMARY, end=end, mark=mark)

    payment, refund = bills.parse("wechat", content).lines

    assert (payment.kind, payment.out_ref, payment.amount_minor) == (ItemKind.PAYMENT, "S1", 200001)
    assert (payment.fee_e4, payment.status) == (20000100, LineStatus.SUCCEEDED)
    assert payment.occurred_at == datetime(2026, 11, 11, 15, 59, 59, tzinfo=UTC)
    assert payment.line_number == 2
    assert (refund.kind, refund.out_ref, refund.amount_minor) == (ItemKind.REFUND, "R1", 5000)
    assert (refund.fee_e4, refund.provider_ref) == (-500000, "5030080717")


def test_a_day_without_rows_is_an_empty_bill() -> None:
    content = file(summary="`0,`0.00,`0.00,`0.00,`0.00000,`0.00,`0.00")
    assert not bills.parse("wechat", content).lines


def test_columns_are_found_by_name_in_the_older_form_of_24() -> None:
    header = (
        "交易时间,公众账号ID,商户号,子商户号,设备号,微信订单号,商户订单号,用户标识,交易类型,交易状态,"
        "付款银行,货币种类,总金额,代金券或立减优惠金额,微信退款单号,商户退款单号,退款金额,"
        "代金券或立减优惠退款金额,退款类型,退款状态,商品名称,商户数据包,手续费,费率"
    )
    cells = (
        "`2014-11-10 16:33:45,`wx2421b1c4370ec43b,`10000100,`0,`1000,`1001690740201411100005734289,"
        "`1415640626,`085e9858,`MICROPAY,`SUCCESS,`OTHERS,`CNY,`0.01,`0.0,`0,`0,`0,`0,`,`,"
        "`被扫支付测试,`订单额外描述,`0,`0.60%"
    )
    summary = "总交易单数,总交易额,总退款金额,总代金券或立减优惠退款金额,手续费总金额"
    text = f"{header}\n{cells}\n{summary}\n`1,`0.01,`0.0,`0.0,`0"

    (line,) = bills.parse("wechat", text.encode()).lines

    assert (line.out_ref, line.amount_minor, line.fee_e4) == ("1415640626", 1, 0)


def test_escaped_commas_and_line_ends_in_free_text_do_no_harm() -> None:
    goods = "tea\\ two cups\\nno sugar, please"
    content = file(row(amount="1.00", goods=goods), summary="`1,`1.00,`0,`0,`0,`1.00,`0")
    assert bills.parse("wechat", content).lines[0].amount_minor == 100


def test_refunds_under_way_and_revoked_orders_keep_their_status() -> None:
    content = file(
        row("REFUND", refund_ref="R1", refund="5.00", refund_state="PROCESSING"),
        row("REVOKED", amount="3.00"),
        summary="`2,`3.00,`5.00,`0.00,`0,`3.00,`5.00",
    )
    statuses = [line.status for line in bills.parse("wechat", content).lines]
    assert statuses == [LineStatus.PROCESSING, LineStatus.REVOKED]


GOOD = file(PAID, REFUNDED, summary=GOOD_SUMMARY)


def rejection(content: bytes) -> BillRejected:
    with pytest.raises(BillRejected) as caught:
        bills.parse("wechat", content)
    return caught.value


@pytest.mark.parametrize("share", [range(150, len(GOOD) - 40, 37)])
def test_a_file_that_broke_off_anywhere_is_truncated(share: range) -> None:
    reasons = {rejection(GOOD[:end]).reason for end in share}
    assert reasons == {BillReason.TRUNCATED}


def test_nothing_at_all_is_truncated() -> None:
    assert rejection(b"").reason is BillReason.TRUNCATED
    assert rejection(b"\xef\xbb\xbf\r\n").reason is BillReason.TRUNCATED


def test_another_encoding_is_refused() -> None:
    gbk = GOOD.decode().encode("gbk")
    assert rejection(gbk).reason is BillReason.ENCODING_INVALID


@pytest.mark.parametrize(
    "summary",
    [
        "`3,`2000.01,`50.00,`0.00,`19.50010,`2000.01,`50.00",
        "`2,`2000.01,`50.00,`0.00,`19.50010,`2000.02,`50.00",
        "`2,`2000.01,`50.00,`0.00,`19.50011,`2000.01,`50.00",
        "`2,`2000.01,`50.00,`0.00,`19.50010,`2000.01,`50.01",
        "`2,`2000.00,`50.00,`0.00,`19.50010,`2000.01,`50.00",
    ],
)
def test_totals_that_do_not_add_up_are_refused(summary: str) -> None:
    error = rejection(file(PAID, REFUNDED, summary=summary))
    assert error.reason is BillReason.TOTALS_MISMATCH


@pytest.mark.parametrize("column", ["商户订单号", "订单金额", "手续费", "商户退款单号"])
def test_a_missing_column_is_named(column: str) -> None:
    error = rejection(GOOD.replace(f",{column},".encode(), ",其他,".encode(), 1))
    assert error.reason is BillReason.HEADER_INVALID
    assert column in error.detail


def test_something_else_than_a_trade_bill_is_refused_by_its_header() -> None:
    assert rejection(b'{"code":"SYSTEM_ERROR"}').reason is BillReason.HEADER_INVALID


@pytest.mark.parametrize(
    "bad",
    [
        "garbage",
        row(amount="12.345"),
        row(amount="1e3"),
        row(amount="-1.00"),
        row(amount="99999999999999.00"),
        row(currency="XXX"),
        row("UNHEARD_OF"),
        row(out_ref=""),
        row(fee="0.0000001"),
        row(moment="2026-02-30 10:00:00"),
        PAID + ",`one too many",
    ],
)
def test_a_row_that_cannot_be_true_is_refused_with_its_number(bad: str) -> None:
    error = rejection(file(PAID, bad, summary=GOOD_SUMMARY))
    assert (error.reason, error.line_number) == (BillReason.ROW_INVALID, 3)
    assert "line 3" in error.text


def test_a_provider_without_a_parser_is_refused() -> None:
    with pytest.raises(BillRejected) as caught:
        bills.parse("unheard-of", GOOD)
    assert caught.value.reason is BillReason.FORMAT_UNKNOWN
