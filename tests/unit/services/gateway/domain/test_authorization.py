"""Reserving a payer's money: taken by captures, released by a void, by a final capture or by time."""

from datetime import timedelta

import pytest

from services.gateway.domain import authorization, saga
from services.gateway.domain.channel import OutcomeKind
from services.gateway.domain.errors import CaptureInFlight, PaymentNotCancelable
from services.gateway.domain.payment import Payment, PaymentState
from services.gateway.domain.saga import AttemptState, Command
from tests.unit.services.gateway.domain.orders import (
    AMOUNT_MINOR,
    NOW,
    Walk,
    answered,
    authorized,
    pay,
)

UNTIL = NOW + timedelta(seconds=authorization.AUTHORIZATION_S)


def capturing(walk: Walk[Payment], amount_minor: int) -> None:
    """A capture reserves its amount."""
    walk.change(capturing_minor=walk.subject.capturing_minor + amount_minor)


def captured(walk: Walk[Payment], amount_minor: int, *, is_final: bool = False) -> None:
    """That capture succeeds; a payment of which all is taken is due at once."""
    payment = walk.subject
    taken_minor = payment.captured_minor + amount_minor
    is_over = is_final or taken_minor == payment.amount_minor
    walk.change(
        capturing_minor=payment.capturing_minor - amount_minor,
        captured_minor=taken_minor,
        is_captured=payment.is_captured or is_over,
        next_run_at=walk.now if is_over else payment.next_run_at,
    )


def given_back(walk: Walk[Payment], amount_minor: int) -> None:
    """That capture fails."""
    walk.change(capturing_minor=walk.subject.capturing_minor - amount_minor)


def test_an_authorised_payment_rests_until_its_time_is_over() -> None:
    walk = authorized()

    assert (walk.subject.state, walk.subject.captured_minor) == (PaymentState.AUTHORIZED, 0)
    assert walk.subject.next_run_at == walk.subject.authorized_until == UNTIL
    assert walk.step.events == ("payment.authorized",)
    assert walk.offer(answered(OutcomeKind.AUTHORIZED, latency_ms=None)) is not None
    assert walk.subject.next_run_at == UNTIL


def test_partial_captures_leave_it_authorised_and_the_last_minor_unit_ends_it() -> None:
    walk = authorized()
    for amount_minor in (300, 200, 500):
        capturing(walk, amount_minor)
        captured(walk, amount_minor)

    ended = walk.hear(saga.Due())

    assert (ended.subject.state, ended.subject.captured_minor) == (
        PaymentState.SUCCEEDED,
        AMOUNT_MINOR,
    )
    assert (ended.subject.succeeded_at, ended.subject.next_run_at) == (NOW, None)
    assert ended.attempts[-1].state is AttemptState.SUCCEEDED


def test_a_final_capture_ends_it_with_what_was_taken() -> None:
    walk = authorized()
    capturing(walk, 300)
    captured(walk, 300, is_final=True)

    ended = walk.hear(saga.Due())

    assert (ended.subject.state, ended.subject.captured_minor) == (PaymentState.SUCCEEDED, 300)
    assert ended.events == ("payment.succeeded",)


def test_a_final_capture_waits_for_the_other_one_that_is_still_under_way() -> None:
    walk = authorized()
    capturing(walk, 300)
    capturing(walk, 200)
    captured(walk, 300, is_final=True)

    waiting = walk.hear(saga.Due())
    assert (waiting.subject.state, waiting.command) == (PaymentState.AUTHORIZED, None)
    assert waiting.subject.next_run_at is not None
    assert waiting.subject.next_run_at <= NOW + timedelta(minutes=5)

    captured(walk, 200)
    assert walk.hear(saga.Due()).subject.captured_minor == 500
    assert walk.subject.state is PaymentState.SUCCEEDED


def test_a_void_releases_everything() -> None:
    walk = authorized()
    closing = walk.hear(saga.CancelRequested())
    assert (closing.subject.state, closing.command) == (PaymentState.CLOSING, Command.CLOSE)

    ended = walk.told(OutcomeKind.CLOSED)

    assert (ended.subject.state, ended.subject.reason) == (
        PaymentState.CANCELED,
        "CANCELED_BY_MERCHANT",
    )


