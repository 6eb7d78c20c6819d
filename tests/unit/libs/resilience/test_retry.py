"""Retries end, and say why."""

import asyncio
import time

import pytest

from libs.errors import Unavailable
from libs.resilience.retry import retry


class _Flaky:
    def __init__(self, *errors: BaseException) -> None:
        self._errors = list(errors)
        self.calls = 0

    async def __call__(self) -> str:
        self.calls += 1
        if self._errors:
            raise self._errors.pop(0)
        return "done"


async def test_it_tries_again_until_it_works() -> None:
    flaky = _Flaky(OSError("1"), OSError("2"))
    assert await retry(flaky, on=OSError, wait_initial_s=0.001) == "done"
    assert flaky.calls == 3


async def test_the_last_error_is_raised_when_the_attempts_are_used_up() -> None:
    flaky = _Flaky(OSError("1"), OSError("2"), OSError("3"))
    with pytest.raises(OSError, match="2"):
        await retry(flaky, on=(OSError,), attempts_max=2, wait_initial_s=0.001)
    assert flaky.calls == 2


async def test_other_errors_pass_at_once() -> None:
    flaky = _Flaky(ValueError())
    with pytest.raises(ValueError):
        await retry(flaky, on=lambda error: isinstance(error, OSError), wait_initial_s=0.001)
    assert flaky.calls == 1


async def test_cancellation_passes_at_once_even_if_the_predicate_takes_everything() -> None:
    flaky = _Flaky(asyncio.CancelledError())
    with pytest.raises(asyncio.CancelledError):
        await retry(flaky, on=lambda _: True, wait_initial_s=0.001)
    assert flaky.calls == 1


async def test_it_waits_as_long_as_the_error_asks() -> None:
    started_s = time.monotonic()
    await retry(_Flaky(Unavailable(retry_after_s=0.1)), on=Unavailable, wait_initial_s=0.001)
    assert time.monotonic() - started_s >= 0.1


async def test_it_gives_up_when_the_wait_would_outlast_the_budget() -> None:
    flaky = _Flaky(Unavailable(retry_after_s=60))
    with pytest.raises(Unavailable):
        await retry(flaky, on=Unavailable, wait_initial_s=0.001, timeout_s=1)
    assert flaky.calls == 1


async def test_a_lambda_around_a_coroutine_is_awaited_and_tried_again() -> None:
    attempts: list[int] = []

    async def flaky(number: int) -> int:
        attempts.append(number)
        if len(attempts) == 1:
            raise OSError
        return number

    assert await retry(lambda: flaky(7), on=OSError, wait_initial_s=0.001) == 7
    assert attempts == [7, 7]
