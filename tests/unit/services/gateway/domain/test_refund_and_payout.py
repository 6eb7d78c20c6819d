"""The machines of refunds and payouts: the money stays reserved or held until there is a definite word."""

from datetime import UTC, datetime, timedelta

import pytest

from services.gateway.domain import payout as payouts
from services.gateway.domain import refund as refunds
from services.gateway.domain import saga
from services.gateway.domain.channel import Outcome, OutcomeKind
from services.gateway.domain.payout import Payout, PayoutState
from services.gateway.domain.refund import Refund, RefundState
from services.gateway.domain.saga import Answered, Command, Signal

NOW = datetime(2026, 11, 11, 4, 0, tzinfo=UTC)
LATER = NOW + timedelta(seconds=saga.VISIBILITY_WINDOW_S)
DEADLINE = NOW + timedelta(days=1)

REFUND = Refund(
    refund_id="ref_00000000000000000000000001",
    payment_id="pay_1",
    merchant_id="mer_1",
    request_id="back-1",
    fingerprint="f",
    amount_minor=100,
    currency="CNY",
    note="",
    state=RefundState.SENT,
    channel_id="a",
    payment_out_ref="p1",
    payment_amount_minor=1_000,
    created_at=NOW,
    updated_at=NOW,
    hard_deadline_at=DEADLINE,
    next_run_at=saga.leased_until(NOW),
)
PAYOUT = Payout(
    payout_id="pout_00000000000000000000000001",
    merchant_id="mer_1",
    request_id="salary-1",
    fingerprint="f",
    amount_minor=100,
    currency="CNY",
    payee_account="6222000011112222",
    payee_name="payee",
    payee_bank_code="",
    description="",
    state=PayoutState.HOLDING,
    evaluation_id="mer_1:payout:salary-1",
    plan=(),
    created_at=NOW,
    updated_at=NOW,
    hard_deadline_at=DEADLINE,
    next_run_at=None,
)


def answered(kind: OutcomeKind, latency_ms: int | None = 5, code: str = "") -> Answered:
    return Answered(outcome=Outcome(kind=kind, code=code), attempt_number=1, latency_ms=latency_ms)


def refund_after(*signals: tuple[Signal, datetime]) -> tuple[Refund, Command | None]:
    step = refunds.open_refund(REFUND, NOW)
    subject, attempt, command = step.subject, step.attempt, step.command
    for signal, now in signals:
        taken = refunds.decide(subject, attempt, signal, now)
        if taken is not None:
            subject, attempt, command = taken.subject, taken.attempt or attempt, taken.command
    return subject, command


@pytest.mark.parametrize(
    ("kind", "state"),
    [
        (OutcomeKind.SUCCEEDED, RefundState.SUCCEEDED),
        (OutcomeKind.PENDING, RefundState.PENDING),
        (OutcomeKind.DECLINED_HARD, RefundState.FAILED),
        (OutcomeKind.DECLINED_SOFT, RefundState.FAILED),
        (OutcomeKind.CLOSED, RefundState.FAILED),
        (OutcomeKind.UNKNOWN, RefundState.UNKNOWN),
        (OutcomeKind.NOT_FOUND, RefundState.UNKNOWN),
    ],
)
def test_a_refund_fails_only_on_a_definite_word(kind: OutcomeKind, state: RefundState) -> None:
    subject, _ = refund_after((answered(kind), NOW))

    assert subject.state is state


def test_a_refund_the_channel_never_saw_is_sent_again_under_the_same_number() -> None:
    subject, command = refund_after(
        (answered(OutcomeKind.UNKNOWN), NOW),
        (saga.Due(), LATER),
        (answered(OutcomeKind.NOT_FOUND, None), LATER),
    )

    assert (subject.state, command) == (RefundState.UNKNOWN, Command.ORDER)


def test_refusing_the_repeated_order_says_nothing_of_the_first() -> None:
    subject, command = refund_after(
        (answered(OutcomeKind.UNKNOWN), NOW),
        (answered(OutcomeKind.NOT_FOUND, None), LATER),
        (answered(OutcomeKind.DECLINED_SOFT), LATER),
    )

    assert (subject.state, command) == (RefundState.UNKNOWN, None)


def test_a_refund_without_any_word_goes_before_a_person() -> None:
    subject, _ = refund_after((answered(OutcomeKind.UNKNOWN), DEADLINE))

    assert subject.state is RefundState.MANUAL


