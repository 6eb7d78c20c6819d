"""Every bank behaves the same towards the gateway: CMB, ISO 20022 over HTTP and over files, against the sandbox."""

import asyncio
from collections.abc import AsyncIterator
from datetime import date
from pathlib import Path

import pytest
import pytest_asyncio

from services.clearing.domain.bills.model import LineStatus
from services.clearing.domain.errors import BillRejected
from services.clearing.domain.model import ItemKind
from services.gateway.domain.channel import (
    BillNotReady,
    ChannelUnavailable,
    ChannelUnsupported,
    OutcomeKind,
)
from tests.contract.banks_support import (
    AMOUNT,
    FEE,
    KINDS,
    OPENING,
    BankAccount,
    open_account,
    strange_key,
)
from tests.contract.conformance.conftest import World, running

DAY, NEXT_DAY, THIRD_DAY = "2026-11-11", "2026-11-12", "2026-11-13"
pytestmark = pytest.mark.asyncio(loop_scope="module")
# Banks that answer when they are asked. A directory answers nothing, is torn nowhere (`test_drop`) and signed by nobody:
# whoever can write there is the company.
answering = pytest.mark.parametrize("bank", ["cmb", "iso20022"], indirect=True)


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def sandbox(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[World]:
    async with running(tmp_path_factory.mktemp("banks")) as world:
        yield world


@pytest_asyncio.fixture(loop_scope="module", params=KINDS)
async def bank(request: pytest.FixtureRequest, sandbox: World, tmp_path: Path) -> BankAccount:
    account = await open_account(
        request.param,
        control=sandbox.control,
        sandbox_url=sandbox.sandbox_url,
        http=sandbox.http,
        directory=tmp_path,
    )
    await account.set_clock(f"{DAY}T10:00:00+08:00")
    return account


async def open_like(
    bank: BankAccount, sandbox: World, tmp_path: Path, **more: object
) -> BankAccount:
    return await open_account(
        bank.kind,
        control=sandbox.control,
        sandbox_url=sandbox.sandbox_url,
        http=sandbox.http,
        directory=tmp_path / "other",
        **more,  # type: ignore[arg-type]
    )


async def test_a_payout_arrives_and_the_bank_names_its_amount(bank: BankAccount) -> None:
    paid = await bank.paid("p0001")
    assert (paid.amount_minor, paid.currency) == (AMOUNT, "CNY")
    (row,) = await bank.book()
    assert (row["status"], row["amount"], row["provider_ref"]) == (
        "SUCCEEDED",
        AMOUNT,
        paid.provider_ref,
    )


async def test_the_same_number_twice_moves_money_once(bank: BankAccount) -> None:
    await bank.paid("p0001")
    again = await bank.connector.payout(bank.order("p0001"))
    assert again.kind in (OutcomeKind.PENDING, OutcomeKind.SUCCEEDED, OutcomeKind.UNKNOWN)
    assert (await bank.until("p0001", OutcomeKind.SUCCEEDED)).amount_minor == AMOUNT
    assert len(await bank.book()) == 1


async def test_an_account_that_does_not_exist_is_refused_for_good_in_our_words(
    bank: BankAccount,
) -> None:
    handed_in = await bank.connector.payout(bank.order("p0001", payee_account="sim:AC01"))
    assert handed_in.kind in (OutcomeKind.PENDING, OutcomeKind.DECLINED_HARD)
    refused = await bank.until("p0001", OutcomeKind.DECLINED_HARD)
    assert refused.code == "ACCOUNT_NOT_FOUND"


async def test_an_empty_account_lets_the_payout_leave_another_way(bank: BankAccount) -> None:
    await bank.connector.payout(bank.order("p0001", amount_minor=OPENING))
    refused = await bank.until("p0001", OutcomeKind.DECLINED_SOFT)
    assert refused.code == "INSUFFICIENT_FUNDS"
    assert (
        (await bank.connector.balance()).available_minor == OPENING
        if bank.kind != "iso20022_files"
        else True
    )


async def test_a_payout_that_comes_back_the_next_day_is_returned_with_the_reason(
    bank: BankAccount,
) -> None:
    await bank.paid("p0001")
    await bank.set_clock(f"{NEXT_DAY}T09:00:00+08:00")
    await bank.send_back("p0001")
    back = await bank.until("p0001", OutcomeKind.RETURNED)
    assert (back.code, back.amount_minor) == ("ACCOUNT_CLOSED", AMOUNT)


async def test_a_number_nobody_knows_is_not_found(bank: BankAccount) -> None:
    assert (await bank.query("nobody")).kind is OutcomeKind.NOT_FOUND


async def test_the_days_statement_tells_payouts_their_fees_and_returns(bank: BankAccount) -> None:
    for number in range(3):
        await bank.paid(f"p000{number}")
    await bank.set_clock(f"{NEXT_DAY}T09:00:00+08:00")
    _, first = await bank.bill(DAY)
    told = {(line.kind, line.out_ref, line.amount_minor, line.fee_e4) for line in first.lines}
    assert told == {(ItemKind.PAYOUT, f"p000{number}", AMOUNT, FEE * 10_000) for number in range(3)}
    assert {line.status for line in first.lines} == {LineStatus.SUCCEEDED}
    await bank.send_back("p0001")
    await bank.until("p0001", OutcomeKind.RETURNED)
    await bank.set_clock(f"{THIRD_DAY}T09:00:00+08:00")
    _, second = await bank.bill(NEXT_DAY)
    assert [(line.kind, line.out_ref, line.amount_minor) for line in second.lines] == [
        (ItemKind.PAYOUT_RETURN, "p0001", AMOUNT)
    ]


async def test_a_day_to_come_has_no_bill(bank: BankAccount) -> None:
    with pytest.raises(BillNotReady):
        await bank.connector.fetch_bill(date(2999, 1, 1))


@answering
async def test_a_statement_whose_parts_do_not_add_up_is_rejected(bank: BankAccount) -> None:
    for number in range(4):
        await bank.paid(f"p000{number}")
    await bank.set_clock(f"{NEXT_DAY}T09:00:00+08:00")
    await bank.fault("bill_truncated")
    with pytest.raises((BillRejected, ChannelUnavailable)):
        await bank.bill(DAY)
    _, whole = await bank.bill(DAY)
    assert len(whole.lines) == 4


async def test_a_wrong_amount_on_the_statement_is_seen(bank: BankAccount) -> None:
    await bank.paid("p0001")
    await bank.fault("bill_wrong_amount", out_ref="p0001")
    await bank.set_clock(f"{NEXT_DAY}T09:00:00+08:00")
    _, bill = await bank.bill(DAY)
    assert [line.amount_minor for line in bill.lines] == [AMOUNT + 100]


async def test_after_the_cut_off_the_bank_takes_nothing_in(
    bank: BankAccount, sandbox: World, tmp_path: Path
) -> None:
    late = await open_like(bank, sandbox, tmp_path, keys={"cut_off": "09:00"})
    outcome = await late.connector.payout(late.order("p0001"))
    if outcome.kind is OutcomeKind.PENDING:
        outcome = await late.until("p0001", OutcomeKind.DECLINED_SOFT, OutcomeKind.DECLINED_HARD)
    assert outcome.kind in (OutcomeKind.DECLINED_SOFT, OutcomeKind.DECLINED_HARD)
    assert [row["status"] for row in await late.book()] == ["FAILED"]


async def test_many_at_once_go_out_together_and_each_has_its_own_end(
    bank: BankAccount, sandbox: World, tmp_path: Path
) -> None:
    many = await open_like(bank, sandbox, tmp_path, batch_count_max="20", batch_window_ms="150")
    orders = [many.order(f"p{number:04d}") for number in range(12)]
    orders[5] = many.order("p0005", payee_account="sim:AC04")
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(many.connector.payout(order)) for order in orders]
    assert {task.result().kind for task in tasks} <= {
        OutcomeKind.PENDING,
        OutcomeKind.SUCCEEDED,
        OutcomeKind.DECLINED_HARD,
    }
    for order in orders:
        wanted = OutcomeKind.DECLINED_HARD if order.out_ref == "p0005" else OutcomeKind.SUCCEEDED
        await many.until(order.out_ref, wanted)
    assert sorted(row["status"] for row in await many.book()) == ["FAILED"] + ["SUCCEEDED"] * 11


