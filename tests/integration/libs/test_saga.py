"""Sagas on a real Postgres: what a table promises its flow, whatever other replicas do."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from datetime import timedelta

import asyncpg
import pytest

from libs.saga import flow
from libs.saga.flow import FAULTS_MAX, LEASE_S, OVERDUE_S, FlowTooNew, StaleWrite, Step
from tests.integration.libs.errands import DUE, House, open_house, opened, saved, stand, then
from tests.unit.libs.saga import toy
from tests.unit.libs.saga.toy import NOW, Errand, Told, Try


@pytest.fixture
async def house(empty_database: Callable[[], Awaitable[str]]) -> AsyncIterator[House]:
    async with open_house(await empty_database()) as opened_house:
        yield opened_house


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


async def test_what_has_ended_and_is_still_watched_can_be_retried(house: House) -> None:
    table = house.table()
    await stand(table)
    await house.pool.execute("UPDATE errand SET state = 'DONE', faults_count = $1", FAULTS_MAX)

    assert await table.retry("errand_1", NOW) is not None
    assert len(await table.claim(NOW, 10)) == 1


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
