"""The sweeper takes up what nobody works on, not more than it can bear, and says on the row what broke."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import timedelta
from functools import partial

import pytest

from libs.clock import FrozenClock
from libs.saga import sweeper as sweepers
from libs.saga.drives import Drives
from libs.saga.flow import FAULTS_MAX, LEASE_S
from libs.saga.sweeper import Sweeper
from libs.testing import eventually
from tests.unit.libs.saga import toy
from tests.unit.libs.saga.toy import NOW, Errand, Interrupted, MemoryTable, Outside, State, Try

DUE = NOW + timedelta(seconds=LEASE_S)


@pytest.fixture(autouse=True)
def often(monkeypatch: pytest.MonkeyPatch) -> None:
    """Sweeps follow one another so closely that a test need not wait."""
    monkeypatch.setattr(sweepers, "SWEEP_INTERVAL_S", 0.01)


class House:
    """A sweeper over rows that some dead process has left."""

    def __init__(self, outside: Outside, errands: int = 1) -> None:
        self.table = MemoryTable()
        self.clock = FrozenClock(DUE)
        self.outside = outside
        self.drives = Drives()
        for number in range(errands):
            step = toy.open_errand(f"errand_{number}")
            self.table.rows[step.subject.errand_id] = step.subject
            self.table.tries[step.subject.errand_id] = {1: step.attempts[0]}
        self.sweeper: Sweeper[Errand, Try] = Sweeper(
            flow="errand",
            table=self.table,
            driver=toy.driver(self.table, outside, self.clock),
            drives=self.drives,
            clock=self.clock,
        )

    @asynccontextmanager
    async def sweeping(self) -> AsyncIterator[None]:
        """The loop runs for the length of a block."""
        running = asyncio.create_task(self.sweeper.run())
        try:
            yield
        finally:
            running.cancel()
            await asyncio.wait([running])
            await self.drives.drain()

    def has_faults(self, count: int) -> bool:
        return len(self.table.faults) == count

    @property
    def states(self) -> list[State]:
        return [row.state for row in self.table.rows.values()]


async def test_what_a_dead_process_left_is_taken_up_and_brought_to_its_end() -> None:
    house = House(Outside("yes"))

    async with house.sweeping():
        await eventually(lambda: house.states == [State.DONE])

    [row] = house.table.rows.values()
    assert (row.epoch, row.faults_count) == (2, 0)
    assert house.sweeper.in_flight == 0


async def test_what_is_not_due_is_left_alone() -> None:
    house = House(Outside("yes"))
    house.clock = FrozenClock(NOW)
    sweeper: Sweeper[Errand, Try] = Sweeper(
        flow="errand",
        table=house.table,
        driver=toy.driver(house.table, house.outside, house.clock),
        drives=house.drives,
        clock=house.clock,
    )
    house.sweeper = sweeper

    async with house.sweeping():
        await asyncio.sleep(0.05)

    assert house.outside.asked == []


async def test_no_more_than_the_limit_is_under_way_at_once() -> None:
    gate = asyncio.Event()

    class Slow(Outside):
        async def happens(self, subject: Errand) -> None:
            await gate.wait()

    extra = 40
    house = House(Slow(*["yes"] * (sweepers.IN_FLIGHT_MAX + extra)), sweepers.IN_FLIGHT_MAX + extra)

    async with house.sweeping():
        await eventually(lambda: house.sweeper.in_flight == sweepers.IN_FLIGHT_MAX)
        await asyncio.sleep(sweepers.SWEEP_INTERVAL_S * 5)
        assert house.sweeper.in_flight == len(house.outside.asked) == sweepers.IN_FLIGHT_MAX
        gate.set()
        await eventually(lambda: set(house.states) == {State.DONE})

    assert house.sweeper.in_flight == 0


async def test_what_breaks_is_noted_on_the_row_and_holds_up_no_other() -> None:
    house = House(Outside("yes"), errands=2)
    house.outside.words = []

    async def break_once(subject: Errand) -> None:
        house.outside.words = ["yes"] if subject.errand_id == "errand_1" else []

    house.outside.happens = break_once  # type: ignore[method-assign]  # only one of the two has an answer

    async with house.sweeping():
        await eventually(lambda: State.DONE in house.states and house.table.faults)

    assert house.states == [State.ASKED, State.DONE]
    assert house.table.faults == ["IndexError: pop from empty list"]
    assert house.table.rows["errand_0"].faults_count == 1


async def test_a_row_that_breaks_every_time_is_left_alone_at_last() -> None:
    house = House(Outside())

    async with house.sweeping():
        for faults in range(1, FAULTS_MAX + 1):
            await eventually(partial(house.has_faults, faults))
            row = house.table.rows["errand_0"]
            assert row.next_run_at is not None
            assert row.next_run_at > house.clock.now(), "it is left to rest in between"
            house.clock.advance((row.next_run_at - house.clock.now()).total_seconds())
        await asyncio.sleep(sweepers.SWEEP_INTERVAL_S * 5)

    assert len(house.table.faults) == FAULTS_MAX


async def test_a_row_that_waits_for_its_time_forgets_its_faults() -> None:
    house = House(Outside("wait"))
    house.table.rows["errand_0"] = replace(
        house.table.rows["errand_0"], faults_count=3, last_fault="it broke"
    )

    async with house.sweeping():
        await eventually(lambda: house.states == [State.WAITING])

    row = house.table.rows["errand_0"]
    assert (row.faults_count, row.last_fault) == (0, "")


async def test_a_sweeper_that_is_overtaken_leaves_the_row_to_the_faster_one() -> None:
    async def claimed_again(subject: Errand) -> None:
        house.table.take_over(subject.errand_id, house.clock.now())

    house = House(Interrupted(claimed_again, "yes"))

    async with house.sweeping():
        await eventually(lambda: len(house.outside.asked) == 1 and house.sweeper.in_flight == 0)

    [row] = house.table.rows.values()
    assert (row.state, row.epoch) == (State.ASKED, 3)
    assert house.table.faults == []
