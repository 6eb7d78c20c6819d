"""Every state meets every signal: no pair is forgotten, and none breaks a promise."""

import functools
import itertools
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from services.gateway.domain import authorization, follow_up, payment_flow, payout, saga
from services.gateway.domain.channel import OutcomeKind
from services.gateway.domain.errors import CaptureInFlight, PaymentNotCancelable
from services.gateway.domain.follow_up import FollowUpState
from services.gateway.domain.payment import Payment, PaymentState
from services.gateway.domain.payout import PayoutState
from services.gateway.domain.refund import RefundOrigin
from services.gateway.domain.saga import Answered, Attempt, Forced, Signal, Step
from tests.unit.services.gateway.domain import transitions
from tests.unit.services.gateway.domain.orders import CAPTURE, NOW, PAYMENT, PAYOUT, REFUND
from tests.unit.services.gateway.domain.transitions import TIMES, Moment, Rules

SOON = NOW + timedelta(seconds=1)
DESK = ("OUTCOME_UNKNOWN", "AMOUNT_MISMATCH")


def changed(prefix: str, before: Any, step: Step[Any, Attempt]) -> tuple[str, ...]:
    """The event of a new state, or of a new reason to stand before a person."""
    after = step.subject
    is_news = (after.state, after.state == "MANUAL" and after.reason) != (
        before.state,
        before.state == "MANUAL" and before.reason,
    )
    return (f"{prefix}.{after.state.lower()}",) if is_news else ()


# Payments


def payment_refusals(signal: Signal) -> tuple[type[Exception], ...]:
    if isinstance(signal, saga.CancelRequested):
        return (PaymentNotCancelable, CaptureInFlight)
    return transitions.refusals(signal)


def payment_told(before: Payment, step: Step[Any, Attempt]) -> tuple[str, ...]:
    if step.subject.attempts_count > before.attempts_count:
        return ("payment.created",) if step.subject.attempts_count == 1 else ("payment.rerouted",)
    if step.subject.state in {PaymentState.UNKNOWN, PaymentState.CLOSING}:
        return ()
    return changed("payment", before, step)


def payment_after_end(before: Payment, signal: Signal) -> frozenset[str]:
    """What stands before a person ends by a definite word if nobody knew, else only by two people."""
    if before.state is not PaymentState.MANUAL:
        return frozenset()
    if isinstance(signal, Forced):
        return frozenset({"SUCCEEDED", "FAILED", "CANCELED"})
    if before.reason == "OUTCOME_UNKNOWN" and isinstance(signal, Answered):
        return frozenset({"SUCCEEDED", "FAILED", "CANCELED"})
    return frozenset()


def payments(state: PaymentState) -> Iterator[tuple[Payment, Attempt | None]]:
    reasons = {
        PaymentState.MANUAL: ("OUTCOME_UNKNOWN", "AMOUNT_MISMATCH", "CAPTURED_UNASKED"),
        PaymentState.CLOSING: ("EXPIRED", "CANCELED_BY_MERCHANT", "OUTCOME_UNKNOWN"),
    }.get(state, ("",))
    # What has failed is due only while a channel that reserved money for it has not released it.
    due_at_times = {
        PaymentState.SUCCEEDED: (None,),
        PaymentState.FAILED: (None, SOON),
        PaymentState.CANCELED: (None, SOON),
    }.get(state, (SOON,))
    for reason, captures, cancel_requested, number, due_at in itertools.product(
        reasons,
        ((0, 0), (300, 0), (0, 300), (300, 200), (1_000, 0)),
        (False, True),
        (1, 2),
        due_at_times,
    ):
        captured_minor, capturing_minor = captures
        is_reserved = state is PaymentState.AUTHORIZED
        capture_later = bool(captured_minor or capturing_minor or is_reserved) or number == 2
        is_known = state not in {PaymentState.REVIEW, PaymentState.SENT, PaymentState.PENDING}
        if (captured_minor or capturing_minor) and not is_known:
            continue
        was_authorized = capture_later and is_known
        payment = replace(
            PAYMENT,
            state=state,
            reason=reason,
            plan=("a", "b"),
            channel_id="a",
            attempts_count=0 if state is PaymentState.REVIEW else number,
            cancel_requested=cancel_requested,
            capture_later=capture_later,
            captured_minor=captured_minor or (1_000 if state is PaymentState.SUCCEEDED else 0),
            capturing_minor=0 if state is PaymentState.SUCCEEDED else capturing_minor,
            is_captured=captured_minor == 1_000,
            authorized_until=TIMES[2] if was_authorized else None,
            next_run_at=due_at,
        )
        if state is PaymentState.REVIEW:
            yield payment, None
            return
        for attempt in transitions.attempts("PAYMENT", number=number):
            yield payment, attempt


