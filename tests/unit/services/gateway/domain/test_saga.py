"""What the flows share: references, what is remembered of an attempt, and when to ask again."""

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from libs.ids import SortableIds
from services.gateway.config import Settings
from services.gateway.domain import payment, saga
from services.gateway.domain.channel import OutcomeKind
from services.gateway.domain.next_action import ShowQr
from services.gateway.domain.saga import AttemptState
from tests.unit.services.gateway.domain.orders import (
    DEADLINE,
    NOW,
    PAYMENT,
    Walk,
    answered,
    authorized,
    capture,
    pay,
    refund,
    sent_out,
)

ATTEMPT = saga.first_attempt("pay_01abc", "PAYMENT", "a", 1, NOW)


def test_a_reference_is_derived_so_that_a_replay_sends_the_same() -> None:
    assert saga.out_ref("pay_01abc", 1) == saga.out_ref("pay_01abc", 1)
    assert saga.out_ref("pay_01abc", 1) != saga.out_ref("pay_01abc", 2)


@given(prefix=st.sampled_from(["pay", "cap", "ref", "pout"]), number=st.integers(1, 99))
def test_every_reference_is_one_that_every_channel_takes(prefix: str, number: int) -> None:
    class Now:
        now = staticmethod(lambda: NOW)

    class Bits:
        getrandbits = staticmethod(lambda k: (1 << k) - 1)

    reference = saga.out_ref(SortableIds(Now(), Bits()).new(prefix), number)

    assert reference.isascii()
    assert reference.isalnum()
    assert len(reference) <= 32


@pytest.mark.parametrize(
    "known", [AttemptState.PENDING, AttemptState.AUTHORIZED, AttemptState.SUCCEEDED]
)
@pytest.mark.parametrize("kind", [OutcomeKind.UNKNOWN, OutcomeKind.NOT_FOUND])
def test_what_is_known_stays_known_when_a_later_question_is_not_answered(
    known: AttemptState, kind: OutcomeKind
) -> None:
    told = saga.record(replace(ATTEMPT, state=known), answered(kind), NOW)

    assert told.state is known


def test_only_the_orders_own_answer_says_how_long_the_channel_took() -> None:
    first = saga.record(ATTEMPT, answered(OutcomeKind.PENDING, latency_ms=40), NOW)
    asked = saga.record(first, answered(OutcomeKind.SUCCEEDED, latency_ms=None), DEADLINE)

    assert (asked.latency_ms, asked.answered_at) == (40, NOW)


def test_a_fee_and_a_channels_number_once_told_are_kept() -> None:
    told = answered(OutcomeKind.PENDING, fee_minor=6, provider_ref="r-1", code="WAIT")
    first = saga.record(ATTEMPT, told, NOW)
    asked = saga.record(first, answered(OutcomeKind.SUCCEEDED), NOW)

    assert (asked.fee_minor, asked.provider_ref, asked.code) == (6, "r-1", "WAIT")


def test_news_of_an_attempt_is_about_it_as_it_stands_now() -> None:
    first, second = ATTEMPT, replace(ATTEMPT, number=2)
    heard = answered(OutcomeKind.SUCCEEDED, attempt=first)
    told = replace(first, state=AttemptState.SUCCEEDED)

    news = heard.as_of((told, second))
    assert news == replace(heard, attempt=told, attempts=(told, second))
    assert answered(OutcomeKind.SUCCEEDED).as_of((told, second)) == news
    assert heard.as_of((second,)) == heard.as_of(()) == heard


@pytest.mark.parametrize(
    "state", ["REVIEW", "HOLDING", "PENDING", "UNKNOWN", "CLOSING", "AUTHORIZED"]
)
def test_each_state_is_asked_about_soon_at_first_and_then_rarely(state: str) -> None:
    waits_s = [(saga.next_query_at(state, tries, NOW) - NOW).total_seconds() for tries in range(12)]

    assert 0 < waits_s[0] <= 5
    assert waits_s == sorted(waits_s)
    assert waits_s[-2] == waits_s[-1] <= 300


WALKS: dict[str, Callable[[], "Walk[Any]"]] = {
    "payment": lambda: pay("a"),
    "capture": capture,
    "refund": refund,
    "payout": sent_out,
}


@pytest.mark.parametrize("flow", WALKS)
def test_a_silent_channel_is_asked_at_growing_distances(flow: str) -> None:
    walk = WALKS[flow]()
    waits_s = []
    for _ in range(8):
        step = walk.told(OutcomeKind.UNKNOWN, latency_ms=None)
        assert step.subject.next_run_at is not None
        waits_s.append((step.subject.next_run_at - walk.now).total_seconds())
        walk.at(step.subject.next_run_at).hear(saga.Due())

    assert waits_s == sorted(waits_s)
    assert waits_s[0] < waits_s[-1]


def test_a_payer_is_asked_for_at_growing_distances_but_not_past_the_expiry() -> None:
    walk = pay("a")
    walk.told(OutcomeKind.PENDING, next_action=ShowQr(content="qr"))
    while walk.subject.state is payment.PaymentState.PENDING:
        assert walk.subject.next_run_at is not None
        assert walk.subject.next_run_at <= PAYMENT.expires_at
        walk.at(walk.subject.next_run_at).hear(saga.Due())
        if walk.subject.state is payment.PaymentState.PENDING:
            walk.told(OutcomeKind.PENDING, latency_ms=None)

    assert walk.now == PAYMENT.expires_at


def test_the_next_channel_is_asked_about_from_the_beginning_again() -> None:
    walks: list[Walk[Any]] = [pay("a", "b"), sent_out("a", "b")]
    for walk in walks:
        for _ in range(4):
            walk.told(OutcomeKind.UNKNOWN, latency_ms=None)
        walk.told(OutcomeKind.DECLINED_SOFT, latency_ms=None)

        assert walk.subject.query_count == 0


def test_an_authorisation_lives_shorter_than_the_channels_and_its_desk_opens_a_day_later() -> None:
    payment_until = authorized().subject

    assert payment_until.authorized_until is not None
    assert payment_until.authorized_until < NOW + timedelta(days=7)
    assert payment_until.hard_deadline_at == payment_until.authorized_until + timedelta(days=1)


def test_a_lease_outlasts_any_one_call_to_a_channel() -> None:
    timeout_s = Settings.model_fields["channel_timeout_s"].default

    assert saga.leased_until(NOW) - NOW > timedelta(seconds=timeout_s)
