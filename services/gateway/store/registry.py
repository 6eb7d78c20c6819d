"""Merchants, API keys, channel accounts, the callback inbox and the push cursors in Postgres.

What an operator changes is recorded in the audit chain in the same transaction; what changes nothing is not.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from libs import audit
from libs.audit import NewRecord
from libs.db import queries
from libs.db.pool import Pool
from libs.events import log as event_log
from services.gateway.domain.merchant import ChannelAccount, Merchant, StoredChannel

_SQL = queries.load(Path(__file__).parent / "registry.sql")


class Registry:
    """Who and where: everything that is configured rather than moved."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def add_merchant(self, merchant: Merchant, record: NewRecord) -> Merchant:
        """Idempotent by merchant_id; answers the merchant as it stands."""
        async with self._pool.acquire() as connection, connection.transaction():
            if await connection.fetchrow(_SQL["insert_merchant"], [merchant]) is not None:
                await audit.append(connection, record)
        stored = await self.get_merchant(merchant.merchant_id)
        assert stored is not None  # noqa: S101 - inserted above or there before
        return stored

    async def get_merchant(self, merchant_id: str) -> Merchant | None:
        row = await self._pool.fetchrow(_SQL["get_merchant"], merchant_id)
        return None if row is None else _merchant(row)

    async def list_merchants(self, after: str, limit: int) -> list[Merchant]:
        rows = await self._pool.fetch(_SQL["list_merchants"], after, limit)
        return [_merchant(row) for row in rows]

    async def add_api_key(
        self,
        *,
        key_id: str,
        merchant_id: str,
        request_id: str,
        label: str,
        secret_hash: str,
        record: NewRecord,
    ) -> bool:
        """False when this request_id has made a key before."""
        async with self._pool.acquire() as connection, connection.transaction():
            row = await connection.fetchrow(
                _SQL["insert_api_key"],
                key_id,
                merchant_id,
                request_id,
                label,
                secret_hash,
                record.at,
            )
            if row is not None:
                await audit.append(connection, record)
        return row is not None

    async def get_api_key(self, key_id: str) -> tuple[str, str] | None:
        """(merchant_id, secret_hash) of a key in force."""
        row = await self._pool.fetchrow(_SQL["get_api_key"], key_id)
        return None if row is None else (row["merchant_id"], row["secret_hash"])

    async def revoke_api_key(self, key_id: str, record: NewRecord) -> bool:
        """Idempotent. False when there is no such key."""
        async with self._pool.acquire() as connection, connection.transaction():
            if await connection.fetchrow(_SQL["revoke_api_key"], key_id, record.at) is not None:
                await audit.append(connection, record)
                return True
            return bool(await connection.fetchval(_SQL["is_api_key_known"], key_id))

    async def put_channel(
        self, account: ChannelAccount, names: Sequence[str], sealed: bytes, record: NewRecord
    ) -> None:
        async with self._pool.acquire() as connection, connection.transaction():
            await connection.execute(
                _SQL["upsert_channel_account"],
                account.channel_id,
                account.provider,
                account.base_url,
                list(account.currencies),
                account.zone,
                list(account.methods),
                list(names),
                sealed,
                record.at,
            )
            await audit.append(connection, record)

    async def list_channels(self, after: str, limit: int) -> list[StoredChannel]:
        rows = await self._pool.fetch(_SQL["list_channel_accounts"], after, limit)
        return [_channel(row) for row in rows]

    async def get_channel(self, channel_id: str) -> StoredChannel | None:
        row = await self._pool.fetchrow(_SQL["get_channel_account"], channel_id)
        return None if row is None else _channel(row)

    async def receive_callback(
        self, channel_id: str, headers: Mapping[str, str], body: bytes, now: datetime
    ) -> int:
        """Keeps the raw notification before anybody trusts it; answers its inbox id."""
        inbox_id: int = await self._pool.fetchval(
            _SQL["receive_callback"], channel_id, now, dict(headers), body
        )
        return inbox_id

    async def settle_callback(
        self, inbox_id: int, *, event_id: str, out_ref: str, result: str
    ) -> None:
        """Says what became of a notification."""
        await self._pool.execute(_SQL["settle_callback"], inbox_id, event_id, out_ref, result)

    async def is_callback_applied(self, channel_id: str, event_id: str) -> bool:
        return bool(await self._pool.fetchval(_SQL["is_callback_applied"], channel_id, event_id))

    async def callbacks_of(self, channel_id: str, out_ref: str) -> list[tuple[datetime, str]]:
        rows = await self._pool.fetch(_SQL["callbacks_of"], channel_id, out_ref)
        return [(row["received_at"], row["result"]) for row in rows]

    async def read_events(self, cursor: str, limit: int) -> list[event_log.StoredEvent]:
        async with self._pool.acquire() as connection:
            return await event_log.read(connection, cursor, limit)

    async def get_cursor(self, consumer: str) -> str:
        return await self._pool.fetchval(_SQL["get_cursor"], consumer) or event_log.BEGINNING

    async def move_cursor(self, consumer: str, before: str, after: str) -> str:
        """Moves it unless another replica has; answers where it stands."""
        cursor: str = await self._pool.fetchval(_SQL["move_cursor"], consumer, before, after)
        return cursor

    async def count_unpushed(self, consumers: Sequence[str]) -> int:
        """Events that the slowest of these consumers has yet to push."""
        counts = []
        for consumer in consumers:
            cursor = await self.get_cursor(consumer)
            counts.append(await self._pool.fetchval(_SQL["count_unpushed"], cursor or "0-0"))
        return max(counts, default=0)


def _channel(row: Any) -> StoredChannel:
    return StoredChannel(
        account=ChannelAccount(
            channel_id=row["channel_id"],
            provider=row["provider"],
            base_url=row["base_url"],
            currencies=tuple(row["currencies"]),
            zone=row["zone"],
            methods=tuple(row["methods"]),
        ),
        credential_names=tuple(row["credential_names"]),
        sealed_credentials=row["sealed_credentials"],
        updated_at=row["updated_at"],
    )


def _merchant(row: Any) -> Merchant:
    return Merchant(**{**dict(row), "currencies": tuple(row["currencies"])})
