"""Fees are whole minor units, half up, and refunds never give back more than was paid."""

from dataclasses import replace
from datetime import date
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.clearing.domain import fees
from services.clearing.domain.fees import PaidFee
from services.clearing.domain.model import FeePlan

PLAN = FeePlan(
    plan_id="plan_1",
    merchant_id="mer_1",
    rate_ppm=6_000,
    fixed_minor=0,
    payout_fixed_minor=50,
    fee_refundable=True,
    effective_from=date(2026, 3, 1),
    settle_delay_days=1,
)
DEFAULT = replace(PLAN, plan_id="default", merchant_id="")


@pytest.mark.parametrize(
    ("amount_minor", "fixed_minor", "fee_minor"),
    [(10_000, 0, 60), (83, 0, 0), (84, 0, 1), (250, 0, 2), (249, 0, 1), (10_000, 30, 90)],
)
def test_a_payment_costs_its_rate_half_up_and_the_fixed_part(
    amount_minor: int, fixed_minor: int, fee_minor: int
) -> None:
    assert fees.payment_fee(replace(PLAN, fixed_minor=fixed_minor), amount_minor) == fee_minor


def test_the_latest_plan_in_force_holds_and_the_default_before_any() -> None:
    later = replace(PLAN, plan_id="plan_2", effective_from=date(2026, 3, 10))
    other = replace(PLAN, plan_id="plan_3", merchant_id="mer_2", effective_from=date(2026, 3, 11))
    plans = [later, PLAN, other]

    def held(day: int) -> str:
        return fees.plan_on(plans, "mer_1", date(2026, 3, day), DEFAULT).plan_id

    assert (held(9), held(10), held(31)) == ("plan_1", "plan_2", "plan_2")
    assert fees.plan_on(plans, "mer_1", date(2026, 2, 28), DEFAULT).plan_id == "default"


def test_nothing_goes_back_when_the_plan_keeps_the_fee() -> None:
    paid = PaidFee(amount_minor=10_000, fee_minor=60, fee_refundable=False)
    assert fees.refund_fee(paid, 10_000) == 0


@given(
    amount_minor=st.integers(1, 10**12),
    rate_ppm=st.integers(0, 1_000_000),
    parts=st.lists(st.integers(1, 10**12), max_size=12),
)
def test_refunds_give_back_the_fee_in_proportion_and_never_more(
    amount_minor: int, rate_ppm: int, parts: list[int]
) -> None:
    fee_minor = fees.payment_fee(replace(PLAN, rate_ppm=rate_ppm), amount_minor)
    paid = PaidFee(amount_minor=amount_minor, fee_minor=fee_minor, fee_refundable=True)
    returned = 0
    for part in [*parts, amount_minor]:
        refund_minor = min(part, amount_minor - paid.refunded_minor)
        given_back = -fees.refund_fee(paid, refund_minor)
        paid = paid.refunded(refund_minor)
        returned += given_back
        exact = Fraction(fee_minor * paid.refunded_minor, amount_minor)
        assert given_back >= 0
        assert abs(returned - exact) <= Fraction(1, 2)
    assert returned == fee_minor
