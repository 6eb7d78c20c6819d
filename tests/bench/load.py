"""Load from one process, bounded in time and count: closed loop for the peak, open loop for the latency."""

import asyncio
import statistics
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

CALLS_MAX = 200_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """What a run of load saw."""

    calls: int
    errors: int
    elapsed_s: float
    p50_ms: float
    p99_ms: float

    @property
    def rate(self) -> float:
        """Successful calls a second."""
        return (self.calls - self.errors) / self.elapsed_s


async def closed_loop(
    call: Callable[[], Awaitable[bool]], *, in_flight: int, duration_s: float
) -> Result:
    """`in_flight` callers, each calling again as soon as it is answered."""
    latencies: list[float] = []
    errors = 0
    began = time.perf_counter()

    async def caller() -> None:
        nonlocal errors
        while time.perf_counter() - began < duration_s and len(latencies) < CALLS_MAX:
            started = time.perf_counter()
            # Awaited on a line of its own: "errors += not await" reads the sum before the await, and loses others' counts.
            has_succeeded = await call()
            errors += not has_succeeded
            latencies.append(time.perf_counter() - started)

    async with asyncio.TaskGroup() as group:
        for _ in range(in_flight):
            group.create_task(caller())
    return _result(latencies, errors, time.perf_counter() - began)


async def open_loop(
    call: Callable[[], Awaitable[bool]], *, rate: float, duration_s: float
) -> Result:
    """Calls due at a fixed rate, whatever the answers do; latency counts from when a call was due."""
    latencies: list[float] = []
    errors = 0
    began = time.perf_counter()

    async def one(due: float) -> None:
        nonlocal errors
        has_succeeded = await call()
        errors += not has_succeeded
        latencies.append(time.perf_counter() - due)

    count = min(int(rate * duration_s), CALLS_MAX)
    async with asyncio.TaskGroup() as group:
        for number in range(count):
            due = began + number / rate
            await asyncio.sleep(max(0.0, due - time.perf_counter()))
            group.create_task(one(due))
    return _result(latencies, errors, time.perf_counter() - began)


def _result(latencies: list[float], errors: int, elapsed_s: float) -> Result:
    cuts = statistics.quantiles(latencies, n=100)
    return Result(
        calls=len(latencies),
        errors=errors,
        elapsed_s=elapsed_s,
        p50_ms=cuts[49] * 1000,
        p99_ms=cuts[98] * 1000,
    )
