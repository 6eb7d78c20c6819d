"""What outcomes make the router expect."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.router.domain import statistics
from services.router.domain.channel import Method, Operation
from services.router.domain.statistics import Arm, ArmKey, Counts, Outcome, Recent

NOON = datetime(2026, 3, 2, 12, 0, 30, tzinfo=UTC)
ARM = ArmKey("alpha", Method.WECHAT_QR, Operation.PAYMENT)


def outcome(
    number: int, *, succeeded: bool = True, decline: bool = False, at: datetime = NOON
) -> Outcome:
    return Outcome(
        attempt_id=f"att_{number:04}",
        arm=ARM,
        succeeded=succeeded,
        business_decline=decline,
        latency_ms=100,
        code="",
        occurred_at=at,
    )


def arm(successes: int, samples: int, recent: str = "", last_at: datetime = NOON) -> Arm:
    return Arm(
        window=Counts(samples=samples, successes=successes, latency_sum_ms=100 * samples),
        recent=Recent(successes=tuple(each == "1" for each in recent), last_at=last_at)
        if recent
        else None,
    )


def test_nothing_known_gives_the_prior() -> None:
    expected = statistics.estimate(Arm(), NOON)
    assert (expected.success_rate, expected.latency_ms, expected.samples) == (0.9, 500.0, 0)


def test_many_outcomes_outweigh_the_prior() -> None:
    expected = statistics.estimate(arm(970, 1_000), NOON)
    assert expected.success_rate == pytest.approx(0.97, abs=0.001)
    assert expected.latency_ms == pytest.approx(100, abs=3)


@given(st.integers(0, 10**6), st.integers(0, 10**6))
def test_an_expected_rate_is_never_zero_nor_one(successes: int, failures: int) -> None:
    rate = statistics.estimate(arm(successes, successes + failures), NOON).success_rate
    assert 0 < rate <= 1
    assert (
        statistics.estimate(arm(successes + 1, successes + failures + 1), NOON).success_rate >= rate
    )


def test_a_channel_that_dies_is_judged_by_its_last_outcomes_within_five_failures() -> None:
    healthy = statistics.estimate(arm(475, 500, "1" * 20), NOON)
    dead = statistics.estimate(arm(475, 505, "1" * 15 + "0" * 5), NOON)
    assert healthy.alarm is None
    assert dead.alarm == (15, 20)
    assert dead.success_rate < healthy.success_rate - 0.1


def test_the_longer_it_fails_the_deeper_it_sinks() -> None:
    rates = [
        statistics.estimate(arm(475, 500 + n, "1" * (20 - n) + "0" * n), NOON).success_rate
        for n in (5, 10, 15, 20)
    ]
    assert rates == sorted(rates, reverse=True)
    assert rates[-1] < 0.15


@pytest.mark.parametrize("recent", ["1" * 19 + "0", "1" * 18 + "00", "0"])
def test_one_or_two_failures_are_no_alarm(recent: str) -> None:
    assert statistics.estimate(arm(475, 500, recent), NOON).alarm is None


def test_an_alarm_ends_after_a_minute_of_silence_so_that_the_channel_is_tried_again() -> None:
    dead = arm(475, 515, "0" * 10)
    assert statistics.estimate(dead, NOON + timedelta(seconds=60)).alarm is not None
    assert statistics.estimate(dead, NOON + timedelta(seconds=61)).alarm is None


def test_a_business_decline_is_not_held_against_the_channel() -> None:
    sums = statistics.tally([outcome(1), outcome(2, succeeded=False, decline=True)])
    assert list(sums.values()) == [
        Counts(samples=1, successes=1, business_declines=1, latency_sum_ms=200)
    ]
    rows = statistics.recent_rows([outcome(1, succeeded=False, decline=True)], NOON)
    assert not rows


def test_outcomes_are_summed_by_the_minute_in_ascending_order() -> None:
    later = NOON + timedelta(seconds=40)
    sums = statistics.tally([outcome(1, at=later), outcome(2), outcome(3, succeeded=False)])
    assert [(key.bucket_at.minute, each.samples, each.successes) for key, each in sums.items()] == [
        (0, 2, 1),
        (1, 1, 1),
    ]


def test_the_short_memory_keeps_the_newest_twenty_and_no_old_news() -> None:
    outcomes = [outcome(n, succeeded=n >= 10) for n in range(30)]
    assert statistics.recent_rows(outcomes, NOON)[ARM].successes == (True,) * 20
    assert not statistics.recent_rows(outcomes, NOON + timedelta(seconds=61))


def test_an_outcome_from_a_clock_that_runs_ahead_counts_as_now() -> None:
    (moved,) = statistics.not_later_than([outcome(1, at=NOON + timedelta(hours=1))], NOON)
    assert moved.occurred_at == NOON


def test_the_window_holds_thirty_minutes() -> None:
    assert statistics.window_start(NOON) == datetime(2026, 3, 2, 11, 31, tzinfo=UTC)


def test_arms_put_together_keep_the_newest_short_memory() -> None:
    older = arm(1, 2, "01", NOON - timedelta(seconds=5))
    both = statistics.combine([arm(3, 4, "1"), older, Arm()])
    assert both == Arm(
        window=Counts(samples=6, successes=4, latency_sum_ms=600),
        recent=Recent(successes=(True,), last_at=NOON),
    )
