"""`make crash`: every crash point × operation, stores stopped under load, services killed at random. No payment lost, none charged twice.

`python -m tests.chaos.crash [--only K6,K14] [--quick] [--worlds 2] [--seed 1]`; ends with 1 on any violation, and when a point never fired.
"""

import argparse
import asyncio
import contextlib
import signal
import sys
import time
from collections import defaultdict
from collections.abc import Awaitable, Callable, Sequence
from typing import Final

from libs.testing import eventually
from tests.chaos import audit, matrix, storms
from tests.chaos.load import percentile
from tests.chaos.matrix import Result
from tests.chaos.scenarios import Case
from tests.chaos.scenarios import matrix as cases_of
from tests.chaos.world import CHANNEL_TIMEOUT_S, LEASE_S, World, running_world

GOAL_S: Final = LEASE_S + CHANNEL_TIMEOUT_S
ZOMBIES: Final = (
    ("K6", "success"),
    ("K9", "success"),
    ("K9", "failover"),
    ("K6", "refund"),
    ("K9", "refund"),
    ("K9", "payout"),
)
QUICK_STORM_S: Final = 8.0

Part = Callable[[World], Awaitable[list[Result]]]


async def main(only: frozenset[str], *, quick: bool, worlds: int, seed: int) -> int:
    """Returns the exit code."""
    began_s = time.monotonic()
    cases = cases_of(only, quick=quick)
    plans: list[list[Part]] = [[_share(cases[number::worlds])] for number in range(worlds)]
    # Storms load both cores, so that one world has them all, one after the other.
    plans[0] += _storms(only, quick=quick, seed=seed)
    plans[-1] += _oddities(only, quick=quick)
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(_live(plan)) for plan in plans]
    results = [result for task in tasks for result in task.result()[0]]
    leftovers = [sentence for task in tasks for sentence in task.result()[1]]
    print_table(results)
    for sentence in leftovers:
        print(f"VIOLATION at the end: {sentence}")
    violations = sum(len(result.violations) for result in results) + len(leftovers)
    fired = sum(result.fired for result in results)
    times_s = [result.outcome_s for result in results if result.outcome_s is not None]
    print(
        f"{len(results)} cases, {fired} fired, {violations} violations; kill to outcome"
        f" p50 {percentile(times_s, 0.5):.1f} s, max {max(times_s, default=0):.1f} s"
        f" (goal {GOAL_S:.0f} s); {time.monotonic() - began_s:.0f} s"
    )
    return int(violations > 0 or fired < len(results))


async def _live(plan: Sequence[Part]) -> tuple[list[Result], list[str]]:
    """One world's life: the results, and what differs when everything is over."""
    async with running_world() as world:
        results: list[Result] = []
        for part in plan:
            results += await part(world)
        with contextlib.suppress(AssertionError):
            await eventually(lambda: audit.clean(world), matrix.SETTLE_TIMEOUT_S)
        return results, await audit.audit(world)


def _share(cases: Sequence[Case]) -> Part:
    return lambda world: matrix.run(world, cases)


def _alone(run: Callable[[World], Awaitable[Result]]) -> Part:
    async def part(world: World) -> list[Result]:
        result = await run(world)
        print(result, flush=True)
        return [result]

    return part


def _storms(only: frozenset[str], *, quick: bool, seed: int) -> list[Part]:
    duration_s = QUICK_STORM_S if quick else storms.STORM_S

    def storm(name: str, point: str, strike: storms.Strike) -> tuple[str, Part]:
        return point, _alone(
            lambda world: storms.storm(world, name, point, strike, seed=seed, duration_s=duration_s)
        )

    every = [
        storm("postgres", "K16", storms.stop_postgres_immediately),
        storm("redis", "K17", storms.flush_and_kill_redis),
        *(storm(name, "random", storms.killing(name)) for name in storms.SERVICES),
    ]
    return [part for point, part in every[: 1 if quick else None] if not only or point in only]


def _oddities(only: frozenset[str], *, quick: bool) -> list[Part]:
    def zombie(point: str, scenario: str) -> tuple[str, Part]:
        return "K14", _alone(lambda world: storms.zombie(world, point, scenario))

    def taken_over(number: signal.Signals, limit_s: float) -> Part:
        return _alone(lambda world: storms.taken_over(world, number, limit_s))

    every = [
        *(zombie(point, scenario) for point, scenario in ZOMBIES),
        ("SIGTERM", taken_over(signal.SIGTERM, storms.HAND_OVER_MAX_S)),
        ("SIGKILL", taken_over(signal.SIGKILL, storms.TAKE_OVER_MAX_S)),
        ("K18", _alone(storms.poison)),
        ("K19", _alone(storms.future_state)),
    ]
    return [part for point, part in every[: 1 if quick else None] if not only or point in only]


def print_table(results: Sequence[Result]) -> None:
    """A line a point, and a line a violation."""
    points: dict[str, list[Result]] = defaultdict(list)
    for result in results:
        points[result.point].append(result)
    print(f"{'point':8}{'cases':>6}{'fired':>6}{'viol.':>6}{'p50 s':>8}{'max s':>8}{'books s':>9}")
    for point, group in points.items():
        times_s = [result.outcome_s for result in group if result.outcome_s is not None]
        settled_s = [result.settled_s for result in group if result.settled_s is not None]
        print(
            f"{point:8}{len(group):6}{sum(result.fired for result in group):6}"
            f"{sum(len(result.violations) for result in group):6}"
            f"{percentile(times_s, 0.5):8.1f}{max(times_s, default=0):8.1f}"
            f"{max(settled_s, default=0):9.1f}"
        )
    for result in results:
        for violation in result.violations:
            print(f"VIOLATION {result.name}: {violation}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", default="", help="points, comma-separated: K6,K16,random")
    parser.add_argument("--quick", action="store_true", help="a few cases of each kind")
    parser.add_argument("--worlds", type=int, default=2, help="suites side by side")
    parser.add_argument("--seed", type=int, default=1, help="of the load and the kills")
    asked = parser.parse_args()
    chosen = frozenset(filter(None, asked.only.split(",")))
    sys.exit(asyncio.run(main(chosen, quick=asked.quick, worlds=asked.worlds, seed=asked.seed)))
