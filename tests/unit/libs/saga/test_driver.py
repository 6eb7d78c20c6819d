"""The engine: who lost a race decides anew, who lost the row says no more, who stops begins nothing."""

from collections.abc import Callable
from datetime import timedelta

import pytest

from libs.clock import FrozenClock
from libs.saga import flow
from libs.saga.driver import CONFLICTS_MAX, Driver, fenced_writes, transitions
from libs.saga.flow import Forced, StaleWrite
from libs.saga.table import Saved
from tests.unit.libs.saga import toy
from tests.unit.libs.saga.toy import (
    NOW,
    Command,
    Errand,
    Heard,
    Interrupted,
    MemoryTable,
    Outside,
    Refused,
    Renamed,
    State,
    Told,
    Try,
)

ASK = Command.ASK


class House:
    """A driver, its rows and what it talks to."""

    def __init__(self, outside: Outside) -> None:
        self.table = MemoryTable()
        self.clock = FrozenClock(NOW)
        self.outside = outside
        self.driver: Driver[Errand, Try] = toy.driver(self.table, outside, self.clock)

    async def run(self) -> Errand:
        """One errand from its creation until it rests."""
        step = toy.open_errand()
        await self.driver.create(step)
        return await self.driver.drive(step)

    @property
    def row(self) -> Errand:
        return self.table.rows["errand_1"]


async def test_a_subject_is_driven_until_it_rests_and_each_step_is_saved_and_told() -> None:
    house = House(Outside("again", "again", "yes"))

    ended = await house.run()

    assert ended == house.row
    assert (ended.state, ended.version) == (State.DONE, 4)
    assert house.outside.asked == [(ASK, 1), (ASK, 2), (ASK, 3)]
    assert house.table.told == ["errand.asked", "errand.done"]
    assert [each.word for each in await house.table.attempts_of("errand_1")] == ["", "", "yes"]


async def test_the_same_creation_again_answers_with_what_stands() -> None:
    house = House(Outside("yes"))
    first = await house.run()

    again = await house.driver.create(toy.open_errand("errand_2", request_id="errand_1"))

    assert again == first


async def test_who_lost_a_race_decides_anew_on_what_stands_now() -> None:
    async def rename(_: Errand) -> None:
        await house.driver.tell("errand_1", Renamed())

    house = House(Interrupted(rename, "yes"))

    ended = await house.run()

    assert (ended.state, ended.note, ended.version) == (State.DONE, "renamed", 3)


async def test_an_answer_that_means_nothing_any_more_changes_nothing() -> None:
    async def end(_: Errand) -> None:
        await house.driver.tell("errand_1", Told(word="yes"))

    house = House(Interrupted(end, "wait"))

    ended = await house.run()

    assert (ended.state, ended.version) == (State.DONE, 2)


async def test_whoever_lost_the_row_to_another_owner_writes_nothing_and_asks_nothing() -> None:
    async def claimed(subject: Errand) -> None:
        house.table.take_over(subject.errand_id, NOW)

    house = House(Interrupted(claimed, "again", "yes"))
    before = fenced_writes.labels("errand")._value.get()

    left = await house.run()

    assert left == house.row
    assert (left.state, left.version, left.epoch) == (State.ASKED, 1, 2)
    assert len(house.outside.asked) == 1
    assert fenced_writes.labels("errand")._value.get() - before == 1


async def test_anybody_may_tell_a_row_that_has_changed_owners() -> None:
    house = House(Outside("wait"))
    await house.run()
    house.table.take_over("errand_1", NOW)

    told = await house.driver.tell("errand_1", Told(word="yes"))

    assert told is not None
    assert (told.state, told.epoch) == (State.DONE, 2)


async def test_a_race_that_is_lost_again_and_again_is_given_up() -> None:
    house = House(Outside("wait"))
    await house.run()
    races = 0

    async def always_late(saved: object) -> Errand:
        nonlocal races
        races += 1
        raise StaleWrite

    house.table.save = always_late  # type: ignore[method-assign]  # a store in which somebody is always faster
    driver = toy.driver(house.table, house.outside, house.clock)

    with pytest.raises(StaleWrite):
        await driver.tell("errand_1", Renamed())
    assert races == CONFLICTS_MAX


async def test_telling_what_is_not_there_is_no_error() -> None:
    house = House(Outside())

    assert await house.driver.tell("errand_9", Renamed()) is None
    assert await house.driver.note("errand_9", Renamed()) is None


async def test_what_the_flow_refuses_is_said_to_the_teller_and_changes_nothing() -> None:
    house = House(Outside("wait"))
    before = await house.run()

    with pytest.raises(Refused):
        await house.driver.note("errand_1", Forced(to_state="ASKED"))
    assert house.row == before


async def test_noting_writes_and_acts_on_nothing_until_it_is_driven() -> None:
    house = House(Outside("wait", "yes"))
    await house.run()

    step = await house.driver.note("errand_1", flow.Due())
    assert step is not None
    assert (house.row.state, step.command, len(house.outside.asked)) == (State.ASKED, ASK, 1)

    assert (await house.driver.drive(step)).state is State.DONE


def seen(errand: Errand) -> Callable[[Errand], bool]:
    """Whether a row still stands as somebody has seen it."""
    return lambda row: row.version == errand.version


async def test_a_note_is_taken_only_of_a_row_that_passes_its_guard() -> None:
    house = House(Outside("wait"))
    stale, rested = toy.open_errand().subject, await house.run()
    force = Forced(to_state="DONE")

    assert await house.driver.note("errand_1", force, guard=seen(stale)) is None
    assert house.row == rested
    step = await house.driver.note("errand_1", force, guard=seen(rested))
    assert step is not None
    assert step.subject.version == rested.version + 1


