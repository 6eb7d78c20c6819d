"""What every flow promises of every step, whatever stands and whatever happens: asked of all pairs."""

import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from libs.events import kinds
from libs.saga.flow import Decide
from services.gateway.domain import saga
from services.gateway.domain.channel import Outcome, OutcomeKind
from services.gateway.domain.errors import ForceRefused
from services.gateway.domain.follow_up import Squared
from services.gateway.domain.next_action import ShowQr
from services.gateway.domain.refund import RefundOrigin
from services.gateway.domain.saga import (
    Answered,
    Attempt,
    AttemptState,
    CloseCase,
    Command,
    OpenCase,
    Signal,
    Step,
)
from tests.unit.services.gateway.domain.orders import AMOUNT_MINOR, NOW

# Words after which no money can move under that number any more.
NO_MONEY = frozenset({OutcomeKind.DECLINED_SOFT, OutcomeKind.DECLINED_HARD, OutcomeKind.CLOSED})
TIMES = (
    NOW,
    NOW + timedelta(seconds=saga.VISIBILITY_WINDOW_S),
    NOW + timedelta(hours=1),
    NOW + timedelta(days=9),
)
# What the flows never change of a row.
_LASTING = ("merchant_id", "request_id", "amount_minor", "currency", "created_at", "epoch")


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """Where the flows differ."""

    decide: Decide[Any, Attempt]
    ended: frozenset[str]
    """Nothing but what `after_end` lists follows on these."""
    over: frozenset[str]
    """Of these, the ones in which no success is expected any more: one that is heard is late."""
    after_end: Callable[[Any, Signal], frozenset[str]]
    """The states in which a signal may leave what had ended."""
    refusals: Callable[[Signal], tuple[type[Exception], ...]]
    rests_for_ever: frozenset[str]
    """States in which a row need not be due again."""
    told: Callable[[Any, Step[Any, Attempt]], tuple[str, ...]]
    """The events that a step from this subject must tell, if what it heard is not late."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Moment:
    """What stands, what happens, and when."""

    subject: Any
    attempt: Attempt | None
    signal: Signal
    now: datetime


def attempts(operation: str, *, number: int = 1) -> Iterator[Attempt]:
    """One of every state."""
    for state in AttemptState:
        yield Attempt(
            attempt_id=f"att_{number}",
            subject_id="s",
            number=number,
            operation=operation,
            channel_id="a",
            out_ref=f"r{number}",
            state=state,
            sent_at=NOW,
        )


def words(attempt: Attempt | None) -> Iterator[Answered]:
    """Every outcome for the current attempt and for an earlier one."""
    numbers = {1} if attempt is None else {1, attempt.number}
    for number, kind, amount_minor, latency_ms in itertools.product(
        sorted(numbers), OutcomeKind, (None, AMOUNT_MINOR, 999), (None, 5)
    ):
        if amount_minor and kind is not OutcomeKind.SUCCEEDED:
            continue
        outcome = Outcome(
            kind=kind,
            amount_minor=amount_minor,
            currency="CNY" if amount_minor else "",
            next_action=ShowQr(content="qr") if latency_ms else None,
            code="CHANNEL_BUSY",
        )
        tellers: list[Attempt | None] = [None]
        if attempt is not None:
            tellers = [each for each in attempts(attempt.operation) if each.number == number]
            tellers = tellers or [attempt]
        for teller in tellers[:: 1 if kind is OutcomeKind.SUCCEEDED else len(tellers)]:
            yield Answered(
                outcome=outcome, attempt_number=number, latency_ms=latency_ms, attempt=teller
            )


def signals(attempt: Attempt | None) -> Iterator[Signal]:
    """Everything that can happen."""
    yield from words(attempt)
    yield from (saga.Due(), saga.CancelRequested(), saga.HoldPlaced(), saga.HoldUnknown())
    yield from (saga.Approved(), saga.Rejected(), saga.StillOpen())
    yield saga.HoldRefused(reason="INSUFFICIENT_FUNDS")
    for state in ("SUCCEEDED", "FAILED", "CANCELED", "RETURNED", "RESOLVED", "MANUAL", "nowhere"):
        yield saga.Forced(to_state=state)


def check(rules: Rules, moment: Moment) -> Step[Any, Attempt] | None:
    """Decides, and asserts whatever must hold of any decision."""
    before, signal, now = moment.subject, moment.signal, moment.now
    try:
        step = rules.decide(before, moment.attempt, signal, now)
    except rules.refusals(signal):
        return None
    late = late_attempt(rules, moment)
    if step is None:
        assert late is None, moment
        return None
    after = step.subject
    assert after.version == before.version + 1, moment
    assert all(getattr(after, name) == getattr(before, name) for name in _LASTING), moment
    _check_end(rules, moment, step)
    _check_money(moment, step)
    _check_rest(rules, moment, step)
    _check_cases(moment, step, is_late=late is not None)
    _check_squared(rules, moment, step)
    assert kinds.KNOWN.issuperset(step.events), moment
    if late is not None:
        _check_late(rules, moment, step, late)
    elif not is_late_return(moment):
        assert step.events == rules.told(before, step), moment
    if step.command in {Command.QUERY, Command.CLOSE}:
        _check_question(rules, step, now)
    return step


def refusals(signal: Signal) -> tuple[type[Exception], ...]:
    """What every flow may refuse."""
    return (ForceRefused,) if isinstance(signal, saga.Forced) else ()


def is_definite(moment: Moment) -> bool:
    """Whether the signal says that no money moves under the current attempt, or two people say how it ended."""
    signal = moment.signal
    if isinstance(signal, saga.Forced):
        return True
    return (
        isinstance(signal, Answered)
        and moment.attempt is not None
        and signal.attempt_number == moment.attempt.number
        and signal.outcome.kind in NO_MONEY
    )


def _check_end(rules: Rules, moment: Moment, step: Step[Any, Attempt]) -> None:
    before, after = moment.subject, step.subject
    if before.state.value in rules.ended:
        allowed = rules.after_end(before, moment.signal) | {before.state.value}
        assert after.state.value in allowed, moment
    if after.state.value in rules.ended and after.state != before.state:
        assert step.command is None, moment


def _check_money(moment: Moment, step: Step[Any, Attempt]) -> None:
    """No way to a failure or to another channel without a definite word on what is out."""
    attempt, before, after = moment.attempt, moment.subject, step.subject
    if attempt is None or attempt.state is AttemptState.SUCCEEDED:
        return
    fails = after.state != before.state and after.state.value in {"FAILED", "CANCELED"}
    goes_elsewhere = step.attempt is not None and step.attempt.number > attempt.number
    if fails or goes_elsewhere:
        assert is_definite(moment), moment
        told = next(each for each in step.attempts if each.number == attempt.number)
        assert told.state in {AttemptState.DECLINED, AttemptState.CLOSED}, moment


def _check_rest(rules: Rules, moment: Moment, step: Step[Any, Attempt]) -> None:
    after, now = step.subject, moment.now
    if step.command is not None:
        assert after.next_run_at == saga.leased_until(now) > now, moment
        about = step.attempt or moment.attempt
        assert about is not None or step.command in {Command.REVIEW, Command.HOLD}, moment
        return
    if after.state.value not in rules.rests_for_ever:
        assert after.next_run_at is not None, moment
    is_asked = isinstance(moment.signal, Answered | saga.Due | saga.StillOpen | saga.HoldUnknown)
    if is_asked and after.next_run_at not in {None, moment.subject.next_run_at}:
        # Never at once again: that would be a loop as fast as the channel answers.
        returned_first = after.state.value == "SUCCEEDED" and after.next_run_at == now
        assert after.next_run_at > now or returned_first, moment


def late_attempt(rules: Rules, moment: Moment) -> Attempt | None:
    """The attempt that has moved money, by this signal, after a definite word that it had not."""
    signal, attempt = moment.signal, moment.attempt
    if not isinstance(signal, Answered) or signal.outcome.kind is not OutcomeKind.SUCCEEDED:
        return None
    if attempt is None:
        return None
    if is_of_the_platform(moment.subject) and is_agreed(signal):
        return None
    is_current = signal.attempt_number == attempt.number
    about = attempt if is_current else signal.attempt
    if about is None or (is_current and moment.subject.state.value not in rules.over):
        return None
    is_known = about.state is AttemptState.SUCCEEDED
    # Only payouts come back, and only of what has come back can the same be heard again.
    came_back = about.operation == "PAYOUT" and about.state is AttemptState.RETURNED
    return None if is_known or came_back else about


def is_of_the_platform(subject: Any) -> bool:
    """Whether it gives back what came late, and has reserved nothing: whenever that is done, it is what was wanted."""
    return getattr(subject, "origin", None) is RefundOrigin.LATE_SUCCESS


def is_agreed(signal: Answered) -> bool:
    """Whether the channel moved what it was asked to."""
    return signal.outcome.amount_minor in {None, AMOUNT_MINOR}


def is_late_return(moment: Moment) -> bool:
    """Whether a payee's bank sends back what left late."""
    signal, attempt = moment.signal, moment.attempt
    if not isinstance(signal, Answered) or signal.outcome.kind is not OutcomeKind.RETURNED:
        return False
    if attempt is None or not hasattr(moment.subject, "payout_id"):
        return False
    is_current = signal.attempt_number == attempt.number
    about = attempt if is_current else signal.attempt
    has_left = about is not None and about.state is AttemptState.SUCCEEDED
    return has_left and (moment.subject.state == "FAILED" if is_current else True)


