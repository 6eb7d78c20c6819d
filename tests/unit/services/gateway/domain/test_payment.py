"""The payment's machine: every state meets every signal, and the promises hold whatever the channels say."""

import dataclasses
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.gateway.domain import payment as payments
from services.gateway.domain import saga
from services.gateway.domain.channel import Outcome, OutcomeKind
from services.gateway.domain.errors import PaymentNotCancelable
from services.gateway.domain.payment import ENDED, Payment, PaymentState, Verdicts
from services.gateway.domain.saga import Answered, Attempt, AttemptState, Command, Signal

NOW = datetime(2026, 11, 11, 4, 0, tzinfo=UTC)
DRAFT = Payment(
    payment_id="pay_00000000000000000000000001",
    merchant_id="mer_1",
    request_id="order-1",
    fingerprint="f",
    order_ref="",
    description="",
    amount_minor=1_000,
    currency="CNY",
    method="CARD",
    payer_token="",
    state=PaymentState.SENT,
    evaluation_id="mer_1:order-1",
    plan=(),
    created_at=NOW,
    updated_at=NOW,
    expires_at=NOW + timedelta(minutes=15),
    hard_deadline_at=NOW + timedelta(days=1),
    next_run_at=None,
)


def opened(*plan: str, risk: str = "ALLOW") -> payments.PaymentStep:
    return payments.open_payment(DRAFT, Verdicts(risk=risk, case_id="case_1", plan=plan), NOW)


def answered(
    kind: OutcomeKind, number: int = 1, attempt: Attempt | None = None, **details: object
) -> Answered:
    outcome = Outcome(kind=kind, **details)  # type: ignore[arg-type]  # test helper
    return Answered(outcome=outcome, attempt_number=number, latency_ms=5, attempt=attempt)


def test_the_intent_names_its_first_attempt_before_any_channel_hears_of_it() -> None:
    step = opened("a", "b")

    assert (step.subject.state, step.subject.channel_id, step.command) == (
        PaymentState.SENT,
        "a",
        Command.ORDER,
    )
    assert step.attempt is not None
    assert step.attempt.out_ref == "p0000000000000000000000000101"
    assert step.subject.next_run_at == NOW + timedelta(seconds=saga.LEASE_S)


def test_a_reference_is_derived_so_that_a_replay_sends_the_same() -> None:
    assert (
        saga.out_ref("pay_01abc", 1) == saga.out_ref("pay_01abc", 1) != saga.out_ref("pay_01abc", 2)
    )
    assert len(saga.out_ref(DRAFT.payment_id, 99)) <= 32


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
    step = opened(*plan, risk=risk)

    assert (step.subject.state, step.subject.reason, step.command) == (state, reason, None)
    assert step.attempts == ()


def test_another_channel_is_tried_only_after_a_definite_word() -> None:
    step = opened("a", "b")
    assert step.attempt is not None

    unknown = payments.decide(step.subject, step.attempt, answered(OutcomeKind.UNKNOWN), NOW)
    assert unknown is not None
    assert (unknown.subject.state, unknown.command) == (PaymentState.UNKNOWN, None)

    declined = payments.decide(
        step.subject, step.attempt, answered(OutcomeKind.DECLINED_SOFT, code="CHANNEL_BUSY"), NOW
    )
    assert declined is not None
    assert [(each.channel_id, each.state) for each in declined.attempts] == [
        ("a", AttemptState.DECLINED),
        ("b", AttemptState.SENT),
    ]


def test_a_channel_that_does_not_know_the_order_yet_is_given_time() -> None:
    step = opened("a", "b")
    early = NOW + timedelta(seconds=saga.VISIBILITY_WINDOW_S - 1)
    late = NOW + timedelta(seconds=saga.VISIBILITY_WINDOW_S)

    waiting = payments.decide(step.subject, step.attempt, answered(OutcomeKind.NOT_FOUND), early)
    closing = payments.decide(step.subject, step.attempt, answered(OutcomeKind.NOT_FOUND), late)

    assert waiting is not None
    assert closing is not None
    assert (waiting.subject.state, waiting.command) == (PaymentState.UNKNOWN, None)
    assert (closing.subject.state, closing.command) == (PaymentState.CLOSING, Command.CLOSE)


def test_a_success_of_another_amount_goes_before_a_person() -> None:
    step = opened("a")
    told = answered(OutcomeKind.SUCCEEDED, amount_minor=999, currency="CNY")

    ended = payments.decide(step.subject, step.attempt, told, NOW)

    assert ended is not None
    assert (ended.subject.state, ended.subject.reason) == (PaymentState.MANUAL, "AMOUNT_MISMATCH")


