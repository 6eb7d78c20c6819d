"""Alipay's bills as merchants have published theirs, and every way in which one may not be believed."""

from datetime import datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.clearing.domain import bills
from services.clearing.domain.bills import alipay
from services.clearing.domain.bills.model import Bill, BillLine
from services.clearing.domain.errors import BillReason, BillRejected
from services.clearing.domain.model import ItemKind

HEADER = (
    "支付宝交易号,商户订单号,业务类型,商品名称,创建时间,完成时间,门店编号,门店名称,操作员,终端号,对方账户,订单金额（元）,"
    "商家实收（元）,支付宝红包（元）,集分宝（元）,支付宝优惠（元）,商家优惠（元）,券核销金额（元）,券名称,"
    "商家红包消费金额（元）,卡消费金额（元）,退款批次号/请求号,服务费（元）,分润（元）,备注"
)


def _file(text: str) -> str:
    return text.replace("\n", "\r\n")


def _row(numbers: str, kind: str, amount: str, fee: str, request: str = "") -> str:
    return (
        f"{numbers},{kind},一杯咖啡,2026-11-11 12:00:00,2026-11-11 12:00:30,,,,,"
        f"buy***@example.com\t,{amount},{amount},0.00,0.00,0.00,0.00,0.00,,0.00,0.00,{request}\t,{fee},0.00,"
    )


RULE = "-" * 41
FIRST, SECOND = "2026111122001\t,pay_1\t", "2026111122002\t,pay_2\t"
TRADES = _file(
    f"""#支付宝业务明细查询
#账号：[20880000000000000156]
#起始日期：[2026年11月11日 00:00:00]   终止日期：[2026年11月12日 00:00:00]
#{RULE}业务明细列表{RULE}
{HEADER}
{_row(FIRST, "交易", "35.80", "-0.21")}
{_row(SECOND, "交易", "45.0", "-0.27")}
{_row(FIRST, "退款", "-5.80", "0.03", "ref_1")}
#{RULE}业务明细列表结束{RULE}
#交易合计：2笔，商家实收共80.80元，商家优惠共0.00元
#退款合计：1笔，商家实收退款共-5.80元，商家优惠退款共0.00元
#导出时间：[2026年11月12日 09:00:00]
"""
)
SUMMARY = _file(
    f"""#支付宝业务汇总查询
#账号：[20880000000000000156]
#{RULE}业务汇总列表{RULE}
门店编号,门店名称,交易订单总笔数,退款订单总笔数,订单金额（元）,商家实收（元）,支付宝优惠（元）,商家优惠（元）,卡消费金额（元）,服务费（元）,分润（元）,实收净额（元）
,,2.0,1,75.00,75.00,0.00,0.00,0.00,-0.45,0.00,74.55
合计,,2.0,1,75.00,75.00,0.00,0.00,0.00,-0.45,0.00,74.55
#{RULE}业务汇总列表结束{RULE}
"""
)
MOVEMENTS = _file(
    f"""#支付宝账务明细查询
#{RULE}账务明细列表{RULE}
账务流水号,业务流水号,商户订单号,商品名称,发生时间,对方账号,收入金额（+元）,支出金额（-元）,账户余额（元）,交易渠道,业务类型,备注
1\t,2026111122001\t,pay_1\t,一杯咖啡,2026-11-11 12:00:30,,35.80,,135.80,支付宝,在线支付,
2\t,2026111122001\t,pay_1\t,收单服务费,2026-11-11 12:00:30,,,-0.21,135.59,支付宝,收费,
3\t,20261111110070\t,out_1\t,settlement,2026-11-11 13:00:00,,-,-50.00,85.59,支付宝,转账,
4\t,20261111110070\t,out_1\t,转账服务费,2026-11-11 13:00:00,,,-0.10,85.49,支付宝,收费,
5\t,20261111110070\t,out_1\t,settlement,2026-11-11 15:00:00,,50.00, ,135.49,支付宝,转账退回,
6\t,20261111000001\t,\t,提现,2026-11-11 16:00:00,,,-35.49,100.00,支付宝,提现,
#{RULE}账务明细列表结束{RULE}
#支出合计：4笔，共-85.80元
#收入合计：2笔，共85.80元
"""
)
MOVEMENTS_SUMMARY = _file(
    f"""#支付宝账务汇总查询
#{RULE}账务汇总列表{RULE}
业务类型,收入笔数,收入金额（+元）
合计,2,85.80
#{RULE}账务汇总列表结束{RULE}
"""
)


def _parse(*parts: str) -> Bill:
    return bills.parse("alipay", "".join(parts).encode("gbk"))


def _short(lines: list[BillLine]) -> list[tuple[str, str, str, int, int]]:
    return [
        (line.kind.value, line.out_ref, line.provider_ref, line.amount_minor, line.fee_e4)
        for line in lines
    ]


TRADE_LINES = [
    ("PAYMENT", "pay_1", "2026111122001", 3580, 210_000),
    ("PAYMENT", "pay_2", "2026111122002", 4500, 270_000),
    ("REFUND", "ref_1", "2026111122001", 580, -30_000),
]


@pytest.mark.parametrize("parts", [(TRADES, SUMMARY), (SUMMARY, TRADES)])
def test_trades_are_read_whichever_file_comes_first(parts: tuple[str, str]) -> None:
    bill = _parse(*parts)
    assert _short(list(bill.lines)) == TRADE_LINES
    assert bill.lines[0].occurred_at == datetime(2026, 11, 11, 12, 0, 30, tzinfo=alipay.BEIJING)
    assert bill.fees_e4() == {"CNY": 450_000}


