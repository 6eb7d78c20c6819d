"""Captures and refunds: sent under one number for ever, failed only on a definite word."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from services.gateway.domain import follow_up, saga
from services.gateway.domain import refund as refunds
from services.gateway.domain.channel import OutcomeKind
from services.gateway.domain.follow_up import FollowUpState, Squared
from services.gateway.domain.saga import AttemptState, CloseCase, Command, OpenCase, first_attempt
from tests.unit.services.gateway.domain.orders import (
    DEADLINE,
    NOW,
    PAYMENT,
    VISIBLE,
    Walk,
    answered,
    capture,
    refund,
)

START = pytest.mark.parametrize("start", [capture, refund])
Start = Callable[[], "Walk[Any]"]


@START
def test_it_is_told_and_sent_with_its_intent(start: Start) -> None:
    walk = start()

    assert walk.step.command is Command.ORDER
    assert walk.step.events == (f"{walk.subject.kind}.created",)
    assert walk.attempt is not None
    assert walk.attempt.operation == walk.subject.kind.upper()


@START
@pytest.mark.parametrize(
    ("kind", "state"),
    [
        (OutcomeKind.SUCCEEDED, FollowUpState.SUCCEEDED),
        (OutcomeKind.PENDING, FollowUpState.PENDING),
        (OutcomeKind.DECLINED_HARD, FollowUpState.FAILED),
        (OutcomeKind.DECLINED_SOFT, FollowUpState.FAILED),
        (OutcomeKind.CLOSED, FollowUpState.FAILED),
        (OutcomeKind.UNKNOWN, FollowUpState.UNKNOWN),
        (OutcomeKind.NOT_FOUND, FollowUpState.UNKNOWN),
    ],
)
def test_it_fails_only_on_a_definite_word(
    start: Start, kind: OutcomeKind, state: FollowUpState
) -> None:
    assert start().told(kind).subject.state is state


@START
def test_what_the_channel_never_saw_is_sent_again_under_the_same_number(start: Start) -> None:
    walk = start()
    walk.told(OutcomeKind.UNKNOWN)
    walk.at(VISIBLE).hear(saga.Due())

    again = walk.told(OutcomeKind.NOT_FOUND, latency_ms=None)

    assert (again.subject.state, again.command) == (FollowUpState.UNKNOWN, Command.ORDER)
    assert [each.number for each in again.attempts] == [1]


@START
def test_refusing_the_repeated_order_says_nothing_of_the_first(start: Start) -> None:
    walk = start()
    walk.told(OutcomeKind.UNKNOWN)
    walk.at(VISIBLE).told(OutcomeKind.NOT_FOUND, latency_ms=None)

    refused = walk.told(OutcomeKind.DECLINED_SOFT)

    assert (refused.subject.state, refused.command) == (FollowUpState.UNKNOWN, None)
    assert walk.told(OutcomeKind.DECLINED_HARD, latency_ms=None).subject.state is (
        FollowUpState.FAILED
    )


@START
def test_without_any_word_it_goes_before_a_person_and_the_channel_is_asked_on(
    start: Start,
) -> None:
    walk = start().at(DEADLINE)
    manual = walk.told(OutcomeKind.UNKNOWN)

    assert manual.subject.state is FollowUpState.MANUAL
    assert [type(each) for each in manual.beside] == [OpenCase]
    assert manual.subject.next_run_at == DEADLINE + timedelta(seconds=saga.RARE_QUERY_S)
    assert walk.hear(saga.Due()).command is Command.QUERY
    still = walk.told(OutcomeKind.UNKNOWN, latency_ms=None)
    assert (still.subject.state, still.events, still.beside) == (FollowUpState.MANUAL, (), ())


@START
@pytest.mark.parametrize(
    ("kind", "state"),
    [
        (OutcomeKind.SUCCEEDED, FollowUpState.SUCCEEDED),
        (OutcomeKind.DECLINED_HARD, FollowUpState.FAILED),
        (OutcomeKind.CLOSED, FollowUpState.FAILED),
    ],
)
def test_a_late_definite_word_wins_over_a_persons_desk(
    start: Start, kind: OutcomeKind, state: FollowUpState
) -> None:
    walk = start().at(DEADLINE)
    walk.told(OutcomeKind.UNKNOWN)

    ended = walk.told(kind, latency_ms=None)

    assert ended.subject.state is state
    assert ended.beside == (
        Squared(is_taken=state is FollowUpState.SUCCEEDED),
        CloseCase(
            subject_id=walk.subject.subject_id,
            resolution=state.value,
            reason="OUTCOME_UNKNOWN",
        ),
    )


@START
def test_what_the_channel_works_on_may_take_a_banks_days(start: Start) -> None:
    walk = start()
    walk.told(OutcomeKind.PENDING)

    still = walk.at(NOW + timedelta(days=3)).told(OutcomeKind.PENDING, latency_ms=None)
    assert (still.subject.state, still.events) == (FollowUpState.PENDING, ())
    over = walk.at(NOW + timedelta(days=8)).told(OutcomeKind.PENDING, latency_ms=None)
    assert over.subject.state is FollowUpState.MANUAL


@START
def test_what_the_channel_works_on_stays_so_when_a_question_is_not_answered(start: Start) -> None:
    walk = start()
    walk.told(OutcomeKind.PENDING)
    walk.at(NOW + timedelta(days=3)).hear(saga.Due())

    asked = walk.told(OutcomeKind.UNKNOWN, latency_ms=None)

    # Past the deadline of what nothing is known of, and no matter of a person's yet.
    assert (asked.subject.state, asked.beside) == (FollowUpState.PENDING, ())
    over = walk.at(NOW + timedelta(days=8)).told(OutcomeKind.UNKNOWN, latency_ms=None)
    assert (over.subject.state, over.subject.reason) == (FollowUpState.MANUAL, "OUTCOME_UNKNOWN")


@START
@pytest.mark.parametrize("kind", list(OutcomeKind))
def test_what_a_person_must_square_is_settled_by_no_word_of_the_channel(
    start: Start, kind: OutcomeKind
) -> None:
    walk = start()
    walk.told(OutcomeKind.SUCCEEDED, amount_minor=99, currency="CNY")

    assert walk.subject.state is FollowUpState.MANUAL
    assert walk.offer(answered(kind, latency_ms=None)) is None
    walk.change(next_run_at=NOW)
    assert walk.hear(saga.Due()).subject.next_run_at is None


@START
@pytest.mark.parametrize(
    ("kind", "is_taken"), [(OutcomeKind.SUCCEEDED, True), (OutcomeKind.DECLINED_HARD, False)]
)
def test_what_it_had_reserved_of_its_payment_is_squared_when_it_ends(
    start: Start, kind: OutcomeKind, is_taken: bool
) -> None:
    assert start().told(kind).beside == (Squared(is_taken=is_taken),)


@START
def test_what_has_succeeded_hears_nothing_more(start: Start) -> None:
    walk = start()
    walk.told(OutcomeKind.SUCCEEDED)

    for kind in OutcomeKind:
        assert walk.offer(answered(kind)) is None
    assert walk.offer(saga.Due()) is None


def late_success_refund() -> Walk[Any]:
    attempt = first_attempt(PAYMENT.payment_id, "PAYMENT", "a", 1, NOW)
    _, step = refunds.of_late_success(
        attempt,
        payment_id=PAYMENT.payment_id,
        payment_out_ref=attempt.out_ref,
        merchant_id="mer_1",
        amount_minor=1_000,
        payment_amount_minor=1_000,
        currency="CNY",
        now=NOW,
    )
    return Walk(follow_up.decide, step)


def test_the_platforms_own_refund_waits_for_whoever_takes_it_up_and_is_told_when_sent() -> None:
    walk = late_success_refund()
    assert (walk.subject.state, walk.step.command, walk.step.events) == (
        FollowUpState.READY,
        None,
        (),
    )

    sent = walk.at(VISIBLE).hear(saga.Due())

    assert (sent.subject.state, sent.command, sent.events) == (
        FollowUpState.SENT,
        Command.ORDER,
        ("refund.created",),
    )
    assert (sent.attempts[0].state, sent.attempts[0].sent_at) == (AttemptState.SENT, VISIBLE)


def test_giving_a_late_success_back_closes_its_case() -> None:
    walk = late_success_refund()
    walk.hear(saga.Due())

    assert walk.told(OutcomeKind.SUCCEEDED).beside == (
        CloseCase(subject_id=walk.subject.refund_id, resolution="REFUNDED", reason="LATE_SUCCESS"),
    )


@pytest.mark.parametrize("waits_for_a_person", [False, True])
def test_a_late_success_that_cannot_be_given_back_stays_a_persons_case(
    waits_for_a_person: bool,
) -> None:
    walk = late_success_refund()
    walk.hear(saga.Due())
    if waits_for_a_person:
        walk.at(DEADLINE).told(OutcomeKind.UNKNOWN)
        assert walk.subject.state is FollowUpState.MANUAL

    failed = walk.told(OutcomeKind.DECLINED_HARD, latency_ms=None)

    assert failed.subject.state is FollowUpState.FAILED
    closed = [each.reason for each in failed.beside if isinstance(each, CloseCase)]
    assert closed == (["OUTCOME_UNKNOWN"] if waits_for_a_person else [])


def test_a_late_success_that_was_given_back_after_all_is_settled_and_its_case_closed() -> None:
    walk = late_success_refund()
    walk.hear(saga.Due())
    walk.told(OutcomeKind.DECLINED_HARD)

    back = walk.told(OutcomeKind.SUCCEEDED, latency_ms=None)

    # It had reserved nothing that could be another's by now.
    assert (back.subject.state, back.events) == (FollowUpState.SUCCEEDED, ("refund.succeeded",))
    assert back.beside == (
        CloseCase(subject_id=walk.subject.refund_id, resolution="REFUNDED", reason="LATE_SUCCESS"),
    )


@pytest.mark.parametrize("has_failed", [False, True])
def test_the_platforms_own_refund_takes_nothing_of_its_payment_and_frees_nothing(
    has_failed: bool,
) -> None:
    walk = late_success_refund()
    walk.hear(saga.Due())

    ended = walk.told(OutcomeKind.DECLINED_HARD if has_failed else OutcomeKind.SUCCEEDED)

    assert [each for each in ended.beside if isinstance(each, Squared)] == []
