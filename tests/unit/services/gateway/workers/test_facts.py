"""What the ledger, router and risk are told of each fact, and what moves no money."""

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any

import pytest

from fisc.account.v1 import account_pb2
from libs.events.log import NewEvent, StoredEvent
from services.gateway.domain import follow_up, saga
from services.gateway.domain import refund as refunds
from services.gateway.domain.channel import OutcomeKind
from services.gateway.domain.next_action import ShowQr
from services.gateway.domain.saga import Forced, Step
from services.gateway.handlers import messages
from services.gateway.workers import facts
from tests.unit.services.gateway.domain.orders import (
    AMOUNT_MINOR,
    DEADLINE,
    NOW,
    PAYMENT,
    PAYOUT,
    Walk,
    answered,
    authorized,
    capture,
    pay,
    pay_out,
    refund,
    sent_out,
)

PAID_AT = datetime(
    2026, 11, 10, 17, 30, tzinfo=UTC
)  # already the eleventh where the books are kept
RECEIVABLE, PENDING = "channel/a/receivable/CNY", "merchant/mer_1/pending/CNY"
AVAILABLE, LATE = "merchant/mer_1/available/CNY", "platform/late-success/CNY"
TRANSIT = "platform/payout-transit/CNY"
ENCODERS = {
    "payment": messages.encode_payment_events,
    "capture": messages.encode_capture_events,
    "refund": messages.encode_refund_events,
    "payout": messages.encode_payout_events,
}


def stored(step: "Step[Any, Any]") -> list[StoredEvent]:
    """A step's events as the log gives them back."""
    flow = step.events[0].partition(".")[0]
    encode: Any = ENCODERS[flow]
    new: Sequence[NewEvent] = encode(step)
    return [
        StoredEvent(
            event_id=event.event_id,
            type=event.type,
            merchant_id=event.merchant_id,
            subject_id=event.subject_id,
            occurred_at=event.occurred_at,
            payload=event.payload,
            payload_type=event.payload_type,
            cursor="1-1",
        )
        for event in new
    ]


def postings(*steps: "Step[Any, Any]") -> facts.Postings:
    return facts.postings(event for step in steps for event in stored(step))


def moved(transfer: account_pb2.Transfer) -> tuple[str, str, str, int]:
    return (
        transfer.transfer_id,
        transfer.debit_account_id,
        transfer.credit_account_id,
        transfer.amount.amount_minor,
    )


def late_success(walk: "Walk[Any]") -> "Step[Any, Any]":
    walk.told(OutcomeKind.DECLINED_HARD)
    step: Step[Any, Any] = walk.told(OutcomeKind.SUCCEEDED)
    return step


def step_subject_id(step: "Step[Any, Any]") -> str:
    return stored(step)[0].subject_id


def test_a_payment_is_owed_by_its_channel_and_to_its_merchant_on_the_day_it_was_paid() -> None:
    booked = postings(pay("a").told(OutcomeKind.SUCCEEDED, paid_at=PAID_AT))

    [transfer] = booked.transfers
    assert moved(transfer) == (f"{PAYMENT.payment_id}:collect", RECEIVABLE, PENDING, AMOUNT_MINOR)
    assert (transfer.amount.currency, transfer.effective_date) == ("CNY", "2026-11-11")
    assert (booked.captures, booked.voids) == ([], [])


def test_the_success_of_an_authorised_payment_moves_nothing_for_its_captures_did() -> None:
    walk = authorized()
    walk.change(captured_minor=300, is_captured=True, next_run_at=NOW)
    ended = walk.hear(saga.Due())
    assert ended.events == ("payment.succeeded",)

    assert postings(ended) == facts.Postings()


def test_a_capture_is_owed_by_its_channel_and_to_its_merchant() -> None:
    walk = capture(amount_minor=300)
    booked = postings(walk.told(OutcomeKind.SUCCEEDED, paid_at=PAID_AT))

    [transfer] = booked.transfers
    assert moved(transfer) == (f"{walk.subject.capture_id}:collect", RECEIVABLE, PENDING, 300)
    assert transfer.effective_date == "2026-11-11"


