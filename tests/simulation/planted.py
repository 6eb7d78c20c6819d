"""`python -m tests.simulation.planted`: known bugs, switched on one at a time. A simulation that misses one shows nothing."""

import argparse
import multiprocessing
import os
import sys
import time

from tests.simulation import bugs_of_flows, bugs_of_lateness, bugs_of_machinery, runner
from tests.simulation.bug import BUGS, Bug

SEEDS_MAX = 200
LISTS = (bugs_of_flows, bugs_of_lateness, bugs_of_machinery)


def hunt(planted: Bug, seeds_max: int = SEEDS_MAX) -> tuple[int, str] | None:
    """How many seeds it took to catch the bug, and by which invariant; None when none does."""
    undo: list[tuple[object, str, object]] = []

    def patch(owner: object, name: str, value: object) -> None:
        undo.append((owner, name, getattr(owner, name)))
        setattr(owner, name, value)

    planted.plant(patch)
    try:
        for report in runner.reports(range(1, seeds_max + 1), twice_each=0):
            if report.violations:
                first = report.violations[0]
                return report.seed, f"{first.invariant} {first.words}"
        return None
    finally:
        for owner, name, value in reversed(undo):
            setattr(owner, name, value)


def _hunt_named(name: str) -> tuple[str, float, tuple[int, str] | None]:
    started_s = time.perf_counter()
    caught = hunt(next(each for each in BUGS if each.name == name))
    return name, time.perf_counter() - started_s, caught


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m tests.simulation.planted")
    parser.add_argument("--bug", default="", help="only the bugs whose name contains this")
    parser.add_argument("--processes", type=int, default=os.cpu_count() or 1)
    options = parser.parse_args()
    chosen = [each.name for each in BUGS if options.bug in each.name]
    missed, slowest, started_s = 0, 0, time.perf_counter()
    with multiprocessing.get_context("spawn").Pool(options.processes) as pool:
        for name, elapsed_s, caught in pool.imap(_hunt_named, chosen):
            if caught is None:
                missed += 1
                print(f"MISSED  {elapsed_s:6.1f} s  {name}")
                continue
            seed, words = caught
            slowest = max(slowest, seed)
            print(f"caught  {elapsed_s:6.1f} s  {name}: seed {seed}: {words}")
    print(
        f"{len(chosen) - missed} of {len(chosen)} planted bugs caught, the slowest by its "
        f"{slowest}. seed, in {time.perf_counter() - started_s:.0f} s"
    )
    return bool(missed)


if __name__ == "__main__":
    sys.exit(main())