@pytest.mark.parametrize("kind", [OutcomeKind.CLOSED, OutcomeKind.SUCCEEDED])
def test_a_void_keeps_what_was_captured_before(kind: OutcomeKind) -> None:
    walk = authorized()
    capturing(walk, 300)
    captured(walk, 300)
    walk.hear(saga.CancelRequested())

    # A channel says "closed" of the rest, or "succeeded" of the part that was taken.
    ended = walk.told(kind, amount_minor=300, currency="CNY")

    assert (ended.subject.state, ended.subject.captured_minor) == (PaymentState.SUCCEEDED, 300)


@pytest.mark.parametrize("kind", [OutcomeKind.DECLINED_SOFT, OutcomeKind.DECLINED_HARD])
def test_no_refusal_makes_a_failure_of_what_was_captured_in_part(kind: OutcomeKind) -> None:
    walk = authorized("a", "b")
    capturing(walk, 300)
    captured(walk, 300)
    walk.hear(saga.CancelRequested())

    ended = walk.told(kind)

    assert (ended.subject.state, ended.command) == (PaymentState.SUCCEEDED, None)


def test_an_authorisation_nobody_captured_is_released_when_its_time_is_over() -> None:
    walk = authorized().at(UNTIL)
    closing = walk.hear(saga.Due())
    assert (closing.subject.state, closing.command) == (PaymentState.CLOSING, Command.CLOSE)

    ended = walk.told(OutcomeKind.CLOSED)

    assert (ended.subject.state, ended.subject.reason) == (
        PaymentState.CANCELED,
        "AUTHORIZATION_EXPIRED",
    )


def test_however_late_it_is_taken_up_the_channel_is_told_once_to_release_it() -> None:
    walk = authorized()
    late = walk.subject.hard_deadline_at + timedelta(days=3)

    closing = walk.at(late).hear(saga.Due())
    assert (closing.subject.state, closing.command) == (PaymentState.CLOSING, Command.CLOSE)

    silent = walk.told(OutcomeKind.UNKNOWN, latency_ms=None)
    assert silent.subject.state is PaymentState.MANUAL


def test_an_authorisation_that_ran_out_at_the_channel_is_heard_of() -> None:
    walk = authorized()

    ended = walk.told(OutcomeKind.CLOSED, latency_ms=None)

    assert (ended.subject.state, ended.subject.reason) == (
        PaymentState.CANCELED,
        "AUTHORIZATION_EXPIRED",
    )


def test_a_capture_in_flight_holds_up_a_void() -> None:
    walk = authorized()
    capturing(walk, 300)

    with pytest.raises(CaptureInFlight) as refused:
        walk.offer(saga.CancelRequested())
    assert refused.value.metadata == {"capturing_minor": "300"}

    given_back(walk, 300)
    assert walk.hear(saga.CancelRequested()).command is Command.CLOSE


def test_a_capture_in_flight_holds_up_the_release_when_time_is_over() -> None:
    walk = authorized()
    capturing(walk, 300)

    waiting = walk.at(UNTIL).hear(saga.Due())
    assert (waiting.subject.state, waiting.command) == (PaymentState.AUTHORIZED, None)
    assert waiting.subject.next_run_at is not None
    assert waiting.subject.next_run_at > UNTIL

    captured(walk, 300)
    assert walk.hear(saga.Due()).command is Command.CLOSE
    assert walk.told(OutcomeKind.CLOSED).subject.state is PaymentState.SUCCEEDED


def test_a_wish_to_cancel_while_authorising_releases_it_as_soon_as_it_is_authorised() -> None:
    walk = pay("a", "b", capture_later=True)
    assert walk.hear(saga.CancelRequested()).command is None

    closing = walk.told(OutcomeKind.AUTHORIZED)
    assert (closing.subject.state, closing.command) == (PaymentState.CLOSING, Command.CLOSE)
    ended = walk.told(OutcomeKind.CLOSED)

    assert (ended.subject.state, ended.command) == (PaymentState.CANCELED, None)


