"""`make faults`: every toxic in every wire, one after the other; prints a table, exits 1 if anything did not add up.

`python -m tests.faults [--quick] [EDGE...]`
"""

import asyncio
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import grpc

from tests.chaos import audit
from tests.faults import cases
from tests.faults.cases import Finding
from tests.faults.world import EDGES, standing

HEADER = f"{'case':28} {'calls':>6} {'ok':>6} {'refused':>8} {'opened':>7} {'back s':>7} {'settled s':>10}  violations"


async def main(arguments: Sequence[str]) -> int:
    edges = [argument for argument in arguments if argument in EDGES]
    wanted = cases.QUICK if "--quick" in arguments else cases.ALL
    chosen = [case for case in wanted if not edges or case.edge in edges]
    began_s = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        async with standing(Path(folder)) as world:
            print(HEADER, flush=True)
            findings = []
            for number, case in enumerate(chosen):
                findings.append(await cases.play(world, case, number))
                show(findings[-1])
            left = await audit.audit(world.books)
    violations = sum(len(finding.violations) for finding in findings) + len(left)
    for difference in left:
        print(f"at the end: {difference}")
    print(
        f"{len(findings)} cases, {sum(finding.calls for finding in findings)} calls, "
        f"{violations} violations, {time.monotonic() - began_s:.0f} s"
    )
    return int(violations > 0)


def show(finding: Finding) -> None:
    """One line of the table, and one for each violation."""
    ok = finding.codes[grpc.StatusCode.OK]
    print(
        f"{finding.case.name:28} {finding.calls:6} {ok:6} {finding.codes.total() - ok:8} "
        f"{finding.opened:7.0f} {finding.recovery_s:7.1f} {finding.settle_s:10.1f}  "
        f"{len(finding.violations)}",
        flush=True,
    )
    for violation in finding.violations:
        print(f"    {violation}", flush=True)


if __name__ == "__main__":
    sys.exit(asyncio.run(main(sys.argv[1:])))
