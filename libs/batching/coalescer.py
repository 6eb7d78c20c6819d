"""Gathers concurrent calls into one flush, and hands each caller its own result.

Nothing waits when the house is idle. Under load a batch waits a few milliseconds for company, which
makes everyone faster, because the work saved is time for the others.
"""

import asyncio
import contextlib
import math
from collections.abc import Awaitable, Callable, Hashable, Sequence
from typing import Generic, Self, TypeVar

import prometheus_client

from libs.batching.lanes import Lanes
from libs.batching.linger import Linger
from libs.errors import Overloaded, Unavailable

T = TypeVar("T")
R = TypeVar("R")

ITEMS_MAX = 256
QUEUE_MAX = 4096
LINGER_MAX_S = 0.025
# What one lane may have of the queue where there are lanes: the rest is for the others.
LANE_SHARE_MAX = 0.5
_RETRY_AFTER_S = 0.1

_BATCH_SIZE = prometheus_client.Histogram(
    "fisc_batch_items",
    "Items in one batch.",
    ["name"],
    buckets=(1, 2, 4, 8, 16, 32, 64, 128, 256, 512),
)
_WAIT_SECONDS = prometheus_client.Histogram(
    "fisc_batch_wait_seconds",
    "Time the oldest item of a batch waited before its flush.",
    ["name"],
    buckets=(0.0005, 0.001, 0.002, 0.004, 0.008, 0.016, 0.032, 0.064, 0.25, 1, 4),
)
_QUEUE_DEPTH = prometheus_client.Gauge(
    "fisc_batch_queue_items", "Items waiting for a flush.", ["name"]
)


class _Waiter(Generic[T, R]):
    """One submitted item, and the future its caller awaits."""

    __slots__ = ("future", "item", "since_s")

    def __init__(self, item: T, future: "asyncio.Future[R]", since_s: float) -> None:
        self.item = item
        self.future = future
        self.since_s = since_s


