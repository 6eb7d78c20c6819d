"""What the gateway's stores promise of money that is captured and given back, of cases, bills and forced steps; memory as Postgres."""

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any

import asyncpg
import pytest

from libs.audit import NewRecord
from libs.saga.flow import StaleWrite
from services.gateway.domain import follow_up, payment_flow, saga
from services.gateway.domain.channel import Outcome, OutcomeKind
from services.gateway.domain.follow_up import FollowUpState
from services.gateway.domain.forcing import Force, ForceState
from services.gateway.domain.payment import Payment, PaymentState, PaymentStep
from services.gateway.domain.saga import Answered, AttemptState, CloseCase, OpenCase, Step
from tests.contract.saga_support import (
    AMOUNT_MINOR,
    DAY,
    NOW,
    Stores,
    authorized,
    capture,
    create,
    event_types,
    opened,
    paid,
    payment,
    refund,
    row,
    saved,
    standing,
    told,
)


async def open_cases(stores: Stores) -> list[tuple[str, str]]:
    found = await stores.operators.list_cases(only_open=True, before=None, limit=10)
    return [(case.subject_id, case.reason) for case in found]


async def test_refunds_share_what_was_paid_and_a_repeat_reserves_nothing(stores: Stores) -> None:
    payment_id = (await paid(stores)).payment_id
    first, second, third = (refund(n, 600, payment_id) for n in (1, 2, 3))
    sagas = stores.sagas

    assert await sagas.create_follow_up(sagas.refunds, first) == first.step.subject
    assert await sagas.create_follow_up(sagas.refunds, second) is None
    assert await sagas.create_follow_up(sagas.refunds, first) == first.step.subject
    assert (await row(stores, payment_id)).refunded_minor == 600

    await told(stores, first, OutcomeKind.DECLINED_HARD)
    assert (await row(stores, payment_id)).refunded_minor == 0
    assert await sagas.create_follow_up(sagas.refunds, third) == third.step.subject
    assert (await event_types(stores))[-3:] == ["refund.created", "refund.failed", "refund.created"]
    assert await sagas.refunds.find_request("mer_1", "back-3") == third.step.subject


async def test_a_refund_that_happens_after_all_takes_nothing_that_may_be_anothers(
    stores: Stores,
) -> None:
    payment_id = (await paid(stores)).payment_id
    asked, other = refund(1, 600, payment_id), refund(2, 600, payment_id)
    sagas = stores.sagas
    await sagas.create_follow_up(sagas.refunds, asked)
    (failed,) = await told(stores, asked, OutcomeKind.DECLINED_HARD)
    assert await sagas.create_follow_up(sagas.refunds, other) == other.step.subject

    *_, late = await told(stores, asked, OutcomeKind.DECLINED_HARD, OutcomeKind.SUCCEEDED)

    assert (late.state, late.version) == (failed.state, failed.version + 1)
    assert (await row(stores, payment_id)).refunded_minor == 600
    assert (await event_types(stores))[-1] == "refund.late_success"
    assert await open_cases(stores) == [(late.refund_id, "LATE_SUCCESS")]


async def test_two_people_close_the_case_of_what_came_late_and_change_nothing_else(
    stores: Stores,
) -> None:
    payment_id = (await paid(stores)).payment_id
    asked = refund(1, 600, payment_id)
    await stores.sagas.create_follow_up(stores.sagas.refunds, asked)
    *_, late = await told(stores, asked, OutcomeKind.DECLINED_HARD, OutcomeKind.SUCCEEDED)

    squared = follow_up.decide(late, None, saga.Forced(to_state=saga.RESOLVED), NOW)
    assert squared is not None
    await stores.sagas.refunds.save([saved(squared)])

    (case,) = await stores.operators.cases_of(late.refund_id)
    assert (case.closed_at, case.resolution) == (NOW, "RESOLVED")
    assert await open_cases(stores) == []
    assert (await row(stores, payment_id)).refunded_minor == 0


async def test_only_an_end_that_says_so_squares_what_an_order_had_reserved(stores: Stores) -> None:
    payment_id = (await authorized(stores)).subject.payment_id
    asked = capture(1, 300, payment_id)
    await stores.sagas.create_follow_up(stores.sagas.captures, asked)
    order = replace(asked.step.subject, state=FollowUpState.FAILED, version=2)

    await stores.sagas.captures.save([saved(Step(subject=order))])
    assert (await row(stores, payment_id)).capturing_minor == 300

    freed = replace(order, version=3)
    end: Step[Any, Any] = Step(subject=freed, beside=(follow_up.Squared(is_taken=False),))
    assert await stores.sagas.captures.save([saved(end)]) == [freed]
    assert (await row(stores, payment_id)).capturing_minor == 0
    (late,) = await stores.sagas.captures.save([saved(end)])
    assert isinstance(late, StaleWrite)
    assert (await row(stores, payment_id)).capturing_minor == 0


