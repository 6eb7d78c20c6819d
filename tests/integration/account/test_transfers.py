"""Booking transfers."""

import asyncio
from typing import TypedDict
from zoneinfo import ZoneInfo

import asyncpg
import pytest

from fisc.account.v1 import account_pb2 as pb
from libs.errors import ErrorKind, FiscError
from services.account.domain.commands import Transfer
from services.account.store import Store
from services.account.usecases.posting import Posting
from tests.integration.account.support import (
    AVAILABLE,
    BANK,
    OTHER,
    PENDING,
    Ledger,
    cny,
    hold,
    transfer,
)


class _Content(TypedDict):
    debit_account_id: str
    credit_account_id: str
    currency: str
    amount_minor: int


async def test_the_same_transfer_twice_is_booked_once(ledger: Ledger) -> None:
    (first,) = await ledger.post(transfer("t1", BANK, AVAILABLE, 500))
    (second,) = await ledger.post(transfer("t1", BANK, AVAILABLE, 500))

    assert (first.booked, first.replayed) == (True, False)
    assert (second.booked, second.replayed) == (True, True)
    assert second.credit_balance.posted_minor == 500
    assert (await ledger.balance(AVAILABLE)).posted_minor == 500


async def test_the_same_id_with_another_amount_is_refused_by_field(ledger: Ledger) -> None:
    await ledger.post(transfer("t1", BANK, AVAILABLE, 500))

    (result,) = await ledger.post(transfer("t1", BANK, AVAILABLE, 501))

    assert not result.booked
    assert (result.error.reason, result.error.field) == (
        "TRANSFER_ID_REUSED",
        "amount.amount_minor",
    )


async def test_items_of_a_batch_pass_or_fail_by_themselves_in_order(ledger: Ledger) -> None:
    results = await ledger.post(
        transfer("t1", AVAILABLE, BANK, 100),
        transfer("t2", BANK, AVAILABLE, 100),
        transfer("t3", AVAILABLE, BANK, 100),
        transfer("t4", BANK, "nobody", 100),
    )

    assert [result.error.reason for result in results] == [
        "INSUFFICIENT_FUNDS",
        "",
        "",
        "ACCOUNT_NOT_FOUND",
    ]
    assert results[3].error.field == "credit_account_id"
    assert (await ledger.balance()).available_minor == 0


async def test_a_chain_is_booked_whole_or_not_at_all(ledger: Ledger) -> None:
    await ledger.fund(100)

    results = await ledger.post(
        transfer("c1", AVAILABLE, OTHER, 90, linked=True),
        transfer("c2", AVAILABLE, BANK, 20),
        transfer("s1", AVAILABLE, BANK, 30),
    )

    assert [result.error.reason for result in results] == [
        "LINKED_FAILED",
        "INSUFFICIENT_FUNDS",
        "",
    ]
    assert results[0].error.metadata["failed_transfer_id"] == "c2"
    assert (await ledger.balance()).posted_minor == 70
    assert (await ledger.balance(OTHER)).sequence == 0


async def test_of_twenty_withdrawals_of_all_the_money_exactly_one_passes(ledger: Ledger) -> None:
    await ledger.fund(1000)

    async with asyncio.TaskGroup() as group:
        tasks = [
            group.create_task(ledger.post(transfer(f"w{n}", AVAILABLE, BANK, 1000)))
            for n in range(20)
        ]

    results = [task.result()[0] for task in tasks]
    assert sum(result.booked for result in results) == 1
    refused = {result.error.reason for result in results if not result.booked}
    assert refused == {"INSUFFICIENT_FUNDS"}
    assert (await ledger.balance()).posted_minor == 0


async def test_the_same_transfer_sent_by_twenty_at_once_is_booked_once(ledger: Ledger) -> None:
    async with asyncio.TaskGroup() as group:
        tasks = [
            group.create_task(ledger.post(transfer("t1", BANK, AVAILABLE, 10))) for _ in range(20)
        ]

    results = [task.result()[0] for task in tasks]
    assert all(result.booked for result in results)
    assert sum(not result.replayed for result in results) == 1
    assert (await ledger.balance()).posted_minor == 10


async def test_two_replicas_book_an_id_once_even_between_other_accounts(ledger: Ledger) -> None:
    """Nothing but the id is shared: no account's lock makes one wait for the other."""
    ids = [f"t{n}" for n in range(50)]
    here = [Transfer(transfer_id=name, **_between(BANK, AVAILABLE)) for name in ids]
    there = [Transfer(transfer_id=name, **_between(PENDING, OTHER)) for name in reversed(ids)]
    store, zone = Store(ledger.pool), ZoneInfo("UTC")

    async with Posting(store, ledger.clock, booking_zone=zone) as replica, asyncio.TaskGroup() as g:
        tasks = [
            g.create_task(posting.post_transfers([item]))
            for pair in zip(here, there, strict=True)
            for posting, item in zip((ledger.posting, replica), pair, strict=True)
        ]

    verdicts = [verdict for task in tasks for verdict in task.result()]
    assert sum(verdict.booked for verdict in verdicts) == len(ids)
    reasons = {verdict.error.reason for verdict in verdicts if verdict.error}
    assert reasons == {"TRANSFER_ID_REUSED"}
    booked = (await ledger.balance(AVAILABLE)).posted_minor
    assert booked + (await ledger.balance(OTHER)).posted_minor == len(ids)


