"""The saga store on a real Postgres: what a batch promises each of its rows, and what the database refuses by itself."""

from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from typing import Any

import asyncpg
import pytest

from libs.db.pool import Pool, open_pool
from libs.ids import SequentialIds
from libs.saga.flow import StaleWrite, Step
from services.gateway.domain import follow_up, payment_flow, payout, saga
from services.gateway.domain.channel import Outcome, OutcomeKind
from services.gateway.domain.payment import Payment, PaymentState, Verdicts
from services.gateway.domain.saga import Answered, Attempt, AttemptState, CloseCase, OpenCase
from services.gateway.store.sagas import SagaStore
from tests.stateful.world import World, capture_of, refund_of
from tests.unit.services.gateway.domain.orders import DEADLINE, NOW, PAYMENT, PAYOUT

FreshDatabase = Callable[[str], Awaitable[str]]
IDS = SequentialIds()


@pytest.fixture
async def pool(fresh_database: FreshDatabase) -> AsyncIterator[Pool]:
    async with await open_pool(
        await fresh_database("gateway"), size=4, application_name="test"
    ) as opened:
        yield opened


@pytest.fixture
def world(pool: Pool) -> World:
    return World(SagaStore(pool))


def new(*plan: str, request_id: str = "", **columns: Any) -> "Step[Payment, Attempt]":
    payment_id = IDS.new("pay")
    draft = replace(PAYMENT, payment_id=payment_id, request_id=request_id or payment_id, **columns)
    return payment_flow.open_payment(
        draft, Verdicts(risk="ALLOW", case_id="", plan=plan or ("a",)), NOW
    )


def word(kind: OutcomeKind, number: int = 1, attempt: Attempt | None = None) -> Answered:
    return Answered(outcome=Outcome(kind=kind), attempt_number=number, attempt=attempt)


async def stands(world: World, *kinds: OutcomeKind, **columns: Any) -> Payment:
    """A payment of which its channel has said this."""
    step = new(**columns)
    payment: Payment = await world.create("payment", step)
    for kind in kinds:
        taken = await world.offer("payment", payment.payment_id, word(kind), NOW)
        assert taken is not None
        payment = taken.subject
    return payment


async def test_a_row_the_database_refuses_is_refused_alone(world: World, pool: Pool) -> None:
    steps = [new(), new(description="a\0b"), new()]

    first, refused, second = await world.tables["payment"].create(
        [world.saved("payment", step) for step in steps]
    )

    assert (first, second) == (steps[0].subject, steps[2].subject)
    assert isinstance(refused, Exception)
    assert await world.tables["payment"].load(steps[1].subject.payment_id) is None
    assert await pool.fetchval("SELECT count(*) FROM event_log") == 2


async def test_a_request_written_before_is_answered_with_what_stands(
    world: World, pool: Pool
) -> None:
    first = await world.create("payment", new(request_id="order-1"))

    again = await world.create("payment", new(request_id="order-1"))

    assert again == first
    assert await pool.fetchval("SELECT count(*) FROM payment") == 1
    assert await pool.fetchval("SELECT count(*) FROM attempt") == 1


async def test_a_claimed_row_can_no_longer_be_written_by_its_former_owner(world: World) -> None:
    step = new()
    await world.create("payment", step)
    assert step.subject.next_run_at is not None

    [claimed] = await world.claim("payment", step.subject.next_run_at)

    assert claimed.epoch == step.subject.epoch + 1
    with pytest.raises(StaleWrite):
        await world.take("payment", step.subject, step.attempt, saga.CancelRequested(), NOW)


async def test_a_late_success_and_its_refund_and_case_are_one_commit(
    world: World, pool: Pool
) -> None:
    payment = await stands(world, OutcomeKind.DECLINED_HARD)
    _, (attempt,) = await world.load("payment", payment.payment_id)

    for _ in range(2):
        # Twice at once on two replicas, both of which have read the attempt as it stood before.
        await world.offer(
            "payment",
            payment.payment_id,
            word(OutcomeKind.SUCCEEDED, attempt=attempt),
            NOW,
        )

    refunds = await pool.fetch("SELECT * FROM refund")
    assert [(row["origin"], row["state"]) for row in refunds] == [("LATE_SUCCESS", "READY")]
    refund_id = refunds[0]["refund_id"]
    cases = await pool.fetch("SELECT subject_id, reason, closed_at FROM manual_case")
    assert [tuple(case) for case in cases] == [(refund_id, "LATE_SUCCESS", None)]
    assert await pool.fetchval("SELECT count(*) FROM event_log WHERE type LIKE '%late%'") == 1

    assert [each.refund_id for each in await world.claim("refund", NOW)] == [refund_id]
    await world.offer("refund", refund_id, saga.Due(), NOW)
    await world.offer("refund", refund_id, word(OutcomeKind.SUCCEEDED), NOW)
    closed = await pool.fetchrow("SELECT closed_at, resolution FROM manual_case")
    assert closed is not None
    assert tuple(closed) == (NOW, "REFUNDED")


