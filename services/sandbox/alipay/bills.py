"""Alipay's day files: what was traded and what moved the balance, each a zip of two GBK files.

The layouts follow what merchants have published of theirs, with their traps: lines that begin with `#`, TABs
behind numbers, member names in GBK that do not say so, the summary before the details on odd days, a count
written `45.0` in it, and refunds that carry their trade's numbers and negative amounts.
"""

import io
import zipfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta

from services.sandbox.alipay import wire
from services.sandbox.records import Order, Refund

DETAIL_COLUMNS = (
    "支付宝交易号", "商户订单号", "业务类型", "商品名称", "创建时间", "完成时间", "门店编号", "门店名称",
    "操作员", "终端号", "对方账户", "订单金额（元）", "商家实收（元）", "支付宝红包（元）", "集分宝（元）",
    "支付宝优惠（元）", "商家优惠（元）", "券核销金额（元）", "券名称", "商家红包消费金额（元）",
    "卡消费金额（元）", "退款批次号/请求号", "服务费（元）", "分润（元）", "备注",
)  # fmt: skip
SUMMARY_COLUMNS = (
    "门店编号", "门店名称", "交易订单总笔数", "退款订单总笔数", "订单金额（元）", "商家实收（元）",
    "支付宝优惠（元）", "商家优惠（元）", "卡消费金额（元）", "服务费（元）", "分润（元）", "实收净额（元）",
)  # fmt: skip
FUND_COLUMNS = (
    "账务流水号", "业务流水号", "商户订单号", "商品名称", "发生时间", "对方账号", "收入金额（+元）",
    "支出金额（-元）", "账户余额（元）", "交易渠道", "业务类型", "备注",
)  # fmt: skip
FUND_SUMMARY_COLUMNS = (
    "业务类型",
    "收入笔数",
    "收入金额（+元）",
    "支出笔数",
    "支出金额（-元）",
    "总金额（元）",
)

# The trap of a zip: names are GBK, and the flag that would say otherwise is not set.
_NAME_CODEC = "gbk"
_RULE = "-" * 40
_MIDNIGHT = " 00:00:00"


@dataclass(frozen=True, slots=True, kw_only=True)
class Movement:
    """One change of the balance. `amount` is positive for what came in."""

    number: str
    business_number: str
    out_ref: str
    subject: str
    moment: datetime
    counterparty: str
    amount: int
    kind: str
    balance: int
    remark: str = ""


def trade(
    seller_id: str,
    day: date,
    lines: Sequence[Order | Refund],
    orders: dict[str, Order],
    now: datetime,
) -> bytes:
    """The zip of a day's trades. `orders` holds those that the refunds belong to."""
    payments = [line for line in lines if isinstance(line, Order)]
    refunds = [line for line in lines if isinstance(line, Refund)]
    rows = [_payment(order) for order in payments]
    rows += [_refund(refund, orders[refund.order_ref]) for refund in refunds]
    paid, returned = sum(line.amount for line in payments), sum(line.amount for line in refunds)
    detail = [
        *_opening("支付宝业务明细查询", seller_id, day),
        f"#{_RULE}业务明细列表{_RULE}",
        *_table(DETAIL_COLUMNS, rows),
        f"#{_RULE}业务明细列表结束{_RULE}",
        f"#交易合计：{len(payments)}笔，商家实收共{wire.yuan(paid)}元，商家优惠共0.00元",
        f"#退款合计：{len(refunds)}笔，商家实收退款共{wire.yuan(-returned)}元，商家优惠退款共0.00元",
        f"#导出时间：[{now:%Y年%m月%d日 %H:%M:%S}]",
    ]
    fees = sum(line.fee for line in refunds) - sum(line.fee for line in payments)
    count = f"{len(payments)}.0" if day.toordinal() % 2 == 0 else str(len(payments))
    net = [wire.yuan(paid - returned), wire.yuan(paid - returned), "0.00", "0.00", "0.00"]
    total = [count, str(len(refunds)), *net, wire.yuan(fees), "0.00"]
    total.append(wire.yuan(paid - returned + fees))
    summary = [
        *_opening("支付宝业务汇总查询", seller_id, day),
        f"#{_RULE}业务汇总列表{_RULE}",
        *_table(SUMMARY_COLUMNS, [["", "", *total], ["合计", "", *total]]),
        f"#{_RULE}业务汇总列表结束{_RULE}",
        f"#导出时间：[{now:%Y年%m月%d日 %H:%M:%S}]",
    ]
    stem = f"{seller_id}_{day:%Y%m%d}"
    return _zip(day, (f"{stem}_业务明细.csv", detail), (f"{stem}_业务明细(汇总).csv", summary))


