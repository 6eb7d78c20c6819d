"""A log of an earlier release is read on where its readers stand, with two indexes instead of four."""

from collections.abc import AsyncIterator, Awaitable, Callable

import asyncpg
import pytest

from libs.db.pool import Pool, open_pool
from libs.events import log
from tests.integration.libs.test_events import append, ids, read_all

OF_THE_FIRST_RELEASE = """
CREATE TABLE event_log (
    seq bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    txid xid8 NOT NULL DEFAULT pg_current_xact_id(),
    event_id text NOT NULL UNIQUE,
    type text NOT NULL,
    merchant_id text NOT NULL,
    subject_id text NOT NULL,
    occurred_at timestamptz NOT NULL,
    payload_type text NOT NULL,
    payload bytea NOT NULL
);
CREATE INDEX event_log_txid_seq ON event_log (txid, seq);
CREATE INDEX event_log_subject ON event_log (subject_id, seq);
"""
INDEXES = "SELECT count(*) FROM pg_index WHERE indrelid = 'event_log'::regclass"


@pytest.fixture(params=["of the first release", "of this release"])
async def pool(
    request: pytest.FixtureRequest, empty_database: Callable[[], Awaitable[str]]
) -> AsyncIterator[Pool]:
    """A log with two events in it."""
    pool = await open_pool(await empty_database(), size=4, application_name="test")
    is_new = request.param == "of this release"
    await pool.execute(log.EVENT_LOG_SQL if is_new else OF_THE_FIRST_RELEASE)
    await append(pool, 1, 2)
    yield pool
    await pool.close()


async def test_an_upgraded_log_goes_on_where_its_readers_stand(pool: Pool) -> None:
    async with pool.acquire() as connection:
        before = await log.read(connection, log.BEGINNING, 100)
        await connection.execute(log.TWO_INDEXES_SQL)
    await append(pool, 3)

    assert ids(before) == ["evt_1", "evt_2"]
    assert await read_all(pool) == ["evt_1", "evt_2", "evt_3"]
    assert await read_all(pool, before[0].cursor) == ["evt_2", "evt_3"]
    with pytest.raises(asyncpg.UniqueViolationError):
        await append(pool, 1)
    assert await pool.fetchval(INDEXES) == 2
