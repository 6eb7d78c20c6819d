"""One sandbox for a module's tests, and a fresh account for each of them."""

import contextlib
import itertools
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import httpx
import pytest
import pytest_asyncio
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from libs import web
from services.gateway.channels.http import ChannelHttp
from services.gateway.domain.channel import CallbackSignatureInvalid
from services.sandbox import app as sandbox_app
from services.sandbox import transport
from tests.contract.conformance.channel import Channel
from tests.contract.conformance.orders import DAY
from tests.contract.conformance.rig import RIGS


@dataclass(kw_only=True)
class World:
    """The sandbox, and a callback receiver for all channels; shared, since starting it is slow."""

    sandbox_url: str
    receiver_url: str
    control: httpx.AsyncClient
    http: ChannelHttp
    channels: dict[str, Channel]
    numbers: Iterator[int]

    async def receive(self, request: Request) -> Response:
        """Verify, keep what came, and acknowledge."""
        channel = self.channels[request.path_params["account_id"]]
        body, headers = await request.body(), dict(request.headers)
        try:
            channel.connector.parse_callback(headers, body, datetime.now(UTC))
            answer = channel.connector.acknowledge(ok=True)
        except CallbackSignatureInvalid as error:
            answer = channel.connector.acknowledge(ok=False, message=error.message)
        channel.inbox.put_nowait((headers, body))
        return Response(answer.body, answer.status, media_type=answer.content_type)


@contextlib.asynccontextmanager
async def running(data_dir: Path) -> AsyncIterator[World]:
    """The sandbox with its book in `data_dir`, and the receiver."""
    options = sandbox_app.Options(callback_backoff_s=(0.05, 0.05, 0.05))
    book = sandbox_app.build(data_dir, options)

    async def receive(request: Request) -> Response:
        return await made.receive(request)

    receiver_app = Starlette(routes=[Route("/notify/{account_id}", receive, methods=["POST"])])
    async with (
        web.running(book, options=transport.OPTIONS) as sandbox_url,
        web.running(receiver_app) as receiver_url,
        httpx.AsyncClient(base_url=sandbox_url, trust_env=False) as control,
        ChannelHttp() as http,
    ):
        made: World = World(
            sandbox_url=sandbox_url,
            receiver_url=receiver_url,
            control=control,
            http=http,
            channels={},
            numbers=itertools.count(1_900_000_001),
        )
        yield made


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def world(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[World]:
    async with running(tmp_path_factory.mktemp("sandbox")) as running_world:
        yield running_world


@pytest_asyncio.fixture(loop_scope="module")
async def channel(request: pytest.FixtureRequest, world: World) -> Channel:
    """A fresh account of the (provider, method) asked for; the sandbox's clock stands at noon of the day."""
    provider, method = request.param
    rig, account_id = RIGS[provider], str(next(world.numbers))
    registered = await rig.register(world.control, account_id)
    channel = Channel(
        rig=rig,
        method=method,
        account_id=account_id,
        base_url=world.sandbox_url + registered.base_path,
        credentials=registered.credentials,
        control=world.control,
        http=world.http,
        notify_url=f"{world.receiver_url}/notify/{account_id}",
    )
    world.channels[account_id] = channel
    await channel.set_clock(f"{DAY.isoformat()}T12:00:00+08:00")
    return channel


def pytest_make_parametrize_id(val: object) -> str | None:
    """`simpay-CARD` rather than `channel0`."""
    if isinstance(val, tuple) and all(isinstance(part, str) for part in val):
        return "-".join(val)
    return None
