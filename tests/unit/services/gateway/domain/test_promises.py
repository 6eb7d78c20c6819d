"""Whole stories: whatever channels, payers and time do to a payment or payout, the promises hold."""

from datetime import timedelta
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from services.gateway.domain import saga
from services.gateway.domain.channel import Outcome, OutcomeKind
from services.gateway.domain.errors import CaptureInFlight, PaymentNotCancelable
from services.gateway.domain.next_action import ShowQr
from services.gateway.domain.payment import ENDED, PaymentState
from services.gateway.domain.payout import PayoutState
from services.gateway.domain.refund import Refund
from services.gateway.domain.saga import (
    Answered,
    Attempt,
    AttemptState,
    Command,
    OpenCase,
    Signal,
    Step,
)
from tests.unit.services.gateway.domain.orders import Walk, pay, pay_out

NO_MONEY = {AttemptState.DECLINED, AttemptState.CLOSED}
OUTCOMES = st.builds(
    lambda kind, number, amount, qr: Answered(
        outcome=Outcome(
            kind=kind,
            amount_minor=amount,
            currency="CNY" if amount else "",
            next_action=qr,
            code="CHANNEL_BUSY" if kind is OutcomeKind.DECLINED_SOFT else "",
        ),
        attempt_number=number,
        latency_ms=1,
    ),
    st.sampled_from(OutcomeKind),
    st.integers(1, 3),
    st.sampled_from([None, 1_000, 999]),
    st.sampled_from([None, ShowQr(content="qr")]),
)
SIGNALS: st.SearchStrategy[Signal] = st.one_of(
    OUTCOMES,
    st.just(saga.Due()),
    st.just(saga.CancelRequested()),
    st.just(saga.Approved()),
    st.just(saga.Rejected()),
    st.just(saga.StillOpen()),
    st.just(saga.HoldPlaced()),
    st.just(saga.HoldUnknown()),
)
STORIES = st.lists(
    st.tuples(SIGNALS, st.sampled_from([0, 1, 10, 600, 7_200])), min_size=1, max_size=25
)
PLANS = st.lists(st.sampled_from("abc"), min_size=1, max_size=3, unique=True).map(tuple)


def known(walk: "Walk[Any]", signal: Signal) -> Signal:
    """The signal as its teller would say it: with the attempt as it stands."""
    if not isinstance(signal, Answered):
        return signal
    attempt: Attempt | None = walk.attempts.get(signal.attempt_number)
    return Answered(
        outcome=signal.outcome,
        attempt_number=signal.attempt_number,
        latency_ms=signal.latency_ms,
        attempt=attempt,
    )


@settings(max_examples=300, deadline=None)
@given(plan=PLANS, risk=st.sampled_from(["ALLOW", "ALLOW", "REVIEW"]), story=STORIES)
def test_of_a_payment(plan: tuple[str, ...], risk: str, story: list[tuple[Signal, int]]) -> None:
    walk = pay(*plan, risk=risk)
    squared: set[str] = set()
    for signal, passed_s in story:
        walk.at(walk.now + timedelta(seconds=passed_s))
        before = walk.subject
        try:
            step = walk.offer(known(walk, signal))
        except (PaymentNotCancelable, CaptureInFlight):
            assert before.state in ENDED | {PaymentState.AUTHORIZED}
            continue
        if step is None:
            continue
        subject, attempts = walk.subject, list(walk.attempts.values())
        for each in step.beside:
            # Every late success is given back once, or is a wrong amount that a person looks at.
            if isinstance(each, Step):
                assert isinstance(each.subject, Refund)
                assert step.attempts[-1].attempt_id not in squared
                squared.add(step.attempts[-1].attempt_id)
            elif isinstance(each, OpenCase) and each.reason in {
                saga.AMOUNT_MISMATCH,
                saga.LATE_AMOUNT_MISMATCH,
            }:
                squared.add(step.attempts[-1].attempt_id)

        paid = [each for each in attempts if each.state is AttemptState.SUCCEEDED]
        # I5: who failed or canceled has had a definite word on every attempt, or has its money coming back.
        if subject.state != before.state and subject.state in {
            PaymentState.FAILED,
            PaymentState.CANCELED,
        }:
            assert {each.state for each in attempts} <= NO_MONEY | {AttemptState.SUCCEEDED}
            assert {each.attempt_id for each in paid} <= squared
        # I3: a new attempt means that no earlier one is still out.
        if step.command is Command.ORDER:
            *earlier, latest = [walk.attempts[number] for number in sorted(walk.attempts)]
            assert latest.state is AttemptState.SENT
            assert {each.state for each in earlier} <= NO_MONEY | {AttemptState.SUCCEEDED}
        # I4: what has not ended is due again some time.
        assert subject.next_run_at is not None or subject.state in ENDED
        # I6: a success has one good attempt that is not given back.
        if subject.state is PaymentState.SUCCEEDED:
            assert subject.captured_minor == subject.amount_minor
            assert walk.attempt in paid
        # A success is never taken back.
        if before.state is PaymentState.SUCCEEDED:
            assert subject.state is PaymentState.SUCCEEDED


@settings(max_examples=300, deadline=None)
@given(plan=PLANS, story=STORIES)
def test_of_a_payout(plan: tuple[str, ...], story: list[tuple[Signal, int]]) -> None:
    walk = pay_out(*plan)
    booked: list[str] = []
    has_case = False
    for signal, passed_s in story:
        walk.at(walk.now + timedelta(seconds=passed_s))
        step = walk.offer(known(walk, signal))
        if step is None:
            continue
        booked += [
            event.partition(".")[2]
            for event in step.events
            if event.partition(".")[2] in {"succeeded", "failed", "returned"}
        ]
        attempts = [walk.attempts[number] for number in sorted(walk.attempts)]
        has_case |= any(isinstance(each, OpenCase) for each in step.beside)
        # What moved after its definite word is a person's matter, and may have come back.
        late = {AttemptState.SUCCEEDED, AttemptState.RETURNED} if has_case else set()

        # The hold is captured once or released once, and only captured money comes back.
        assert booked in ([], ["failed"], ["succeeded"], ["succeeded", "returned"])
        # Money is sent elsewhere only after a definite word.
        if step.command is Command.ORDER and attempts[-1].state is AttemptState.SENT:
            assert {each.state for each in attempts[:-1]} - late <= NO_MONEY
        if booked == ["failed"] and walk.subject.state is PayoutState.FAILED:
            assert {each.state for each in attempts} - late <= NO_MONEY
        good = [each for each in attempts if each.state is AttemptState.SUCCEEDED]
        assert has_case or len(good) <= 1