def test_a_late_success_wins_over_a_persons_desk() -> None:
    subject, _ = refund_after(
        (answered(OutcomeKind.UNKNOWN), DEADLINE), (answered(OutcomeKind.SUCCEEDED, None), DEADLINE)
    )

    assert subject.state is RefundState.SUCCEEDED


def test_a_payout_is_held_before_any_channel_hears_of_it() -> None:
    step = payouts.open_payout(PAYOUT, "ALLOW", "", ("a",), NOW)

    assert (step.subject.state, step.command, step.attempts) == (
        PayoutState.HOLDING,
        Command.HOLD,
        (),
    )


def test_a_refused_hold_ends_the_payout_and_an_unknown_one_is_asked_again() -> None:
    step = payouts.open_payout(PAYOUT, "ALLOW", "", ("a",), NOW)

    refused = payouts.decide(step.subject, None, saga.HoldRefused(reason="INSUFFICIENT_FUNDS"), NOW)
    unknown = payouts.decide(step.subject, None, saga.HoldUnknown(), NOW)

    assert refused is not None
    assert unknown is not None
    assert (refused.subject.state, refused.subject.reason) == (
        PayoutState.FAILED,
        "INSUFFICIENT_FUNDS",
    )
    assert unknown.subject.state is PayoutState.HOLDING
    again = payouts.decide(unknown.subject, None, saga.Due(), LATER)
    assert again is not None
    assert again.command is Command.HOLD


def test_a_payout_softly_declined_goes_to_the_next_bank() -> None:
    step = payouts.open_payout(PAYOUT, "ALLOW", "", ("a", "b"), NOW)
    sent = payouts.decide(step.subject, None, saga.HoldPlaced(), NOW)
    assert sent is not None
    assert sent.subject.channel_id == "a"

    moved = payouts.decide(sent.subject, sent.attempt, answered(OutcomeKind.DECLINED_SOFT), NOW)

    assert moved is not None
    assert (moved.subject.channel_id, moved.command) == ("b", Command.ORDER)


def test_a_payout_in_review_neither_holds_nor_sends_until_it_is_approved() -> None:
    step = payouts.open_payout(PAYOUT, "REVIEW", "case_1", ("a",), NOW)
    assert (step.subject.state, step.command) == (PayoutState.REVIEW, None)

    approved = payouts.decide(step.subject, None, saga.Approved(), LATER)
    rejected = payouts.decide(step.subject, None, saga.Rejected(), LATER)

    assert approved is not None
    assert rejected is not None
    assert approved.command is Command.HOLD
    assert (rejected.subject.state, rejected.command) == (PayoutState.FAILED, None)


def test_a_refund_the_channel_works_on_may_take_a_banks_days() -> None:
    weekend = NOW + timedelta(days=3)
    subject, _ = refund_after((answered(OutcomeKind.PENDING), NOW), (saga.Due(), weekend))
    still, _ = refund_after(
        (answered(OutcomeKind.PENDING), NOW), (answered(OutcomeKind.PENDING, None), weekend)
    )

    assert subject.state is still.state is RefundState.PENDING


def test_what_stands_before_a_person_is_still_asked_about_and_a_definite_word_ends_it() -> None:
    manual, _ = refund_after((answered(OutcomeKind.UNKNOWN), DEADLINE))
    assert manual.next_run_at == DEADLINE + timedelta(seconds=saga.RARE_QUERY_S)

    ended, _ = refund_after(
        (answered(OutcomeKind.UNKNOWN), DEADLINE),
        (saga.Due(), DEADLINE),
        (answered(OutcomeKind.DECLINED_HARD, None), DEADLINE),
    )

    assert ended.state is RefundState.FAILED


def test_a_refund_that_succeeds_after_it_had_failed_goes_before_a_person() -> None:
    subject, _ = refund_after(
        (answered(OutcomeKind.DECLINED_HARD), NOW), (answered(OutcomeKind.SUCCEEDED, None), LATER)
    )

    assert (subject.state, subject.reason) == (RefundState.MANUAL, "LATE_SUCCESS")


def test_a_refund_before_a_person_is_not_settled_by_the_channel_repeating_itself() -> None:
    late = answered(OutcomeKind.SUCCEEDED, None)
    subject, _ = refund_after(
        (answered(OutcomeKind.DECLINED_HARD), NOW), (late, LATER), (late, LATER)
    )

    assert (subject.state, subject.reason) == (RefundState.MANUAL, "LATE_SUCCESS")
