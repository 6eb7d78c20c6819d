"""A circuit breaker for coroutines, around pybreaker.

pybreaker gives the state machine, the count of consecutive failures, the listeners and the storage;
it does not know asyncio (1.4: a decorated coroutine never trips it, cancellation counts as failure,
half-open lets everybody in, its open time is the wall clock's). So no await happens inside it: the
adapter asks for permission, awaits, and then reports the result as a plain call. It adds a sliding
window with failure and slow-call rates (resilience4j's terms), a limit of probes while half-open,
and the injected clock.
"""

import asyncio
import collections
from collections.abc import Awaitable, Callable
from typing import Final, TypeVar

import pybreaker
from typing_extensions import override

from libs import log, telemetry
from libs.clock import Clock, SystemClock
from libs.errors import ErrorKind, FiscError

STATES: Final = (pybreaker.STATE_CLOSED, pybreaker.STATE_OPEN, pybreaker.STATE_HALF_OPEN)
# How long to stay away when the breaker is half-open and its probes are all taken.
PROBES_TAKEN_RETRY_S: Final = 1.0
_RATE_UNKNOWN: Final = -1.0
_PERCENT: Final = 100.0

T = TypeVar("T")
_log = log.get_logger()


class BreakerOpen(FiscError):
    """The peer failed too often; it is left alone for a while."""

    kind = ErrorKind.UNAVAILABLE
    reason = "BREAKER_OPEN"


class Breaker:
    """Stops calling a peer that fails, and tries a few calls after a while.

    It opens when, over the last `window` calls and at least `calls_min` of them, the share that
    failed reaches failure_rate_threshold or the share that took longer than slow_call_s reaches
    slow_call_rate_threshold; and after consecutive_failures_max failures in a row. After open_s it
    lets half_open_calls_max calls through: all must succeed to close it, one failure opens it
    again. One event loop only.
    """

    def __init__(
        self,
        name: str,
        *,
        failure_rate_threshold: float = 0.5,
        window: int = 100,
        calls_min: int = 20,
        consecutive_failures_max: int = 5,
        open_s: float = 10.0,
        half_open_calls_max: int = 3,
        slow_call_s: float | None = None,
        slow_call_rate_threshold: float = 1.0,
        clock: Clock | None = None,
    ) -> None:
        """The name labels the metrics: a peer or channel, from a closed set."""
        self.name = name
        self._failure_rate_threshold = failure_rate_threshold
        self._calls_min = calls_min
        self._open_s = open_s
        self._half_open_calls_max = half_open_calls_max
        self._slow_call_s = slow_call_s
        self._slow_call_rate_threshold = slow_call_rate_threshold
        self._clock = clock or SystemClock()
        self._window = _Window(window)
        # Results of calls that began under an earlier state say nothing about this one.
        self._generation = 0
        self._opened_at_s = 0.0
        self._probes_in_flight = 0
        self._machine = pybreaker.CircuitBreaker(
            fail_max=consecutive_failures_max,
            success_threshold=half_open_calls_max,
            state_storage=pybreaker.CircuitMemoryStorage(pybreaker.STATE_CLOSED),
            listeners=[_Listener(self._entered)],
            throw_new_error_on_trip=False,
            name=name,
        )
        self._metrics = _Metrics(name)
        self._metrics.show_state(self.state)

    @property
    def state(self) -> str:
        """One of STATES: closed, open, half-open."""
        return str(self._machine.current_state)

    async def call(
        self, fn: Callable[[], Awaitable[T]], *, is_failure: Callable[[BaseException], bool]
    ) -> T:
        """Await fn() and return its result, or raise what it raised.

        Only exceptions for which is_failure holds count against the peer; any other is an answer.
        Cancellation says nothing either way. Raises BreakerOpen, without calling fn, while the peer
        is left alone.
        """
        generation = self._admit()
        is_probe = self.state == pybreaker.STATE_HALF_OPEN
        started_s = self._clock.monotonic()
        is_failed: bool | None = None
        kind = "ignored"
        try:
            result = await fn()
        except asyncio.CancelledError:
            raise
        except BaseException as error:
            is_failed = is_failure(error)
            kind = "failed" if is_failed else "ignored"
            raise
        else:
            is_failed, kind = False, "successful"
            return result
        finally:
            elapsed_s = self._clock.monotonic() - started_s
            self._metrics.observe(kind, elapsed_s)
            if generation == self._generation:
                self._probes_in_flight -= is_probe
                if is_failed is not None:
                    self._record(is_failed=is_failed, elapsed_s=elapsed_s)

    def _admit(self) -> int:
        """Let a call begin and return the generation it belongs to, or raise BreakerOpen."""
        if self.state == pybreaker.STATE_OPEN:
            rest_s = self._opened_at_s + self._open_s - self._clock.monotonic()
            if rest_s > 0:
                raise self._refusal(rest_s)
            self._machine.half_open()
        if self.state == pybreaker.STATE_HALF_OPEN:
            probes = self._probes_in_flight + self._machine.success_counter
            if probes >= self._half_open_calls_max:
                raise self._refusal(PROBES_TAKEN_RETRY_S)
            self._probes_in_flight += 1
        return self._generation

    def _refusal(self, retry_after_s: float) -> BreakerOpen:
        self._metrics.not_permitted.inc()
        return BreakerOpen(retry_after_s=retry_after_s, breaker=self.name)

    def _record(self, *, is_failed: bool, elapsed_s: float) -> None:
        is_slow = self._slow_call_s is not None and elapsed_s > self._slow_call_s
        if self.state == pybreaker.STATE_HALF_OPEN:
            self._report(is_failed=is_failed or is_slow)
            return
        self._window.add(is_failed=is_failed, is_slow=is_slow)
        self._metrics.show_rates(self._window if len(self._window) >= self._calls_min else None)
        generation = self._generation
        self._report(is_failed=is_failed)
        if generation == self._generation and self._is_window_bad():
            self._machine.open()

    def _report(self, *, is_failed: bool) -> None:
        """Tell the state machine, which may change at once; it re-raises a failure it is told."""
        try:
            self._machine.call(_fail if is_failed else _succeed)
        except _ReportedFailureError:
            return

    def _is_window_bad(self) -> bool:
        if len(self._window) < self._calls_min:
            return False
        return (
            self._window.failure_rate >= self._failure_rate_threshold
            or self._window.slow_call_rate >= self._slow_call_rate_threshold
        )

    def _entered(self, left: str, entered: str) -> None:
        self._generation += 1
        self._probes_in_flight = 0
        if entered == pybreaker.STATE_OPEN:
            self._opened_at_s = self._clock.monotonic()
        if entered == pybreaker.STATE_CLOSED:
            self._window.clear()
            self._metrics.show_rates(None)
        self._metrics.show_state(entered)
        self._metrics.transition(left, entered)
        _log.warning("breaker changed", breaker=self.name, left=left, entered=entered)


