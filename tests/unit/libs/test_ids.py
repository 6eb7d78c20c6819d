"""Ids name their kind and sort by when they were made."""

import random
from datetime import UTC, datetime

from libs.clock import FrozenClock
from libs.ids import SequentialIds, SortableIds

NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)


class Constant:
    """Randomness that never changes."""

    def getrandbits(self, k: int, /) -> int:
        return (1 << k) - 1


def test_an_id_is_its_prefix_and_a_lower_case_ulid() -> None:
    clock = FrozenClock(datetime(1970, 1, 1, 0, 0, 0, 32_000, tzinfo=UTC))
    # 32 ms is "10" in base 32, in the 10 characters of the time.
    assert SortableIds(clock, Constant()).new("pay") == "pay_0000000010zzzzzzzzzzzzzzzz"


def test_ids_ascend_within_a_millisecond() -> None:
    ids = SortableIds(FrozenClock(NOON), random.Random(7))
    made = [ids.new("pay") for _ in range(1000)]
    assert made == sorted(set(made))


def test_ids_ascend_when_randomness_and_clock_stand_still() -> None:
    ids = SortableIds(FrozenClock(NOON), Constant())
    made = [ids.new("pay") for _ in range(100)]
    assert made == sorted(set(made))


def test_a_later_id_sorts_after_an_earlier_one_of_another_process() -> None:
    clock = FrozenClock(NOON)
    earlier = SortableIds(clock, random.Random(1)).new("pay")
    clock.advance(0.001)
    assert earlier < SortableIds(clock, random.Random(2)).new("pay")


def test_the_fake_counts_each_prefix_from_one() -> None:
    ids = SequentialIds()
    assert ids.new("pay") == "pay_00000000000000000000000001"
    assert ids.new("pay") == "pay_00000000000000000000000002"
    assert ids.new("att") == "att_00000000000000000000000001"
    assert len(ids.new("x")) == len(SortableIds(FrozenClock(NOON), Constant()).new("x"))
