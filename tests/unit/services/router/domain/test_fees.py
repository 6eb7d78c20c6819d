"""What a channel charges is exact and stays inside its bounds."""

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.router.domain.channel import FeeSchedule


def fee(
    rate_ppm: int = 0, fixed_minor: int = 0, minimum_minor: int = 0, maximum_minor: int = 0
) -> FeeSchedule:
    return FeeSchedule(
        rate_ppm=rate_ppm,
        fixed_minor=fixed_minor,
        minimum_minor=minimum_minor,
        maximum_minor=maximum_minor,
    )


@pytest.mark.parametrize(
    ("schedule", "amount_minor", "cost_minor"),
    [
        (fee(rate_ppm=6_000), 10_000, 60),
        (fee(rate_ppm=6_000), 83, 0),  # 0.498
        (fee(rate_ppm=5_000), 100, 1),  # 0.5 goes up
        (fee(rate_ppm=5_000), 99, 0),  # 0.495
        (fee(rate_ppm=2_000, fixed_minor=30), 10_000, 50),
        (fee(rate_ppm=2_000, minimum_minor=10), 100, 10),
        (fee(rate_ppm=2_000, maximum_minor=2_500), 10**9, 2_500),
        (fee(), 10_000, 0),
    ],
)
def test_a_fee_is_rounded_half_up_and_then_bounded(
    schedule: FeeSchedule, amount_minor: int, cost_minor: int
) -> None:
    assert schedule.cost(amount_minor) == cost_minor


@given(
    st.integers(0, 1_000_000), st.integers(0, 10_000), st.integers(1, 10**15), st.integers(1, 10**6)
)
def test_a_fee_is_within_half_a_minor_unit_of_the_exact_one_and_grows_with_the_amount(
    rate_ppm: int, fixed_minor: int, amount_minor: int, more_minor: int
) -> None:
    schedule = fee(rate_ppm=rate_ppm, fixed_minor=fixed_minor)
    exact = Fraction(amount_minor * rate_ppm, 1_000_000) + fixed_minor
    assert abs(schedule.cost(amount_minor) - exact) <= Fraction(1, 2)
    assert schedule.cost(amount_minor) <= schedule.cost(amount_minor + more_minor)