async def test_a_case_is_opened_once_and_closed_by_the_word_that_ends_it(
    world: World, pool: Pool
) -> None:
    step = new()
    await world.create("payment", step)
    payment_id = step.subject.payment_id
    await world.offer("payment", payment_id, word(OutcomeKind.UNKNOWN), DEADLINE)
    row, _ = await world.load("payment", payment_id)
    again = OpenCase(subject_id=payment_id, merchant_id="mer_1", reason="LATE_SUCCESS")
    await world.write(
        "payment", Step(subject=replace(row, version=row.version + 1), beside=(again,))
    )
    assert await pool.fetchval("SELECT reason FROM manual_case") == "OUTCOME_UNKNOWN"

    await world.offer("payment", payment_id, word(OutcomeKind.SUCCEEDED), DEADLINE)

    case = await pool.fetchrow("SELECT closed_at, resolution FROM manual_case")
    assert case is not None
    assert tuple(case) == (DEADLINE, "SUCCEEDED")
    row, _ = await world.load("payment", payment_id)
    nothing = CloseCase(subject_id=payment_id, resolution="otherwise")
    await world.write(
        "payment", Step(subject=replace(row, version=row.version + 1), beside=(nothing,))
    )
    assert await pool.fetchval("SELECT resolution FROM manual_case") == "SUCCEEDED"


async def test_a_capture_whose_success_came_late_can_be_written_whatever_its_payment_is(
    world: World,
) -> None:
    payment = await stands(world, OutcomeKind.AUTHORIZED, capture_later=True)
    _, (attempt,) = await world.load("payment", payment.payment_id)
    early = capture_of(payment, attempt, 1, 300, NOW, final=False)
    late = capture_of(payment, attempt, 2, 200, NOW, final=False)
    for order, kind in ((early, OutcomeKind.SUCCEEDED), (late, OutcomeKind.DECLINED_HARD)):
        await world.create_follow_up(order, NOW)
        await world.offer("capture", order.capture_id, word(kind), NOW)
    await world.offer("payment", payment.payment_id, saga.CancelRequested(), NOW)
    await world.offer("payment", payment.payment_id, word(OutcomeKind.CLOSED), NOW)

    await world.offer("capture", late.capture_id, word(OutcomeKind.SUCCEEDED), NOW)
    row, _ = await world.load("payment", payment.payment_id)
    assert (row.state, row.captured_minor, row.capturing_minor) == ("SUCCEEDED", 300, 200)

    await world.offer("capture", late.capture_id, saga.Forced(to_state="SUCCEEDED"), NOW)
    row, _ = await world.load("payment", payment.payment_id)
    assert (row.captured_minor, row.capturing_minor, row.next_run_at) == (500, 0, None)


async def test_a_payment_whose_last_capture_ends_is_due_at_once(world: World) -> None:
    payment = await stands(world, OutcomeKind.AUTHORIZED, capture_later=True)
    _, (attempt,) = await world.load("payment", payment.payment_id)
    final = capture_of(payment, attempt, 3, 300, NOW, final=True)
    other = capture_of(payment, attempt, 4, 200, NOW, final=False)
    for order in (final, other):
        await world.create_follow_up(order, NOW)
    await world.offer("capture", final.capture_id, word(OutcomeKind.SUCCEEDED), NOW)
    await world.offer("payment", payment.payment_id, saga.Due(), NOW)

    await world.offer("capture", other.capture_id, word(OutcomeKind.SUCCEEDED), DEADLINE)

    [claimed] = await world.claim("payment", DEADLINE)
    assert (claimed.captured_minor, claimed.is_captured) == (500, True)


async def test_the_database_refuses_a_second_good_attempt_of_a_payout(world: World) -> None:
    step = payout.open_payout(PAYOUT, "ALLOW", "", ("a", "b"), NOW)
    await world.create("payout", step)
    for signal in (
        saga.HoldPlaced(),
        word(OutcomeKind.DECLINED_SOFT),
        word(OutcomeKind.SUCCEEDED, 2),
    ):
        await world.offer("payout", PAYOUT.payout_id, signal, NOW)
    row, (first, second) = await world.load("payout", PAYOUT.payout_id)
    assert second.state is AttemptState.SUCCEEDED

    twice = Step(
        subject=replace(row, version=row.version + 1),
        attempts=(replace(first, state=AttemptState.SUCCEEDED),),
    )

    with pytest.raises(asyncpg.UniqueViolationError):
        await world.write("payout", twice)


async def test_a_refused_follow_up_leaves_no_trace(world: World, pool: Pool) -> None:
    payment = await stands(world, OutcomeKind.SUCCEEDED)
    _, (attempt,) = await world.load("payment", payment.payment_id)

    assert await world.create_follow_up(refund_of(payment, attempt, 1, 1_001, NOW), NOW) is None

    assert await pool.fetchval("SELECT count(*) FROM refund") == 0
    row, _ = await world.load("payment", payment.payment_id)
    assert (row.refunded_minor, row.version) == (0, payment.version)


async def test_a_follow_up_asked_for_twice_reserves_once(world: World) -> None:
    payment = await stands(world, OutcomeKind.SUCCEEDED)
    _, (attempt,) = await world.load("payment", payment.payment_id)
    order = refund_of(payment, attempt, 2, 400, NOW)
    first = await world.create_follow_up(order, NOW)

    again = await world.create_follow_up(replace(order, refund_id="ref_other"), NOW)

    assert again == first
    row, _ = await world.load("payment", payment.payment_id)
    assert row.refunded_minor == 400
    assert follow_up.ENDED.isdisjoint({first.state})
    assert row.state is PaymentState.SUCCEEDED