PAYMENT_RULES = Rules(
    decide=payment_flow.decide,
    ended=frozenset({"SUCCEEDED", "FAILED", "CANCELED", "MANUAL"}),
    over=frozenset({"FAILED", "CANCELED"}),
    after_end=payment_after_end,
    refusals=payment_refusals,
    rests_for_ever=frozenset({"SUCCEEDED", "FAILED", "CANCELED", "MANUAL"}),
    told=payment_told,
)


@functools.cache
def moves_of_payments(state: PaymentState) -> frozenset[tuple[str, str]]:
    """Every payment of this state through everything; the pairs of states passed through."""
    moves = set()
    for payment, attempt in payments(state):
        for signal, now in itertools.product(transitions.signals(attempt), TIMES):
            moment = Moment(subject=payment, attempt=attempt, signal=signal, now=now)
            step = transitions.check(PAYMENT_RULES, moment)
            if step is not None:
                _check_payment(moment, step)
                _check_release(moment, step)
                moves.add((state.value, step.subject.state.value))
    return frozenset(moves)


@pytest.mark.parametrize("state", PaymentState)
def test_a_payment_has_an_answer_to_everything_and_keeps_its_promises(state: PaymentState) -> None:
    assert moves_of_payments(state)


def _check_payment(moment: Moment, step: Step[Any, Attempt]) -> None:
    before, after = moment.subject, step.subject
    if after.state is PaymentState.SUCCEEDED:
        assert after.captured_minor > 0, moment
        assert after.capturing_minor == 0, moment
        assert after.succeeded_at is not None or before.state is after.state, moment
    if after.state in {PaymentState.FAILED, PaymentState.CANCELED} and before.state != after.state:
        assert not after.captured_minor, moment
        assert not after.capturing_minor, moment
    if after.state is PaymentState.AUTHORIZED:
        assert after.authorized_until is not None, moment
    # A wish once uttered is not forgotten.
    assert after.cancel_requested >= before.cancel_requested, moment


def _check_release(moment: Moment, step: Step[Any, Attempt]) -> None:
    """No money stays reserved, or may yet be taken, for what has ended: its channel is told, and told again."""
    before, after, attempt = moment.subject, step.subject, step.attempt
    if isinstance(moment.signal, saga.Due) and before.state is PaymentState.MANUAL:
        is_closed = before.reason == "OUTCOME_UNKNOWN"
        assert step.command is (saga.Command.CLOSE if is_closed else None), moment
    is_over = {before.state, after.state} <= {PaymentState.FAILED, PaymentState.CANCELED}
    if is_over and attempt is not None and attempt.state is saga.AttemptState.AUTHORIZED:
        assert after.next_run_at is not None, moment
        was_known = moment.attempt is not None and moment.attempt.state is attempt.state
        is_told = not was_known or isinstance(moment.signal, saga.Due)
        assert step.command is (saga.Command.CLOSE if is_told else None), moment


def test_a_payment_comes_into_every_state_and_out_of_every_one_that_is_no_end() -> None:
    moves = frozenset().union(*(moves_of_payments(state) for state in PaymentState))
    entered = {after for before, after in moves if before != after}
    left = {before for before, after in moves if before != after}

    assert entered == {state.value for state in PaymentState} - {"REVIEW"}
    assert left == {state.value for state in PaymentState} - {"SUCCEEDED", "FAILED", "CANCELED"}


# Captures and refunds


def follow_up_after_end(before: Any, signal: Signal) -> frozenset[str]:
    if before.state is FollowUpState.SUCCEEDED:
        return frozenset()
    if before.state is FollowUpState.FAILED:
        # It had reserved nothing, so that it may still give back what it was born to.
        is_paid = isinstance(signal, Answered) and signal.outcome.kind is OutcomeKind.SUCCEEDED
        return frozenset({"SUCCEEDED"} if is_paid and not before.takes_of_payment else ())
    if isinstance(signal, Forced) or before.reason == "OUTCOME_UNKNOWN":
        return frozenset({"SUCCEEDED", "FAILED"})
    return frozenset()


def follow_up_told(before: Any, step: Step[Any, Attempt]) -> tuple[str, ...]:
    kind, after = before.kind, step.subject
    if before.state is FollowUpState.READY and after.state is FollowUpState.SENT:
        return (f"{kind}.created",)
    if after.state in {FollowUpState.PENDING, FollowUpState.UNKNOWN}:
        return ()
    return changed(kind, before, step)


FOLLOW_UP_RULES = Rules(
    decide=follow_up.decide,
    ended=frozenset({"SUCCEEDED", "FAILED", "MANUAL"}),
    over=frozenset({"FAILED"}),
    after_end=follow_up_after_end,
    refusals=transitions.refusals,
    rests_for_ever=frozenset({"SUCCEEDED", "FAILED", "MANUAL"}),
    told=follow_up_told,
)