@pytest.mark.parametrize("make", [capture, refund])
async def test_what_is_not_there_can_be_neither_captured_nor_refunded(
    stores: Stores, make: Callable[..., Any]
) -> None:
    step = await create(stores, opened(payment()))
    sagas = stores.sagas
    table: Any = sagas.refunds if make is refund else sagas.captures

    assert await sagas.create_follow_up(table, make(1, 1, step.subject.payment_id)) is None
    assert await sagas.create_follow_up(table, make(2, 1, "pay_unknown")) is None


async def test_captures_share_what_is_reserved_and_a_repeat_reserves_nothing(
    stores: Stores,
) -> None:
    payment_id = (await authorized(stores)).subject.payment_id
    first, second, third = (capture(n, 600, payment_id) for n in (1, 2, 3))
    sagas = stores.sagas

    assert await sagas.create_follow_up(sagas.captures, first) == first.step.subject
    assert await sagas.create_follow_up(sagas.captures, second) is None
    assert await sagas.create_follow_up(sagas.captures, first) == first.step.subject
    assert (await row(stores, payment_id)).capturing_minor == 600

    await told(stores, first, OutcomeKind.DECLINED_HARD)
    assert (await row(stores, payment_id)).capturing_minor == 0
    assert await sagas.create_follow_up(sagas.captures, third) == third.step.subject


async def test_a_capture_that_succeeds_is_taken_and_the_last_one_makes_its_payment_due(
    stores: Stores,
) -> None:
    before = (await authorized(stores)).subject
    part, rest = capture(1, 300, before.payment_id), capture(2, 700, before.payment_id)
    for each in (part, rest):
        await stores.sagas.create_follow_up(stores.sagas.captures, each)

    await told(stores, part, OutcomeKind.SUCCEEDED)
    half = await row(stores, before.payment_id)
    assert (half.captured_minor, half.capturing_minor, half.is_captured) == (300, 700, False)
    assert half.next_run_at == before.next_run_at

    await told(stores, rest, OutcomeKind.SUCCEEDED)
    whole = await row(stores, before.payment_id)
    assert (whole.captured_minor, whole.capturing_minor, whole.is_captured) == (1_000, 0, True)
    assert (whole.state, whole.next_run_at) == (PaymentState.AUTHORIZED, NOW)


async def test_after_a_final_capture_nothing_more_is_taken(stores: Stores) -> None:
    payment_id = (await authorized(stores)).subject.payment_id
    final, late = capture(1, 300, payment_id, is_final=True), capture(2, 100, payment_id)
    await stores.sagas.create_follow_up(stores.sagas.captures, final)
    await told(stores, final, OutcomeKind.SUCCEEDED)

    assert (await row(stores, payment_id)).is_captured
    assert await stores.sagas.create_follow_up(stores.sagas.captures, late) is None


async def test_a_decision_on_a_payment_is_stale_once_a_capture_was_reserved(
    stores: Stores,
) -> None:
    step = await authorized(stores)
    closing = payment_flow.decide(step.subject, step.attempt, saga.CancelRequested(), NOW)
    assert closing is not None
    asked = capture(1, 100, step.subject.payment_id)
    await stores.sagas.create_follow_up(stores.sagas.captures, asked)

    (result,) = await stores.sagas.payments.save([saved(closing)])

    assert isinstance(result, StaleWrite)


@pytest.mark.parametrize(
    "wrong",
    [
        {"captured_minor": AMOUNT_MINOR + 1},
        {"captured_minor": -1},
        {"captured_minor": 0, "state": PaymentState.SUCCEEDED},
    ],
    ids=["captured-too-much", "captured-less-than-nothing", "paid-with-nothing"],
)
async def test_the_database_refuses_money_that_cannot_be(
    stores: Stores, wrong: dict[str, Any]
) -> None:
    before = (await authorized(stores)).subject
    step: PaymentStep = Step(subject=replace(before, version=before.version + 1, **wrong))

    with pytest.raises(asyncpg.CheckViolationError):
        await stores.sagas.payments.save([saved(step)])

    assert await row(stores, before.payment_id) == before