async def test_what_banks_do_not_do_is_refused_before_anything_is_sent(bank: BankAccount) -> None:
    with pytest.raises(ChannelUnsupported):
        await bank.connector.payout(bank.order("p0001", currency="USD"))
    with pytest.raises(ChannelUnsupported):
        await bank.connector.payout(bank.order("p" * 40))
    assert await bank.book() == []


@answering
@pytest.mark.parametrize("fault", ["timeout_after_charge", "commit_then_error"])
async def test_a_payout_hidden_by_a_fault_is_unknown_until_a_query_finds_it(
    bank: BankAccount, fault: str
) -> None:
    await bank.fault(fault, operation="payout")
    lost = await bank.connector.payout(bank.order("p0001"))
    assert lost.kind is OutcomeKind.UNKNOWN
    assert (await bank.until("p0001", OutcomeKind.SUCCEEDED)).amount_minor == AMOUNT
    again = await bank.connector.payout(bank.order("p0001"))
    assert again.kind in (OutcomeKind.UNKNOWN, OutcomeKind.SUCCEEDED)
    assert len(await bank.book()) == 1


@answering
@pytest.mark.parametrize("fault", ["error_5xx", "down", "rate_limited", "bad_signature"])
async def test_an_answer_that_cannot_be_trusted_says_nothing(bank: BankAccount, fault: str) -> None:
    await bank.paid("p0001")
    await bank.fault(fault)
    assert (await bank.query("p0001")).kind is OutcomeKind.UNKNOWN
    assert (await bank.query("p0001")).kind is OutcomeKind.SUCCEEDED


