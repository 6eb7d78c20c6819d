"""A batch waits about as long as its flush takes, when there is company to wait for; under every load that is near the best wait there is."""

from collections.abc import Sequence

import pytest

from libs.batching.linger import Linger
from tests.unit.libs.batching.queueing import Costs, Fixed, World

LINGER_MAX_S = 0.05
FLUSH_S = 0.008
FIXED_LINGERS_S = (0.0, 0.002, 0.004, 0.008, 0.016, 0.032)
# A flush that costs little, one that costs as much as ten calls, and one that costs most of all there is.
COSTS = {
    "cheap": Costs(call_s=0.0008, flush_s=0.003, flush_item_s=0.0003, away_s=0.002),
    "dear": Costs(call_s=0.0008, flush_s=0.008, flush_item_s=0.0003, away_s=0.002),
    "all": Costs(call_s=0.0006, flush_s=0.015, flush_item_s=0.0004, away_s=0.004),
}
RATES = (5, 50, 200, 400, 600, 700)


def fed(sizes: Sequence[int], flush_s: float = FLUSH_S) -> tuple[Linger, float]:
    """One that saw batches of these sizes, and the time after the last."""
    linger, now_s = Linger(LINGER_MAX_S), 100.0
    for size in sizes:
        now_s += 0.001
        linger.gathered(size, now_s)
        linger.flushed(flush_s)
    return linger, now_s


def wait_after(sizes: Sequence[int], flush_s: float = FLUSH_S) -> float:
    linger, now_s = fed(sizes, flush_s)
    return linger.wait_s(now_s)


def test_a_fresh_one_does_not_wait() -> None:
    assert Linger(LINGER_MAX_S).wait_s(100.0) == 0


def test_batches_of_one_never_earn_a_wait() -> None:
    assert wait_after([1] * 50) == 0


def test_company_makes_the_wait_grow_towards_the_time_of_a_flush() -> None:
    waits = [wait_after([50] * count) for count in range(1, 40)]
    assert waits == sorted(waits)
    assert 0 < waits[0] < FLUSH_S / 3
    assert waits[-1] == pytest.approx(FLUSH_S, rel=0.01)


def test_no_wait_is_longer_than_the_maximum() -> None:
    assert wait_after([50] * 40, flush_s=5.0) == pytest.approx(LINGER_MAX_S, rel=0.01)


def test_a_neighbour_now_and_then_earns_only_a_little() -> None:
    assert wait_after([1, 1, 2, 1, 1, 2]) < FLUSH_S / 6


def test_loneliness_shrinks_the_wait_again() -> None:
    waits = [wait_after([50] * 30 + [1] * count) for count in range(12)]
    assert waits == sorted(waits, reverse=True)
    assert waits[-1] < FLUSH_S / 20


def test_after_a_pause_the_load_is_forgotten() -> None:
    linger, now_s = fed([50] * 30)
    assert linger.wait_s(now_s + 1.0) == 0
    linger.gathered(1, now_s + 1.0)
    assert linger.wait_s(now_s + 1.0) == 0


@pytest.mark.parametrize("rate", RATES)
@pytest.mark.parametrize("costs", COSTS.values(), ids=COSTS.keys())
def test_no_fixed_wait_is_much_better_under_any_load(costs: Costs, rate: int) -> None:
    def mean_s(waits: Linger | Fixed) -> float:
        return World(waits=waits, costs=costs, rate=rate, duration_s=15.0, seed=rate).mean_s()

    best_s = min(mean_s(Fixed(linger_s)) for linger_s in FIXED_LINGERS_S)
    # 1.31 is the worst seen: a flush that costs most of all there is, under a middling load.
    assert mean_s(Linger(LINGER_MAX_S)) <= 1.35 * best_s


@pytest.mark.parametrize("linger_s", FIXED_LINGERS_S)
def test_every_fixed_wait_is_worse_somewhere(linger_s: float) -> None:
    """Otherwise there would be nothing to decide."""

    def ratio(costs: Costs, rate: int) -> float:
        def mean_s(waits: Linger | Fixed) -> float:
            return World(waits=waits, costs=costs, rate=rate, duration_s=15.0, seed=rate).mean_s()

        return mean_s(Fixed(linger_s)) / mean_s(Linger(LINGER_MAX_S))

    assert max(ratio(costs, rate) for costs in COSTS.values() for rate in (5, 700)) > 1.05
