"""Batches are settled once, by the ledger's word, whatever dies or is lost on the way."""

import asyncio
from datetime import UTC, datetime, timedelta

from fisc.clearing.v1 import clearing_pb2 as pb
from libs.saga.flow import FAULTS_MAX
from libs.testing import eventually
from tests.integration.clearing.days import (
    assert_batches_are_the_sum_of_their_items,
    assert_vouchers_balance,
    good_day,
)
from tests.integration.clearing.facts import DAY
from tests.integration.clearing.support import House, simpay

SETTLED = pb.Batch.STATE_SETTLED


async def states(house: House) -> list[int]:
    return [batch.state for batch in await house.batches()]


async def all_settled(house: House) -> bool:
    found = await states(house)
    return bool(found) and set(found) == {SETTLED}


async def make_all_due(house: House) -> None:
    """The time has come for whatever waits or was left behind by one that died."""
    await house.pool.execute(
        "UPDATE batch SET next_run_at = now() - interval '1 s' WHERE next_run_at IS NOT NULL"
    )


async def assert_settled_once(house: House) -> None:
    assert await house.posted("merchant/mer_1/available/CNY") == 25_844
    assert await house.posted("merchant/mer_2/available/CNY") == 4_970
    assert await house.posted("platform/fee-income/CNY") == 186
    assert await house.ledger_imbalance() == 0
    sources = [voucher.source.split(":")[0] for voucher in await house.vouchers()]
    assert sources.count("settlement") == 2
    assert [kind for kind, _ in await house.events()].count("batch.settled") == 2
    await assert_vouchers_balance(house)
    await assert_batches_are_the_sum_of_their_items(house)


async def compute(house: House) -> None:
    """A good day whose batches wait: nobody hears the ledger's answer, and channel fees are not asked for."""
    await good_day(house)
    house.ledger.deaf.add("PostTransfers")
    error = await house.close_fails()
    assert error == "LINE_CUT"
    house.ledger.deaf.clear()
    assert await states(house) == [pb.Batch.STATE_POSTING] * 2


async def test_a_close_whose_ledger_is_away_leaves_the_batches_to_the_sweepers(
    house: House,
) -> None:
    await compute(house)
    assert {batch.reason for batch in await house.batches()} == {"LINE_CUT"}
    async with house.in_background():
        await eventually(lambda: all_settled(house))
    report = await house.close()
    assert report.closed
    await assert_settled_once(house)


async def test_a_lost_answer_is_asked_for_again_and_books_nothing_twice(house: House) -> None:
    await good_day(house)
    house.ledger.lost_answers["PostTransfers"] = 1

    report = await house.close()

    assert pb.Batch.STATE_POSTING in [batch.state for batch in report.batches]
    assert not report.closed
    assert await house.posted("merchant/mer_1/available/CNY") == 25_844
    assert any("no answer: set_" in line for line in house.progress)
    async with house.in_background():
        await eventually(lambda: all_settled(house))
    await assert_settled_once(house)


async def test_a_drive_that_dies_between_its_save_and_the_ledger_is_taken_over(
    house: House,
) -> None:
    await good_day(house)
    house.ledger.gates["PostTransfers"] = asyncio.Event()
    closing = asyncio.ensure_future(house.close())
    await eventually(lambda: _is_out(house))
    for task in list(house.clearing.does.sagas.drives._tasks):
        task.cancel()
    closing.cancel()
    house.ledger.gates["PostTransfers"].set()
    del house.ledger.gates["PostTransfers"]
    assert SETTLED not in await states(house)
    await make_all_due(house)
    survivor = await house.replica()

    async with house.in_background(survivor):
        await eventually(lambda: all_settled(house))
    await assert_settled_once(house)
    epochs = await house.pool.fetch("SELECT epoch FROM batch")
    assert all(row["epoch"] >= 2 for row in epochs)


async def test_two_replicas_and_a_close_settle_each_batch_once(house: House) -> None:
    await compute(house)
    await make_all_due(house)
    second = await house.replica()

    async with house.in_background(), house.in_background(second):
        report = await house.close()
        await eventually(lambda: all_settled(house))

    assert report.business_date == DAY
    await assert_settled_once(house)


