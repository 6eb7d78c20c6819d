"""Figures as people read them."""

from collections.abc import Mapping
from datetime import datetime
from typing import Final

from libs import money
from services.cockpit.domain import days

NONE: Final = "–"
MINUTES_PER_HOUR: Final = 60
MILLISECONDS_PER_SECOND: Final = 1_000

# Each word once, with the term finance staff use.
ROLES: Final[Mapping[str, tuple[str, str]]] = {
    "CHANNEL_RECEIVABLE": ("Channel receivable", "应收渠道款"),
    "BANK_MIRROR": ("Bank", "银行存款"),
    "IN_TRANSIT": ("In transit", "在途资金"),
    "CHANNEL_COST": ("Channel cost", "渠道成本"),
    "MERCHANT_PENDING": ("Merchant pending", "商户待结算"),
    "MERCHANT_AVAILABLE": ("Merchant available", "商户可用余额"),
    "FEE_INCOME": ("Fee income", "手续费收入"),
    "SUSPENSE": ("Suspense", "存疑"),
}
DEBIT_ROLES: Final = frozenset({"CHANNEL_RECEIVABLE", "BANK_MIRROR", "IN_TRANSIT", "CHANNEL_COST"})
DIFFERENCES: Final[Mapping[str, tuple[str, str]]] = {
    "LONG": ("Long", "长款"),
    "SHORT": ("Short", "短款"),
    "AMOUNT": ("Amount", "金额不符"),
    "STATUS": ("Status", "状态不符"),
    "DUPLICATE": ("Duplicate", "重复"),
    "CURRENCY": ("Currency", "币种不符"),
}
STATES: Final[Mapping[str, tuple[str, str]]] = {
    "PROCESSING": ("Processing", "处理中"),
    "PENDING": ("Waiting for payer", "待支付"),
    "REQUIRES_REVIEW": ("In review", "待审核"),
    "SUCCEEDED": ("Succeeded", "成功"),
    "FAILED": ("Failed", "失败"),
    "CANCELED": ("Canceled", "已撤销"),
    "MANUAL": ("Needs a person", "人工处理"),
    "SENT": ("Sent", "已发送"),
    "UNKNOWN": ("Unknown", "结果未知"),
    "DECLINED": ("Declined", "拒绝"),
    "CLOSED": ("Closed", "已关闭"),
    "COMPUTED": ("Computed", "待结算"),
    "SETTLED": ("Settled", "已结算"),
    "ENABLED": ("Enabled", "启用"),
    "DRAINED": ("Drained", "停新单"),
    "DISABLED": ("Disabled", "停用"),
    "FETCHED": ("Fetched", "已下载"),
    "EMPTY": ("Empty", "无交易"),
    "NOT_READY": ("Not ready", "未就绪"),
    "REJECTED": ("Rejected", "已拒收"),
}
METHODS: Final[Mapping[str, tuple[str, str]]] = {
    "WECHAT_QR": ("WeChat QR", "微信扫码"),
    "WECHAT_JSAPI": ("WeChat page", "微信公众号/小程序"),
    "WECHAT_H5": ("WeChat H5", "微信H5"),
    "WECHAT_APP": ("WeChat app", "微信APP"),
    "WECHAT_CODE": ("WeChat code", "微信付款码"),
    "ALIPAY_QR": ("Alipay QR", "支付宝扫码"),
    "ALIPAY_JSAPI": ("Alipay page", "支付宝小程序"),
    "ALIPAY_PAGE": ("Alipay web", "支付宝电脑网站"),
    "ALIPAY_WAP": ("Alipay mobile web", "支付宝手机网站"),
    "ALIPAY_APP": ("Alipay app", "支付宝APP"),
    "ALIPAY_CODE": ("Alipay code", "支付宝付款码"),
    "UNIONPAY_QR": ("UnionPay QR", "云闪付扫码"),
    "UNIONPAY_APP": ("UnionPay app", "云闪付APP"),
    "UNIONPAY_CODE": ("UnionPay code", "云闪付付款码"),
    "CARD": ("Card", "银行卡"),
    "ONLINE_BANKING": ("Online banking", "网银"),
    "ONLINE_BANKING_BUSINESS": ("Business online banking", "企业网银"),
    "BALANCE": ("Balance", "余额"),
    "BANK_TRANSFER": ("Bank transfer", "银行转账"),
    "WECHAT_WALLET": ("WeChat wallet", "微信零钱"),
    "ALIPAY_WALLET": ("Alipay wallet", "支付宝余额"),
}
GOOD_STATES: Final = frozenset({"SUCCEEDED", "SETTLED", "ENABLED", "FETCHED"})
# A declined payment is everyday life and has no colour; money nobody can place has.
BAD_STATES: Final = frozenset({"MANUAL", "UNKNOWN", "DISABLED", "REJECTED"})
WARN_STATES: Final = frozenset({"REQUIRES_REVIEW", "DRAINED", "NOT_READY"})


def amount(amount_minor: int, currency: str) -> str:
    """Major units with all decimals and grouped thousands: "1,234.50"."""
    if not money.is_currency(currency):
        return f"{amount_minor:,}"
    sign, text = (
        ("−" if amount_minor < 0 else ""),
        money.Money(currency, abs(amount_minor)).format(),
    )
    whole, point, fraction = text.partition(".")
    return f"{sign}{int(whole):,}{point}{fraction}"


def count(number: int) -> str:
    """A whole number with grouped thousands."""
    return f"{number:,}"


def percent(rate: float | None) -> str:
    """A rate with one decimal. Only a whole is shown as 100 %."""
    if rate is None:
        return NONE
    shown = min(rate, 0.999) if rate < 1 else rate
    return f"{shown:.1%}".replace("%", " %").replace("100.0", "100")


def share(part: int, whole: int) -> float | None:
    """part ÷ whole, or None of nothing."""
    return part / whole if whole else None


def latency(latency_ms: int | None) -> str:
    """Milliseconds, or seconds from one second on."""
    if latency_ms is None:
        return NONE
    if latency_ms < MILLISECONDS_PER_SECOND:
        return f"{latency_ms} ms"
    return f"{latency_ms / MILLISECONDS_PER_SECOND:.1f} s"


def age(minutes: int) -> str:
    """An age, coarse enough not to flicker."""
    if minutes < 1:
        return "under a minute"
    if minutes < MINUTES_PER_HOUR:
        return f"{minutes} min"
    return f"{minutes // MINUTES_PER_HOUR} h {minutes % MINUTES_PER_HOUR} min"


def clock(moment: datetime | None) -> str:
    """The time of day in Shanghai."""
    return f"{days.local(moment):%H:%M:%S}" if moment else NONE


def stamp(moment: datetime | None) -> str:
    """Day and time in Shanghai."""
    return f"{days.local(moment):%Y-%m-%d %H:%M:%S}" if moment else NONE


def words(table: Mapping[str, tuple[str, str]], name: str) -> tuple[str, str]:
    """The label of a name and its Chinese term; a new name is shown as it is."""
    return table.get(name) or (name.replace("_", " ").capitalize(), "")


def tone(state: str) -> str:
    """The meaning a state is coloured by: "good", "warn", "bad" or "" for none."""
    for states, meaning in ((GOOD_STATES, "good"), (BAD_STATES, "bad"), (WARN_STATES, "warn")):
        if state in states:
            return meaning
    return ""
