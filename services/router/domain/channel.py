"""What a channel can do, what it charges and what it refuses."""

import enum
import zoneinfo
from collections.abc import Iterable
from dataclasses import dataclass

from libs import money
from services.router.domain import errors

PPM_PER_UNIT = 1_000_000


class Method(enum.StrEnum):
    """How a payer pays; the words of fisc.common.v1.PaymentMethod."""

    WECHAT_QR = "WECHAT_QR"
    ALIPAY_QR = "ALIPAY_QR"
    UNIONPAY_QR = "UNIONPAY_QR"
    CARD = "CARD"
    ONLINE_BANKING = "ONLINE_BANKING"
    BANK_TRANSFER = "BANK_TRANSFER"
    WECHAT_JSAPI = "WECHAT_JSAPI"
    WECHAT_H5 = "WECHAT_H5"
    WECHAT_APP = "WECHAT_APP"
    WECHAT_CODE = "WECHAT_CODE"
    ALIPAY_JSAPI = "ALIPAY_JSAPI"
    ALIPAY_PAGE = "ALIPAY_PAGE"
    ALIPAY_WAP = "ALIPAY_WAP"
    ALIPAY_APP = "ALIPAY_APP"
    ALIPAY_CODE = "ALIPAY_CODE"
    UNIONPAY_APP = "UNIONPAY_APP"
    UNIONPAY_CODE = "UNIONPAY_CODE"
    ONLINE_BANKING_BUSINESS = "ONLINE_BANKING_BUSINESS"
    BALANCE = "BALANCE"
    WECHAT_WALLET = "WECHAT_WALLET"
    ALIPAY_WALLET = "ALIPAY_WALLET"


class Operation(enum.StrEnum):
    """What is asked of a channel."""

    PAYMENT = "PAYMENT"
    REFUND = "REFUND"
    PAYOUT = "PAYOUT"
    AUTHORIZATION = "AUTHORIZATION"


class ChannelStatus(enum.StrEnum):
    """Whether a channel may be planned."""

    ENABLED = "ENABLED"
    DRAINED = "DRAINED"
    DISABLED = "DISABLED"


@dataclass(frozen=True, slots=True, kw_only=True)
class FeeSchedule:
    """What a channel charges us for one operation; a bound of 0 is no bound."""

    rate_ppm: int
    fixed_minor: int
    minimum_minor: int
    maximum_minor: int

    def cost(self, amount_minor: int) -> int:
        """The fee in minor units: rate (rounded half up) plus fixed part, then bounded."""
        proportional_minor = money.mul_div(amount_minor, self.rate_ppm, PPM_PER_UNIT, "half_up")
        fee_minor = max(proportional_minor + self.fixed_minor, self.minimum_minor)
        return min(fee_minor, self.maximum_minor) if self.maximum_minor else fee_minor


@dataclass(frozen=True, slots=True, kw_only=True)
class Channel:
    """One contract with one provider.

    The etag is "" until it is stored, and changes with every write.
    """

    channel_id: str
    provider: str
    display_name: str
    status: ChannelStatus
    methods: tuple[Method, ...]
    operations: tuple[Operation, ...]
    currencies: tuple[str, ...]
    amount_minimum_minor: int
    amount_maximum_minor: int
    fee: FeeSchedule
    zone: str
    cut_off: str
    static_rank: int
    etag: str = ""


def check(channel: Channel) -> None:
    """Refuse a description that no plan could use.

    Raises UnknownCurrency or InvalidChannel, naming the field.
    """
    for index, currency in enumerate(channel.currencies):
        if not money.is_currency(currency):
            raise errors.UnknownCurrency(
                f"{currency!r} is not a currency of ISO 4217", field=f"channel.currencies[{index}]"
            )
    if 0 < channel.amount_maximum_minor < channel.amount_minimum_minor:
        _refuse("is less than amount_minimum_minor", "amount_maximum_minor")
    if 0 < channel.fee.maximum_minor < channel.fee.minimum_minor:
        _refuse("is less than fee.minimum_minor", "fee.maximum_minor")
    _refuse_large(
        {
            "amount_minimum_minor": channel.amount_minimum_minor,
            "amount_maximum_minor": channel.amount_maximum_minor,
            "fee.fixed_minor": channel.fee.fixed_minor,
            "fee.minimum_minor": channel.fee.minimum_minor,
            "fee.maximum_minor": channel.fee.maximum_minor,
        }.items()
    )
    _check_zone(channel.zone)


def _refuse_large(amounts: Iterable[tuple[str, int]]) -> None:
    for name, amount_minor in amounts:
        if amount_minor > money.AMOUNT_MINOR_MAX:
            _refuse(f"is more than {money.AMOUNT_MINOR_MAX}", name)


def _check_zone(zone: str) -> None:
    try:
        zoneinfo.ZoneInfo(zone)
    except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError):
        _refuse("is not a zone of the IANA database", "zone")


def _refuse(message: str, field: str) -> None:
    raise errors.InvalidChannel(f"{field} {message}", field=f"channel.{field}")
