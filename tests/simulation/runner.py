"""Runs many seeds on all cores, says what they showed, and replays the one that failed."""

import argparse
import gc
import multiprocessing
import os
import time
from collections import Counter
from collections.abc import Iterable, Iterator

from tests.simulation import chaos, world
from tests.simulation.invariants import Violation
from tests.simulation.world import Report

TWICE_EACH = 100
# Kinds of faults and points of death that must have come up at least once in a run of SEEDS_FULL seeds.
SEEDS_FULL = 200
CHUNK = 5
COLLECT_EACH = 20
CRASHES = tuple(
    f"crash at {point}"
    for point in (
        "create unsent",
        "create done",
        "save unsent",
        "save done",
        "claim done",
        "hand over done",
        "hold unsent",
        "hold done",
        "channel charge unsent",
        "channel charge done",
        "channel query done",
        "channel close done",
        "channel capture unsent",
        "channel capture done",
        "channel refund done",
        "channel payout done",
        "post unsent",
        "post done",
        "capture done",
        "void done",
        "cursor unsent",
        "cursor done",
        "receive done",
        "settle unsent",
        "settle done",
        "feed done",
        "apply unsent",
        "apply done",
        "make batches done",
        "decide done",
        *(f"K{number}" for number in (2, 3, 5, 6, 7, 8, 9, 10, 11, 12, 13, 15)),
    )
)
SOMETIMES = (*chaos.RATES, *chaos.ACTIONS, *chaos.OCCURRENCES, *CRASHES)


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m tests.simulation")
    parser.add_argument("--seeds", type=int, default=100)
    parser.add_argument("--seed", type=int, default=None, help="replay this one and tell its story")
    parser.add_argument("--first", type=int, default=1)
    parser.add_argument("--processes", type=int, default=os.cpu_count() or 1)
    options = parser.parse_args()
    if options.seed is not None:
        return _replay(options.seed)
    return _run_all(range(options.first, options.first + options.seeds), options.processes)


def _replay(seed: int) -> int:
    report = world.run(seed)
    tell(report)
    print(f"seed {seed}: {len(report.violations)} violations, hash {report.digest}")
    return bool(report.violations)


def _run_all(seeds: range, processes: int) -> int:
    started_s = time.perf_counter()
    failed: list[int] = []
    counts: Counter[str] = Counter()
    payments, virtual_s = 0, 0.0
    for report in side_by_side(seeds, processes):
        counts += report.counts
        payments += report.payments
        virtual_s += report.virtual_s
        if report.violations:
            failed.append(report.seed)
            tell(report)
    elapsed_s = time.perf_counter() - started_s
    print(
        f"{len(seeds)} seeds, {payments} payments, {virtual_s / 3600:.1f} h of virtual time, "
        f"{elapsed_s:.1f} s on {processes} processes ({len(seeds) / elapsed_s:.1f} seeds/s)"
    )
    for kind in SOMETIMES:
        print(f"  {counts[kind]:8d}  {kind}")
    missing = [kind for kind in SOMETIMES if not counts[kind]] if len(seeds) >= SEEDS_FULL else []
    if missing:
        print(f"never happened, so nothing is shown of it: {', '.join(missing)}")
    print(f"{len(failed)} seeds failed" + (f": {failed[:20]}" if failed else ""))
    return bool(failed or missing)


def side_by_side(seeds: range, processes: int) -> Iterator[Report]:
    """On several cores; the reports come in the seeds' order."""
    if processes <= 1:
        yield from reports(seeds)
        return
    with multiprocessing.get_context("spawn").Pool(processes, _begin) as pool:
        yield from pool.imap(_checked, seeds, CHUNK)


def _begin() -> None:
    """What is imported by now is never garbage; what worlds leave behind is collected now and then."""
    gc.collect()
    gc.freeze()
    gc.disable()


def reports(seeds: Iterable[int], twice_each: int = TWICE_EACH) -> Iterator[Report]:
    """One after another; every hundredth twice, since a seed must decide everything."""
    gc.disable()
    try:
        for seed in seeds:
            yield _checked(seed, twice_each)
    finally:
        gc.enable()


def _checked(seed: int, twice_each: int = TWICE_EACH) -> Report:
    report = world.run(seed)
    if twice_each and seed % twice_each == 0 and world.run(seed).digest != report.digest:
        report.violations.append(Violation("determinism", "", "two runs, two histories"))
    if seed % COLLECT_EACH == 0:
        gc.collect()
    return report


def tell(report: Report) -> None:
    """Each violation, the history of its subject in words, and how to see it again."""
    for violation in report.violations[:5]:
        print(f"{violation.invariant} violated: {violation.subject_id} {violation.words}")
        for line in report.lines.get(violation.subject_id, []):
            print(f"    {line}")
    if report.violations:
        print(f"  again: .venv/bin/python -m tests.simulation --seed {report.seed}")
