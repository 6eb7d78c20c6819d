"""The loops that bring news: one follows the gateway's feed, one polls each other source."""

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Final

from libs import log
from libs.errors import ErrorKind, FiscError
from services.cockpit.usecases import Cockpit, Feed

POLL_INTERVAL_S: Final = 2.0
BACK_OFF_INITIAL_S: Final = 0.2
BACK_OFF_MAX_S: Final = 5.0
RESTART_PAUSE_S: Final = 2.0

_log = log.get_logger()


async def follow_feed(cockpit: Cockpit, feed: Feed) -> None:
    """Apply the feed for as long as the task lives, from its start; reconnect with back-off."""
    cursor, back_off_s = "", BACK_OFF_INITIAL_S
    while True:
        try:
            async for batch in feed.batches(cursor):
                cockpit.take_in(batch)
                cursor, back_off_s = batch.next_cursor, BACK_OFF_INITIAL_S
        except FiscError as error:
            cockpit.feed_failed(f"{error.reason}: {error.message}")
            if error.kind is ErrorKind.INVALID and cursor:
                _log.warning("the feed does not know our cursor; starting over")
                cursor = ""
                cockpit.start_over()
        await asyncio.sleep(back_off_s * random.uniform(0.5, 1.0))  # noqa: S311 -- only jitter
        back_off_s = min(2 * back_off_s, BACK_OFF_MAX_S)


async def poll(cockpit: Cockpit, name: str, interval_s: float) -> None:
    """Refresh one source again and again."""
    while True:
        await cockpit.refresh(name)
        await asyncio.sleep(interval_s)


async def poll_watched(cockpit: Cockpit, interval_s: float) -> None:
    """Refresh the settlement of the days somebody looks at."""
    while True:
        await cockpit.refresh_watched()
        await asyncio.sleep(interval_s)


def running(
    cockpit: Cockpit, feed: Feed, *, poll_interval_s: float = POLL_INTERVAL_S
) -> Callable[[], AbstractAsyncContextManager[None]]:
    """All loops, as a context: they start on entering and have ended on leaving."""
    loops: dict[str, Callable[[], Awaitable[None]]] = {
        "feed": lambda: follow_feed(cockpit, feed),
        "settlements": lambda: poll_watched(cockpit, poll_interval_s),
    }
    for name in cockpit.polls:
        loops[name] = lambda name=name: poll(cockpit, name, poll_interval_s)  # type: ignore[misc]  # mypy cannot infer a lambda with a default

    @asynccontextmanager
    async def context() -> AsyncIterator[None]:
        tasks = [
            asyncio.create_task(_keep_running(name, loop), name=name)
            for name, loop in loops.items()
        ]
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)

    return context


async def _keep_running(name: str, loop: Callable[[], Awaitable[None]]) -> None:
    """A loop that raises is a bug; the page goes on with the others, and it is started again."""
    while True:
        try:
            await loop()
        except Exception as error:  # noqa: BLE001 -- logged and started again
            _log.error("background loop raised", loop=name, exc_info=error)
        await asyncio.sleep(RESTART_PAUSE_S)
