"""Where a test may end a process, and where nobody else can."""

import signal
import subprocess
import sys
from pathlib import Path

from deploy.local.process import ROOT
from libs import crashpoints

PROGRAM = "from libs import crashpoints\nfor _ in range(3):\n    crashpoints.reach('K6')\n    print('went on')"


def run(**environ: str) -> tuple[int, int]:
    """(exit code, how often the program went on after the point)."""
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        env=environ,
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    return done.returncode, done.stdout.count("went on")


def test_nothing_dies_unless_the_process_was_started_for_it() -> None:
    assert run(FISC_CRASH_AT="K6:1") == (0, 3)
    assert run(FISC_CRASH_AT="K6:1", FISC_CRASH_ENABLED="true") == (0, 3)
    assert crashpoints.from_environment({"FISC_CRASH_AT": "K6:1"}) is None


def test_the_process_is_killed_the_second_time_it_comes_by() -> None:
    code, _ = run(FISC_CRASH_AT="K6:2", FISC_CRASH_ENABLED="1", PYTHONUNBUFFERED="1")
    assert code == -signal.SIGKILL
    assert run(FISC_CRASH_AT="K6:2", FISC_CRASH_ENABLED="1", PYTHONUNBUFFERED="1")[1] == 1


def test_another_point_is_passed_unharmed() -> None:
    assert run(FISC_CRASH_AT="K7:1", FISC_CRASH_ENABLED="1") == (0, 3)


def test_a_file_is_counted_down_across_processes_and_fires_once(tmp_path: Path) -> None:
    armed = tmp_path / "armed"
    armed.write_text("K6:5")
    environ = {"FISC_CRASH_FILE": str(armed), "FISC_CRASH_ENABLED": "1", "PYTHONUNBUFFERED": "1"}

    assert run(**environ) == (0, 3)
    assert armed.read_text() == "K6:2"
    assert run(**environ) == (-signal.SIGKILL, 1)
    assert not armed.exists()
    assert crashpoints.fired_path(armed).read_text().startswith("K6 ")
    assert run(**environ) == (0, 3)
