"""Bounded retries around I/O that is not gRPC (tenacity): exactly one layer retries."""

from collections.abc import Awaitable, Callable
from typing import TypeVar

import tenacity
from typing_extensions import override

from libs.errors import FiscError

T = TypeVar("T")
RetryOn = type[Exception] | tuple[type[Exception], ...] | Callable[[BaseException], bool]


async def retry(
    fn: Callable[[], Awaitable[T]],
    *,
    on: RetryOn,
    attempts_max: int = 3,
    wait_initial_s: float = 0.05,
    wait_max_s: float = 1.0,
    timeout_s: float = 5.0,
) -> T:
    """Await fn() until it returns, and return its result; fn must be safe to repeat.

    Tries again, after a jittered exponential wait (or the error's own retry_after_s where that is
    longer), on the exceptions that `on` names or accepts. Gives up and raises the last exception
    after attempts_max attempts, or when the next wait would end later than timeout_s after the
    start. An attempt is never cut off: bound it inside fn. Cancellation passes at once.
    """
    retrying = tenacity.AsyncRetrying(
        retry=_condition(on),
        stop=tenacity.stop_after_attempt(attempts_max) | tenacity.stop_before_delay(timeout_s),
        wait=_Wait(wait_initial_s, wait_max_s),
        reraise=True,
    )

    async def attempt() -> T:
        # tenacity awaits only what it recognises as a coroutine function, and a lambda is none.
        return await fn()

    return await retrying(attempt)


class _Wait(tenacity.wait.wait_base):
    """Exponential with full jitter, but never shorter than what the error asks for."""

    def __init__(self, wait_initial_s: float, wait_max_s: float) -> None:
        self._backoff = tenacity.wait_random_exponential(multiplier=wait_initial_s, max=wait_max_s)

    @override
    def __call__(self, retry_state: tenacity.RetryCallState) -> float:
        wait_s = self._backoff(retry_state)
        error = retry_state.outcome.exception() if retry_state.outcome else None
        if isinstance(error, FiscError) and error.retry_after_s is not None:
            return max(wait_s, error.retry_after_s)
        return wait_s


def _condition(on: RetryOn) -> tenacity.retry_base:
    if isinstance(on, type | tuple):
        return tenacity.retry_if_exception_type(on)
    # A predicate is asked about ordinary exceptions only: it cannot swallow a cancellation.
    return tenacity.retry_if_exception(lambda error: isinstance(error, Exception) and on(error))
