"""Accounts, statements and the trial balance."""

import asyncio

import pytest

from fisc.account.v1 import account_pb2 as pb
from libs.errors import ErrorKind, FiscError
from libs.paging import PageRequest
from libs.rpc import client
from tests.integration.account.support import (
    AVAILABLE,
    BANK,
    MORNING,
    OTHER,
    PENDING,
    ROLES,
    TIMEOUT_S,
    Ledger,
    account,
    hold,
    transfer,
)

FEES = "platform/fisc/fees/CNY"


async def test_opening_an_account_again_answers_the_one_that_stands(ledger: Ledger) -> None:
    asked = account(FEES, pb.ACCOUNT_ROLE_FEE_INCOME)
    (first,) = await ledger.open(asked)
    ledger.clock.advance(60)

    (again,) = await ledger.open(asked)

    assert first.account.opened_at.ToDatetime() == MORNING.replace(tzinfo=None)
    assert again.account == first.account


async def test_accounts_opened_by_many_at_once_are_opened_once(ledger: Ledger) -> None:
    asked = [account(f"x/{n}/CNY", pb.ACCOUNT_ROLE_SUSPENSE) for n in range(5)]

    async with asyncio.TaskGroup() as group:
        forward = [group.create_task(ledger.open(*asked)) for _ in range(4)]
        back = [group.create_task(ledger.open(*reversed(asked))) for _ in range(4)]

    results = [result for task in forward + back for result in task.result()]
    assert all(result.HasField("account") for result in results)
    assert await ledger.pool.fetchval("SELECT count(*) FROM account") == len(ROLES) + 5


async def test_an_account_that_differs_or_makes_no_sense_is_refused_alone(ledger: Ledger) -> None:
    orphan = account("x/orphan/CNY", pb.ACCOUNT_ROLE_SUSPENSE)
    orphan.parent_id = "x/nobody"

    results = await ledger.open(
        account(BANK, pb.ACCOUNT_ROLE_SUSPENSE),
        account("x/1/ZZZ", pb.ACCOUNT_ROLE_SUSPENSE, "ZZZ"),
        orphan,
        account(FEES, pb.ACCOUNT_ROLE_FEE_INCOME),
    )

    assert [(result.error.reason, result.error.field) for result in results] == [
        ("ACCOUNT_EXISTS_DIFFERENTLY", "role"),
        ("UNKNOWN_CURRENCY", "currency"),
        ("PARENT_NOT_FOUND", "parent_id"),
        ("", ""),
    ]


@pytest.mark.parametrize(
    ("bad", "field"),
    [
        (account("/x", pb.ACCOUNT_ROLE_SUSPENSE), "accounts[0].account_id"),
        (account("x/y/z", pb.ACCOUNT_ROLE_UNSPECIFIED), "accounts[0].role"),
        (account("x/y/z", pb.ACCOUNT_ROLE_SUSPENSE, "cny"), "accounts[0].currency"),
    ],
)
async def test_a_malformed_account_fails_the_call_and_names_the_field(
    ledger: Ledger, bad: pb.Account, field: str
) -> None:
    with pytest.raises(FiscError) as refused:
        await ledger.open(bad)

    assert refused.value.field == field


async def test_an_unknown_account_is_not_found(ledger: Ledger) -> None:
    with pytest.raises(FiscError) as refused:
        await ledger.balance("nobody")
    with pytest.raises(FiscError) as no_statement:
        await ledger.entries("nobody")

    assert (refused.value.kind, refused.value.reason, refused.value.field) == (
        ErrorKind.NOT_FOUND,
        "ACCOUNT_NOT_FOUND",
        "account_id",
    )
    assert no_statement.value.reason == "ACCOUNT_NOT_FOUND"


async def test_accounts_are_listed_page_by_page_with_filters(ledger: Ledger) -> None:
    async def page(request: pb.ListAccountsRequest) -> pb.ListAccountsResponse:
        return await client.call(ledger.stub.ListAccounts, request, timeout_s=TIMEOUT_S)

    first = await page(pb.ListAccountsRequest(page_size=3))
    second = await page(pb.ListAccountsRequest(page_size=3, page_token=first.next_page_token))
    of_merchant = await page(pb.ListAccountsRequest(owner_id="m"))
    of_role = await page(pb.ListAccountsRequest(role=pb.ACCOUNT_ROLE_BANK_MIRROR))

    listed = [found.account_id for found in [*first.accounts, *second.accounts]]
    assert listed == sorted(ROLES)
    assert [balance.account_id for balance in first.balances] == listed[:3]
    assert second.next_page_token == ""
    assert [found.account_id for found in of_merchant.accounts] == [AVAILABLE, PENDING]
    assert [found.account_id for found in of_role.accounts] == [BANK]
    with pytest.raises(FiscError) as stolen:
        await page(pb.ListAccountsRequest(owner_id="m", page_token=first.next_page_token))
    assert (stolen.value.reason, stolen.value.field) == ("INVALID_PAGE_TOKEN", "page_token")