def _check_late(rules: Rules, moment: Moment, step: Step[Any, Attempt], attempt: Attempt) -> None:
    """Whatever comes late leaves its subject as it stood, is told once, and is a person's matter."""
    before, after, signal = moment.subject, step.subject, moment.signal
    assert isinstance(signal, Answered)
    unmoved = replace(before, version=after.version, updated_at=after.updated_at)
    assert after == unmoved, moment
    assert step.command is None, moment
    [told] = step.attempts
    assert (told.attempt_id, told.state) == (attempt.attempt_id, AttemptState.SUCCEEDED), moment
    flow, right = attempt.operation.lower(), is_agreed(signal)
    assert step.events == ((f"{flow}.late_success",) if right else ()), moment
    [case] = [each for each in step.beside if isinstance(each, OpenCase)]
    assert case.reason == ("LATE_SUCCESS" if right else "LATE_AMOUNT_MISMATCH"), moment
    refunds = [each.subject for each in step.beside if isinstance(each, Step)]
    assert len(refunds) == (right and flow in {"payment", "capture"}), moment
    assert case.subject_id == (refunds[0].subject_id if refunds else subject_id(before)), moment
    current = moment.attempt
    heard_of = told if current is not None and told.number == current.number else current
    again = rules.decide(after, heard_of, replace(signal, attempt=told), moment.now)
    assert again is None, moment


