"""Concurrent calls share a flush, nobody waits when idle, and nobody's item or answer is lost."""

import asyncio
from collections.abc import Sequence

import prometheus_client
import pytest

from libs.batching.coalescer import Coalescer
from libs.errors import Overloaded, Unavailable

# Long enough that a test which wrongly waits for it fails by its timeout.
LINGER_ENDLESS_S = 60.0
PROMPT_S = 2.0
FLUSH_S = 0.05


class Doubler:
    """A flush that doubles numbers, remembers its batches, and can be held up."""

    def __init__(self) -> None:
        self.batches: list[list[int]] = []
        self.gate = asyncio.Event()
        self.gate.set()
        self.in_flight = 0
        self.in_flight_max = 0

    async def __call__(self, items: list[int]) -> Sequence[int | BaseException]:
        self.batches.append(items)
        self.in_flight += 1
        self.in_flight_max = max(self.in_flight_max, self.in_flight)
        await self.gate.wait()
        self.in_flight -= 1
        return [2 * item for item in items]


async def submit_all(coalescer: Coalescer[int, int], items: Sequence[int]) -> list[int]:
    async with asyncio.timeout(PROMPT_S), asyncio.TaskGroup() as group:
        tasks = [group.create_task(coalescer.submit(item)) for item in items]
    return [task.result() for task in tasks]


async def settle() -> None:
    """Let every task run until it waits."""
    for _ in range(10):
        await asyncio.sleep(0)


async def outcome_of(coalescer: Coalescer[int, int], item: int) -> int | str:
    try:
        return await coalescer.submit(item)
    except ValueError as error:
        return str(error)


async def outcomes_of(coalescer: Coalescer[int, int], items: Sequence[int]) -> list[int | str]:
    async with asyncio.timeout(PROMPT_S), asyncio.TaskGroup() as group:
        tasks = [group.create_task(outcome_of(coalescer, item)) for item in items]
    return [task.result() for task in tasks]


async def test_concurrent_calls_share_a_flush_and_each_gets_its_own_answer() -> None:
    flush = Doubler()
    async with Coalescer(flush, name="t") as coalescer:
        assert await submit_all(coalescer, [1, 2, 3]) == [2, 4, 6]
    assert flush.batches == [[1, 2, 3]]


async def test_a_lone_call_does_not_wait_for_company() -> None:
    flush = Doubler()
    async with Coalescer(flush, name="t", linger_max_s=LINGER_ENDLESS_S) as coalescer:
        for item in range(20):
            assert await submit_all(coalescer, [item]) == [2 * item]
    assert len(flush.batches) == 20


async def earn_a_linger(coalescer: Coalescer[int, int], flush: Doubler) -> None:
    """A full batch whose flush took a while: the next one may wait as long."""
    flush.gate.clear()
    opening = asyncio.create_task(submit_all(coalescer, [1, 2, 3, 4]))
    await asyncio.sleep(FLUSH_S)
    flush.gate.set()
    await opening


async def test_after_batches_with_company_a_flush_waits_for_more() -> None:
    flush = Doubler()
    async with Coalescer(flush, name="t", items_max=4, linger_max_s=LINGER_ENDLESS_S) as coalescer:
        await earn_a_linger(coalescer, flush)
        early = asyncio.create_task(coalescer.submit(5))
        await settle()
        assert not early.done()
        # A full batch leaves at once, whatever the linger.
        await submit_all(coalescer, [6, 7, 8])
        assert await early == 10
    assert flush.batches == [[1, 2, 3, 4], [5, 6, 7, 8]]


