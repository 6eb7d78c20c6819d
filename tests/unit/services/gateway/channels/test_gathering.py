"""Orders that come in together go out together, and each hears of its own."""

import asyncio
from collections.abc import Sequence

import pytest

from services.gateway.channels.gathering import Gathering

LONG_S = 60.0


class Bank:
    """Answers with what it got, doubled."""

    def __init__(self) -> None:
        self.messages: list[list[int]] = []
        self.fault: Exception | None = None

    async def send(self, orders: Sequence[int]) -> Sequence[int]:
        self.messages.append(list(orders))
        await asyncio.sleep(0)
        if self.fault is not None:
            raise self.fault
        return [order * 2 for order in orders]


async def all_of(gathering: Gathering[int, int], orders: Sequence[int]) -> list[int]:
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(gathering.add(order)) for order in orders]
    return [task.result() for task in tasks]


async def test_enough_of_them_leave_at_once() -> None:
    bank = Bank()
    gathering = Gathering(bank.send, window_s=LONG_S, count_max=3)
    assert await all_of(gathering, [1, 2, 3]) == [2, 4, 6]
    assert bank.messages == [[1, 2, 3]]


async def test_the_first_one_opens_a_window_that_closes_for_all() -> None:
    bank = Bank()
    gathering = Gathering(bank.send, window_s=0.02, count_max=100)
    assert await all_of(gathering, [1, 2, 3]) == [2, 4, 6]
    assert await gathering.add(5) == 10
    await asyncio.sleep(0.05)
    assert bank.messages == [[1, 2, 3], [5]]


async def test_whoever_stops_waiting_leaves_the_order_in_the_message() -> None:
    bank = Bank()
    gathering = Gathering(bank.send, window_s=0.02, count_max=100)
    impatient = asyncio.create_task(gathering.add(1))
    await asyncio.sleep(0)
    impatient.cancel()
    assert await gathering.add(2) == 4
    assert bank.messages == [[1, 2]]


async def test_a_fault_is_told_to_each_and_the_next_message_goes_out() -> None:
    bank = Bank()
    gathering = Gathering(bank.send, window_s=LONG_S, count_max=2)
    bank.fault = RuntimeError("broken")
    first, second = asyncio.create_task(gathering.add(1)), asyncio.create_task(gathering.add(2))
    for waiting in (first, second):
        with pytest.raises(RuntimeError, match="broken"):
            await waiting
    bank.fault = None
    assert await all_of(gathering, [3, 4]) == [6, 8]


async def test_an_answer_too_few_is_a_fault_and_nobody_waits_for_ever() -> None:
    async def forgetful(orders: Sequence[int]) -> Sequence[int]:
        return list(orders)[1:]

    gathering = Gathering(forgetful, window_s=LONG_S, count_max=1)
    with pytest.raises(ValueError, match="shorter"):
        await gathering.add(1)
