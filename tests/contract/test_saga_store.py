"""What the gateway's stores promise of any flow's rows, asked of Postgres and of the database in memory that the simulation runs on."""

from dataclasses import replace
from datetime import timedelta

import asyncpg
import pytest

from libs.saga.flow import FAULTS_MAX, LEASE_S, StaleWrite
from libs.saga.table import Saved
from services.gateway.domain import payment as payments
from services.gateway.domain import payout as payouts
from services.gateway.domain import saga
from services.gateway.domain.channel import Outcome, OutcomeKind
from services.gateway.domain.payment import Payment, PaymentState
from services.gateway.domain.payout import Payout
from services.gateway.domain.saga import Answered, Attempt, AttemptState, Step
from tests.contract.saga_support import (
    LEASE,
    NOW,
    Stores,
    answered,
    create,
    due,
    event_types,
    opened,
    paid,
    payment,
    payout,
    saved,
    standing,
)


async def test_a_request_written_before_answers_what_stands_and_writes_nothing(
    stores: Stores,
) -> None:
    first, again, other = opened(payment(1)), opened(payment(2, "order-1")), opened(payment(3))

    await create(stores, first)
    answers = await stores.sagas.payments.create([saved(again), saved(other)])

    assert answers == [first.subject, other.subject]
    assert await stores.sagas.payments.load(again.subject.payment_id) is None
    assert await event_types(stores) == ["payment.created", "payment.created"]


async def test_the_same_request_twice_in_one_batch_is_one_payment(stores: Stores) -> None:
    first, again = opened(payment(1)), opened(payment(2, "order-1"))

    answers = await stores.sagas.payments.create([saved(first), saved(again)])

    assert answers == [first.subject, first.subject]


async def test_a_step_is_written_with_its_attempts_and_events(stores: Stores) -> None:
    step = await create(stores, opened(payment()))
    moved = answered(step, OutcomeKind.DECLINED_SOFT)

    results = await stores.sagas.payments.save([saved(moved)])

    payment_id = moved.subject.payment_id
    assert results == [moved.subject]
    assert await stores.sagas.payments.load(payment_id) == (moved.subject, moved.attempts)
    assert await stores.sagas.payments.attempts_of(payment_id) == moved.attempts
    second = moved.attempts[1]
    assert await stores.sagas.find_attempt("b", second.out_ref) == second
    assert await stores.sagas.find_attempt("a", second.out_ref) is None
    assert await event_types(stores) == ["payment.created", "payment.rerouted"]
    history = await stores.sagas.history(payment_id)
    assert [kind for _, kind in history] == ["payment.created", "payment.rerouted"]


async def test_a_decision_on_an_older_row_is_not_written(stores: Stores) -> None:
    step = await create(stores, opened(payment()))
    first, second = answered(step, OutcomeKind.DECLINED_SOFT), answered(step, OutcomeKind.SUCCEEDED)

    results = await stores.sagas.payments.save([saved(first), saved(second)])
    (late,) = await stores.sagas.payments.save([saved(second)])

    assert results[0] == first.subject
    assert isinstance(results[1], StaleWrite)
    assert isinstance(late, StaleWrite)
    loaded = await stores.sagas.payments.load(first.subject.payment_id)
    assert loaded == (first.subject, first.attempts)
    assert await event_types(stores) == ["payment.created", "payment.rerouted"]


async def test_a_row_taken_over_can_no_longer_be_written_by_its_old_owner(stores: Stores) -> None:
    step = await create(stores, opened(payment()))
    due_at = NOW + LEASE

    assert await stores.sagas.payments.claim(due_at - timedelta(seconds=1), 10) == []
    (taken,) = await stores.sagas.payments.claim(due_at, 10)
    (old,) = await stores.sagas.payments.save([saved(answered(step, OutcomeKind.SUCCEEDED))])

    assert taken == replace(step.subject, epoch=2, faults_count=1, next_run_at=due_at + LEASE)
    assert isinstance(old, StaleWrite)
    assert await stores.sagas.payments.claim(due_at, 10) == []


async def test_the_longest_due_are_taken_first_and_the_ended_never(stores: Stores) -> None:
    for number, waited_s in ((1, 5), (2, 20), (3, 10)):
        await create(stores, due(opened(payment(number)), NOW - timedelta(seconds=waited_s)))
    await paid(stores, 4)

    taken = await stores.sagas.payments.claim(NOW, 2)

    assert {row.request_id for row in taken} == {"order-2", "order-3"}


async def test_each_claim_that_gets_nowhere_waits_twice_as_long_and_the_last_is_the_last(
    stores: Stores,
) -> None:
    await create(stores, due(opened(payment()), NOW))
    table, at = stores.sagas.payments, NOW

    for number in range(FAULTS_MAX):
        (taken,) = await table.claim(at, 10)
        assert taken.faults_count == number + 1
        assert taken.next_run_at == at + timedelta(seconds=LEASE_S * 2**number)
        at = taken.next_run_at

    assert await table.claim(at + timedelta(days=30), 10) == []
    (line,) = await table.backlog()
    assert (line.flow, line.count, line.quarantined_count) == ("payment", 1, 1)
    assert [row.request_id for row in await table.stuck(NOW, 10)] == ["order-1"]