def subject_id(subject: Any) -> str:
    """The key of its row."""
    return str(
        getattr(subject, "subject_id", "")
        or getattr(subject, "payout_id", "")
        or subject.payment_id
    )


def _check_cases(moment: Moment, step: Step[Any, Attempt], *, is_late: bool) -> None:
    before, after = moment.subject.state.value, step.subject.state.value
    mine = subject_id(step.subject)
    opened = [each for each in step.beside if isinstance(each, OpenCase)]
    closed = [
        each for each in step.beside if isinstance(each, CloseCase) and each.subject_id == mine
    ]
    is_news = (before, moment.subject.reason) != (after, step.subject.reason)
    assert len(opened) == ((after == "MANUAL" and is_news) or is_late), moment
    is_resolved = moment.signal == saga.Forced(to_state=saga.RESOLVED)
    over = {moment.subject.reason} if before == "MANUAL" != after else set()
    if is_late_return(moment):
        over.add("LATE_SUCCESS")
    if is_of_the_platform(step.subject) and before != after == "SUCCEEDED":
        # This case is open from its birth until the money is back.
        over.add("LATE_SUCCESS")
    # Each matter ends by what answers it, and no other with it.
    assert {each.reason for each in closed} == ({""} if is_resolved else over), moment
    if is_resolved:
        # Two people have squared it: the case is closed, and nothing else is changed.
        unmoved = replace(
            moment.subject, version=step.subject.version, updated_at=step.subject.updated_at
        )
        assert (step.subject, before == "MANUAL") == (unmoved, False), moment
        assert (step.attempts, step.events, step.command) == ((), (), None), moment


def _check_squared(rules: Rules, moment: Moment, step: Step[Any, Attempt]) -> None:
    """What an order had reserved of its payment is taken or freed by its end: once, and by nothing else."""
    before, after = moment.subject, step.subject
    squared = [each for each in step.beside if isinstance(each, Squared)]
    has_reserved = getattr(before, "takes_of_payment", False)
    ends = after.state.value in rules.over and before.state.value not in rules.over
    is_taken = after.state.value == "SUCCEEDED"
    ends_well = is_taken and before.state.value not in rules.over | {"SUCCEEDED"}
    expected = [Squared(is_taken=is_taken)] if has_reserved and (ends or ends_well) else []
    assert squared == expected, moment


def _check_question(rules: Rules, asked: Step[Any, Attempt], now: datetime) -> None:
    """Whatever is answered, the row comes to rest or goes on: no question hangs."""
    assert asked.attempt is not None
    for kind in OutcomeKind:
        answer = Answered(
            outcome=Outcome(kind=kind),
            attempt_number=asked.attempt.number,
            attempt=asked.attempt,
        )
        then = rules.decide(asked.subject, asked.attempt, answer, now)
        assert then is not None, (asked, kind)
