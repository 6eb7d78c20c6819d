"""What the gateway's stores promise, asked of Postgres and of the database in memory that the simulation runs on."""

from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

import asyncpg
import pytest

from libs.db.pool import open_pool
from services.gateway.domain import payment as payments
from services.gateway.domain import payout as payouts
from services.gateway.domain import refund as refunds
from services.gateway.domain import saga
from services.gateway.domain.channel import Outcome, OutcomeKind
from services.gateway.domain.errors import StaleWrite
from services.gateway.domain.payment import Payment, PaymentState, PaymentStep, Verdicts
from services.gateway.domain.payout import Payout, PayoutState
from services.gateway.domain.refund import Refund, RefundState
from services.gateway.domain.saga import Answered, AttemptState
from services.gateway.handlers import messages
from services.gateway.store.registry import Registry
from services.gateway.store.sagas import NewSaga, SagaStore, SavedStep
from tests.simulation.database import Database
from tests.simulation.stores import MemoryRegistry, MemoryStore

NOW = datetime(2026, 11, 11, 4, 0, tzinfo=UTC)
LEASE = timedelta(seconds=saga.LEASE_S)
DAY = timedelta(days=1)


@dataclass
class Stores:
    """Both stores over one database."""

    sagas: SagaStore
    registry: Registry


@pytest.fixture(params=["memory", "postgres"])
async def stores(
    request: pytest.FixtureRequest, fresh_database: Callable[[str], Awaitable[str]]
) -> AsyncIterator[Stores]:
    if request.param == "memory":
        database = Database()
        yield Stores(MemoryStore(database), MemoryRegistry(database))
        return
    url = await fresh_database("gateway")
    async with await open_pool(url, size=4, application_name="test") as pool:
        yield Stores(SagaStore(pool), Registry(pool))


def payment(number: int = 1, request_id: str = "", plan: tuple[str, ...] = ("a", "b")) -> Payment:
    return Payment(
        payment_id=f"pay_{number:026d}",
        merchant_id="mer_1",
        request_id=request_id or f"order-{number}",
        fingerprint="f",
        order_ref="",
        description="",
        amount_minor=1_000,
        currency="CNY",
        method="CARD",
        payer_token="",
        state=PaymentState.SENT,
        evaluation_id=f"mer_1:order-{number}",
        plan=plan,
        created_at=NOW,
        updated_at=NOW,
        expires_at=NOW + timedelta(minutes=15),
        hard_deadline_at=NOW + DAY,
        next_run_at=None,
    )


def opened(draft: Payment) -> PaymentStep:
    return payments.open_payment(draft, Verdicts(risk="ALLOW", case_id="", plan=draft.plan), NOW)


def answered(step: PaymentStep, kind: OutcomeKind) -> PaymentStep:
    attempt = step.attempt
    assert attempt is not None
    signal = Answered(outcome=Outcome(kind=kind), attempt_number=attempt.number, latency_ms=5)
    after = payments.decide(step.subject, attempt, signal, NOW)
    assert after is not None
    return after


def new(step: PaymentStep) -> NewSaga[Payment]:
    return NewSaga(step=step, events=messages.encode_payment_events(step))


def saved(step: PaymentStep) -> SavedStep[Payment]:
    return SavedStep(step=step, events=messages.encode_payment_events(step))


def refund(number: int, amount_minor: int, payment_id: str) -> NewSaga[Refund]:
    step = refunds.open_refund(
        Refund(
            refund_id=f"ref_{number:026d}",
            payment_id=payment_id,
            merchant_id="mer_1",
            request_id=f"back-{number}",
            fingerprint="f",
            amount_minor=amount_minor,
            currency="CNY",
            note="",
            state=RefundState.SENT,
            channel_id="a",
            payment_out_ref="p1",
            payment_amount_minor=1_000,
            created_at=NOW,
            updated_at=NOW,
            hard_deadline_at=NOW + DAY,
            next_run_at=NOW + LEASE,
        ),
        NOW,
    )
    return NewSaga(step=step, events=messages.encode_refund_events(step))


async def paid(stores: Stores, number: int = 1) -> Payment:
    step = opened(payment(number))
    await stores.sagas.payments.create([new(step)])
    after = answered(step, OutcomeKind.SUCCEEDED)
    await stores.sagas.payments.save([saved(after)])
    return after.subject


