"""Commits that nobody heard the end of: the row itself says what happened, and somebody goes on with it."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import replace
from datetime import datetime
from functools import partial
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import pytest

from libs.batching.coalescer import Coalescer
from libs.clock import FrozenClock
from libs.db.errors import is_connection_lost
from libs.db.pool import Connection, open_pool
from libs.saga.driver import Driver
from libs.saga.drives import Drives
from libs.saga.flow import Step
from libs.saga.sweeper import Sweeper
from libs.saga.table import SagaTable, Saved
from libs.testing import eventually
from libs.testing.proxy import Proxy, Reset, Swallow, Way
from tests.integration.libs.errands import DUE, SPEC, Errands, House, open_house, write_tries
from tests.unit.libs.saga import toy
from tests.unit.libs.saga.toy import Errand, Outside, Try


@pytest.fixture
async def house(empty_database: Callable[[], Awaitable[str]]) -> AsyncIterator[House]:
    async with open_house(await empty_database()) as opened_house:
        yield opened_house


@contextlib.asynccontextmanager
async def sweeping(table: Errands, outside: Outside, now: datetime) -> AsyncIterator[None]:
    """A replica's sweeper for the length of a block."""
    clock, drives = FrozenClock(now), Drives()
    save = Coalescer[Saved[Errand, Try], Errand](table.save, name="errands")
    driver: Driver[Errand, Try] = Driver(
        flow="errand",
        table=table,
        save=save,
        decide=toy.decide,
        perform=outside,
        encode=toy.encode,
        clock=clock,
    )
    sweeper: Sweeper[Errand, Try] = Sweeper(
        flow="errand", table=table, driver=driver, drives=drives, clock=clock
    )
    async with save:
        running = asyncio.create_task(sweeper.run())
        yield
        running.cancel()
        await asyncio.wait([running])
        await drives.drain()


@contextlib.asynccontextmanager
async def through(proxy: Proxy, url: str, **changes: Any) -> AsyncIterator[Errands]:
    """A table whose connection passes the proxy."""
    parts = urlsplit(url)
    netloc = f"{parts.netloc.rpartition('@')[0]}@{proxy.target}"
    pool = await open_pool(
        urlunsplit(parts._replace(netloc=netloc)), size=1, application_name="cut off"
    )
    try:
        yield SagaTable(pool, replace(SPEC, **changes))
    finally:
        pool.terminate()


async def test_a_commit_whose_answer_was_lost_leaves_a_row_that_a_sweeper_resumes(
    house: House,
) -> None:
    parts = urlsplit(house.url)
    assert parts.hostname is not None
    assert parts.port is not None
    async with Proxy(parts.hostname, parts.port) as proxy:

        async def write_and_lose(
            connection: Connection, steps: Sequence[Step[Errand, Try]]
        ) -> None:
            await write_tries(connection, steps)
            # From here on Postgres hears us, and we no longer hear Postgres.
            await proxy.poison(Swallow(), Way.ANSWERS)

        async with through(proxy, house.url, write_beside=write_and_lose) as table:
            step = toy.open_errand()
            creating = asyncio.create_task(table.create([Saved(step=step, events=())]))
            await eventually(house.row)
            assert not creating.done()
            await proxy.poison(Reset())
            with pytest.raises(Exception) as lost:
                await creating

    assert is_connection_lost(lost.value)
    outside = Outside("yes")
    async with sweeping(house.table(), outside, DUE):
        await eventually(partial(is_done, house))
    assert len(outside.asked) == 1


async def is_done(house: House) -> bool:
    row = await house.row()
    return bool(row["state"] == "DONE")


async def test_a_connection_cut_before_the_commit_leaves_nothing(house: House) -> None:
    parts = urlsplit(house.url)
    assert parts.hostname is not None
    assert parts.port is not None
    async with Proxy(parts.hostname, parts.port) as proxy:

        async def write_and_break(
            connection: Connection, steps: Sequence[Step[Errand, Try]]
        ) -> None:
            await write_tries(connection, steps)
            await proxy.poison(Reset())

        async with through(proxy, house.url, write_beside=write_and_break) as table:
            with pytest.raises(Exception) as lost:
                await table.create([Saved(step=toy.open_errand(), events=())])

    assert is_connection_lost(lost.value)
    assert await house.row() is None
