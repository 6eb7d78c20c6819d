"""What becomes of a reference: seeded chance put in terms of payers, banks and channels."""

from datetime import date

from services.sandbox import clock as clocks
from services.sandbox import records
from services.sandbox.chance import Chance
from services.sandbox.records import Account

HARD_DECLINES = ("INSUFFICIENT_FUNDS", "CARD_EXPIRED", "RISK_REJECTED")
SOFT_DECLINES = ("CHANNEL_BUSY", "LIMIT_EXCEEDED", "CHANNEL_MAINTENANCE")
DECLINE_ON_DEMAND = "sim:"
"""A payer token `sim:CARD_EXPIRED` is always declined with that code."""
WECHAT_SETTLE_MS = (150, 600)

_PROVIDER_REF_PREFIX = {"charge": "42000", "refund": "50300", "payout": "13300"}


class Fate:
    """Decisions that depend on nothing but the account's profile and the reference."""

    def __init__(self, chance: Chance) -> None:
        self._chance = chance

    def verdict(
        self, account: Account, out_ref: str, payer_token: str, *, immediate: bool
    ) -> tuple[str, str]:
        """Status and decline code of a new charge; one that is not immediate waits for a payer."""
        if payer_token.startswith(DECLINE_ON_DEMAND):
            return records.DECLINED, payer_token.removeprefix(DECLINE_ON_DEMAND).upper()
        if not immediate:
            return records.PENDING, ""
        profile, who = account.profile, (account.account_id, out_ref)
        drawn = self._chance.fraction(*who, "decline")
        if drawn < profile.decline_rate:
            return records.DECLINED, self._chance.pick(*who, "hard code", HARD_DECLINES)
        if drawn < profile.decline_rate + profile.soft_decline_rate:
            return records.DECLINED, self._chance.pick(*who, "soft code", SOFT_DECLINES)
        return records.SUCCEEDED, ""

    def latency_s(self, account: Account, out_ref: str, operation: str) -> float:
        """How long the channel thinks before it answers."""
        bounds = account.profile.latency_ms
        if bounds[1] == 0:
            return 0.0
        return self._chance.between_ms(account.account_id, out_ref, operation, bounds) / 1000

    def auto_pay_at_ms(self, account: Account, out_ref: str) -> int | None:
        """When the payer of a pending order pays, in real time; None is never."""
        profile, who = account.profile, (account.account_id, out_ref)
        if profile.auto_pay_after_ms is None:
            return None
        if self._chance.fraction(*who, "pays") >= profile.pay_rate:
            return None
        return clocks.now_ms() + self._chance.between_ms(
            *who, "pays after", profile.auto_pay_after_ms
        )

    def return_at_ms(self, account: Account, out_ref: str) -> int | None:
        """When the payee's bank sends a payout back, in real time; None is never."""
        profile, who = account.profile, (account.account_id, out_ref)
        if self._chance.fraction(*who, "returns") >= profile.payout_return_rate:
            return None
        return clocks.now_ms() + self._chance.between_ms(
            *who, "returns after", profile.payout_return_after_ms
        )

    def settle_at_ms(self, account: Account, out_ref: str) -> int | None:
        """When a capture, refund or payout arrives, in real time; None is at once."""
        span = account.profile.settle_after_ms
        if span is None and account.provider == "wechat":
            span = WECHAT_SETTLE_MS
        if span is None:
            return None
        return clocks.now_ms() + self._chance.between_ms(
            account.account_id, out_ref, "settles after", span
        )

    def callback_at_ms(self, account: Account, out_ref: str) -> int:
        """When the notification of what just happened is due, in real time."""
        return clocks.now_ms() + self._chance.between_ms(
            account.account_id, out_ref, "callback", account.profile.callback_after_ms
        )

    def provider_ref(self, day: date, account: Account, kind: str, out_ref: str) -> str:
        """The channel's own number for a charge, refund or payout."""
        digits = self._chance.digits(account.account_id, out_ref, kind, 12)
        if account.provider == "wechat":
            return f"{_PROVIDER_REF_PREFIX[kind]}00{digits[:3]}{day:%Y%m%d}{digits[2:]}"
        return f"{kind[0].upper()}{day:%Y%m%d}{digits}"

    def payer(self, account: Account, out_ref: str) -> str:
        """The payer's identifier at the channel (an openid)."""
        return "o" + self._chance.digits(account.account_id, out_ref, "payer", 19)

    def qr_content(self, account: Account, out_ref: str) -> str:
        """What a payer scans."""
        scheme = "weixin://wxpay/bizpayurl?pr=" if account.provider == "wechat" else "simpay://pay/"
        return scheme + self._chance.digits(account.account_id, out_ref, "qr", 16)