class Coalescer(Generic[T, R]):
    """Gathers concurrent `submit`s into calls of `flush`, in the order they came.

    `flush` gets up to `items_max` items and returns a result for each, in order; a result that is
    an exception is raised to that item's caller alone, one that `flush` raises to all of the batch.
    It runs outside the callers' contexts, so it sets its own deadline. With `workers` > 1 a batch
    that has waited `linger_max_s` for the flush before it leaves all the same, up to that many at
    once, and batches may finish out of order.

    With `lane`, which names whose an item is, order is kept within a lane only: lanes take turns,
    and none may fill the queue.

    A caller who goes away (cancellation) does not take the item along: it may have been sent.
    """

    def __init__(
        self,
        flush: Callable[[list[T]], Awaitable[Sequence[R | BaseException]]],
        *,
        name: str,
        items_max: int = ITEMS_MAX,
        queue_max: int = QUEUE_MAX,
        linger_max_s: float = LINGER_MAX_S,
        workers: int = 1,
        lane: Callable[[T], Hashable] | None = None,
    ) -> None:
        """`name` labels the metrics; the limits must be positive (`linger_max_s` may be 0)."""
        if min(items_max, queue_max, workers) < 1 or linger_max_s < 0:
            raise ValueError("limits of a coalescer must be positive")
        self._flush = flush
        self._name = name
        self._items_max = items_max
        self._queue_max = queue_max
        self._lane = lane
        self._lane_max = queue_max if lane is None else math.ceil(queue_max * LANE_SHARE_MAX)
        self._linger_max_s = linger_max_s
        self._linger = Linger(linger_max_s)
        self._workers = workers
        self._waiting = Lanes[_Waiter[T, R]]()
        self._tasks: list[asyncio.Task[None]] = []
        self._running = False
        self._flushing_count = 0
        self._arrived = asyncio.Event()
        self._changed = asyncio.Event()
        self._gathering = asyncio.Lock()
        self._batch_size = _BATCH_SIZE.labels(name)
        self._wait_seconds = _WAIT_SECONDS.labels(name)
        self._queue_depth = _QUEUE_DEPTH.labels(name)

    @property
    def waited_s(self) -> float:
        """How long the oldest item that no flush has taken yet has been waiting; 0 when there is none."""
        if not self._waiting:
            return 0.0
        return asyncio.get_running_loop().time() - self._oldest_s()

    async def start(self) -> None:
        """Begin to flush. Once only."""
        if self._tasks:
            raise RuntimeError(f"coalescer {self._name} was started twice")
        self._running = True
        self._tasks = [
            asyncio.create_task(self._work(), name=f"coalescer-{self._name}-{number}")
            for number in range(self._workers)
        ]

    async def stop(self) -> None:
        """Refuse new items, flush those that wait, and return when all have their answer."""
        self._running = False
        self._arrived.set()
        self._changed.set()
        if self._tasks:
            await asyncio.wait(self._tasks)

    async def __aenter__(self) -> Self:
        """Start."""
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        """Stop."""
        await self.stop()

    async def submit(self, item: T) -> R:
        """Return the item's result once its batch is flushed.

        Raises Overloaded if the queue or the item's share of it is full, Unavailable before `start`
        and after `stop`, and whatever the flush raised or returned for this item.
        """
        if not self._running:
            raise Unavailable(f"coalescer {self._name} is not running")
        lane = None if self._lane is None else self._lane(item)
        if len(self._waiting) >= self._queue_max or self._waiting.count(lane) >= self._lane_max:
            raise Overloaded(retry_after_s=_RETRY_AFTER_S, queue=self._name)
        loop = asyncio.get_running_loop()
        waiter = _Waiter[T, R](item, loop.create_future(), loop.time())
        self._waiting.push(lane, waiter)
        self._arrived.set()
        if len(self._waiting) >= self._items_max:
            self._changed.set()
        return await waiter.future

    async def _work(self) -> None:
        while True:
            # One worker gathers at a time: two would share what is better sent together.
            async with self._gathering:
                batch = await self._gather()
            if not batch:
                return
            await self._flush_batch(batch)

    async def _gather(self) -> list[_Waiter[T, R]]:
        """Wait for the first item and its company; an empty batch means: stopped and drained."""
        loop = asyncio.get_running_loop()
        while not self._waiting and self._running:
            self._arrived.clear()
            await self._arrived.wait()
        if not self._waiting:
            return []
        oldest_s = self._oldest_s()
        await self._wait_for_company(oldest_s)
        batch = self._waiting.take(self._items_max)
        now_s = loop.time()
        self._linger.gathered(len(batch), now_s)
        self._batch_size.observe(len(batch))
        self._wait_seconds.observe(now_s - oldest_s)
        self._queue_depth.set(len(self._waiting))
        # Here, and not in the flush: the next worker gathers before this one's flush has begun.
        self._flushing_count += 1
        return batch

    async def _wait_for_company(self, since_s: float) -> None:
        """Until the batch is full or has waited long enough. While a flush is out, company comes for nothing."""
        loop = asyncio.get_running_loop()
        while self._running and len(self._waiting) < self._items_max:
            now_s = loop.time()
            limit_s = self._linger_max_s if self._flushing_count else self._linger.wait_s(now_s)
            if since_s + limit_s <= now_s:
                return
            self._changed.clear()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout_at(since_s + limit_s):
                    await self._changed.wait()

    def _oldest_s(self) -> float:
        return min(waiter.since_s for waiter in self._waiting.heads())

    async def _flush_batch(self, batch: list[_Waiter[T, R]]) -> None:
        loop = asyncio.get_running_loop()
        began_s = loop.time()
        try:
            results = await self._flush([waiter.item for waiter in batch])
        except asyncio.CancelledError:
            _fail(batch, Unavailable(f"flush of {self._name} was cancelled"))
            # Something inside the flush was cancelled; only if it was this worker does it end.
            task = asyncio.current_task()
            if task is not None and task.cancelling():
                raise
        except Exception as error:  # noqa: BLE001 -- whatever it was, the callers must hear of it
            _fail(batch, error)
        else:
            self._answer(batch, results)
        finally:
            self._flushing_count -= 1
            self._linger.flushed(loop.time() - began_s)
            self._changed.set()

    def _answer(self, batch: list[_Waiter[T, R]], results: Sequence[R | BaseException]) -> None:
        if len(results) != len(batch):  # which result is whose, nobody can tell
            counts = f"{len(results)} results for {len(batch)} items"
            _fail(batch, RuntimeError(f"flush of {self._name} gave {counts}"))
            return
        for waiter, result in zip(batch, results, strict=True):
            _settle(waiter, result)


def _settle(waiter: _Waiter[T, R], result: R | BaseException) -> None:
    if waiter.future.done():  # the caller went away
        return
    if isinstance(result, BaseException):
        waiter.future.set_exception(result)
    else:
        waiter.future.set_result(result)


def _fail(batch: list[_Waiter[T, R]], error: Exception) -> None:
    for waiter in batch:
        _settle(waiter, error)
