"""The caller's deadline, carried through the code by a context variable.

grpc.aio hands a handler its deadline but does not pass it on to the calls that the handler makes.
The server interceptor puts it here, `client.call` takes it from here. It is an instant of
`time.monotonic()`, in seconds.
"""

import contextlib
import time
from collections.abc import Iterator
from contextvars import ContextVar
from typing import Final

from libs.errors import DeadlineExceeded

DEADLINE_MAX_S: Final = 30.0
# Kept back from every onward call, so that our own answer can still reach the caller in time.
MARGIN_S: Final = 0.02

_deadline_at_s: ContextVar[float | None] = ContextVar("deadline_at_s", default=None)


def remaining_s() -> float | None:
    """Seconds until the caller gives up, negative when it has; None outside any RPC."""
    at_s = _deadline_at_s.get()
    return None if at_s is None else at_s - time.monotonic()


def budget_s(timeout_s: float) -> float:
    """What an onward call may take: timeout_s, or the caller's rest less the margin.

    Raises DeadlineExceeded when nothing is left; nothing was sent then.
    """
    rest_s = remaining_s()
    if rest_s is None:
        return timeout_s
    budget = min(timeout_s, rest_s - MARGIN_S)
    if budget <= 0:
        raise DeadlineExceeded(
            "the caller's deadline leaves no time for this call; nothing was sent"
        )
    return budget


def enter(timeout_s: float) -> None:
    """Give the current task a deadline timeout_s from now; once a call, by the interceptor."""
    _deadline_at_s.set(time.monotonic() + timeout_s)


@contextlib.contextmanager
def within(timeout_s: float) -> Iterator[None]:
    """Limit the calls made inside the block to timeout_s from now; an earlier deadline stays."""
    at_s = time.monotonic() + timeout_s
    outer_at_s = _deadline_at_s.get()
    token = _deadline_at_s.set(at_s if outer_at_s is None else min(at_s, outer_at_s))
    try:
        yield
    finally:
        _deadline_at_s.reset(token)


@contextlib.contextmanager
def detached() -> Iterator[None]:
    """Forget the caller's deadline inside the block.

    A task inherits the context it is created in: start work that must outlive the RPC inside this
    block, or its calls would fail as soon as the caller has gone.
    """
    token = _deadline_at_s.set(None)
    try:
        yield
    finally:
        _deadline_at_s.reset(token)
