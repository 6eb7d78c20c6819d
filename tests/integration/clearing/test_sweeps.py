"""Sweeps move what lies idle, against the real ledger, whatever is lost on the way."""

import asyncio
from typing import Any

import pytest

from fisc.clearing.v1 import clearing_pb2 as pb
from libs.testing import eventually
from tests.integration.clearing.support import House

SOURCE = "merchant/mer_1/available/CNY"
TARGET = "merchant/mer_2/available/CNY"


def order(**changes: Any) -> pb.RunSweepRequest:
    terms: dict[str, Any] = {
        "request_id": "s1",
        "source_account_id": SOURCE,
        "target_account_id": TARGET,
        "currency": "CNY",
        "keep_minor": 300,
        "minimum_minor": 100,
        "memo": "end of day",
    }
    return pb.RunSweepRequest(**terms | changes)


async def run(house: House, **changes: Any) -> pb.Sweep:
    return (await house.call(house.stub.RunSweep, order(**changes))).sweep


async def get(house: House, sweep_id: str) -> pb.Sweep:
    return (await house.call(house.stub.GetSweep, pb.GetSweepRequest(sweep_id=sweep_id))).sweep


async def has_ended(house: House, sweep_id: str) -> bool:
    return not (await get(house, sweep_id)).HasField("next_run_at")


async def make_due(house: House) -> None:
    await house.pool.execute("UPDATE sweep SET next_run_at = now() WHERE next_run_at IS NOT NULL")


async def test_what_is_above_the_amount_to_keep_is_moved(house: House) -> None:
    await house.give(SOURCE, 1_000)

    sweep = await run(house)

    assert (sweep.state, sweep.amount_minor, sweep.reason) == (pb.Sweep.STATE_DONE, 700, "")
    assert await house.balance(SOURCE) == (300, 0)
    assert await house.balance(TARGET) == (700, 0)
    assert await house.ledger_imbalance() == 0
    assert await house.events() == [("sweep.done", sweep.sweep_id)]
    payload = await house.pool.fetchval("SELECT payload FROM event_log")
    assert pb.Sweep.FromString(payload) == sweep


async def test_nothing_is_moved_that_is_not_worth_it(house: House) -> None:
    await house.give(SOURCE, 399)
    sweep = await run(house)
    assert (sweep.state, sweep.reason) == (pb.Sweep.STATE_SKIPPED, "NOTHING_TO_SWEEP")
    assert await house.balance(SOURCE) == (399, 0)


async def test_a_sweep_is_run_once_a_request(house: House) -> None:
    await house.give(SOURCE, 1_000)
    async with asyncio.TaskGroup() as group:
        runs = [group.create_task(run(house)) for _ in range(4)]
    await house.give(SOURCE, 1_000)

    again = await run(house)

    assert {each.result().sweep_id for each in runs} == {again.sweep_id}
    assert again.state == pb.Sweep.STATE_DONE
    assert await house.balance(TARGET) == (700, 0)
    error = await house.refusal(house.stub.RunSweep, order(keep_minor=0))
    assert (error.reason, error.kind.name) == ("REQUEST_ID_REUSED", "ALREADY_EXISTS")


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"source_account_id": "merchant/none/available/CNY"}, "ACCOUNT_NOT_FOUND"),
        ({"target_account_id": "merchant/none/available/CNY"}, "ACCOUNT_NOT_FOUND"),
        ({"source_account_id": "channel/sim-a/receivable/CNY"}, "ACCOUNT_NOT_HOLDABLE"),
        ({"currency": "USD"}, "CURRENCY_MISMATCH"),
    ],
)
async def test_what_the_ledger_refuses_fails_and_leaves_nothing_set_aside(
    house: House, changes: dict[str, str], reason: str
) -> None:
    await house.give(SOURCE, 1_000)
    sweep = await run(house, **changes)
    assert (sweep.state, sweep.reason) == (pb.Sweep.STATE_FAILED, reason)
    assert await house.balance(SOURCE) == (1_000, 0)


async def test_a_sweep_onto_itself_is_refused(house: House) -> None:
    error = await house.refusal(house.stub.RunSweep, order(target_account_id=SOURCE))
    assert (error.reason, error.field) == ("SWEEP_ONTO_ITSELF", "target_account_id")


@pytest.mark.parametrize("method", ["GetBalances", "PlaceHolds", "CaptureHolds"])
@pytest.mark.parametrize("fault", ["lost", "deaf"])
async def test_whatever_the_line_swallows_the_money_moves_once(
    house: House, method: str, fault: str
) -> None:
    await house.give(SOURCE, 1_000)
    if fault == "lost":
        house.ledger.lost_answers[method] = 2
    else:
        house.ledger.deaf.add(method)

    sweep = await run(house)

    assert sweep.reason == "LINE_CUT"
    assert sweep.HasField("next_run_at")
    await make_due(house)
    async with house.in_background():
        await eventually(lambda: _asked_more_than(house, method, 1))
        house.ledger.deaf.clear()
        await make_due(house)
        await eventually(lambda: has_ended(house, sweep.sweep_id))
    assert (await get(house, sweep.sweep_id)).state == pb.Sweep.STATE_DONE
    assert await house.balance(SOURCE) == (300, 0)
    assert await house.balance(TARGET) == (700, 0)


