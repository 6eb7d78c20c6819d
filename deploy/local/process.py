"""One child process: start it, wait until it serves, stop it in time."""

import asyncio
import contextlib
import dataclasses
import os
import signal
import sys
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping
from pathlib import Path
from typing import Final

from deploy.local.errors import ProgramFailedError

ROOT: Final = Path(__file__).resolve().parents[2]
LAUNCHER: Final = Path(__file__).with_name("launch.py")
LOG_TAIL_LINES: Final = 15
LOG_TAIL_BYTES_MAX: Final = 16_384
LOG_BYTES_MAX: Final = 50_000_000
READY_POLL_S: Final = 0.05
READY_TIMEOUT_S: Final = 60.0
STOP_GRACE_S: Final = 10.0
KILL_WAIT_S: Final = 5.0


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Program:
    """What to run, how to see that it serves, and how to ask it to stop.

    `run_as` is the (uid, gid) to change to first. `before_start` runs before every start, also
    before a restart. A program that needs more than `stop_grace_s` after `stop_signal` is killed.
    """

    name: str
    argv: tuple[str, ...]
    log_path: Path
    ready: Callable[[], Awaitable[bool]]
    env: Mapping[str, str] = dataclasses.field(default_factory=lambda: dict(os.environ))
    cwd: Path = ROOT
    run_as: tuple[int, int] | None = None
    before_start: Callable[[], Awaitable[None]] | None = None
    stop_signal: signal.Signals = signal.SIGTERM
    stop_grace_s: float = STOP_GRACE_S
    ready_timeout_s: float = READY_TIMEOUT_S


class Child:
    """A running program. It leads its own session, so a Ctrl-C at the terminal reaches only us."""

    def __init__(self, program: Program, process: asyncio.subprocess.Process) -> None:
        self.program = program
        self.started_at = time.monotonic()
        self._process = process

    @classmethod
    async def start(cls, program: Program) -> "Child":
        """Start the program, output appended to its log. It need not serve yet."""
        if program.before_start is not None:
            await program.before_start()
        uid, gid = program.run_as or ("-", "-")
        with open_log(program.log_path) as log:
            process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-I", "-S", str(LAUNCHER), str(os.getpid()), str(uid), str(gid)),
                "--",
                *program.argv,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=dict(program.env),
                cwd=program.cwd,
                start_new_session=True,
            )
        return cls(program, process)

    @property
    def pid(self) -> int:
        """The process id of the program itself."""
        return self._process.pid

    @property
    def returncode(self) -> int | None:
        """The exit code, negative for a signal; None while it runs."""
        return self._process.returncode

    async def wait(self) -> int:
        """Wait until the program ends; return its exit code."""
        return await self._process.wait()

    async def wait_ready(self) -> None:
        """Wait until the program serves. Raises ProgramFailedError when it dies or takes too long."""
        program = self.program
        deadline = time.monotonic() + program.ready_timeout_s
        while self.returncode is None:
            if await program.ready():
                return
            if time.monotonic() > deadline:
                raise ProgramFailedError(
                    f"{program.name} was not ready within {program.ready_timeout_s:.0f} s."
                    f"{describe_log(program.log_path)}"
                )
            await asyncio.sleep(READY_POLL_S)
        raise ProgramFailedError(
            f"{program.name} {describe_exit(self.returncode)} before it was ready."
            f"{describe_log(program.log_path)}"
        )

    async def stop(self) -> None:
        """Ask the program to stop, then kill it and its children. Idempotent."""
        if self.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                self._process.send_signal(self.program.stop_signal)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._process.wait(), self.program.stop_grace_s)
        self.kill()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._process.wait(), KILL_WAIT_S)

    def kill(self) -> None:
        """Kill what is left of the program's process group, at once."""
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, signal.SIGKILL)


@contextlib.contextmanager
def open_log(path: Path) -> Iterator[int]:
    """Open a log for appending, readable to us alone; a huge one is first moved aside."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.exists() and path.stat().st_size > LOG_BYTES_MAX:
        path.replace(path.with_suffix(path.suffix + ".1"))
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def describe_exit(returncode: int) -> str:
    """Say in words how a process ended."""
    if returncode >= 0:
        return f"ended with code {returncode}"
    try:
        return f"was ended by {signal.Signals(-returncode).name}"
    except ValueError:
        return f"was ended by signal {-returncode}"


def describe_log(path: Path) -> str:
    """Return the end of a log, for an error message."""
    try:
        with path.open("rb") as log:
            log.seek(max(0, path.stat().st_size - LOG_TAIL_BYTES_MAX))
            lines = log.read().decode(errors="replace").splitlines()
    except FileNotFoundError:
        return ""
    tail = "\n".join(f"  {line}" for line in lines[-LOG_TAIL_LINES:])
    return f" The end of {path}:\n{tail}"