@answering
async def test_a_stranger_moves_nothing(bank: BankAccount) -> None:
    stranger = bank.make(**strange_key(bank.kind))
    outcome = await stranger.payout(bank.order("p0001"))
    assert outcome.kind is OutcomeKind.UNKNOWN
    assert await bank.book() == []


@pytest.mark.parametrize("bank", ["cmb"], indirect=True)
async def test_a_day_of_many_pages_is_one_bill(
    bank: BankAccount, sandbox: World, tmp_path: Path
) -> None:
    paged = await open_like(bank, sandbox, tmp_path, keys={"page_size": "3"})
    for number in range(5):
        await paged.paid(f"p000{number}")
    await paged.set_clock(f"{NEXT_DAY}T09:00:00+08:00")
    file, bill = await paged.bill(DAY)
    # Five payments with a fee each.
    assert file.content.count(b'"ntrbptrsz1"') == 4
    assert [line.out_ref for line in bill.lines] == [f"p000{number}" for number in range(5)]


@answering
async def test_a_batch_hidden_by_a_fault_is_unknown_for_each_until_queries_find_them(
    bank: BankAccount, sandbox: World, tmp_path: Path
) -> None:
    many = await open_like(bank, sandbox, tmp_path, batch_count_max="3", batch_window_ms="500")
    await many.fault("commit_then_error", operation="payout")
    orders = [many.order(f"p000{number}") for number in range(3)]
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(many.connector.payout(order)) for order in orders]
    assert {task.result().kind for task in tasks} == {OutcomeKind.UNKNOWN}
    for order in orders:
        await many.until(order.out_ref, OutcomeKind.SUCCEEDED)
        again = await many.connector.payout(order)
        assert again.kind in (OutcomeKind.PENDING, OutcomeKind.SUCCEEDED)
    assert [row["status"] for row in await many.book()] == ["SUCCEEDED"] * 3


@pytest.mark.parametrize("bank", ["iso20022_files"], indirect=True)
async def test_a_process_that_starts_again_goes_on_where_the_directory_stands(
    bank: BankAccount, sandbox: World, tmp_path: Path
) -> None:
    waiting = await open_like(
        bank, sandbox, tmp_path, batch_count_max="9", batch_window_ms="3600000"
    )
    await waiting.connector.payout(waiting.order("p0001"))
    assert (await waiting.query("p0001")).code == "GATHERED"
    waiting.connector = waiting.make(batch_window_ms="0")
    paid = await waiting.until("p0001", OutcomeKind.SUCCEEDED)
    assert paid.amount_minor == AMOUNT
    waiting.connector = waiting.make()
    assert (await waiting.query("p0001")).kind is OutcomeKind.SUCCEEDED
    assert len(await waiting.book()) == 1