def test_a_refund_goes_back_at_the_merchants_cost() -> None:
    walk = refund(amount_minor=100)
    booked = postings(walk.told(OutcomeKind.SUCCEEDED))

    [transfer] = booked.transfers
    assert moved(transfer) == (f"{walk.subject.refund_id}:refund", PENDING, RECEIVABLE, 100)


def test_a_late_success_is_nobodys_money_until_it_is_given_back() -> None:
    step = late_success(pay("a"))
    born = next(each for each in step.beside if isinstance(each, Step))
    back: Walk[Any] = Walk(follow_up.decide, born)
    back.hear(saga.Due())

    booked = postings(step, back.told(OutcomeKind.SUCCEEDED))

    collected, given_back = booked.transfers
    attempt_id = step.attempts[-1].attempt_id
    assert moved(collected) == (f"{attempt_id}:late", RECEIVABLE, LATE, AMOUNT_MINOR)
    assert moved(given_back)[1:] == (LATE, RECEIVABLE, AMOUNT_MINOR)
    assert born.subject.origin is refunds.RefundOrigin.LATE_SUCCESS


@pytest.mark.parametrize(
    ("walk", "amount_minor"), [(pay("a"), AMOUNT_MINOR), (capture(amount_minor=300), 300)],
    ids=["payment", "capture"],
)  # fmt: skip
def test_what_a_channel_took_late_it_owes_and_nobody_has_earned(
    walk: "Walk[Any]", amount_minor: int
) -> None:
    step = late_success(walk)
    booked = postings(step)

    [transfer] = booked.transfers
    late_id = f"{step.attempts[-1].attempt_id}:late"
    assert moved(transfer) == (late_id, RECEIVABLE, LATE, amount_minor)
    assert (booked.captures, booked.voids) == ([], [])


@pytest.mark.parametrize(
    ("walk", "amount_minor"), [(refund(amount_minor=100), 100), (sent_out(), AMOUNT_MINOR)],
    ids=["refund", "payout"],
)  # fmt: skip
def test_what_a_channel_gave_away_late_somebody_owes_us(
    walk: "Walk[Any]", amount_minor: int
) -> None:
    step = late_success(walk.at(PAID_AT))
    booked = postings(step)

    [transfer] = booked.transfers
    late_id = f"{step.attempts[-1].attempt_id}:late"
    assert moved(transfer) == (late_id, LATE, RECEIVABLE, amount_minor)
    # When it was heard of: what stands in the subject is about no success of its own.
    assert (transfer.reference, transfer.effective_date) == (step_subject_id(step), "2026-11-11")
    # Its hold was voided when it failed, and that is all that happens to it.
    assert (booked.captures, booked.voids) == ([], [])


def test_a_late_success_belongs_to_the_channel_that_moved_the_money() -> None:
    walk = sent_out("a", "b")
    walk.told(OutcomeKind.DECLINED_SOFT)
    [transfer] = postings(
        walk.hear(answered(OutcomeKind.SUCCEEDED, number=1, attempt=walk.attempts[1]))
    ).transfers
    assert transfer.credit_account_id == RECEIVABLE

    [transfer] = postings(walk.told(OutcomeKind.SUCCEEDED)).transfers
    assert transfer.credit_account_id == "channel/b/receivable/CNY"


def test_a_late_payout_that_came_back_leaves_every_account_as_it_was() -> None:
    walk = sent_out()
    left = late_success(walk)
    returned = walk.told(OutcomeKind.RETURNED, latency_ms=None)
    booked = postings(left, returned)

    gone, back = booked.transfers
    assert moved(back)[0] == f"{left.attempts[-1].attempt_id}:late-return"
    assert moved(gone)[1:3] == moved(back)[2:0:-1] == (LATE, RECEIVABLE)
    assert moved(gone)[3] == moved(back)[3]
    assert (booked.captures, booked.voids) == ([], [])


