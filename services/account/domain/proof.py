"""The proof of an account: its legs number 1, 2, 3 …, each balance is the one before and the amount."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from services.account.domain.accounts import Balance


@dataclass(frozen=True, slots=True, kw_only=True)
class Leg:
    """One side of a transfer, as far as its arithmetic goes."""

    account_id: str
    sequence: int
    is_debit: bool
    amount_minor: int
    balance_after_minor: int


@dataclass(slots=True, kw_only=True)
class Statement:
    """An account's legs as far as they have been added up."""

    balance: Balance
    sequence: int = 0
    posted_minor: int = 0
    debits_minor: int = field(default=0)

    def fault(self, leg: Leg) -> str:
        """Add the next leg; say in words what is wrong with it, "" if nothing is."""
        name = f"account {leg.account_id}"
        if leg.sequence != self.sequence + 1:
            return f"{name}: entry {self.sequence + 1} is missing"
        is_plus = leg.is_debit is not self.balance.role.is_credit_normal
        self.sequence = leg.sequence
        self.posted_minor += leg.amount_minor if is_plus else -leg.amount_minor
        self.debits_minor += leg.amount_minor if leg.is_debit else 0
        if leg.balance_after_minor != self.posted_minor:
            return f"{name}: the balance after entry {leg.sequence} does not add up"
        return ""

    def last_fault(self) -> str:
        """Say in words why the balance is not what its legs add up to, "" if it is."""
        name = f"account {self.balance.account_id}"
        if self.sequence != self.balance.sequence:
            return f"{name}: entry {self.sequence + 1} is missing"
        if self.posted_minor != self.balance.posted_minor:
            return f"{name}: its balance is not that of its last entry"
        if self.debits_minor != self.balance.debits_minor:
            return f"{name}: its turnover is not the sum of its entries"
        return ""


def first_fault(statements: Mapping[str, Statement], legs: Iterable[Leg]) -> str:
    """Add legs, in order of account and sequence, to their statements; name the first fault."""
    for leg in legs:
        fault = statements[leg.account_id].fault(leg)
        if fault:
            return fault
    return ""
