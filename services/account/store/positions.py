"""Positions within the group, and money in transit."""

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import TypeAlias

import asyncpg

from libs.db import queries
from services.account.domain.accounts import Account
from services.account.domain.positions import Position
from services.account.domain.transit import (
    ENTRIES_LOOKED_MAX,
    ITEMS_SHOWN_MAX,
    TransitAccount,
    TransitItem,
)
from services.account.store import rows

Pool: TypeAlias = "asyncpg.Pool[asyncpg.Record]"

SQL = queries.load(Path(__file__).with_suffix(".sql"))


class PositionStore:
    """The positions of the service's database."""

    def __init__(self, pool: Pool, *, entries_looked_max: int = ENTRIES_LOOKED_MAX) -> None:
        """Use the pool, which the caller closes."""
        self._pool = pool
        self._entries_looked_max = entries_looked_max

    async def get_accounts(self, account_ids: Collection[str]) -> Mapping[str, Account]:
        """Return those of the accounts that exist; what is read of them here never changes."""
        found = await self._pool.fetch(rows.SQL["get_accounts"], list(account_ids))
        return {row["account_id"]: rows.account(row) for row in found}

    async def list_positions(
        self,
        *,
        entity_id: str,
        currency: str,
        is_open_only: bool,
        after: tuple[str, str, str, str],
        limit: int,
    ) -> list[Position]:
        """Return positions by tenant, currency, creditor and debtor, in one snapshot."""
        found = await self._pool.fetch(
            SQL["list_positions"], entity_id, currency, is_open_only, *after, limit
        )
        return [
            Position(
                creditor_id=row["creditor_id"],
                debtor_id=row["debtor_id"],
                tenant_id=row["tenant_id"],
                currency=row["currency"],
                due_from_minor=int(row["due_from_minor"]),
                due_to_minor=int(row["due_to_minor"]),
                due_from_account_ids=row["due_from_account_ids"],
                due_to_account_ids=row["due_to_account_ids"],
            )
            for row in found
        ]

    async def list_in_transit(
        self, *, currency: str, after: str, limit: int
    ) -> list[TransitAccount]:
        """Return accounts of money in transit by id, each as it stood when the page was read."""
        found = await self._pool.fetch(
            SQL["list_in_transit"], after, currency, limit, self._entries_looked_max
        )
        return [await self._transit(row) for row in found]

    async def _transit(self, account: asyncpg.Record) -> TransitAccount:
        items = await self._pool.fetch(
            SQL["list_unmatched"],
            account["account_id"],
            account["looked_after"],
            account["sequence"],
            ITEMS_SHOWN_MAX,
        )
        return TransitAccount(
            account_id=account["account_id"],
            currency=account["currency"],
            posted_minor=account["posted_minor"],
            earlier_minor=account["earlier_minor"],
            items_count=items[0]["items_count"] if items else 0,
            items=[
                TransitItem(
                    reference=row["reference"],
                    amount_minor=int(row["amount_minor"]),
                    since=row["since"],
                )
                for row in items
            ],
        )
