"""Sagas on a real Postgres: what a table promises its flow, whatever other replicas and broken connections do."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import asyncpg
import pytest

from libs.batching import Coalescer
from libs.clock import FrozenClock
from libs.db.errors import is_connection_lost
from libs.db.pool import Connection, Pool, open_pool
from libs.events.log import SCHEMA_SQL
from libs.saga import flow
from libs.saga.driver import Driver
from libs.saga.drives import Drives
from libs.saga.flow import FAULTS_MAX, LEASE_S, OVERDUE_S, FlowTooNew, StaleWrite, Step
from libs.saga.sweeper import Sweeper
from libs.saga.table import COLUMNS_SQL, SagaTable, Saved, TableSpec, rows
from libs.testing import eventually
from libs.testing.proxy import Proxy, Reset, Swallow, Way
from tests.unit.libs.saga import toy
from tests.unit.libs.saga.toy import ENDED, NOW, Errand, Outside, State, Told, Try

TABLES_SQL = f"""
CREATE TABLE errand (
    errand_id text PRIMARY KEY,
    owner_id text NOT NULL,
    request_id text NOT NULL,
    note text NOT NULL CHECK (note <> 'refused'),
    state text NOT NULL,
    {COLUMNS_SQL},
    UNIQUE (owner_id, request_id)
);
CREATE TABLE try (errand_id text, number int, word text NOT NULL, PRIMARY KEY (errand_id, number));
"""
UPSERT_TRIES = """
INSERT INTO try SELECT * FROM jsonb_populate_recordset(NULL::try, $1::jsonb)
ON CONFLICT (errand_id, number) DO UPDATE SET word = excluded.word
"""
DUE = NOW + timedelta(seconds=LEASE_S)
Errands = SagaTable[Errand, Try]


async def tries_of(connection: Connection, errand_id: str) -> tuple[Try, ...]:
    found = await connection.fetch(
        "SELECT * FROM try WHERE errand_id = $1 ORDER BY number", errand_id
    )
    return tuple(Try(**dict(row)) for row in found)


async def write_tries(connection: Connection, steps: Sequence[Step[Errand, Try]]) -> None:
    await connection.execute(UPSERT_TRIES, rows([each for step in steps for each in step.attempts]))


SPEC: TableSpec[Errand, Try] = TableSpec(
    flow="errand",
    identity=("owner_id", "request_id"),
    changing=("note",),
    states=list(State),
    ended=ENDED,
    flow_version=toy.FLOW_VERSION,
    restore=lambda row: Errand(**{**dict(row), "state": State(row["state"])}),
    attempts_of=tries_of,
    write_beside=write_tries,
)


@dataclass
class House:
    """A database, and tables on it as several replicas have them."""

    url: str
    pool: Pool

    def table(self, **changes: Any) -> Errands:
        return SagaTable(self.pool, replace(SPEC, **changes))

    async def row(self, errand_id: str = "errand_1") -> Any:
        return await self.pool.fetchrow("SELECT * FROM errand WHERE errand_id = $1", errand_id)


@pytest.fixture
async def house(empty_database: Callable[[], Awaitable[str]]) -> AsyncIterator[House]:
    url = await empty_database()
    async with await open_pool(url, size=6, application_name="test") as pool:
        await pool.execute(SCHEMA_SQL + TABLES_SQL)
        yield House(url, pool)


def saved(step: toy.ErrandStep) -> Saved[Errand, Try]:
    return Saved(step=step, events=toy.encode(step))


def opened(number: int = 1, note: str = "", request_id: str = "") -> Saved[Errand, Try]:
    return saved(toy.open_errand(f"errand_{number}", request_id=request_id, note=note))


def then(subject: Errand, signal: flow.Signal, now: datetime = NOW) -> Saved[Errand, Try]:
    step = toy.decide(subject, Try(errand_id=subject.errand_id, number=1), signal, now)
    assert step is not None
    return saved(step)


async def stand(table: Errands, *numbers: int) -> list[Errand]:
    created = [opened(number) for number in numbers or (1,)]
    await table.create(created)
    return [new.step.subject for new in created]


async def test_what_was_created_is_found_with_its_attempts_and_told(house: House) -> None:
    table = house.table()
    [subject] = await stand(table)

    assert await table.load("errand_1") == (subject, (Try(errand_id="errand_1", number=1),))
    assert await table.load("errand_9") is None
    assert await house.pool.fetchval("SELECT type FROM event_log") == "errand.asked"


async def test_the_same_identity_is_answered_with_what_stands_even_within_one_batch(
    house: House,
) -> None:
    table = house.table()
    [first] = await stand(table)

    answers = await table.create(
        [opened(2, request_id="errand_1"), opened(3), opened(4, request_id="errand_3")]
    )

    assert [each.errand_id for each in answers if isinstance(each, Errand)] == [
        first.errand_id,
        "errand_3",
        "errand_3",
    ]
    assert await house.pool.fetchval("SELECT count(*) FROM errand") == 2
    assert await house.pool.fetchval("SELECT count(*) FROM event_log") == 2


async def test_a_step_changes_only_what_steps_change(house: House) -> None:
    table = house.table()
    [subject] = await stand(table)
    step = then(replace(subject, owner_id="somebody else"), toy.Renamed())

    [written] = await table.save([step])

    assert isinstance(written, Errand)
    row = await house.row()
    assert (row["note"], row["version"], row["owner_id"]) == ("renamed", 2, "o")


async def test_only_the_first_of_two_steps_from_one_version_is_written(house: House) -> None:
    table = house.table()
    [subject] = await stand(table)

    written, stale = await table.save(
        [then(subject, toy.Renamed()), then(subject, Told(word="yes"))]
    )
    [later] = await house.table().save([then(subject, Told(word="yes"))])

    assert isinstance(written, Errand)
    assert isinstance(stale, StaleWrite)
    assert isinstance(later, StaleWrite)
    # Nothing of a refused step is written: neither its attempt nor its event.
    assert await house.pool.fetchval("SELECT word FROM try") == ""
    assert await house.pool.fetchval("SELECT count(*) FROM event_log") == 1


async def test_one_refused_row_does_not_poison_its_batch(house: House) -> None:
    table = house.table()

    first, refused, last = await table.create([opened(1), opened(2, note="refused"), opened(3)])

    assert isinstance(first, Errand)
    assert isinstance(refused, asyncpg.CheckViolationError)
    assert isinstance(last, Errand)
    assert await house.pool.fetchval("SELECT count(*) FROM errand") == 2
    bad = saved(Step(subject=replace(first, version=2, note="refused")))
    good = then(last, Told(word="yes"))
    results = await table.save([bad, good])
    assert isinstance(results[0], asyncpg.CheckViolationError)
    assert results[1] == good.step.subject


async def test_two_replicas_claims_skip_each_others_rows(house: House) -> None:
    ours, theirs = house.table(), house.table()
    await stand(ours, *range(1, 41))

    async with asyncio.TaskGroup() as group:
        claims = [group.create_task(each.claim(DUE, 15)) for each in (ours, theirs) * 2]

    claimed = [errand.errand_id for claim in claims for errand in claim.result()]
    assert len(claimed) == len(set(claimed)) == 40


async def test_rows_that_another_transaction_holds_are_skipped_not_waited_for(
    house: House,
) -> None:
    table = house.table()
    await stand(table, 1, 2)
    async with house.pool.acquire() as other, other.transaction():
        await other.execute("SELECT FROM errand WHERE errand_id = 'errand_1' FOR UPDATE")

        claimed = await asyncio.wait_for(table.claim(DUE, 10), 2.0)

    assert [errand.errand_id for errand in claimed] == ["errand_2"]


async def test_the_longest_due_are_claimed_first_and_no_more_than_asked_for(house: House) -> None:
    table = house.table()
    await stand(table, 1, 2, 3)
    await house.pool.execute(
        "UPDATE errand SET next_run_at = $1 WHERE errand_id = 'errand_3'", NOW - timedelta(hours=1)
    )

    assert [each.errand_id for each in await table.claim(DUE, 1)] == ["errand_3"]
    assert await table.claim(NOW - timedelta(days=1), 10) == []


async def test_whoever_had_the_row_before_a_claim_can_write_no_more(house: House) -> None:
    table = house.table()
    [subject] = await stand(table)
    [claimed] = await house.table().claim(DUE, 10)

    [fenced] = await table.save([then(subject, Told(word="yes"))])
    await table.note_fault(subject, "too late to say")
    [written] = await table.save([then(claimed, Told(word="yes"))])

    assert (claimed.epoch, claimed.version) == (2, 1)
    assert isinstance(fenced, StaleWrite)
    assert isinstance(written, Errand)
    assert (await house.row())["last_fault"] == ""


async def test_a_row_that_gets_nowhere_waits_twice_as_long_each_time_and_then_for_a_person(
    house: House,
) -> None:
    table = house.table()
    await stand(table)
    now, waits_s = DUE, []
    for _ in range(FAULTS_MAX):
        [claimed] = await table.claim(now, 10)
        await table.note_fault(claimed, "it broke" * 1_000)
        assert claimed.next_run_at is not None
        waits_s.append((claimed.next_run_at - now).total_seconds())
        now = claimed.next_run_at

    assert waits_s == [LEASE_S * 2**faults for faults in range(FAULTS_MAX)]
    assert await table.claim(now + timedelta(days=365), 10) == []
    [stuck] = await table.stuck(NOW, 10)
    assert (stuck.faults_count, len(stuck.last_fault)) == (FAULTS_MAX, flow.FAULT_TEXT_MAX)
    [line] = await table.backlog()
    assert (line.count, line.quarantined_count, line.oldest_at) == (1, 1, NOW)


async def test_a_person_ends_a_quarantine_and_only_of_what_has_not_ended(house: House) -> None:
    table = house.table()
    _, ended = await stand(table, 1, 2)
    await table.save([then(ended, Told(word="yes"))])
    await house.pool.execute("UPDATE errand SET faults_count = $1", FAULTS_MAX)

    retried = await table.retry("errand_1", NOW)

    assert retried is not None
    assert (retried.faults_count, retried.next_run_at) == (0, NOW)
    assert await table.retry("errand_2", NOW) is None
    assert [each.errand_id for each in await table.claim(NOW, 10)] == ["errand_1"]


async def test_only_one_that_nobody_took_up_for_long_is_stuck(house: House) -> None:
    table = house.table()
    await stand(table, 1, 2)
    await house.pool.execute("UPDATE errand SET state = 'MANUAL' WHERE errand_id = 'errand_2'")

    assert [each.errand_id for each in await table.stuck(DUE, 10)] == ["errand_2"]
    late = DUE + timedelta(seconds=OVERDUE_S + 1)
    assert [each.errand_id for each in await table.stuck(late, 10)] == ["errand_1", "errand_2"]


async def test_what_is_handed_over_is_due_at_once_unless_somebody_has_it(house: House) -> None:
    table = house.table()
    mine, lost = await stand(table, 1, 2)
    await house.pool.execute("UPDATE errand SET epoch = 2 WHERE errand_id = 'errand_2'")

    left_count = await table.hand_over([mine, lost], NOW)

    assert left_count == 1
    [claimed] = await table.claim(NOW, 10)
    assert claimed.errand_id == "errand_1"


async def test_an_older_release_neither_claims_nor_loads_what_a_newer_one_wrote(
    house: House,
) -> None:
    newer = house.table(flow_version=toy.FLOW_VERSION + 1)
    older = house.table()
    touched, _ = await stand(older, 1, 2)
    await newer.save([then(touched, toy.Renamed())])

    assert (await house.row())["flow_version"] == toy.FLOW_VERSION + 1
    assert [each.errand_id for each in await older.claim(DUE, 10)] == ["errand_2"]
    with pytest.raises(FlowTooNew):
        await older.load("errand_1")
    assert await newer.load("errand_1") is not None
    assert [each.errand_id for each in await newer.claim(DUE, 10)] == ["errand_1"]


async def test_an_older_release_does_not_know_a_newer_ones_states_and_harms_them_not(
    house: House,
) -> None:
    table = house.table()
    await stand(table, 1, 2)
    await house.pool.execute("UPDATE errand SET state = 'LATER' WHERE errand_id = 'errand_1'")

    assert [each.errand_id for each in await table.claim(DUE, 10)] == ["errand_2"]
    with pytest.raises(FlowTooNew):
        await table.load("errand_1")
    row = await house.row()
    assert (row["epoch"], row["next_run_at"]) == (1, DUE)


async def test_a_newer_release_goes_on_with_what_an_older_one_wrote(house: House) -> None:
    await stand(house.table())

    [claimed] = await house.table(flow_version=toy.FLOW_VERSION + 1).claim(DUE, 10)

    assert claimed.flow_version == toy.FLOW_VERSION


def sweeper(table: Errands, outside: Outside, drives: Drives, now: datetime) -> Sweeper[Errand, Try]:
    clock = FrozenClock(now)
    save = Coalescer[Saved[Errand, Try], Errand](table.save, name="errands")
    driver: Driver[Errand, Try] = Driver(
        flow="errand",
        table=table,
        create=save,
        save=save,
        decide=toy.decide,
        perform=outside,
        encode=toy.encode,
        clock=clock,
    )
    return Sweeper(flow="errand", table=table, driver=driver, drives=drives, clock=clock)


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
            await eventually(lambda: house.row())
            assert not creating.done()
            await proxy.poison(Reset())
            with pytest.raises(Exception) as lost:
                await creating

    assert is_connection_lost(lost.value)
    drives, outside = Drives(), Outside("yes")
    swept = asyncio.create_task(sweeper(house.table(), outside, drives, DUE).run())
    try:
        await eventually(lambda: is_done(house))
    finally:
        swept.cancel()
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
