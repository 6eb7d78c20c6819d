"""Risk on a real Postgres and a real Redis, called over gRPC, with a clock that the test moves."""

import contextlib
import random
from collections.abc import AsyncIterator

import pytest

from fisc.common.v1 import events_pb2_grpc
from fisc.risk.v1 import risk_pb2_grpc
from libs import cache
from libs.clock import FrozenClock
from libs.db.pool import open_pool
from libs.ids import SortableIds
from libs.rpc import client, server
from services.risk.__main__ import SERVICE_NAMES, compose
from services.risk.config import Settings
from tests.integration.risk.support import NOON, Fixture, FreshDatabase, StartRisk


@pytest.fixture
def start_risk() -> StartRisk:
    """`async with start_risk(database_url, redis_url, velocity_fallback="deny") as risk`."""

    @contextlib.asynccontextmanager
    async def start(
        database_url: str, redis_url: str, velocity_fallback: str = "allow"
    ) -> AsyncIterator[Fixture]:
        settings = Settings.model_validate(
            {
                "grpc_port": 0,
                "metrics_port": 0,
                "database_url": database_url,
                "redis_url": redis_url,
                "velocity_fallback": velocity_fallback,
                # A busy test machine is no dead Redis.
                "velocity_timeout_s": 2.0,
            }
        )
        clock = FrozenClock(NOON)
        redis = cache.open_redis(redis_url)
        pool = await open_pool(database_url, size=4, application_name="test")
        risk = compose(settings, pool, redis, clock, SortableIds(clock, random.Random(1)))
        await risk.book.refresh()
        async with (
            redis,
            pool,
            server.running(
                registrations=[risk.servicer.register, risk.feed.register],
                service_names=SERVICE_NAMES,
            ) as target,
            client.open_channel(target, peer="risk") as channel,
        ):
            yield Fixture(
                stub=risk_pb2_grpc.RiskServiceStub(channel),
                feed=events_pb2_grpc.EventFeedServiceStub(channel),
                risk=risk,
                pool=pool,
                clock=clock,
            )

    return start


@pytest.fixture
async def risk(
    fresh_database: FreshDatabase, redis_url: str, start_risk: StartRisk
) -> AsyncIterator[Fixture]:
    """Risk without rules, at noon in Shanghai."""
    async with start_risk(await fresh_database("risk"), redis_url) as fixture:
        yield fixture
