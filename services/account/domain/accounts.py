"""Accounts: what they are for, how they stand, and when a new one may be opened."""

import enum
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Self

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
    """What an account is for.

    Suspense counts as credit-normal: positive is a long difference (长款, money we hold and cannot
    explain), negative a short one (短款). Liquidity does too: positive is a long position.

    Only what may never be overdrawn has a floor. Pending has none on purpose: the refunds of a day
    may exceed its sales, and the next settlement nets them.
    """

    is_credit_normal: bool
    """Whether credits raise the balance."""
    has_floor: bool
    """Whether available money may never fall below zero, whatever the account's own bounds."""

    def __new__(cls, value: str, is_credit_normal: bool = False, has_floor: bool = False) -> Self:
        """Members carry what is asked of them in every booking; a look into a set costs more."""
        member = str.__new__(cls, value)
        member._value_ = value
        member.is_credit_normal = is_credit_normal
        member.has_floor = has_floor
        return member

    MERCHANT_AVAILABLE = "MERCHANT_AVAILABLE", True, True
    MERCHANT_PENDING = "MERCHANT_PENDING", True
    MERCHANT_RESERVE = "MERCHANT_RESERVE", True, True
    CHANNEL_RECEIVABLE = "CHANNEL_RECEIVABLE"
    BANK_MIRROR = "BANK_MIRROR"
    FEE_INCOME = "FEE_INCOME", True
    CHANNEL_COST = "CHANNEL_COST"
    SUSPENSE = "SUSPENSE", True
    IN_TRANSIT = "IN_TRANSIT"
    LIQUIDITY = "LIQUIDITY", True
    DUE_FROM = "DUE_FROM"
    DUE_TO = "DUE_TO", True
    LIMIT = "LIMIT", True, True


class AccountState(enum.StrEnum):
    """What may be booked on an account."""

    OPEN = "OPEN"
    DEBITS_FROZEN = "DEBITS_FROZEN"
    CREDITS_FROZEN = "CREDITS_FROZEN"
    FROZEN = "FROZEN"
    CLOSED = "CLOSED"


