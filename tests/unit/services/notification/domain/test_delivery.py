"""An attempt ends a delivery, puts it off along the schedule, or only counts."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from services.notification.domain import delivery as rules
from services.notification.domain.delivery import Answer, Delivery, DeliveryState

NOON = datetime(2026, 3, 2, 12, tzinfo=UTC)
DELAYS_S = (5.0, 300.0)
PENDING = Delivery(
    delivery_id="msg_1",
    endpoint_id="ep_1",
    merchant_id="mer_1",
    event_id="evt_1",
    event_type="payment.succeeded",
    subject_id="pay_1",
    body="{}",
    state=DeliveryState.PENDING,
    attempts_count=0,
    round_attempts=0,
    next_attempt_at=NOON,
    epoch=1,
    created_at=NOON,
)
FAILED = Answer(http_status=500)


def after(before: Delivery, answer: Answer, *, epoch: int = 1, jitter: float = 0.5) -> Delivery:
    return rules.after_attempt(
        before, answer, epoch=epoch, now=NOON, delays_s=DELAYS_S, jitter=jitter
    )


@pytest.mark.parametrize("status", [200, 202, 204, 299])
def test_any_2xx_means_heard(status: int) -> None:
    heard = after(PENDING, Answer(http_status=status))
    assert heard.state is DeliveryState.DELIVERED
    assert heard.next_attempt_at is None
    assert heard.attempts_count == 1


@pytest.mark.parametrize("status", [0, 199, 301, 400, 404, 410, 429, 500, 503])
def test_everything_else_waits_along_the_schedule_and_ends_dead(status: int) -> None:
    answer = Answer(http_status=status, error="" if status else "TIMEOUT")
    first = after(PENDING, answer)
    second = after(first, answer)
    third = after(second, answer)
    assert [each.state for each in (first, second, third)] == ["PENDING", "PENDING", "DEAD"]
    assert first.next_attempt_at == NOON + timedelta(seconds=5)
    assert second.next_attempt_at == NOON + timedelta(seconds=300)
    assert third.next_attempt_at is None
    assert third.attempts_count == 3


def test_jitter_moves_a_delay_by_up_to_a_tenth_to_either_side() -> None:
    assert rules.spread(300.0, 0.0) == pytest.approx(270.0)
    assert rules.spread(300.0, 0.999_999) == pytest.approx(330.0, abs=0.01)
    assert after(PENDING, FAILED, jitter=0.0).next_attempt_at == NOON + timedelta(seconds=4.5)


def test_an_attempt_that_was_overtaken_only_counts() -> None:
    taken_up_again = replace(PENDING, epoch=2)
    assert after(taken_up_again, Answer(http_status=200)) == replace(
        taken_up_again, attempts_count=1
    )


def test_a_failure_after_the_endpoint_was_disabled_stays_dead_but_a_success_counts() -> None:
    dead = replace(PENDING, state=DeliveryState.DEAD, next_attempt_at=None)
    assert after(dead, FAILED).state is DeliveryState.DEAD
    assert after(dead, Answer(http_status=200)).state is DeliveryState.DELIVERED


def test_sending_again_by_hand_starts_the_schedule_anew_and_keeps_the_count() -> None:
    dead = after(after(after(PENDING, FAILED), FAILED), FAILED)
    again = rules.again(dead, NOON)
    assert (again.state, again.next_attempt_at) == (DeliveryState.PENDING, NOON)
    assert again.attempts_count == 3
    assert after(again, FAILED, epoch=again.epoch).state is DeliveryState.PENDING


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (Answer(http_status=204), ""),
        (Answer(http_status=302), "REDIRECT_REFUSED"),
        (Answer(http_status=503), "HTTP_503"),
        (Answer(http_status=0, error="TIMEOUT"), "TIMEOUT"),
    ],
)
def test_what_went_wrong_has_a_name(answer: Answer, reason: str) -> None:
    assert answer.reason == reason