def test_a_success_after_we_gave_up_goes_before_a_person() -> None:
    step = opened("a")
    failed = payments.decide(step.subject, step.attempt, answered(OutcomeKind.DECLINED_HARD), NOW)
    assert failed is not None
    assert failed.subject.state is PaymentState.FAILED

    late = payments.decide(failed.subject, failed.attempt, answered(OutcomeKind.SUCCEEDED), NOW)

    assert late is not None
    assert (late.subject.state, late.subject.reason) == (PaymentState.MANUAL, "LATE_SUCCESS")


def test_without_any_word_a_person_decides_at_the_hard_deadline() -> None:
    step = opened("a")
    at = DRAFT.hard_deadline_at

    ended = payments.decide(step.subject, step.attempt, answered(OutcomeKind.UNKNOWN), at)

    assert ended is not None
    assert ended.subject.state is PaymentState.MANUAL


def test_a_wish_to_cancel_waits_for_the_answer_that_is_on_its_way() -> None:
    step = opened("a")
    wished = payments.decide(step.subject, step.attempt, saga.CancelRequested(), NOW)
    assert wished is not None
    assert (wished.subject.state, wished.command) == (PaymentState.SENT, None)

    pending = payments.decide(
        wished.subject, step.attempt, answered(OutcomeKind.PENDING, qr_content="qr"), NOW
    )
    paid = payments.decide(wished.subject, step.attempt, answered(OutcomeKind.SUCCEEDED), NOW)

    assert pending is not None
    assert paid is not None
    assert pending.command is Command.CLOSE
    assert paid.subject.state is PaymentState.SUCCEEDED


OUTCOMES = st.builds(
    lambda kind, number, amount, qr: Answered(
        outcome=Outcome(
            kind=kind,
            amount_minor=amount,
            currency="CNY" if amount else "",
            qr_content=qr,
            code="CHANNEL_BUSY" if kind is OutcomeKind.DECLINED_SOFT else "",
        ),
        attempt_number=number,
        latency_ms=1,
    ),
    st.sampled_from(OutcomeKind),
    st.integers(1, 3),
    st.sampled_from([None, 1_000, 999]),
    st.sampled_from(["", "qr"]),
)
SIGNALS: st.SearchStrategy[Signal] = st.one_of(
    OUTCOMES,
    st.just(saga.Due()),
    st.just(saga.CancelRequested()),
    st.just(saga.Approved()),
    st.just(saga.Rejected()),
    st.just(saga.StillOpen()),
)


@settings(max_examples=400, deadline=None)
@given(
    plan=st.lists(st.sampled_from("abc"), min_size=1, max_size=3, unique=True).map(tuple),
    risk=st.sampled_from(["ALLOW", "ALLOW", "REVIEW"]),
    story=st.lists(
        st.tuples(SIGNALS, st.sampled_from([0, 1, 10, 600, 7_200])), min_size=1, max_size=25
    ),
)
def test_whatever_the_world_says_the_promises_hold(
    plan: tuple[str, ...], risk: str, story: list[tuple[Signal, int]]
) -> None:
    step = opened(*plan, risk=risk)
    attempts: dict[int, Attempt] = {each.number: each for each in step.attempts}
    subject, now = step.subject, NOW
    for signal, passed_s in story:
        now += timedelta(seconds=passed_s)
        current = attempts.get(max(attempts, default=0))
        before = subject
        try:
            taken = payments.decide(subject, current, signal, now)
        except PaymentNotCancelable:
            assert subject.state in ENDED
            continue
        if taken is None:
            continue
        subject = taken.subject
        attempts |= {each.number: each for each in taken.attempts}

        assert subject.version == before.version + 1
        # I5: FAILED and CANCELED are reached only when every attempt has had a definite word.
        if subject.state in {PaymentState.FAILED, PaymentState.CANCELED}:
            assert {each.state for each in attempts.values()} <= {
                AttemptState.DECLINED,
                AttemptState.CLOSED,
            }
        # I3: a new attempt means that every earlier one is definitely not paid.
        if taken.command is Command.ORDER:
            *earlier, latest = [attempts[number] for number in sorted(attempts)]
            assert latest.state is AttemptState.SENT
            assert {each.state for each in earlier} <= {AttemptState.DECLINED, AttemptState.CLOSED}
        # I4: what has not ended is due again some time; what has ended is not.
        assert (subject.next_run_at is None) == (subject.state in ENDED)
        # I6: a success has one good attempt.
        if subject.state is PaymentState.SUCCEEDED:
            assert subject.succeeded_at is not None
            good = [each for each in attempts.values() if each.state is AttemptState.SUCCEEDED]
            assert len(good) == 1
        # A success is never taken back.
        if before.state is PaymentState.SUCCEEDED:
            assert subject.state is PaymentState.SUCCEEDED