async def test_balances_come_in_the_order_asked_and_leave_out_strangers(ledger: Ledger) -> None:
    await ledger.fund(100)
    request = pb.GetBalancesRequest(account_ids=[PENDING, "nobody", AVAILABLE])

    answer = await client.call(ledger.stub.GetBalances, request, timeout_s=TIMEOUT_S)

    assert [balance.account_id for balance in answer.balances] == [PENDING, AVAILABLE]
    assert answer.balances[1].posted_minor == 100


async def test_a_statement_pages_through_with_a_running_balance(ledger: Ledger) -> None:
    await ledger.fund(100)
    await ledger.post(
        transfer("t1", AVAILABLE, OTHER, 30),
        transfer("t2", OTHER, AVAILABLE, 5),
        transfer("t3", AVAILABLE, PENDING, 1),
    )

    first = await ledger.entries(AVAILABLE, page_size=3)
    second = await ledger.entries(AVAILABLE, page_size=3, page_token=first.next_page_token)

    lines = [*first.entries, *second.entries]
    assert [line.sequence for line in lines] == [1, 2, 3, 4]
    assert [line.balance_after_minor for line in lines] == [100, 70, 75, 74]
    assert [line.counter_account_id for line in lines] == [BANK, OTHER, OTHER, PENDING]
    assert lines[1].direction == pb.DIRECTION_DEBIT
    assert lines[1].effective_date == "2026-03-02"
    assert second.next_page_token == ""
    with pytest.raises(FiscError) as stolen:
        await ledger.entries(OTHER, page_token=first.next_page_token)
    assert stolen.value.reason == "INVALID_PAGE_TOKEN"


@pytest.mark.parametrize("key", ["-1", "1e3", "٣", "9" * 19])
async def test_a_statement_goes_on_only_after_a_number(ledger: Ledger, key: str) -> None:
    forged = PageRequest(1, "").about("entries", AVAILABLE).page([key, ""], str).next_token
    with pytest.raises(FiscError) as refused:
        await ledger.entries(AVAILABLE, page_token=forged)
    assert (refused.value.reason, refused.value.field) == ("INVALID_PAGE_TOKEN", "page_token")


async def test_a_debit_normal_account_shows_its_balance_on_its_own_side(ledger: Ledger) -> None:
    await ledger.fund(100)

    (line,) = (await ledger.entries(BANK)).entries

    assert line.direction == pb.DIRECTION_DEBIT
    assert line.balance_after_minor == 100


async def test_the_booking_day_is_that_of_the_configured_zone(ledger: Ledger) -> None:
    ledger.clock.advance(15 * 3600)  # 16:00 UTC, midnight in Shanghai
    await ledger.fund(100)

    (line,) = (await ledger.entries(AVAILABLE)).entries

    assert line.effective_date == "2026-03-03"


async def test_the_trial_balance_is_zero_and_agrees_with_the_entries(ledger: Ledger) -> None:
    await ledger.open(account("bank/boa/USD", pb.ACCOUNT_ROLE_BANK_MIRROR, "USD"))
    await ledger.fund(100)
    await ledger.post(transfer("t1", AVAILABLE, OTHER, 30), transfer("t2", OTHER, PENDING, 7))
    await ledger.place(hold("h1", 20))
    await ledger.capture("h1", 15)

    proof = await ledger.trial_balance()
    in_dollars = await ledger.trial_balance("USD")

    assert proof.imbalance_minor == 0
    assert proof.transfers_count == 4
    available = next(
        line for line in proof.lines if line.role == pb.ACCOUNT_ROLE_MERCHANT_AVAILABLE
    )
    assert (available.accounts, available.debits_minor, available.credits_minor) == (2, 52, 130)
    assert [line.currency for line in in_dollars.lines] == ["USD"]
    unexplained = await ledger.pool.fetchval(
        """
        SELECT count(*)
          FROM account_balance AS balance
         WHERE debits_minor <> (SELECT coalesce(sum(amount_minor), 0) FROM entry
                                 WHERE account_id = balance.account_id AND direction = 'DEBIT')
            OR credits_minor <> (SELECT coalesce(sum(amount_minor), 0) FROM entry
                                  WHERE account_id = balance.account_id AND direction = 'CREDIT')
        """
    )
    assert unexplained == 0
