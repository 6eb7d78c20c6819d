"""Sagas under way in this process."""

import asyncio
from collections.abc import Collection, Coroutine
from typing import Any, TypeVar

from libs.db.errors import is_connection_lost
from libs.errors import FiscError
from libs.log import get_logger
from libs.rpc import deadline

# The longest a caller is kept waiting for an outcome; then it gets the subject as it stands.
ANSWER_WAIT_MAX_S = 10.0
ANSWER_MARGIN_S = 0.1

T = TypeVar("T")

_log = get_logger()


def answer_wait_s() -> float:
    """How long the caller may still be kept waiting for an outcome."""
    remaining_s = deadline.remaining_s()
    limit_s = ANSWER_WAIT_MAX_S if remaining_s is None else remaining_s - ANSWER_MARGIN_S
    return max(0.0, min(limit_s, ANSWER_WAIT_MAX_S))


def result_of(task: "asyncio.Task[T]") -> T | None:
    """What it came to; None while it goes on, and if it broke."""
    if not task.done() or task.cancelled() or task.exception() is not None:
        return None
    return task.result()


class Drives:
    """They outlive the RPC that began them; what breaks in one is logged and left to the sweeper."""

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[Any]] = set()

    def __len__(self) -> int:
        """How many are under way."""
        return len(self._tasks)

    def start(self, work: Coroutine[Any, Any, T]) -> "asyncio.Task[T]":
        """Runs on without the caller's deadline."""
        with deadline.detached():
            task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._finished)
        return task

    async def wait(self, task: "asyncio.Task[T]") -> T | None:
        """Its result if it comes before the caller's time is up; None otherwise, and if it broke."""
        await asyncio.wait([task], timeout=answer_wait_s())
        return result_of(task)

    async def wait_all(self, tasks: "Collection[asyncio.Task[T]]") -> None:
        """Until all have ended or the caller's time is up; `result_of` tells what became of each."""
        if tasks:
            await asyncio.wait(tasks, timeout=answer_wait_s())

    async def drain(self, timeout_s: float = 5.0) -> None:
        """Waits for what is under way; what is not done by then is left to the sweepers."""
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=timeout_s)

    def _finished(self, task: "asyncio.Task[Any]") -> None:
        self._tasks.discard(task)
        if task.cancelled():
            return
        error = task.exception()
        if isinstance(error, FiscError):
            _log.warning("saga step postponed", reason=error.reason, message=error.message)
        elif error is not None and is_connection_lost(error):
            _log.warning("saga step postponed", reason="CONNECTION_LOST")
        elif error is not None:
            _log.error("saga step broke", exc_info=error)
