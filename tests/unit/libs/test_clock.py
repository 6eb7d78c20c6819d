"""Clocks speak UTC, and a frozen one moves only when told."""

from datetime import UTC, datetime, timedelta, timezone

import pytest

from libs.clock import FrozenClock, SystemClock

SHANGHAI = timezone(timedelta(hours=8))


def test_the_system_clock_is_aware_and_its_monotonic_time_does_not_go_back() -> None:
    clock = SystemClock()
    assert clock.now().utcoffset() == timedelta(0)
    assert clock.monotonic() <= clock.monotonic()


def test_a_frozen_clock_advances_both_times_by_what_it_is_told() -> None:
    clock = FrozenClock(datetime(2026, 11, 22, 8, tzinfo=SHANGHAI))
    before = clock.monotonic()
    clock.advance(1.5)
    assert clock.now() == datetime(2026, 11, 22, 0, 0, 1, 500_000, tzinfo=UTC)
    assert clock.now().tzinfo is UTC
    assert clock.monotonic() - before == 1.5


def test_time_does_not_go_back() -> None:
    with pytest.raises(ValueError, match="back"):
        FrozenClock(datetime(2026, 1, 1, tzinfo=UTC)).advance(-1)


def test_a_naive_time_is_refused() -> None:
    with pytest.raises(ValueError, match="aware"):
        FrozenClock(datetime(2026, 1, 1))  # noqa: DTZ001 -- that it is refused is the point
