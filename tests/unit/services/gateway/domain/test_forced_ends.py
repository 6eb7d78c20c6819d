"""How two people may end what no machine can, and what a flow refuses even them."""

from collections.abc import Callable
from typing import Any

import pytest

from services.gateway.domain.channel import OutcomeKind
from services.gateway.domain.errors import ForceRefused
from services.gateway.domain.follow_up import Squared
from services.gateway.domain.saga import AttemptState, CloseCase, Forced, Step
from tests.unit.services.gateway.domain.orders import (
    AMOUNT_MINOR,
    DEADLINE,
    NOW,
    Walk,
    answered,
    authorized,
    capture,
    pay,
    pay_out,
    refund,
    sent_out,
)

AnyWalk = Callable[[], "Walk[Any]"]


def at_the_desk(walk: "Walk[Any]") -> "Walk[Any]":
    walk.at(DEADLINE).told(OutcomeKind.UNKNOWN)
    assert walk.subject.state == "MANUAL"
    return walk


def after(walk: "Walk[Any]", kind: OutcomeKind, **details: Any) -> "Walk[Any]":
    walk.told(kind, **details)
    return walk


def force(walk: "Walk[Any]", to_state: str) -> "Step[Any, Any]":
    return walk.hear(Forced(to_state=to_state))


@pytest.mark.parametrize(
    ("start", "to_state", "attempt_state"),
    [
        (lambda: pay("a", "b"), "SUCCEEDED", AttemptState.SUCCEEDED),
        (lambda: pay("a", "b"), "FAILED", AttemptState.CLOSED),
        (lambda: pay("a", "b"), "CANCELED", AttemptState.CLOSED),
        (capture, "SUCCEEDED", AttemptState.SUCCEEDED),
        (capture, "FAILED", AttemptState.CLOSED),
        (refund, "SUCCEEDED", AttemptState.SUCCEEDED),
        (refund, "FAILED", AttemptState.CLOSED),
        (sent_out, "SUCCEEDED", AttemptState.SUCCEEDED),
        (sent_out, "FAILED", AttemptState.CLOSED),
    ],
)
def test_two_people_end_what_stands_before_them_and_its_case(
    start: AnyWalk, to_state: str, attempt_state: AttemptState
) -> None:
    walk = at_the_desk(start())
    kind = walk.step.events[0].partition(".")[0]

    ended = force(walk, to_state)

    assert (ended.subject.state, ended.subject.reason) == (to_state, "FORCED")
    assert ended.events == (f"{kind}.{to_state.lower()}",)
    assert ended.command is None
    assert [(each.state, each.code) for each in ended.attempts] == [(attempt_state, "FORCED")]
    assert [each.resolution for each in ended.beside if isinstance(each, CloseCase)] == [to_state]


@pytest.mark.parametrize(
    ("start", "beside"),
    [
        (lambda: pay("a", "b"), ()),
        (capture, (Squared(is_taken=False),)),
        (refund, (Squared(is_taken=False),)),
        (sent_out, ()),
    ],
)
def test_what_is_still_under_way_can_be_forced_too_and_needs_no_case(
    start: AnyWalk, beside: tuple[object, ...]
) -> None:
    ended = force(after(start(), OutcomeKind.UNKNOWN), "FAILED")

    assert (ended.subject.state, ended.beside) == ("FAILED", beside)


def test_a_payment_forced_to_success_is_captured_whole() -> None:
    ended = force(at_the_desk(pay("a")), "SUCCEEDED")

    assert (ended.subject.captured_minor, ended.subject.is_captured) == (AMOUNT_MINOR, True)
    assert ended.subject.succeeded_at == DEADLINE


@pytest.mark.parametrize(
    "start",
    [
        lambda: after(pay("a"), OutcomeKind.SUCCEEDED),
        lambda: after(pay("a"), OutcomeKind.DECLINED_HARD),
        lambda: after(capture(), OutcomeKind.SUCCEEDED),
        lambda: after(refund(), OutcomeKind.DECLINED_HARD),
        lambda: after(sent_out(), OutcomeKind.DECLINED_HARD),
    ],
)
@pytest.mark.parametrize("to_state", ["SUCCEEDED", "FAILED", "CANCELED"])
def test_what_has_ended_is_not_ended_otherwise(start: AnyWalk, to_state: str) -> None:
    with pytest.raises(ForceRefused):
        force(start(), to_state)


@pytest.mark.parametrize("start", [lambda: pay("a"), capture, refund, sent_out])
@pytest.mark.parametrize("to_state", ["MANUAL", "SENT", "UNKNOWN", "", "succeeded"])
def test_nothing_is_forced_into_a_state_that_is_no_end(start: AnyWalk, to_state: str) -> None:
    with pytest.raises(ForceRefused):
        force(start(), to_state)


