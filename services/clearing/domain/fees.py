"""What a merchant pays us, in whole minor units; every division rounds half up, once."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import date

from libs.money import mul_div
from services.clearing.domain.model import FeePlan

PPM_PER_UNIT = 1_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class PaidFee:
    """What a payment cost its merchant, and how much of the payment went back so far."""

    amount_minor: int
    fee_minor: int
    fee_refundable: bool
    refunded_minor: int = 0

    def captured(self, amount_minor: int, fee_minor: int) -> "PaidFee":
        """The same after one more capture."""
        return replace(
            self,
            amount_minor=self.amount_minor + amount_minor,
            fee_minor=self.fee_minor + fee_minor,
        )

    def refunded(self, amount_minor: int) -> "PaidFee":
        """The same after one more refund."""
        return replace(self, refunded_minor=self.refunded_minor + amount_minor)


def default_plan(
    *,
    rate_ppm: int,
    fixed_minor: int,
    payout_fixed_minor: int,
    fee_refundable: bool,
    settle_delay_days: int,
) -> FeePlan:
    """Return the plan of merchants that have none; its id says what it was, as settings change."""
    return FeePlan(
        plan_id=f"default:{rate_ppm}ppm+{fixed_minor}/payout+{payout_fixed_minor}",
        merchant_id="",
        rate_ppm=rate_ppm,
        fixed_minor=fixed_minor,
        payout_fixed_minor=payout_fixed_minor,
        fee_refundable=fee_refundable,
        effective_from=date.min,
        settle_delay_days=settle_delay_days,
    )


def plan_on(plans: Iterable[FeePlan], merchant_id: str, day: date, default: FeePlan) -> FeePlan:
    """Return the merchant's latest plan in force on `day`, else the default."""
    in_force = [
        plan for plan in plans if plan.merchant_id == merchant_id and plan.effective_from <= day
    ]
    return max(in_force, key=lambda plan: plan.effective_from, default=default)


def payment_fee(plan: FeePlan, amount_minor: int) -> int:
    """Return rate × amount, half up, plus the fixed part."""
    return mul_div(amount_minor, plan.rate_ppm, PPM_PER_UNIT) + plan.fixed_minor


def refund_fee(paid: PaidFee, amount_minor: int) -> int:
    """Return the fee of a refund: 0, or negative when fee is given back.

    All refunds of a payment together give back the fee in proportion to what was refunded in all,
    rounded once over the sum: rounding never adds up, and no more than the fee goes back.
    """
    if not paid.fee_refundable:
        return 0
    before = _returned(paid, paid.refunded_minor)
    return before - _returned(paid, paid.refunded_minor + amount_minor)


def _returned(paid: PaidFee, refunded_minor: int) -> int:
    refunded = min(refunded_minor, paid.amount_minor)
    return mul_div(paid.fee_minor, refunded, paid.amount_minor) if paid.amount_minor else 0
