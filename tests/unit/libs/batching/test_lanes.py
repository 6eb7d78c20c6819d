"""Lanes take turns, keep their own order, and lose nothing."""

from collections import defaultdict

from hypothesis import given
from hypothesis import strategies as st

from libs.batching.lanes import Lanes


def filled(*items: str) -> Lanes[str]:
    """Each item in the lane of its first letter."""
    lanes = Lanes[str]()
    for item in items:
        lanes.push(item[0], item)
    return lanes


def test_one_lane_is_a_plain_queue() -> None:
    lanes = filled("a1", "a2", "a3")
    assert lanes.take(2) == ["a1", "a2"]
    assert lanes.take(2) == ["a3"]
    assert lanes.take(2) == []


def test_who_has_sent_one_item_does_not_wait_for_who_has_sent_many() -> None:
    lanes = filled("a1", "a2", "a3", "a4", "b1", "c1")
    assert lanes.take(3) == ["a1", "b1", "c1"]
    assert lanes.take(3) == ["a2", "a3", "a4"]


def test_turns_go_on_where_the_last_batch_ended() -> None:
    lanes = filled("a1", "a2", "b1", "b2")
    assert lanes.take(1) == ["a1"]
    assert lanes.take(1) == ["b1"]
    assert lanes.take(1) == ["a2"]


def test_the_oldest_of_each_lane_and_its_length_are_told() -> None:
    lanes = filled("a1", "a2", "b1")
    assert lanes.heads() == ["a1", "b1"]
    assert (lanes.count("a"), lanes.count("b"), lanes.count("c"), len(lanes)) == (2, 1, 0, 3)


@given(
    items=st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 99)), max_size=60),
    batch_max=st.integers(1, 7),
)
def test_everything_comes_out_once_in_its_lanes_order_and_nobody_gets_two_turns_ahead(
    items: list[tuple[str, int]], batch_max: int
) -> None:
    lanes = Lanes[tuple[str, int]]()
    sent: dict[str, list[tuple[str, int]]] = defaultdict(list)
    for item in items:
        lanes.push(item[0], item)
        sent[item[0]].append(item)
    came: dict[str, list[tuple[str, int]]] = defaultdict(list)
    while taken := lanes.take(batch_max):
        assert len(taken) <= batch_max
        for item in taken:
            came[item[0]].append(item)
        waiting = [lane for lane in "abc" if lanes.count(lane)]
        counts = [len(came[lane]) for lane in waiting]
        assert max(counts, default=0) - min(counts, default=0) <= 1
    assert came == sent
    assert len(lanes) == 0