_REFUSED_STATES = {
    Direction.DEBIT: frozenset({AccountState.DEBITS_FROZEN, AccountState.FROZEN}),
    Direction.CREDIT: frozenset({AccountState.CREDITS_FROZEN, AccountState.FROZEN}),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """One virtual account. Its description never changes once it is open; its bounds may."""

    account_id: str
    owner_id: str
    role: Role
    currency: str
    display_name: str
    parent_id: str
    opened_at: datetime
    tenant_id: str = ""
    floor_minor: int | None = None
    ceiling_minor: int | None = None
    counterparty_id: str = ""
    """Of a position within the group: the other company."""

    @property
    def book_id(self) -> str:
        """The book of its tenant and currency, as in "CNY" (the platform's own) or "ten_1/CNY"."""
        return f"{self.tenant_id}/{self.currency}" if self.tenant_id else self.currency

    @property
    def terms(self) -> "Terms":
        """Under what terms it is opened."""
        return Terms(
            book_id=self.book_id, floor_minor=self.floor_minor, ceiling_minor=self.ceiling_minor
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """What a booking reads of an account and does not change."""

    book_id: str = ""
    floor_minor: int | None = None
    ceiling_minor: int | None = None
    state: AccountState = AccountState.OPEN


_NO_TERMS = Terms()


@dataclass(frozen=True, slots=True, kw_only=True)
class Balance:
    """How an account stands: everything ever debited and credited, and what holds set aside.

    `version` counts the changes of the row, so that a writer whose row has moved since it was
    loaded learns of it. `booked_at` is that of the latest entry.
    """

    account_id: str
    role: Role
    currency: str
    debits_minor: int = 0
    credits_minor: int = 0
    held_minor: int = 0
    sequence: int = 0
    version: int = 0
    booked_at: datetime | None = None
    terms: Terms = _NO_TERMS

    @property
    def posted_minor(self) -> int:
        """What is booked, on the account's normal side."""
        if self.role.is_credit_normal:
            return self.credits_minor - self.debits_minor
        return self.debits_minor - self.credits_minor

    @property
    def available_minor(self) -> int:
        """What is booked and not set aside."""
        return self.posted_minor - self.held_minor

    @property
    def floor_minor(self) -> int | None:
        """The least that must stay available; None for no floor."""
        floor_minor = self.terms.floor_minor
        return 0 if floor_minor is None and self.role.has_floor else floor_minor

    def moved(
        self,
        direction: Direction,
        amount_minor: int,
        *,
        released_minor: int = 0,
        at: datetime | None = None,
    ) -> "Balance":
        """Return the balance after one entry that also lets go of `released_minor` of holds."""
        is_debit = direction is Direction.DEBIT
        return Balance(
            account_id=self.account_id,
            role=self.role,
            currency=self.currency,
            debits_minor=self.debits_minor + amount_minor if is_debit else self.debits_minor,
            credits_minor=self.credits_minor if is_debit else self.credits_minor + amount_minor,
            held_minor=self.held_minor - released_minor,
            sequence=self.sequence + 1,
            version=self.version + 1,
            booked_at=at or self.booked_at,
            terms=self.terms,
        )

    def holding(self, amount_minor: int) -> "Balance":
        """Return the balance with that much more (or less, if negative) set aside."""
        return replace(self, held_minor=self.held_minor + amount_minor, version=self.version + 1)

    def refusal(self) -> FiscError | None:
        """Say why the account may not stand like this, or None if it may."""
        posted_minor = self.posted_minor
        floor_minor = self.floor_minor
        if floor_minor is not None and posted_minor - self.held_minor < floor_minor:
            return errors.InsufficientFunds(
                field="amount.amount_minor",
                account_id=self.account_id,
                short_minor=str(floor_minor - self.available_minor),
            )
        ceiling_minor = self.terms.ceiling_minor
        if ceiling_minor is not None and posted_minor > ceiling_minor:
            return errors.CeilingExceeded(
                field="amount.amount_minor",
                account_id=self.account_id,
                over_minor=str(posted_minor - ceiling_minor),
            )
        if (
            self.debits_minor > TURNOVER_MINOR_MAX
            or self.credits_minor > TURNOVER_MINOR_MAX
            or self.held_minor > TURNOVER_MINOR_MAX
        ):
            return errors.BalanceOverflow(account_id=self.account_id)
        return None

    def state_refusal(self, direction: Direction, field: str) -> FiscError | None:
        """Say why the account's state forbids an entry on that side, or None."""
        state = self.terms.state
        if state is AccountState.OPEN:
            return None
        if state is AccountState.CLOSED:
            return errors.AccountClosed(field=field, account_id=self.account_id)
        if state in _REFUSED_STATES[direction]:
            return errors.AccountFrozen(field=field, account_id=self.account_id, state=state.value)
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
class SubtreeLine:
    """The sums over a subtree's accounts of one role and currency, on the role's normal side."""

    role: Role
    currency: str
    accounts: int
    posted_minor: int
    held_minor: int


@dataclass(frozen=True, slots=True, kw_only=True)
class PastBalance:
    """How an account stood after one of its entries: what was booked, on its normal side."""

    account_id: str
    currency: str
    posted_minor: int
    sequence: int


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


_DESCRIPTION = (
    "owner_id",
    "role",
    "currency",
    "display_name",
    "parent_id",
    "tenant_id",
    "counterparty_id",
)


def _difference(existing: Account, account: Account) -> FiscError | None:
    for field in _DESCRIPTION:
        if getattr(existing, field) != getattr(account, field):
            return errors.AccountExistsDifferently(field=field, account_id=account.account_id)
    return None


def _opening_refusal(standing: Mapping[str, Account], account: Account) -> FiscError | None:
    if not money.is_currency(account.currency):
        return errors.UnknownCurrency(field="currency", currency=account.currency)
    if account.counterparty_id and (
        account.role not in {Role.DUE_FROM, Role.DUE_TO}
        or account.counterparty_id == account.owner_id
    ):
        return errors.CounterpartyInvalid(field="counterparty_id")
    unbounded = Balance(account_id=account.account_id, role=account.role, currency="")
    if (error := bounds_refusal(unbounded, account.terms)) is not None:
        return error
    if not account.parent_id:
        return None
    parent = standing.get(account.parent_id)
    if parent is None:
        return errors.ParentNotFound(field="parent_id", parent_id=account.parent_id)
    if parent.currency != account.currency:
        return errors.CurrencyMismatch(
            "the parent is kept in another currency", field="parent_id", currency=parent.currency
        )
    if parent.tenant_id != account.tenant_id:
        return errors.BookMismatch("the parent is another tenant's", field="parent_id")
    return None


def bounds_refusal(balance: Balance, terms: Terms) -> FiscError | None:
    """Say why an account that stands like this may not have these bounds, or None."""
    floor_minor, ceiling_minor = terms.floor_minor, terms.ceiling_minor
    if floor_minor is not None and balance.role.has_floor and floor_minor < 0:
        return errors.BoundsInvalid("the role forbids less than zero", field="floor_minor")
    if ceiling_minor is not None and ceiling_minor < (floor_minor or 0):
        return errors.BoundsInvalid(field="ceiling_minor")
    if floor_minor is not None and balance.available_minor < floor_minor:
        return errors.BalanceOutOfBounds(field="floor_minor", account_id=balance.account_id)
    if ceiling_minor is not None and balance.posted_minor > ceiling_minor:
        return errors.BalanceOutOfBounds(field="ceiling_minor", account_id=balance.account_id)
    return None
