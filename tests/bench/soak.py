"""Memory under a long steady load: none of the processes may grow with what it has done."""

import asyncio
import itertools
import os
import statistics
from collections import defaultdict

from tests.bench import readings
from tests.bench.figures import Row, row
from tests.bench.load import closed_loop
from tests.bench.till import Till

# An hour with FISC_BENCH_SOAK_S=3600.
DURATION_S = float(os.environ.get("FISC_BENCH_SOAK_S", "120"))
IN_FLIGHT = 32
SAMPLES = 40


async def measure(till: Till) -> list[Row]:
    """Resident memory late in the run against early in it, and how many payments lay between."""
    seen: dict[str, list[float]] = defaultdict(list)

    async def watch() -> None:
        for _ in itertools.repeat(None):
            for name, pid in till.pids.items():
                seen[name].append(readings.resident_mb(pid))
            await asyncio.sleep(DURATION_S / SAMPLES)

    watching = asyncio.create_task(watch())
    result = await closed_loop(till.pay(), in_flight=IN_FLIGHT, duration_s=DURATION_S)
    watching.cancel()
    quarter = len(next(iter(seen.values()))) // 4
    return [
        row(
            f"memory_{name}",
            statistics.median(values[-quarter:]),
            "MB resident",
            f"last quarter of {result.calls} payments in {DURATION_S:.0f} s, against the second quarter",
            baseline=statistics.median(values[quarter : 2 * quarter]),
        )
        for name, values in sorted(seen.items())
    ]
