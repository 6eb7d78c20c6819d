"""Rows ↔ domain. Records are read by position where a batch has hundreds of them."""

import functools
from collections.abc import Iterable, Sequence
from operator import attrgetter
from pathlib import Path
from typing import Any

import asyncpg
import orjson

from libs.db import queries
from services.account.domain.accounts import (
    Account,
    AccountState,
    Balance,
    Direction,
    Entry,
    PastBalance,
    Role,
    Terms,
)
from services.account.domain.changes import Bounds, Change, ChangeRecord
from services.account.domain.commands import Balancing, BookedTransfer, Hold, HoldState, Transfer

SQL = queries.load(Path(__file__).with_name("store.sql"))

ACCOUNT_COLUMNS = (
    "account_id",
    "owner_id",
    "role",
    "currency",
    "display_name",
    "parent_id",
    "opened_at",
    "tenant_id",
    "floor_minor",
    "ceiling_minor",
    "counterparty_id",
)
BOOKED_COLUMNS = (
    "transfer_id",
    "amount_minor",
    "booked_at",
    "debit_sequence",
    "debit_balance_after_minor",
    "credit_sequence",
    "credit_balance_after_minor",
    "batch_number",
    "effective_on",
    "chain",
    "debit_account_id",
    "credit_account_id",
    "currency",
    "reference",
    "description",
    "balancing",
    "requested_minor",
    "keep_minor",
    "reverses_transfer_id",
)
HOLD_COLUMNS = (
    "hold_id",
    "debit_account_id",
    "credit_account_id",
    "currency",
    "amount_minor",
    "reference",
    "expires_at",
    "state",
    "captured_minor",
    "group_id",
)
_ROLES = {role.value: role for role in Role}


def columns(items: Iterable[object], attributes: Sequence[str]) -> list[list[Any]]:
    """Turn objects into one array for each attribute, as unnest takes them."""
    rows = list(map(attrgetter(*attributes), items))
    return [[row[index] for row in rows] for index in range(len(attributes))]


@functools.lru_cache(maxsize=4096)
def _terms(book_id: str, floor_minor: int | None, ceiling_minor: int | None, state: str) -> Terms:
    """Most accounts share their terms with thousands of others."""
    return Terms(
        book_id=book_id,
        floor_minor=floor_minor,
        ceiling_minor=ceiling_minor,
        state=AccountState(state),
    )


def balance(row: asyncpg.Record) -> Balance:
    """Read a balance out of the 13 columns that every query of balances has, at its end."""
    return Balance(
        account_id=row["account_id"],
        role=_ROLES[row["role"]],
        currency=row["currency"],
        debits_minor=row["debits_minor"],
        credits_minor=row["credits_minor"],
        held_minor=row["held_minor"],
        sequence=row["sequence"],
        version=row["version"],
        booked_at=row["booked_at"],
        terms=_terms(row["book_id"], row["floor_minor"], row["ceiling_minor"], row["state"]),
    )


def account(row: asyncpg.Record) -> Account:
    """Read an account, with the bounds that are in force."""
    values = {name: row[name] for name in ACCOUNT_COLUMNS}
    return Account(**values | {"role": Role(row["role"])})


def hold(row: asyncpg.Record) -> Hold:
    """Read a hold."""
    values = dict(row.items())
    captures = tuple((name, amount_minor) for name, amount_minor in row["captures"] or ())
    return Hold(**values | {"state": HoldState(row["state"]), "captures": captures})


def captures_text(held: Hold) -> str | None:
    """A hold's named captures as JSON text; None, which takes no room, for a hold without them."""
    return orjson.dumps(held.captures).decode() if held.captures else None


def transfer(row: asyncpg.Record) -> Transfer:
    """Read a booked transfer as a request is compared with it."""
    return Transfer(
        transfer_id=row["transfer_id"],
        debit_account_id=row["debit_account_id"],
        credit_account_id=row["credit_account_id"],
        currency=row["currency"],
        amount_minor=row["amount_minor"],
        reference=row["reference"],
        description=row["description"],
        effective_date=row["effective_on"].isoformat(),
        balancing=Balancing(row["balancing"]) if row["balancing"] else None,
        requested_minor=row["requested_minor"],
        keep_minor=row["keep_minor"] or 0,
        reverses_transfer_id=row["reverses_transfer_id"] or "",
    )


def booked(row: asyncpg.Record) -> BookedTransfer:
    """Read a booked transfer with its place in both statements."""
    return BookedTransfer(
        transfer=transfer(row),
        effective_on=row["effective_on"],
        booked_at=row["booked_at"],
        debit_sequence=row["debit_sequence"],
        debit_balance_after_minor=row["debit_balance_after_minor"],
        credit_sequence=row["credit_sequence"],
        credit_balance_after_minor=row["credit_balance_after_minor"],
    )


def booked_record(each: BookedTransfer, chain: int, number: int) -> tuple[Any, ...]:
    """A transfer as BOOKED_COLUMNS take it."""
    item = each.transfer
    is_decided = item.requested_minor is not None
    return (
        item.transfer_id,
        item.amount_minor,
        each.booked_at,
        each.debit_sequence,
        each.debit_balance_after_minor,
        each.credit_sequence,
        each.credit_balance_after_minor,
        number,
        each.effective_on,
        chain,
        item.debit_account_id,
        item.credit_account_id,
        item.currency,
        item.reference,
        item.description,
        item.balancing,
        item.requested_minor,
        item.keep_minor if is_decided else None,
        item.reverses_transfer_id or None,
    )


def entry(row: asyncpg.Record) -> Entry:
    """Read a line of a statement."""
    values = dict(row.items())
    return Entry(
        direction=Direction(values.pop("direction")),
        effective_date=values.pop("effective_on").isoformat(),
        **values,
    )


def past_balance(row: asyncpg.Record) -> PastBalance:
    """Read how an account stood after one of its entries."""
    return PastBalance(
        account_id=row["account_id"],
        currency=row["currency"],
        posted_minor=row["posted_minor"],
        sequence=row["sequence"],
    )


def change_record(request_id: str, row: asyncpg.Record, book_id: str) -> ChangeRecord:
    """Read what became of an account by an earlier change."""
    before, after = (
        Terms(
            book_id=book_id,
            floor_minor=row[f"floor_{when}_minor"],
            ceiling_minor=row[f"ceiling_{when}_minor"],
            state=AccountState(row[f"state_{when}"]),
        )
        for when in ("before", "after")
    )
    bounds = Bounds(floor_minor=after.floor_minor, ceiling_minor=after.ceiling_minor)
    return ChangeRecord(
        request_id=request_id,
        change=Change(
            account_id=row["account_id"],
            reason=row["reason"],
            state=after.state if row["asks_state"] else None,
            bounds=bounds if row["asks_bounds"] else None,
        ),
        changed_at=row["changed_at"],
        before=before,
        after=after,
    )


def change_columns(records: Sequence[ChangeRecord]) -> list[list[Any]]:
    """Changes as save_changes takes them."""
    return [
        [each.request_id for each in records],
        [each.change.account_id for each in records],
        [each.changed_at for each in records],
        [each.change.reason for each in records],
        [each.change.state is not None for each in records],
        [each.change.bounds is not None for each in records],
        *columns(records, ("before.state", "before.floor_minor", "before.ceiling_minor")),
        *columns(records, ("after.state", "after.floor_minor", "after.ceiling_minor")),
    ]
