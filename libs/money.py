"""Money as whole minor units of an ISO 4217 currency; no float comes near it.

Every division says how it rounds, and `allocate` says who gets what is left over.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Self

import iso4217
from typing_extensions import override

from libs.errors import ErrorKind, FiscError

# The largest single amount that may enter: far above any payment, far below the edge of an int64,
# so that sums of thousands of them still fit. `Money` itself may hold more, as a total.
AMOUNT_MINOR_MAX = 10**15
BASIS_POINTS_PER_UNIT = 10_000

Rounding = Literal["half_up", "half_even", "down"]

# Precious metals and test codes have no minor unit: nothing can be paid in them.
_EXPONENTS: dict[str, int] = {
    currency.code: currency.exponent
    for currency in iso4217.Currency
    if currency.exponent is not None
}
_MAJOR = re.compile(r"(-?)(0|[1-9][0-9]*)(?:\.([0-9]+))?", re.ASCII)
# Longer texts are over AMOUNT_MINOR_MAX in any currency; stop before int() works on them.
_MAJOR_LENGTH_MAX = 24


class CurrencyMismatch(FiscError):
    """Amounts of different currencies do not add up or compare."""

    kind = ErrorKind.INVALID
    reason = "CURRENCY_MISMATCH"


class UnknownCurrency(FiscError):
    """Not a currency of ISO 4217 that has a minor unit."""

    kind = ErrorKind.INVALID
    reason = "UNKNOWN_CURRENCY"


class MoneyFormatError(FiscError):
    """Not an exact amount in this currency."""

    kind = ErrorKind.INVALID
    reason = "MONEY_FORMAT"


def is_currency(code: str) -> bool:
    """Whether `code` is an ISO 4217 code (upper case) of a currency with a minor unit."""
    return code in _EXPONENTS


def exponent(currency: str) -> int:
    """Return how many decimals the currency has (CNY 2, JPY 0, KWD 3), or raise UnknownCurrency."""
    try:
        return _EXPONENTS[currency]
    except KeyError:
        raise UnknownCurrency(f"{currency[:8]!r} is not a known currency") from None


@dataclass(frozen=True, slots=True)
class Money:
    """An amount in minor units; it may be negative. Arithmetic stays within one currency."""

    currency: str
    amount_minor: int

    def __post_init__(self) -> None:
        """Refuse unknown currencies and anything that is not an int."""
        exponent(self.currency)
        if type(self.amount_minor) is not int:
            raise TypeError(f"amount_minor is {type(self.amount_minor).__name__}, not int")

    @classmethod
    def parse(cls, text: str, currency: str) -> Self:
        """Read major units ("12.30" CNY, "1200" JPY), exactly.

        Fewer decimals than the currency has are filled with zeros. Raises MoneyFormatError for
        more, for any sign but a leading "-", leading zeros, spaces, separators, exponents,
        NaN, and beyond AMOUNT_MINOR_MAX; UnknownCurrency for the code.
        """
        digits = exponent(currency)
        match = _MAJOR.fullmatch(text) if len(text) <= _MAJOR_LENGTH_MAX else None
        if match is None:
            raise MoneyFormatError(f"not a plain decimal amount in {currency}")
        sign, whole, fraction = match.group(1), match.group(2), match.group(3) or ""
        if len(fraction) > digits:
            raise MoneyFormatError(f"{currency} has {digits} decimals, not {len(fraction)}")
        amount_minor = int(whole + fraction.ljust(digits, "0"))
        if amount_minor > AMOUNT_MINOR_MAX:
            raise MoneyFormatError(f"more than {AMOUNT_MINOR_MAX} minor units")
        return cls(currency, -amount_minor if sign else amount_minor)

    def format(self) -> str:
        """Return major units with all decimals of the currency ("12.30"); `parse` reads it back."""
        digits = exponent(self.currency)
        sign = "-" if self.amount_minor < 0 else ""
        text = str(abs(self.amount_minor)).rjust(digits + 1, "0")
        return f"{sign}{text[:-digits]}.{text[-digits:]}" if digits else sign + text

    @override
    def __str__(self) -> str:
        """Return the amount and its currency: "12.30 CNY"."""
        return f"{self.format()} {self.currency}"

    def __add__(self, other: Self) -> Self:
        """Add, or raise CurrencyMismatch."""
        return type(self)(self.currency, self.amount_minor + self._same(other))

    def __sub__(self, other: Self) -> Self:
        """Subtract, or raise CurrencyMismatch."""
        return type(self)(self.currency, self.amount_minor - self._same(other))

    def __neg__(self) -> Self:
        """Turn the sign."""
        return type(self)(self.currency, -self.amount_minor)

    def __lt__(self, other: Self) -> bool:
        """Compare, or raise CurrencyMismatch."""
        return self.amount_minor < self._same(other)

    def __le__(self, other: Self) -> bool:
        """Compare, or raise CurrencyMismatch."""
        return self.amount_minor <= self._same(other)

    def __gt__(self, other: Self) -> bool:
        """Compare, or raise CurrencyMismatch."""
        return self.amount_minor > self._same(other)

    def __ge__(self, other: Self) -> bool:
        """Compare, or raise CurrencyMismatch."""
        return self.amount_minor >= self._same(other)

    def _same(self, other: "Money") -> int:
        if other.currency != self.currency:
            raise CurrencyMismatch(f"{self.currency} and {other.currency} do not mix")
        return other.amount_minor


def mul_div(amount: int, numerator: int, denominator: int, rounding: Rounding = "half_up") -> int:
    """Return amount × numerator ÷ denominator, rounded once, at the end.

    `half_up` takes a half away from zero, `half_even` to the even neighbour, `down` drops the
    fraction; all three treat -x as the mirror of x. Raises ValueError unless denominator > 0.
    """
    if denominator <= 0:
        raise ValueError("denominator must be positive")
    product = amount * numerator
    quotient, remainder = divmod(abs(product), denominator)
    twice = 2 * remainder
    if rounding == "half_up":
        quotient += twice >= denominator
    elif rounding == "half_even":
        quotient += twice > denominator or (twice == denominator and quotient % 2 == 1)
    return quotient if product >= 0 else -quotient


def basis_points(amount_minor: int, rate_bps: int, *, rounding: Rounding = "half_up") -> int:
    """Return `rate_bps` hundredths of a percent of the amount, in minor units."""
    return mul_div(amount_minor, rate_bps, BASIS_POINTS_PER_UNIT, rounding)


def allocate(amount_minor: int, weights: Sequence[int]) -> list[int]:
    """Split an amount in proportion to `weights`; the shares sum to it exactly.

    Largest-remainder method: each share is rounded down, then the units left over go one by one to
    the largest remainders, the earlier one on a tie. A negative amount splits as the mirror of the
    positive. Raises ValueError for negative weights, or if none is positive.
    """
    total_weight = sum(weights)
    if total_weight <= 0 or min(weights) < 0:
        raise ValueError("weights must not be negative, and one must be positive")
    amount = abs(amount_minor)
    parts = [divmod(amount * weight, total_weight) for weight in weights]
    shares = [quotient for quotient, _ in parts]
    by_remainder = sorted(range(len(parts)), key=lambda index: -parts[index][1])
    for index in by_remainder[: amount - sum(shares)]:
        shares[index] += 1
    return shares if amount_minor >= 0 else [-share for share in shares]
