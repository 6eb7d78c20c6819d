"""Holds captured in several parts, and holds that stand or fall together."""

import asyncio
from collections.abc import Sequence

import pytest

from fisc.account.v1 import account_pb2 as pb
from libs.errors import FiscError
from libs.rpc import client
from services.account.domain import batch
from services.account.domain import ledger as engine
from services.account.domain.commands import Command, Hold, PlaceHold, VoidGroup
from services.account.store import Overtaken, Store, Writer
from tests.integration.account.support import (
    AVAILABLE,
    BANK,
    MORNING,
    OTHER,
    TIMEOUT_S,
    Ledger,
    hold,
    transfer,
)


async def capture(ledger: Ledger, *captures: pb.Capture) -> Sequence[pb.HoldResult]:
    request = pb.CaptureHoldsRequest(request_id="r", captures=captures)
    answer = await client.call(ledger.stub.CaptureHolds, request, timeout_s=TIMEOUT_S)
    return answer.results


async def void_groups(ledger: Ledger, *group_ids: str) -> Sequence[pb.HoldResult]:
    request = pb.VoidHoldsRequest(request_id="r", group_ids=group_ids)
    answer = await client.call(ledger.stub.VoidHolds, request, timeout_s=TIMEOUT_S)
    return answer.results


def part(capture_id: str, amount_minor: int, *, keep_open: bool = True) -> pb.Capture:
    return pb.Capture(
        hold_id="h1", amount_minor=amount_minor, keep_open=keep_open, capture_id=capture_id
    )


def of_group(hold_id: str, amount_minor: int, *, linked: bool = False) -> pb.Hold:
    made = hold(hold_id, amount_minor)
    made.group_id, made.linked = "g1", linked
    return made


async def test_a_hold_is_captured_in_parts_until_the_last(ledger: Ledger) -> None:
    await ledger.fund(100)
    await ledger.place(hold("h1", 70))

    first, second, too_much, last, late = await capture(
        ledger,
        part("a", 20),
        part("b", 15),
        part("c", 36),
        part("d", 25, keep_open=False),
        part("e", 1),
    )

    assert (first.hold.state, first.hold.captured_minor) == (pb.Hold.STATE_HELD, 20)
    assert second.hold.captured_minor == 35
    assert too_much.error.reason == "CAPTURE_TOO_LARGE"
    assert (last.hold.state, last.hold.captured_minor) == (pb.Hold.STATE_CAPTURED, 60)
    assert late.error.reason == "HOLD_CAPTURED"
    assert [(each.capture_id, each.transfer_id) for each in last.hold.captures] == [
        ("a", "h1:capture"),
        ("b", "h1:capture:2"),
        ("d", "h1:capture:3"),
    ]
    balance = await ledger.balance()
    assert (balance.posted_minor, balance.held_minor) == (40, 0)


async def test_a_named_capture_takes_effect_once(ledger: Ledger) -> None:
    await ledger.fund(100)
    await ledger.place(hold("h1", 70))
    await capture(ledger, part("a", 20))

    same, other, nameless = await capture(
        ledger, part("a", 20), part("a", 21), part("", 5, keep_open=False)
    )

    assert same.accepted
    assert (other.error.reason, other.error.field) == ("CAPTURE_ID_REUSED", "amount_minor")
    assert nameless.error.reason == "CAPTURE_ID_REQUIRED"
    assert (await ledger.balance()).held_minor == 50


async def test_what_is_left_of_a_hold_captured_in_part_is_voided(ledger: Ledger) -> None:
    await ledger.fund(100)
    await ledger.place(hold("h1", 70))
    await capture(ledger, part("a", 20))

    (voided,) = await ledger.void("h1")

    assert (voided.hold.state, voided.hold.captured_minor) == (pb.Hold.STATE_VOIDED, 20)
    balance = await ledger.balance()
    assert (balance.posted_minor, balance.held_minor) == (80, 0)


async def test_a_part_whose_id_a_transfer_has_taken_is_refused(ledger: Ledger) -> None:
    await ledger.fund(100)
    await ledger.place(hold("h1", 70))
    await ledger.post(transfer("h1:capture:2", AVAILABLE, OTHER, 1))
    await capture(ledger, part("a", 20))

    (taken,) = await capture(ledger, part("b", 20))

    assert (taken.error.reason, taken.error.field) == ("TRANSFER_ID_REUSED", "hold_id")


async def test_parts_captured_by_many_at_once_never_exceed_the_hold(ledger: Ledger) -> None:
    await ledger.fund(100)
    await ledger.place(hold("h1", 70))

    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(capture(ledger, part(f"c{n % 8}", 15))) for n in range(24)]

    taken = {task.result()[0].hold.captured_minor for task in tasks if task.result()[0].accepted}
    assert max(taken) == 60
    assert (await ledger.balance()).posted_minor == 40
    count = await ledger.pool.fetchval("SELECT count(*) FROM transfer WHERE transfer_id LIKE 'h1%'")
    assert count == 4


async def test_linked_holds_are_placed_all_or_none(ledger: Ledger) -> None:
    await ledger.fund(100)

    results = await ledger.place(
        of_group("h1", 60, linked=True), of_group("h2", 60), hold("h3", 30)
    )

    assert [result.error.reason for result in results] == [
        "LINKED_FAILED",
        "INSUFFICIENT_FUNDS",
        "",
    ]
    assert results[0].error.metadata["failed_hold_id"] == "h2"
    assert (await ledger.balance()).held_minor == 30
    with pytest.raises(FiscError) as refused:
        await ledger.place(of_group("h4", 1, linked=True))
    assert (refused.value.reason, refused.value.field) == ("CHAIN_OPEN", "holds[0].linked")


