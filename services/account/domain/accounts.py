"""Accounts: what they are for, how they stand, and when a new one may be opened."""

import enum
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from libs import money
from libs.errors import FiscError
from services.account.domain import errors

# Cumulative debits or credits of one account; leaves room below the edge of an int64.
TURNOVER_MINOR_MAX = 9 * 10**18


class Direction(enum.StrEnum):
    """A side of the ledger."""

    DEBIT = "DEBIT"
    CREDIT = "CREDIT"


class Role(enum.StrEnum):
    """What an account is for."""

    MERCHANT_AVAILABLE = "MERCHANT_AVAILABLE"
    MERCHANT_PENDING = "MERCHANT_PENDING"
    CHANNEL_RECEIVABLE = "CHANNEL_RECEIVABLE"
    BANK_MIRROR = "BANK_MIRROR"
    FEE_INCOME = "FEE_INCOME"
    CHANNEL_COST = "CHANNEL_COST"
    SUSPENSE = "SUSPENSE"
    IN_TRANSIT = "IN_TRANSIT"

    @property
    def is_credit_normal(self) -> bool:
        """Whether credits raise the balance.

        Suspense counts as credit-normal: positive is a long difference (长款, money we hold and
        cannot explain), negative a short one (短款).
        """
        return self in _CREDIT_NORMAL

    @property
    def has_floor(self) -> bool:
        """Whether available money may never fall below zero.

        Only what a merchant may use now has a floor. Pending has none on purpose: the refunds of a
        day may exceed its sales, and the next settlement nets them.
        """
        return self is Role.MERCHANT_AVAILABLE


_CREDIT_NORMAL = frozenset(
    {Role.MERCHANT_AVAILABLE, Role.MERCHANT_PENDING, Role.FEE_INCOME, Role.SUSPENSE}
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """One virtual account. Its description never changes once it is open."""

    account_id: str
    owner_id: str
    role: Role
    currency: str
    display_name: str
    parent_id: str
    opened_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Balance:
    """How an account stands: everything ever debited and credited, and what holds set aside."""

    account_id: str
    role: Role
    currency: str
    debits_minor: int = 0
    credits_minor: int = 0
    held_minor: int = 0
    sequence: int = 0

    @property
    def posted_minor(self) -> int:
        """What is booked, on the account's normal side."""
        net_minor = self.credits_minor - self.debits_minor
        return net_minor if self.role.is_credit_normal else -net_minor

    @property
    def available_minor(self) -> int:
        """What is booked and not set aside."""
        return self.posted_minor - self.held_minor

    def moved(
        self, direction: Direction, amount_minor: int, *, released_minor: int = 0
    ) -> "Balance":
        """Return the balance after one entry that also lets go of `released_minor` of holds."""
        is_debit = direction is Direction.DEBIT
        return Balance(
            account_id=self.account_id,
            role=self.role,
            currency=self.currency,
            debits_minor=self.debits_minor + (amount_minor if is_debit else 0),
            credits_minor=self.credits_minor + (0 if is_debit else amount_minor),
            held_minor=self.held_minor - released_minor,
            sequence=self.sequence + 1,
        )

    def holding(self, amount_minor: int) -> "Balance":
        """Return the balance with that much more (or less, if negative) set aside."""
        return replace(self, held_minor=self.held_minor + amount_minor)

    def refusal(self) -> FiscError | None:
        """Say why the account may not stand like this, or None if it may."""
        if self.role.has_floor and self.available_minor < 0:
            return errors.InsufficientFunds(
                field="amount.amount_minor",
                account_id=self.account_id,
                short_minor=str(-self.available_minor),
            )
        if max(self.debits_minor, self.credits_minor, self.held_minor) > TURNOVER_MINOR_MAX:
            return errors.BalanceOverflow(account_id=self.account_id)
        return None


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One side of a transfer, as a line of an account's statement."""

    sequence: int
    transfer_id: str
    direction: Direction
    currency: str
    amount_minor: int
    balance_after_minor: int
    counter_account_id: str
    reference: str
    description: str
    effective_date: str
    booked_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class TrialBalanceLine:
    """The sums over the accounts of one role and currency."""

    role: Role
    currency: str
    accounts: int
    debits_minor: int
    credits_minor: int
    entries: int


@dataclass(frozen=True, slots=True, kw_only=True)
class TrialBalance:
    """The proof that debits equal credits, in one snapshot."""

    lines: Sequence[TrialBalanceLine]

    @property
    def imbalance_minor(self) -> int:
        """Debits minus credits, summed over currencies by absolute value."""
        net_minor: dict[str, int] = {}
        for line in self.lines:
            difference = line.debits_minor - line.credits_minor
            net_minor[line.currency] = net_minor.get(line.currency, 0) + difference
        return sum(abs(value) for value in net_minor.values())

    @property
    def transfers_count(self) -> int:
        """How many transfers were booked: each left exactly two entries."""
        return sum(line.entries for line in self.lines) // 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Opening:
    """What became of a request to open accounts: one result for each, and the ones to insert."""

    results: Sequence[Account | FiscError]
    opened: Sequence[Account]


def open_accounts(known: Mapping[str, Account], requested: Sequence[Account]) -> Opening:
    """Decide in order which of the accounts are opened.

    `known` holds the accounts that stand under the requested ids and parent ids. A parent may be
    opened in the same batch, before its child.
    """
    standing = dict(known)
    results: list[Account | FiscError] = []
    opened: list[Account] = []
    for account in requested:
        existing = standing.get(account.account_id)
        if existing is not None:
            results.append(_difference(existing, account) or existing)
        elif (error := _opening_refusal(standing, account)) is not None:
            results.append(error)
        else:
            standing[account.account_id] = account
            opened.append(account)
            results.append(account)
    return Opening(results=results, opened=opened)


def _difference(existing: Account, account: Account) -> FiscError | None:
    for field in ("owner_id", "role", "currency", "display_name", "parent_id"):
        if getattr(existing, field) != getattr(account, field):
            return errors.AccountExistsDifferently(field=field, account_id=account.account_id)
    return None


def _opening_refusal(standing: Mapping[str, Account], account: Account) -> FiscError | None:
    if not money.is_currency(account.currency):
        return errors.UnknownCurrency(field="currency", currency=account.currency)
    if not account.parent_id:
        return None
    parent = standing.get(account.parent_id)
    if parent is None:
        return errors.ParentNotFound(field="parent_id", parent_id=account.parent_id)
    if parent.currency != account.currency:
        return errors.CurrencyMismatch(
            "the parent is kept in another currency", field="parent_id", currency=parent.currency
        )
    return None
