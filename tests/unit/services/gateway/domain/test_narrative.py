"""Histories in words: an on-call must understand them at three in the morning."""

import dataclasses
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

from services.gateway.domain import narrative, saga
from services.gateway.domain.cases import Case, FollowUpLine
from services.gateway.domain.narrative import Deed, Sources
from services.gateway.domain.payment import PaymentState
from services.gateway.domain.saga import Attempt, AttemptState
from tests.unit.services.gateway.domain import orders
from tests.unit.services.gateway.domain.orders import NOW

PAYMENT = dataclasses.replace(orders.PAYMENT, plan=("a", "b"), state=PaymentState.MANUAL)
LATER = NOW + timedelta(hours=1)


def at(seconds: float) -> Any:
    return NOW + timedelta(seconds=seconds)


def attempt(number: int, channel_id: str, **changes: Any) -> Attempt:
    made = saga.first_attempt(PAYMENT.payment_id, "PAYMENT", channel_id, number, at(number))
    return dataclasses.replace(made, **changes)


def deed(seconds: float, actor_id: str, action: str, **detail: str) -> Deed:
    return Deed(at=at(seconds), actor_id=actor_id, action=action, detail=detail)


def tell(subject: Any = PAYMENT, attempts: Sequence[Attempt] = (), **more: Any) -> list[str]:
    sources = Sources(
        flow=more.pop("flow", "payment"),
        subject=subject,
        attempts=tuple(attempts),
        **{
            name: more.get(name, ())
            for name in ("events", "callbacks", "follow_ups", "cases", "deeds")
        },
    )
    return [text for _, text in narrative.tell(sources, LATER)]


def test_a_payment_that_took_two_channels_reads_from_its_wish_to_its_end() -> None:
    first = attempt(
        1, "a", state=AttemptState.DECLINED, code="BUSY", latency_ms=12, answered_at=at(2)
    )
    second = attempt(
        2, "b", state=AttemptState.SUCCEEDED, provider_ref="B77", latency_ms=80, answered_at=at(4)
    )
    lines = tell(
        dataclasses.replace(PAYMENT, state=PaymentState.SUCCEEDED),
        [first, second],
        events=[
            (NOW, "payment.created"),
            (at(2), "payment.rerouted"),
            (at(4), "payment.succeeded"),
        ],
        callbacks=[(at(5), 2, "APPLIED"), (at(6), 2, "DUPLICATE")],
    )

    assert lines == [
        "Payment of 10.00 CNY by CARD asked for by mer_1 over a, then b.",
        f"Attempt 1: sent to a as {first.out_ref}.",
        "Attempt 1: a first answered after 12 ms; known now: DECLINED (BUSY).",
        "Definitely refused there: goes on to the next channel.",
        f"Attempt 2: sent to b as {second.out_ref}.",
        "Attempt 2: b first answered after 80 ms; known now: SUCCEEDED, its number B77.",
        "Succeeded.",
        "b notified us of attempt 2: taken in.",
        "b notified us of attempt 2: heard before, nothing changed.",
    ]


def test_a_forced_payment_names_both_people_and_its_case() -> None:
    lines = tell(
        dataclasses.replace(PAYMENT, state=PaymentState.SUCCEEDED, reason="FORCED"),
        [attempt(1, "a", state=AttemptState.SUCCEEDED, code="FORCED", answered_at=at(14))],
        events=[
            (NOW, "payment.created"),
            (at(10), "payment.manual"),
            (at(14), "payment.succeeded"),
        ],
        cases=[
            Case(
                case_id="case_1",
                subject_id=PAYMENT.payment_id,
                merchant_id="mer_1",
                reason="OUTCOME_UNKNOWN",
                opened_at=at(10),
                closed_at=at(14),
                resolution="SUCCEEDED",
            )
        ],
        deeds=[
            deed(11, "maker", "SAGA_RETRIED"),
            deed(
                12, "maker", "FORCE_PROPOSED", force_id="for_1", to_state="SUCCEEDED", note="bill"
            ),
            deed(13, "checker", "FORCE_APPROVED", force_id="for_1", note=""),
            deed(14, "checker", "FORCE_APPLIED", force_id="for_1", to_state="SUCCEEDED"),
        ],
    )

    assert lines[2:] == [
        "Stands before a person.",
        "Case case_1 opened: OUTCOME_UNKNOWN.",
        "maker had it tried again.",
        "maker proposed to force it to SUCCEEDED (for_1): bill.",
        "checker approved for_1.",
        "Attempt 1: SUCCEEDED now, by a forced step.",
        "Succeeded: FORCED.",
        "Case case_1 closed: SUCCEEDED.",
        "Forced to SUCCEEDED as for_1 says.",
    ]


def test_what_waits_says_when_it_is_asked_again() -> None:
    waiting = dataclasses.replace(PAYMENT, state=PaymentState.UNKNOWN, next_run_at=LATER)

    lines = tell(waiting, [attempt(1, "a")])

    assert lines[-2:] == [
        "Attempt 1: a has not answered.",
        "Now UNKNOWN; due 2026-11-11 05:00:00 UTC.",
    ]


def test_quarantine_is_told_last_with_what_broke() -> None:
    broken = dataclasses.replace(
        PAYMENT, next_run_at=LATER, faults_count=8, last_fault=f"KeyError: 'a'\n{'x' * 500}"
    )

    last = tell(broken)[-1]

    assert last.startswith("In quarantine: taken up 8 times without a step: KeyError: 'a' xxx")
    assert len(last) < 250
    assert "\n" not in last


def test_refunds_and_captures_stand_in_their_payments_history() -> None:
    line = FollowUpLine(
        flow="refund",
        subject_id="ref_1",
        amount_minor=250,
        currency="CNY",
        state="UNKNOWN",
        created_at=at(9),
    )

    assert tell(follow_ups=[line])[-1] == "Refund ref_1 of 2.50 CNY asked for; it is UNKNOWN now."


def test_a_word_of_a_later_release_is_told_as_it_is() -> None:
    lines = tell(
        events=[(NOW, "payment.created"), (at(1), "payment.blessed")],
        deeds=[deed(2, "maker", "SAGA_BLESSED")],
    )

    assert lines[1:] == ["payment.blessed.", "maker: SAGA_BLESSED."]


def test_what_risk_held_up_says_when_it_was_let_through() -> None:
    lines = tell(events=[(NOW, "payment.review"), (at(60), "payment.created")])

    assert lines[1:] == [
        "Risk wants a person to look at it first.",
        "Let through: on its way to a channel.",
    ]
