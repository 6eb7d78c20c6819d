"""Closing balances: written once a day, never changed."""

from datetime import date, datetime
from pathlib import Path
from typing import TypeAlias

import asyncpg

from libs.db import queries
from services.account.domain.accounts import PastBalance

Pool: TypeAlias = "asyncpg.Pool[asyncpg.Record]"

SQL = queries.load(Path(__file__).with_suffix(".sql"))


class ClosingStore:
    """The closing balances of the service's database."""

    def __init__(self, pool: Pool) -> None:
        """Use the pool, which the caller closes."""
        self._pool = pool

    async def get_last_closed_day(self) -> date | None:
        """Return the latest day that is closed."""
        day: date | None = await self._pool.fetchval(SQL["get_last_closed_day"])
        return day

    async def get_first_booking(self) -> datetime | None:
        """Return when the first batch was booked."""
        at: datetime | None = await self._pool.fetchval(SQL["get_first_booking"])
        return at

    async def is_closed(self, day: date) -> bool:
        """Whether the day is closed."""
        return await self._pool.fetchval(SQL["is_closed_day"], day) is True

    async def close_accounts(
        self, day: date, ended_at: datetime, *, after: str, limit: int
    ) -> str | None:
        """Close a page of accounts; returns the last of them, None after the last page. Idempotent."""
        last: str | None = await self._pool.fetchval(
            SQL["close_accounts"], day, ended_at, after, limit
        )
        return last

    async def insert_closed_day(self, day: date, ended_at: datetime, closed_at: datetime) -> None:
        """Say that every account is closed for the day. Idempotent."""
        await self._pool.execute(SQL["insert_closed_day"], day, ended_at, closed_at)

    async def list_balances(self, day: date, *, after: str, limit: int) -> list[PastBalance]:
        """Return how accounts stood at the end of the day, by id; those without an entry left out."""
        found = await self._pool.fetch(SQL["list_closing_balances"], day, after, limit)
        return [PastBalance(**dict(row.items())) for row in found]