class _Window:
    """The last calls, with their failures and slow ones counted as they come and go."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._calls: collections.deque[tuple[bool, bool]] = collections.deque()
        self._failed = 0
        self._slow = 0

    def __len__(self) -> int:
        return len(self._calls)

    @property
    def failure_rate(self) -> float:
        return self._failed / len(self._calls)

    @property
    def slow_call_rate(self) -> float:
        return self._slow / len(self._calls)

    def add(self, *, is_failed: bool, is_slow: bool) -> None:
        if len(self._calls) == self._size:
            was_failed, was_slow = self._calls.popleft()
            self._failed -= was_failed
            self._slow -= was_slow
        self._calls.append((is_failed, is_slow))
        self._failed += is_failed
        self._slow += is_slow

    def clear(self) -> None:
        self._calls.clear()
        self._failed = self._slow = 0


class _Metrics:
    """The breaker's metrics, under resilience4j's names."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._seconds = {
            kind: telemetry.breaker_calls_seconds.labels(name, kind)
            for kind in ("successful", "failed", "ignored")
        }
        self.not_permitted = telemetry.breaker_not_permitted.labels(name)
        self.show_rates(None)

    def observe(self, kind: str, elapsed_s: float) -> None:
        self._seconds[kind].observe(elapsed_s)

    def show_state(self, current: str) -> None:
        for state in STATES:
            telemetry.breaker_state.labels(self._name, _label(state)).set(state == current)

    def show_rates(self, window: _Window | None) -> None:
        failure_rate = window.failure_rate * _PERCENT if window else _RATE_UNKNOWN
        slow_call_rate = window.slow_call_rate * _PERCENT if window else _RATE_UNKNOWN
        telemetry.breaker_failure_rate.labels(self._name).set(failure_rate)
        telemetry.breaker_slow_call_rate.labels(self._name).set(slow_call_rate)

    def transition(self, left: str, entered: str) -> None:
        telemetry.breaker_transitions.labels(self._name, _label(left), _label(entered)).inc()


class _Listener(pybreaker.CircuitBreakerListener):
    """Passes changes of state on, by name."""

    def __init__(self, entered: Callable[[str, str], None]) -> None:
        self._entered = entered

    @override
    def state_change(
        self,
        cb: pybreaker.CircuitBreaker,
        old_state: pybreaker.CircuitBreakerState | None,
        new_state: pybreaker.CircuitBreakerState,
    ) -> None:
        self._entered(old_state.name if old_state else "", new_state.name)


class _ReportedFailureError(Exception):
    """Carries a failure into the state machine."""


def _fail() -> None:
    raise _ReportedFailureError


def _succeed() -> None:
    return


def _label(state: str) -> str:
    return state.replace("-", "_")