async def test_while_a_flush_is_out_the_next_batch_waits_for_it() -> None:
    flush = Doubler()
    flush.gate.clear()
    async with Coalescer(flush, name="t", linger_max_s=LINGER_ENDLESS_S, workers=3) as coalescer:
        opening = asyncio.create_task(coalescer.submit(1))
        await settle()
        waiting = [asyncio.create_task(coalescer.submit(2))]
        await asyncio.sleep(FLUSH_S)
        flush.gate.set()
        waiting.append(asyncio.create_task(coalescer.submit(3)))
        assert [await task for task in (opening, *waiting)] == [2, 4, 6]
    assert flush.batches == [[1], [2, 3]]


async def test_behind_a_flush_that_hangs_the_next_batch_leaves_all_the_same() -> None:
    flush = Doubler()
    flush.gate.clear()
    async with Coalescer(flush, name="t", linger_max_s=FLUSH_S, workers=2) as coalescer:
        hanging = asyncio.create_task(coalescer.submit(1))
        await settle()
        behind = asyncio.create_task(coalescer.submit(2))
        await asyncio.sleep(2 * FLUSH_S)
        left = list(flush.batches)
        flush.gate.set()
        assert [await hanging, await behind] == [2, 4]
    assert left == [[1], [2]]


async def test_lanes_take_turns_and_none_fills_the_queue() -> None:
    flush = Doubler()
    flush.gate.clear()
    coalescer = Coalescer(
        flush,
        name="t",
        items_max=4,
        queue_max=10,
        linger_max_s=0,
        lane=lambda item: "odd" if item % 2 else "even",
    )
    async with coalescer:
        waiting = [asyncio.create_task(coalescer.submit(0))]
        await settle()
        waiting += [asyncio.create_task(coalescer.submit(item)) for item in (1, 3, 5, 7, 9, 2)]
        await settle()
        with pytest.raises(Overloaded):
            await coalescer.submit(11)
        flush.gate.set()
        assert [await task for task in waiting] == [0, 2, 6, 10, 14, 18, 4]
    assert flush.batches == [[0], [1, 2, 3, 5], [7, 9]]


async def test_waiting_for_company_ends_with_the_linger() -> None:
    flush = Doubler()
    async with Coalescer(flush, name="t", linger_max_s=0.05) as coalescer:
        await earn_a_linger(coalescer, flush)
        assert await submit_all(coalescer, [5]) == [10]


async def test_a_batch_is_never_larger_than_allowed_and_order_is_kept() -> None:
    flush = Doubler()
    async with Coalescer(flush, name="t", items_max=3, linger_max_s=0) as coalescer:
        await submit_all(coalescer, range(8))
    assert flush.batches == [[0, 1, 2], [3, 4, 5], [6, 7]]


async def test_a_full_queue_refuses_with_a_hint_when_to_come_back() -> None:
    flush = Doubler()
    flush.gate.clear()
    async with Coalescer(flush, name="t", items_max=1, queue_max=2) as coalescer:
        waiting = [asyncio.create_task(coalescer.submit(1))]
        await settle()
        waiting += [asyncio.create_task(coalescer.submit(item)) for item in (2, 3)]
        await settle()
        with pytest.raises(Overloaded) as refusal:
            await coalescer.submit(4)
        assert refusal.value.retry_after_s
        flush.gate.set()
        assert [await task for task in waiting] == [2, 4, 6]


async def test_a_flush_that_fails_fails_its_batch_and_no_other() -> None:
    async def flush(items: list[int]) -> Sequence[int | BaseException]:
        if 13 in items:
            raise ValueError("unlucky")
        return items

    async with Coalescer(flush, name="t", items_max=2, linger_max_s=0) as coalescer:
        outcomes = await outcomes_of(coalescer, [12, 13, 14, 15])
        assert outcomes == ["unlucky", "unlucky", 14, 15]


async def test_an_item_that_fails_fails_alone() -> None:
    async def flush(items: list[int]) -> Sequence[int | BaseException]:
        return [ValueError("odd") if item % 2 else item for item in items]

    async with Coalescer(flush, name="t") as coalescer:
        assert await outcomes_of(coalescer, [1, 2, 3]) == ["odd", 2, "odd"]


