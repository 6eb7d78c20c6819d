"""What waits for a batch, in lanes that take turns: who sends a thousand items at once waits for them himself."""

from collections import OrderedDict, deque
from collections.abc import Hashable
from typing import Generic, TypeVar

T = TypeVar("T")


class Lanes(Generic[T]):
    """A queue for each lane. Order is kept within a lane; one lane for all is a plain queue."""

    def __init__(self) -> None:
        """Empty."""
        self._lanes: OrderedDict[Hashable, deque[T]] = OrderedDict()
        self._count = 0

    def __len__(self) -> int:
        """How many wait, in all lanes."""
        return self._count

    def count(self, lane: Hashable) -> int:
        """How many wait in one lane."""
        waiting = self._lanes.get(lane)
        return 0 if waiting is None else len(waiting)

    def push(self, lane: Hashable, item: T) -> None:
        """Append to a lane; a new lane gets its turn after all others."""
        self._lanes.setdefault(lane, deque()).append(item)
        self._count += 1

    def heads(self) -> list[T]:
        """The oldest of each lane."""
        return [waiting[0] for waiting in self._lanes.values()]

    def take(self, count_max: int) -> list[T]:
        """Remove up to `count_max`, one of each lane in turn. Whose turn it was goes on from there next time."""
        taken: list[T] = []
        while self._lanes and len(taken) < count_max:
            lane, waiting = self._lanes.popitem(last=False)
            # A single lane needs no turns.
            share = 1 if self._lanes else count_max - len(taken)
            taken += [waiting.popleft() for _ in range(min(share, len(waiting)))]
            if waiting:
                self._lanes[lane] = waiting
        self._count -= len(taken)
        return taken