@pytest.mark.parametrize("state", PaymentState)
def test_every_state_has_an_answer_to_every_signal(state: PaymentState) -> None:
    step = opened("a", "b")
    subject = dataclasses.replace(step.subject, state=state)
    signals: list[Signal] = [answered(kind) for kind in OutcomeKind]
    signals += [saga.Due(), saga.Approved(), saga.Rejected(), saga.StillOpen()]

    for signal in signals:
        taken = payments.decide(subject, step.attempt, signal, NOW)
        is_terminal = state in {PaymentState.SUCCEEDED, PaymentState.FAILED, PaymentState.CANCELED}
        if is_terminal and taken is not None:
            assert taken.subject.state is PaymentState.MANUAL


def test_a_person_who_looks_at_a_late_success_is_not_overruled_by_hearing_it_again() -> None:
    step = opened("a", "b")
    canceled = payments.decide(step.subject, step.attempt, answered(OutcomeKind.DECLINED_HARD), NOW)
    assert canceled is not None
    late = payments.decide(canceled.subject, canceled.attempt, answered(OutcomeKind.SUCCEEDED), NOW)
    assert late is not None
    assert late.subject.reason == "LATE_SUCCESS"

    again = payments.decide(late.subject, late.attempt, answered(OutcomeKind.SUCCEEDED), NOW)

    assert again is None


def test_a_success_that_was_overtaken_by_the_next_attempt_goes_before_a_person() -> None:
    step = opened("a", "b")
    moved = payments.decide(step.subject, step.attempt, answered(OutcomeKind.DECLINED_SOFT), NOW)
    assert moved is not None
    # Whoever heard this word of the first attempt had read the row before it moved on.
    overtaken = answered(OutcomeKind.SUCCEEDED, attempt=step.attempt)

    late = payments.decide(moved.subject, moved.attempt, overtaken, NOW)

    assert late is not None
    assert (late.subject.state, late.subject.reason) == (PaymentState.MANUAL, "LATE_SUCCESS")
    assert late.attempts[-1].state is AttemptState.SUCCEEDED


def test_a_second_success_while_a_person_looks_is_told_but_settles_nothing() -> None:
    step = opened("a", "b")
    moved = payments.decide(step.subject, step.attempt, answered(OutcomeKind.DECLINED_SOFT), NOW)
    assert moved is not None
    first, second = moved.attempts
    late = payments.decide(
        moved.subject, second, answered(OutcomeKind.SUCCEEDED, attempt=first), NOW
    )
    assert late is not None

    both = payments.decide(late.subject, second, answered(OutcomeKind.SUCCEEDED, number=2), NOW)

    assert both is not None
    assert (both.subject.state, both.events) == (PaymentState.MANUAL, ("payment.late_success",))


@pytest.mark.parametrize("kind", [OutcomeKind.PENDING, OutcomeKind.NOT_FOUND])
def test_a_channel_that_will_not_close_is_asked_again_but_not_at_once(kind: OutcomeKind) -> None:
    step = opened("a")
    pending = payments.decide(
        step.subject, step.attempt, answered(OutcomeKind.PENDING, qr_content="qr"), NOW
    )
    assert pending is not None
    closing = payments.decide(pending.subject, pending.attempt, saga.CancelRequested(), NOW)
    assert closing is not None
    assert closing.command is Command.CLOSE

    refused = payments.decide(closing.subject, pending.attempt, answered(kind), NOW)

    assert refused is not None
    assert refused.command is None
    assert refused.subject.next_run_at is not None
    assert refused.subject.next_run_at > NOW
    again = payments.decide(refused.subject, refused.attempt, saga.Due(), NOW)
    assert again is not None
    assert again.command is Command.CLOSE


def test_an_approval_gives_the_payer_and_the_channel_their_full_time() -> None:
    step = opened("a", risk="REVIEW")
    much_later = NOW + timedelta(hours=23)

    approved = payments.decide(step.subject, None, saga.Approved(), much_later)

    assert approved is not None
    assert approved.subject.expires_at == much_later + timedelta(minutes=15)
    assert approved.subject.hard_deadline_at > approved.subject.expires_at
