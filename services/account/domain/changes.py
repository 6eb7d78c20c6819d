"""Freezing, closing and reopening accounts, and setting their bounds."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from libs.errors import FiscError
from services.account.domain import errors
from services.account.domain.accounts import AccountState, Balance, Terms, bounds_refusal


@dataclass(frozen=True, slots=True, kw_only=True)
class Bounds:
    """A floor and a ceiling on the normal side; None for none."""

    floor_minor: int | None = None
    ceiling_minor: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """What is to hold for an account from now on; None leaves it as it is."""

    account_id: str
    reason: str
    state: AccountState | None = None
    bounds: Bounds | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ChangeRecord:
    """One change, as it is kept for ever: what was asked, and the terms before and after."""

    request_id: str
    change: Change
    changed_at: datetime
    before: Terms
    after: Terms


@dataclass(frozen=True, slots=True, kw_only=True)
class ChangeVerdict:
    """What became of a change, and the account's terms after it (None for no such account)."""

    account_id: str
    terms: Terms | None
    replayed: bool = False
    error: FiscError | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Changing:
    """One verdict for each change, and what is to be written."""

    verdicts: Sequence[ChangeVerdict]
    records: Sequence[ChangeRecord]
    balances: Sequence[Balance]


def change_accounts(
    known: Mapping[str, ChangeRecord],
    balances: Mapping[str, Balance],
    changes: Sequence[Change],
    *,
    request_id: str,
    now: datetime,
) -> Changing:
    """Decide the changes in order. `known` are the request's earlier ones by account."""
    records = dict(known)
    standing = dict(balances)
    verdicts: list[ChangeVerdict] = []
    for change in changes:
        account_id = change.account_id
        balance = standing.get(account_id)
        record = records.get(account_id)
        error: FiscError | None = None
        if record is not None:
            if record.change != change:
                error = errors.RequestIdReused(field=_difference(record.change, change))
        elif balance is None:
            error = errors.AccountNotFound(field="account_id", account_id=account_id)
        else:
            after = _changed(balance.terms, change)
            error = _refusal(balance, after)
            if error is None:
                records[account_id] = ChangeRecord(
                    request_id=request_id,
                    change=change,
                    changed_at=now,
                    before=balance.terms,
                    after=after,
                )
                balance = replace(balance, terms=after, version=balance.version + 1)
                standing[account_id] = balance
        verdicts.append(
            ChangeVerdict(
                account_id=account_id,
                terms=balance.terms if balance else None,
                replayed=record is not None and error is None,
                error=error,
            )
        )
    return Changing(
        verdicts=verdicts,
        records=[record for key, record in records.items() if key not in known],
        balances=[each for key, each in standing.items() if each is not balances[key]],
    )


def _changed(terms: Terms, change: Change) -> Terms:
    bounds = change.bounds or Bounds(
        floor_minor=terms.floor_minor, ceiling_minor=terms.ceiling_minor
    )
    return Terms(
        book_id=terms.book_id,
        floor_minor=bounds.floor_minor,
        ceiling_minor=bounds.ceiling_minor,
        state=change.state or terms.state,
    )


def _refusal(balance: Balance, after: Terms) -> FiscError | None:
    if after.state is AccountState.CLOSED and (balance.posted_minor or balance.held_minor):
        return errors.AccountNotEmpty(
            field="state",
            posted_minor=str(balance.posted_minor),
            held_minor=str(balance.held_minor),
        )
    return bounds_refusal(balance, after)


def _difference(known: Change, asked: Change) -> str:
    fields = ("state", "bounds", "reason")
    return next(name for name in fields if getattr(known, name) != getattr(asked, name))