async def test_many_batches_share_a_call_and_one_that_is_no_question_harms_no_other(
    house: House,
) -> None:
    # The ledger takes no transfer of so long an id, nor the call it comes in.
    await house.pool.execute(
        """
        INSERT INTO batch
        SELECT batch_id, 'mer_1', 'CNY', '2026-03-02', '2026-03-03', 1, 106, 0, 6, 100, 'COMPUTED', now(), NULL,
               '', 0, NULL, '', '', now(), now(), 1, 1, 1, 0, ''
        FROM (SELECT 'set_' || number FROM generate_series(1, 9) AS number
              UNION ALL SELECT rpad('set_poison', 130, 'x')) AS made (batch_id)
        """
    )
    house.operations.empty |= {f"sim-a/{DAY}", f"sim-b/{DAY}"}
    gate = house.ledger.gates["PostTransfers"] = asyncio.Event()
    closing = asyncio.ensure_future(house.close())
    await eventually(lambda: _is_out(house))
    gate.set()
    await closing

    batches = {batch.batch_id: batch for batch in await house.batches()}
    poisoned = batches.pop(next(each for each in batches if "poison" in each))
    assert (poisoned.state, poisoned.reason) == (pb.Batch.STATE_MANUAL, "INVALID_ARGUMENT")
    assert {batch.state for batch in batches.values()} == {SETTLED}
    assert max(house.ledger.transfers_counts) > 2
    assert await house.posted("merchant/mer_1/available/CNY") == 900


async def test_a_batch_that_breaks_its_driver_is_quarantined_and_the_others_go_on(
    house: House,
) -> None:
    await compute(house)
    await house.pool.execute(
        """
        CREATE FUNCTION break_it() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN RAISE EXCEPTION 'a bug' USING ERRCODE = 'data_exception'; END $$;
        CREATE TRIGGER break_it BEFORE UPDATE OF state ON batch FOR EACH ROW
        WHEN (NEW.state = 'SETTLED' AND NEW.merchant_id = 'mer_2') EXECUTE FUNCTION break_it();
        """
    )
    async with house.in_background():
        for _ in range(FAULTS_MAX):
            await make_all_due(house)
            await eventually(lambda: _nobody_at_it(house))
        await make_all_due(house)
        await asyncio.sleep(1.5)
    row = await house.pool.fetchrow("SELECT * FROM batch WHERE merchant_id = 'mer_2'")
    assert row is not None
    assert (row["state"], row["faults_count"]) == ("POSTING", FAULTS_MAX)
    assert "a bug" in row["last_fault"]
    one = [batch for batch in await house.batches() if batch.merchant_id == "mer_1"]
    assert [batch.state for batch in one] == [SETTLED]

    await house.pool.execute("DROP TRIGGER break_it ON batch")
    decided = await house.decide(row["batch_id"], pb.DecideBatchRequest.DECISION_RETRY)
    assert decided.state == SETTLED
    await assert_settled_once(house)


async def test_a_replica_that_stops_leaves_its_batches_to_another_at_once(house: House) -> None:
    await good_day(house)
    gate = house.ledger.gates["PostTransfers"] = asyncio.Event()
    closing = asyncio.ensure_future(house.close())
    await eventually(lambda: _is_out(house))

    stopping = asyncio.ensure_future(house.clearing.does.sagas.hand_over())
    await eventually(lambda: _is_due(house))
    gate.set()
    del house.ledger.gates["PostTransfers"]
    second = await house.replica()
    async with house.in_background(second):
        await eventually(lambda: all_settled(house))
    await asyncio.wait_for(stopping, 10)
    await asyncio.wait_for(closing, 10)
    await assert_settled_once(house)


