"""Composition root of clearing: `python -m services.clearing`."""

import random
from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import date
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
from services.clearing.domain.days import WorkingDays
from services.clearing.domain.model import FeePlan
from services.clearing.handlers.convert import ENCODERS
from services.clearing.handlers.servicer import SERVICE_NAME, ClearingServicer, UseCases
from services.clearing.usecases.closing import Closing
from services.clearing.usecases.events import Events
from services.clearing.usecases.items import Items
from services.clearing.usecases.matching import Matching
from services.clearing.usecases.plans import Plans
from services.clearing.usecases.reports import Reports
from services.clearing.usecases.settlement import Settlement
from services.clearing.usecases.statements import Statements

MIGRATIONS: Final = Path(__file__).parent / "migrations"
SERVICE_NAMES: Final = (SERVICE_NAME, feed.SERVICE_NAME)


@dataclass(frozen=True, slots=True, kw_only=True)
class Peers:
    """Channels to the services that clearing calls."""

    gateway: grpc.aio.Channel
    router: grpc.aio.Channel
    account: grpc.aio.Channel


@dataclass(frozen=True, slots=True, kw_only=True)
class Clearing:
    """The wired service."""

    servicer: ClearingServicer
    feed: feed.EventFeedServicer
    reports: Reports
    channels: workers.ChannelRefresher
    accounts: workers.PlatformAccounts
    follower: workers.FeedFollower


def compose(settings: Settings, pool: Pool, peers: Peers, clock: Clock, ids: IdSource) -> Clearing:
    """Wire everything; nothing is awaited and nothing started."""
    metadata = clients.operator_metadata(settings.operator_token.get_secret_value())
    ledger = clients.AccountLedger(peers.account)
    events = Events(ids, ENCODERS)
    plan = default_plan(settings)
    items = Items(pool, clients.RouterChannels(peers.router), plan)
    channels = workers.ChannelRefresher(items, every_s=settings.channel_refresh_s)
    follower = workers.FeedFollower(
        channel=peers.gateway, metadata=metadata, pool=pool, items=items, channels=channels
    )
    statements = Statements(pool, clients.GatewayBills(peers.gateway, metadata), clock, ids)
    matching = Matching(pool, events, clock, ids)
    reports = Reports(pool)
    settlement = Settlement(
        pool=pool,
        ledger=ledger,
        events=events,
        clock=clock,
        ids=ids,
        working_days=WorkingDays(makeup_weekends=settings.settle_on_makeup_weekends),
        default_plan=plan,
        settle_on_close=settings.settle_on_close,
    )
    closing = Closing(
        pool=pool,
        feed=follower,
        items=items,
        statements=statements,
        matching=matching,
        settlement=settlement,
        reports=reports,
        events=events,
        clock=clock,
    )
    does = UseCases(
        items=items,
        plans=Plans(pool, clock, ids),
        statements=statements,
        matching=matching,
        settlement=settlement,
        reports=reports,
        closing=closing,
    )
    return Clearing(
        servicer=ClearingServicer(does),
        feed=feed.EventFeedServicer(pool),
        reports=reports,
        channels=channels,
        accounts=workers.PlatformAccounts(ledger, settings.platform_currencies),
        follower=follower,
    )


def default_plan(settings: Settings) -> FeePlan:
    """The plan of merchants that have none; its id says what it was, as settings may change."""
    terms = (
        f"{settings.default_rate_ppm}ppm+{settings.default_fixed_minor}"
        f"/payout+{settings.default_payout_fixed_minor}"
    )
    return FeePlan(
        plan_id=f"default:{terms}",
        merchant_id="",
        rate_ppm=settings.default_rate_ppm,
        fixed_minor=settings.default_fixed_minor,
        payout_fixed_minor=settings.default_payout_fixed_minor,
        fee_refundable=settings.default_fee_refundable,
        effective_from=date.min,
        settle_delay_days=settings.default_settle_delay_days,
    )


async def main() -> None:
    """Migrate, connect, serve, and close what was opened."""
    settings = config.load(Settings)
    log.configure("clearing", settings.log_level, settings.log_format)
    await migrate.upgrade(settings.database_url, MIGRATIONS)
    clock = SystemClock()
    async with AsyncExitStack() as stack:
        pool = await stack.enter_async_context(
            await open_pool(
                settings.database_url, size=settings.db_pool_size, application_name="fisc-clearing"
            )
        )
        peers = Peers(
            gateway=client.open_channel(settings.gateway_target, peer="gateway"),
            router=client.open_channel(
                settings.router_target, peer="router", idempotent_methods=clients.ROUTER_READS
            ),
            account=client.open_channel(settings.account_target, peer="account"),
        )
        for channel in (peers.gateway, peers.router, peers.account):
            await stack.enter_async_context(channel)
        clearing = compose(settings, pool, peers, clock, SortableIds(clock, random.SystemRandom()))
        await server.serve(
            service="clearing",
            settings=settings,
            registrations=(clearing.servicer.register, clearing.feed.register),
            service_names=SERVICE_NAMES,
            background=(clearing.channels.run, clearing.follower.run, clearing.accounts.run),
            ready=clearing.reports.is_ready,
            on_drain=(clearing.feed.drain,),
        )


if __name__ == "__main__":
    server.run(main())
