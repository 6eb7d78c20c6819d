"""The saga store on a real Postgres: what a batch promises each of its rows."""

import dataclasses
from collections.abc import Awaitable, Callable

import pytest

from libs.db.pool import Pool, open_pool
from libs.ids import SequentialIds
from services.gateway.domain import payment as payments
from services.gateway.domain import saga
from services.gateway.domain.errors import StaleWrite
from services.gateway.domain.payment import Payment, Verdicts
from services.gateway.handlers import messages
from services.gateway.store.sagas import NewSaga, SagaStore, SavedStep
from tests.unit.services.gateway.domain.test_payment import DRAFT, NOW

FreshDatabase = Callable[[str], Awaitable[str]]
IDS = SequentialIds()


@pytest.fixture
async def pool(fresh_database: FreshDatabase) -> Pool:
    return await open_pool(await fresh_database("gateway"), size=4, application_name="test")


def new(description: str = "", request_id: str = "") -> NewSaga[Payment]:
    payment_id = IDS.new("pay")
    draft = dataclasses.replace(
        DRAFT,
        payment_id=payment_id,
        request_id=request_id or payment_id,
        description=description,
    )
    step = payments.open_payment(draft, Verdicts(risk="ALLOW", case_id="", plan=("a",)), NOW)
    return NewSaga(step=step, events=messages.encode_payment_events(step))


async def test_a_row_the_database_refuses_is_refused_alone(pool: Pool) -> None:
    table = SagaStore(pool).payments
    good, bad, also_good = new(), new(description="a\0b"), new()

    first, refused, second = await table.create([good, bad, also_good])

    assert (first, second) == (good.step.subject, also_good.step.subject)
    assert isinstance(refused, Exception)
    assert await table.load(bad.step.subject.payment_id) is None
    assert await pool.fetchval("SELECT count(*) FROM event_log") == 2


async def test_a_request_written_before_is_answered_with_what_stands(pool: Pool) -> None:
    table = SagaStore(pool).payments
    first, again = new(request_id="order-1"), new(request_id="order-1")

    [stored] = await table.create([first])
    answers = await table.create([again, new()])

    assert stored == first.step.subject
    assert answers[0] == first.step.subject
    assert await pool.fetchval("SELECT count(*) FROM payment") == 2
    assert await pool.fetchval("SELECT count(*) FROM attempt") == 2


async def test_only_the_first_of_two_steps_from_the_same_version_is_written(pool: Pool) -> None:
    table = SagaStore(pool).payments
    created = new()
    await table.create([created])
    steps = [
        payments.decide(created.step.subject, created.step.attempt, signal, NOW)
        for signal in (saga.CancelRequested(), saga.Due())
    ]
    saved = [SavedStep(step=step, events=()) for step in steps if step is not None]

    written, stale = await table.save(saved)

    assert written == saved[0].step.subject
    assert isinstance(stale, StaleWrite)


async def test_a_claimed_row_can_no_longer_be_written_by_its_former_owner(pool: Pool) -> None:
    table = SagaStore(pool).payments
    created = new()
    await table.create([created])
    due_at = created.step.subject.next_run_at
    assert due_at is not None

    [claimed] = await table.claim(due_at, due_at, 10)
    step = payments.decide(created.step.subject, created.step.attempt, saga.CancelRequested(), NOW)
    assert step is not None
    [fenced] = await table.save([SavedStep(step=step, events=())])

    assert claimed.epoch == created.step.subject.epoch + 1
    assert isinstance(fenced, StaleWrite)
