"""A payment's flow: one channel after another, and never another before a definite word."""

from datetime import timedelta

import pytest

from services.gateway.domain import saga
from services.gateway.domain.channel import OutcomeKind
from services.gateway.domain.next_action import ShowQr, Wait
from services.gateway.domain.payment import PaymentState
from services.gateway.domain.refund import Refund, RefundOrigin
from services.gateway.domain.saga import AttemptState, CloseCase, Command, OpenCase, Step
from tests.unit.services.gateway.domain.orders import (
    AMOUNT_MINOR,
    DEADLINE,
    NOW,
    PAYMENT,
    VISIBLE,
    answered,
    pay,
)


def test_the_intent_names_its_first_attempt_before_any_channel_hears_of_it() -> None:
    walk = pay("a", "b")

    assert (walk.subject.state, walk.subject.channel_id, walk.step.command) == (
        PaymentState.SENT,
        "a",
        Command.ORDER,
    )
    assert walk.attempt is not None
    assert walk.attempt.out_ref == "p0000000000000000000000000101"
    assert walk.subject.next_run_at == saga.leased_until(NOW)


@pytest.mark.parametrize(
    ("risk", "plan", "state", "reason"),
    [
        ("DENY", ("a",), PaymentState.FAILED, "RISK_DENIED"),
        ("ALLOW", (), PaymentState.FAILED, "NO_CHANNEL"),
        ("REVIEW", ("a",), PaymentState.REVIEW, ""),
    ],
)
def test_what_may_not_go_out_sends_nothing(
    risk: str, plan: tuple[str, ...], state: PaymentState, reason: str
) -> None:
    walk = pay(*plan, risk=risk)

    assert (walk.subject.state, walk.subject.reason, walk.step.command) == (state, reason, None)
    assert walk.step.attempts == ()


def test_another_channel_is_tried_after_a_definite_word() -> None:
    declined = pay("a", "b").told(OutcomeKind.DECLINED_SOFT, code="CHANNEL_BUSY")

    assert [(each.channel_id, each.state) for each in declined.attempts] == [
        ("a", AttemptState.DECLINED),
        ("b", AttemptState.SENT),
    ]
    assert declined.events == ("payment.rerouted",)


def test_no_other_channel_is_tried_while_nobody_knows_what_the_first_one_did() -> None:
    unknown = pay("a", "b").told(OutcomeKind.UNKNOWN)

    assert (unknown.subject.state, unknown.command) == (PaymentState.UNKNOWN, None)


def test_a_hard_decline_ends_it_in_words_that_no_channel_owns() -> None:
    walk = pay("a", "b")
    ended = walk.told(OutcomeKind.DECLINED_HARD, code="R-4711")

    assert (ended.subject.state, ended.subject.reason) == (PaymentState.FAILED, "CHANNEL_DECLINED")
    assert walk.attempt is not None
    assert walk.attempt.code == "R-4711"


def test_a_channel_that_does_not_know_the_order_yet_is_given_time() -> None:
    waiting = pay("a", "b").told(OutcomeKind.NOT_FOUND)
    closing = pay("a", "b").at(VISIBLE).told(OutcomeKind.NOT_FOUND)

    assert (waiting.subject.state, waiting.command) == (PaymentState.UNKNOWN, None)
    assert (closing.subject.state, closing.command) == (PaymentState.CLOSING, Command.CLOSE)


def test_what_is_closed_for_good_goes_to_the_next_channel() -> None:
    walk = pay("a", "b").at(VISIBLE)
    walk.told(OutcomeKind.NOT_FOUND)

    moved = walk.told(OutcomeKind.CLOSED)

    assert (moved.subject.channel_id, moved.command) == ("b", Command.ORDER)


def test_a_success_of_another_amount_goes_before_a_person() -> None:
    ended = pay("a").told(OutcomeKind.SUCCEEDED, amount_minor=999, currency="CNY")

    assert (ended.subject.state, ended.subject.reason) == (PaymentState.MANUAL, "AMOUNT_MISMATCH")
    assert ended.beside == (
        OpenCase(subject_id=PAYMENT.payment_id, merchant_id="mer_1", reason="AMOUNT_MISMATCH"),
    )


def test_a_success_after_we_gave_up_is_refunded_by_itself_and_a_person_is_told() -> None:
    walk = pay("a")
    failed = walk.told(OutcomeKind.DECLINED_HARD)

    late = walk.told(OutcomeKind.SUCCEEDED)

    assert (late.subject.state, late.subject.reason) == (failed.subject.state, "CHANNEL_DECLINED")
    assert late.events == ("payment.late_success",)
    case, born = late.beside
    assert isinstance(born, Step)
    refund = born.subject
    assert isinstance(refund, Refund)
    assert case == OpenCase(subject_id=refund.refund_id, merchant_id="mer_1", reason="LATE_SUCCESS")
    assert (refund.origin, refund.amount_minor) == (RefundOrigin.LATE_SUCCESS, AMOUNT_MINOR)
    assert refund.payment_out_ref == late.attempts[-1].out_ref
    assert (refund.next_run_at, born.command) == (NOW, None)


