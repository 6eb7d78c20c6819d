"""The breaker as its callers meet it."""

import asyncio
import itertools
from datetime import UTC, datetime
from typing import Any

import prometheus_client
import pytest

from libs.clock import FrozenClock
from libs.resilience.breaker import Breaker, BreakerOpen

OPEN_S = 10.0
_numbers = itertools.count()


class PeerError(Exception):
    """The peer is sick."""


class DeclinedError(Exception):
    """The peer is well and says no."""


async def _answer() -> str:
    return "answer"


async def _fail() -> str:
    raise PeerError


async def _decline() -> str:
    raise DeclinedError


def _is_failure(error: BaseException) -> bool:
    return isinstance(error, PeerError)


@pytest.fixture
def clock() -> FrozenClock:
    return FrozenClock(datetime(2026, 1, 1, tzinfo=UTC))


def _breaker(clock: FrozenClock, **options: Any) -> Breaker:
    return Breaker(f"peer-{next(_numbers)}", open_s=OPEN_S, clock=clock, **options)


async def _open(breaker: Breaker) -> None:
    for _ in range(5):
        with pytest.raises(PeerError):
            await breaker.call(_fail, is_failure=_is_failure)
    assert breaker.state == "open"


def _metric(metric: str, /, **labels: str) -> float | None:
    return prometheus_client.REGISTRY.get_sample_value(metric, labels)


async def test_coroutines_that_fail_five_times_in_a_row_open_it(clock: FrozenClock) -> None:
    breaker = _breaker(clock)
    await _open(breaker)
    called = False

    async def notice() -> None:
        nonlocal called
        called = True

    clock.advance(4)
    with pytest.raises(BreakerOpen) as refused:
        await breaker.call(notice, is_failure=_is_failure)
    assert not called
    assert refused.value.retry_after_s == pytest.approx(OPEN_S - 4)


async def test_a_success_between_failures_starts_the_count_anew(clock: FrozenClock) -> None:
    breaker = _breaker(clock)
    for fn in [_fail] * 4 + [_answer] + [_fail] * 4:
        try:
            await breaker.call(fn, is_failure=_is_failure)
        except PeerError:
            continue
    assert breaker.state == "closed"


async def test_cancelled_calls_never_open_it(clock: FrozenClock) -> None:
    breaker = _breaker(clock, calls_min=1)
    for _ in range(10):
        task = asyncio.create_task(breaker.call(asyncio.Event().wait, is_failure=lambda _: True))
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    assert breaker.state == "closed"


async def test_a_refusal_by_the_peer_is_no_failure(clock: FrozenClock) -> None:
    breaker = _breaker(clock, calls_min=1)
    for _ in range(10):
        with pytest.raises(DeclinedError):
            await breaker.call(_decline, is_failure=_is_failure)
    assert breaker.state == "closed"
    assert _metric("circuitbreaker_calls_seconds_count", name=breaker.name, kind="ignored") == 10


async def test_every_second_call_failing_opens_it_once_enough_were_seen(clock: FrozenClock) -> None:
    breaker = _breaker(clock)
    for number in range(19):
        try:
            await breaker.call(_answer if number % 2 else _fail, is_failure=_is_failure)
        except PeerError:
            continue
    assert breaker.state == "closed"
    await breaker.call(_answer, is_failure=_is_failure)
    assert breaker.state == "open"


async def test_old_calls_leave_the_window(clock: FrozenClock) -> None:
    breaker = _breaker(clock, window=10, calls_min=10, consecutive_failures_max=100)
    for _ in range(4):
        with pytest.raises(PeerError):
            await breaker.call(_fail, is_failure=_is_failure)
    for _ in range(10):
        await breaker.call(_answer, is_failure=_is_failure)
    for _ in range(4):
        with pytest.raises(PeerError):
            await breaker.call(_fail, is_failure=_is_failure)
    assert breaker.state == "closed"
    with pytest.raises(PeerError):
        await breaker.call(_fail, is_failure=_is_failure)
    assert breaker.state == "open"