async def test_opposite_transfers_at_once_never_block_each_other(ledger: Ledger) -> None:
    await ledger.fund(10_000)
    await ledger.fund(10_000, OTHER)

    async with asyncio.TaskGroup() as group:
        tasks = [
            group.create_task(
                ledger.post(
                    transfer(f"{n}-a", debit, credit, 1),
                    transfer(f"{n}-b", BANK, debit, 1),
                    transfer(f"{n}-c", credit, PENDING, 1),
                )
            )
            for n in range(60)
            for debit, credit in [((AVAILABLE, OTHER), (OTHER, AVAILABLE))[n % 2]]
        ]

    assert all(result.booked for task in tasks for result in task.result())
    deadlocks = await ledger.pool.fetchval(
        "SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()"
    )
    assert deadlocks == 0
    assert (await ledger.trial_balance()).imbalance_minor == 0


async def test_what_is_booked_cannot_be_changed_or_removed(ledger: Ledger) -> None:
    await ledger.fund(100)

    for statement in (
        "UPDATE transfer SET amount_minor = 1",
        "DELETE FROM transfer",
        "TRUNCATE transfer",
        "UPDATE batch SET transfers_count = 1",
        "DELETE FROM batch",
        "TRUNCATE batch",
        "UPDATE account_change SET reason = 'other'",
        "DELETE FROM account_change",
        "TRUNCATE account_change",
    ):
        with pytest.raises(asyncpg.RestrictViolationError, match="append-only"):
            await ledger.pool.execute(statement)


async def test_the_database_itself_refuses_money_a_merchant_does_not_have(ledger: Ledger) -> None:
    with pytest.raises(asyncpg.CheckViolationError, match="floor"):
        await ledger.pool.execute(
            "UPDATE account_balance SET debits_minor = 1 WHERE account_id = $1", AVAILABLE
        )


@pytest.mark.parametrize(
    ("bad", "field"),
    [
        (transfer("", BANK, AVAILABLE, 1), "transfers[0].transfer_id"),
        (transfer("x" * 129, BANK, AVAILABLE, 1), "transfers[0].transfer_id"),
        (pb.Transfer(transfer_id="t"), "transfers[0].amount"),
        (transfer("t", BANK, AVAILABLE, 10**15 + 1), "transfers[0].amount.amount_minor"),
        (transfer("t", BANK, AVAILABLE, 1, linked=True), "transfers[0].linked"),
        (transfer("t\x00", BANK, AVAILABLE, 1), "transfers[0].transfer_id"),
    ],
)
async def test_a_malformed_transfer_fails_the_call_and_names_the_field(
    ledger: Ledger, bad: pb.Transfer, field: str
) -> None:
    with pytest.raises(FiscError) as refused:
        await ledger.post(bad)

    assert refused.value.kind is ErrorKind.INVALID
    assert refused.value.field == field
    assert (await ledger.trial_balance()).transfers_count == 0


@pytest.mark.parametrize(
    ("bad", "reason", "field"),
    [
        (transfer("t", BANK, BANK, 1), "SAME_ACCOUNT", "credit_account_id"),
        (transfer("t", BANK, AVAILABLE, 0), "AMOUNT_OUT_OF_RANGE", "amount.amount_minor"),
        (transfer("t", BANK, AVAILABLE, -1), "AMOUNT_OUT_OF_RANGE", "amount.amount_minor"),
        (transfer("t", "", AVAILABLE, 1), "ACCOUNT_NOT_FOUND", "debit_account_id"),
        (
            pb.Transfer(
                transfer_id="t",
                debit_account_id=BANK,
                credit_account_id=AVAILABLE,
                amount=cny(1),
                effective_date="2026-13-01",
            ),
            "INVALID_EFFECTIVE_DATE",
            "effective_date",
        ),
    ],
)
async def test_a_wrong_transfer_fails_alone_and_names_the_field(
    ledger: Ledger, bad: pb.Transfer, reason: str, field: str
) -> None:
    wrong, right = await ledger.post(bad, transfer("ok", BANK, AVAILABLE, 1))

    assert (wrong.error.reason, wrong.error.field) == (reason, field)
    assert right.booked


async def test_one_poisoned_call_does_not_fail_the_calls_it_travels_with(ledger: Ledger) -> None:
    await ledger.pool.execute(
        "ALTER TABLE transfer ADD CONSTRAINT poison CHECK (transfer_id <> 'poison')"
    )
    async with asyncio.TaskGroup() as group:
        good = [
            group.create_task(ledger.post(transfer(f"g{n}", BANK, AVAILABLE, 1))) for n in range(20)
        ]
        bad = group.create_task(_reason(ledger, transfer("poison", BANK, AVAILABLE, 1)))
        held = group.create_task(ledger.place(hold("h1", 1)))

    assert all(task.result()[0].booked for task in good)
    assert bad.result() == "INTERNAL"
    assert held.result()[0].hold_id == "h1"


async def _reason(ledger: Ledger, item: pb.Transfer) -> str:
    try:
        await ledger.post(item)
    except FiscError as error:
        return error.reason
    return ""


def _between(debit: str, credit: str) -> _Content:
    return {
        "debit_account_id": debit,
        "credit_account_id": credit,
        "currency": "CNY",
        "amount_minor": 1,
    }