async def test_a_note_that_loses_its_race_is_guarded_anew() -> None:
    house = House(Outside("wait"))
    rested = await house.run()
    plain_save = house.table.save

    async def overtaken(saved: Saved[Errand, Try]) -> Errand:
        faster = toy.decide(house.row, None, Renamed(), NOW)
        assert faster is not None
        await plain_save(Saved(step=faster, events=()))
        return await plain_save(saved)

    house.table.save = overtaken  # type: ignore[method-assign]  # somebody is faster
    driver = toy.driver(house.table, house.outside, house.clock)

    taken = await driver.note("errand_1", Forced(to_state="DONE"), guard=seen(rested))

    assert taken is None
    assert (house.row.state, house.row.note) == (State.WAITING, "renamed")


async def test_two_tellers_of_one_late_word_tell_it_once() -> None:
    house = House(Outside("yes"))
    await house.run()
    [seen_by_both] = await house.table.attempts_of("errand_1")

    told = [await house.driver.tell("errand_1", Heard(attempt=seen_by_both)) for _ in range(2)]

    assert [each and each.version for each in told] == [3, 3]
    assert house.table.told == ["errand.asked", "errand.done", "errand.late"]


async def test_a_teller_that_lost_its_race_to_another_tells_nothing() -> None:
    house = House(Outside("yes"))
    await house.run()
    [seen_by_both] = await house.table.attempts_of("errand_1")
    plain_save, races = house.table.save, 0

    async def overtaken(saved: Saved[Errand, Try]) -> Errand:
        nonlocal races
        races += 1
        if races == 1:
            await house.driver.tell("errand_1", Heard(attempt=seen_by_both))
        return await plain_save(saved)

    house.table.save = overtaken  # type: ignore[method-assign]  # somebody is faster
    house.driver = toy.driver(house.table, house.outside, house.clock)

    await house.driver.tell("errand_1", Heard(attempt=seen_by_both))

    assert (races, house.row.version) == (2, 3)
    assert house.table.told == ["errand.asked", "errand.done", "errand.late"]


async def test_a_row_taken_up_again_and_again_in_one_state_is_leased_ever_longer() -> None:
    house = House(Outside())  # breaks at every question
    with pytest.raises(IndexError):
        await house.run()
    waits_s = []

    for _ in range(4):
        now = house.row.next_run_at
        assert now is not None
        house.clock.advance((now - house.clock.now()).total_seconds())
        [claimed] = await house.table.claim(now, 10)
        [last] = await house.table.attempts_of("errand_1")
        with pytest.raises(IndexError):
            await house.driver.resume(claimed, last, flow.Due())
        assert house.row.next_run_at is not None
        waits_s.append((house.row.next_run_at - now).total_seconds())

    assert waits_s == [flow.LEASE_S * 2**claims for claims in range(4)]


async def test_who_hands_over_begins_no_further_command_and_leaves_the_row_due_now() -> None:
    async def stop(_: Errand) -> None:
        house.clock.advance(1)
        await house.driver.hand_over()

    house = House(Interrupted(stop, "again", "yes"))

    left = await house.run()

    assert len(house.outside.asked) == 1
    # The answer that was out still counts; what follows from it is another replica's.
    assert (house.row.version, len(house.table.tries["errand_1"])) == (2, 2)
    assert left.state is State.ASKED
    assert house.row.next_run_at == house.clock.now()


async def test_what_was_under_way_is_due_for_others_as_soon_as_the_hand_over_is_told() -> None:
    seen: list[bool] = []

    async def stop(subject: Errand) -> None:
        await house.driver.hand_over()
        seen.append(house.row.next_run_at == NOW)

    house = House(Interrupted(stop, "wait"))
    await house.run()

    assert seen == [True]


async def test_a_row_that_another_replica_took_meanwhile_is_not_handed_over() -> None:
    async def stop(subject: Errand) -> None:
        house.table.take_over(subject.errand_id, NOW)
        await house.driver.hand_over()

    house = House(Interrupted(stop, "wait"))
    await house.run()

    assert house.row.next_run_at == NOW + timedelta(seconds=flow.LEASE_S)


async def test_what_is_not_under_way_is_handed_over_to_nobody() -> None:
    house = House(Outside("wait"))
    rested = await house.run()

    await house.driver.hand_over()

    assert house.row == rested


async def test_what_breaks_outside_leaves_the_row_leased_for_a_sweeper() -> None:
    house = House(Outside())  # has no word to say

    with pytest.raises(IndexError):
        await house.run()

    assert house.row.next_run_at == flow.leased_until(NOW)
    await house.driver.hand_over()
    assert house.row.next_run_at == flow.leased_until(NOW), "it is not under way here any more"


async def test_resuming_a_claimed_row_goes_on_with_its_last_attempt() -> None:
    house = House(Outside("wait", "yes"))
    await house.run()
    claimed = house.table.take_over("errand_1", NOW)
    [last] = await house.table.attempts_of("errand_1")

    ended = await house.driver.resume(claimed, last, flow.Due())

    assert (ended.state, ended.epoch) == (State.DONE, 2)
    assert house.outside.asked[-1] == (ASK, 1)


async def test_states_reached_are_counted_once_each() -> None:
    def count(state: State) -> float:
        return float(transitions.labels("errand", state.value)._value.get())

    before = {state: count(state) for state in State}
    await House(Outside("again", "wait")).run()

    assert [count(state) - before[state] for state in State] == [0, 1, 1, 0, 0]
