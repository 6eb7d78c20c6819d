"""The audit chain on a real Postgres: no gaps under concurrency, nothing without its transaction, no way to change it."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime

import asyncpg
import pytest

from libs import audit
from libs.audit import NewRecord
from libs.db.pool import Pool, open_pool

NOON = datetime(2026, 11, 22, 12, 0, 0, 123_456, tzinfo=UTC)


def done(action: str = "DONE", subject_id: str = "pay_1") -> NewRecord:
    return NewRecord(
        at=NOON, actor_id="maker", action=action, subject_id=subject_id, detail={"why": "因为"}
    )


async def append(pool: Pool, new: NewRecord) -> None:
    async with pool.acquire() as connection, connection.transaction():
        await audit.append(connection, new)


@pytest.fixture
async def pool(empty_database: Callable[[], Awaitable[str]]) -> AsyncIterator[Pool]:
    pool = await open_pool(await empty_database(), size=8, application_name="test")
    await pool.execute(audit.SCHEMA_SQL)
    yield pool
    await pool.close()


async def test_many_writers_at_once_make_one_chain_without_gaps(pool: Pool) -> None:
    async with asyncio.TaskGroup() as group:
        for number in range(40):
            group.create_task(append(pool, done(subject_id=f"pay_{number}")))

    async with pool.acquire() as connection:
        verdict = await audit.check(connection)
        records = await audit.page(connection, subject_id="", before_number=0, limit=100)

    assert (verdict.records_count, verdict.first_broken_number) == (40, 0)
    assert [record.number for record in records] == list(range(40, 0, -1))
    assert verdict.last_hash == records[0].hash


async def test_what_is_rolled_back_leaves_no_gap(pool: Pool) -> None:
    await append(pool, done())
    with pytest.raises(RuntimeError):
        async with pool.acquire() as connection, connection.transaction():
            await audit.append(connection, done())
            raise RuntimeError

    await append(pool, done())

    async with pool.acquire() as connection:
        verdict = await audit.check(connection)
    assert (verdict.records_count, verdict.first_broken_number) == (2, 0)


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE audit_record SET actor_id = 'mallory'",
        "DELETE FROM audit_record",
        "TRUNCATE audit_record",
    ],
)
async def test_the_database_refuses_to_change_a_record(pool: Pool, statement: str) -> None:
    await append(pool, done())

    with pytest.raises(asyncpg.RestrictViolationError):
        await pool.execute(statement)


async def test_who_takes_the_trigger_away_is_found_by_the_hashes(pool: Pool) -> None:
    for _ in range(3):
        await append(pool, done())
    await pool.execute("ALTER TABLE audit_record DISABLE TRIGGER ALL")
    await pool.execute("UPDATE audit_record SET actor_id = 'mallory' WHERE number = 2")

    async with pool.acquire() as connection:
        assert (await audit.check(connection)).first_broken_number == 2


async def test_a_chain_longer_than_a_batch_is_read_to_its_end(
    pool: Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(audit, "BATCH_MAX", 2)
    for _ in range(5):
        await append(pool, done())

    async with pool.acquire() as connection:
        verdict = await audit.check(connection)

    assert (verdict.records_count, verdict.first_broken_number) == (5, 0)


async def test_a_page_is_about_one_subject_newest_first(pool: Pool) -> None:
    for subject_id in ("pay_1", "pay_2", "pay_1", "pay_1"):
        await append(pool, done(subject_id=subject_id))

    async with pool.acquire() as connection:
        first = await audit.page(connection, subject_id="pay_1", before_number=0, limit=2)
        rest = await audit.page(connection, subject_id="pay_1", before_number=3, limit=2)

    assert [record.number for record in first] == [4, 3]
    assert [record.number for record in rest] == [1]