async def test_a_hold_whose_answer_was_lost_is_released_when_the_sweep_is_canceled(
    house: House,
) -> None:
    await house.give(SOURCE, 1_000)
    house.ledger.lost_answers["PlaceHolds"] = 1
    sweep = await run(house)
    assert sweep.state == pb.Sweep.STATE_HOLDING
    assert await house.balance(SOURCE) == (1_000, 700)
    house.ledger.lost_answers["VoidHolds"] = 1
    request = pb.CancelSweepRequest(request_id="c1", sweep_id=sweep.sweep_id)

    voiding = (await house.call(house.stub.CancelSweep, request)).sweep

    assert voiding.state == pb.Sweep.STATE_VOIDING
    await make_due(house)
    async with house.in_background():
        await eventually(lambda: has_ended(house, sweep.sweep_id))
    again = (await house.call(house.stub.CancelSweep, request)).sweep
    assert again.state == pb.Sweep.STATE_CANCELED
    assert await house.balance(SOURCE) == (1_000, 0)


async def test_a_hold_that_comes_after_its_cancel_is_barred(house: House) -> None:
    await house.give(SOURCE, 1_000)
    gate = house.ledger.gates["PlaceHolds"] = asyncio.Event()
    running = asyncio.ensure_future(run(house))
    await eventually(lambda: _asked_more_than(house, "PlaceHolds", 0))
    (listed,) = (await house.call(house.stub.ListSweeps, pb.ListSweepsRequest())).sweeps
    request = pb.CancelSweepRequest(request_id="c1", sweep_id=listed.sweep_id)

    canceled = (await house.call(house.stub.CancelSweep, request)).sweep
    gate.set()
    answered = await running

    assert (canceled.state, answered.state) == (pb.Sweep.STATE_CANCELED,) * 2
    assert await house.balance(SOURCE) == (1_000, 0)


async def test_a_hold_refused_after_a_lost_answer_is_barred_too(house: House) -> None:
    await house.give(SOURCE, 1_000)
    house.ledger.deaf.add("PlaceHolds")
    sweep = await run(house)
    house.ledger.deaf.clear()
    await house.call(house.stub.RunSweep, order(request_id="s2", keep_minor=0))  # takes all of it

    await make_due(house)
    async with house.in_background():
        await eventually(lambda: has_ended(house, sweep.sweep_id))

    ended = await get(house, sweep.sweep_id)
    assert (ended.state, ended.reason) == (pb.Sweep.STATE_FAILED, "INSUFFICIENT_FUNDS")
    assert house.ledger.calls["VoidHolds"] == 1


async def test_what_moves_can_not_be_canceled_and_silence_ends_before_a_person(
    house: House,
) -> None:
    await house.give(SOURCE, 1_000)
    house.ledger.deaf.add("CaptureHolds")
    sweep = await run(house)
    assert sweep.state == pb.Sweep.STATE_MOVING
    request = pb.CancelSweepRequest(request_id="c1", sweep_id=sweep.sweep_id)
    error = await house.refusal(house.stub.CancelSweep, request)
    assert (error.reason, error.metadata["state"]) == ("SWEEP_NOT_CANCELABLE", "MOVING")
    await house.pool.execute("UPDATE sweep SET hard_deadline_at = now()")
    await make_due(house)
    async with house.in_background():
        await eventually(lambda: has_ended(house, sweep.sweep_id))
    assert (await get(house, sweep.sweep_id)).state == pb.Sweep.STATE_MANUAL

    decision = pb.DecideSweepRequest(
        request_id="d1",
        sweep_id=sweep.sweep_id,
        decision=pb.DecideSweepRequest.DECISION_RELEASE,
        actor="ops",
        note="not needed",
    )
    decided = (await house.call(house.stub.DecideSweep, decision)).sweep

    assert (decided.state, decided.decided_by) == (pb.Sweep.STATE_FAILED, "ops")
    assert await house.balance(SOURCE) == (1_000, 0)
    listed = await house.call(
        house.stub.ListSweeps, pb.ListSweepsRequest(state=pb.Sweep.STATE_FAILED)
    )
    assert [each.sweep_id for each in listed.sweeps] == [sweep.sweep_id]
    none = await house.call(house.stub.ListSweeps, pb.ListSweepsRequest(state=pb.Sweep.STATE_DONE))
    assert not none.sweeps
    error = await house.refusal(house.stub.GetSweep, pb.GetSweepRequest(sweep_id="swp_none"))
    assert error.reason == "SWEEP_NOT_FOUND"


async def test_a_capture_that_went_through_unheard_wins_over_the_release(house: House) -> None:
    await house.give(SOURCE, 1_000)
    house.ledger.lost_answers["CaptureHolds"] = 1
    sweep = await run(house)
    await house.pool.execute("UPDATE sweep SET state = 'MANUAL', next_run_at = NULL")
    decision = pb.DecideSweepRequest(
        request_id="d1",
        sweep_id=sweep.sweep_id,
        decision=pb.DecideSweepRequest.DECISION_RELEASE,
        actor="ops",
        note="let it go",
    )
    decided = (await house.call(house.stub.DecideSweep, decision)).sweep
    assert decided.state == pb.Sweep.STATE_DONE
    assert await house.balance(TARGET) == (700, 0)


async def _asked_more_than(house: House, method: str, count: int) -> bool:
    return house.ledger.calls[method] > count
