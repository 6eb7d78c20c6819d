"""Money is exact, refuses what it cannot hold exactly, and loses nothing when it is split."""

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from libs import money
from libs.money import Money, Rounding

AMOUNTS = st.integers(-money.AMOUNT_MINOR_MAX, money.AMOUNT_MINOR_MAX)
WEIGHTS = st.lists(st.integers(0, 10**9), min_size=1, max_size=12).filter(any)


@pytest.mark.parametrize(
    ("text", "currency", "amount_minor"),
    [
        ("12.30", "CNY", 1230),
        ("12.3", "CNY", 1230),
        ("12", "CNY", 1200),
        ("0", "CNY", 0),
        ("-0.01", "CNY", -1),
        ("1200", "JPY", 1200),
        ("1.234", "KWD", 1234),
        ("10000000000000.00", "CNY", money.AMOUNT_MINOR_MAX),
    ],
)
def test_major_units_are_read_exactly(text: str, currency: str, amount_minor: int) -> None:
    assert Money.parse(text, currency) == Money(currency, amount_minor)


@pytest.mark.parametrize(
    ("text", "currency"),
    [
        ("12.345", "CNY"),
        ("12.300", "CNY"),
        ("1.5", "JPY"),
        ("1.", "CNY"),
        (".5", "CNY"),
        ("", "CNY"),
        ("-", "CNY"),
        ("+1.00", "CNY"),
        ("--1", "CNY"),
        ("1-", "CNY"),
        ("1e3", "CNY"),
        ("NaN", "CNY"),
        ("Infinity", "CNY"),
        (" 1.00", "CNY"),
        ("1.00\n", "CNY"),
        ("1 000", "CNY"),
        ("1,000.00", "CNY"),
        ("007", "CNY"),
        ("١٢", "CNY"),
        ("0x10", "CNY"),
        ("1_000", "CNY"),
        ("10000000000000.01", "CNY"),
        ("9" * 5000, "CNY"),
    ],
)
def test_anything_but_a_plain_exact_amount_is_refused(text: str, currency: str) -> None:
    with pytest.raises(money.MoneyFormatError):
        Money.parse(text, currency)


@pytest.mark.parametrize("code", ["cny", "XAU", "XXX", "ABC", "", "CNY "])
def test_a_code_nothing_can_be_paid_in_is_no_currency(code: str) -> None:
    assert not money.is_currency(code)
    with pytest.raises(money.UnknownCurrency):
        Money(code, 1)
    with pytest.raises(money.UnknownCurrency):
        Money.parse("1", code)


@pytest.mark.parametrize(
    ("amount", "text"),
    [
        (Money("CNY", 1230), "12.30 CNY"),
        (Money("CNY", -5), "-0.05 CNY"),
        (Money("CNY", 0), "0.00 CNY"),
        (Money("JPY", -1200), "-1200 JPY"),
        (Money("KWD", 1), "0.001 KWD"),
    ],
)
def test_an_amount_is_written_with_all_decimals_of_its_currency(amount: Money, text: str) -> None:
    assert str(amount) == text


@given(AMOUNTS, st.sampled_from(["CNY", "JPY", "KWD"]))
def test_what_is_written_reads_back(amount_minor: int, currency: str) -> None:
    amount = Money(currency, amount_minor)
    assert Money.parse(amount.format(), currency) == amount


def test_currencies_do_not_mix() -> None:
    yuan, yen = Money("CNY", 100), Money("JPY", 100)
    assert yuan != yen
    for operation in (
        lambda: yuan + yen,
        lambda: yuan - yen,
        lambda: yuan < yen,
        lambda: yuan <= yen,
        lambda: yuan > yen,
        lambda: yuan >= yen,
    ):
        with pytest.raises(money.CurrencyMismatch):
            operation()


def test_arithmetic_stays_in_the_currency() -> None:
    five, three = Money("CNY", 5), Money("CNY", 3)
    assert five + three == Money("CNY", 8)
    assert three - five == -Money("CNY", 2)
    assert three < five <= Money("CNY", 5)
    assert five > three >= Money("CNY", 3)
    assert not three > five
    assert not five <= three


@pytest.mark.parametrize("amount_minor", [1.0, True, "1"])
def test_an_amount_is_an_int_and_nothing_like_it(amount_minor: object) -> None:
    with pytest.raises(TypeError):
        Money("CNY", amount_minor)  # type: ignore[arg-type]  # that it is refused is the point


@pytest.mark.parametrize(
    ("amount", "rounding", "expected"),
    [
        (25, "half_up", 3),
        (-25, "half_up", -3),
        (25, "half_even", 2),
        (35, "half_even", 4),
        (-25, "half_even", -2),
        (29, "down", 2),
        (-29, "down", -2),
        (24, "half_up", 2),
        (26, "half_even", 3),
    ],
)
def test_a_tenth_is_rounded_as_asked(amount: int, rounding: Rounding, expected: int) -> None:
    assert money.mul_div(amount, 1, 10, rounding) == expected


@given(
    AMOUNTS,
    st.integers(-(10**6), 10**6),
    st.integers(1, 10**6),
    st.sampled_from(["half_up", "half_even", "down"]),
)
def test_rounding_stays_next_to_the_exact_value_and_mirrors(
    amount: int, numerator: int, denominator: int, rounding: Rounding
) -> None:
    exact = Fraction(amount * numerator, denominator)
    result = money.mul_div(amount, numerator, denominator, rounding)
    if rounding == "down":
        assert abs(result) <= abs(exact) < abs(result) + 1
    else:
        assert abs(result - exact) <= Fraction(1, 2)
    if rounding == "half_even":
        assert result == round(exact)
    assert money.mul_div(-amount, numerator, denominator, rounding) == -result


def test_a_fee_of_38_basis_points_is_rounded_once() -> None:
    assert money.basis_points(10_000, 38) == 38
    assert money.basis_points(12_345, 38) == 47  # 46.911
    assert money.basis_points(12_345, 38, rounding="down") == 46


def test_division_by_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="positive"):
        money.mul_div(1, 1, 0)


@given(AMOUNTS, WEIGHTS)
def test_a_split_loses_nothing_and_each_share_is_next_to_its_exact_value(
    amount_minor: int, weights: list[int]
) -> None:
    shares = money.allocate(amount_minor, weights)
    assert sum(shares) == amount_minor
    assert len(shares) == len(weights)
    for share, weight in zip(shares, weights, strict=True):
        assert abs(share - Fraction(amount_minor * weight, sum(weights))) < 1
    assert money.allocate(-amount_minor, weights) == [-share for share in shares]


@pytest.mark.parametrize(
    ("amount_minor", "weights", "shares"),
    [
        (100, [1, 1, 1], [34, 33, 33]),
        (101, [1, 1, 1], [34, 34, 33]),
        (5, [0, 1], [0, 5]),
        (1, [1, 2], [0, 1]),
        (-100, [1, 1, 1], [-34, -33, -33]),
        (0, [1, 2], [0, 0]),
    ],
)
def test_leftovers_go_to_the_largest_remainder_then_to_the_first(
    amount_minor: int, weights: list[int], shares: list[int]
) -> None:
    assert money.allocate(amount_minor, weights) == shares


@pytest.mark.parametrize("weights", [[], [0, 0], [2, -1]])
def test_a_split_needs_weights_it_can_split_by(weights: list[int]) -> None:
    with pytest.raises(ValueError, match="weights"):
        money.allocate(100, weights)