async def test_a_capture_that_happens_after_all_is_refunded_and_its_payment_left_alone(
    stores: Stores,
) -> None:
    payment_id = (await authorized(stores)).subject.payment_id
    done, refused = capture(1, 300, payment_id), capture(2, 300, payment_id)
    for each in (done, refused):
        await stores.sagas.create_follow_up(stores.sagas.captures, each)
    await told(stores, done, OutcomeKind.SUCCEEDED)
    await told(stores, refused, OutcomeKind.DECLINED_HARD)
    before = await row(stores, payment_id)
    ended = replace(before, state=PaymentState.SUCCEEDED, version=before.version + 1)
    await stores.sagas.payments.save([saved(Step(subject=ended))])

    *_, late = await told(stores, refused, OutcomeKind.DECLINED_HARD, OutcomeKind.SUCCEEDED)

    assert late.state is FollowUpState.FAILED
    assert await row(stores, payment_id) == ended
    (back,) = await stores.sagas.refunds.claim(NOW, 10)
    assert (back.payment_id, back.amount_minor) == (payment_id, 300)
    assert back.payment_out_ref == saga.out_ref(payment_id, 1)
    assert await open_cases(stores) == [(back.refund_id, "LATE_SUCCESS")]


@pytest.mark.parametrize("kind", [OutcomeKind.SUCCEEDED, OutcomeKind.DECLINED_HARD])
async def test_what_gives_a_late_success_back_is_none_of_its_payments_business(
    stores: Stores, kind: OutcomeKind
) -> None:
    payment_id = (await authorized(stores)).subject.payment_id
    asked = capture(1, 300, payment_id)
    await stores.sagas.create_follow_up(stores.sagas.captures, asked)
    await told(stores, asked, OutcomeKind.DECLINED_HARD, OutcomeKind.SUCCEEDED)
    before = await row(stores, payment_id)
    (back,) = await stores.sagas.refunds.claim(NOW, 10)
    (attempt,) = await stores.sagas.refunds.attempts_of(back.refund_id)

    sent = follow_up.decide(back, attempt, saga.Due(), NOW)
    assert sent is not None
    await stores.sagas.refunds.save([saved(sent)])
    await told(stores, saved(sent), kind)

    assert await row(stores, payment_id) == before
    is_back = kind is OutcomeKind.SUCCEEDED
    assert await open_cases(stores) == ([] if is_back else [(back.refund_id, "LATE_SUCCESS")])


async def test_a_late_success_is_born_with_its_refund_once(stores: Stores) -> None:
    failed = await standing(stores, OutcomeKind.DECLINED_HARD)
    attempt = failed.attempt
    assert attempt is not None
    signal = Answered(outcome=Outcome(kind=OutcomeKind.SUCCEEDED), attempt_number=1)
    late = payment_flow.decide(failed.subject, attempt, signal, NOW)
    assert late is not None
    (born,) = [said for said in late.beside if isinstance(said, Step)]

    assert await stores.sagas.payments.save([saved(late)]) == [late.subject]

    loaded = await stores.sagas.refunds.load(born.subject.refund_id)
    assert loaded == (born.subject, born.attempts)
    (due,) = await stores.sagas.refunds.claim(NOW, 10)
    assert (due.refund_id, due.state) == (born.subject.refund_id, FollowUpState.READY)
    again = replace(
        late, subject=replace(late.subject, version=late.subject.version + 1), events=()
    )
    await stores.sagas.payments.save([saved(again)])
    assert await stores.sagas.refunds.load(born.subject.refund_id) == (due, born.attempts)
    (case,) = await stores.operators.list_cases(only_open=True, before=None, limit=10)
    assert (case.reason, case.opened_at) == ("LATE_SUCCESS", NOW)


