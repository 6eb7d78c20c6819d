"""What bounds the wait for a peer: a breaker, since one that does not answer is left alone, and a time for each caller."""

import asyncio
from collections.abc import Awaitable
from typing import Final, TypeVar

from libs.errors import Unavailable
from libs.resilience.breaker import Breaker

# A call carries a whole batch and may wait for seconds: few are needed to know.
CONSECUTIVE_FAILURES_MAX: Final = 3
OPEN_S: Final = 2.0
# Batches under way at once: a peer that hangs must not make the next batch wait its turn.
BATCHES_AT_ONCE: Final = 4

T = TypeVar("T")


def breaker(peer: str) -> Breaker:
    """Its breaker; the name labels the metrics."""
    return Breaker(peer, consecutive_failures_max=CONSECUTIVE_FAILURES_MAX, open_s=OPEN_S)


async def within(waiting: Awaitable[T], timeout_s: float) -> T:
    """A batched call bounded for its caller too, its time in the queue included. Raises Unavailable."""
    try:
        async with asyncio.timeout(timeout_s):
            return await waiting
    except TimeoutError:
        raise Unavailable("the neighbour did not answer in time") from None
