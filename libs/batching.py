"""Many concurrent calls, one batch: a message of 64 items costs little more than one of one.

Nothing waits when the house is idle. Under load a batch waits a few milliseconds for company, which
makes everyone faster, because the work saved is time for the others.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import Generic, Self, TypeVar

import prometheus_client

from libs.errors import Overloaded, Unavailable

T = TypeVar("T")
R = TypeVar("R")

ITEMS_MAX = 256
QUEUE_MAX = 4096
LINGER_MAX_S = 0.008
# Batches this large on average have earned the whole linger; each was worth waiting for.
_COMPANY_FULL = 4
_SMOOTHING = 0.25
# After this many lingers without a batch, the load that earned them is history.
_IDLE_LINGERS = 8
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


class LingerController:
    """Decides how long a batch waits for company, from how much company the last ones had.

    A moving average of batch sizes, each counted up to _COMPANY_FULL, sets the linger between 0
    (all alone) and the maximum. At light load this settles near 0: waiting would gain a neighbour
    now and then, and cost everyone the wait.
    """

    def __init__(self, linger_max_s: float) -> None:
        """Start idle."""
        self._linger_max_s = linger_max_s
        self._company = 1.0
        self._last_batch_s = float("-inf")

    def observe(self, items: int, now_s: float) -> None:
        """Learn that a batch of `items` left at `now_s` (monotonic)."""
        if self._is_idle(now_s):
            self._company = 1.0
        self._company += _SMOOTHING * (min(items, _COMPANY_FULL) - self._company)
        self._last_batch_s = now_s

    def linger_s(self, now_s: float) -> float:
        """Return how long a batch that begins at `now_s` should wait for company."""
        if self._is_idle(now_s):
            return 0.0
        return self._linger_max_s * (self._company - 1.0) / (_COMPANY_FULL - 1.0)

    def _is_idle(self, now_s: float) -> bool:
        return now_s - self._last_batch_s > _IDLE_LINGERS * self._linger_max_s


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
    It runs outside the callers' contexts, so it sets its own deadline. With `workers` > 1 that many
    flushes run at once, and batches may finish out of order.

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
    ) -> None:
        """`name` labels the metrics; the limits must be positive (`linger_max_s` may be 0)."""
        if min(items_max, queue_max, workers) < 1 or linger_max_s < 0:
            raise ValueError("limits of a coalescer must be positive")
        self._flush = flush
        self._name = name
        self._items_max = items_max
        self._queue_max = queue_max
        self._workers = workers
        self._linger = LingerController(linger_max_s)
        self._waiting: deque[_Waiter[T, R]] = deque()
        self._tasks: list[asyncio.Task[None]] = []
        self._running = False
        self._arrived = asyncio.Event()
        self._enough = asyncio.Event()
        self._gathering = asyncio.Lock()
        self._batch_size = _BATCH_SIZE.labels(name)
        self._wait_seconds = _WAIT_SECONDS.labels(name)
        self._queue_depth = _QUEUE_DEPTH.labels(name)

    @property
    def waited_s(self) -> float:
        """How long the oldest item that no flush has taken yet has been waiting; 0 when there is none."""
        if not self._waiting:
            return 0.0
        return asyncio.get_running_loop().time() - self._waiting[0].since_s

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
        self._enough.set()
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

        Raises Overloaded if the queue is full, Unavailable before `start` and after `stop`, and
        whatever the flush raised or returned for this item.
        """
        if not self._running:
            raise Unavailable(f"coalescer {self._name} is not running")
        if len(self._waiting) >= self._queue_max:
            raise Overloaded(retry_after_s=_RETRY_AFTER_S, queue=self._name)
        loop = asyncio.get_running_loop()
        waiter = _Waiter[T, R](item, loop.create_future(), loop.time())
        self._waiting.append(waiter)
        self._arrived.set()
        if len(self._waiting) >= self._items_max:
            self._enough.set()
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
        oldest_s = self._waiting[0].since_s
        await self._wait_for_company(oldest_s + self._linger.linger_s(loop.time()))
        batch = [self._waiting.popleft() for _ in range(min(len(self._waiting), self._items_max))]
        now_s = loop.time()
        self._linger.observe(len(batch), now_s)
        self._batch_size.observe(len(batch))
        self._wait_seconds.observe(now_s - oldest_s)
        self._queue_depth.set(len(self._waiting))
        return batch

    async def _wait_for_company(self, until_s: float) -> None:
        if until_s <= asyncio.get_running_loop().time():
            return
        self._enough.clear()
        if len(self._waiting) >= self._items_max or not self._running:
            return
        try:
            async with asyncio.timeout_at(until_s):
                await self._enough.wait()
        except TimeoutError:
            return

    async def _flush_batch(self, batch: list[_Waiter[T, R]]) -> None:
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