async def test_a_group_is_captured_in_one_call_and_once(ledger: Ledger) -> None:
    await ledger.fund(100)
    await ledger.place(of_group("h1", 60, linked=True), of_group("h2", 30))

    (taken,) = await capture(ledger, pb.Capture(group_id="g1"))
    (again,) = await capture(ledger, pb.Capture(group_id="g1"))
    (void,) = await void_groups(ledger, "g1")

    assert taken.accepted
    assert [(each.hold_id, each.captured_minor) for each in taken.group_holds] == [
        ("h1", 60),
        ("h2", 30),
    ]
    assert again.accepted
    assert void.error.reason == "HOLD_CAPTURED"
    balance = await ledger.balance()
    assert (balance.posted_minor, balance.held_minor) == (10, 0)


async def test_a_group_one_of_whose_holds_is_gone_is_not_captured_in_part(ledger: Ledger) -> None:
    await ledger.fund(100)
    await ledger.place(of_group("h1", 60, linked=True), of_group("h2", 30))
    await ledger.void("h2")

    taken, unknown = await capture(ledger, pb.Capture(group_id="g1"), pb.Capture(group_id="nobody"))

    assert (taken.error.reason, taken.error.metadata["failed_hold_id"]) == ("HOLD_VOIDED", "h2")
    assert (unknown.error.reason, unknown.error.field) == ("HOLD_NOT_FOUND", "group_id")
    assert (await ledger.balance()).held_minor == 60


async def test_a_group_is_voided_in_one_call(ledger: Ledger) -> None:
    await ledger.fund(100)
    await ledger.place(of_group("h1", 60, linked=True), of_group("h2", 30))
    await ledger.post(transfer("t1", AVAILABLE, OTHER, 10))

    (voided,) = await void_groups(ledger, "g1")

    assert {each.state for each in voided.group_holds} == {pb.Hold.STATE_VOIDED}
    balance = await ledger.balance()
    assert (balance.available_minor, balance.posted_minor) == (90, 90)


@pytest.mark.parametrize(
    "bad",
    [
        pb.Capture(),
        pb.Capture(hold_id="h1", group_id="g1"),
        pb.Capture(group_id="g1", amount_minor=1),
    ],
)
async def test_a_capture_names_a_hold_or_a_whole_group(ledger: Ledger, bad: pb.Capture) -> None:
    with pytest.raises(FiscError) as refused:
        await capture(ledger, bad)
    assert refused.value.field == "captures[0]"


async def test_voiding_a_group_that_nobody_placed_bars_the_late_placement(ledger: Ledger) -> None:
    await ledger.fund(100)

    (barred,) = await void_groups(ledger, "g1")
    (again,) = await void_groups(ledger, "g1")
    first, second, other = await ledger.place(
        of_group("h1", 60, linked=True), of_group("h2", 30), hold("h3", 5)
    )
    (taken,) = await capture(ledger, pb.Capture(group_id="g1"))

    assert (barred.accepted, again.accepted, list(barred.group_holds)) == (True, True, [])
    assert (first.error.reason, first.error.field) == ("HOLD_VOIDED", "group_id")
    assert second.error.reason == "LINKED_FAILED"
    assert other.accepted
    assert (taken.error.reason, taken.error.field) == ("HOLD_VOIDED", "group_id")
    assert (await ledger.balance()).held_minor == 5


async def test_no_hold_joins_a_group_that_was_voided(ledger: Ledger) -> None:
    await ledger.fund(100)
    await ledger.place(of_group("h1", 60))
    await void_groups(ledger, "g1")

    (same,) = await ledger.place(of_group("h1", 60))
    (late,) = await ledger.place(of_group("h2", 30))

    assert (same.error.reason, same.error.field) == ("HOLD_VOIDED", "hold_id")
    assert (late.error.reason, late.error.field) == ("HOLD_VOIDED", "group_id")
    assert (await ledger.balance()).held_minor == 0


async def test_a_group_that_could_not_be_voided_is_not_barred(ledger: Ledger) -> None:
    await ledger.fund(100)
    await ledger.place(of_group("h1", 60))
    await ledger.capture("h1")

    (void,) = await void_groups(ledger, "g1")
    (late,) = await ledger.place(of_group("h2", 30))

    assert void.error.reason == "HOLD_CAPTURED"
    assert late.accepted


async def decide(writer: Writer, command: Command) -> batch.Decision:
    book = await writer.load(batch.needs([command]))
    return engine.decide(book, [command], now=MORNING, booking_day=MORNING.date())


@pytest.mark.parametrize("is_voided_first", [True, False])
async def test_of_a_placement_and_a_void_that_have_not_seen_one_another_the_later_one_learns(
    ledger: Ledger, is_voided_first: bool
) -> None:
    await ledger.fund(100)
    asked = Hold(
        hold_id="h1",
        debit_account_id=AVAILABLE,
        credit_account_id=BANK,
        currency="CNY",
        amount_minor=60,
        group_id="g1",
    )
    commands: list[Command] = [PlaceHold(hold=asked), VoidGroup(group_id="g1")]
    slow, fast = commands if is_voided_first else reversed(commands)
    store = Store(ledger.pool)

    with pytest.raises(Overtaken):
        async with store.writing() as late:
            decision = await decide(late, slow)
            async with store.writing() as early:
                await early.save(await decide(early, fast))
            await late.save(decision)


async def test_placing_and_voiding_a_group_at_once_never_leave_money_set_aside(
    ledger: Ledger,
) -> None:
    await ledger.fund(100)
    for number in range(12):
        group_id = f"race-{number}"
        late = hold(f"late-{number}", 100)
        late.group_id = group_id
        async with asyncio.TaskGroup() as group:
            group.create_task(ledger.place(late))
            group.create_task(void_groups(ledger, group_id))

    assert (await ledger.balance()).held_minor == 0