async def test_a_wrong_number_of_results_reaches_nobody_as_an_answer() -> None:
    async def flush(items: list[int]) -> Sequence[int | BaseException]:
        return items[1:]

    async with Coalescer(flush, name="t") as coalescer:
        with pytest.raises(RuntimeError, match="0 results for 1 items"):
            await coalescer.submit(1)


async def test_a_flush_cancelled_from_inside_is_an_error_and_the_next_one_works() -> None:
    cancelled = asyncio.CancelledError

    async def flush(items: list[int]) -> Sequence[int | BaseException]:
        if items == [1]:
            raise cancelled
        return items

    async with Coalescer(flush, name="t") as coalescer:
        with pytest.raises(Unavailable):
            await coalescer.submit(1)
        assert await submit_all(coalescer, [2]) == [2]


async def test_the_item_of_a_caller_who_left_is_still_flushed() -> None:
    flush = Doubler()
    async with Coalescer(flush, name="t") as coalescer:
        leaving = asyncio.create_task(coalescer.submit(1))
        staying = asyncio.create_task(coalescer.submit(2))
        await asyncio.sleep(0)
        leaving.cancel()
        assert await staying == 4
    assert flush.batches == [[1, 2]]
    assert leaving.cancelled()


async def test_stopping_answers_all_who_wait_without_lingering() -> None:
    flush = Doubler()
    coalescer = Coalescer(flush, name="t", items_max=4, linger_max_s=LINGER_ENDLESS_S)
    async with coalescer:
        await earn_a_linger(coalescer, flush)
        waiting = asyncio.create_task(coalescer.submit(5))
        await settle()
        assert not waiting.done()
    assert waiting.done()
    assert await waiting == 10
    with pytest.raises(Unavailable):
        await coalescer.submit(6)


async def test_before_the_start_nothing_is_taken() -> None:
    with pytest.raises(Unavailable):
        await Coalescer(Doubler(), name="t").submit(1)


@pytest.mark.parametrize("workers", [1, 3])
async def test_as_many_flushes_run_at_once_as_there_are_workers(workers: int) -> None:
    flush = Doubler()
    flush.gate.clear()
    coalescer = Coalescer(flush, name="t", items_max=1, linger_max_s=0, workers=workers)
    async with coalescer:
        waiting = [asyncio.create_task(coalescer.submit(item)) for item in range(6)]
        await settle()
        flush.gate.set()
        assert [await task for task in waiting] == [0, 2, 4, 6, 8, 10]
    assert flush.in_flight_max == workers


async def test_metrics_tell_batches_by_name() -> None:
    async with Coalescer(Doubler(), name="metrics-test") as coalescer:
        await submit_all(coalescer, [1, 2, 3])
    sample = prometheus_client.REGISTRY.get_sample_value
    assert sample("fisc_batch_items_sum", {"name": "metrics-test"}) == 3
    assert sample("fisc_batch_items_count", {"name": "metrics-test"}) == 1
    assert sample("fisc_batch_wait_seconds_count", {"name": "metrics-test"}) == 1
    assert sample("fisc_batch_queue_items", {"name": "metrics-test"}) == 0


async def test_how_long_the_oldest_item_has_waited_is_told() -> None:
    release = asyncio.Event()

    async def flush(items: list[int]) -> Sequence[int | BaseException]:
        await release.wait()
        return items

    async with Coalescer(flush, name="t", linger_max_s=0) as coalescer:
        assert coalescer.waited_s == 0
        first = asyncio.create_task(coalescer.submit(1))
        await settle()
        # What is being flushed waits no more.
        assert coalescer.waited_s == 0
        second = asyncio.create_task(coalescer.submit(2))
        await asyncio.sleep(0.05)
        assert coalescer.waited_s >= 0.04
        release.set()
        assert [await first, await second] == [1, 2]
        assert coalescer.waited_s == 0
