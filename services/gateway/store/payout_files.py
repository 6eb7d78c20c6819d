"""Payout files in Postgres: libs.saga's table for the files, and what their steps write beside: chunks and rows, each in few statements."""

from collections.abc import AsyncIterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

import asyncpg

from libs import crashpoints
from libs.db import queries
from libs.db.pool import Connection, Pool
from libs.saga.flow import Step
from libs.saga.table import SagaTable, TableSpec, columns, rows
from services.gateway.domain import payout_file
from services.gateway.domain.payout import PayoutState
from services.gateway.domain.payout_file import (
    Chunk,
    ChunksDone,
    FileState,
    PayoutFile,
    RowEnd,
    RowsMoved,
    RowsRead,
    RowState,
)
from services.gateway.domain.payout_rows import Row

_SQL = queries.load(Path(__file__).parent / "payout_files.sql")
CHUNK_BYTES_MAX: Final = 1 << 20
_WRITTEN_ONCE: Final = frozenset(
    {
        "payout_file_id", "merchant_id", "request_id", "name", "currency", "encoding", "bad_rows", "needs_approval",
        "routing", "size_bytes", "sha256", "declared_rows", "declared_minor", "maker_key_id", "created_at",
    }
)  # fmt: skip
# Set by the statements of libs.saga themselves.
_OF_THE_SAGA: Final = frozenset(
    {"state", "updated_at", "next_run_at", "version", "epoch", "flow_version", "faults_count", "last_fault"}
)  # fmt: skip
_ROW_COLUMNS: Final = (
    "payout_file_id", "row_number", "line_number", "ref", "amount_minor", "payee_account", "payee_name", "bank_code",
    "description", "state", "reason", "payout_id", "problems",
)  # fmt: skip


class PayoutFileStore:
    """The files, what was uploaded of them, and their rows."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self.files = SagaTable[PayoutFile, None](
            pool,
            TableSpec(
                flow="payout_file",
                identity=("merchant_id", "request_id"),
                changing=tuple(
                    name for name in columns(PayoutFile) if name not in _WRITTEN_ONCE | _OF_THE_SAGA
                ),
                states=[state.value for state in FileState],
                ended=[state.value for state in payout_file.ENDED],
                resting=[FileState.UPLOADING, FileState.WAITING, FileState.PAUSED],
                flow_version=payout_file.FLOW_VERSION,
                restore=_file,
                attempts_of=_no_attempts,
                write_beside=_beside,
            ),
        )

    async def find(self, draft: PayoutFile) -> PayoutFile | None:
        """What stands under this file's identity."""
        async with self._pool.acquire() as connection:
            return await self.files.find(connection, draft)

    async def page(self, merchant_id: str, before: str, limit: int) -> list[PayoutFile]:
        """Newest first."""
        found = await self._pool.fetch(_SQL["list_payout_files"], merchant_id, before, limit)
        return [_file(row) for row in found]

    async def find_content(self, merchant_id: str, sha256: str) -> str | None:
        """The first file of the same content that was not refused or canceled."""
        file_id: str | None = await self._pool.fetchval(_SQL["find_content"], merchant_id, sha256)
        return file_id

    async def count_open(self, merchant_id: str) -> int:
        """How many files have not ended."""
        return int(await self._pool.fetchval(_SQL["count_open"], merchant_id))

    async def get_chunk(self, file_id: str, offset_bytes: int) -> bytes | None:
        """What was received at this offset."""
        data: bytes | None = await self._pool.fetchval(_SQL["get_chunk"], file_id, offset_bytes)
        return data

    async def read_bytes(self, file_id: str, offset_bytes: int, limit: int) -> bytes:
        """At most `limit` bytes of what was uploaded, from an offset on."""
        found = await self._pool.fetch(
            _SQL["read_bytes"], file_id, offset_bytes, limit, CHUNK_BYTES_MAX
        )
        return b"".join(row[0] for row in found)

    async def known_refs(self, file_id: str, refs: Sequence[str]) -> set[str]:
        """Those of these that stand in rows written before."""
        return {row[0] for row in await self._pool.fetch(_SQL["known_refs"], file_id, list(refs))}

    async def ready_rows(self, file_id: str, after: int, until: int) -> list[Row]:
        """The rows of a part that were not taken yet."""
        found = await self._pool.fetch(_SQL["ready_rows"], file_id, after, until)
        return [Row(**dict(row)) for row in found]

    async def moved_rows(
        self, file_id: str, state: RowState, after: int, limit: int
    ) -> tuple[list[RowEnd], int]:
        """(what has moved among the next rows in this state, the last row looked at or 0 when there are no more)."""
        name = "open_rows" if state is RowState.OPEN else "succeeded_rows"
        async with self._pool.acquire() as connection:
            looked = await connection.fetch(_SQL[name], file_id, after, limit)
            ids = [row["payout_id"] for row in looked]
            payouts = {
                row["payout_id"]: row for row in await connection.fetch(_SQL["payout_states"], ids)
            }
        moved = [
            RowEnd(
                row_number=row["row_number"],
                amount_minor=row["amount_minor"],
                state=now_is,
                before=state,
                payout_id=row["payout_id"],
                reason=payouts[row["payout_id"]]["reason"],
            )
            for row in looked
            if (now_is := _row_state(payouts.get(row["payout_id"]))) not in (state, RowState.OPEN)
        ]
        return moved, looked[-1]["row_number"] if len(looked) == limit else 0

    async def rows(
        self, file_id: str, after: int, *, only_bad: bool, limit: int
    ) -> AsyncIterator[list[dict[str, Any]]]:
        """The rows with their results, a page at a time."""
        while True:
            found = await self._pool.fetch(_SQL["list_rows"], file_id, after, only_bad, limit)
            if found:
                yield [dict(row) for row in found]
                after = found[-1]["row_number"]
            if len(found) < limit:
                return


async def _beside(connection: Connection, steps: Sequence[Step[PayoutFile, None]]) -> None:
    for step in steps:
        file_id = step.subject.payout_file_id
        for said in step.beside:
            match said:
                case Chunk():
                    await connection.execute(
                        _SQL["insert_chunk"], file_id, said.offset_bytes, len(said.data), said.data
                    )
                case RowsRead():
                    await _copy_rows(connection, file_id, said.rows)
                case RowsMoved():
                    await connection.execute(_SQL["move_rows"], file_id, rows(said.rows))
                case ChunksDone():
                    await connection.execute(_SQL["delete_chunks"], [file_id])
                case _:
                    raise TypeError(f"a payout file's step says {said!r}")


async def _copy_rows(connection: Connection, file_id: str, read: Sequence[Row]) -> None:
    await connection.copy_records_to_table(
        "payout_file_row",
        columns=_ROW_COLUMNS,
        records=[
            (
                file_id,
                row.row_number,
                row.line_number,
                row.ref,
                row.amount_minor,
                row.payee_account,
                row.payee_name,
                row.bank_code,
                row.description,
                (RowState.BAD if row.problems else RowState.READY).value,
                "",
                "",
                [asdict(problem) for problem in row.problems],
            )
            for row in read
        ],
    )
    crashpoints.reach("K20")


async def _no_attempts(_: Connection, __: str) -> tuple[None, ...]:
    return ()


def _row_state(payout: asyncpg.Record | None) -> RowState:
    return RowState.OPEN if payout is None else payout_file.row_state(PayoutState(payout["state"]))


def _file(row: asyncpg.Record) -> PayoutFile:
    return PayoutFile(
        **{**dict(row), "state": FileState(row["state"]), "columns": tuple(row["columns"])}
    )
