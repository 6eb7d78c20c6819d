"""One sandbox for a module's connectors, a fresh account of each provider for each test, and stores in memory and in Postgres."""

import asyncio
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest
import pytest_asyncio
from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)

from libs.clock import SystemClock
from libs.db.pool import open_pool
from services.gateway.channels import registry
from services.gateway.channels.provider import Wiring
from services.gateway.domain.channel import Connector
from services.gateway.store.operators import OperatorStore
from services.gateway.store.registry import Registry
from services.gateway.store.sagas import SagaStore
from tests.contract import connectors_support
from tests.contract.connectors_support import CALL_TIMEOUT_S, DAY, Channel, World, register
from tests.contract.saga_support import Stores
from tests.simulation.database import Database
from tests.simulation.registry import MemoryOperators, MemoryRegistry
from tests.simulation.stores import MemoryStore


@pytest.fixture(scope="module")
def merchant_key() -> dict[str, str]:
    key = generate_private_key(65537, 2048)
    public = key.public_key()
    return {
        "private": key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode(),
        "public": public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode(),
    }


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def world(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[World]:
    async with connectors_support.running(tmp_path_factory.mktemp("sandbox")) as running:
        yield running


@pytest_asyncio.fixture(params=["simpay", "wechat"], loop_scope="module")
async def channel(
    request: pytest.FixtureRequest, world: World, merchant_key: dict[str, str]
) -> Channel:
    """A fresh account; the sandbox's clock stands at noon of the day."""
    provider, account_id = request.param, str(next(world.numbers))
    credentials = await register(world.control, provider, account_id, merchant_key)
    path = "/wechat" if provider == "wechat" else f"/simpay/{account_id}"

    def connect(base_url: str = world.sandbox_url + path, **changed: str) -> Connector:
        return registry.build(
            provider,
            Wiring(
                channel_id=account_id,
                base_url=base_url,
                credentials={name: changed.get(name, value) for name, value in credentials.items()},
                http=world.http,
                clock=SystemClock(),
                new_nonce=lambda: secrets.token_hex(16),
                timeout_s=CALL_TIMEOUT_S,
            ),
        )

    channel = Channel(
        provider=provider,
        account_id=account_id,
        connector=connect(),
        connect=connect,
        control=world.control,
        notify_url=f"{world.receiver_url}/notify/{account_id}",
        inbox=asyncio.Queue(),
    )
    world.channels[account_id] = channel
    await channel.set_clock(f"{DAY.isoformat()}T12:00:00+08:00")
    return channel


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
