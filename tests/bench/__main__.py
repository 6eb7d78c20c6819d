"""`make bench`: the limit, payments end to end, the ledger, growth, memory. Prints a table and writes build/bench.json.

`make bench BENCH="hop payments"` runs some parts alone. Load generator, services, database and sandbox share the machine's cores: figures are
of this machine in this hour, so compare ratios.
"""

import argparse
import contextlib
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path

import uvloop

from deploy.local.suite import START_ORDER
from libs import memory
from tests.bench import figures, growth, hop, ledger, payments, profiles, soak, till
from tests.bench.figures import Row
from tests.bench.till import Till
from tests.suite_runner import running_suite

# Everything there is runs on the cores that are measured.
GROUPS = tuple(map(",".join, START_ORDER))
PARTS = ("hop", "payments", "soak", "ledger", "growth", "profiles")


async def measure(parts: frozenset[str]) -> list[Row]:
    """The figures of these parts; each is shown as soon as it is there."""
    rows: list[Row] = []

    def add(*more: Row) -> None:
        rows.extend(more)
        figures.show(more)

    if parts & {"hop", "payments"}:
        add(await hop.measure())
    if parts & {"payments", "soak", "profiles"}:
        async with _till() as opened:
            if "payments" in parts:
                add(*await payments.measure(opened, hop_rate=rows[0]["value"]))
            if "soak" in parts:
                add(*await soak.measure(opened))
            if "profiles" in parts:
                await profiles.take(opened)
    if "ledger" in parts:
        rows += await ledger.measure(tell=figures.show)
    if "growth" in parts:
        grown = growth.Growth()
        for entries in (growth.FEWEST, growth.MOST):
            async with _till() as opened:
                await grown.measure(opened, entries)
        add(*grown.rows())
    return rows


@contextlib.asynccontextmanager
async def _till() -> AsyncIterator[Till]:
    pids: dict[str, int] = {}
    with (
        tempfile.TemporaryDirectory() as folder,
        running_suite(Path(folder), GROUPS, pids=pids) as settings,
    ):
        async with till.opened(settings, pids) as opened:
            yield opened


def main() -> None:
    parser = argparse.ArgumentParser(prog="make bench")
    parser.add_argument(
        "parts", nargs="*", choices=[*PARTS, []], help="all of them when none is named"
    )
    parts = frozenset(parser.parse_args().parts or PARTS)
    # The callers of services are services, and are run as they are.
    memory.settle()
    figures.write(uvloop.run(measure(parts)))


if __name__ == "__main__":
    main()