def test_money_that_no_capture_asked_for_is_for_a_person() -> None:
    walk = authorized()

    ended = walk.told(OutcomeKind.SUCCEEDED, amount_minor=AMOUNT_MINOR, currency="CNY")

    assert (ended.subject.state, ended.subject.reason) == (PaymentState.MANUAL, "CAPTURED_UNASKED")


def test_a_channel_that_took_more_than_our_captures_is_for_a_person() -> None:
    walk = authorized()
    capturing(walk, 300)
    captured(walk, 300)

    ended = walk.told(OutcomeKind.SUCCEEDED, amount_minor=400, currency="CNY")

    assert (ended.subject.state, ended.subject.reason) == (PaymentState.MANUAL, "AMOUNT_MISMATCH")


def test_a_channels_word_that_it_was_captured_waits_for_the_captures_own() -> None:
    walk = authorized()
    capturing(walk, AMOUNT_MINOR)

    waiting = walk.told(OutcomeKind.SUCCEEDED, amount_minor=AMOUNT_MINOR, currency="CNY")
    assert (waiting.subject.state, waiting.events) == (PaymentState.AUTHORIZED, ())

    captured(walk, AMOUNT_MINOR)
    assert walk.hear(saga.Due()).subject.state is PaymentState.SUCCEEDED


def test_a_payment_to_be_taken_at_once_that_is_only_reserved_is_closed_and_tried_elsewhere() -> (
    None
):
    walk = pay("a", "b")
    closing = walk.told(OutcomeKind.AUTHORIZED)
    assert (closing.subject.state, closing.command) == (PaymentState.CLOSING, Command.CLOSE)

    moved = walk.told(OutcomeKind.CLOSED)

    assert (moved.subject.channel_id, moved.command) == ("b", Command.ORDER)


@pytest.mark.parametrize(
    "kind", [OutcomeKind.CLOSED, OutcomeKind.SUCCEEDED, OutcomeKind.DECLINED_HARD]
)
def test_nothing_ends_before_a_person_while_a_capture_is_under_way(kind: OutcomeKind) -> None:
    walk = authorized()
    capturing(walk, 300)
    late = walk.subject.hard_deadline_at
    manual = walk.at(late).told(OutcomeKind.SUCCEEDED)
    assert (manual.subject.state, manual.subject.reason) == (PaymentState.MANUAL, "OUTCOME_UNKNOWN")

    waiting = walk.told(kind)
    assert (waiting.subject.state, waiting.events) == (PaymentState.MANUAL, ())

    captured(walk, 300)
    assert walk.told(kind).subject.state is PaymentState.SUCCEEDED


def test_what_has_ended_can_be_voided_no_more() -> None:
    walk = authorized()
    capturing(walk, 300)
    captured(walk, 300, is_final=True)
    walk.hear(saga.Due())

    with pytest.raises(PaymentNotCancelable):
        walk.offer(saga.CancelRequested())


@pytest.mark.parametrize("last_word", [OutcomeKind.DECLINED_HARD, OutcomeKind.CLOSED])
def test_what_a_channel_reserves_after_the_end_is_released_at_once(last_word: OutcomeKind) -> None:
    walk = pay("a", capture_later=True)
    walk.hear(saga.CancelRequested())
    ended = walk.told(last_word).subject
    assert ended.next_run_at is None

    releasing = walk.told(OutcomeKind.AUTHORIZED, latency_ms=None)

    assert (releasing.subject.state, releasing.command) == (ended.state, Command.CLOSE)
    assert (releasing.events, releasing.beside) == ((), ())
    done = walk.told(OutcomeKind.CLOSED, latency_ms=None)
    assert (done.subject.state, done.subject.next_run_at) == (ended.state, None)
    assert done.attempts[0].state is AttemptState.CLOSED


