"""The saga store on a real Postgres: what a batch promises each of its rows, and what the database refuses by itself."""

from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from typing import Any

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


async def test_a_case_is_opened_once_and_closed_by_the_word_that_ends_its_matter_alone(
    world: World, pool: Pool
) -> None:
    step = new()
    await world.create("payment", step)
    payment_id = step.subject.payment_id
    await world.offer("payment", payment_id, word(OutcomeKind.UNKNOWN), DEADLINE)

    async def write(*beside: object) -> None:
        row, _ = await world.load("payment", payment_id)
        await world.write(
            "payment", Step(subject=replace(row, version=row.version + 1), beside=beside)
        )

    for reason in ("OUTCOME_UNKNOWN", "LATE_SUCCESS"):
        await write(OpenCase(subject_id=payment_id, merchant_id="mer_1", reason=reason))
    both = await open_cases(pool)

    await world.offer("payment", payment_id, word(OutcomeKind.SUCCEEDED), DEADLINE)

    assert sorted(reason for _, reason in both) == ["LATE_SUCCESS", "OUTCOME_UNKNOWN"]
    assert await open_cases(pool) == [(payment_id, "LATE_SUCCESS")]
    closed = "SELECT closed_at, resolution FROM manual_case WHERE reason = 'OUTCOME_UNKNOWN'"
    case = await pool.fetchrow(closed)
    assert case is not None
    assert tuple(case) == (DEADLINE, "SUCCEEDED")

    await write(CloseCase(subject_id=payment_id, resolution="otherwise"))

    assert await open_cases(pool) == []
    case = await pool.fetchrow(closed)
    assert case is not None
    assert tuple(case) == (DEADLINE, "SUCCEEDED")


async def test_a_capture_whose_success_came_late_is_given_back_whatever_its_payment_is(
    world: World, pool: Pool
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

    for _ in range(2):
        await world.offer("capture", late.capture_id, word(OutcomeKind.SUCCEEDED), NOW)

    row, _ = await world.load("payment", payment.payment_id)
    assert (row.state, row.captured_minor, row.capturing_minor) == ("SUCCEEDED", 300, 0)
    assert (row.refunded_minor, row.next_run_at) == (0, None)
    capture, (told,) = await world.load("capture", late.capture_id)
    assert (capture.state, told.state) == ("FAILED", "SUCCEEDED")
    [refund] = await pool.fetch("SELECT origin, payment_id, amount_minor, state FROM refund")
    assert tuple(refund) == ("LATE_SUCCESS", payment.payment_id, 200, "READY")
    assert await told_late(pool) == ["capture.late_success"]


async def told_late(pool: Pool) -> list[str]:
    found = await pool.fetch("SELECT type FROM event_log WHERE type LIKE '%.late%' ORDER BY seq")
    return [row["type"] for row in found]


async def open_cases(pool: Pool) -> list[tuple[str, str]]:
    found = await pool.fetch("SELECT subject_id, reason FROM manual_case WHERE closed_at IS NULL")
    return [(row["subject_id"], row["reason"]) for row in found]


async def sent_twice(world: World, *kinds: OutcomeKind) -> None:
    """A payout that its first channel refused, and of which its second one has said this."""
    await world.create("payout", payout.open_payout(PAYOUT, "ALLOW", "", ("a", "b"), NOW))
    for signal in (
        saga.HoldPlaced(),
        word(OutcomeKind.DECLINED_SOFT),
        *(word(kind, 2) for kind in kinds),
    ):
        await world.offer("payout", PAYOUT.payout_id, signal, DEADLINE)


@pytest.mark.parametrize("after", [OutcomeKind.SUCCEEDED, OutcomeKind.DECLINED_HARD])
async def test_a_payout_that_left_by_a_channel_that_had_refused_it_is_told_whatever_the_next_one_said(
    world: World, pool: Pool, after: OutcomeKind
) -> None:
    await sent_twice(world, after)
    before, _ = await world.load("payout", PAYOUT.payout_id)

    await world.offer("payout", PAYOUT.payout_id, word(OutcomeKind.SUCCEEDED, 1), DEADLINE)

    row, (first, _) = await world.load("payout", PAYOUT.payout_id)
    assert (row.state, first.state) == (before.state, AttemptState.SUCCEEDED)
    assert await told_late(pool) == ["payout.late_success"]
    assert await open_cases(pool) == [(PAYOUT.payout_id, "LATE_SUCCESS")]


async def test_the_end_of_a_payout_that_nobody_knew_of_does_not_close_the_matter_of_its_late_success(
    world: World, pool: Pool
) -> None:
    await sent_twice(world, OutcomeKind.UNKNOWN)
    row, _ = await world.load("payout", PAYOUT.payout_id)
    assert (row.state, row.reason) == ("MANUAL", "OUTCOME_UNKNOWN")
    await world.offer("payout", PAYOUT.payout_id, word(OutcomeKind.SUCCEEDED, 1), DEADLINE)

    await world.offer("payout", PAYOUT.payout_id, word(OutcomeKind.DECLINED_HARD, 2), DEADLINE)

    assert await told_late(pool) == ["payout.late_success"]
    assert [reason for _, reason in await open_cases(pool)] == ["LATE_SUCCESS"]


async def test_of_two_late_successes_of_a_payout_one_that_comes_back_does_not_close_the_other(
    world: World, pool: Pool
) -> None:
    await sent_twice(world, OutcomeKind.DECLINED_HARD)
    for number in (1, 2):
        await world.offer("payout", PAYOUT.payout_id, word(OutcomeKind.SUCCEEDED, number), DEADLINE)

    await world.offer("payout", PAYOUT.payout_id, word(OutcomeKind.RETURNED, 1), DEADLINE)

    assert await told_late(pool) == [*["payout.late_success"] * 2, "payout.late_return"]
    assert [reason for _, reason in await open_cases(pool)] == ["LATE_SUCCESS"]


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
