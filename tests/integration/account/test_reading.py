"""Looking back: balances of past moments, long statements, sums over the tree, closing balances."""

import asyncio
import contextlib
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import grpc
import pytest

from fisc.account.v1 import account_pb2 as pb
from libs.errors import FiscError
from libs.rpc import client, convert, status
from libs.testing import eventually
from services.account import workers
from services.account.store import Store
from services.account.usecases import chart
from services.account.usecases.closing import MARGIN, Closing
from tests.integration.account.support import (
    AVAILABLE,
    BANK,
    MORNING,
    OTHER,
    PENDING,
    TIMEOUT_S,
    Ledger,
    account,
    cny,
    hold,
    transfer,
)

ZONE = ZoneInfo("Asia/Shanghai")


async def balances(ledger: Ledger, request: pb.GetBalancesRequest) -> list[tuple[str, int, int]]:
    answer = await client.call(ledger.stub.GetBalances, request, timeout_s=TIMEOUT_S)
    return [(each.account_id, each.posted_minor, each.sequence) for each in answer.balances]


async def ten_minutes(ledger: Ledger) -> None:
    """One transfer a minute, of 1, 2, 3 … 10; what is out goes to another account, or to the bank."""
    await ledger.fund(1_000)
    for number in range(1, 11):
        ledger.clock.advance(60)
        await ledger.post(transfer(f"t{number}", AVAILABLE, OTHER if number % 2 else BANK, number))


@pytest.mark.parametrize(
    ("after_s", "posted", "sequence"),
    [
        (-1, 0, 0),
        (0, 1_000, 1),
        (59, 1_000, 1),
        (60, 999, 2),
        (61, 999, 2),
        (299, 990, 5),
        (600, 945, 11),
        (9_999, 945, 11),
    ],
)
async def test_a_balance_is_known_at_any_past_moment(
    ledger: Ledger, after_s: int, posted: int, sequence: int
) -> None:
    await ten_minutes(ledger)
    at = convert.to_timestamp(MORNING + timedelta(seconds=after_s))

    found = await balances(
        ledger, pb.GetBalancesRequest(account_ids=[AVAILABLE, "nobody", PENDING], at_time=at)
    )

    assert found == [(AVAILABLE, posted, sequence), (PENDING, 0, 0)]


async def test_many_entries_of_one_moment_belong_to_it_all(ledger: Ledger) -> None:
    await ledger.post(*(transfer(f"t{n}", BANK, AVAILABLE, 1) for n in range(7)))
    ledger.clock.advance(1)
    await ledger.post(transfer("late", BANK, AVAILABLE, 1))

    at = convert.to_timestamp(MORNING)
    found = await balances(ledger, pb.GetBalancesRequest(account_ids=[BANK], at_time=at))

    assert found == [(BANK, 7, 7)]


async def test_a_balance_is_known_after_every_entry(ledger: Ledger) -> None:
    await ten_minutes(ledger)
    lines = (await ledger.entries(AVAILABLE)).entries

    for line in lines:
        found = await balances(
            ledger, pb.GetBalancesRequest(account_ids=[AVAILABLE], at_sequence=line.sequence)
        )
        assert found == [(AVAILABLE, line.balance_after_minor, line.sequence)]
    beyond = pb.GetBalancesRequest(account_ids=[AVAILABLE], at_sequence=99)
    assert await balances(ledger, beyond) == [(AVAILABLE, 945, 11)]
    with pytest.raises(FiscError):
        await balances(ledger, pb.GetBalancesRequest(account_ids=[BANK, OTHER], at_sequence=1))


async def sequences(ledger: Ledger, request: pb.StreamEntriesRequest) -> list[list[int]]:
    call = ledger.statements.StreamEntries(request, timeout=TIMEOUT_S)
    return [[line.sequence for line in part.entries] async for part in call]


