"""An event loop in which a seed decides the order of everything, time is virtual, and machines can die.

Every callback belongs to the machine in whose context it was scheduled. A dead machine's callbacks are dropped: its tasks are never
resumed, and no `finally` of theirs runs. A paused machine's callbacks are kept until it wakes.
"""

import asyncio
import contextlib
import heapq
import itertools
from collections.abc import Callable, Coroutine, Generator
from contextvars import Context, ContextVar, copy_context
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any, TypeVar, TypeVarTuple, Unpack

from typing_extensions import override

EPOCH = datetime(2026, 11, 11, 4, 0, tzinfo=UTC)
CLOSES_MAX = 3
# So many tasks are remembered before those that are done are forgotten.
TASKS_MAX = 500

T = TypeVar("T")
Ts = TypeVarTuple("Ts")


class Machine:
    """One incarnation of a process: after a crash another one takes its name."""

    def __init__(self, name: str, drift_s: float) -> None:
        self.name = name
        self.drift_s = drift_s
        self.is_alive = True
        self.is_paused = False
        self.parked: list[Call] = []


_machine: ContextVar[Machine | None] = ContextVar("machine", default=None)


def current_machine() -> Machine | None:
    """The machine that runs this code; None for the world outside."""
    return _machine.get()


def context_of(machine: Machine | None) -> Context:
    """A context whose callbacks belong to this machine."""
    context = copy_context()
    context.run(_machine.set, machine)
    return context


class Call(asyncio.TimerHandle):
    """A callback to come, with nothing of what a handle keeps for debugging."""

    __slots__ = ()

    def __init__(
        self, when_s: float, callback: Any, args: Any, loop: "SimulatedLoop", context: Context
    ) -> None:
        self._callback = callback
        self._args = args
        self._context = context
        self._loop = loop
        self._when = when_s
        self._cancelled = False
        self._scheduled = False
        self._source_traceback = None
        self._repr = None

    @override
    def cancel(self) -> None:
        self._cancelled = True


class Exhausted(Exception):
    """Nothing is left to happen, or too much has."""


class SimulatedLoop(asyncio.BaseEventLoop):
    """Runs ready callbacks in an order drawn from `rng`; when none is ready, time jumps to the next timer."""

    def __init__(self, rng: Random, steps_max: int) -> None:
        super().__init__()
        self.now_s = 0.0
        self.steps = 0
        self.tasks: list[asyncio.Task[Any]] = []
        self.complaints: list[str] = []
        self._steps_max = steps_max
        self._tasks_max = TASKS_MAX
        self._random = rng.random
        self._ready: list[Call] = []
        self._timers: list[tuple[float, int, Call]] = []
        self._numbers = itertools.count()
        # Handles of dead machines: kept, so that no coroutine of theirs is closed before the world ends.
        self._graveyard: list[Call] = []

    @override
    def time(self) -> float:
        return self.now_s

    @override
    def call_soon(
        self,
        callback: Callable[[Unpack[Ts]], object],
        *args: *Ts,
        context: Context | None = None,
    ) -> asyncio.Handle:
        handle = Call(0.0, callback, args, self, copy_context() if context is None else context)
        self._ready.append(handle)
        return handle

    @override
    def call_later(
        self,
        delay: float,
        callback: Callable[[Unpack[Ts]], object],
        *args: *Ts,
        context: Context | None = None,
    ) -> asyncio.TimerHandle:
        return self.call_at(self.now_s + delay, callback, *args, context=context)

    @override
    def call_at(
        self,
        when: float,
        callback: Callable[[Unpack[Ts]], object],
        *args: *Ts,
        context: Context | None = None,
    ) -> asyncio.TimerHandle:
        timer = Call(when, callback, args, self, copy_context() if context is None else context)
        heapq.heappush(self._timers, (when, next(self._numbers), timer))
        return timer

    @override
    def create_task(
        self,
        coro: Generator[Any, None, T] | Coroutine[Any, Any, T],
        *,
        name: object = None,
        context: Context | None = None,
    ) -> asyncio.Task[T]:
        task = asyncio.Task(coro, loop=self, context=context)
        self.tasks.append(task)
        if len(self.tasks) > self._tasks_max:
            self.tasks = [each for each in self.tasks if not each.done()]
            self._tasks_max = TASKS_MAX + len(self.tasks)
        return task

    @override
    def call_exception_handler(self, context: dict[str, Any]) -> None:
        if "never retrieved" not in context.get("message", ""):
            self.complaints.append(f"{context.get('message')}: {context.get('exception')!r}")

    def wake(self, machine: Machine) -> None:
        """Lets a paused machine go on as if no time had passed for it."""
        machine.is_paused = False
        self._ready.extend(machine.parked)
        machine.parked.clear()

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Runs until `work` is done, then buries what is left."""
        try:
            return self.run_until_complete(work)
        finally:
            self._bury()
            self.close()

    def _run_once(self) -> None:
        ready, timers, draw = self._ready, self._timers, self._random
        pop = heapq.heappop
        while not self._stopping:  # type: ignore[attr-defined]  # not in the stubs
            if not ready:
                if not timers:
                    raise Exhausted("nothing is left to happen")
                self.now_s = max(self.now_s, timers[0][0])
            while timers and timers[0][0] <= self.now_s:
                ready.append(pop(timers)[2])
            # Any of them may be next.
            index = int(draw() * len(ready))
            handle = ready[index]
            ready[index] = ready[-1]
            ready.pop()
            if handle._cancelled:
                continue
            self.steps += 1
            if self.steps > self._steps_max:
                raise Exhausted(f"more than {self._steps_max} steps")
            machine = handle._context.get(_machine)
            if machine is None or not (machine.is_paused or not machine.is_alive):
                self._run_one(handle)
            elif machine.is_alive:
                machine.parked.append(handle)
            else:
                self._graveyard.append(handle)

    def _run_one(self, handle: Call) -> None:
        try:
            handle._context.run(handle._callback, *handle._args)
        except Exception as error:  # noqa: BLE001 -- a callback's error is a finding, not the loop's end
            self.call_exception_handler({"message": f"{handle._callback}", "exception": error})

    def _timer_handle_cancelled(self, handle: asyncio.TimerHandle) -> None:
        """Cancelled timers are dropped when their time comes."""

    def _bury(self) -> None:
        """Closes what never ended. The world is over, so whatever a `finally` does now is seen by nobody."""
        for task in self.tasks:
            if task.done():
                continue
            task._log_destroy_pending = False  # type: ignore[attr-defined]  # not in the stubs
            coroutine = task.get_coro()
            for _ in range(CLOSES_MAX):
                with contextlib.suppress(BaseException):
                    if coroutine is not None:
                        coroutine.close()
                    break
        self._ready.clear()
        self._timers.clear()
        self._graveyard.clear()


class SimulatedClock:
    """A machine's clock: the loop's time, off by the machine's drift."""

    def __init__(self, loop: SimulatedLoop, machine: Machine | None = None) -> None:
        self._loop = loop
        self._drift_s = 0.0 if machine is None else machine.drift_s

    def now(self) -> datetime:
        return EPOCH + timedelta(seconds=self._loop.now_s + self._drift_s)

    def monotonic(self) -> float:
        return self._loop.now_s