@pytest.mark.parametrize(
    "kind", [OutcomeKind.AUTHORIZED, OutcomeKind.UNKNOWN, OutcomeKind.NOT_FOUND]
)
def test_a_channel_that_has_not_released_it_is_told_again_but_rarely(kind: OutcomeKind) -> None:
    walk = pay("a", capture_later=True)
    walk.told(OutcomeKind.DECLINED_HARD)
    walk.told(OutcomeKind.AUTHORIZED, latency_ms=None)

    for _ in range(3):
        resting = walk.told(kind, latency_ms=None)
        assert (resting.subject.state, resting.command) == (PaymentState.FAILED, None)
        assert resting.subject.next_run_at == walk.now + timedelta(seconds=saga.RARE_QUERY_S)
        again = walk.at(resting.subject.next_run_at).hear(saga.Due())
        assert (again.subject.state, again.command) == (PaymentState.FAILED, Command.CLOSE)


def test_a_channel_that_is_gone_is_told_no_more_once_its_reservation_has_run_out() -> None:
    walk = pay("a", capture_later=True)
    walk.told(OutcomeKind.DECLINED_HARD)
    walk.told(OutcomeKind.AUTHORIZED, latency_ms=None)
    walk.told(OutcomeKind.UNKNOWN, latency_ms=None)

    late = walk.at(NOW + timedelta(seconds=authorization.CHANNEL_KEEPS_S)).hear(saga.Due())

    assert (late.subject.next_run_at, late.command) == (None, None)
    assert [each.state for each in late.attempts] == [AttemptState.CLOSED]


def test_however_late_a_reservation_is_heard_of_the_channel_is_told_once_to_release_it() -> None:
    walk = pay("a", capture_later=True)
    walk.told(OutcomeKind.DECLINED_HARD)

    heard = walk.at(NOW + timedelta(days=30)).told(OutcomeKind.AUTHORIZED, latency_ms=None)

    assert heard.command is Command.CLOSE


@pytest.mark.parametrize("kind", [OutcomeKind.PENDING, OutcomeKind.UNKNOWN, OutcomeKind.NOT_FOUND])
def test_what_is_reserved_stays_known_as_reserved_whatever_old_word_comes_late(
    kind: OutcomeKind,
) -> None:
    walk = authorized()

    heard = walk.told(kind, latency_ms=None)

    assert heard.subject.state is PaymentState.AUTHORIZED
    assert [each.state for each in heard.attempts] == [AttemptState.AUTHORIZED]


@pytest.mark.parametrize("kind", [OutcomeKind.DECLINED_HARD, OutcomeKind.DECLINED_SOFT])
def test_an_old_refusal_that_comes_late_ends_nothing_before_the_channel_has_released_it(
    kind: OutcomeKind,
) -> None:
    walk = authorized()

    closing = walk.told(kind, latency_ms=None)

    assert (closing.subject.state, closing.command) == (PaymentState.CLOSING, Command.CLOSE)
    assert closing.attempts[0].state is AttemptState.AUTHORIZED
    assert walk.told(OutcomeKind.CLOSED).subject.state is PaymentState.CANCELED


def test_what_was_captured_of_it_instead_is_given_back() -> None:
    walk = pay("a", capture_later=True)
    walk.told(OutcomeKind.DECLINED_HARD)
    walk.told(OutcomeKind.AUTHORIZED, latency_ms=None)

    taken = walk.told(OutcomeKind.SUCCEEDED, latency_ms=None)

    assert (taken.subject.state, taken.events) == (PaymentState.FAILED, ("payment.late_success",))


def test_what_has_ended_and_holds_nothing_is_put_to_rest_when_it_is_taken_up() -> None:
    walk = pay("a")
    walk.told(OutcomeKind.DECLINED_HARD)
    walk.change(next_run_at=NOW)

    rested = walk.hear(saga.Due())

    assert (rested.subject.next_run_at, rested.command, rested.events) == (None, None, ())


@pytest.mark.parametrize(("amount_minor", "currency"), [(999, "CNY"), (AMOUNT_MINOR, "USD")])
def test_another_amount_than_was_asked_for_is_not_kept_reserved(
    amount_minor: int, currency: str
) -> None:
    walk = pay("a", "b", capture_later=True)
    closing = walk.told(OutcomeKind.AUTHORIZED, amount_minor=amount_minor, currency=currency)
    assert (closing.subject.state, closing.command) == (PaymentState.CLOSING, Command.CLOSE)
    assert walk.told(OutcomeKind.CLOSED).subject.channel_id == "b"
