"""Real accounts, mappings to them, and who stands on them."""

import contextlib
from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from datetime import date, datetime
from pathlib import Path
from typing import TypeAlias

import asyncpg
from asyncpg.pool import PoolConnectionProxy

from libs.db import queries
from services.account.domain.accounts import Role
from services.account.domain.mappings import DatedMapping, MappingBook, MappingRecord
from services.account.domain.mirrors import Mirror, MirrorAccount, MirrorLine
from services.account.domain.real_accounts import (
    RealAccount,
    RealAccountKind,
    RealAccountState,
    RealChange,
    RealChangeRecord,
)
from services.account.store import rows
from services.account.store.writing import Overtaken

Pool: TypeAlias = "asyncpg.Pool[asyncpg.Record]"
Connection: TypeAlias = "PoolConnectionProxy[asyncpg.Record]"

SQL = queries.load(Path(__file__).with_suffix(".sql"))

REAL_COLUMNS = (
    "real_account_id",
    "kind",
    "provider",
    "masked_number",
    "number_hash",
    "holder",
    "currency",
    "tenant_id",
    "display_name",
    "opened_at",
    "state",
)
MAPPING_COLUMNS = (
    "account_id",
    "real_account_id",
    "valid_from",
    "revision",
    "request_id",
    "reason",
    "recorded_at",
)


class RealStore:
    """The real accounts of the service's database."""

    def __init__(self, pool: Pool) -> None:
        """Use the pool, which the caller closes."""
        self._pool = pool

    @contextlib.asynccontextmanager
    async def writing(self) -> AsyncIterator["RealWriter"]:
        """Run one transaction. Raises Overtaken if another writer was faster."""
        try:
            async with self._pool.acquire() as connection, connection.transaction():
                yield RealWriter(connection)
        except (
            asyncpg.UniqueViolationError,
            asyncpg.SerializationError,
            asyncpg.DeadlockDetectedError,
        ) as error:
            raise Overtaken from error

    async def get(self, real_account_id: str) -> RealAccount | None:
        """Return the real account, None if there is no such."""
        row = await self._pool.fetchrow(SQL["get_real_account"], real_account_id)
        return None if row is None else _real_account(row)

    async def list_accounts(self, *, tenant_id: str, after: str, limit: int) -> list[RealAccount]:
        """Return real accounts by ascending id; "" means every tenant's."""
        found = await self._pool.fetch(SQL["list_real_accounts"], after, tenant_id, limit)
        return [_real_account(row) for row in found]

    async def list_mappings(
        self,
        *,
        account_id: str,
        real_account_id: str,
        after: tuple[str, date, int],
        limit: int,
    ) -> list[DatedMapping]:
        """Return what was said of an account or a real account ("" for any), by account, day, revision."""
        found = await self._pool.fetch(
            SQL["list_mappings"], account_id, real_account_id, *after, limit
        )
        return [
            DatedMapping(
                record=_mapping(row),
                valid_until=row["valid_until"],
                is_replaced=row["is_replaced"],
            )
            for row in found
        ]

    async def sum_mirrors(
        self, real_account_ids: Collection[str], *, day: date, at: datetime | None, now: datetime
    ) -> list[Mirror]:
        """Sum the accounts that stand on these real accounts on a day, in one snapshot; "" for none.

        As of `at`, or as they stand now; O(log n) an account. A real account nobody stands on is left out.
        """
        found = await self._pool.fetch(SQL["sum_mirrors"], list(real_account_ids), day, at)
        lines: dict[tuple[str, str, str], list[MirrorLine]] = {}
        for row in found:
            key = (row["real_account_id"], row["tenant_id"], row["currency"])
            lines.setdefault(key, []).append(
                MirrorLine(
                    role=Role(row["role"]),
                    accounts=row["accounts"],
                    posted_minor=int(row["posted_minor"]),
                )
            )
        return [
            Mirror(
                real_account_id=real_account_id,
                tenant_id=tenant_id,
                currency=currency,
                at=at or now,
                lines=of_one,
            )
            for (real_account_id, tenant_id, currency), of_one in lines.items()
        ]

    async def list_mirror_accounts(
        self, real_account_id: str, *, day: date, at: datetime | None, after: str, limit: int
    ) -> list[MirrorAccount]:
        """Return the accounts that stand on a real account ("" for none) on a day, by ascending id."""
        found = await self._pool.fetch(
            SQL["list_mirror_accounts"], real_account_id, day, at, after, limit
        )
        return [MirrorAccount(**dict(row.items()) | {"role": Role(row["role"])}) for row in found]


