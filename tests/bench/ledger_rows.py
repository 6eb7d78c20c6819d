"""Transfers on file, in bulk: rows as the ledger itself would have written them, sealed and in balance.

Every transfer debits one account (a channel's receivable, say) and credits the next of many, so that
one account has as many entries as there are transfers, and each of the others its share.
"""

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta

import asyncpg

from services.account.domain import seals
from services.account.domain.commands import BookedTransfer, Transfer
from services.account.domain.seals import Batch, Head
from services.account.store import rows

BATCH_ITEMS = 256
BATCHES_A_COPY = 200
CHAINS = (1, 2)
FIRST_AT = datetime(2026, 1, 1, tzinfo=UTC)
APART = timedelta(milliseconds=500)
COPY_TIMEOUT_S = 300.0
BATCH_COLUMNS = ("chain", "number", "previous_hash", "hash", "transfers_count", "booked_at")


class Filler:
    """Appends transfers to one database; whoever serves it must be at rest meanwhile."""

    def __init__(self, debited: str, credited: Sequence[str]) -> None:
        self.count = 0
        """Transfers so far."""
        self._debited = debited
        self._credited = credited
        self._debited_minor = 0
        self._credited_minor = [0] * len(credited)
        self._heads = {chain: Head(chain=chain) for chain in CHAINS}

    def booked_at(self, number: int) -> datetime:
        """When the transfer of this number, from 1, was booked."""
        return FIRST_AT + number * APART

    async def fill(self, pool: "asyncpg.Pool[asyncpg.Record]", count: int) -> None:
        """Bring the transfers on file to `count`."""
        async with pool.acquire() as connection:
            await connection.execute("SET statement_timeout = 0")
            while self.count < count:
                sealed = [
                    self._next_batch(count)
                    for _ in range(min(BATCHES_A_COPY, -(-(count - self.count) // BATCH_ITEMS)))
                ]
                async with connection.transaction():
                    await self._copy(connection, sealed)
            await self._set_balances(connection)
            await connection.execute("VACUUM ANALYZE", timeout=COPY_TIMEOUT_S)
            await connection.execute("CHECKPOINT", timeout=COPY_TIMEOUT_S)
            await connection.execute("RESET statement_timeout")

    def _next_batch(self, count: int) -> tuple[Batch, list[BookedTransfer]]:
        chain = min(CHAINS, key=lambda each: self._heads[each].number)
        size = min(BATCH_ITEMS, count - self.count)
        booked = list(self._transfers(size))
        batch = seals.seal(self._heads[chain], booked, booked[-1].booked_at)
        self._heads[chain] = Head(chain=chain, number=batch.number, hash=batch.hash)
        return batch, booked

    def _transfers(self, size: int) -> Iterator[BookedTransfer]:
        for _ in range(size):
            place = self.count % len(self._credited)
            self.count += 1
            amount_minor = 1 + self.count % 9973
            self._debited_minor += amount_minor
            self._credited_minor[place] += amount_minor
            at = self.booked_at(self.count)
            yield BookedTransfer(
                transfer=Transfer(
                    transfer_id=f"pay_{self.count:026d}:collect",
                    debit_account_id=self._debited,
                    credit_account_id=self._credited[place],
                    currency="CNY",
                    amount_minor=amount_minor,
                    reference=f"pay_{self.count:026d}",
                    description="collected",
                ),
                effective_on=at.date(),
                booked_at=at,
                debit_sequence=self.count,
                debit_balance_after_minor=self._debited_minor,
                credit_sequence=1 + (self.count - 1) // len(self._credited),
                credit_balance_after_minor=self._credited_minor[place],
            )

    async def _copy(
        self,
        connection: "asyncpg.pool.PoolConnectionProxy[asyncpg.Record]",
        sealed: Sequence[tuple[Batch, list[BookedTransfer]]],
    ) -> None:
        await connection.copy_records_to_table(
            "transfer",
            columns=rows.BOOKED_COLUMNS,
            records=(
                rows.booked_record(each, batch.chain, batch.number)
                for batch, booked in sealed
                for each in booked
            ),
            timeout=COPY_TIMEOUT_S,
        )
        await connection.copy_records_to_table(
            "batch",
            columns=BATCH_COLUMNS,
            records=[tuple(getattr(batch, name) for name in BATCH_COLUMNS) for batch, _ in sealed],
        )

    async def _set_balances(
        self, connection: "asyncpg.pool.PoolConnectionProxy[asyncpg.Record]"
    ) -> None:
        each, more = divmod(self.count, len(self._credited))
        lines = [(self._debited, self._debited_minor, 0, self.count)]
        lines += [
            (name, 0, amount_minor, each + (place < more))
            for place, (name, amount_minor) in enumerate(
                zip(self._credited, self._credited_minor, strict=True)
            )
        ]
        await connection.executemany(
            "UPDATE account_balance SET debits_minor = $2, credits_minor = $3, sequence = $4, "
            "version = $4, booked_at = $5 WHERE account_id = $1",
            [(*line, self.booked_at(self.count)) for line in lines],
        )
        await connection.executemany(
            "UPDATE chain_head SET number = $2, hash = $3 WHERE chain = $1",
            [(head.chain, head.number, head.hash) for head in self._heads.values()],
        )
