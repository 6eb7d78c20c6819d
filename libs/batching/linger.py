"""How long a batch waits for company.

The rule is that of renting skis: who does not know how long the season lasts rents until the rent has cost as much as the skis. A batch
that waits about as long as its flush will take never pays more than twice what it had to, whatever comes; one that leaves at once, or waits
a fixed time, pays any factor more under one load or another. Flushes take longer when the machine is busy, so the wait grows with the
load by itself, and it is nothing when the last batches had no company to wait for.
"""

from typing import Final

# Batches this large on average have earned the whole wait; each was worth waiting for.
COMPANY_FULL: Final = 4
_SMOOTHING: Final = 0.25
# After this many waits without a batch, the load that earned them is history.
_IDLE_LINGERS: Final = 8


class Linger:
    """Learns from the batches of one coalescer: their company, and the time their flushes took. All times are monotonic seconds."""

    def __init__(self, linger_max_s: float) -> None:
        """Start idle. No batch ever waits longer than the maximum."""
        self._linger_max_s = linger_max_s
        self._company = 1.0
        self._flush_s = 0.0
        self._last_batch_s = float("-inf")

    def gathered(self, items: int, now_s: float) -> None:
        """Learn that a batch of `items` left."""
        if self._is_idle(now_s):
            self._company = 1.0
        self._company += _SMOOTHING * (min(items, COMPANY_FULL) - self._company)
        self._last_batch_s = now_s

    def flushed(self, took_s: float) -> None:
        """Learn how long a flush took."""
        self._flush_s += _SMOOTHING * (took_s - self._flush_s)

    def wait_s(self, now_s: float) -> float:
        """Return how long a batch that begins now should wait for company."""
        if self._is_idle(now_s):
            return 0.0
        earned = (self._company - 1.0) / (COMPANY_FULL - 1.0)
        return earned * min(self._flush_s, self._linger_max_s)

    def _is_idle(self, now_s: float) -> bool:
        return now_s - self._last_batch_s > _IDLE_LINGERS * self._linger_max_s
