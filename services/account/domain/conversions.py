"""Exchanging one currency for another: linked transfers, each in its own book, over the house's positions."""

from collections.abc import Sequence
from dataclasses import dataclass

from libs import money
from libs.errors import FiscError
from libs.money import Money
from services.account.domain import errors
from services.account.domain.commands import Transfer, TransferVerdict


@dataclass(frozen=True, slots=True, kw_only=True)
class Amount:
    """An amount as it was asked; whether its currency is one is still to be judged."""

    currency: str
    amount_minor: int

    @property
    def money(self) -> Money:
        """The amount as money. Raises UnknownCurrency of libs.money."""
        return Money(self.currency, self.amount_minor)


@dataclass(frozen=True, slots=True, kw_only=True)
class Conversion:
    """What is sold from one account and bought for another; the spread comes on top of what is bought."""

    conversion_id: str
    debit_account_id: str
    sold: Amount
    credit_account_id: str
    bought: Amount
    sold_liquidity_account_id: str
    bought_liquidity_account_id: str
    spread_minor: int = 0
    spread_account_id: str = ""
    reference: str = ""
    effective_date: str = ""

    @property
    def texts(self) -> Sequence[str]:
        """Everything a caller wrote."""
        return (
            self.conversion_id,
            self.debit_account_id,
            self.sold.currency,
            self.credit_account_id,
            self.bought.currency,
            self.sold_liquidity_account_id,
            self.bought_liquidity_account_id,
            self.spread_account_id,
            self.reference,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class ConversionVerdict:
    """What became of a conversion, and of each of its transfers."""

    conversion_id: str
    transfers: Sequence[TransferVerdict]
    error: FiscError | None = None

    @property
    def is_booked(self) -> bool:
        """Whether all of it stands booked."""
        return self.error is None

    @property
    def is_replayed(self) -> bool:
        """Whether all of it had been booked before."""
        return self.is_booked and all(each.replayed for each in self.transfers)


def refusal(conversion: Conversion) -> FiscError | None:
    """Say why the conversion cannot even be written as transfers, or None."""
    for field, amount in (("sold", conversion.sold), ("bought", conversion.bought)):
        if not money.is_currency(amount.currency):
            return errors.UnknownCurrency(field=f"{field}.currency", currency=amount.currency)
    return None


def expand(conversion: Conversion) -> list[Transfer]:
    """Return the conversion's transfers, a chain. Its currencies must be known; see `refusal`.

    Each says in its description what the whole conversion is, so that the same id with another
    amount or spread differs in every leg.
    """
    sold, bought = conversion.sold.money, conversion.bought.money
    spread = Money(bought.currency, conversion.spread_minor)
    words = (
        f"{sold.currency} {sold.format()} → "
        f"{bought.currency} {bought.format()}, spread {spread.format()}"
    )
    legs = [
        (
            "sell",
            conversion.debit_account_id,
            conversion.sold_liquidity_account_id,
            sold,
        ),
        ("buy", conversion.bought_liquidity_account_id, conversion.credit_account_id, bought),
    ]
    if conversion.spread_minor:
        legs.append(
            (
                "spread",
                conversion.bought_liquidity_account_id,
                conversion.spread_account_id,
                spread,
            )
        )
    return [
        Transfer(
            transfer_id=f"{conversion.conversion_id}:{name}",
            debit_account_id=debit,
            credit_account_id=credit,
            currency=amount.currency,
            amount_minor=amount.amount_minor,
            reference=conversion.reference,
            description=words,
            effective_date=conversion.effective_date,
            linked=number < len(legs),
        )
        for number, (name, debit, credit, amount) in enumerate(legs, start=1)
    ]


def verdict(
    conversion: Conversion, transfers: Sequence[TransferVerdict], error: FiscError | None = None
) -> ConversionVerdict:
    """Sum up what became of it: refused before it was tried, or by what its transfers met."""
    return ConversionVerdict(
        conversion_id=conversion.conversion_id,
        transfers=transfers,
        error=error or first_refusal(transfers),
    )


def first_refusal(chain: Sequence[TransferVerdict]) -> FiscError | None:
    """Return the real refusal of a chain, which names its transfer; None if it stands booked."""
    failed = [each for each in chain if each.error is not None]
    failed.sort(key=lambda each: each.error is not None and each.error.reason == "LINKED_FAILED")
    error = failed[0].error if failed else None
    if error is not None:
        error.metadata["transfer_id"] = failed[0].transfer_id
    return error
