"""A ledger on a real Postgres, called over gRPC, with a clock that the test moves."""

from collections.abc import AsyncIterator, Awaitable, Callable
from zoneinfo import ZoneInfo

import pytest

from libs.clock import FrozenClock
from libs.db.pool import open_pool
from libs.rpc import client, server
from services.account.handlers.servicer import SERVICE_NAME, AccountServicer
from services.account.handlers.treasury import TreasuryServicer
from services.account.store import Store
from services.account.usecases.chart import Chart
from services.account.usecases.positions import Positions
from services.account.usecases.posting import Posting
from services.account.usecases.treasury import Treasury
from tests.integration.account.support import (
    MORNING,
    ROLES,
    Ledger,
    account,
    statements_of,
    stub_of,
    treasury_of,
)


@pytest.fixture
async def ledger(
    fresh_database: Callable[[str], Awaitable[str]],
) -> AsyncIterator[Ledger]:
    """A ledger with two merchants and a bank account, all empty."""
    clock = FrozenClock(MORNING)
    pool = await open_pool(await fresh_database("account"), size=6, application_name="test")
    store = Store(pool)
    zone = ZoneInfo("Asia/Shanghai")
    async with pool, Posting(store, clock, booking_zone=zone, writers=4) as posting:
        servicer = AccountServicer(Chart(store, clock), posting)
        treasury = TreasuryServicer(
            Treasury(store, clock, booking_zone=zone), Positions(store, posting)
        )
        async with (
            server.running(
                registrations=[servicer.register, treasury.register], service_names=[SERVICE_NAME]
            ) as target,
            client.open_channel(target, peer="account") as channel,
        ):
            opened = Ledger(
                stub=stub_of(channel),
                statements=statements_of(channel),
                treasury=treasury_of(channel),
                posting=posting,
                pool=pool,
                clock=clock,
                target=target,
            )
            await opened.open(*(account(name, role) for name, role in ROLES.items()))
            yield opened
