"""A coalescer on one processor, in virtual time: what waiting for company costs and gains under each load.

Calls arrive at random. Each costs the processor something before and after its batch; a flush costs a fixed amount, something an item, and a
time in which the processor is free. Everything stands in line for the processor, as it does on a busy machine.
"""

import heapq
import itertools
import random
from dataclasses import dataclass, field
from typing import Protocol


class Waits(Protocol):
    """A rule for how long a batch waits."""

    def gathered(self, items: int, now_s: float) -> None: ...
    def flushed(self, took_s: float) -> None: ...
    def wait_s(self, now_s: float) -> float: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Costs:
    """Seconds of the processor, and of a disk or a wire."""

    call_s: float
    flush_s: float
    flush_item_s: float
    away_s: float


@dataclass(slots=True)
class Fixed:
    """Always the same wait."""

    linger_s: float

    def gathered(self, items: int, now_s: float) -> None: ...
    def flushed(self, took_s: float) -> None: ...
    def wait_s(self, now_s: float) -> float:
        return self.linger_s


@dataclass(slots=True, kw_only=True)
class World:
    """One run; `mean_s` is what a caller waits for an answer."""

    waits: Waits
    costs: Costs
    rate: float
    duration_s: float
    seed: int
    answered_s: list[float] = field(default_factory=list)
    _agenda: list[tuple[float, int, str, object]] = field(default_factory=list)
    _numbers: "itertools.count[int]" = field(default_factory=itertools.count)
    _free_at_s: float = 0.0
    _waiting: list[tuple[float, float]] = field(default_factory=list)
    _is_busy: bool = False

    def mean_s(self) -> float:
        chance = random.Random(self.seed)
        self._at(chance.expovariate(self.rate), "arrive")
        while self._agenda:
            now_s, _, what, about = heapq.heappop(self._agenda)
            if now_s > self.duration_s:
                break
            if what == "arrive":
                self._at(now_s + chance.expovariate(self.rate), "arrive")
                self._at(self._work(now_s, self.costs.call_s / 2), "submit", now_s)
            else:
                self._happen(now_s, what, about)
        return sum(self.answered_s) / len(self.answered_s)

    def _happen(self, now_s: float, what: str, about: object) -> None:
        match what, about:
            case "submit", float(arrived_s):
                self._waiting.append((arrived_s, now_s))
                self._begin(now_s)
            case "flush", _:
                batch, self._waiting = self._waiting, []
                self.waits.gathered(len(batch), now_s)
                cost_s = self.costs.flush_s + len(batch) * self.costs.flush_item_s
                back_s = self._work(now_s, cost_s) + self.costs.away_s
                self._at(back_s, "back", (batch, now_s))
            case "back", (list(batch), float(left_s)):
                self._is_busy = False
                self.waits.flushed(now_s - left_s)
                for arrived_s, _ in batch:
                    done_s = self._work(now_s, self.costs.call_s / 2)
                    self.answered_s.append(done_s - arrived_s)
                self._begin(now_s)

    def _begin(self, now_s: float) -> None:
        if self._waiting and not self._is_busy:
            self._is_busy = True
            self._at(max(now_s, self._waiting[0][1] + self.waits.wait_s(now_s)), "flush")

    def _work(self, now_s: float, cost_s: float) -> float:
        """Stands in line for the processor; when it is done."""
        self._free_at_s = max(now_s, self._free_at_s) + cost_s
        return self._free_at_s

    def _at(self, time_s: float, what: str, about: object = None) -> None:
        heapq.heappush(self._agenda, (time_s, next(self._numbers), what, about))
