"""A payout: the money stays held until there is a definite word, and may come back even after a success."""

from datetime import timedelta

import pytest

from services.gateway.domain import payout as payouts
from services.gateway.domain import saga
from services.gateway.domain.channel import OutcomeKind
from services.gateway.domain.payout import PayoutState
from services.gateway.domain.saga import AttemptState, CloseCase, Command
from tests.unit.services.gateway.domain.orders import (
    DEADLINE,
    NOW,
    PAYOUT,
    VISIBLE,
    answered,
    pay_out,
    sent_out,
)


def test_the_money_is_held_before_any_channel_hears_of_it() -> None:
    walk = pay_out("a")

    assert (walk.subject.state, walk.step.command, walk.step.attempts) == (
        PayoutState.HOLDING,
        Command.HOLD,
        (),
    )
    assert walk.hear(saga.HoldPlaced()).command is Command.ORDER


def test_a_refused_hold_ends_it() -> None:
    ended = pay_out("a").hear(saga.HoldRefused(reason="INSUFFICIENT_FUNDS"))

    assert (ended.subject.state, ended.subject.reason) == (PayoutState.FAILED, "INSUFFICIENT_FUNDS")


def test_an_unanswered_hold_is_asked_for_again_under_the_same_id() -> None:
    walk = pay_out("a")
    waiting = walk.hear(saga.HoldUnknown())
    assert (waiting.subject.state, waiting.command) == (PayoutState.HOLDING, None)

    assert walk.hear(saga.Due()).command is Command.HOLD


def test_a_ledger_that_is_silent_for_a_day_ends_it_while_no_channel_has_heard_of_it() -> None:
    walk = pay_out("a").at(DEADLINE)

    ended = walk.hear(saga.HoldUnknown())

    # payout.failed releases the hold, and bars one that arrives late.
    assert (ended.subject.state, ended.events) == (PayoutState.FAILED, ("payout.failed",))


def test_softly_declined_it_goes_to_the_next_bank_with_the_same_hold() -> None:
    walk = sent_out("a", "b")
    assert walk.subject.channel_id == "a"

    moved = walk.told(OutcomeKind.DECLINED_SOFT)

    assert (moved.subject.channel_id, moved.command) == ("b", Command.ORDER)
    assert walk.told(OutcomeKind.DECLINED_SOFT).subject.state is PayoutState.FAILED


def test_in_review_it_neither_holds_nor_sends_until_it_is_approved() -> None:
    walk = pay_out("a", risk="REVIEW")
    assert (walk.subject.state, walk.step.command) == (PayoutState.REVIEW, None)
    assert walk.hear(saga.Due()).command is Command.REVIEW
    assert walk.hear(saga.StillOpen()).command is None

    later = NOW + timedelta(hours=20)
    approved = walk.at(later).hear(saga.Approved())
    assert approved.command is Command.HOLD
    assert approved.subject.hard_deadline_at == later + timedelta(days=1)

    rejected = pay_out("a", risk="REVIEW").hear(saga.Rejected())
    assert (rejected.subject.state, rejected.command) == (PayoutState.FAILED, None)
    forgotten = pay_out("a", risk="REVIEW").at(DEADLINE).hear(saga.StillOpen())
    assert forgotten.subject.reason == "REVIEW_EXPIRED"


def test_what_the_bank_never_saw_is_sent_again_under_the_same_number() -> None:
    walk = sent_out()
    walk.told(OutcomeKind.UNKNOWN)

    again = walk.at(VISIBLE).told(OutcomeKind.NOT_FOUND, latency_ms=None)
    assert (again.command, len(walk.attempts)) == (Command.ORDER, 1)
    refused = walk.told(OutcomeKind.DECLINED_HARD)
    assert (refused.subject.state, refused.command) == (PayoutState.UNKNOWN, None)


def test_a_payout_that_came_back_is_returned_and_not_watched_any_more() -> None:
    walk = sent_out()
    paid = walk.told(OutcomeKind.SUCCEEDED)
    assert paid.subject.next_run_at == NOW + timedelta(seconds=payouts.RETURN_QUERY_S)

    later = NOW + timedelta(days=2)
    back = walk.at(later).told(OutcomeKind.RETURNED, code="ACCOUNT_CLOSED", latency_ms=None)

    assert (back.subject.state, back.subject.reason) == (PayoutState.RETURNED, "ACCOUNT_CLOSED")
    assert (back.subject.returned_at, back.subject.next_run_at) == (later, None)
    assert (back.events, back.attempts[0].state) == (("payout.returned",), AttemptState.RETURNED)
    for kind in OutcomeKind:
        assert walk.offer(answered(kind, latency_ms=None)) is None