def test_a_success_that_was_overtaken_by_the_next_attempt_is_refunded_while_that_goes_on() -> None:
    walk = pay("a", "b")
    first = walk.attempt
    walk.told(OutcomeKind.DECLINED_SOFT)
    # Whoever heard this word of the first attempt had read the row before it moved on.
    late = walk.hear(answered(OutcomeKind.SUCCEEDED, attempt=first))

    assert (late.subject.state, late.attempts[-1].state) == (
        PaymentState.SENT,
        AttemptState.SUCCEEDED,
    )
    refunds = [each.subject for each in late.beside if isinstance(each, Step)]
    assert [refund.channel_id for refund in refunds] == ["a"]
    assert walk.told(OutcomeKind.SUCCEEDED).subject.state is PaymentState.SUCCEEDED


def test_refunds_of_two_late_successes_are_two() -> None:
    walk = pay("a", "b")
    first = walk.attempt
    walk.told(OutcomeKind.DECLINED_SOFT)
    walk.told(OutcomeKind.DECLINED_HARD)
    steps = [
        walk.hear(answered(OutcomeKind.SUCCEEDED, attempt=first)),
        walk.hear(answered(OutcomeKind.SUCCEEDED, number=2)),
    ]

    born = [each.subject for step in steps for each in step.beside if isinstance(each, Step)]
    assert len({refund.refund_id for refund in born}) == 2
    assert len({refund.request_id for refund in born}) == 2


def test_without_any_word_a_person_decides_and_the_channel_is_told_to_end_it() -> None:
    walk = pay("a").at(DEADLINE)
    ended = walk.told(OutcomeKind.UNKNOWN)
    assert (ended.subject.state, ended.subject.reason) == (PaymentState.MANUAL, "OUTCOME_UNKNOWN")
    assert ended.subject.next_run_at == DEADLINE + timedelta(seconds=saga.RARE_QUERY_S)

    # Nobody waits for it any more; a question would leave the payer able to pay it yet.
    closing = walk.at(walk.subject.next_run_at or NOW).hear(saga.Due())
    assert (closing.subject.state, closing.command) == (PaymentState.MANUAL, Command.CLOSE)
    for kind in (OutcomeKind.PENDING, OutcomeKind.UNKNOWN, OutcomeKind.NOT_FOUND):
        still = walk.told(kind, latency_ms=None)
        assert (still.subject.state, still.events, still.beside) == (PaymentState.MANUAL, (), ())
        assert still.subject.next_run_at == walk.now + timedelta(seconds=saga.RARE_QUERY_S)


@pytest.mark.parametrize(
    ("kind", "state"),
    [
        (OutcomeKind.SUCCEEDED, PaymentState.SUCCEEDED),
        (OutcomeKind.CLOSED, PaymentState.CANCELED),
        (OutcomeKind.DECLINED_HARD, PaymentState.FAILED),
        (OutcomeKind.DECLINED_SOFT, PaymentState.FAILED),
    ],
)
def test_a_late_definite_word_ends_what_stood_before_a_person_and_its_case(
    kind: OutcomeKind, state: PaymentState
) -> None:
    walk = pay("a", "b").at(DEADLINE)
    walk.told(OutcomeKind.UNKNOWN)

    ended = walk.told(kind)

    assert (ended.subject.state, ended.command) == (state, None)
    assert ended.beside == (
        CloseCase(subject_id=PAYMENT.payment_id, resolution=state.value, reason="OUTCOME_UNKNOWN"),
    )


def test_a_person_who_looks_at_a_wrong_amount_is_not_overruled_by_the_channel() -> None:
    walk = pay("a")
    walk.told(OutcomeKind.SUCCEEDED, amount_minor=999, currency="CNY")

    assert walk.offer(answered(OutcomeKind.SUCCEEDED)) is None
    assert walk.offer(answered(OutcomeKind.CLOSED)) is None
    assert walk.offer(saga.Due()) is None


def test_a_wish_to_cancel_waits_for_the_answer_that_is_on_its_way() -> None:
    def wished() -> tuple[PaymentState, Command | None]:
        step = walk.hear(saga.CancelRequested())
        assert step.command is None or isinstance(step.command, Command)
        return step.subject.state, step.command

    walk = pay("a")
    assert wished() == (PaymentState.SENT, None)
    assert walk.told(OutcomeKind.PENDING, next_action=ShowQr(content="qr")).command is Command.CLOSE

    walk = pay("a")
    wished()
    assert walk.told(OutcomeKind.SUCCEEDED).subject.state is PaymentState.SUCCEEDED

    walk = pay("a", "b")
    wished()
    assert walk.told(OutcomeKind.DECLINED_SOFT).subject.state is PaymentState.CANCELED


