"""What clearing makes of the gateway's facts about money that moved late: items that settle to nobody."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from libs.events import feed
from libs.events.log import StoredEvent
from services.clearing.domain.model import ItemKind, Succeeded
from services.clearing.workers import facts
from services.gateway.domain import follow_up, saga
from services.gateway.domain.channel import OutcomeKind
from services.gateway.domain.saga import Step
from services.gateway.handlers import messages
from tests.unit.services.gateway.domain.orders import (
    AMOUNT_MINOR,
    NOW,
    PAYMENT,
    Walk,
    answered,
    capture,
    pay,
    refund,
    sent_out,
)

LATER = NOW + timedelta(days=2)
ENCODERS = {
    "payment": messages.encode_payment_events,
    "capture": messages.encode_capture_events,
    "refund": messages.encode_refund_events,
    "payout": messages.encode_payout_events,
}


def items(*steps: "Step[Any, Any]") -> list[Succeeded]:
    """What clearing reads of these steps in the gateway's feed."""
    told: list[StoredEvent] = []
    for step in steps:
        encode: Any = ENCODERS[step.events[0].partition(".")[0]]
        told += [
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
            for event in encode(step)
        ]
    return list(facts(feed._response(told, "").events))


def late_success(walk: "Walk[Any]") -> "Step[Any, Any]":
    walk.told(OutcomeKind.DECLINED_HARD)
    step: Step[Any, Any] = walk.at(LATER).told(OutcomeKind.SUCCEEDED, latency_ms=None)
    return step


@pytest.mark.parametrize(
    ("start", "kind", "amount_minor", "payment_id"),
    [
        (lambda: pay("a"), ItemKind.PAYMENT, AMOUNT_MINOR, PAYMENT.payment_id),
        (lambda: capture(amount_minor=300), ItemKind.PAYMENT, 300, PAYMENT.payment_id),
        (lambda: refund(amount_minor=100), ItemKind.REFUND, 100, PAYMENT.payment_id),
        (sent_out, ItemKind.PAYOUT, AMOUNT_MINOR, ""),
    ],
    ids=["payment", "capture", "refund", "payout"],
)
def test_what_moved_late_is_matched_with_the_bill_and_settled_to_nobody(
    start: "Callable[[], Walk[Any]]", kind: ItemKind, amount_minor: int, payment_id: str
) -> None:
    step = late_success(start())
    [attempt] = step.attempts

    [item] = items(step)

    assert (item.kind, item.settles) == (kind, False)
    assert (item.amount_minor, item.payment_id) == (amount_minor, payment_id)
    # The bill names it by the number it was sent under, on the day that the channel carried it out.
    assert (item.channel_id, item.out_ref) == ("a", attempt.out_ref)
    assert (item.subject_id, item.succeeded_at) == (attempt.attempt_id, LATER)


def test_a_late_payout_and_its_return_are_two_items_of_one_number() -> None:
    walk = sent_out()

    left, back = items(
        late_success(walk), walk.told(OutcomeKind.RETURNED, latency_ms=None, code="ACCOUNT_CLOSED")
    )

    assert (left.kind, back.kind) == (ItemKind.PAYOUT, ItemKind.PAYOUT_RETURN)
    assert left.out_ref == back.out_ref
    assert back.subject_id == f"{left.subject_id}:return"
    assert (left.settles, back.settles) == (False, False)


def test_a_payout_that_left_twice_and_came_back_twice_is_four_items() -> None:
    walk = sent_out("a", "b")
    walk.told(OutcomeKind.DECLINED_SOFT)

    def earlier(kind: OutcomeKind) -> "Step[Any, Any]":
        word = answered(kind, number=1, latency_ms=None, attempt=walk.attempts[1])
        step: Step[Any, Any] = walk.hear(word)
        return step

    found = items(
        earlier(OutcomeKind.SUCCEEDED),
        walk.told(OutcomeKind.SUCCEEDED),
        earlier(OutcomeKind.RETURNED),
        walk.told(OutcomeKind.RETURNED),
    )

    assert [(each.kind, each.channel_id, each.settles) for each in found] == [
        (ItemKind.PAYOUT, "a", False),
        (ItemKind.PAYOUT, "b", True),
        (ItemKind.PAYOUT_RETURN, "a", False),
        (ItemKind.PAYOUT_RETURN, "b", True),
    ]
    assert len({each.subject_id for each in found}) == 4


@pytest.mark.parametrize("start", [lambda: pay("a"), capture], ids=["payment", "capture"])
def test_what_gives_a_late_success_back_settles_to_nobody_either(
    start: "Callable[[], Walk[Any]]",
) -> None:
    late = late_success(start())
    [born] = [each for each in late.beside if isinstance(each, Step)]
    back: Walk[Any] = Walk(follow_up.decide, born).at(LATER)
    back.hear(saga.Due())

    taken, given = items(late, back.told(OutcomeKind.SUCCEEDED))

    assert (given.kind, given.settles) == (ItemKind.REFUND, False)
    assert given.amount_minor == taken.amount_minor
