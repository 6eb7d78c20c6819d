"""CreatePayment end to end, everything durable: the peak, the latency below it, and what a payment costs."""

import asyncio
import itertools
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from tests.bench.figures import Row, row
from tests.bench.load import Result, closed_loop, open_loop
from tests.bench.readings import Reading
from tests.bench.till import Till

# The peak is the best of these: with fewer in flight the cores wait for the disk, with more the callers wait for the cores.
LEVELS = (64, 128, 176)
WARM_UP_S = 4.0
DURATION_S = 10.0
REST_S = 2.0
LAG_INTERVAL_S = 1.0
OPEN_LOOP_SHARE = 0.7
# Two calls at once keep the places of bulk work taken.
BULK_ITEMS = 256
BULK_CALLS_IN_FLIGHT = 2


async def measure(till: Till, hop_rate: float) -> list[Row]:
    """Peak, bulk against it, latency at 70 % of it, costs at the peak."""
    call = till.pay()
    await closed_loop(call, in_flight=LEVELS[0], duration_s=WARM_UP_S)
    runs: list[tuple[Result, int, Reading, Reading]] = []
    lags_s: dict[str, float] = {}
    for in_flight in LEVELS:
        before = await till.read()
        async with watching_lags(till, lags_s):
            result = await closed_loop(call, in_flight=in_flight, duration_s=DURATION_S)
        runs.append((result, in_flight, before, await till.read()))
        await asyncio.sleep(REST_S)
    peak, in_flight, before, after = max(runs, key=lambda run: run[0].rate)
    bulk = await closed_loop(
        till.pay_many(BULK_ITEMS), in_flight=BULK_CALLS_IN_FLIGHT, duration_s=DURATION_S
    )
    await asyncio.sleep(REST_S)
    rate = peak.rate * OPEN_LOOP_SHARE
    # The first seconds of a load after a rest are not what the load is like.
    await open_loop(call, rate=rate, duration_s=WARM_UP_S)
    steady = await open_loop(call, rate=rate, duration_s=DURATION_S)
    return [
        *(
            row(
                f"payments_{level}_in_flight",
                result.rate,
                "payments/s",
                f"CreatePayment end to end, closed loop, {result.errors} errors",
                baseline=hop_rate,
            )
            for result, level, _, _ in runs
        ),
        row(
            "payments_peak",
            peak.rate,
            "payments/s",
            f"the best of these, {in_flight} in flight",
            baseline=hop_rate,
        ),
        row(
            "payments_bulk",
            bulk.rate * BULK_ITEMS,
            "payments/s",
            f"batches of {BULK_ITEMS}, {BULK_CALLS_IN_FLIGHT} in flight, {bulk.errors} not whole; against the peak",
            baseline=peak.rate,
        ),
        row("payments_peak_p50", peak.p50_ms, "ms", "at the peak"),
        row("payments_peak_p99", peak.p99_ms, "ms", "at the peak"),
        row(
            "payments_steady_p50",
            steady.p50_ms,
            "ms",
            f"open loop at 70 % ({rate:.0f}/s), {steady.errors} errors",
        ),
        row("payments_steady_p99", steady.p99_ms, "ms", "as payments_steady_p50"),
        *_costs(before, after, peak.calls - peak.errors),
        *(
            row(f"lag_{name.replace(' ', '_')}", lag_s, "s", "the longest seen in all these runs")
            for name, lag_s in sorted(lags_s.items())
        ),
    ]


@asynccontextmanager
async def watching_lags(till: Till, longest_s: dict[str, float]) -> AsyncIterator[None]:
    """Keeps the longest lag of each reader of an event log while the block runs."""

    async def watch() -> None:
        for _ in itertools.repeat(None):
            for name, lag_s in (await till.lags_s()).items():
                longest_s[name] = max(longest_s.get(name, 0.0), lag_s)
            await asyncio.sleep(LAG_INTERVAL_S)

    task = asyncio.create_task(watch())
    try:
        yield
    finally:
        task.cancel()


def _costs(before: Reading, after: Reading, done: int) -> Sequence[Row]:
    method = "during payments_peak"
    rows = [
        row("commits", (after.commits - before.commits) / done, "a payment", method),
        row("wal", (after.wal_bytes - before.wal_bytes) / done, "bytes/payment", method),
    ]
    spent_ms = {
        name: (value - before.cpu_s[name]) * 1000 / done for name, value in after.cpu_s.items()
    }
    rows += [
        row(f"cpu_{name.replace(' ', '_')}", value, "CPU ms/payment", method)
        for name, value in sorted(spent_ms.items())
    ]
    rows.append(row("cpu", sum(spent_ms.values()), "CPU ms/payment", "all processes"))
    for name, (batches, items) in sorted(after.batches.items()):
        batches_before, items_before = before.batches.get(name, (0, 0))
        if batches > batches_before:
            mean = (items - items_before) / (batches - batches_before)
            rows.append(row(f"batch_{name.replace(' ', '_')}", mean, "items", method))
    return rows
