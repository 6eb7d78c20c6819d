"""The gateway's stores, in memory and in Postgres."""

from collections.abc import AsyncIterator, Awaitable, Callable

import pytest

from libs.db.pool import open_pool
from services.gateway.store.operators import OperatorStore
from services.gateway.store.registry import Registry
from services.gateway.store.sagas import SagaStore
from tests.contract.saga_support import Stores
from tests.simulation.database import Database
from tests.simulation.registry import MemoryOperators, MemoryRegistry
from tests.simulation.stores import MemoryStore


@pytest.fixture(params=["memory", "postgres"])
async def stores(
    request: pytest.FixtureRequest, fresh_database: Callable[[str], Awaitable[str]]
) -> AsyncIterator[Stores]:
    """The gateway's stores, over the simulation's database in memory and over Postgres."""
    if request.param == "memory":
        database = Database()
        yield Stores(MemoryStore(database), MemoryRegistry(database), MemoryOperators(database))
        return
    url = await fresh_database("gateway")
    async with await open_pool(url, size=4, application_name="test") as pool:
        yield Stores(SagaStore(pool), Registry(pool), OperatorStore(pool))