async def refund_answered(
    stores: Stores, asked: NewSaga[Refund], *kinds: OutcomeKind
) -> list[Refund | BaseException]:
    results: list[Refund | BaseException] = []
    subject, attempt = asked.step.subject, asked.step.attempt
    for kind in kinds:
        signal = Answered(outcome=Outcome(kind=kind), attempt_number=1)
        step = refunds.decide(subject, attempt, signal, NOW)
        assert step is not None
        events = messages.encode_refund_events(step)
        results += await stores.sagas.refunds.save([SavedStep(step=step, events=events)])
        subject, attempt = step.subject, step.attempt
    return results


async def refunded_minor(stores: Stores, payment_id: str) -> int:
    loaded = await stores.sagas.payments.load(payment_id)
    assert loaded is not None
    return loaded[0].refunded_minor


async def event_types(stores: Stores) -> list[str]:
    return [event.type for event in await stores.registry.read_events("", 100)]


async def test_a_request_written_before_answers_what_stands_and_writes_nothing(
    stores: Stores,
) -> None:
    first, again, other = opened(payment(1)), opened(payment(2, "order-1")), opened(payment(3))

    await stores.sagas.payments.create([new(first)])
    answers = await stores.sagas.payments.create([new(again), new(other)])

    assert answers == [first.subject, other.subject]
    assert await stores.sagas.payments.load(again.subject.payment_id) is None
    assert await event_types(stores) == ["payment.created", "payment.created"]


async def test_the_same_request_twice_in_one_batch_is_one_payment(stores: Stores) -> None:
    first, again = opened(payment(1)), opened(payment(2, "order-1"))

    answers = await stores.sagas.payments.create([new(first), new(again)])

    assert answers == [first.subject, first.subject]


async def test_a_step_is_written_with_its_attempts_and_events(stores: Stores) -> None:
    step = opened(payment())
    await stores.sagas.payments.create([new(step)])
    moved = answered(step, OutcomeKind.DECLINED_SOFT)

    results = await stores.sagas.payments.save([saved(moved)])

    assert results == [moved.subject]
    assert await stores.sagas.payments.load(moved.subject.payment_id) == (
        moved.subject,
        moved.attempts,
    )
    assert await stores.sagas.attempts_of(moved.subject.payment_id) == moved.attempts
    second = moved.attempts[1]
    assert await stores.sagas.find_attempt("b", second.out_ref) == second
    assert await stores.sagas.find_attempt("a", second.out_ref) is None
    assert await event_types(stores) == ["payment.created", "payment.rerouted"]
    told = await stores.sagas.history(moved.subject.payment_id)
    assert [kind for _, kind in told] == ["payment.created", "payment.rerouted"]


async def test_a_decision_on_an_older_row_is_not_written(stores: Stores) -> None:
    step = opened(payment())
    await stores.sagas.payments.create([new(step)])
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
    step = opened(payment())
    await stores.sagas.payments.create([new(step)])
    due_at = NOW + LEASE

    assert await stores.sagas.payments.claim(due_at - timedelta(seconds=1), due_at, 10) == []
    (taken,) = await stores.sagas.payments.claim(due_at, due_at + LEASE, 10)
    (old,) = await stores.sagas.payments.save([saved(answered(step, OutcomeKind.SUCCEEDED))])

    assert taken == replace(step.subject, epoch=2, next_run_at=due_at + LEASE)
    assert isinstance(old, StaleWrite)
    assert await stores.sagas.payments.claim(due_at, due_at + LEASE, 10) == []


async def test_the_longest_due_are_taken_first_and_the_ended_never(stores: Stores) -> None:
    for number, waited_s in ((1, 5), (2, 20), (3, 10)):
        step = opened(payment(number))
        due_at = NOW - timedelta(seconds=waited_s)
        waiting = replace(step, subject=replace(step.subject, next_run_at=due_at))
        await stores.sagas.payments.create([new(waiting)])
    await paid(stores, 4)

    taken = await stores.sagas.payments.claim(NOW, NOW + LEASE, 2)

    assert {row.request_id for row in taken} == {"order-2", "order-3"}


