"""All SQL of the service. Amounts are minor units; moments are aware UTC."""

import contextlib
from collections.abc import AsyncIterator, Collection, Iterable, Mapping, Sequence
from datetime import datetime
from operator import attrgetter
from pathlib import Path
from typing import Any, TypeAlias

import asyncpg
from asyncpg.pool import PoolConnectionProxy

from libs import crashpoints
from libs.db import queries
from services.account.domain.accounts import (
    Account,
    Balance,
    Direction,
    Entry,
    Role,
    TrialBalanceLine,
)
from services.account.domain.batch import Book, Decision, Needs
from services.account.domain.commands import Hold, HoldState, Transfer

Pool: TypeAlias = "asyncpg.Pool[asyncpg.Record]"
Connection: TypeAlias = "PoolConnectionProxy[asyncpg.Record]"

_SQL = queries.load(Path(__file__).with_suffix(".sql"))

_HOLD_COLUMNS = (
    "hold_id",
    "debit_account_id",
    "credit_account_id",
    "currency",
    "amount_minor",
    "reference",
    "expires_at",
    "state",
    "captured_minor",
)
_BOOKED_COLUMNS = (
    "transfer.transfer_id",
    "transfer.debit_account_id",
    "transfer.credit_account_id",
    "transfer.currency",
    "transfer.amount_minor",
    "transfer.reference",
    "transfer.description",
    "effective_on",
    "booked_at",
    "debit_sequence",
    "debit_balance_after_minor",
    "credit_sequence",
    "credit_balance_after_minor",
)
_BALANCE_COLUMNS = ("account_id", "debits_minor", "credits_minor", "held_minor", "sequence")
_ACCOUNT_COLUMNS = (
    "account_id",
    "owner_id",
    "role",
    "currency",
    "display_name",
    "parent_id",
    "opened_at",
)


class IdTaken(Exception):
    """Another writer took an id that this one found free; nothing was written."""


class Writer:
    """One transaction that writes. What it loads stays locked until the transaction ends."""

    def __init__(self, connection: Connection) -> None:
        """Use a connection on which a transaction is open."""
        self._connection = connection

    async def load(self, needs: Needs) -> Book:
        """Lock and return the rows a batch needs, and the accounts of the holds it names."""
        holds: dict[str, Hold] = {}
        account_ids = set(needs.account_ids)
        if needs.hold_ids:
            for row in await self._connection.fetch(_SQL["lock_holds"], sorted(needs.hold_ids)):
                hold = _hold(row)
                holds[hold.hold_id] = hold
                if not hold.is_tombstone:
                    account_ids |= {hold.debit_account_id, hold.credit_account_id}
        balances: dict[str, Balance] = {}
        if account_ids:
            rows = await self._connection.fetch(_SQL["lock_balances"], sorted(account_ids))
            balances = {row["account_id"]: _balance(row) for row in rows}
        transfers: dict[str, Transfer] = {}
        if needs.transfer_ids:
            # Only now, under the locks of its accounts, can a booked transfer no longer hide.
            rows = await self._connection.fetch(_SQL["get_transfers"], list(needs.transfer_ids))
            transfers = {row["transfer_id"]: _transfer(row) for row in rows}
        return Book(balances=balances, transfers=transfers, holds=holds)

    async def save(self, decision: Decision) -> None:
        """Write what was decided over the rows that `load` locked."""
        if decision.holds_new:
            await self._connection.execute(
                _SQL["insert_holds"], *_columns(decision.holds_new, _HOLD_COLUMNS)
            )
        if decision.holds_changed:
            columns = _columns(decision.holds_changed, ("hold_id", "state", "captured_minor"))
            await self._connection.execute(_SQL["update_holds"], *columns)
        if decision.balances:
            await self._connection.execute(
                _SQL["save_bookings"],
                *_columns(decision.booked, _BOOKED_COLUMNS),
                *_columns(decision.balances, _BALANCE_COLUMNS),
            )

    async def get_accounts(self, account_ids: Collection[str]) -> Mapping[str, Account]:
        """Return those of the accounts that exist."""
        rows = await self._connection.fetch(_SQL["get_accounts"], list(account_ids))
        return {row["account_id"]: _account(row) for row in rows}

    async def insert_accounts(self, accounts: Sequence[Account]) -> None:
        """Open accounts, each with a balance of nothing."""
        await self._connection.execute(
            _SQL["insert_accounts"], *_columns(accounts, _ACCOUNT_COLUMNS)
        )


