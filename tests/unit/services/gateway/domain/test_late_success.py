"""Money that moves after a definite word that it had not: what had ended stays so, once it is told, and a person's matter it is."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from services.gateway.domain import follow_up, saga
from services.gateway.domain.channel import OutcomeKind
from services.gateway.domain.follow_up import FollowUpState
from services.gateway.domain.payout import PayoutState
from services.gateway.domain.refund import RefundOrigin
from services.gateway.domain.saga import Attempt, AttemptState, CloseCase, OpenCase, Step
from tests.unit.services.gateway.domain import transitions
from tests.unit.services.gateway.domain.orders import (
    AMOUNT_MINOR,
    DEADLINE,
    NOW,
    PAYMENT,
    PAYOUT,
    Walk,
    answered,
    capture,
    pay,
    refund,
    sent_out,
)

Start = Callable[[], "Walk[Any]"]
STARTS: dict[str, Start] = {
    "payment": lambda: pay("a"),
    "capture": capture,
    "refund": refund,
    "payout": sent_out,
}
EVERY_FLOW = pytest.mark.parametrize("flow", STARTS)
LATER = NOW + timedelta(days=2)


def failed(flow: str) -> "Walk[Any]":
    walk = STARTS[flow]()
    walk.told(OutcomeKind.DECLINED_HARD)
    return walk.at(LATER)


def opened(step: "Step[Any, Any]") -> list[tuple[str, str]]:
    return [(each.subject_id, each.reason) for each in step.beside if isinstance(each, OpenCase)]


def born(step: "Step[Any, Any]") -> list[Any]:
    return [each.subject for each in step.beside if isinstance(each, Step)]


@EVERY_FLOW
def test_what_failed_stays_failed_and_its_late_success_is_told_once(flow: str) -> None:
    walk = failed(flow)
    reason = walk.subject.reason

    late = walk.told(OutcomeKind.SUCCEEDED, latency_ms=None)

    assert (late.subject.state, late.subject.reason) == ("FAILED", reason)
    assert (late.events, late.command) == ((f"{flow}.late_success",), None)
    assert [each.state for each in late.attempts] == [AttemptState.SUCCEEDED]
    assert walk.offer(answered(OutcomeKind.SUCCEEDED, latency_ms=None)) is None


@EVERY_FLOW
def test_whatever_else_its_channel_says_of_what_had_failed_is_no_news(flow: str) -> None:
    quiet = set(OutcomeKind) - {OutcomeKind.SUCCEEDED, OutcomeKind.AUTHORIZED}

    for kind in quiet:
        assert failed(flow).offer(answered(kind, latency_ms=None)) is None, kind


@EVERY_FLOW
def test_another_amount_is_for_a_person_to_find_out_and_no_fact(flow: str) -> None:
    walk = failed(flow)

    late = walk.told(OutcomeKind.SUCCEEDED, amount_minor=99, currency="CNY", latency_ms=None)

    assert (late.subject.state, late.events, born(late)) == ("FAILED", (), [])
    [(_, reason)] = opened(late)
    assert (reason, late.attempts[0].state) == ("LATE_AMOUNT_MISMATCH", AttemptState.SUCCEEDED)
    assert walk.offer(answered(OutcomeKind.SUCCEEDED, latency_ms=None)) is None


@pytest.mark.parametrize("flow", ["capture", "refund", "payout"])
def test_an_attempt_that_moved_another_amount_says_so(flow: str) -> None:
    late = failed(flow).told(OutcomeKind.SUCCEEDED, amount_minor=99, currency="CNY", code="IN_BILL")

    assert [each.code for each in late.attempts] == ["LATE_AMOUNT_MISMATCH"]


@pytest.mark.parametrize(("flow", "amount_minor"), [("payment", AMOUNT_MINOR), ("capture", 100)])
def test_what_a_channel_took_late_is_given_back_by_the_platform(
    flow: str, amount_minor: int
) -> None:
    walk = failed(flow)
    late = walk.told(OutcomeKind.SUCCEEDED, latency_ms=None)
    [back] = born(late)
    [attempt] = late.attempts

    assert (back.origin, back.state) == (RefundOrigin.LATE_SUCCESS, FollowUpState.READY)
    assert (back.amount_minor, back.payment_amount_minor) == (amount_minor, AMOUNT_MINOR)
    assert (back.payment_id, back.channel_id) == (PAYMENT.payment_id, attempt.channel_id)
    # A channel knows a refund by its payment's number, whichever order took the money.
    paid_under = attempt.out_ref if flow == "payment" else walk.subject.payment_out_ref
    assert (back.payment_out_ref, back.next_run_at) == (paid_under, LATER)
    assert opened(late) == [(back.refund_id, "LATE_SUCCESS")]


@pytest.mark.parametrize("flow", ["payment", "capture"])
def test_its_case_is_closed_when_the_money_is_back(flow: str) -> None:
    late = failed(flow).told(OutcomeKind.SUCCEEDED, latency_ms=None)
    walk = Walk(follow_up.decide, next(each for each in late.beside if isinstance(each, Step)))
    walk.at(LATER).hear(saga.Due())

    back = walk.told(OutcomeKind.SUCCEEDED)

    [case] = [each for each in back.beside if isinstance(each, CloseCase)]
    assert [(case.subject_id, "LATE_SUCCESS")] == opened(late)


@pytest.mark.parametrize("flow", ["refund", "payout"])
def test_what_left_late_nobody_can_take_back_but_people(flow: str) -> None:
    walk = failed(flow)

    late = walk.told(OutcomeKind.SUCCEEDED, latency_ms=None)

    assert opened(late) == [(transitions.subject_id(walk.subject), "LATE_SUCCESS")]
    assert born(late) == []


# Payouts, whose earlier attempts may have left money too, and whose money may come back


def left_twice(*plan: str) -> "Walk[Any]":
    walk = sent_out(*plan)
    walk.told(OutcomeKind.DECLINED_SOFT)
    earlier = answered(OutcomeKind.SUCCEEDED, number=1, latency_ms=None, attempt=walk.attempts[1])
    walk.hear(earlier)
    return walk


def test_money_that_left_twice_is_for_a_person_and_the_payout_goes_on() -> None:
    walk = left_twice("a", "b")

    assert (walk.subject.state, walk.step.events) == (PayoutState.SENT, ("payout.late_success",))
    assert opened(walk.step) == [(PAYOUT.payout_id, "LATE_SUCCESS")]
    assert walk.told(OutcomeKind.SUCCEEDED).events == ("payout.succeeded",)


@pytest.mark.parametrize("state", [PayoutState.FAILED, PayoutState.SUCCEEDED])
def test_what_left_late_and_was_sent_back_is_squared_by_that(state: PayoutState) -> None:
    walk = left_twice("a", "b")
    has_failed = state is PayoutState.FAILED
    walk.told(OutcomeKind.DECLINED_HARD if has_failed else OutcomeKind.SUCCEEDED)

    back = answered(OutcomeKind.RETURNED, number=1, latency_ms=None, attempt=walk.attempts[1])
    returned = walk.hear(back)

    assert (returned.subject.state, returned.subject.returned_at) == (state, None)
    assert returned.events == ("payout.late_return",)
    assert [each.state for each in returned.attempts] == [AttemptState.RETURNED]
    assert returned.beside == (
        CloseCase(subject_id=PAYOUT.payout_id, resolution="RETURNED", reason="LATE_SUCCESS"),
    )
    for kind in (OutcomeKind.RETURNED, OutcomeKind.SUCCEEDED):
        again = answered(kind, number=1, latency_ms=None, attempt=walk.attempts[1])
        assert walk.offer(again) is None


def test_a_case_stays_open_as_long_as_any_money_that_left_late_is_out() -> None:
    walk = left_twice("a", "b")
    walk.told(OutcomeKind.DECLINED_HARD)
    walk.told(OutcomeKind.SUCCEEDED, latency_ms=None)
    first, second = walk.attempts[1], walk.attempts[2]

    def back(attempt: Attempt, *others: Attempt) -> "Step[Any, Any]":
        returned = answered(
            OutcomeKind.RETURNED, number=attempt.number, latency_ms=None, attempt=attempt
        )
        return walk.hear(returned.as_of((attempt, *others)))

    still_out = back(first, second)
    assert (still_out.events, still_out.beside) == (("payout.late_return",), ())
    assert [type(each) for each in back(second, walk.attempts[1]).beside] == [CloseCase]


def test_the_only_attempt_of_a_payout_that_failed_may_leave_late_and_come_back() -> None:
    walk = failed("payout")
    walk.told(OutcomeKind.SUCCEEDED, latency_ms=None)

    returned = walk.told(OutcomeKind.RETURNED, latency_ms=None)

    assert (returned.subject.state, returned.events) == (
        PayoutState.FAILED,
        ("payout.late_return",),
    )


@pytest.mark.parametrize(
    ("left_minor", "back_minor"), [(99, None), (None, 99)], ids=["it-left", "it-came-back"]
)
def test_a_return_closes_no_case_of_another_amount(
    left_minor: int | None, back_minor: int | None
) -> None:
    walk = failed("payout")
    walk.told(OutcomeKind.SUCCEEDED, amount_minor=left_minor)

    assert walk.offer(answered(OutcomeKind.RETURNED, amount_minor=back_minor)) is None


def test_a_return_of_what_never_left_is_no_news() -> None:
    assert failed("payout").offer(answered(OutcomeKind.RETURNED)) is None


def test_the_return_of_a_success_is_no_late_one_whatever_left_before() -> None:
    walk = left_twice("a", "b")
    walk.told(OutcomeKind.SUCCEEDED)

    returned = walk.told(OutcomeKind.RETURNED, latency_ms=None)

    assert (returned.subject.state, returned.events) == (
        PayoutState.RETURNED,
        ("payout.returned",),
    )


def test_a_late_success_changes_nothing_of_what_a_payment_waits_for() -> None:
    walk = pay("a", "b")
    walk.told(OutcomeKind.DECLINED_SOFT)
    walk.at(DEADLINE).told(OutcomeKind.UNKNOWN)
    before = walk.subject

    late = walk.hear(answered(OutcomeKind.SUCCEEDED, number=1, attempt=walk.attempts[1]))

    assert (late.subject.state, late.subject.next_run_at) == (before.state, before.next_run_at)