async def test_batches_that_settle_later_wait_for_their_day_and_then_close_it(
    house: House,
) -> None:
    patient = await house.replica(settle_on_close=False)
    await house.plan("mer_1", rate_ppm=0, settle_delay_days=5)
    await house.paid("pay_1", 1_000, at=datetime.now(UTC) - timedelta(days=1))
    await patient.follower.catch_up()
    (item,) = (await house.items()).values()
    day = item.business_date
    house.bill("sim-a", simpay(("PAY", "o-pay_1", 1_000, 0)), day=day)
    house.operations.empty.add(f"sim-b/{day}")
    closing = patient.does.closing
    steps = [step async for step in closing.close_day(datetime.fromisoformat(day).date())]
    report = steps[-1].report
    assert report is not None
    (batch,) = report.batches
    assert (batch.state, report.closed) == ("COMPUTED", False)
    in_shanghai = datetime.combine(batch.settle_date, datetime.min.time(), tzinfo=UTC)
    assert batch.next_run_at == in_shanghai - timedelta(hours=8)
    assert house.ledger.calls["PostTransfers"] == 0

    await make_all_due(house)
    async with house.in_background(patient):
        await eventually(lambda: all_settled(house))
    await closing.finish_days()
    await closing.finish_days()
    assert (await house.events()).count(("day.closed", day)) == 1


async def refuse_a_day(house: House) -> pb.Batch:
    """A day of refunds of a merchant who has nothing."""
    await house.refunded("ref_1", "pay_0", 500)
    house.operations.empty.add(f"sim-b/{DAY}")
    house.bill("sim-a", simpay(("REFUND", "o-ref_1", 500, 0)))
    (batch,) = (await house.close()).batches
    assert (batch.state, batch.reason) == (pb.Batch.STATE_REFUSED, "INSUFFICIENT_FUNDS")
    return batch


async def test_a_refusal_that_does_not_pass_stands_before_a_person_who_may_cancel_it(
    house: House,
) -> None:
    batch = await refuse_a_day(house)
    early = await house.decision_refused(batch.batch_id, pb.DecideBatchRequest.DECISION_CANCEL)
    assert early.reason == "BATCH_NOT_MANUAL"
    await house.pool.execute("UPDATE batch SET refused_since = refused_since - interval '4 days'")
    (batch,) = (await house.close()).batches
    assert batch.state == pb.Batch.STATE_MANUAL
    assert not batch.HasField("next_run_at")
    calls = house.ledger.calls["PostTransfers"]
    await house.close()
    assert house.ledger.calls["PostTransfers"] == calls  # nobody asks for it any more

    canceled = await house.decide(batch.batch_id, pb.DecideBatchRequest.DECISION_CANCEL)

    assert (canceled.state, canceled.decided_by) == (pb.Batch.STATE_CANCELED, "ops")
    assert [item.batch_id for item in (await house.items()).values()] == [""]
    await house.close()
    assert await states(house) == [pb.Batch.STATE_CANCELED, pb.Batch.STATE_REFUSED]
    error = await house.decision_refused("set_none", pb.DecideBatchRequest.DECISION_RETRY)
    assert error.reason == "BATCH_NOT_FOUND"


async def test_a_decision_is_taken_once_a_request(house: House) -> None:
    batch = await refuse_a_day(house)
    request = pb.DecideBatchRequest(
        request_id="d1",
        batch_id=batch.batch_id,
        decision=pb.DecideBatchRequest.DECISION_RETRY,
        actor="ops",
        note="again",
    )
    first = await house.call(house.stub.DecideBatch, request)
    calls = house.ledger.calls["PostTransfers"]
    assert first.batch.state == pb.Batch.STATE_REFUSED
    assert await house.call(house.stub.DecideBatch, request) == first
    assert house.ledger.calls["PostTransfers"] == calls
    request.note = "other"
    error = await house.refusal(house.stub.DecideBatch, request)
    assert error.reason == "REQUEST_ID_REUSED"


async def _is_out(house: House) -> bool:
    return house.ledger.calls["PostTransfers"] > 0


async def _is_due(house: House) -> bool:
    due = await house.pool.fetchval("SELECT count(*) FROM batch WHERE next_run_at <= now()")
    return bool(due == 2)


async def _nobody_at_it(house: House) -> bool:
    count = await house.pool.fetchval(
        "SELECT count(*) FROM batch WHERE merchant_id = 'mer_2' AND next_run_at <= now()"
    )
    return bool(count == 0) and len(house.clearing.does.sagas.drives) == 0