def test_another_amount_than_was_asked_is_no_fact_that_could_be_booked() -> None:
    walks: list[Walk[Any]] = [pay("a"), capture(), refund(), sent_out()]
    for walk in walks:
        walk.told(OutcomeKind.DECLINED_HARD)
        assert walk.told(OutcomeKind.SUCCEEDED, amount_minor=1, currency="CNY").events == ()


def test_a_payout_that_succeeds_takes_its_hold_and_leaves_through_its_channel() -> None:
    booked = postings(sent_out().told(OutcomeKind.SUCCEEDED))

    assert [each.hold_id for each in booked.captures] == [PAYOUT.payout_id]
    [transfer] = booked.transfers
    assert moved(transfer) == (f"{PAYOUT.payout_id}:payout", TRANSIT, RECEIVABLE, AMOUNT_MINOR)
    assert booked.voids == []


def test_a_payout_that_fails_releases_its_hold_even_one_that_was_never_answered() -> None:
    refused = sent_out().told(OutcomeKind.DECLINED_HARD)
    unheld = pay_out("a").at(DEADLINE).hear(saga.HoldUnknown())
    denied = pay_out("a", risk="DENY").step

    for step in (refused, unheld, denied):
        booked = postings(step)
        assert (booked.voids, booked.captures, booked.transfers) == ([PAYOUT.payout_id], [], [])


def test_a_payout_that_comes_back_is_the_merchants_again() -> None:
    walk = sent_out()
    walk.told(OutcomeKind.SUCCEEDED)
    booked = postings(walk.told(OutcomeKind.RETURNED, paid_at=PAID_AT))

    [transfer] = booked.transfers
    assert moved(transfer) == (f"{PAYOUT.payout_id}:return", RECEIVABLE, AVAILABLE, AMOUNT_MINOR)
    assert transfer.effective_date == "2026-11-11"
    assert (booked.captures, booked.voids) == ([], [])


def test_a_payout_and_its_return_leave_every_account_as_it_was() -> None:
    walk = sent_out()
    steps = [walk.told(OutcomeKind.SUCCEEDED), walk.told(OutcomeKind.RETURNED)]
    booked = postings(*steps)

    # The captured hold moves from available to transit.
    net = {AVAILABLE: -AMOUNT_MINOR, TRANSIT: AMOUNT_MINOR, RECEIVABLE: 0}
    for transfer in booked.transfers:
        net[transfer.debit_account_id] -= transfer.amount.amount_minor
        net[transfer.credit_account_id] += transfer.amount.amount_minor
    assert set(net.values()) == {0}


def at_the_desk(walk: "Walk[Any]") -> "Step[Any, Any]":
    step: Step[Any, Any] = walk.at(DEADLINE).told(OutcomeKind.UNKNOWN)
    return step


def forced(walk: "Walk[Any]", to_state: str) -> "Step[Any, Any]":
    step: Step[Any, Any] = walk.hear(Forced(to_state=to_state))
    return step


SILENT: "dict[str, Callable[[], Step[Any, Any]]]" = {
    "payment.created": lambda: pay("a").step,
    "payment.review": lambda: pay("a", risk="REVIEW").step,
    "payment.rerouted": lambda: pay("a", "b").told(OutcomeKind.DECLINED_SOFT),
    "payment.pending": lambda: pay("a").told(OutcomeKind.PENDING, next_action=ShowQr(content="qr")),
    "payment.authorized": lambda: authorized().step,
    "payment.failed": lambda: pay("a").told(OutcomeKind.DECLINED_HARD),
    "payment.canceled": lambda: forced(pay("a"), "CANCELED"),
    "payment.manual": lambda: at_the_desk(pay("a")),
    "capture.created": lambda: capture().step,
    "capture.failed": lambda: capture().told(OutcomeKind.DECLINED_HARD),
    "capture.manual": lambda: at_the_desk(capture()),
    "refund.created": lambda: refund().step,
    "refund.failed": lambda: refund().told(OutcomeKind.DECLINED_HARD),
    "refund.manual": lambda: at_the_desk(refund()),
    "payout.created": lambda: pay_out("a").step,
    "payout.review": lambda: pay_out("a", risk="REVIEW").step,
    "payout.rerouted": lambda: sent_out("a", "b").told(OutcomeKind.DECLINED_SOFT),
    "payout.manual": lambda: at_the_desk(sent_out()),
}