async def test_whoever_is_tried_again_by_a_person_is_taken_up_at_once(stores: Stores) -> None:
    step = await create(stores, due(opened(payment()), NOW, faults_count=FAULTS_MAX))
    table, payment_id = stores.sagas.payments, step.subject.payment_id
    assert await table.claim(NOW, 10) == []

    again = await table.retry(payment_id, NOW)

    assert again is not None
    assert (again.faults_count, again.next_run_at) == (0, NOW)
    assert [row.payment_id for row in await table.claim(NOW, 10)] == [payment_id]


async def test_what_has_ended_is_not_tried_again(stores: Stores) -> None:
    ended = await paid(stores)

    assert await stores.sagas.payments.retry(ended.payment_id, NOW) is None
    assert await stores.sagas.payments.retry("pay_unknown", NOW) is None


async def test_a_fault_is_noted_by_the_owner_and_by_nobody_else(stores: Stores) -> None:
    step = await create(stores, due(opened(payment()), NOW))
    table = stores.sagas.payments
    (taken,) = await table.claim(NOW, 10)

    await table.note_fault(step.subject, "an owner of the past")
    await table.note_fault(taken, "x" * 10_000)

    loaded = await table.load(step.subject.payment_id)
    assert loaded is not None
    assert set(loaded[0].last_fault) == {"x"}
    assert len(loaded[0].last_fault) < 1_000
    assert loaded[0].version == taken.version


async def test_a_stopping_owner_makes_its_rows_due_and_leaves_others_alone(stores: Stores) -> None:
    table = stores.sagas.payments
    mine = (await create(stores, opened(payment(1)))).subject
    lost = (await create(stores, due(opened(payment(2)), NOW))).subject
    (theirs,) = await table.claim(NOW, 10)

    count = await table.hand_over([mine, lost], NOW + timedelta(seconds=1))

    assert count == 1
    (taken,) = await table.claim(NOW + timedelta(seconds=1), 10)
    assert (taken.payment_id, taken.epoch) == (mine.payment_id, 2)
    loaded = await table.load(lost.payment_id)
    assert loaded is not None
    assert loaded[0].next_run_at == theirs.next_run_at


async def test_what_rests_is_not_handed_over(stores: Stores) -> None:
    ended = await paid(stores)

    assert await stores.sagas.payments.hand_over([ended], NOW) == 0


async def test_overdue_rows_are_stuck_and_those_in_time_are_not(stores: Stores) -> None:
    await create(stores, due(opened(payment(1)), NOW - timedelta(minutes=5)))
    await create(stores, opened(payment(2)))

    assert [row.request_id for row in await stores.sagas.payments.stuck(NOW, 10)] == ["order-1"]


async def test_what_has_not_ended_is_counted_by_state(stores: Stores) -> None:
    await paid(stores, 1)
    await create(stores, opened(payment(2)))
    await standing(stores, OutcomeKind.UNKNOWN, 3)
    await standing(stores, OutcomeKind.UNKNOWN, 4)

    lines = {line.state: line for line in await stores.sagas.backlog()}

    assert {state: line.count for state, line in lines.items()} == {"SENT": 1, "UNKNOWN": 2}
    assert lines["SENT"].oldest_at == NOW
    assert await stores.sagas.unknown_by_channel() == {"a": 2}


async def test_what_stands_before_a_person_because_nobody_knows_is_still_unknown(
    stores: Stores,
) -> None:
    for number, (state, reason) in enumerate(
        (
            (PaymentState.MANUAL, saga.OUTCOME_UNKNOWN),
            (PaymentState.MANUAL, saga.AMOUNT_MISMATCH),
            (PaymentState.CANCELED, saga.OUTCOME_UNKNOWN),
        )
    ):
        step = await create(stores, opened(payment(number)))
        moved = payments.moved(step.subject, NOW, state=state, reason=reason)
        await stores.sagas.payments.save([saved(Step(subject=moved))])

    assert await stores.sagas.unknown_by_channel() == {"a": 1}


async def test_attempts_are_rewritten_and_added_by_one_step_and_by_steps_of_one_write(
    stores: Stores,
) -> None:
    """Both in one statement, whoever was first."""
    first, second = [await create(stores, opened(payment(number))) for number in (1, 2)]
    rerouted, paid_at_once = (
        answered(first, OutcomeKind.DECLINED_SOFT),
        answered(second, OutcomeKind.SUCCEEDED),
    )

    await stores.sagas.payments.save([saved(rerouted), saved(paid_at_once)])

    for after in (rerouted, paid_at_once):
        kept = await stores.sagas.payments.attempts_of(after.subject.payment_id)
        assert kept == after.attempts
    assert [each.state for each in rerouted.attempts] == ["DECLINED", "SENT"]


