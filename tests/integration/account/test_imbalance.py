"""The imbalance of the ledger, as the worker exports it."""

import asyncio
import contextlib
from collections.abc import AsyncIterator

import prometheus_client
import pytest

from fisc.account.v1 import account_pb2 as pb
from libs.testing import eventually
from services.account import workers
from services.account.store import Store
from services.account.usecases.chart import Chart
from tests.integration.account.support import (
    AVAILABLE,
    BANK,
    OTHER,
    PENDING,
    Ledger,
    account,
    hold,
    transfer,
)

INTERVAL_S = 0.02
NOBODY = "nobody"


def smuggled(debit: str, debit_sequence: int, credit: str, credit_sequence: int) -> str:
    """A transfer that only one account's statement has a place for: no posting can write it."""
    return f"""
        INSERT INTO transfer (transfer_id, debit_account_id, credit_account_id, currency,
            amount_minor, reference, description, effective_on, booked_at, debit_sequence,
            debit_balance_after_minor, credit_sequence, credit_balance_after_minor, chain,
            batch_number)
        VALUES ('smuggled-{debit}-{credit}', '{debit}', '{credit}', 'CNY', 70, '', '', now(), now(),
                {debit_sequence}, 0, {credit_sequence}, 0, 1, 1)"""


@pytest.fixture
async def watched(ledger: Ledger) -> AsyncIterator[Ledger]:
    """A ledger in use in two currencies, which the worker measures again and again."""
    await ledger.open(account("bank/boa/USD", pb.ACCOUNT_ROLE_BANK_MIRROR, "USD"))
    await ledger.fund(100)
    await ledger.post(transfer("t1", AVAILABLE, OTHER, 30), transfer("t2", OTHER, PENDING, 7))
    await ledger.place(hold("h1", 20))
    await ledger.capture("h1", 15)
    workers.ledger_imbalance.clear()
    chart = Chart(Store(ledger.pool), ledger.clock)
    worker = asyncio.create_task(workers.watch_imbalance(chart, interval_s=INTERVAL_S))
    yield ledger
    worker.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await worker


async def shows(cny: int, usd: int) -> None:
    """Wait until the worker exports these."""

    def is_shown() -> bool:
        exported = [
            prometheus_client.REGISTRY.get_sample_value(
                "ledger_imbalance_minor_units", {"currency": currency}
            )
            for currency in ("CNY", "USD")
        ]
        assert exported == [cny, usd]
        return True

    await eventually(is_shown)


async def test_a_ledger_in_use_shows_no_imbalance(watched: Ledger) -> None:
    await shows(0, 0)


@pytest.mark.parametrize(
    ("change", "imbalance_minor"),
    [
        (smuggled(BANK, 3, NOBODY, 1), 70),
        (smuggled(NOBODY, 1, PENDING, 99), -70),
        (f"UPDATE account_balance SET credits_minor = 9 WHERE account_id = '{PENDING}'", -2),
    ],
    ids=["an entry more", "an entry far beyond the last", "a changed balance"],
)
async def test_what_no_transfer_booked_shows_as_an_imbalance_of_its_currency(
    watched: Ledger, change: str, imbalance_minor: int
) -> None:
    await shows(0, 0)

    await watched.pool.execute(change)

    await shows(imbalance_minor, 0)


async def test_one_currency_does_not_make_up_for_another(watched: Ledger) -> None:
    await watched.pool.execute(smuggled(BANK, 3, NOBODY, 1))
    await watched.pool.execute(smuggled(NOBODY, 1, "bank/boa/USD", 1))

    await shows(70, -70)
