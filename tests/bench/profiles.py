"""Profiles of the hot processes under load, kept under build/profiles. Taken after the figures: watching costs something too."""

import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from tests.bench.load import closed_loop
from tests.bench.till import Till

FOLDER = Path("build/profiles")
HOT = ("gateway", "router", "risk", "account", "sandbox")
IN_FLIGHT = 128
DURATION_S = 10
SAMPLES_A_SECOND = 200


async def take(till: Till) -> None:
    """One raw profile a process, of the lines that hold the interpreter; says so where the system lets nobody watch."""
    watchers = _watch({name: till.pids[name] for name in HOT})
    await closed_loop(till.pay(), in_flight=IN_FLIGHT, duration_s=DURATION_S + 1)
    for name in HOT:
        if name in watchers and watchers[name].wait() == 0:
            print(FOLDER / f"{name}.txt")
        else:
            print(f"{name} could not be watched here")


def _watch(pids: Mapping[str, int]) -> "dict[str, subprocess.Popen[bytes]]":
    program = Path(sys.executable).with_name("py-spy")
    if not program.exists():
        return {}
    FOLDER.mkdir(parents=True, exist_ok=True)
    return {
        name: subprocess.Popen(
            [
                str(program),
                *("record", "--gil", "--format", "raw", "--rate", str(SAMPLES_A_SECOND)),
                *("--duration", str(DURATION_S), "--pid", str(pid)),
                *("--output", str(FOLDER / f"{name}.txt")),
            ],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        for name, pid in pids.items()
    }
