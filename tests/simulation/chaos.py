"""Which faults strike: drawn from the seed, counted, and switched off when the world is to come to rest."""

from collections import Counter
from collections.abc import Callable
from random import Random

from tests.simulation.loop import Machine

# The chance of each fault per occasion, in a world that has this kind of fault at all.
RATES = {
    "database refuses": 0.01,
    "commit applied but unacknowledged": 0.015,
    "commit lands after its connection was lost": 0.005,
    "database slow": 0.01,
    "request lost": 0.06,
    "request refused": 0.04,
    "answer lost": 0.1,
    "request late": 0.08,
    "request duplicated": 0.08,
    "channel fails before commit": 0.06,
    "channel fails after commit": 0.1,
    "channel busy": 0.06,
    "channel does not know the number yet": 0.3,
    "declined, then paid": 0.3,
    "payout declined, then paid": 0.7,
    "declined, then reserved": 0.5,
    "closed, then paid": 0.3,
    "capture declined": 0.2,
    "authorisation expires early": 0.15,
    "payout returned": 0.4,
    "bank takes days": 0.25,
    "another amount charged": 0.02,
    "callback lost": 0.15,
    "callback twice": 0.15,
    "callback late": 0.2,
    "callback out of order": 0.1,
    "callback forged": 0.03,
    "callback before our order": 0.05,
    "poison": 0.01,
}
ACTIONS = (
    "replica killed",
    "replica paused beyond its lease",
    "replica stopped gracefully",
    "database away",
    "channel away",
    "neighbour away",
)
# What a world must do now and then, beside the faults themselves, or the simulation shows nothing.
OCCURRENCES = (
    "clocks apart",
    "write fenced",
    "channel dead for ever",
    "failover",
    "payment.late_success",
    "capture.late_success",
    "refund.late_success",
    "payout.late_success",
    "payout.late_return",
    "two late successes of one payout",
    "capture paid after its decline",
    "refund paid after its decline",
    "payout paid after its decline",
    "paid after its people had closed it",
    "reserved after its decline",
    "hard deadline",
    "refund over the limit refused",
    "same request twice at once",
    "other body refused",
    "hold refused",
    "payment canceled",
    "review decided",
    "order closed at its channel",
    "captured in parts",
    "capture over the limit refused",
    "capture beside a void refused",
    "authorisation voided",
    "authorisation expired at its channel",
    "authorisation expired with us",
    "captured, and the rest released",
    "late success refunded by itself",
    "late success given back after all",
    "matter resolved by two people",
    "resolved without a matter refused",
    "settled by a bill's line",
    "settled by a bill's silence",
    "handed over",
    "poison quarantined",
    "poison taken up again",
    "forced by two people",
    "forced by one person refused",
    "two checkers at once",
    "releases side by side",
    "too new for an old replica",
    "batch settled",
    "batch refused",
    "logs read",
)
CRASH_CHANCE = 0.004
# Points that a world reaches so seldom that they would hardly ever be points of death.
SELDOM = {
    "channel capture unsent": 8.0,
    "channel capture done": 8.0,
    "channel refund done": 4.0,
    "channel payout done": 4.0,
    "hand over done": 20.0,
    "hold unsent": 4.0,
    "hold done": 4.0,
    "capture done": 4.0,
    "void done": 4.0,
    "make batches done": 10.0,
    "force done": 20.0,
    "decide done": 20.0,
}
KIND_SHARE = 0.6


class Chaos:
    """One world's faults."""

    def __init__(self, rng: Random, on_crash: Callable[[Machine], None]) -> None:
        self.rng = rng
        self.counts: Counter[str] = Counter()
        self.is_on = True
        self._on_crash = on_crash
        # A world without most faults reaches states that a world full of them never does.
        self._rates = {
            kind: rate * rng.choice((0.5, 1.0, 2.0))
            for kind, rate in RATES.items()
            if rng.random() < KIND_SHARE
        }
        self._crash_chance = CRASH_CHANCE if rng.random() < KIND_SHARE else 0.0

    def strikes(self, kind: str) -> bool:
        """Whether this fault happens now."""
        rate = self._rates.get(kind)
        if not self.is_on or rate is None or self.rng.random() >= rate:
            return False
        self.counts[kind] += 1
        return True

    def crashes(self, machine: Machine | None, point: str, *, weight: float = 1.0) -> bool:
        """Whether this machine dies at this point."""
        if (
            not self.is_on
            or machine is None
            or not machine.is_alive
            or self.rng.random() >= self._crash_chance * weight * SELDOM.get(point, 1.0)
        ):
            return False
        self.counts[f"crash at {point}"] += 1
        self._on_crash(machine)
        return True
