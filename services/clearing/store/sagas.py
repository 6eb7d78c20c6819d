"""The rows of the two flows: settlement batches and sweeps."""

from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Final

import asyncpg

from libs.db import queries
from libs.db.pool import Connection
from libs.ids import IdSource
from libs.saga.flow import Step
from libs.saga.table import TableSpec
from services.clearing.domain import settling, sweeping, vouchers
from services.clearing.domain.model import Batch, BatchState
from services.clearing.domain.sweeping import Sweep, SweepState
from services.clearing.store import settlement

_SQL: Final = queries.load(Path(__file__).with_suffix(".sql"))


def batch_spec(ids: IdSource) -> TableSpec[Batch, None]:
    """Batches; a settled one gets its voucher, a canceled one lets its items go, in the same transaction."""

    async def write_beside(connection: Connection, steps: Sequence[Step[Batch, None]]) -> None:
        batches = sorted((step.subject for step in steps), key=lambda batch: batch.batch_id)
        for batch in batches:
            draft = vouchers.batch_voucher(batch)
            if batch.state is BatchState.SETTLED and draft is not None:
                await settlement.insert_voucher(connection, ids.new("vou"), draft, batch.updated_at)
        canceled = [batch.batch_id for batch in batches if batch.state is BatchState.CANCELED]
        if canceled:
            await connection.execute(_SQL["free_items"], canceled)

    return TableSpec(
        flow="batch",
        identity=("batch_id",),
        changing=("reason", "tries_count", "refused_since", "settled_at", "decided_by", "note"),
        states=list(BatchState),
        ended=settling.ENDED,
        flow_version=settling.FLOW_VERSION,
        restore=settlement.batch_of,
        attempts_of=_no_attempts,
        write_beside=write_beside,
    )


def sweep_spec() -> TableSpec[Sweep, None]:
    """Sweeps, one a request_id."""
    return TableSpec(
        flow="sweep",
        identity=("request_id",),
        changing=(
            "reason",
            "amount_minor",
            "tries_count",
            "is_cancel_wanted",
            "decided_by",
            "note",
            "hard_deadline_at",
        ),
        states=list(SweepState),
        ended=sweeping.ENDED,
        flow_version=sweeping.FLOW_VERSION,
        restore=_sweep,
        attempts_of=_no_attempts,
        write_beside=_nothing_beside,
    )


async def bookable_batches(connection: Connection, *, due_only: bool, now: datetime) -> list[str]:
    """Batches that a close may have booked: computed (and due), refused, or on their way; by id."""
    rows = await connection.fetch(_SQL["bookable_batches"], due_only, now)
    return [row["batch_id"] for row in rows]


async def list_sweeps(
    connection: Connection, *, state: SweepState | None, after: str, limit: int
) -> list[Sweep]:
    """Sweeps by id, oldest first; no state means any."""
    rows = await connection.fetch(_SQL["list_sweeps"], state, after, limit)
    return [_sweep(row) for row in rows]


def _sweep(row: asyncpg.Record) -> Sweep:
    return Sweep(**dict(row) | {"state": SweepState(row["state"])})


async def _no_attempts(_connection: Connection, _subject_id: str) -> tuple[None, ...]:
    return ()


async def _nothing_beside(_connection: Connection, _steps: Sequence[Step[Sweep, None]]) -> None:
    return None