@pytest.mark.parametrize("kind", SILENT)
def test_no_other_fact_moves_money(kind: str) -> None:
    step = SILENT[kind]()
    assert step.events == (kind,)

    assert postings(step) == facts.Postings()


@pytest.mark.parametrize(
    ("walk", "transfers_count"),
    [(pay("a"), 1), (capture(), 1), (refund(), 1), (sent_out(), 1)],
    ids=["payment", "capture", "refund", "payout"],
)
def test_what_two_people_forced_to_success_is_booked_like_any_other(
    walk: "Walk[Any]", transfers_count: int
) -> None:
    assert len(postings(forced(walk, "SUCCEEDED")).transfers) == transfers_count


def test_facts_keep_their_order() -> None:
    first, second = pay("a"), refund()
    booked = postings(first.told(OutcomeKind.SUCCEEDED), second.told(OutcomeKind.SUCCEEDED))

    assert [each.transfer_id.rpartition(":")[2] for each in booked.transfers] == [
        "collect",
        "refund",
    ]


@pytest.mark.parametrize(
    ("step", "succeeded"),
    [
        (pay("a").told(OutcomeKind.SUCCEEDED), [True]),
        (pay("a").told(OutcomeKind.DECLINED_HARD), [False]),
        (pay("a").told(OutcomeKind.UNKNOWN), []),
        (pay("a", "b").told(OutcomeKind.DECLINED_SOFT), [False]),
        (sent_out().told(OutcomeKind.SUCCEEDED), [True]),
        (refund().told(OutcomeKind.SUCCEEDED), []),
    ],
)
def test_the_router_hears_only_definite_words_on_payments_and_payouts(
    step: "Step[Any, Any]", succeeded: list[bool]
) -> None:
    events = stored(step) if step.events else []

    told = [outcome for event in events for outcome in facts.outcomes(event)]

    assert [outcome.succeeded for outcome in told] == succeeded


@pytest.mark.parametrize("to_state", ["SUCCEEDED", "FAILED"])
def test_what_two_people_say_is_no_word_on_the_channel(to_state: str) -> None:
    walks: list[Walk[Any]] = [pay("a"), sent_out()]
    for walk in walks:
        [event] = stored(forced(walk, to_state))
        assert list(facts.outcomes(event)) == []


def test_a_payers_own_fault_is_no_mark_against_the_channel() -> None:
    [event] = stored(pay("a").told(OutcomeKind.DECLINED_HARD, code="INSUFFICIENT_FUNDS"))

    [outcome] = facts.outcomes(event)

    assert (outcome.succeeded, outcome.business_decline) == (False, True)


def test_risk_hears_how_payments_and_payouts_ended_and_nothing_else() -> None:
    steps: dict[str, Step[Any, Any]] = {
        "payment": pay("a").told(OutcomeKind.SUCCEEDED),
        "payout": sent_out().told(OutcomeKind.DECLINED_HARD),
    }
    told = {
        name: [(each.evaluation_id, each.succeeded) for each in facts.endings(stored(step)[0])]
        for name, step in steps.items()
    }

    assert told == {
        "payment": [(PAYMENT.evaluation_id, True)],
        "payout": [(PAYOUT.evaluation_id, False)],
    }
    quiet: list[Step[Any, Any]] = [
        pay("a").step,
        refund().told(OutcomeKind.SUCCEEDED),
        late_success(pay("a")),
        late_success(sent_out()),
    ]
    for step in quiet:
        assert list(facts.endings(stored(step)[0])) == []
