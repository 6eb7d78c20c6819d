"""Starts risk: `python -m services.risk` migrates the database, then serves until SIGTERM."""

import random
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from redis.asyncio import Redis

from libs import cache, config, log
from libs.clock import Clock, SystemClock
from libs.db import migrate
from libs.db.pool import BY_KEYS, open_pool
from libs.events import feed
from libs.ids import IdSource, SortableIds
from libs.rpc import server
from services.risk.clients import RedisVelocity
from services.risk.config import Settings
from services.risk.domain.model import Verdict
from services.risk.handlers.convert import case_payload
from services.risk.handlers.servicer import RiskServicer
from services.risk.store.database import Store
from services.risk.usecases.administration import Administration
from services.risk.usecases.book import CurrentBook
from services.risk.usecases.cases import Cases
from services.risk.usecases.evaluation import Evaluations
from services.risk.usecases.events import CaseEvents
from services.risk.workers import BookRefresher

if TYPE_CHECKING:
    import asyncpg

    Pool = asyncpg.Pool[asyncpg.Record]

MIGRATIONS: Final = Path(__file__).parent / "migrations"
SERVICE_NAMES: Final = ("fisc.risk.v1.RiskService", feed.SERVICE_NAME)


@dataclass(frozen=True, slots=True)
class Risk:
    """The wired service."""

    store: Store
    book: CurrentBook
    servicer: RiskServicer
    feed: feed.EventFeedServicer


def compose(settings: Settings, pool: "Pool", redis: Redis, clock: Clock, ids: IdSource) -> Risk:
    """Wire everything; nothing is awaited and nothing started. Refresh the book before serving."""
    store = Store(pool)
    book = CurrentBook(store, clock)
    events = CaseEvents(ids, case_payload)
    servicer = RiskServicer(
        evaluations=Evaluations(
            store=store,
            book=book,
            counters=RedisVelocity(redis, timeout_s=settings.velocity_timeout_s, clock=clock),
            velocity_fallback=Verdict[settings.velocity_fallback.upper()],
            events=events,
            clock=clock,
            ids=ids,
        ),
        administration=Administration(store=store, book=book, clock=clock, ids=ids),
        cases=Cases(store=store, events=events, clock=clock),
    )
    return Risk(store=store, book=book, servicer=servicer, feed=feed.EventFeedServicer(pool))


async def main() -> None:
    """Migrate, connect, serve, and close what was opened."""
    settings = config.load(Settings)
    log.configure("risk", settings.log_level, settings.log_format)
    await migrate.upgrade(settings.database_url, MIGRATIONS)
    clock = SystemClock()
    redis = cache.open_redis(settings.redis_url)
    pool = await open_pool(
        settings.database_url, size=settings.db_pool_size, application_name="risk", settings=BY_KEYS
    )
    async with redis, pool:
        ids = SortableIds(clock, random.SystemRandom())
        risk = compose(settings, pool, redis, clock, ids)
        await risk.book.refresh()
        await server.serve(
            service="risk",
            settings=settings,
            registrations=(risk.servicer.register, risk.feed.register),
            service_names=SERVICE_NAMES,
            background=(BookRefresher(risk.book, every_s=settings.book_refresh_s).run,),
            ready=risk.store.is_ready,
            on_drain=(risk.feed.drain,),
        )


if __name__ == "__main__":
    server.run(main())