async def test_slow_answers_open_it(clock: FrozenClock) -> None:
    breaker = _breaker(clock, calls_min=4, slow_call_s=1.0, slow_call_rate_threshold=0.5)

    async def answer_slowly() -> None:
        clock.advance(2)

    for fn in (_answer, _answer, answer_slowly, answer_slowly):
        await breaker.call(fn, is_failure=_is_failure)
    assert breaker.state == "open"


async def test_half_open_lets_only_its_probes_through(clock: FrozenClock) -> None:
    breaker = _breaker(clock)
    await _open(breaker)
    clock.advance(OPEN_S)
    gate = asyncio.Event()
    arrived = 0

    async def wait_at_gate() -> None:
        nonlocal arrived
        arrived += 1
        await gate.wait()

    calls = [
        asyncio.create_task(breaker.call(wait_at_gate, is_failure=_is_failure)) for _ in range(10)
    ]
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert arrived == 3
    gate.set()
    done, _ = await asyncio.wait(calls)
    refused = [call for call in done if isinstance(call.exception(), BreakerOpen)]
    assert len(refused) == 7
    assert breaker.state == "closed"


async def test_one_failed_probe_opens_it_again_for_the_whole_time(clock: FrozenClock) -> None:
    breaker = _breaker(clock)
    await _open(breaker)
    clock.advance(OPEN_S)
    await breaker.call(_answer, is_failure=_is_failure)
    assert breaker.state == "half-open"
    with pytest.raises(PeerError):
        await breaker.call(_fail, is_failure=_is_failure)
    assert breaker.state == "open"
    clock.advance(OPEN_S - 0.1)
    with pytest.raises(BreakerOpen):
        await breaker.call(_answer, is_failure=_is_failure)


async def test_a_cancelled_probe_gives_its_place_to_another(clock: FrozenClock) -> None:
    breaker = _breaker(clock, half_open_calls_max=1)
    await _open(breaker)
    clock.advance(OPEN_S)
    probe = asyncio.create_task(breaker.call(asyncio.Event().wait, is_failure=_is_failure))
    await asyncio.sleep(0)
    with pytest.raises(BreakerOpen):
        await breaker.call(_answer, is_failure=_is_failure)
    probe.cancel()
    with pytest.raises(asyncio.CancelledError):
        await probe
    assert await breaker.call(_answer, is_failure=_is_failure) == "answer"
    assert breaker.state == "closed"


async def test_a_failure_from_before_it_opened_does_not_spoil_the_probes(
    clock: FrozenClock,
) -> None:
    breaker = _breaker(clock, half_open_calls_max=2)
    gate = asyncio.Event()

    async def fail_late() -> None:
        await gate.wait()
        raise PeerError

    late = asyncio.create_task(breaker.call(fail_late, is_failure=_is_failure))
    await asyncio.sleep(0)
    await _open(breaker)
    clock.advance(OPEN_S)
    await breaker.call(_answer, is_failure=_is_failure)
    gate.set()
    with pytest.raises(PeerError):
        await late
    assert breaker.state == "half-open"


async def test_metrics_show_state_and_refusals(clock: FrozenClock) -> None:
    breaker = _breaker(clock)
    assert _metric("circuitbreaker_state", name=breaker.name, state="closed") == 1
    await _open(breaker)
    with pytest.raises(BreakerOpen):
        await breaker.call(_answer, is_failure=_is_failure)
    assert _metric("circuitbreaker_state", name=breaker.name, state="closed") == 0
    assert _metric("circuitbreaker_state", name=breaker.name, state="open") == 1
    assert _metric("circuitbreaker_not_permitted_total", name=breaker.name) == 1
    transition = {"name": breaker.name, "from": "closed", "to": "open"}
    assert _metric("circuitbreaker_transitions_total", **transition) == 1
    assert _metric("circuitbreaker_calls_seconds_count", name=breaker.name, kind="failed") == 5
