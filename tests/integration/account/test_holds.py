"""The life of a hold."""

import asyncio
import contextlib
import dataclasses
from datetime import timedelta
from zoneinfo import ZoneInfo

import pytest

from fisc.account.v1 import account_pb2 as pb
from libs.errors import FiscError
from libs.rpc import convert
from services.account import workers
from services.account.domain.commands import Hold
from services.account.store import Store
from services.account.usecases.posting import Posting
from tests.integration.account.support import (
    AVAILABLE,
    BANK,
    MORNING,
    Ledger,
    hold,
    transfer,
)


async def test_a_hold_keeps_the_money_from_everyone_else_until_it_is_captured(
    ledger: Ledger,
) -> None:
    await ledger.fund(100)

    (placed,) = await ledger.place(hold("h1", 70))
    (refused,) = await ledger.post(transfer("t1", AVAILABLE, BANK, 31))
    held = await ledger.balance()
    captured = await ledger.capture("h1")
    after = await ledger.balance()

    assert placed.accepted
    assert placed.hold.state == pb.Hold.STATE_HELD
    assert refused.error.reason == "INSUFFICIENT_FUNDS"
    assert (held.posted_minor, held.held_minor, held.available_minor) == (100, 70, 30)
    assert (captured.hold.state, captured.hold.captured_minor) == (pb.Hold.STATE_CAPTURED, 70)
    assert (after.posted_minor, after.held_minor, after.available_minor) == (30, 0, 30)
    (_, entry) = (await ledger.entries(AVAILABLE)).entries
    assert (entry.transfer_id, entry.reference) == ("h1:capture", "pout_1")


async def test_a_partial_capture_releases_the_rest_and_its_retry_moves_nothing(
    ledger: Ledger,
) -> None:
    await ledger.fund(100)
    await ledger.place(hold("h1", 70))

    first = await ledger.capture("h1", 50)
    again = await ledger.capture("h1", 50)
    other = await ledger.capture("h1", 51)
    balance = await ledger.balance()

    assert first.accepted
    assert again.accepted
    assert (other.error.reason, other.error.field) == ("HOLD_CAPTURED", "amount_minor")
    assert (balance.posted_minor, balance.held_minor) == (50, 0)


async def test_a_void_gives_the_money_back_and_is_final(ledger: Ledger) -> None:
    await ledger.fund(100)
    await ledger.place(hold("h1", 70))

    (voided,) = await ledger.void("h1")
    (again,) = await ledger.void("h1")
    captured = await ledger.capture("h1")
    (placed,) = await ledger.place(hold("h1", 70))

    assert voided.hold.state == pb.Hold.STATE_VOIDED
    assert again.accepted
    assert captured.error.reason == "HOLD_VOIDED"
    assert placed.error.reason == "HOLD_VOIDED"
    assert (await ledger.balance()).available_minor == 100


async def test_a_void_before_the_place_bars_the_late_place(ledger: Ledger) -> None:
    await ledger.fund(100)

    (voided,) = await ledger.void("h1")
    (late,) = await ledger.place(hold("h1", 70))

    assert voided.accepted
    assert not late.accepted
    assert late.error.reason == "HOLD_VOIDED"
    assert (await ledger.balance()).held_minor == 0


async def test_place_and_void_at_once_never_leave_money_set_aside(ledger: Ledger) -> None:
    await ledger.fund(1000)

    async with asyncio.TaskGroup() as group:
        for n in range(20):
            group.create_task(ledger.place(hold(f"h{n}", 10)))
            group.create_task(ledger.void(f"h{n}"))

    assert (await ledger.balance()).available_minor == 1000