def test_a_payment_that_no_channel_ever_heard_of_cannot_have_succeeded() -> None:
    walk = pay("a", risk="REVIEW")

    with pytest.raises(ForceRefused):
        force(walk, "SUCCEEDED")
    assert force(walk, "CANCELED").subject.state == "CANCELED"


def test_a_payment_is_not_forced_while_a_capture_is_under_way_or_has_taken_money() -> None:
    walk = authorized()
    walk.change(capturing_minor=300)
    with pytest.raises(ForceRefused):
        force(walk, "CANCELED")

    walk.change(capturing_minor=0, captured_minor=300)
    for to_state in ("FAILED", "CANCELED"):
        with pytest.raises(ForceRefused):
            force(walk, to_state)


def test_an_authorisation_before_a_person_succeeds_with_what_its_captures_have_taken() -> None:
    walk = authorized()
    walk.change(captured_minor=300)
    walk.told(OutcomeKind.SUCCEEDED, amount_minor=500, currency="CNY")
    assert (walk.subject.state, walk.subject.reason) == ("MANUAL", "AMOUNT_MISMATCH")

    done = force(walk, "SUCCEEDED")

    assert (done.subject.captured_minor, done.subject.is_captured) == (300, True)


def test_nobody_can_say_how_much_was_captured_of_an_authorisation_that_succeeded() -> None:
    with pytest.raises(ForceRefused):
        force(authorized(), "SUCCEEDED")


def test_a_payment_forced_to_failure_that_was_paid_after_all_is_refunded() -> None:
    walk = at_the_desk(pay("a"))
    force(walk, "FAILED")

    late = walk.told(OutcomeKind.SUCCEEDED)

    assert late.events == ("payment.late_success",)
    assert [type(each) for each in late.beside if isinstance(each, Step)] == [Step]


def test_only_a_payout_that_succeeded_can_be_forced_to_have_come_back() -> None:
    walk = sent_out()
    with pytest.raises(ForceRefused):
        force(walk, "RETURNED")

    walk.told(OutcomeKind.SUCCEEDED)
    back = force(walk, "RETURNED")

    assert (back.subject.returned_at, back.events) == (NOW, ("payout.returned",))
    for to_state in ("SUCCEEDED", "FAILED", "RETURNED"):
        with pytest.raises(ForceRefused):
            force(walk, to_state)


def test_a_payout_whose_money_is_not_held_yet_is_not_forced() -> None:
    for walk in (pay_out("a"), pay_out("a", risk="REVIEW")):
        with pytest.raises(ForceRefused):
            force(walk, "FAILED")


def test_a_payout_forced_to_success_is_watched_for_a_return() -> None:
    walk = at_the_desk(sent_out())

    assert force(walk, "SUCCEEDED").subject.next_run_at is not None


def late(walk: "Walk[Any]") -> "Walk[Any]":
    return after(after(walk, OutcomeKind.DECLINED_HARD), OutcomeKind.SUCCEEDED, latency_ms=None)


LATE = pytest.mark.parametrize("start", [lambda: pay("a"), capture, refund, sent_out])


@LATE
@pytest.mark.parametrize("to_state", ["SUCCEEDED", "FAILED", "CANCELED", "RETURNED"])
def test_what_moved_money_late_has_ended_and_is_not_ended_otherwise(
    start: AnyWalk, to_state: str
) -> None:
    # What it had reserved or held may be another's by now.
    with pytest.raises(ForceRefused):
        force(late(start()), to_state)


@LATE
def test_what_two_people_have_squared_stays_as_it_ended_and_its_case_is_closed(
    start: AnyWalk,
) -> None:
    walk = late(start())
    before, attempt = walk.subject, walk.attempt

    squared = force(walk, "RESOLVED")

    [case] = squared.beside
    assert isinstance(case, CloseCase)
    assert (before.state, case.resolution) == ("FAILED", "RESOLVED")
    assert (walk.subject.state, walk.subject.reason) == (before.state, before.reason)
    assert (walk.attempt, squared.events, squared.command) == (attempt, (), None)


@pytest.mark.parametrize("start", [lambda: pay("a", "b"), capture, refund, sent_out])
@pytest.mark.parametrize("is_at_the_desk", [False, True])
def test_only_what_has_ended_can_be_squared(start: AnyWalk, is_at_the_desk: bool) -> None:
    walk = at_the_desk(start()) if is_at_the_desk else start()

    with pytest.raises(ForceRefused):
        force(walk, "RESOLVED")


def test_a_forced_end_stands_whatever_the_answer_that_was_on_its_way_says() -> None:
    walk = pay("a")
    force(walk, "SUCCEEDED")

    for kind in OutcomeKind:
        assert walk.offer(answered(kind)) is None
