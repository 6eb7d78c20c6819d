"""What an earlier release has written lives on."""

from collections.abc import Awaitable, Callable
from pathlib import Path
from zoneinfo import ZoneInfo

import asyncpg
import pytest

from libs.clock import FrozenClock
from libs.db import migrate
from libs.db.pool import open_pool
from services.account.domain.commands import CaptureHold, Hold, HoldState, Transfer
from services.account.store import Store
from services.account.usecases.chart import Chart
from services.account.usecases.posting import Posting
from tests.conftest import migrations_dir
from tests.integration.account.support import AVAILABLE, BANK, MORNING

TRANSFERS = 2_500
SECOND_RELEASE = ("0001_initial.py", "0002_wide_transfers.py")
WRITTEN = f"""
INSERT INTO account VALUES
    ('{AVAILABLE}', 'm', 'MERCHANT_AVAILABLE', 'CNY', '', '', '2026-01-01+00'),
    ('{BANK}', '', 'BANK_MIRROR', 'CNY', '银行 bank', '', '2026-01-01+00'),
    ('bank/yen', '', 'BANK_MIRROR', 'JPY', '', '', '2026-01-01+00');
INSERT INTO account_balance VALUES
    ('{AVAILABLE}', 'MERCHANT_AVAILABLE', 'CNY', 0, {TRANSFERS * 3}, 70, {TRANSFERS}),
    ('{BANK}', 'BANK_MIRROR', 'CNY', {TRANSFERS * 3}, 0, 0, {TRANSFERS}),
    ('bank/yen', 'BANK_MIRROR', 'JPY', 0, 0, 0, 0);
INSERT INTO transfer
SELECT 'old-' || n, '{BANK}', '{AVAILABLE}', 'CNY', 3, 'ref', '订单 ' || n, '2026-01-02',
       timestamptz '2026-01-02 00:00:00.000001+00' + n * interval '1.000001 second'
  FROM generate_series(1, {TRANSFERS}) AS n;
INSERT INTO entry
SELECT '{BANK}', n, 'old-' || n, 'DEBIT', 3, n * 3 FROM generate_series(1, {TRANSFERS}) AS n
 UNION ALL
SELECT '{AVAILABLE}', n, 'old-' || n, 'CREDIT', 3, n * 3 FROM generate_series(1, {TRANSFERS}) AS n;
INSERT INTO hold VALUES
    ('due', '{AVAILABLE}', '{BANK}', 'CNY', 30, '', '2026-03-01+00', 'HELD', 0),
    ('open', '{AVAILABLE}', '{BANK}', 'CNY', 40, '', NULL, 'HELD', 0),
    ('gone', '{AVAILABLE}', '{BANK}', 'CNY', 40, '', '2026-02-01+00', 'EXPIRED', 0);
"""


@pytest.fixture
async def upgraded(
    empty_database: Callable[[], Awaitable[str]], tmp_path: Path
) -> "asyncpg.Pool[asyncpg.Record]":
    """A database of the first release, in use, brought up to this one."""
    first = tmp_path / "0001_initial.py"
    first.write_text((migrations_dir("account") / first.name).read_text())
    url = await empty_database()
    await migrate.upgrade(url, tmp_path)
    connection = await asyncpg.connect(url)
    await connection.execute(WRITTEN)
    await connection.close()
    await migrate.upgrade(url, migrations_dir("account"))
    return await open_pool(url, size=4, application_name="test")


async def test_an_upgraded_ledger_is_whole_and_goes_on(
    upgraded: "asyncpg.Pool[asyncpg.Record]",
) -> None:
    store, clock = Store(upgraded), FrozenClock(MORNING)
    chart = Chart(store, clock)
    async with upgraded, Posting(store, clock, booking_zone=ZoneInfo("UTC")) as posting:
        again = Transfer(
            transfer_id="old-7",
            debit_account_id=BANK,
            credit_account_id=AVAILABLE,
            currency="CNY",
            amount_minor=3,
            reference="ref",
            description="订单 7",
        )
        (replayed,) = await posting.post_transfers([again])
        (reversal,) = await posting.post_transfers(
            [
                Transfer(
                    transfer_id="back",
                    debit_account_id="",
                    credit_account_id="",
                    currency="CNY",
                    amount_minor=0,
                    reverses_transfer_id="old-7",
                )
            ]
        )
        expired = await posting.expire_holds()
        (captured,) = await posting.capture_holds([CaptureHold(hold_id="open")])
        steps = [step async for step in chart.verify(batches_only=False)]
        statement = await store.list_entries(AVAILABLE, after=TRANSFERS - 1, limit=9)
        books = await upgraded.fetch("SELECT book_id, scale FROM book ORDER BY book_id")

    assert replayed.replayed
    assert reversal.applied_minor == 3
    assert expired == 1
    assert captured.error is None
    assert (steps[-1].broken, steps[-1].is_done) == ("", True)
    assert steps[-1].transfers_count == TRANSFERS + 2
    assert [line.balance_after_minor for line in statement] == [7_500, 7_497, 7_457]
    assert [tuple(row.values()) for row in books] == [("CNY", 2), ("JPY", 0)]


async def test_groups_of_an_earlier_release_are_voided_and_take_more_holds(
    empty_database: Callable[[], Awaitable[str]], tmp_path: Path
) -> None:
    for name in SECOND_RELEASE:
        (tmp_path / name).write_text((migrations_dir("account") / name).read_text())
    url = await empty_database()
    await migrate.upgrade(url, tmp_path)
    connection = await asyncpg.connect(url)
    await connection.execute(
        f"""
        INSERT INTO account (account_id, owner_id, role, currency, display_name, parent_id,
                             opened_at, book_id)
        VALUES ('{AVAILABLE}', 'm', 'MERCHANT_AVAILABLE', 'CNY', '', '', '2026-01-01+00', 'CNY'),
               ('{BANK}', '', 'BANK_MIRROR', 'CNY', '', '', '2026-01-01+00', 'CNY');
        INSERT INTO account_balance (account_id, role, currency, book_id, is_credit_normal,
                                     credits_minor, held_minor)
        VALUES ('{AVAILABLE}', 'MERCHANT_AVAILABLE', 'CNY', 'CNY', true, 100, 70),
               ('{BANK}', 'BANK_MIRROR', 'CNY', 'CNY', false, 0, 0);
        INSERT INTO hold (hold_id, debit_account_id, credit_account_id, currency, amount_minor,
                          reference, state, captured_minor, group_id)
        VALUES ('h1', '{AVAILABLE}', '{BANK}', 'CNY', 70, '', 'HELD', 0, 'g1')
        """
    )
    await connection.close()
    await migrate.upgrade(url, migrations_dir("account"))
    pool = await open_pool(url, size=4, application_name="test")
    store, clock = Store(pool), FrozenClock(MORNING)
    joining = Hold(
        hold_id="h2",
        debit_account_id=AVAILABLE,
        credit_account_id=BANK,
        currency="CNY",
        amount_minor=20,
        group_id="g1",
    )
    async with pool, Posting(store, clock, booking_zone=ZoneInfo("UTC")) as posting:
        known = await pool.fetch("SELECT group_id, is_barred FROM hold_group")
        (placed,) = await posting.place_holds([joining])
        (voided,) = await posting.void_holds([], ["g1"])

    assert [tuple(row.values()) for row in known] == [("g1", False)]
    assert placed.error is None
    assert {hold.state for hold in voided.group_holds} == {HoldState.VOIDED}
    assert len(voided.group_holds) == 2
