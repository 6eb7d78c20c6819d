"""Where the machines run: over stores in memory, and over the real ones, whose constraints are the second line of defence."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator

import pytest
from hypothesis import settings

from libs.db.pool import Pool, open_pool
from services.gateway.store.sagas import SagaStore
from tests.simulation.database import Database
from tests.simulation.stores import MemoryStore
from tests.stateful import searching
from tests.stateful.world import Place

_TABLES = "payment, capture, refund, payout, attempt, manual_case, event_log"


@pytest.fixture(params=["memory", "postgres"])
def place(
    request: pytest.FixtureRequest, fresh_database: Callable[[str], Awaitable[str]]
) -> Iterator[tuple[Place, settings]]:
    """A store in memory, or the real one, and how long to look."""
    loop = asyncio.new_event_loop()
    if request.param == "memory":
        yield Place(loop, _in_memory), searching.in_memory()
        loop.close()
        return
    url = loop.run_until_complete(fresh_database("gateway"))
    pool: Pool = loop.run_until_complete(open_pool(url, size=4, application_name="stateful"))

    async def emptied() -> SagaStore:
        await pool.execute(f"TRUNCATE {_TABLES}")
        return SagaStore(pool)

    yield Place(loop, emptied), searching.on_postgres()
    loop.run_until_complete(pool.close())
    loop.close()


async def _in_memory() -> SagaStore:
    return MemoryStore(Database())
