"""Real accounts: where money lies outside the ledger, at banks and third parties."""

import enum
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from libs import money
from libs.errors import FiscError
from services.account.domain import errors

SHOWN_CHARACTERS = 4
_MASK = "*" * 8
# A number has few digits: only a slow hash keeps it from being found by trying them all. About 50 ms.
_SCRYPT_COST = 2**14
_SCRYPT_BLOCK_SIZE = 8


class RealAccountKind(enum.StrEnum):
    """Who keeps a real account."""

    BANK = "BANK"
    THIRD_PARTY = "THIRD_PARTY"


class RealAccountState(enum.StrEnum):
    """Whether virtual accounts may be mapped to it."""

    OPEN = "OPEN"
    CLOSED = "CLOSED"


@dataclass(frozen=True, slots=True, kw_only=True)
class RealAccount:
    """An account outside the ledger. Of its number only the end is kept, and a hash."""

    real_account_id: str
    kind: RealAccountKind
    provider: str
    masked_number: str
    number_hash: bytes
    holder: str
    currency: str
    tenant_id: str
    display_name: str
    opened_at: datetime
    state: RealAccountState = RealAccountState.OPEN


@dataclass(frozen=True, slots=True, kw_only=True)
class RealOpening:
    """What became of a request to make real accounts known, and the ones to insert."""

    results: Sequence[RealAccount | FiscError]
    opened: Sequence[RealAccount]


def mask(number: str) -> str:
    """Return the number with all but its end hidden, its length too."""
    return _MASK + number[-SHOWN_CHARACTERS:]


def number_hash(number: str, *, provider: str, currency: str) -> bytes:
    """Return what a number is known again by, at this provider and in this currency; slow on purpose."""
    salt = f"fisc real account\0{provider}\0{currency}".encode()
    return hashlib.scrypt(
        number.encode(), salt=salt, n=_SCRYPT_COST, r=_SCRYPT_BLOCK_SIZE, p=1, dklen=32
    )


def open_real_accounts(
    known: Sequence[RealAccount], requested: Sequence[RealAccount]
) -> RealOpening:
    """Decide in order which are made known.

    `known` holds those that stand under the requested ids or have one of the requested numbers.
    """
    standing = {account.real_account_id: account for account in known}
    numbers = {account.number_hash: account for account in known}
    results: list[RealAccount | FiscError] = []
    opened: list[RealAccount] = []
    for account in requested:
        existing = standing.get(account.real_account_id)
        other = numbers.get(account.number_hash)
        if existing is not None:
            results.append(_difference(existing, account) or existing)
        elif not money.is_currency(account.currency):
            results.append(errors.UnknownCurrency(field="currency", currency=account.currency))
        elif other is not None:
            results.append(
                errors.AccountNumberTaken(
                    field="account_number", real_account_id=other.real_account_id
                )
            )
        else:
            standing[account.real_account_id] = account
            numbers[account.number_hash] = account
            opened.append(account)
            results.append(account)
    return RealOpening(results=results, opened=opened)


def _difference(existing: RealAccount, account: RealAccount) -> FiscError | None:
    for attribute, field in (
        ("kind", "kind"),
        ("provider", "provider"),
        ("currency", "currency"),
        ("number_hash", "account_number"),
        ("holder", "holder"),
        ("tenant_id", "tenant_id"),
        ("display_name", "display_name"),
    ):
        if getattr(existing, attribute) != getattr(account, attribute):
            return errors.RealAccountExistsDifferently(
                field=field, real_account_id=account.real_account_id
            )
    return None


@dataclass(frozen=True, slots=True, kw_only=True)
class RealChange:
    """What is to hold for a real account from now on."""

    real_account_id: str
    state: RealAccountState
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RealChangeRecord:
    """One change, as it is kept for ever."""

    request_id: str
    change: RealChange
    changed_at: datetime
    state_before: RealAccountState


@dataclass(frozen=True, slots=True, kw_only=True)
class RealChangeVerdict:
    """What became of a change, and the real account's state after it (None for no such account)."""

    real_account_id: str
    state: RealAccountState | None
    replayed: bool = False
    error: FiscError | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RealChanging:
    """One verdict for each change, and what is to be written."""

    verdicts: Sequence[RealChangeVerdict]
    records: Sequence[RealChangeRecord]


def change_real_accounts(
    known: Mapping[str, RealChangeRecord],
    accounts: Mapping[str, RealAccount],
    users: Mapping[str, str],
    changes: Sequence[RealChange],
    *,
    request_id: str,
    now: datetime,
) -> RealChanging:
    """Decide the changes in order.

    `known` are the request's earlier ones. `users` names, for a real account that mappings name today
    or later, one of those virtual accounts.
    """
    records = dict(known)
    standing = dict(accounts)
    verdicts: list[RealChangeVerdict] = []
    for change in changes:
        name = change.real_account_id
        account = standing.get(name)
        record = records.get(name)
        error: FiscError | None = None
        if record is not None:
            if record.change != change:
                field = "state" if record.change.state is not change.state else "reason"
                error = errors.RequestIdReused(field=field)
        elif account is None:
            error = errors.RealAccountNotFound(field="real_account_id", real_account_id=name)
        elif change.state is RealAccountState.CLOSED and name in users:
            error = errors.RealAccountInUse(field="state", account_id=users[name])
        else:
            records[name] = RealChangeRecord(
                request_id=request_id, change=change, changed_at=now, state_before=account.state
            )
            account = replace(account, state=change.state)
            standing[name] = account
        verdicts.append(
            RealChangeVerdict(
                real_account_id=name,
                state=account.state if account else None,
                replayed=record is not None and error is None,
                error=error,
            )
        )
    return RealChanging(
        verdicts=verdicts,
        records=[record for name, record in records.items() if name not in known],
    )
