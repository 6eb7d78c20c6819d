"""Runs a part of the local suite as a process of its own, for tests that speak to real services.

`python -m tests.suite_runner BASE_PORT DATA_DIR GROUP...`, each GROUP a comma-separated list of services, prints a line "pid NAME NUMBER" a
process, then "ready", and stays until SIGTERM. `running_suite` starts it from a test session.
"""

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from deploy.local import ports
from deploy.local.environment import LocalSettings
from deploy.local.suite import Suite

STOP_TIMEOUT_S = 30
READY = "ready"


@contextlib.contextmanager
def running_suite(
    data_dir: Path,
    groups: Sequence[str],
    *,
    pids: dict[str, int] | None = None,
    environ: Mapping[str, str] | None = None,
    base_port: int | None = None,
) -> Iterator[LocalSettings]:
    """Starts the services of `groups` in order and stops them at the end. `pids`, if given, is filled by name."""
    settings = LocalSettings(base_port=base_port or ports.find_free_base(), data_dir=data_dir)
    process = subprocess.Popen(
        [
            sys.executable,
            "-m",
            "tests.suite_runner",
            str(settings.base_port),
            str(data_dir),
            *groups,
        ],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, **(environ or {})},
    )
    try:
        lines = []
        assert process.stdout is not None
        for line in process.stdout:
            lines.append(line)
            if line.startswith("pid ") and pids is not None:
                _, name, number = line.split()
                pids[name] = int(number)
            if line.strip() == READY:
                break
        else:
            raise RuntimeError("the suite did not start:\n" + "".join(lines))
        yield settings
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(STOP_TIMEOUT_S)
        if process.stdout is not None:
            process.stdout.close()


async def _run(base_port: int, data_dir: Path, groups: Sequence[str]) -> None:
    settings = LocalSettings(base_port=base_port, data_dir=data_dir)
    start_order = [group.split(",") for group in groups]
    async with Suite(settings, on_progress=print, start_order=start_order) as suite:
        for name in ("postgres", "redis", *(name for group in start_order for name in group)):
            print("pid", name, suite.child(name).pid)
        print(READY, flush=True)
        await suite.run_until_stopped()


if __name__ == "__main__":
    asyncio.run(_run(int(sys.argv[1]), Path(sys.argv[2]), sys.argv[3:]))