def test_a_fee_means_the_same_with_either_sign() -> None:
    positive = TRADES.replace(",-0.21,", ",0.21,").replace(",-0.27,", ",0.27,")
    positive = positive.replace(",0.03,", ",-0.03,")
    assert _short(list(_parse(positive, SUMMARY.replace("-0.45", "0.45")).lines)) == TRADE_LINES


def test_transfers_come_from_the_movements_with_their_fee_and_their_return() -> None:
    lines = _parse(SUMMARY, TRADES, MOVEMENTS, MOVEMENTS_SUMMARY).lines
    assert _short(list(lines))[:3] == TRADE_LINES
    assert _short(list(lines))[3:] == [
        ("PAYOUT", "out_1", "20261111110070", 5000, 100_000),
        ("PAYOUT_RETURN", "out_1", "20261111110070", 5000, 0),
    ]
    assert [line.occurred_at.hour for line in lines[3:]] == [13, 15]
    assert [line.kind for line in _parse(MOVEMENTS, MOVEMENTS_SUMMARY).lines] == [
        ItemKind.PAYOUT,
        ItemKind.PAYOUT_RETURN,
    ]


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        ("#交易合计：2笔", "#交易合计：3笔", BillReason.TOTALS_MISMATCH),
        ("商家实收共80.80元", "商家实收共80.81元", BillReason.TOTALS_MISMATCH),
        ("商家实收退款共-5.80元", "商家实收退款共-5.81元", BillReason.TOTALS_MISMATCH),
        ("合计,,2.0", "合计,,3.0", BillReason.TOTALS_MISMATCH),
        ("合计,,2.0,1,75.00", "合计,,2.0,1,75.01", BillReason.TOTALS_MISMATCH),
        ("-0.45,0.00,74.55\r\n#", "-0.46,0.00,74.55\r\n#", BillReason.TOTALS_MISMATCH),
        ("合计,,2.0", "合计,,two", BillReason.ROW_INVALID),
        ("合计,,", ",,", BillReason.HEADER_INVALID),
        ("#交易合计", "#某某合计", BillReason.TRUNCATED),
        ("业务明细列表结束", "业务明细列表", BillReason.TRUNCATED),
        ("业务明细列表结束----", "业务明细列表结束----\r\n" + "x,y", BillReason.ROW_INVALID),
        ("服务费（元）,分润（元）,备注", "费用,分润（元）,备注", BillReason.HEADER_INVALID),
        ("pay_2\t,交易", "pay_2\t,转让", BillReason.ROW_INVALID),
        ("pay_2\t", "\t", BillReason.ROW_INVALID),
        ("一杯咖啡,2026", "一杯,咖啡,2026", BillReason.ROW_INVALID),
        ("12:00:30,,,,,", "noon,,,,,", BillReason.ROW_INVALID),
        (",45.0,45.0,", ",-45.0,45.0,", BillReason.ROW_INVALID),
        (",45.0,45.0,", ",45.001,45.0,", BillReason.ROW_INVALID),
        (",45.0,45.0,", ",45.0,4e1,", BillReason.ROW_INVALID),
        ("#支付宝业务明细查询", "#支付宝其他查询", BillReason.HEADER_INVALID),
        ("#支付宝业务明细查询", "支付宝业务明细查询", BillReason.HEADER_INVALID),
        ("#支付宝业务汇总查询", "#支付宝业务明细查询", BillReason.HEADER_INVALID),
        (",135.59,", ",135.58,", BillReason.TOTALS_MISMATCH),
        ("#支出合计：4笔", "#支出合计：5笔", BillReason.TOTALS_MISMATCH),
        ("#收入合计：2笔，共85.80元", "#收入合计：2笔，共85.81元", BillReason.TOTALS_MISMATCH),
        ("5\t,20261111110070\t,out_1\t", "5\t,20261111110070\t,\t", BillReason.ROW_INVALID),
    ],
)
def test_a_bill_that_contradicts_itself_is_not_believed(
    old: str, new: str, reason: BillReason
) -> None:
    whole = TRADES + SUMMARY + MOVEMENTS + MOVEMENTS_SUMMARY
    assert old in whole
    with pytest.raises(BillRejected) as caught:
        _parse(whole.replace(old, new, 1))
    assert caught.value.reason is reason


def test_either_half_of_a_pair_alone_is_a_broken_transfer() -> None:
    for part in (TRADES, SUMMARY, MOVEMENTS, MOVEMENTS_SUMMARY):
        with pytest.raises(BillRejected) as caught:
            _parse(part)
        assert caught.value.reason is BillReason.TRUNCATED


@given(cut=st.integers(0, len((TRADES + SUMMARY).encode("gbk")) - 2))
def test_no_beginning_of_a_bill_passes_for_the_whole(cut: int) -> None:
    content = (TRADES + SUMMARY).encode("gbk").rstrip()[:cut]
    if "业务汇总列表结束".encode("gbk") in content:
        return
    with pytest.raises(BillRejected):
        bills.parse("alipay", content)


@given(data=st.data())
def test_no_bytes_break_the_parser(data: st.DataObject) -> None:
    raw = bytearray((SUMMARY + TRADES + MOVEMENTS + MOVEMENTS_SUMMARY).encode("gbk"))
    for _ in range(data.draw(st.integers(1, 5))):
        raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
    for content in (bytes(raw), data.draw(st.binary(max_size=80))):
        try:
            bills.parse("alipay", content)
        except BillRejected:
            continue
