"""The supervisor: starts in order, restarts what dies, gives up in words, stops all in time."""

import asyncio
import contextlib
import os
import signal
import sys
import textwrap
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from deploy.local.errors import ProgramFailedError
from deploy.local.process import Program
from deploy.local.supervisor import Supervisor

WAIT_POLL_S = 0.02
WAIT_ROUNDS_MAX = 500

SERVES = """
    import pathlib, signal, sys, time
    signal.signal(signal.SIGTERM, lambda *_: (pathlib.Path(sys.argv[2]).open("a").write(
        pathlib.Path(sys.argv[1]).name + " "), sys.exit(0)))
    pathlib.Path(sys.argv[1]).write_text("up")
    print("serving", flush=True)
    time.sleep(60)
"""
IGNORES_SIGTERM = """
    import pathlib, signal, sys, time
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    pathlib.Path(sys.argv[1]).write_text("up")
    time.sleep(60)
"""
DIES = """
    import pathlib, sys
    print("no such table: payments", flush=True)
    sys.exit(3)
"""


def describe(tmp_path: Path, name: str, code: str, *, stop_grace_s: float = 5.0) -> Program:
    """A program that says it serves by making a file called like itself."""
    ready_path = tmp_path / name

    async def is_ready() -> bool:
        return ready_path.exists()

    async def forget() -> None:
        ready_path.unlink(missing_ok=True)

    return Program(
        name=name,
        argv=(
            *(sys.executable, "-c", textwrap.dedent(code)),
            *(str(ready_path), str(tmp_path / "stopped")),
        ),
        log_path=tmp_path / "logs" / f"{name}.log",
        ready=is_ready,
        before_start=forget,
        stop_grace_s=stop_grace_s,
    )


def is_alive(pid: int) -> bool:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, 0)
        return True
    return False


@pytest.fixture
def said() -> list[str]:
    return []


@pytest.fixture
async def supervisor(said: list[str]) -> AsyncIterator[Supervisor]:
    supervisor = Supervisor(on_event=said.append, quick_deaths_max=2)
    yield supervisor
    await supervisor.stop()


async def test_a_killed_program_is_started_again(
    tmp_path: Path, supervisor: Supervisor, said: list[str]
) -> None:
    await supervisor.start([describe(tmp_path, "router", SERVES)])
    first = supervisor.child("router").pid

    os.kill(first, signal.SIGKILL)
    for _ in range(WAIT_ROUNDS_MAX):
        if "router serves again" in said:
            break
        await asyncio.sleep(WAIT_POLL_S)

    assert "was ended by SIGKILL" in said[0]
    assert supervisor.child("router").pid != first
    assert is_alive(supervisor.child("router").pid)


async def test_the_last_started_is_the_first_stopped(
    tmp_path: Path, supervisor: Supervisor
) -> None:
    for name in ("postgres", "gateway", "cockpit"):
        await supervisor.start([describe(tmp_path, name, SERVES)])
    pids = [supervisor.child(name).pid for name in ("postgres", "gateway", "cockpit")]

    await supervisor.stop()

    assert (tmp_path / "stopped").read_text().split() == ["cockpit", "gateway", "postgres"]
    assert not any(is_alive(pid) for pid in pids)


async def test_what_does_not_stop_is_killed_within_its_grace(
    tmp_path: Path, supervisor: Supervisor
) -> None:
    await supervisor.start([describe(tmp_path, "stubborn", IGNORES_SIGTERM, stop_grace_s=0.5)])
    pid = supervisor.child("stubborn").pid

    began = time.monotonic()
    await supervisor.stop()

    assert not is_alive(pid)
    assert time.monotonic() - began >= 0.5


async def test_a_program_that_dies_at_start_fails_the_start_with_the_end_of_its_log(
    tmp_path: Path, supervisor: Supervisor
) -> None:
    programs = [describe(tmp_path, "router", SERVES), describe(tmp_path, "gateway", DIES)]
    with pytest.raises(ProgramFailedError, match=r"(?s)gateway ended with code 3.*no such table"):
        await supervisor.start(programs)


async def test_a_program_that_keeps_dying_is_given_up_with_the_end_of_its_log(
    tmp_path: Path, supervisor: Supervisor, said: list[str]
) -> None:
    dies_later = """
        import pathlib, sys, time
        pathlib.Path(sys.argv[1]).write_text("up")
        time.sleep(0.3)
        sys.exit("disk full")
    """
    await supervisor.start([describe(tmp_path, "account", dies_later)])

    with pytest.raises(ProgramFailedError, match=r"(?s)account.*given up.*disk full"):
        await asyncio.wait_for(supervisor.wait_failed(), timeout=20)

    assert said[-1] == "account keeps dying; given up"


async def test_stopping_twice_or_in_the_middle_of_a_restart_leaves_nothing(
    tmp_path: Path, supervisor: Supervisor, said: list[str]
) -> None:
    await supervisor.start([describe(tmp_path, "risk", SERVES)])
    os.kill(supervisor.child("risk").pid, signal.SIGKILL)
    for _ in range(WAIT_ROUNDS_MAX):
        if said:
            break
        await asyncio.sleep(WAIT_POLL_S)

    await supervisor.stop()
    await supervisor.stop()

    (tmp_path / "risk").unlink(missing_ok=True)
    await asyncio.sleep(0.5)
    assert not (tmp_path / "risk").exists()