class Store:
    """The service's database."""

    def __init__(self, pool: Pool) -> None:
        """Use the pool, which the caller closes."""
        self._pool = pool

    @contextlib.asynccontextmanager
    async def writing(self) -> AsyncIterator[Writer]:
        """Run one transaction. Raises IdTaken if it lost a race for an id."""
        try:
            async with self._pool.acquire() as connection, connection.transaction():
                yield Writer(connection)
            crashpoints.reach("K4")
        except asyncpg.UniqueViolationError as error:
            raise IdTaken from error

    async def is_ready(self) -> bool:
        """Whether the database answers."""
        return await self._pool.fetchval("SELECT true") is True

    async def get_account(self, account_id: str) -> tuple[Account, Balance] | None:
        """Return the account and its balance now, None if there is no such account."""
        row = await self._pool.fetchrow(_SQL["get_account"], account_id)
        return None if row is None else (_account(row), _balance(row))

    async def list_accounts(
        self, *, after: str, owner_id: str, role: str, limit: int
    ) -> list[tuple[Account, Balance]]:
        """Return accounts by ascending id, in one snapshot; empty filters mean all."""
        rows = await self._pool.fetch(_SQL["list_accounts"], after, owner_id, role, limit)
        return [(_account(row), _balance(row)) for row in rows]

    async def get_balances(self, account_ids: Collection[str]) -> Mapping[str, Balance]:
        """Return the balances of those accounts that exist, in one snapshot."""
        rows = await self._pool.fetch(_SQL["get_balances"], list(account_ids))
        return {row["account_id"]: _balance(row) for row in rows}

    async def list_entries(self, account_id: str, *, after: int, limit: int) -> list[Entry]:
        """Return an account's entries by ascending sequence."""
        rows = await self._pool.fetch(_SQL["list_entries"], account_id, after, limit)
        return [_entry(row) for row in rows]

    async def sum_balances(self, currency: str) -> list[TrialBalanceLine]:
        """Sum all accounts by role and currency, in one snapshot; "" means every currency."""
        rows = await self._pool.fetch(_SQL["sum_balances"], currency)
        return [
            TrialBalanceLine(
                role=Role(row["role"]),
                currency=row["currency"],
                accounts=row["accounts"],
                debits_minor=int(row["debits_minor"]),
                credits_minor=int(row["credits_minor"]),
                entries=int(row["entries"]),
            )
            for row in rows
        ]

    async def sum_imbalances(self) -> Mapping[str, int]:
        """Debits minus credits by currency, in one snapshot; entries no balance counts included.

        Costs one look at the entries of each account, however long its statement.
        """
        rows = await self._pool.fetch(_SQL["sum_imbalances"])
        return {row["currency"]: int(row["imbalance_minor"]) for row in rows}

    async def get_due_hold_ids(self, now: datetime, *, limit: int) -> list[str]:
        """Name the holds whose time is up, the longest overdue first."""
        rows = await self._pool.fetch(_SQL["get_due_hold_ids"], now, limit)
        return [row["hold_id"] for row in rows]


def _columns(items: Iterable[object], attributes: Sequence[str]) -> list[list[Any]]:
    """Turn objects into one array for each attribute, as unnest takes them."""
    rows = list(map(attrgetter(*attributes), items))
    return [[row[index] for row in rows] for index in range(len(attributes))]


def _account(row: asyncpg.Record) -> Account:
    values = {name: row[name] for name in _ACCOUNT_COLUMNS}
    return Account(**values | {"role": Role(row["role"])})


def _balance(row: asyncpg.Record) -> Balance:
    return Balance(
        account_id=row["account_id"],
        role=Role(row["role"]),
        currency=row["currency"],
        debits_minor=row["debits_minor"],
        credits_minor=row["credits_minor"],
        held_minor=row["held_minor"],
        sequence=row["sequence"],
    )


def _hold(row: asyncpg.Record) -> Hold:
    return Hold(**dict(row.items()) | {"state": HoldState(row["state"])})


def _transfer(row: asyncpg.Record) -> Transfer:
    values = dict(row.items())
    return Transfer(effective_date=values.pop("effective_on").isoformat(), **values)


def _entry(row: asyncpg.Record) -> Entry:
    values = dict(row.items())
    return Entry(
        direction=Direction(values.pop("direction")),
        effective_date=values.pop("effective_on").isoformat(),
        **values,
    )
