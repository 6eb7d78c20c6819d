"""What tests of several packages need: a server in the test's loop, and patience with a limit."""

import asyncio
import inspect
import time
from collections.abc import Awaitable, Callable
from typing import Final, TypeVar, overload

from libs.rpc.server import running

__all__ = ["eventually", "running"]

POLL_INTERVAL_S: Final = 0.02

T = TypeVar("T")


@overload
async def eventually(predicate: Callable[[], Awaitable[T]], timeout_s: float = ...) -> T: ...
@overload
async def eventually(predicate: Callable[[], T], timeout_s: float = ...) -> T: ...
async def eventually(predicate: Callable[[], T | Awaitable[T]], timeout_s: float = 5.0) -> T:
    """Ask until the answer is true, and return it; AssertionError after timeout_s.

    A predicate that raises AssertionError has answered no, so it may hold the assertions
    themselves.
    """
    give_up_at_s = time.monotonic() + timeout_s
    while True:
        failure: AssertionError | None = None
        answer: T | None = None
        try:
            given = predicate()
            answer = await given if inspect.isawaitable(given) else given
        except AssertionError as error:
            failure = error
        if answer and failure is None:
            return answer
        if time.monotonic() >= give_up_at_s:
            if failure is not None:
                raise failure
            raise AssertionError(f"not within {timeout_s:g} s; the last answer was {answer!r}")
        await asyncio.sleep(POLL_INTERVAL_S)
