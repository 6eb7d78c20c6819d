"""Clearing on a real Postgres, over gRPC, with the real router and the real ledger beside it."""

import secrets
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from typing import Any
from zoneinfo import ZoneInfo

import grpc
import pytest
from pydantic import SecretStr

from fisc.account.v1 import account_pb2_grpc
from fisc.clearing.v1 import clearing_pb2_grpc
from fisc.router.v1 import router_pb2_grpc
from libs.clock import SystemClock
from libs.db.pool import Pool, open_pool
from libs.events.log import EVENT_LOG_SQL
from libs.ids import SortableIds
from libs.rpc import client, server
from services.account.store import Store
from services.account.usecases.chart import Chart
from services.account.usecases.posting import Posting
from services.clearing.__main__ import Clearing, compose
from services.clearing.config import Settings
from services.router.handlers import RouterServicer
from services.router.usecases import Router
from tests.integration.clearing.ledger import LossyLedger
from tests.integration.clearing.support import FakeOperations, GuardedFeed, House

Fresh = Callable[[str], Awaitable[str]]


@pytest.fixture
async def house(
    fresh_database: Fresh, empty_database: Callable[[], Awaitable[str]]
) -> AsyncIterator[House]:
    """Two channels, two merchants, nothing paid yet."""
    token = secrets.token_hex(16)
    clock = SystemClock()
    async with AsyncExitStack() as stack:

        async def pool_of(url: str) -> Pool:
            return await stack.enter_async_context(
                await open_pool(url, size=4, application_name="test")
            )

        async def serving(*registrations: server.Registration) -> str:
            return await stack.enter_async_context(server.running(registrations=registrations))

        gateway_pool = await pool_of(await empty_database())
        await gateway_pool.execute(EVENT_LOG_SQL)
        operations = FakeOperations(token)  # type: ignore[abstract]  # only what clearing calls
        gateway = await serving(GuardedFeed(gateway_pool, token).register, operations.register)

        router_service = Router(await pool_of(await fresh_database("router")), clock)
        await router_service.refresh()
        router = await serving(RouterServicer(router_service).register)

        ledger = Store(await pool_of(await fresh_database("account")))
        posting = await stack.enter_async_context(
            Posting(ledger, clock, booking_zone=ZoneInfo("Asia/Shanghai"))
        )
        account_servicer = LossyLedger(Chart(ledger, clock), posting)
        account = await serving(account_servicer.register)

        settings = Settings(
            grpc_port=0,
            metrics_port=0,
            database_url=await fresh_database("clearing"),
            gateway_target=gateway,
            router_target=router,
            account_target=account,
            operator_token=SecretStr(token),
        )
        pool = await pool_of(settings.database_url)
        ids = SortableIds(clock, secrets.SystemRandom())

        async def replica(**changes: Any) -> Clearing:
            chosen = settings.model_copy(update=changes)
            return await compose(chosen, pool, clock, ids, stack)

        clearing = await replica()
        target = await serving(clearing.servicer.register, clearing.feed.register)

        async def stub_channel(peer_target: str, peer: str) -> grpc.aio.Channel:
            return await stack.enter_async_context(client.open_channel(peer_target, peer=peer))

        built = House(
            stub=clearing_pb2_grpc.ClearingServiceStub(await stub_channel(target, "clearing")),
            account=account_pb2_grpc.AccountServiceStub(await stub_channel(account, "account")),
            router=router_pb2_grpc.RouterServiceStub(await stub_channel(router, "router")),
            operations=operations,
            gateway_pool=gateway_pool,
            pool=pool,
            clearing=clearing,
            replica=replica,
            ledger=account_servicer,
        )
        for channel_id in ("sim-a", "sim-b"):
            await built.add_channel(channel_id)
        for merchant_id in ("mer_1", "mer_2"):
            await built.add_merchant(merchant_id)
        yield built