@pytest.mark.parametrize("state", FollowUpState)
@pytest.mark.parametrize(
    "order",
    [CAPTURE, REFUND, replace(REFUND, origin=RefundOrigin.LATE_SUCCESS)],
    ids=["capture", "refund", "late-success"],
)
def test_a_follow_up_has_an_answer_to_everything_and_keeps_its_promises(
    order: Any, state: FollowUpState
) -> None:
    is_done = state is FollowUpState.SUCCEEDED
    order = replace(order, amount_minor=1_000, state=state, succeeded_at=NOW if is_done else None)
    rests = is_done or state is FollowUpState.FAILED
    for reason, attempt in itertools.product(
        DESK if state is FollowUpState.MANUAL else ("", "FORCED")[: 1 + rests],
        transitions.attempts(order.kind.upper()),
    ):
        subject = replace(order, reason=reason, next_run_at=None if rests else SOON)
        for signal, now in itertools.product(transitions.signals(attempt), TIMES):
            moment = Moment(subject=subject, attempt=attempt, signal=signal, now=now)
            step = transitions.check(FOLLOW_UP_RULES, moment)
            if step is None:
                continue
            assert [each.number for each in step.attempts] in ([], [1]), moment
            is_repeated = attempt.state is saga.AttemptState.UNKNOWN
            if is_repeated and step.subject.state is FollowUpState.FAILED != state:
                # The refusal of a repeated order is no word on the first one.
                assert not isinstance(signal, Answered) or signal.latency_ms is None, moment
            if step.subject.state is FollowUpState.SUCCEEDED:
                assert step.subject.succeeded_at is not None, moment


# Payouts


def payout_after_end(before: Any, signal: Signal) -> frozenset[str]:
    is_answer = isinstance(signal, Answered)
    kind = signal.outcome.kind if isinstance(signal, Answered) else None
    if before.state is PayoutState.SUCCEEDED:
        comes_back = kind is OutcomeKind.RETURNED or signal == Forced(to_state="RETURNED")
        return frozenset({"RETURNED"} if comes_back else ())
    if before.state in {PayoutState.FAILED, PayoutState.RETURNED}:
        return frozenset()
    if isinstance(signal, Forced) or (is_answer and before.reason == "OUTCOME_UNKNOWN"):
        return frozenset({"SUCCEEDED", "FAILED"})
    return frozenset()


def payout_told(before: Any, step: Step[Any, Attempt]) -> tuple[str, ...]:
    after = step.subject
    if after.attempts_count > before.attempts_count:
        return ("payout.rerouted",) if after.attempts_count > 1 else ()
    if after.state is PayoutState.HOLDING:
        return ("payout.created",) if before.state is PayoutState.REVIEW else ()
    if after.state in {PayoutState.PENDING, PayoutState.UNKNOWN}:
        return ()
    return changed("payout", before, step)


PAYOUT_RULES = Rules(
    decide=payout.decide,
    ended=frozenset({"SUCCEEDED", "FAILED", "RETURNED", "MANUAL"}),
    over=frozenset({"FAILED"}),
    after_end=payout_after_end,
    refusals=transitions.refusals,
    rests_for_ever=frozenset({"SUCCEEDED", "FAILED", "RETURNED", "MANUAL"}),
    told=payout_told,
)


@pytest.mark.parametrize("state", PayoutState)
def test_a_payout_has_an_answer_to_everything_and_keeps_its_promises(state: PayoutState) -> None:
    is_unsent = state in {PayoutState.REVIEW, PayoutState.HOLDING}
    rests = state in {PayoutState.FAILED, PayoutState.RETURNED}
    watched = (None, SOON) if state is PayoutState.SUCCEEDED else (None if rests else SOON,)
    for reason, number, due_at in itertools.product(
        DESK if state is PayoutState.MANUAL else ("",), (1, 2), watched
    ):
        subject = replace(
            PAYOUT,
            state=state,
            reason=reason,
            plan=("a", "b"),
            attempts_count=0 if is_unsent else number,
            next_run_at=due_at,
            succeeded_at=NOW if state in {PayoutState.SUCCEEDED, PayoutState.RETURNED} else None,
        )
        for attempt in [None] if is_unsent else transitions.attempts("PAYOUT", number=number):
            for signal, now in itertools.product(transitions.signals(attempt), TIMES):
                moment = Moment(subject=subject, attempt=attempt, signal=signal, now=now)
                step = transitions.check(PAYOUT_RULES, moment)
                if step is not None and step.subject.state is PayoutState.SUCCEEDED:
                    assert step.subject.succeeded_at is not None, moment


def test_the_limits_of_the_tables_lie_where_time_changes_the_answer() -> None:
    # One moment each: at once, once the channel can be believed, after the expiry, after every deadline.
    assert TIMES[1] - NOW == timedelta(seconds=saga.VISIBILITY_WINDOW_S)
    assert PAYMENT.expires_at < TIMES[2] < PAYMENT.hard_deadline_at
    assert TIMES[3] > NOW + timedelta(seconds=saga.PENDING_DEADLINE_S)
    assert TIMES[3] > NOW + timedelta(seconds=authorization.AUTHORIZATION_S)
