"""Runs many seeds, says what they showed, and replays the one that failed."""

import argparse
import gc
import time
from collections import Counter
from collections.abc import Iterable

from tests.simulation import chaos, world
from tests.simulation.invariants import Violation
from tests.simulation.world import Report

TWICE_EACH = 100
# Points at which a machine must have died at least once in a run of SEEDS_FULL seeds.
SEEDS_FULL = 1_000
CRASHES = tuple(
    f"crash at {point}"
    for point in (
        "create unsent",
        "create done",
        "save unsent",
        "save done",
        "claim done",
        "hold unsent",
        "hold done",
        "channel charge unsent",
        "channel charge done",
        "channel query done",
        "channel close done",
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
    options = parser.parse_args()
    if options.seed is not None:
        return _replay(options.seed)
    return _run_all(range(options.first, options.first + options.seeds))


def _replay(seed: int) -> int:
    report = world.run(seed)
    tell(report)
    print(f"seed {seed}: {len(report.violations)} violations, hash {report.digest}")
    return bool(report.violations)


def _run_all(seeds: range) -> int:
    started_s = time.perf_counter()
    failed: list[int] = []
    counts: Counter[str] = Counter()
    payments, virtual_s = 0, 0.0
    for report in reports(seeds):
        counts += report.counts
        payments += report.payments
        virtual_s += report.virtual_s
        if report.violations:
            failed.append(report.seed)
            tell(report)
    elapsed_s = time.perf_counter() - started_s
    print(
        f"{len(seeds)} seeds, {payments} payments, {virtual_s / 3600:.1f} h of virtual time, "
        f"{elapsed_s:.1f} s ({len(seeds) / elapsed_s:.1f} seeds/s)"
    )
    for kind in SOMETIMES:
        print(f"  {counts[kind]:8d}  {kind}")
    missing = [kind for kind in SOMETIMES if not counts[kind]] if len(seeds) >= SEEDS_FULL else []
    if missing:
        print(f"never happened, so nothing is shown of it: {', '.join(missing)}")
    print(f"{len(failed)} seeds failed" + (f": {failed[:20]}" if failed else ""))
    return bool(failed or missing)


def reports(seeds: Iterable[int], twice_each: int = TWICE_EACH) -> Iterable[Report]:
    """One after another; every hundredth twice, since a seed must decide everything."""
    gc.disable()
    try:
        for position, seed in enumerate(seeds):
            report = world.run(seed)
            if (
                twice_each
                and position % twice_each == 0
                and world.run(seed).digest != report.digest
            ):
                report.violations.append(Violation("determinism", "", "two runs, two histories"))
            yield report
            if position % 20 == 19:
                gc.collect()
    finally:
        gc.enable()


def tell(report: Report) -> None:
    """Each violation, the history of its subject in words, and how to see it again."""
    for violation in report.violations[:5]:
        print(f"{violation.invariant} violated: {violation.subject_id} {violation.words}")
        for line in report.lines.get(violation.subject_id, []):
            print(f"    {line}")
    if report.violations:
        print(f"  again: .venv/bin/python -m tests.simulation --seed {report.seed}")