def fund(seller_id: str, day: date, movements: Sequence[Movement], now: datetime) -> bytes:
    """The zip of a day's movements of the balance."""
    came = [movement.amount for movement in movements if movement.amount > 0]
    went = [movement.amount for movement in movements if movement.amount < 0]
    detail = [
        *_opening("支付宝账务明细查询", seller_id, day),
        f"#{_RULE}账务明细列表{_RULE}",
        *_table(FUND_COLUMNS, map(_movement, movements)),
        f"#{_RULE}账务明细列表结束{_RULE}",
        f"#支出合计：{len(went)}笔，共{wire.yuan(sum(went))}元",
        f"#收入合计：{len(came)}笔，共{wire.yuan(sum(came))}元",
        f"#导出时间：[{now:%Y年%m月%d日 %H:%M:%S}]",
    ]
    kinds = sorted({movement.kind for movement in movements})
    rows = [_kind_row(kind, [line for line in movements if line.kind == kind]) for kind in kinds]
    summary = [
        *_opening("支付宝账务汇总查询", seller_id, day),
        f"#{_RULE}账务汇总列表{_RULE}",
        *_table(FUND_SUMMARY_COLUMNS, [*rows, _kind_row("合计", movements)]),
        f"#{_RULE}账务汇总列表结束{_RULE}",
        f"#导出时间：[{now:%Y年%m月%d日 %H:%M:%S}]",
    ]
    stem = f"{seller_id}_{day:%Y%m%d}"
    return _zip(day, (f"{stem}_账务明细.csv", detail), (f"{stem}_账务明细(汇总).csv", summary))


def _payment(order: Order) -> list[str]:
    amount = wire.yuan(order.amount)
    return [
        *_numbers(order, "交易", order.created_at, order.paid_at or order.created_at),
        *(amount, amount, "0.00", "0.00", "0.00", "0.00", "0.00", "", "0.00", "0.00", "\t"),
        *(wire.yuan(-order.fee), "0.00", _cell(order.attach)),
    ]


def _refund(refund: Refund, order: Order) -> list[str]:
    amount = wire.yuan(-refund.amount)
    return [
        *_numbers(order, "退款", refund.created_at, refund.finished_at or refund.created_at),
        *(amount, amount, "0.00", "0.00", "0.00", "0.00", "0.00", "", "0.00", "0.00"),
        *(f"{refund.out_ref}\t", wire.yuan(refund.fee), "0.00", _cell(refund.reason)),
    ]


def _numbers(order: Order, kind: str, began: datetime, ended: datetime) -> list[str]:
    return [
        *(f"{order.provider_ref}\t", f"{order.out_ref}\t", kind, _cell(order.description)),
        *(wire.beijing(began), wire.beijing(ended), "", "", "", ""),
        f"{order.payer[1:4]}****{order.payer[-4:]}\t",
    ]


def _movement(movement: Movement) -> list[str]:
    came = wire.yuan(movement.amount) if movement.amount > 0 else ""
    went = wire.yuan(movement.amount) if movement.amount < 0 else ""
    return [
        *(f"{movement.number}\t", f"{movement.business_number}\t", f"{movement.out_ref}\t"),
        *(_cell(movement.subject), wire.beijing(movement.moment), f"{movement.counterparty}\t"),
        *(came, went, wire.yuan(movement.balance), "支付宝", movement.kind, _cell(movement.remark)),
    ]


def _kind_row(kind: str, movements: Sequence[Movement]) -> list[str]:
    came = [movement.amount for movement in movements if movement.amount > 0]
    went = [movement.amount for movement in movements if movement.amount < 0]
    return [
        *(kind, str(len(came)), wire.yuan(sum(came)), str(len(went)), wire.yuan(sum(went))),
        wire.yuan(sum(came) + sum(went)),
    ]


def _opening(title: str, seller_id: str, day: date) -> list[str]:
    until = day + timedelta(days=1)
    return [
        f"#{title}",
        f"#账号：[{seller_id}0156]",
        f"#起始日期：[{day:%Y年%m月%d日}{_MIDNIGHT}]   终止日期：[{until:%Y年%m月%d日}{_MIDNIGHT}]",
    ]


def _table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    return [",".join(columns), *(",".join(row) for row in rows)]


def _cell(text: str) -> str:
    """Free text, without what would break a line of cells, and without what GBK cannot say."""
    plain = text.replace(",", "，").replace("\r", " ").replace("\n", " ").replace("\t", " ")
    return plain.encode("gbk", "replace").decode("gbk")


def _zip(day: date, detail: tuple[str, list[str]], summary: tuple[str, list[str]]) -> bytes:
    members = [summary, detail] if day.toordinal() % 2 else [detail, summary]
    packed = io.BytesIO()
    names: dict[bytes, bytes] = {}
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        for number, (name, lines) in enumerate(members):
            content = "".join(f"{line}\r\n" for line in lines).encode("gbk", "replace")
            # Python's writer would flag such a name as UTF-8, so one of the same length stands in for it.
            stand_in = f"member-{number}-".ljust(len(name.encode(_NAME_CODEC)), "_")
            names[stand_in.encode()] = name.encode(_NAME_CODEC)
            archive.writestr(stand_in, content)
    written = packed.getvalue()
    for ours, theirs in names.items():
        written = written.replace(ours, theirs)
    return written
