"""Composition root of clearing: `python -m services.clearing`."""

import random
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import grpc

from libs import config, log
from libs.clock import Clock, SystemClock
from libs.db import migrate
from libs.db.pool import Pool, open_pool
from libs.events import feed
from libs.ids import IdSource, SortableIds
from libs.rpc import client, server
from services.clearing import clients, workers
from services.clearing.config import Settings
from services.clearing.domain import fees
from services.clearing.handlers.convert import ENCODERS
from services.clearing.handlers.servicer import SERVICE_NAME, ClearingServicer
from services.clearing.usecases.assembly import Ports, Terms, UseCases, assemble
from services.clearing.usecases.items import Items

MIGRATIONS: Final = Path(__file__).parent / "migrations"


@dataclass(frozen=True, slots=True, kw_only=True)
class Clearing:
    """The wired service."""

    does: UseCases
    servicer: ClearingServicer
    feed: feed.EventFeedServicer
    follower: workers.FeedFollower
    background: tuple[server.Hook, ...]


async def compose(
    settings: Settings, pool: Pool, clock: Clock, ids: IdSource, stack: AsyncExitStack
) -> Clearing:
    """Wire everything; the stack closes the channels and stops the group commits that this begins."""

    async def channel_to(target: str, peer: str) -> grpc.aio.Channel:
        reads = clients.IDEMPOTENT_METHODS.get(peer, ())
        opened = client.open_channel(target, peer=peer, idempotent_methods=reads)
        return await stack.enter_async_context(opened)

    gateway = await channel_to(settings.gateway_target, "gateway")
    router = await channel_to(settings.router_target, "router")
    account = await channel_to(settings.account_target, "account")
    metadata = clients.operator_metadata(settings.operator_token.get_secret_value())
    ledger = clients.AccountLedger(account)
    plan = fees.default_plan(**settings.default_plan())
    items = Items(pool, clients.RouterChannels(router), plan)
    channels = workers.ChannelRefresher(items, every_s=settings.channel_refresh_s)
    follower = workers.FeedFollower(channel=gateway, metadata=metadata, pool=pool, items=items)
    bills = clients.GatewayBills(gateway, metadata)
    ports = Ports(pool=pool, clock=clock, ids=ids, bills=bills, ledger=ledger, feed=follower)
    terms = Terms(plan, settings.settle_on_close, settings.settle_on_makeup_weekends)
    does = assemble(ports, items, ENCODERS, terms)
    accounts = workers.PlatformAccounts(ledger, settings.platform_currencies)
    finisher = workers.DayFinisher(does.closing)
    for coalescer in does.sagas.coalescers:
        await stack.enter_async_context(coalescer)
    return Clearing(
        does=does,
        servicer=ClearingServicer(does),
        feed=feed.EventFeedServicer(pool),
        follower=follower,
        background=(channels.run, follower.run, accounts.run, finisher.run, *does.sagas.background),
    )


async def main() -> None:
    """Migrate, connect, serve, and close what was opened."""
    settings = config.load(Settings)
    log.configure("clearing", settings.log_level, settings.log_format)
    await migrate.upgrade(settings.database_url, MIGRATIONS)
    clock = SystemClock()
    ids = SortableIds(clock, random.SystemRandom())
    pool = await open_pool(
        settings.database_url, size=settings.db_pool_size, application_name="fisc-clearing"
    )
    async with pool, AsyncExitStack() as stack:
        clearing = await compose(settings, pool, clock, ids, stack)
        await server.serve(
            service="clearing",
            settings=settings,
            registrations=(clearing.servicer.register, clearing.feed.register),
            service_names=(SERVICE_NAME, feed.SERVICE_NAME),
            background=clearing.background,
            ready=clearing.does.reports.is_ready,
            on_drain=(clearing.feed.drain, clearing.does.sagas.hand_over),
        )


if __name__ == "__main__":
    server.run(main())