@pytest.mark.parametrize("kind", [OutcomeKind.PENDING, OutcomeKind.NOT_FOUND])
def test_a_channel_that_will_not_close_is_asked_again_but_not_at_once(kind: OutcomeKind) -> None:
    walk = pay("a")
    walk.told(OutcomeKind.PENDING, next_action=ShowQr(content="qr"))
    assert walk.hear(saga.CancelRequested()).command is Command.CLOSE

    refused = walk.told(kind)

    assert refused.command is None
    assert refused.subject.next_run_at is not None
    assert refused.subject.next_run_at > NOW
    assert walk.hear(saga.Due()).command is Command.CLOSE


def test_an_order_whose_code_was_lost_is_closed_but_not_one_that_shows_its_payer_nothing() -> None:
    lost = pay("a")
    lost.told(OutcomeKind.UNKNOWN)
    assert lost.told(OutcomeKind.PENDING).command is Command.CLOSE

    asked = pay("a")
    asked.change(method="WECHAT_CODE", auth_code="134567890123456789")
    asked.told(OutcomeKind.UNKNOWN)
    waiting = asked.told(OutcomeKind.PENDING, next_action=None)
    assert (waiting.subject.state, waiting.command) == (PaymentState.PENDING, None)


def test_a_payers_code_is_forgotten_when_the_payment_has_ended_and_what_was_shown_with_its_attempt() -> (
    None
):
    walk = pay("a", "b")
    walk.change(method="WECHAT_CODE", auth_code="134567890123456789")
    walk.told(OutcomeKind.PENDING, next_action=Wait(poll_after_s=3))
    assert walk.subject.next_action == Wait(poll_after_s=3)
    assert walk.told(OutcomeKind.PENDING).subject.next_action == Wait(poll_after_s=3)

    rerouted = walk.told(OutcomeKind.DECLINED_SOFT).subject
    assert (rerouted.next_action, rerouted.auth_code) == (None, "134567890123456789")
    assert walk.told(OutcomeKind.SUCCEEDED).subject.auth_code == ""


def test_nobody_scanned_in_time_so_the_order_is_closed_and_the_payment_canceled() -> None:
    walk = pay("a")
    walk.told(OutcomeKind.PENDING, next_action=ShowQr(content="qr"))
    closing = walk.at(PAYMENT.expires_at).hear(saga.Due())
    assert (closing.subject.state, closing.command) == (PaymentState.CLOSING, Command.CLOSE)

    ended = walk.told(OutcomeKind.CLOSED)

    assert (ended.subject.state, ended.subject.reason) == (PaymentState.CANCELED, "EXPIRED")


def test_a_payer_who_paid_while_we_were_closing_has_paid() -> None:
    walk = pay("a")
    walk.told(OutcomeKind.PENDING, next_action=ShowQr(content="qr"))
    walk.at(PAYMENT.expires_at).hear(saga.Due())

    ended = walk.told(OutcomeKind.SUCCEEDED)

    assert (ended.subject.state, ended.subject.captured_minor) == (
        PaymentState.SUCCEEDED,
        AMOUNT_MINOR,
    )


def test_an_approval_gives_the_payer_and_the_channel_their_full_time() -> None:
    walk = pay("a", risk="REVIEW")
    much_later = NOW + timedelta(hours=23)

    approved = walk.at(much_later).hear(saga.Approved())

    assert approved.subject.expires_at == much_later + timedelta(minutes=15)
    assert approved.subject.hard_deadline_at > approved.subject.expires_at
    assert approved.command is Command.ORDER


def test_a_review_is_asked_about_until_somebody_decides_or_its_time_is_over() -> None:
    walk = pay("a", risk="REVIEW")
    assert walk.hear(saga.Due()).command is Command.REVIEW
    assert walk.hear(saga.StillOpen()).subject.state is PaymentState.REVIEW
    rejected = walk.hear(saga.Rejected())
    assert (rejected.subject.state, rejected.subject.reason) == (
        PaymentState.FAILED,
        "RISK_REJECTED",
    )

    forgotten = pay("a", risk="REVIEW").at(DEADLINE).hear(saga.StillOpen())
    assert (forgotten.subject.state, forgotten.subject.reason) == (PaymentState.CANCELED, "EXPIRED")


def test_what_was_tried_again_by_a_person_but_waits_for_one_is_put_to_rest() -> None:
    walk = pay("a")
    walk.told(OutcomeKind.SUCCEEDED, amount_minor=999, currency="CNY")
    walk.change(next_run_at=NOW)

    rested = walk.hear(saga.Due())

    assert (rested.subject.next_run_at, rested.command, rested.events) == (None, None, ())