async def test_capture_and_void_at_once_do_one_of_both(ledger: Ledger) -> None:
    await ledger.fund(1000)
    await ledger.place(*(hold(f"h{n}", 10) for n in range(20)))

    async with asyncio.TaskGroup() as group:
        captures = [group.create_task(ledger.capture(f"h{n}")) for n in range(20)]
        voids = [group.create_task(ledger.void(f"h{n}")) for n in range(20)]

    taken = sum(task.result().accepted for task in captures)
    assert taken + sum(task.result()[0].accepted for task in voids) == 20
    balance = await ledger.balance()
    assert (balance.posted_minor, balance.held_minor) == (1000 - 10 * taken, 0)


async def test_a_hold_is_released_by_itself_when_its_time_is_up(ledger: Ledger) -> None:
    await ledger.fund(100)
    expiring = hold("h1", 70)
    expiring.expires_at.CopyFrom(convert.to_timestamp(MORNING + timedelta(hours=1)))
    await ledger.place(expiring, hold("h2", 5))
    worker = asyncio.create_task(workers.expire_holds(ledger.posting, interval_s=0.01))

    ledger.clock.advance(3599)
    await asyncio.sleep(0.1)
    before = await ledger.balance()
    ledger.clock.advance(1)
    await asyncio.sleep(0.5)
    after = await ledger.balance()
    worker.cancel()

    assert (before.held_minor, after.held_minor) == (75, 5)
    assert (await ledger.capture("h1")).error.reason == "HOLD_EXPIRED"
    assert (await ledger.capture("h2")).accepted


async def test_the_same_hold_id_with_another_amount_is_refused_by_field(ledger: Ledger) -> None:
    await ledger.fund(100)

    results = await ledger.place(hold("h1", 70), hold("h1", 70), hold("h1", 20))

    assert [result.accepted for result in results] == [True, True, False]
    assert (results[2].error.reason, results[2].error.field) == (
        "HOLD_ID_REUSED",
        "amount.amount_minor",
    )
    assert (await ledger.balance()).held_minor == 70


async def test_more_than_there_is_can_be_neither_held_nor_captured(ledger: Ledger) -> None:
    await ledger.fund(100)

    placed = await ledger.place(hold("h1", 60), hold("h2", 60))
    captured = await ledger.capture("h1", 61)
    unknown = await ledger.capture("h3")

    assert [result.error.reason for result in placed] == ["", "INSUFFICIENT_FUNDS"]
    assert captured.error.reason == "CAPTURE_TOO_LARGE"
    assert unknown.error.reason == "HOLD_NOT_FOUND"


async def test_a_malformed_hold_fails_the_call_and_names_the_field(ledger: Ledger) -> None:
    with pytest.raises(FiscError) as no_amount:
        await ledger.place(pb.Hold(hold_id="h", debit_account_id=AVAILABLE, credit_account_id=BANK))
    with pytest.raises(FiscError) as no_id:
        await ledger.place(hold("", 1))
    with pytest.raises(FiscError) as not_text:
        await ledger.void("h\x00")

    assert no_amount.value.field == "holds[0].amount"
    assert no_id.value.field == "holds[0].hold_id"
    assert not_text.value.field == "hold_ids[0]"


async def test_of_many_replicas_that_hold_all_the_money_at_once_exactly_one_succeeds(
    ledger: Ledger,
) -> None:
    await ledger.fund(100)
    asked = Hold(
        hold_id="",
        debit_account_id=AVAILABLE,
        credit_account_id=BANK,
        currency="CNY",
        amount_minor=100,
    )
    store, zone = Store(ledger.pool), ZoneInfo("UTC")

    async with contextlib.AsyncExitStack() as stack, asyncio.TaskGroup() as group:
        tasks = [
            group.create_task(replica.place_holds([dataclasses.replace(asked, hold_id=f"h{n}")]))
            for n in range(12)
            for replica in [
                await stack.enter_async_context(Posting(store, ledger.clock, booking_zone=zone))
            ]
        ]

    reasons = sorted(
        verdict.error.reason if verdict.error else "" for task in tasks for verdict in task.result()
    )
    assert reasons == ["", *["INSUFFICIENT_FUNDS"] * 11]
    assert (await ledger.balance()).held_minor == 100