async def test_refunds_share_what_was_paid_and_a_repeat_reserves_nothing(stores: Stores) -> None:
    payment_id = (await paid(stores)).payment_id
    first, second, third = (refund(n, 600, payment_id) for n in (1, 2, 3))

    assert await stores.sagas.create_refund(first) == first.step.subject
    assert await stores.sagas.create_refund(second) is None
    assert await stores.sagas.create_refund(first) == first.step.subject
    assert await refunded_minor(stores, payment_id) == 600

    await refund_answered(stores, first, OutcomeKind.DECLINED_HARD)
    assert await refunded_minor(stores, payment_id) == 0
    assert await stores.sagas.create_refund(third) == third.step.subject
    assert (await event_types(stores))[-3:] == ["refund.created", "refund.failed", "refund.created"]


async def test_a_refund_that_happens_after_all_is_reserved_again(stores: Stores) -> None:
    payment_id = (await paid(stores)).payment_id
    asked = refund(1, 600, payment_id)
    await stores.sagas.create_refund(asked)

    results = await refund_answered(stores, asked, OutcomeKind.DECLINED_HARD, OutcomeKind.SUCCEEDED)

    assert isinstance(results[-1], Refund)
    assert results[-1].reason == refunds.LATE_SUCCESS
    assert await refunded_minor(stores, payment_id) == 600


async def test_what_is_not_paid_cannot_be_refunded(stores: Stores) -> None:
    step = opened(payment())
    await stores.sagas.payments.create([new(step)])

    assert await stores.sagas.create_refund(refund(1, 1, step.subject.payment_id)) is None
    assert await stores.sagas.create_refund(refund(2, 1, "pay_unknown")) is None


def paid_out_twice(number: int) -> SavedStep[Payout]:
    """A step that says of both attempts of a payout that they succeeded."""
    draft = Payout(
        payout_id=f"pout_{number:026d}",
        merchant_id="mer_1",
        request_id=f"salary-{number}",
        fingerprint="f",
        amount_minor=100,
        currency="CNY",
        payee_account="6222000011112222",
        payee_name="payee",
        payee_bank_code="",
        description="",
        state=PayoutState.HOLDING,
        evaluation_id=f"mer_1:payout:{number}",
        plan=("a", "b"),
        created_at=NOW,
        updated_at=NOW,
        hard_deadline_at=NOW + DAY,
        next_run_at=None,
    )
    attempts = tuple(
        replace(
            saga.first_attempt(draft.payout_id, "PAYOUT", channel_id, attempt_number, NOW),
            state=AttemptState.SUCCEEDED,
        )
        for attempt_number, channel_id in ((1, "a"), (2, "b"))
    )
    return SavedStep(step=saga.Step(subject=draft, attempts=attempts), events=())


async def test_a_payout_that_succeeds_twice_is_refused_and_harms_no_other(stores: Stores) -> None:
    table = stores.sagas.payouts
    steps = [
        payouts.open_payout(paid_out_twice(n).step.subject, "ALLOW", "", ("a", "b"), NOW)
        for n in (1, 2)
    ]
    await table.create(
        [NewSaga(step=step, events=messages.encode_payout_events(step)) for step in steps]
    )
    bad = paid_out_twice(1)
    moved = replace(steps[0].subject, version=steps[0].subject.version + 1)
    sent = payouts.decide(steps[1].subject, None, saga.HoldPlaced(), NOW)
    assert sent is not None

    results = await table.save(
        [
            SavedStep(step=replace(bad.step, subject=moved), events=()),
            SavedStep(step=sent, events=messages.encode_payout_events(sent)),
        ]
    )

    assert isinstance(results[0], asyncpg.UniqueViolationError)
    assert results[1] == sent.subject
    assert await table.load(steps[0].subject.payout_id) == (steps[0].subject, ())


async def test_an_event_told_before_undoes_its_whole_transaction(stores: Stores) -> None:
    step = opened(payment())
    await stores.sagas.payments.create([new(step)])
    repeated = SavedStep(
        step=answered(step, OutcomeKind.SUCCEEDED), events=messages.encode_payment_events(step)
    )

    with pytest.raises(asyncpg.UniqueViolationError):
        await stores.sagas.payments.save([repeated])

    loaded = await stores.sagas.payments.load(step.subject.payment_id)
    assert loaded == (step.subject, step.attempts)
    assert await event_types(stores) == ["payment.created"]


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
