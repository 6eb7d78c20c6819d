"""Builds the account service out of its settings, migrates its database, and serves."""

from pathlib import Path
from zoneinfo import ZoneInfo

from libs import config, log
from libs.clock import SystemClock
from libs.db import migrate, pool
from libs.rpc import server
from services.account import workers
from services.account.config import Settings
from services.account.domain.work import Window
from services.account.handlers.servicer import SERVICE_NAME, STATEMENTS_NAME, AccountServicer
from services.account.handlers.treasury import TREASURY_NAME, TreasuryServicer
from services.account.store import Store
from services.account.usecases.chart import Chart
from services.account.usecases.closing import Closing
from services.account.usecases.positions import Positions
from services.account.usecases.posting import Posting
from services.account.usecases.treasury import Treasury

MIGRATIONS = Path(__file__).parent / "migrations"


async def main() -> None:
    """Run until told to stop."""
    settings = config.load(Settings)
    log.configure("account", settings.log_level, settings.log_format)
    await migrate.upgrade(settings.owner_database_url or settings.database_url, MIGRATIONS)
    database = await pool.open_pool(
        settings.database_url,
        size=settings.db_pool_size,
        application_name="fisc-account",
        settings=pool.BY_KEYS,
    )
    clock = SystemClock()
    store = Store(database)
    booking_zone = ZoneInfo(settings.booking_zone)
    posting = Posting(
        store,
        clock,
        booking_zone=booking_zone,
        writers=settings.writers,
        linger_max_s=settings.linger_max_s,
        window=Window(
            back_days=settings.effective_back_days_max,
            ahead_days=settings.effective_ahead_days_max,
        ),
    )
    async with database, posting:
        chart = Chart(store, clock)
        servicer = AccountServicer(chart, posting)
        treasury = TreasuryServicer(
            Treasury(store, clock, booking_zone=booking_zone), Positions(store, posting)
        )

        async def expire_holds() -> None:
            await workers.expire_holds(posting, interval_s=settings.hold_expiry_interval_s)

        async def close_days() -> None:
            closing = Closing(store, clock, booking_zone=booking_zone)
            await workers.close_days(closing, interval_s=settings.closing_interval_s)

        async def watch_imbalance() -> None:
            await workers.watch_imbalance(chart, interval_s=settings.imbalance_interval_s)

        await server.serve(
            service="account",
            settings=settings,
            registrations=[servicer.register, treasury.register],
            service_names=[SERVICE_NAME, STATEMENTS_NAME, TREASURY_NAME],
            background=[expire_holds, close_days, watch_imbalance],
            ready=store.is_ready,
        )


if __name__ == "__main__":
    server.run(main())
