"""Named places at which a test may end this process, to prove that nothing is lost there.

A service says `crashpoints.reach("K6")` where the design names a crash point (docs/crash-tests.md). That does nothing unless
FISC_CRASH_ENABLED=1 stood in the environment when the process started; production never sets it. Then one of these decides:

FISC_CRASH_AT="K6:2"     the second time that this process reaches K6, it kills itself with SIGKILL.
FISC_CRASH_FILE=<path>   the same, from a file of that text. It may be written while the process runs, is counted down in place by
                         whichever process reaches the point, and is gone once it has fired; `<path>.fired` then says when and who.

A third word, "K6:1:stop", stops the process with SIGSTOP instead: a replica that is paused, and wakes believing it still owns
what it was doing.
"""

import contextlib
import os
import signal
import time
from collections.abc import Callable, Mapping
from pathlib import Path

ENABLED_VARIABLE = "FISC_CRASH_ENABLED"
AT_VARIABLE = "FISC_CRASH_AT"
FILE_VARIABLE = "FISC_CRASH_FILE"
STOP = "stop"


def fired_path(path: Path) -> Path:
    """Where the process that fired leaves "POINT PID UNIX_NANOSECONDS"."""
    return path.with_name(f"{path.name}.fired")


def from_environment(environ: Mapping[str, str]) -> Callable[[str], None] | None:
    """What `reach` does under this environment; None where nothing is armed."""
    if environ.get(ENABLED_VARIABLE) != "1":
        return None
    if at := environ.get(AT_VARIABLE, ""):
        return _counting(at)
    if path := environ.get(FILE_VARIABLE, ""):
        return _watching(Path(path))
    return None


def reach(point: str) -> None:
    """Tell that the process has come to this point. Does nothing unless a test has armed it."""
    if _armed is not None:
        _armed(point)


def _counting(at: str) -> Callable[[str], None]:
    wanted, hits_left, action = _parse(at)

    def hit(point: str) -> None:
        nonlocal hits_left
        if point != wanted:
            return
        hits_left -= 1
        if hits_left == 0:
            os.kill(os.getpid(), action)

    return hit


def _watching(path: Path) -> Callable[[str], None]:
    def hit(point: str) -> None:
        try:
            wanted, hits_left, action = _parse(path.read_text())
        except (FileNotFoundError, ValueError):
            return
        if point != wanted:
            return
        if hits_left > 1:
            word = f":{STOP}" if action is signal.SIGSTOP else ""
            path.write_text(f"{wanted}:{hits_left - 1}{word}")
            return
        with contextlib.suppress(FileNotFoundError):
            # Of two processes at one point, the one that removes the file is the one that dies.
            path.unlink()
            fired_path(path).write_text(f"{point} {os.getpid()} {time.time_ns()}")
            os.kill(os.getpid(), action)

    return hit


def _parse(text: str) -> tuple[str, int, signal.Signals]:
    """ "K6", "K6:2" or "K6:2:stop"."""
    point, _, rest = text.strip().partition(":")
    hits, _, word = rest.partition(":")
    return point, int(hits or 1), signal.SIGSTOP if word == STOP else signal.SIGKILL


_armed = from_environment(os.environ)
