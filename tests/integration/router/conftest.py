"""A router on a real Postgres, called over gRPC, with a clock that the test moves."""

from collections.abc import AsyncIterator, Awaitable, Callable

import pytest

from fisc.router.v1 import router_pb2_grpc
from libs.clock import FrozenClock
from libs.db.pool import open_pool
from libs.rpc import client, server
from services.router.handlers import SERVICE_NAME, RouterServicer
from services.router.usecases import Router
from tests.integration.router.support import NOON, Fixture


@pytest.fixture
async def router(
    fresh_database: Callable[[str], Awaitable[str]],
) -> AsyncIterator[Fixture]:
    """A router without channels, at noon."""
    clock = FrozenClock(NOON)
    pool = await open_pool(await fresh_database("router"), size=4, application_name="test")
    service = Router(pool, clock)
    await service.refresh()
    servicer = RouterServicer(service)
    async with (
        server.running(registrations=[servicer.register], service_names=[SERVICE_NAME]) as target,
        client.open_channel(target, peer="router") as connection,
    ):
        yield Fixture(
            stub=router_pb2_grpc.RouterServiceStub(connection),
            router=service,
            pool=pool,
            clock=clock,
        )
    await pool.close()