def test_a_banks_own_code_of_a_return_is_not_shown_to_the_merchant() -> None:
    walk = sent_out()
    walk.told(OutcomeKind.SUCCEEDED)

    assert walk.told(OutcomeKind.RETURNED, code="R-17").subject.reason == "RETURNED_BY_BANK"


@pytest.mark.parametrize("is_at_the_desk", [False, True])
def test_a_return_heard_before_its_success_is_booked_as_both_in_order(is_at_the_desk: bool) -> None:
    walk = sent_out()
    walk.at(DEADLINE if is_at_the_desk else NOW).told(OutcomeKind.UNKNOWN)

    first = walk.told(OutcomeKind.RETURNED, latency_ms=None)
    assert (first.subject.state, first.events) == (PayoutState.SUCCEEDED, ("payout.succeeded",))
    assert first.attempts[0].state is AttemptState.SUCCEEDED
    assert first.subject.next_run_at == walk.now

    assert walk.hear(saga.Due()).command is Command.QUERY
    then = walk.told(OutcomeKind.RETURNED, latency_ms=None)
    assert then.events == ("payout.returned",)


def test_the_watch_for_a_return_ends_after_its_window() -> None:
    walk = sent_out()
    walk.told(OutcomeKind.SUCCEEDED)
    questions = 0
    while walk.subject.next_run_at is not None:
        walk.at(walk.subject.next_run_at)
        assert walk.hear(saga.Due()).command is Command.QUERY
        rested = walk.told(OutcomeKind.SUCCEEDED, latency_ms=None)
        assert (rested.subject.state, rested.events) == (PayoutState.SUCCEEDED, ())
        questions += 1

    assert questions == payouts.RETURN_WINDOW_S // payouts.RETURN_QUERY_S
    assert walk.now == NOW + timedelta(seconds=payouts.RETURN_WINDOW_S)


def test_a_return_after_the_window_is_still_believed() -> None:
    walk = sent_out()
    walk.told(OutcomeKind.SUCCEEDED)
    walk.change(next_run_at=None)

    late = walk.at(NOW + timedelta(days=9)).told(OutcomeKind.RETURNED, latency_ms=None)

    assert late.subject.state is PayoutState.RETURNED


def test_a_silent_bank_while_it_is_watched_changes_nothing() -> None:
    walk = sent_out()
    walk.told(OutcomeKind.SUCCEEDED)
    walk.hear(saga.Due())

    rested = walk.told(OutcomeKind.UNKNOWN, latency_ms=None)

    assert rested.subject.state is PayoutState.SUCCEEDED
    assert rested.attempts[0].state is AttemptState.SUCCEEDED
    assert rested.subject.next_run_at == NOW + timedelta(seconds=payouts.RETURN_QUERY_S)


def test_without_any_word_it_goes_before_a_person_until_there_is_one() -> None:
    walk = sent_out("a", "b").at(DEADLINE)
    manual = walk.told(OutcomeKind.UNKNOWN)
    assert (manual.subject.state, manual.subject.reason) == (PayoutState.MANUAL, "OUTCOME_UNKNOWN")

    # The money is no longer sent elsewhere: a person may have promised it by now.
    ended = walk.told(OutcomeKind.DECLINED_SOFT, latency_ms=None)

    assert (ended.subject.state, ended.command) == (PayoutState.FAILED, None)
    assert ended.beside == (
        CloseCase(subject_id=PAYOUT.payout_id, resolution="FAILED", reason="OUTCOME_UNKNOWN"),
    )


def test_what_the_bank_works_on_stays_so_when_a_question_is_not_answered() -> None:
    walk = sent_out()
    walk.told(OutcomeKind.PENDING)
    walk.at(NOW + timedelta(days=3)).hear(saga.Due())

    asked = walk.told(OutcomeKind.UNKNOWN, latency_ms=None)

    # Past the deadline of what nothing is known of, and no matter of a person's yet.
    assert (asked.subject.state, asked.beside) == (PayoutState.PENDING, ())
    over = walk.at(NOW + timedelta(days=8)).told(OutcomeKind.UNKNOWN, latency_ms=None)
    assert (over.subject.state, over.subject.reason) == (PayoutState.MANUAL, "OUTCOME_UNKNOWN")
