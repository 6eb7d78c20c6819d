"""What becomes of a reference: seeded chance put in terms of payers, banks and channels."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import date

from services.sandbox import clock as clocks
from services.sandbox import records
from services.sandbox.chance import Chance
from services.sandbox.records import Account, SpanMs

HARD_DECLINES = ("INSUFFICIENT_FUNDS", "CARD_EXPIRED", "RISK_REJECTED")
SOFT_DECLINES = ("CHANNEL_BUSY", "LIMIT_EXCEEDED", "CHANNEL_MAINTENANCE")
DECLINE_ON_DEMAND = "sim:"
"""A payer token `sim:CARD_EXPIRED` is always declined with that code."""


def plain_ref(day: date, kind: str, digits: str) -> str:
    """A reference as a provider without habits of its own writes it."""
    return f"{kind[0].upper()}{day:%Y%m%d}{digits}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Habits:
    """How a provider numbers things and how long it takes, where the account's profile does not say."""

    qr_prefix: str
    provider_ref: Callable[[date, str, str], str] = plain_ref
    """From the business day, the kind of thing and twelve digits of chance."""
    settle_after_ms: SpanMs | None = None


class Fate:
    """Decisions that depend on nothing but the account's profile, its provider's habits, and the reference."""

    def __init__(self, chance: Chance, habits: Mapping[str, Habits]) -> None:
        """`habits` by provider."""
        self._chance = chance
        self._habits = habits

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
        span = account.profile.settle_after_ms or self._habits[account.provider].settle_after_ms
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
        return self._habits[account.provider].provider_ref(day, kind, digits)

    def payer(self, account: Account, out_ref: str) -> str:
        """The payer's identifier at the channel (an openid)."""
        return "o" + self._chance.digits(account.account_id, out_ref, "payer", 19)

    def qr_content(self, account: Account, out_ref: str) -> str:
        """What a payer scans."""
        prefix = self._habits[account.provider].qr_prefix
        return prefix + self._chance.digits(account.account_id, out_ref, "qr", 16)