async def test_a_matter_has_one_open_case_and_is_closed_by_itself_or_with_all(
    stores: Stores,
) -> None:
    subject = await paid(stores)

    async def say(subject: Payment, *beside: object) -> Payment:
        moved = replace(subject, version=subject.version + 1)
        await stores.sagas.payments.save([saved(Step(subject=moved, beside=beside))])
        return moved

    async def cases() -> list[tuple[str, str]]:
        found = await stores.operators.cases_of(subject.payment_id)
        return sorted((case.reason, case.resolution) for case in found)

    case = OpenCase(subject_id=subject.payment_id, merchant_id="mer_1", reason="ODD")
    close = CloseCase(subject_id=subject.payment_id, resolution="SQUARED", reason="ODD")
    subject = await say(subject, case)
    subject = await say(subject, case)
    subject = await say(subject, replace(case, reason="ODDER"))
    assert await cases() == [("ODD", ""), ("ODDER", "")]

    subject = await say(subject, close)
    subject = await say(subject, close)
    assert await cases() == [("ODD", "SQUARED"), ("ODDER", "")]

    subject = await say(subject, case)
    await say(subject, replace(close, resolution="ALL", reason=""))
    assert await cases() == [("ODD", "ALL"), ("ODD", "SQUARED"), ("ODDER", "ALL")]


async def test_attempts_without_a_definite_word_are_found_by_channel_and_day(
    stores: Stores,
) -> None:
    unknown = await standing(stores, OutcomeKind.UNKNOWN, 1)
    await standing(stores, OutcomeKind.SUCCEEDED, 2)
    await standing(stores, OutcomeKind.AUTHORIZED, 3, capture_later=True)
    sagas, before = stores.sagas, NOW - timedelta(seconds=1)

    found = await sagas.unknown_attempts("a", NOW, NOW + DAY)

    assert [(each.subject_id, each.state) for each in found] == [
        (unknown.subject.payment_id, AttemptState.UNKNOWN)
    ]
    assert await sagas.unknown_attempts("b", NOW, NOW + DAY) == []
    assert await sagas.unknown_attempts("a", before, NOW) == []


async def test_a_bill_has_told_all_once_it_was_told_so(stores: Stores) -> None:
    day = NOW.date()

    assert not await stores.sagas.is_bill_told("a", day)
    await stores.sagas.tell_bill("a", day, NOW)
    await stores.sagas.tell_bill("a", day, NOW)

    assert await stores.sagas.is_bill_told("a", day)
    assert not await stores.sagas.is_bill_told("b", day)
    assert not await stores.sagas.is_bill_told("a", day + DAY)


def force(number: int = 1, **changes: Any) -> Force:
    made = Force(
        force_id=f"for_{number}",
        request_id=f"force-{number}",
        subject_id="pay_1",
        subject_version=3,
        subject_state="UNKNOWN",
        subject_reason="",
        to_state="FAILED",
        note="seen",
        maker_id="alice",
        proposed_at=NOW,
    )
    return replace(made, **changes)


def record(action: str) -> NewRecord:
    return NewRecord(at=NOW, actor_id="alice", action=action, subject_id="pay_1", detail={})


async def test_a_proposal_stands_once_with_its_record_and_is_decided_once(stores: Stores) -> None:
    operators, wish = stores.operators, force()
    assert await operators.add_force(wish, record("FORCE_PROPOSED")) == wish
    other = replace(wish, force_id="for_2", note="another wish")
    assert await operators.add_force(other, record("FORCE_PROPOSED")) == wish

    approved = replace(wish, checker_id="bob")
    assert await operators.write_decision(wish, approved, record("FORCE_APPROVED"))
    rival = replace(wish, checker_id="carol")
    assert not await operators.write_decision(wish, rival, record("FORCE_APPROVED"))
    applied = replace(approved, state=ForceState.APPLIED, decided_at=NOW)
    assert await operators.write_decision(approved, applied, record("FORCE_APPLIED"))

    assert await operators.get_force("for_1") == applied
    assert await operators.find_force("force-1") == applied
    assert await operators.find_force("force-2") is None
    assert await operators.list_forces("PROPOSED", "", 10) == []
    assert await operators.list_forces("", "", 10) == [applied]
    records = await operators.list_records("pay_1", 0, 10)
    actions = [each.action for each in reversed(records)]
    assert actions == ["FORCE_PROPOSED", "FORCE_APPROVED", "FORCE_APPLIED"]
    verdict = await operators.check_chain()
    assert (verdict.records_count, verdict.first_broken_number) == (3, 0)
    assert not await operators.is_superseded(applied)
    assert await operators.is_superseded(force(2, subject_version=2))


async def test_the_database_refuses_a_checker_who_is_the_maker(stores: Stores) -> None:
    wish = force()
    await stores.operators.add_force(wish, record("FORCE_PROPOSED"))

    with pytest.raises(asyncpg.CheckViolationError):
        await stores.operators.write_decision(
            wish, replace(wish, checker_id="alice"), record("FORCE_APPROVED")
        )

    assert (await stores.operators.check_chain()).records_count == 1
