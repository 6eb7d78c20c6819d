"""Bulk work takes parts of bounded size, gives its places back, and leaves each item its own verdict."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from typing import Any, cast

import pytest

from libs.errors import ErrorKind, FiscError, Overloaded
from libs.rpc import deadline
from services.gateway.domain.errors import RequestIdReused
from services.gateway.domain.payment import Payment
from services.gateway.usecases import bulk
from services.gateway.usecases.bulk import BulkIntake, Lane
from services.gateway.usecases.intake import Taken
from tests.unit.services.gateway.usecases.test_intake import AWAY, House, ask


@pytest.fixture
async def house() -> AsyncIterator[House]:
    house = House()
    async with house.intake.coalescer:
        yield house


class Table:
    """The rows as they stand."""

    flow = "payment"

    def __init__(self, house: House) -> None:
        self._house = house

    def key(self, payment: Payment) -> str:
        return payment.payment_id

    async def many(self, ids: Sequence[str]) -> list[Payment]:
        return [row for row in self._house.driver.rows.values() if row.payment_id in ids]


def bulk_of(house: House, lane: Lane) -> BulkIntake[Payment]:
    return BulkIntake(
        intake=house.intake, table=cast("Any", Table(house)), lane=lane, drives=house.drives
    )


def asks(count: int, merchant_id: str = "m1") -> list[Any]:
    return [ask(merchant_id, f"{merchant_id}-{number}") for number in range(count)]


async def test_what_came_in_one_call_is_screened_and_written_in_parts_and_answered_in_order(
    house: House,
) -> None:
    house.driver.gone_on.set()
    lane = Lane()

    taken = await bulk_of(house, lane).take(asks(bulk.PART_MAX + 3))
    await house.drives.drain()

    assert house.neighbours.asked == house.driver.commits == [bulk.PART_MAX, 3]
    assert [each.subject.request_id for each in taken if isinstance(each, Taken)] == [
        f"m1-{number}" for number in range(bulk.PART_MAX + 3)
    ]
    assert lane.in_flight == 0


async def test_items_hold_their_places_until_their_drives_have_ended(house: House) -> None:
    lane = Lane(in_flight_max=bulk.PART_MAX)
    taking = asyncio.create_task(bulk_of(house, lane).take(asks(bulk.PART_MAX + 1)))
    await asyncio.sleep(0.05)
    assert (lane.in_flight, house.driver.commits) == (bulk.PART_MAX, [bulk.PART_MAX])

    house.driver.gone_on.set()
    assert len(await taking) == bulk.PART_MAX + 1


async def test_what_finds_no_place_in_the_callers_time_was_not_begun_and_may_come_again(
    house: House,
) -> None:
    lane = Lane(in_flight_max=2)
    await lane.enter(2)
    with deadline.within(0.15):
        [answer] = await bulk_of(house, lane).take(asks(1))

    assert isinstance(answer, Overloaded)
    assert answer.kind is ErrorKind.EXHAUSTED
    assert house.neighbours.asked == []
    lane.leave(2)
    await asyncio.wait_for(lane.enter(2), timeout=1)


async def test_what_is_written_is_driven_though_its_caller_has_gone(house: House) -> None:
    lane = Lane()
    taking = asyncio.create_task(bulk_of(house, lane).take(asks(2)))
    await asyncio.sleep(0)
    taking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await taking

    house.driver.gone_on.set()
    await house.drives.drain()
    await asyncio.sleep(0)
    assert (len(house.driver.driven), lane.in_flight) == (2, 0)


async def test_a_bad_item_is_refused_by_itself(house: House) -> None:
    house.neighbours.verdicts["bad"] = AWAY
    house.driver.refused = "broken"
    house.driver.gone_on.set()
    lane = Lane()

    good, away, broken = await bulk_of(house, lane).take(
        [*asks(1), *asks(1, "bad"), *asks(1, "broken")]
    )

    assert isinstance(good, Taken)
    assert away is AWAY
    assert isinstance(broken, FiscError)
    assert broken.kind is ErrorKind.INTERNAL
    await house.drives.drain()
    await asyncio.sleep(0)
    assert lane.in_flight == 0


async def test_a_part_that_breaks_as_a_whole_is_an_answer_to_its_items(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def lost(steps: object) -> list[Any]:
        raise ConnectionResetError

    monkeypatch.setattr(house.driver, "create_all", lost)
    lane = Lane()

    answers = await bulk_of(house, lane).take(asks(2))

    assert [each.reason for each in answers if isinstance(each, FiscError)] == [
        "OUTCOME_UNKNOWN"
    ] * 2
    assert lane.in_flight == 0


async def test_places_are_given_in_turn_and_who_gives_up_holds_nobody_up() -> None:
    lane = Lane(in_flight_max=2)
    await lane.enter(2)
    large = asyncio.create_task(lane.enter(2))
    small = asyncio.create_task(lane.enter(1))
    await asyncio.sleep(0)
    lane.leave(1)
    newcomer = asyncio.create_task(lane.enter(1))
    await asyncio.sleep(0)
    assert not small.done()
    assert not newcomer.done()

    large.cancel()
    await asyncio.wait_for(small, timeout=1)
    assert (lane.in_flight, newcomer.done()) == (2, False)
    lane.leave(1)
    await asyncio.wait_for(newcomer, timeout=1)


async def test_a_place_given_to_one_who_has_just_gone_is_given_back() -> None:
    lane = Lane(in_flight_max=1)
    await lane.enter(1)
    waiting = asyncio.create_task(lane.enter(1))
    await asyncio.sleep(0)
    lane.leave(1)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert lane.in_flight == 0


async def test_what_has_not_ended_in_the_callers_time_is_answered_as_its_row_stands(
    house: House,
) -> None:
    with deadline.within(0.2):
        [answer] = await bulk_of(house, Lane()).carry_out(asks(1))

    assert isinstance(answer, Payment)
    assert (answer.request_id, house.driver.driven) == ("m1-0", [])


async def test_the_same_request_id_with_another_body_is_refused_alone(house: House) -> None:
    house.driver.gone_on.set()
    first, other = asks(2)
    work = bulk_of(house, Lane())
    await work.carry_out([first])

    reused, good = await work.carry_out([replace(first, fingerprint="another"), other])

    assert isinstance(reused, RequestIdReused)
    assert reused.metadata["payment_id"].startswith("pay_m1")
    assert isinstance(good, Payment)
