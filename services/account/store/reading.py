"""The service's database: reading from it, and opening transactions that write."""

import contextlib
from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from datetime import datetime
from typing import TypeAlias

import asyncpg

from libs import crashpoints
from services.account.domain.accounts import (
    Account,
    Balance,
    Entry,
    PastBalance,
    Role,
    SubtreeLine,
    TrialBalanceLine,
)
from services.account.domain.commands import BookedTransfer
from services.account.domain.proof import Leg
from services.account.domain.seals import Batch, Head
from services.account.store import rows
from services.account.store.closing import ClosingStore
from services.account.store.positions import PositionStore
from services.account.store.real import RealStore
from services.account.store.rows import SQL
from services.account.store.writing import Overtaken, Writer

SEQUENCE_MAX = 2**63 - 1
Pool: TypeAlias = "asyncpg.Pool[asyncpg.Record]"


class Store:
    """The service's database."""

    def __init__(self, pool: Pool) -> None:
        """Use the pool, which the caller closes."""
        self._pool = pool
        self.closing = ClosingStore(pool)
        self.real = RealStore(pool)
        self.positions = PositionStore(pool)

    @contextlib.asynccontextmanager
    async def writing(self) -> AsyncIterator[Writer]:
        """Run one transaction. Raises Overtaken if another writer was faster."""
        try:
            async with self._pool.acquire() as connection, connection.transaction():
                yield Writer(connection)
            crashpoints.reach("K4")
        except (
            asyncpg.UniqueViolationError,
            asyncpg.SerializationError,
            asyncpg.DeadlockDetectedError,
        ) as error:
            raise Overtaken from error

    async def is_ready(self) -> bool:
        """Whether the database answers."""
        return await self._pool.fetchval("SELECT true") is True

    async def get_account(self, account_id: str) -> tuple[Account, Balance] | None:
        """Return the account and its balance now, None if there is no such account."""
        row = await self._pool.fetchrow(SQL["get_account"], account_id)
        return None if row is None else (rows.account(row), rows.balance(row))

    async def list_accounts(
        self, *, after: str, owner_id: str, role: str, limit: int
    ) -> list[tuple[Account, Balance]]:
        """Return accounts by ascending id, in one snapshot; empty filters mean all."""
        found = await self._pool.fetch(SQL["list_accounts"], after, owner_id, role, limit)
        return [(rows.account(row), rows.balance(row)) for row in found]

    async def get_balances(self, account_ids: Collection[str]) -> Mapping[str, Balance]:
        """Return the balances of those accounts that exist, in one snapshot."""
        found = await self._pool.fetch(SQL["get_balances"], list(account_ids))
        return {row["account_id"]: rows.balance(row) for row in found}

    async def list_entries(
        self, account_id: str, *, after: int, limit: int, until: int = SEQUENCE_MAX
    ) -> list[Entry]:
        """Return an account's entries with sequences in (after, until], ascending."""
        found = await self._pool.fetch(SQL["list_entries"], account_id, after, limit, until)
        return [rows.entry(row) for row in found]

    async def sum_balances(self, currency: str) -> list[TrialBalanceLine]:
        """Sum all accounts by role and currency, in one snapshot; "" means every currency."""
        found = await self._pool.fetch(SQL["sum_balances"], currency)
        return [
            TrialBalanceLine(
                role=Role(row["role"]),
                currency=row["currency"],
                accounts=row["accounts"],
                debits_minor=int(row["debits_minor"]),
                credits_minor=int(row["credits_minor"]),
                entries=int(row["entries"]),
            )
            for row in found
        ]

    async def sum_imbalances(self) -> Mapping[str, int]:
        """Debits minus credits by currency, in one snapshot; entries no balance counts included.

        Costs one look at the entries of each account, however long its statement.
        """
        found = await self._pool.fetch(SQL["sum_imbalances"])
        return {row["currency"]: int(row["imbalance_minor"]) for row in found}

    async def get_due_hold_ids(self, now: datetime, *, limit: int) -> list[str]:
        """Name the holds whose time is up, the longest overdue first."""
        found = await self._pool.fetch(SQL["get_due_hold_ids"], now, limit)
        return [row["hold_id"] for row in found]

    async def get_heads(self) -> list[Head]:
        """Return the latest batch of each chain."""
        found = await self._pool.fetch(SQL["get_heads"])
        return [Head(chain=row["chain"], number=row["number"], hash=row["hash"]) for row in found]

    async def list_batches(self, head: Head, *, after: int, limit: int) -> list[Batch]:
        """Return batches of the head's chain after a number, up to the head."""
        found = await self._pool.fetch(SQL["list_batches"], head.chain, after, head.number, limit)
        return [Batch(**dict(row.items())) for row in found]

    async def list_sealed(
        self, chain: int, *, first: int, last: int
    ) -> Mapping[int, list[BookedTransfer]]:
        """Return the transfers of some batches of a chain, by number, in the order of their seal."""
        found = await self._pool.fetch(SQL["list_sealed"], chain, first, last)
        sealed: dict[int, list[BookedTransfer]] = {}
        for row in found:
            sealed.setdefault(row["batch_number"], []).append(rows.booked(row))
        return sealed

    async def count_unsealed(self) -> int:
        """Count the transfers that name a batch that is not there."""
        async with self._pool.acquire() as connection, connection.transaction():
            await connection.execute(SQL["allow_whole_tables"])
            return int(await connection.fetchval(SQL["count_unsealed"]))

    async def list_balances(self, *, after: str, limit: int) -> list[Balance]:
        """Return balances by ascending account id."""
        found = await self._pool.fetch(SQL["list_balances"], after, limit)
        return [rows.balance(row) for row in found]

    async def list_legs(self, account_ids: Sequence[str], *, after: int, until: int) -> list[Leg]:
        """Return the legs of accounts with sequences in (after, until], by account and sequence."""
        found = await self._pool.fetch(SQL["list_legs"], account_ids, after, until)
        return [
            Leg(
                account_id=row["account_id"],
                sequence=row["sequence"],
                is_debit=row["direction"] == "DEBIT",
                amount_minor=row["amount_minor"],
                balance_after_minor=row["balance_after_minor"],
            )
            for row in found
        ]

    async def get_balances_at_time(
        self, account_ids: Collection[str], at: datetime
    ) -> Mapping[str, PastBalance]:
        """Return how those accounts that exist stood at a moment; O(log n) an account."""
        found = await self._pool.fetch(SQL["get_balances_at_time"], list(account_ids), at)
        return {row["account_id"]: rows.past_balance(row) for row in found}

    async def get_balances_at(self, sequences: Mapping[str, int]) -> Mapping[str, PastBalance]:
        """Return how accounts stood after these entries, each at most its last."""
        found = await self._pool.fetch(
            SQL["get_balances_at"], list(sequences), list(sequences.values())
        )
        return {row["account_id"]: rows.past_balance(row) for row in found}

    async def sum_subtree(self, account_id: str) -> list[SubtreeLine]:
        """Sum an account and all below it, in one snapshot; nothing for no such account."""
        found = await self._pool.fetch(SQL["sum_subtree"], account_id)
        return [
            SubtreeLine(
                role=Role(row["role"]),
                currency=row["currency"],
                accounts=row["accounts"],
                posted_minor=int(row["posted_minor"]),
                held_minor=int(row["held_minor"]),
            )
            for row in found
        ]
