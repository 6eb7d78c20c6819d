"""Everything between two machines: delays, losses, duplicates, and answers that never come back."""

import asyncio
from collections.abc import Callable
from functools import partial
from random import Random
from typing import Any, TypeVar

from tests.simulation.chaos import Chaos
from tests.simulation.loop import Machine, SimulatedLoop, context_of, current_machine

DELAY_MIN_S = 0.001
DELAY_USUAL_S = 0.003
DELAY_TAIL = 0.998
LATE_MAX_S = 25.0

T = TypeVar("T")


class LinkLost(Exception):
    """No answer came: the other side may have acted or not."""


class LinkRefused(Exception):
    """No connection was made: the other side certainly did not act."""


class Network:
    """Carries requests out of the machines. What is under way does not die with its sender."""

    def __init__(self, loop: SimulatedLoop, chaos: Chaos, rng: Random) -> None:
        self.loop = loop
        self.context = context_of(None)
        self._chaos = chaos
        self._rng = rng
        self._down_until_s: dict[str, float] = {}

    def take_down(self, peer: str, until_s: float) -> None:
        self._down_until_s[peer] = until_s

    def restore(self, *, but: str = "") -> None:
        """Ends every outage, except of the one that is gone for ever."""
        for peer in self._down_until_s:
            self._down_until_s[peer] = float("inf") if peer == but else 0.0

    def is_down(self, peer: str) -> bool:
        return self._down_until_s.get(peer, 0.0) > self.loop.now_s

    def delay_s(self) -> float:
        """A few milliseconds as a rule, a second now and then: rare orders of events live in the tail."""
        chance = self._rng.random()
        return DELAY_MIN_S + DELAY_USUAL_S * chance / (1.0 - DELAY_TAIL * chance)

    async def exchange(
        self,
        peer: str,
        operation: str,
        act: Callable[[], T],
        *,
        timeout_s: float,
        is_repeated: Callable[[T], bool] = lambda _: False,
    ) -> T:
        """The peer's answer to a request. Raises LinkLost, LinkRefused, and what `act` raises.

        `is_repeated` says which answers still let a copy of the request arrive later.
        """
        answer: asyncio.Future[T] = self.loop.create_future()
        machine = current_machine()
        if _is_dead(machine) or self._chaos.crashes(machine, f"{operation} unsent"):
            return await answer
        if (self.is_down(peer) and self._rng.random() < 0.5) or self._strikes("request refused"):
            self._later(self.delay_s(), _fail, answer, LinkRefused())
            return await answer
        expiry = self._later(timeout_s, _fail, answer, LinkLost())
        if not self.is_down(peer) and not self._strikes("request lost"):
            is_answered = not self._strikes("answer lost")
            delay_s = self.delay_s()
            if self._strikes("request late"):
                delay_s += self._rng.random() * LATE_MAX_S
            if is_answered:
                arrive = partial(self._arrive, machine, operation, act, answer, is_repeated)
            else:
                arrive = partial(self._arrive, machine, operation, act, None, is_repeated)
            self._later(delay_s, arrive)
        try:
            return await answer
        finally:
            expiry.cancel()

    async def transact(self, operation: str, act: Callable[[], T]) -> T:
        """A transaction of the database. Raises LinkLost when nobody knows, LinkRefused when it did not happen."""
        answer: asyncio.Future[T] = self.loop.create_future()
        machine = current_machine()
        if _is_dead(machine) or self._chaos.crashes(machine, f"{operation} unsent"):
            return await answer
        delay_s = self.delay_s() + (self._rng.random() * 3 if self._strikes("database slow") else 0)
        if self.is_down("database") or self._strikes("database refuses"):
            self._later(delay_s, _fail, answer, LinkRefused())
            return await answer
        if self._strikes("commit lands after its connection was lost"):
            self._later(delay_s, _fail, answer, LinkLost())
            delay_s += self._rng.random()
        is_answered = True
        if self._strikes("commit applied but unacknowledged"):
            is_answered = False
            self._later(delay_s + DELAY_MIN_S, _fail, answer, LinkLost())
        arrive = partial(self._commit, machine, operation, act, answer, is_answered=is_answered)
        self._later(delay_s, arrive)
        return await answer

    def _commit(
        self,
        machine: Machine | None,
        operation: str,
        act: Callable[[], T],
        answer: "asyncio.Future[T]",
        *,
        is_answered: bool,
    ) -> None:
        if _is_dead(machine) and self._rng.random() < 0.5:
            return
        try:
            result = act()
        except Exception as error:  # noqa: BLE001 -- it is the caller's to hear
            _fail(answer, error)
            return
        self._chaos.crashes(machine, f"{operation} done")
        if is_answered:
            _settle(answer, result)

    def _arrive(
        self,
        machine: Machine | None,
        operation: str,
        act: Callable[[], T],
        answer: "asyncio.Future[T] | None",
        is_repeated: Callable[[T], bool],
    ) -> None:
        if _is_dead(machine) and self._rng.random() < 0.5:
            return
        try:
            result = act()
        except Exception as error:  # noqa: BLE001 -- it is the caller's to hear
            self._later(self.delay_s(), _fail, answer, error)
            return
        self._chaos.crashes(machine, f"{operation} done")
        if is_repeated(result) and self._strikes("request duplicated"):
            self._later(self._rng.random() * LATE_MAX_S, act)
        self._later(self.delay_s(), _settle, answer, result)

    def _strikes(self, kind: str) -> bool:
        return self._chaos.strikes(kind)

    def _later(self, delay_s: float, call: Callable[..., object], *arguments: Any) -> Any:
        return self.loop.call_later(delay_s, call, *arguments, context=self.context)


def _is_dead(machine: Machine | None) -> bool:
    return machine is not None and not machine.is_alive


def _settle(answer: "asyncio.Future[T] | None", result: T) -> None:
    if answer is not None and not answer.done():
        answer.set_result(result)


def _fail(answer: "asyncio.Future[Any] | None", error: Exception) -> None:
    if answer is not None and not answer.done():
        answer.set_exception(error)