class RealWriter:
    """The transaction open on one connection; what it loads of real accounts stays locked."""

    def __init__(self, connection: Connection) -> None:
        """Use a connection on which a transaction is open."""
        self._connection = connection

    async def lock(
        self, real_account_ids: Collection[str], numbers: Collection[bytes] = ()
    ) -> list[RealAccount]:
        """Lock and return those that stand under the ids or have one of the numbers."""
        found = await self._connection.fetch(
            SQL["lock_real_accounts"], list(real_account_ids), list(numbers)
        )
        return [_real_account(row) for row in found]

    async def insert(self, accounts: Sequence[RealAccount]) -> None:
        """Make real accounts known."""
        await self._connection.execute(
            SQL["insert_real_accounts"], *rows.columns(accounts, REAL_COLUMNS)
        )

    async def get_changes(
        self, request_id: str, real_account_ids: Collection[str]
    ) -> Mapping[str, RealChangeRecord]:
        """Return what this request has changed before."""
        found = await self._connection.fetch(
            SQL["get_real_changes"], request_id, list(real_account_ids)
        )
        return {row["real_account_id"]: _change(row) for row in found}

    async def get_users(self, real_account_ids: Collection[str], today: date) -> Mapping[str, str]:
        """Name one virtual account mapped to each real one that mappings name today or later."""
        found = await self._connection.fetch(SQL["get_users"], list(real_account_ids), today)
        return {row["real_account_id"]: row["account_id"] for row in found}

    async def save_changes(self, records: Sequence[RealChangeRecord]) -> None:
        """Keep the changes, and set the states."""
        await self._connection.execute(
            SQL["save_real_changes"],
            *rows.columns(
                records,
                (
                    "request_id",
                    "change.real_account_id",
                    "changed_at",
                    "change.reason",
                    "state_before",
                    "change.state",
                ),
            ),
        )

    async def load_mappings(
        self,
        request_id: str,
        account_ids: Collection[str],
        real_account_ids: Collection[str],
        days: Collection[date],
    ) -> MappingBook:
        """Return what deciding mappings takes; the real accounts stay locked."""
        real_accounts = await self.lock(real_account_ids)
        names = list(account_ids)
        accounts = await self._connection.fetch(rows.SQL["get_accounts"], names)
        known = await self._connection.fetch(SQL["get_said"], request_id, names)
        revisions = await self._connection.fetch(SQL["get_revisions"], names, list(days))
        return MappingBook(
            accounts={row["account_id"]: rows.account(row) for row in accounts},
            real_accounts={each.real_account_id: each for each in real_accounts},
            known={row["account_id"]: _mapping(row) for row in known},
            revisions={
                (row["account_id"], row["valid_from"]): row["revision"] for row in revisions
            },
        )

    async def insert_mappings(self, records: Sequence[MappingRecord]) -> None:
        """Write what was said."""
        await self._connection.execute(
            SQL["insert_mappings"], *rows.columns(records, MAPPING_COLUMNS)
        )


def _real_account(row: asyncpg.Record) -> RealAccount:
    kind, state = RealAccountKind(row["kind"]), RealAccountState(row["state"])
    return RealAccount(**dict(row.items()) | {"kind": kind, "state": state})


def _mapping(row: asyncpg.Record) -> MappingRecord:
    return MappingRecord(**{name: row[name] for name in MAPPING_COLUMNS})


def _change(row: asyncpg.Record) -> RealChangeRecord:
    return RealChangeRecord(
        request_id=row["request_id"],
        change=RealChange(
            real_account_id=row["real_account_id"],
            state=RealAccountState(row["state_after"]),
            reason=row["reason"],
        ),
        changed_at=row["changed_at"],
        state_before=RealAccountState(row["state_before"]),
    )