async def test_a_statement_is_streamed_whole_or_in_part(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(chart, "ENTRIES_PER_PART", 4)
    await ten_minutes(ledger)

    def asked(**bounds: object) -> pb.StreamEntriesRequest:
        return pb.StreamEntriesRequest(account_id=AVAILABLE, **bounds)  # type: ignore[arg-type]  # fields of it

    third, sixth = (convert.to_timestamp(MORNING + timedelta(minutes=n)) for n in (3, 6))
    assert await sequences(ledger, asked()) == [[1, 2, 3, 4], [5, 6, 7, 8], [9, 10, 11]]
    assert await sequences(ledger, asked(after_sequence=9)) == [[10, 11]]
    assert await sequences(ledger, asked(after_sequence=2, until_sequence=4)) == [[3, 4]]
    assert await sequences(ledger, asked(after_time=third, until_time=sixth)) == [[5, 6, 7]]
    assert await sequences(ledger, asked(after_sequence=11)) == []
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await sequences(ledger, pb.StreamEntriesRequest(account_id="nobody"))
    assert status.from_rpc_error(refused.value).reason == "ACCOUNT_NOT_FOUND"


async def test_a_subtree_is_summed_with_all_that_roll_up_to_its_top(ledger: Ledger) -> None:
    group, brand, shop = "group/g/CNY", "group/g/brand/CNY", "group/g/brand/shop/CNY"
    made = [account(name, pb.ACCOUNT_ROLE_MERCHANT_AVAILABLE) for name in (group, brand, shop)]
    reserve = account("group/g/brand/reserve/CNY", pb.ACCOUNT_ROLE_MERCHANT_RESERVE)
    for child, parent in zip([*made[1:], reserve], [group, brand, brand], strict=True):
        child.parent_id = parent
    await ledger.open(*made, reserve)
    await ledger.fund(5, group)
    await ledger.fund(100, shop)
    await ledger.fund(7, reserve.account_id)
    await ledger.fund(999, OTHER)
    held = hold("h1", 30)
    held.debit_account_id = shop
    await ledger.place(held)

    async def lines(top: str) -> list[tuple[str, int, int, int]]:
        request = pb.GetSubtreeRequest(account_id=top)
        answer = await client.call(ledger.stub.GetSubtree, request, timeout_s=TIMEOUT_S)
        return [
            (
                pb.AccountRole.Name(line.role).removeprefix("ACCOUNT_ROLE_MERCHANT_"),
                line.accounts,
                line.posted_minor,
                line.available_minor,
            )
            for line in answer.lines
        ]

    assert await lines(group) == [("AVAILABLE", 3, 105, 75), ("RESERVE", 1, 7, 7)]
    assert await lines(brand) == [("AVAILABLE", 2, 100, 70), ("RESERVE", 1, 7, 7)]
    with pytest.raises(FiscError) as refused:
        await lines("nobody")
    assert refused.value.reason == "ACCOUNT_NOT_FOUND"


async def closing_balances(ledger: Ledger, day: str) -> list[tuple[str, int]]:
    found: list[tuple[str, int]] = []
    token = ""
    while True:
        request = pb.ListClosingBalancesRequest(day=day, page_size=1, page_token=token)
        answer = await client.call(ledger.stub.ListClosingBalances, request, timeout_s=TIMEOUT_S)
        found += [(each.account_id, each.posted_minor) for each in answer.balances]
        token = answer.next_page_token
        if not token:
            return found


async def test_days_are_closed_once_they_have_ended_and_missed_ones_are_caught_up(
    ledger: Ledger,
) -> None:
    """MORNING is nine o'clock of March 2nd in Shanghai; its day ends at 16:00 UTC."""
    closing = Closing(Store(ledger.pool), ledger.clock, booking_zone=ZONE)
    midnight = datetime(2026, 3, 2, 16, tzinfo=UTC)
    await ledger.fund(100)
    ledger.clock.advance((midnight - MORNING).total_seconds())
    await ledger.post(transfer("of-the-3rd", AVAILABLE, OTHER, 40))
    too_early = await closing.close_due_days()
    ledger.clock.advance(MARGIN.total_seconds())
    first = await closing.close_due_days()
    with pytest.raises(FiscError) as not_yet:
        await closing_balances(ledger, "2026-03-03")
    ledger.clock.advance(3 * 86_400)
    await ledger.post(transfer("of-the-6th", AVAILABLE, OTHER, 1))
    worker = asyncio.create_task(workers.close_days(closing, interval_s=0.01))

    async def all_closed() -> bool:
        return await closing_balances(ledger, "2026-03-05") != []

    with contextlib.suppress(FiscError):
        await all_closed()
    await asyncio.sleep(0.3)
    assert await eventually(all_closed)
    worker.cancel()

    assert (too_early, first) == (0, 1)
    assert not_yet.value.reason == "DAY_NOT_CLOSED"
    assert await closing_balances(ledger, "2026-03-02") == [(BANK, 100), (AVAILABLE, 100)]
    third = [(BANK, 100), (AVAILABLE, 60), (OTHER, 40)]
    assert await closing_balances(ledger, "2026-03-03") == third
    assert await closing_balances(ledger, "2026-03-05") == third
    assert await closing.close_due_days() == 0
    assert await ledger.pool.fetchval("SELECT count(*) FROM closing_balance") == 4


async def test_an_effective_date_is_shown_apart_from_the_booking_day(ledger: Ledger) -> None:
    back = pb.Transfer(
        transfer_id="t1",
        debit_account_id=BANK,
        credit_account_id=AVAILABLE,
        amount=cny(5),
        effective_date="2026-02-27",
    )
    await ledger.post(back)

    (line,) = (await ledger.entries(AVAILABLE)).entries

    assert line.effective_date == "2026-02-27"
    assert line.booked_at.ToDatetime(UTC) == MORNING
