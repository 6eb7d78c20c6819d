"""The proof that nothing booked was changed: it holds, and every kind of change is found and named."""

import asyncio
from collections.abc import Sequence

import pytest

from fisc.account.v1 import account_pb2 as pb
from services.account.usecases import proof
from tests.integration.account.support import (
    AVAILABLE,
    BANK,
    OTHER,
    TIMEOUT_S,
    Ledger,
    hold,
    transfer,
)

UNGUARDED = "ALTER TABLE {0} DISABLE TRIGGER USER; {1}; ALTER TABLE {0} ENABLE TRIGGER USER"


async def verify(ledger: Ledger, *, batches_only: bool = False) -> Sequence[pb.VerifyChainResponse]:
    call = ledger.statements.VerifyChain(
        pb.VerifyChainRequest(batches_only=batches_only), timeout=TIMEOUT_S
    )
    return [answer async for answer in call]


async def use(ledger: Ledger) -> None:
    """Twelve batches of one transfer, a hold and its capture."""
    await ledger.fund(1_000)
    for number in range(10):
        await ledger.post(transfer(f"t{number}", AVAILABLE, OTHER, number + 1))
    await ledger.place(hold("h1", 20))
    await ledger.capture("h1", 15)


async def test_a_ledger_in_use_is_whole(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(proof, "TRANSFERS_PER_PAGE_MAX", 4)  # so that there are many pages
    monkeypatch.setattr(proof, "BATCHES_PER_PAGE_MAX", 3)
    await use(ledger)

    answers = await verify(ledger)

    last = answers[-1]
    assert (last.done, last.broken) == (True, "")
    assert (last.batches_count, last.transfers_count, last.accounts_count) == (12, 12, 4)
    assert len(answers) > 4
    heads = [head.split(":") for head in last.heads]
    assert sum(int(number) for _, number, _ in heads) == 12
    assert {len(digest) for _, _, digest in heads} == {64}


async def test_postings_at_once_share_two_chains_without_a_gap(ledger: Ledger) -> None:
    await ledger.fund(1_000)
    async with asyncio.TaskGroup() as group:
        for number in range(200):
            group.create_task(ledger.post(transfer(f"t{number}", BANK, OTHER, 1)))

    last = (await verify(ledger))[-1]

    assert (last.broken, last.transfers_count) == ("", 201)
    batches = await ledger.pool.fetch("SELECT chain, count(*), max(number) FROM batch GROUP BY 1")
    assert {row["chain"] for row in batches} == {1, 2}
    assert all(row["count"] == row["max"] for row in batches)


@pytest.mark.parametrize(
    ("table", "change", "words"),
    [
        (
            "transfer",
            "UPDATE transfer SET amount_minor = 9 WHERE transfer_id = 't4'",
            "has changed",
        ),
        ("transfer", "UPDATE transfer SET description = 'x' WHERE transfer_id = 't4'", "changed"),
        ("transfer", "DELETE FROM transfer WHERE transfer_id = 't9'", "has 0 transfers"),
        ("batch", "DELETE FROM batch WHERE chain = 1 AND number = 2", "batch 1:2 is missing"),
        (
            "batch",
            "UPDATE batch SET hash = sha256('x') WHERE chain = 1 AND number = 2",
            "batch 1:2 is not what was sealed",
        ),
        (
            "batch",
            "DELETE FROM batch WHERE (chain, number) IN (SELECT chain, number FROM chain_head)",
            "is missing",
        ),
        (
            "transfer",
            (
                "INSERT INTO transfer SELECT 'extra', amount_minor, booked_at, 99, 0, 99, 0, 77, "
                "effective_on, chain, debit_account_id, credit_account_id, currency, '', '' "
                "FROM transfer WHERE transfer_id = 't1'"
            ),
            "1 transfers are in no batch",
        ),
        (
            "account_balance",
            (
                f"UPDATE account_balance SET credits_minor = credits_minor + 1 "
                f"WHERE account_id = '{AVAILABLE}'"
            ),
            f"account {AVAILABLE}: its balance",
        ),
        (
            "account_balance",
            (
                f"UPDATE account_balance SET credits_minor = credits_minor + 1, "
                f"debits_minor = debits_minor + 1 WHERE account_id = '{AVAILABLE}'"
            ),
            f"account {AVAILABLE}: its turnover",
        ),
        (
            "account_balance",
            (
                f"UPDATE account_balance SET sequence = sequence + 1, version = version + 1 "
                f"WHERE account_id = '{OTHER}'"
            ),
            f"account {OTHER}: entry 11 is missing",
        ),
    ],
)
async def test_whatever_is_changed_behind_the_ledgers_back_is_found_and_named(
    ledger: Ledger, table: str, change: str, words: str
) -> None:
    await use(ledger)
    await ledger.pool.execute(UNGUARDED.format(table, change))

    last = (await verify(ledger))[-1]

    assert last.done
    assert words in last.broken


async def test_a_balance_that_lies_is_not_the_batches_fault(ledger: Ledger) -> None:
    await use(ledger)
    await ledger.pool.execute(
        "UPDATE account_balance SET debits_minor = debits_minor + 1 WHERE account_id = $1", BANK
    )

    batches = (await verify(ledger, batches_only=True))[-1]
    everything = (await verify(ledger))[-1]

    assert batches.broken == ""
    assert everything.broken.startswith(f"account {BANK}")
