"""Become another program that dies with its parent: `python launch.py PARENT_PID UID GID -- argv`.

A process of its own, standard library only, so that the supervisor never forks Python code while
its threads run. UID and GID are `-` to keep the present user. It replaces itself by exec, so the
process id the supervisor sees is the one of the program.
"""

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1


def die_with_parent(parent_pid: int) -> None:
    """Ask the kernel (Linux only) for SIGINT when the parent dies, then see that it still lives.

    SIGINT, because Postgres answers it with a fast shutdown, where SIGTERM would wait for clients.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGINT)
    if os.getppid() != parent_pid:
        sys.exit(1)


def main() -> None:
    """Drop privileges if told to, tie our life to the parent's, and become the program."""
    parent_pid, uid, gid, separator, *argv = sys.argv[1:]
    if separator != "--":
        sys.exit("usage: launch.py PARENT_PID UID GID -- argv")
    if uid != "-":
        os.setgroups([])
        os.setgid(int(gid))
        os.setuid(int(uid))
    # A change of user clears the death signal, so it is set last.
    die_with_parent(int(parent_pid))
    os.execvp(argv[0], argv)  # noqa: S606 the caller gives a list, there is no shell to fool


if __name__ == "__main__":
    main()
