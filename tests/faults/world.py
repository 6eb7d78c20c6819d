"""A real suite whose wires run through proxies, and what a test needs to look at it from outside."""

import asyncio
import dataclasses
import secrets
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Final

import asyncpg
import httpx
from prometheus_client.parser import text_string_to_metric_families

from deploy.local import ports, postgres, secrets_file
from deploy.local.environment import LocalSettings
from fisc.common.v1 import method_pb2
from fisc.risk.v1 import risk_pb2
from libs.testing import eventually
from libs.testing.proxy import Proxy
from tests.chaos import world as chaos
from tests.integration.gateway.house import TIMEOUT_S, House, open_house
from tests.suite_runner import running_suite

CARD: Final = method_pb2.PAYMENT_METHOD_CARD
BANK: Final = method_pb2.PAYMENT_METHOD_BANK_TRANSFER
# The wires of the gateway (and risk's to Redis), by what stands at their far end.
EDGES: Final = ("risk", "router", "account", "postgres", "redis", "channel")
STATIC_ORDER_TIMEOUT_S: Final = 15.0


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class World:
    """The running suite: its wires by name, its channels, and a house without a merchant."""

    settings: LocalSettings
    proxies: Mapping[str, Proxy]
    house: House
    books: chaos.World
    """The same suite as the audit of the crash tests sees it: by ways that avoid the proxies."""
    http: httpx.AsyncClient
    channels: tuple[str, ...] = ()

    async def new_house(self) -> House:
        """The same services with a merchant of its own."""
        house = dataclasses.replace(self.house)
        await house.new_merchant()
        return house

    async def metric(self, process: str, sample: str, **labels: str) -> float:
        """The sum of a process's samples of this name that carry these labels."""
        url = f"http://127.0.0.1:{self.settings.metrics_port(process)}/metrics"
        answer = await self.http.get(url)
        return sum(
            each.value
            for family in text_string_to_metric_families(answer.text)
            for each in family.samples
            if each.name == sample and labels.items() <= each.labels.items()
        )


@asynccontextmanager
async def standing(
    folder: Path, *, environ: Mapping[str, str] | None = None
) -> AsyncIterator[World]:
    """A suite with a proxy in every wire of EDGES, two channels for cards and two for payouts."""
    settings = LocalSettings(base_port=ports.find_free_base(), data_dir=folder)
    async with AsyncExitStack() as stack:
        proxies = {
            edge: await stack.enter_async_context(Proxy(settings.host, port))
            for edge, port in _far_ends(settings).items()
        }
        suite = running_suite(
            folder,
            chaos.GROUPS,
            environ={**_overrides(settings, proxies), **(environ or {})},
            base_port=settings.base_port,
        )
        # The suite starts through our proxies, so it must not hold up the event loop they run on.
        await asyncio.to_thread(suite.__enter__)
        stack.push_async_callback(asyncio.to_thread, suite.__exit__, None, None, None)
        house = await stack.enter_async_context(open_house(settings))
        pools = {
            service: await stack.enter_async_context(
                asyncpg.create_pool(
                    _database_url(settings, service, settings.postgres_port), min_size=0, max_size=4
                )
            )
            for service in chaos.DATABASES
        }
        world = World(
            settings=settings,
            proxies=proxies,
            house=house,
            books=chaos.World(
                settings=settings, house=house, runner_pid=0, crash_file=folder, pools=pools
            ),
            http=await stack.enter_async_context(httpx.AsyncClient()),
        )
        await _count_velocity(house)
        yield dataclasses.replace(world, channels=await _open_channels(stack, world))


def _far_ends(settings: LocalSettings) -> dict[str, int]:
    return {
        **{service: settings.port(service) for service in ("risk", "router", "account")},
        "postgres": settings.postgres_port,
        "redis": settings.redis_port,
        "channel": settings.port("sandbox"),
    }


def _overrides(settings: LocalSettings, proxies: Mapping[str, Proxy]) -> dict[str, str]:
    redis_password = _password(settings, "redis")
    return {
        "FISC_OVERRIDE_GATEWAY_RISK_TARGET": proxies["risk"].target,
        "FISC_OVERRIDE_GATEWAY_ROUTER_TARGET": proxies["router"].target,
        "FISC_OVERRIDE_GATEWAY_ACCOUNT_TARGET": proxies["account"].target,
        "FISC_OVERRIDE_GATEWAY_GATEWAY_DATABASE_URL": _database_url(
            settings, "gateway", proxies["postgres"].port
        ),
        "FISC_OVERRIDE_RISK_REDIS_URL": f"redis://:{redis_password}@{proxies['redis'].target}/0",
    }


def _database_url(settings: LocalSettings, service: str, port: int) -> str:
    password = _password(settings, "postgres")
    return f"postgresql://{postgres.USER}:{password}@{settings.host}:{port}/fisc_{service}"


def _password(settings: LocalSettings, store: str) -> str:
    """The suite makes these itself unless they are there."""
    settings.data_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
    return secrets_file.read_or_create(
        settings.data_dir / f"{store}.password", lambda: secrets.token_urlsafe(24)
    )


async def _count_velocity(house: House) -> None:
    """A rule that never fires, so that every evaluation needs Redis."""
    limit = risk_pb2.VelocityLimit(
        subject=risk_pb2.SUBJECT_KIND_MERCHANT, window_s=60, count_maximum=1_000_000
    )
    rule = risk_pb2.Rule(
        rule_id="busy",
        currency="CNY",
        verdict=risk_pb2.VERDICT_DENY,
        enabled=True,
        velocity_limit=limit,
    )
    await house.risk.UpsertRule(
        risk_pb2.UpsertRuleRequest(request_id="busy", rule=rule), timeout=TIMEOUT_S
    )


async def _open_channels(stack: AsyncExitStack, world: World) -> tuple[str, ...]:
    """Channels the gateway reaches through the proxy. One of each kind also tells by callback."""
    through = httpx.AsyncClient(base_url=f"http://{world.proxies['channel'].target}")
    house = dataclasses.replace(world.house, sandbox=await stack.enter_async_context(through))
    await house.new_merchant()
    made = [
        await house.new_channel(
            method, operations=operations, fee_ppm=fee_ppm, notify_immediate=tells
        )
        for method, operations in (
            (CARD, (method_pb2.OPERATION_PAYMENT, method_pb2.OPERATION_REFUND)),
            (BANK, (method_pb2.OPERATION_PAYOUT,)),
        )
        for fee_ppm, tells in ((3000, True), (6000, False))
    ]

    async def is_known() -> bool:
        return (await house.pay()).state != 0

    await eventually(is_known, STATIC_ORDER_TIMEOUT_S)
    # While the router is away the gateway goes by its last plans: it must have seen one of each.
    await house.fund(100)
    return tuple(made)
