"""Chance, time, crash points and logs answer to one world while it lives."""

import asyncio
import contextlib
import random
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from types import SimpleNamespace
from typing import Any

import structlog
from prometheus_client.metrics import MetricWrapperBase

from libs import crashpoints
from libs.resilience.breaker import Breaker
from libs.saga import sweeper
from services.gateway.clients import peers
from services.gateway.domain import saga
from services.gateway.usecases import performers
from services.gateway.workers import pushers
from tests.simulation import pace
from tests.simulation.loop import SimulatedClock, SimulatedLoop

SWEEP_INTERVAL_S = 1.5
IDLE_S = 3.0
# After an hour of asking, the simulation asks only now and then, so that days pass quickly.
LATER_S = (3_600.0, 6 * 3_600.0)
RARE_QUERY_S = 12 * 3_600


@contextlib.contextmanager
def over(
    *,
    seed: int,
    loop: SimulatedLoop,
    reach: Callable[[str], None],
    processors: list[Any],
    level: int,
    are_metrics_kept: bool,
) -> Iterator[None]:
    """In force inside. Metrics that nobody reads are not kept: counting takes longer than what is counted."""
    logging = structlog.get_config()
    structlog.configure(
        processors=processors,
        wrapper_class=structlog.make_filtering_bound_logger(level),
        cache_logger_on_first_use=False,
    )
    random.seed(seed)
    laws: list[tuple[object, Mapping[str, Any]]] = [
        (
            sweeper,
            {
                "SWEEP_INTERVAL_S": SWEEP_INTERVAL_S,
                "asyncio": SimpleNamespace(sleep=pace.sweep_again, Task=asyncio.Task),
            },
        ),
        (
            pushers,
            {
                "PACE_S": IDLE_S,
                "asyncio": SimpleNamespace(sleep=_push_sleep),
            },
        ),
        (
            saga,
            {
                "_BACKOFF_S": {state: (*s, *LATER_S) for state, s in saga._BACKOFF_S.items()},
                "_QUERY_BACKOFF_S": (*saga._QUERY_BACKOFF_S, *LATER_S),
                "RARE_QUERY_S": RARE_QUERY_S,
            },
        ),
        (crashpoints, {"_armed": reach}),
        (performers, {"time": SimpleNamespace(perf_counter=loop.time)}),
        (
            peers,
            {
                "breaker": partial(
                    Breaker,
                    consecutive_failures_max=peers.CONSECUTIVE_FAILURES_MAX,
                    open_s=peers.OPEN_S,
                    clock=SimulatedClock(loop),
                )
            },
        ),
    ]
    if not are_metrics_kept:
        laws.append((MetricWrapperBase, {"labels": lambda *_, **__: _NOBODY}))
    before = [(module, {name: vars(module)[name] for name in names}) for module, names in laws]
    for module, names in laws:
        _set(module, names)
    try:
        yield
    finally:
        for module, names in before:
            _set(module, names)
        structlog.configure(**logging)


class _Nobody:
    """A metric that forgets."""

    def inc(self, amount: float = 1) -> None: ...

    def set(self, value: float) -> None: ...

    def observe(self, amount: float) -> None: ...


_NOBODY = _Nobody()


def _set(owner: object, names: Mapping[str, Any]) -> None:
    for name, value in names.items():
        setattr(owner, name, value)


async def _push_sleep(interval_s: float) -> None:
    """A pusher is idle, or has been refused and waits."""
    if interval_s == IDLE_S:
        await pace.push_again(interval_s)
    else:
        await asyncio.sleep(interval_s)
