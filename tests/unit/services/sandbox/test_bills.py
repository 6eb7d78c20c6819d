"""Bills byte for byte, checked against the layout of a published capture."""

from dataclasses import replace
from datetime import date, datetime

from services.sandbox import bills, records
from services.sandbox.clock import SHANGHAI
from services.sandbox.records import Account, Order, Profile, Refund
from services.sandbox.wechat.bills import trade_bill

DAY = date(2026, 11, 11)
PAID_AT = datetime(2026, 11, 11, 17, 7, 11, tzinfo=SHANGHAI)
ACCOUNT = Account(
    provider="wechat",
    account_id="1601959334",
    terms={"appid": "wx81be3101902f7cb2"},
    profile=Profile(fee_bps=100),
)
ORDER = Order(
    account_id="1601959334",
    out_ref="S20260128170702357723",
    status=records.SUCCEEDED,
    amount=2_000_01,
    currency="CNY",
    method="NATIVE",
    description="for testing",
    attach="cipher code",
    payer="ofyak5qR_1wYsC99CsWA6R9MJazA",
    notify_url="",
    deadline_ms=None,
    auto_pay_at_ms=None,
    provider_ref="4200000925202101284997714292",
    qr_content="",
    code="",
    message="",
    fee=2000,
    times_charged=1,
    created_at=PAID_AT,
    paid_at=PAID_AT,
)
REFUND = Refund(
    account_id="1601959334",
    out_ref="R1",
    order_ref=ORDER.out_ref,
    status=records.SUCCEEDED,
    amount=50_00,
    currency="CNY",
    reason="",
    notify_url="",
    provider_ref="50300807172021020106006664916",
    code="",
    fee=50,
    settle_at_ms=None,
    created_at=PAID_AT.replace(hour=18),
    finished_at=PAID_AT.replace(hour=19),
)
HEADER = (
    "交易时间,公众账号ID,商户号,特约商户号,设备号,微信订单号,商户订单号,用户标识,交易类型,交易状态,"
    "付款银行,货币种类,应结订单金额,代金券金额,微信退款单号,商户退款单号,退款金额,充值券退款金额,"
    "退款类型,退款状态,商品名称,商户数据包,手续费,费率,订单金额,申请退款金额,费率备注"
)
OPENING = "`wx81be3101902f7cb2,`1601959334,`0,`,`4200000925202101284997714292,"
WHO = "`S20260128170702357723,`ofyak5qR_1wYsC99CsWA6R9MJazA,"
PAYMENT_ROW = (
    f"`2026-11-11 17:07:11,{OPENING}{WHO}`NATIVE,`SUCCESS,`OTHERS,`CNY,`2000.01,`0.00,`0,`0,"
    "`0.00,`0.00,`,`,`for testing,`cipher code,`20.00000,`1.00%,`2000.01,`0.00,`"
)
REFUND_ROW = (
    f"`2026-11-11 18:07:11,{OPENING}{WHO}`NATIVE,`REFUND,`OTHERS,`CNY,`0.00,`0.00,"
    "`50300807172021020106006664916,`R1,`50.00,`0.00,`ORIGINAL,`SUCCESS,"
    "`for testing,`cipher code,`-0.50000,`1.00%,`0.00,`50.00,`"
)
SUMMARY_HEADER = (
    "总交易单数,应结订单总金额,退款总金额,充值券退款总金额,手续费总金额,订单总金额,申请退款总金额"
)
SUMMARY_ROW = "`2,`2000.01,`50.00,`0.00,`19.50000,`2000.01,`50.00"


def render(lines: list[bills.Line], day: date = DAY, *, byte_order_mark: bool = False) -> str:
    orders = {ORDER.out_ref: ORDER}
    return trade_bill(ACCOUNT, day, lines, orders, byte_order_mark=byte_order_mark).decode()


def test_a_trade_bill_has_the_27_columns_the_backticks_and_the_summary() -> None:
    lines = [HEADER, PAYMENT_ROW, REFUND_ROW, SUMMARY_HEADER, SUMMARY_ROW, ""]
    assert render([REFUND, ORDER]) == "\r\n".join(lines)


def test_on_some_days_the_count_is_written_as_a_decimal() -> None:
    assert render([ORDER, REFUND], date(2026, 11, 12)).splitlines()[-1].startswith("`2.0,")


def test_the_byte_order_mark_is_optional() -> None:
    assert render([ORDER], byte_order_mark=True) == "\ufeff" + render([ORDER])


def test_commas_and_line_ends_in_free_text_cannot_break_a_row() -> None:
    tricky = replace(ORDER, description="tea, black\r\nand cake")
    row = render([tricky]).split("\r\n")[1]
    assert len(row.split(",")) == 27
    assert "`tea\\  black\\nand cake," in row


def test_an_altered_bill_still_adds_up() -> None:
    lines = bills.altered([ORDER, REFUND], {ORDER.out_ref: "bill_wrong_amount"})
    assert render(lines).splitlines()[-1].startswith("`2,`2001.01,")
    gone = bills.altered([ORDER, REFUND], {"R1": "bill_missing_row"})
    assert render(gone).splitlines()[-1].startswith("`1,")


def test_fees_are_rounded_half_up_and_never_exceed_the_amount() -> None:
    profile = Profile(fee_bps=60, fee_fixed=5)
    assert [profile.fee(amount) for amount in (1, 3, 83, 84, 100_00)] == [1, 3, 5, 6, 65]