async def test_a_history_is_its_subjects_own(stores: Stores) -> None:
    await paid(stores, 1)
    await create(stores, opened(payment(2)))

    first, second = [await stores.sagas.history(payment(number).payment_id) for number in (1, 2)]

    assert [kind for _, kind in first] == ["payment.created", "payment.succeeded"]
    assert [kind for _, kind in second] == ["payment.created"]


async def test_an_event_told_before_undoes_its_whole_transaction(stores: Stores) -> None:
    step = await create(stores, opened(payment()))
    repeated = Saved(step=answered(step, OutcomeKind.SUCCEEDED), events=saved(step).events)

    with pytest.raises(asyncpg.UniqueViolationError):
        await stores.sagas.payments.save([repeated])

    loaded = await stores.sagas.payments.load(step.subject.payment_id)
    assert loaded == (step.subject, step.attempts)
    assert await event_types(stores) == ["payment.created"]


async def test_a_payout_whose_money_left_twice_keeps_both_words(stores: Stores) -> None:
    table = stores.sagas.payouts
    step = payouts.open_payout(payout(1), "ALLOW", "", ("a", "b"), NOW)
    await table.create([saved(step)])
    signals: list[saga.Signal] = [saga.HoldPlaced()]
    signals += [
        Answered(outcome=Outcome(kind=kind), attempt_number=number)
        for kind, number in (
            (OutcomeKind.DECLINED_SOFT, 1),
            (OutcomeKind.SUCCEEDED, 2),
            (OutcomeKind.SUCCEEDED, 1),
            (OutcomeKind.RETURNED, 1),
        )
    ]

    for signal in signals:
        loaded = await table.load(step.subject.payout_id)
        assert loaded is not None
        subject, attempts = loaded
        current = attempts[-1] if attempts else None
        after = payouts.decide(subject, current, signal.as_of(attempts), NOW)
        assert after is not None
        assert await table.save([saved(after)]) == [after.subject]

    attempts = await table.attempts_of(step.subject.payout_id)
    assert [each.state for each in attempts] == [AttemptState.RETURNED, AttemptState.SUCCEEDED]
    told = (await event_types(stores))[-3:]
    assert told == ["payout.succeeded", "payout.late_success", "payout.late_return"]
    (case,) = await stores.operators.cases_of(step.subject.payout_id)
    assert (case.reason, case.resolution) == ("LATE_SUCCESS", "RETURNED")


async def test_a_number_that_is_anothers_is_refused_and_harms_no_other(stores: Stores) -> None:
    table = stores.sagas.payouts
    steps = [payouts.open_payout(payout(n), "ALLOW", "", ("a", "b"), NOW) for n in (1, 2)]
    await table.create([saved(step) for step in steps])
    first, second = (payouts.decide(each.subject, None, saga.HoldPlaced(), NOW) for each in steps)
    assert first is not None
    assert second is not None
    assert first.attempt is not None
    assert second.attempt is not None
    taken = replace(first.attempt, out_ref=second.attempt.out_ref)

    sent = await table.save([saved(second)])
    bad, good = replace(first, attempts=(taken,)), next_step(second)
    results = await table.save([saved(bad), saved(good)])

    assert sent == [second.subject]
    assert isinstance(results[0], asyncpg.UniqueViolationError)
    assert results[1] == good.subject
    assert await table.load(steps[0].subject.payout_id) == (steps[0].subject, ())


def next_step(step: Step[Payout, Attempt]) -> Step[Payout, Attempt]:
    """A next step of the same, which says nothing."""
    return Step(subject=replace(step.subject, version=step.subject.version + 1))


async def test_a_request_is_found_by_its_merchant(stores: Stores) -> None:
    ended = await paid(stores)
    assert isinstance(ended, Payment)

    assert await stores.sagas.refunds.find_request("mer_1", "back-1") is None
    assert await stores.sagas.captures.find_request("mer_1", "take-1") is None


async def test_a_cursor_moves_only_from_where_its_mover_saw_it(stores: Stores) -> None:
    await paid(stores, 1)
    await paid(stores, 2)
    events = await stores.registry.read_events("", 2)
    first, second = (event.cursor for event in events)

    assert await stores.registry.get_cursor("push") == ""
    assert await stores.registry.move_cursor("push", "", first) == first
    assert await stores.registry.move_cursor("push", "", second) == first
    assert await stores.registry.move_cursor("push", first, second) == second
    rest = await stores.registry.read_events(second, 100)
    assert [event.type for event in rest] == ["payment.created", "payment.succeeded"]


async def test_a_notification_counts_as_applied_once_it_was(stores: Stores) -> None:
    registry = stores.registry
    inbox_id = await registry.receive_callback("a", {"x": "y"}, b"body", NOW)

    assert not await registry.is_callback_applied("a", "e1")
    await registry.settle_callback(inbox_id, event_id="e1", out_ref="p1", result="APPLIED")

    assert await registry.is_callback_applied("a", "e1")
    assert not await registry.is_callback_applied("b", "e1")
    assert await registry.callbacks_of("a", "p1") == [(NOW, "APPLIED")]
