"""Composition root of the router: `python -m services.router`."""

from pathlib import Path

from libs import config, log
from libs.clock import SystemClock
from libs.db import migrate
from libs.db.pool import BY_KEYS, open_pool
from libs.rpc import server
from services.router import workers
from services.router.config import Settings
from services.router.handlers import SERVICE_NAME, RouterServicer
from services.router.usecases import Router

MIGRATIONS = Path(__file__).parent / "migrations"


async def main() -> None:
    """Serve until SIGTERM or SIGINT."""
    settings = config.load(Settings)
    log.configure("router", settings.log_level, settings.log_format)
    await migrate.upgrade(settings.database_url, MIGRATIONS)
    pool = await open_pool(
        settings.database_url,
        size=settings.db_pool_size,
        application_name="fisc-router",
        settings=BY_KEYS,
    )
    router = Router(pool, SystemClock())
    # The first plan must know the channels; from here on the worker keeps them fresh.
    await router.refresh()

    async def refresh_view() -> None:
        await workers.refresh(router)

    await server.serve(
        service="router",
        settings=settings,
        registrations=[RouterServicer(router).register],
        service_names=[SERVICE_NAME],
        background=[refresh_view],
        ready=router.is_ready,
    )
    await pool.close()


if __name__ == "__main__":
    server.run(main())
