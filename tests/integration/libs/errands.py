"""The toy flow's table on a real Postgres."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from libs.db.pool import Connection, Pool, open_pool
from libs.events.log import SCHEMA_SQL
from libs.saga import flow
from libs.saga.flow import LEASE_S, Step
from libs.saga.table import COLUMNS_SQL, SagaTable, Saved, TableSpec, rows
from tests.unit.libs.saga import toy
from tests.unit.libs.saga.toy import ENDED, NOW, Errand, State, Try

TABLES_SQL = f"""
CREATE TABLE errand (
    errand_id text PRIMARY KEY,
    owner_id text NOT NULL,
    request_id text NOT NULL,
    note text NOT NULL CHECK (note <> 'refused'),
    state text NOT NULL,
    {COLUMNS_SQL},
    UNIQUE (owner_id, request_id)
);
CREATE TABLE try (errand_id text, number int, word text NOT NULL, PRIMARY KEY (errand_id, number));
"""
UPSERT_TRIES = """
INSERT INTO try SELECT * FROM jsonb_populate_recordset(NULL::try, $1::jsonb)
ON CONFLICT (errand_id, number) DO UPDATE SET word = excluded.word
"""
DUE = NOW + timedelta(seconds=LEASE_S)
Errands = SagaTable[Errand, Try]


async def tries_of(connection: Connection, errand_id: str) -> tuple[Try, ...]:
    found = await connection.fetch(
        "SELECT * FROM try WHERE errand_id = $1 ORDER BY number", errand_id
    )
    return tuple(Try(**dict(row)) for row in found)


async def write_tries(connection: Connection, steps: Sequence[Step[Errand, Try]]) -> None:
    await connection.execute(UPSERT_TRIES, rows([each for step in steps for each in step.attempts]))


SPEC: TableSpec[Errand, Try] = TableSpec(
    flow="errand",
    identity=("owner_id", "request_id"),
    changing=("note",),
    states=list(State),
    ended=ENDED,
    flow_version=toy.FLOW_VERSION,
    restore=lambda row: Errand(**{**dict(row), "state": State(row["state"])}),
    attempts_of=tries_of,
    write_beside=write_tries,
)


@dataclass
class House:
    """A database, and tables on it as several replicas have them."""

    url: str
    pool: Pool

    def table(self, **changes: Any) -> Errands:
        return SagaTable(self.pool, replace(SPEC, **changes))

    async def row(self, errand_id: str = "errand_1") -> Any:
        return await self.pool.fetchrow("SELECT * FROM errand WHERE errand_id = $1", errand_id)


@asynccontextmanager
async def open_house(url: str) -> AsyncIterator[House]:
    """An empty database with the toy's tables."""
    async with await open_pool(url, size=6, application_name="test") as pool:
        await pool.execute(SCHEMA_SQL + TABLES_SQL)
        yield House(url, pool)


def saved(step: toy.ErrandStep) -> Saved[Errand, Try]:
    return Saved(step=step, events=toy.encode(step))


def opened(number: int = 1, note: str = "", request_id: str = "") -> Saved[Errand, Try]:
    return saved(toy.open_errand(f"errand_{number}", request_id=request_id, note=note))


def then(subject: Errand, signal: flow.Signal, now: datetime = NOW) -> Saved[Errand, Try]:
    step = toy.decide(subject, Try(errand_id=subject.errand_id, number=1), signal, now)
    assert step is not None
    return saved(step)


async def stand(table: Errands, *numbers: int) -> list[Errand]:
    created = [opened(number) for number in numbers or (1,)]
    await table.create(created)
    return [new.step.subject for new in created]
