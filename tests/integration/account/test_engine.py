"""What the database is asked to do, and what it refuses by itself."""

import asyncio
import contextlib
import random
from datetime import UTC, timedelta
from zoneinfo import ZoneInfo

import asyncpg
import pytest

from deploy.local.process import ROOT
from fisc.account.v1 import account_pb2 as pb
from libs.clock import FrozenClock
from libs.db.pool import open_pool
from libs.testing import eventually
from services.account.domain import batch
from services.account.domain import ledger as engine
from services.account.domain.commands import CaptureHold, Hold, Transfer
from services.account.domain.mappings import AskedMapping
from services.account.domain.real_accounts import RealAccountKind, RealAccountState, RealChange
from services.account.store import Overtaken, Store
from services.account.usecases.posting import Posting
from services.account.usecases.treasury import AskedRealAccount, Treasury
from tests.integration.account.support import (
    AVAILABLE,
    BANK,
    MORNING,
    OTHER,
    PENDING,
    Ledger,
    account,
    hold,
)
from tests.integration.account.support import transfer as asked
from tests.integration.account.test_proof import verify

REAL = AskedRealAccount(
    real_account_id="real",
    kind=RealAccountKind.BANK,
    provider="ICBC",
    account_number="6222000000000001",
    holder="Fisc Ltd",
    currency="CNY",
    tenant_id="",
    display_name="",
)
GRANTS = ROOT / "services" / "account" / "grants.sql"


def transfer(name: str, debit: str, credit: str, amount_minor: int) -> Transfer:
    return Transfer(
        transfer_id=name,
        debit_account_id=debit,
        credit_account_id=credit,
        currency="CNY",
        amount_minor=amount_minor,
    )


async def test_every_update_of_a_run_stays_on_its_page(ledger: Ledger) -> None:
    await ledger.fund(10_000)
    for number in range(40):
        await ledger.post(asked(f"t{number}", AVAILABLE, OTHER, 1))
        await ledger.place(hold(f"h{number}", 2))
        await ledger.capture(f"h{number}")
    await ledger.pool.execute("SELECT pg_stat_force_next_flush()")

    async def counts() -> dict[str, int]:
        """By table, how many updates moved a row to another page."""
        rows = await ledger.pool.fetch(
            """
            SELECT relname, n_tup_upd, n_tup_hot_upd FROM pg_stat_user_tables
             WHERE relname IN ('account_balance', 'hold', 'chain_head') AND n_tup_upd > 30
            """
        )
        assert len(rows) == 3
        return {row["relname"]: row["n_tup_upd"] - row["n_tup_hot_upd"] for row in rows}

    assert await eventually(counts) == {"account_balance": 0, "hold": 0, "chain_head": 0}


async def test_retries_from_eight_tasks_at_once_never_post_twice_or_overdraw(
    ledger: Ledger,
) -> None:
    """Four replicas, two tasks each, all sending the same transfers and captures in other orders."""
    await ledger.fund(300)
    items = [transfer(f"t{n}", AVAILABLE, OTHER, 1 + n % 7) for n in range(120)]
    items += [transfer(f"b{n}", OTHER, AVAILABLE, 1 + n % 3) for n in range(60)]
    holds = [
        Hold(
            hold_id=f"h{n}",
            debit_account_id=AVAILABLE,
            credit_account_id=BANK,
            currency="CNY",
            amount_minor=3,
        )
        for n in range(20)
    ]

    async def task(posting: Posting, seed: int) -> None:
        rng = random.Random(seed)
        mine = items * 2
        rng.shuffle(mine)
        for start in range(0, len(mine), 5):
            await posting.post_transfers(mine[start : start + 5])
            one = rng.choice(holds)
            await posting.place_holds([one])
            await posting.capture_holds([CaptureHold(hold_id=one.hold_id, amount_minor=2)])

    async with contextlib.AsyncExitStack() as stack:
        replicas = [
            await stack.enter_async_context(
                Posting(Store(ledger.pool), ledger.clock, booking_zone=ZoneInfo("UTC"))
            )
            for _ in range(4)
        ]
        async with asyncio.TaskGroup() as group:
            for number in range(8):
                group.create_task(task(replicas[number % 4], number))

    booked = await ledger.pool.fetch("SELECT transfer_id, amount_minor FROM transfer")
    assert len({row["transfer_id"] for row in booked}) == len(booked)
    assert (await ledger.balance()).available_minor >= 0
    assert (await ledger.trial_balance()).imbalance_minor == 0
    assert (await verify(ledger))[-1].broken == ""


async def test_a_row_that_has_moved_since_it_was_loaded_is_not_written_over(
    ledger: Ledger,
) -> None:
    """The fence of a database whose locks do not hold: here someone moves the version under our own lock."""
    command = transfer("t1", BANK, AVAILABLE, 5)
    with pytest.raises(Overtaken):
        async with Store(ledger.pool).writing() as writer:
            book = await writer.load(batch.needs([command]))
            now = ledger.clock.now()
            decision = engine.decide(book, [command], now=now, booking_day=now.date())
            await writer._connection.execute(
                "UPDATE account_balance SET version = version + 1 WHERE account_id = $1", BANK
            )
            await writer.save(decision)

    assert (await ledger.balance()).posted_minor == 0
    assert await ledger.pool.fetchval("SELECT count(*) FROM transfer") == 0


@pytest.mark.parametrize(
    ("change", "constraint"),
    [
        (f"SET debits_minor = 1 WHERE account_id = '{AVAILABLE}'", "role_floor"),
        (f"SET held_minor = 1 WHERE account_id = '{AVAILABLE}'", "role_floor"),
        (f"SET debits_minor = 11 WHERE account_id = '{PENDING}'", "account_balance_floor"),
        (f"SET credits_minor = 51 WHERE account_id = '{PENDING}'", "account_balance_ceiling"),
        (f"SET held_minor = 1 WHERE account_id = '{BANK}'", "account_balance_held"),
        (f"SET state = 'CLOSED', debits_minor = 1 WHERE account_id = '{BANK}'", "closed"),
        (f"SET state = 'ASLEEP' WHERE account_id = '{BANK}'", "state"),
        (f"SET credits_minor = -1 WHERE account_id = '{BANK}'", "credits_minor"),
    ],
)
async def test_the_database_itself_refuses_what_no_account_may_be(
    ledger: Ledger, change: str, constraint: str
) -> None:
    await ledger.pool.execute(
        "UPDATE account_balance SET floor_minor = -10, ceiling_minor = 50 WHERE account_id = $1",
        PENDING,
    )
    with pytest.raises(asyncpg.CheckViolationError, match=constraint):
        await ledger.pool.execute(f"UPDATE account_balance {change}")


async def test_the_database_itself_refuses_two_entries_of_one_number(ledger: Ledger) -> None:
    await ledger.fund(100)
    with pytest.raises(asyncpg.UniqueViolationError, match="transfer_by_credit"):
        await ledger.pool.execute(
            "INSERT INTO transfer SELECT 'twin', amount_minor, booked_at, 9, 0, credit_sequence, 0,"
            " batch_number, effective_on, chain, debit_account_id, credit_account_id, currency, '',"
            " '' FROM transfer"
        )


async def test_the_role_that_serves_can_post_but_change_nothing_that_is_booked(
    ledger: Ledger, postgres_admin_url: str
) -> None:
    database = await ledger.pool.fetchval("SELECT current_database()")
    role = f"fisc_account_service_{database}"
    grants = GRANTS.read_text().replace("fisc_account_service", role)
    await ledger.pool.execute(f"CREATE ROLE {role} LOGIN PASSWORD 'only-a-test'")
    try:
        await ledger.pool.execute(grants)
        address = postgres_admin_url.rsplit("@", 1)[1].rsplit("/", 1)[0]
        serving = await open_pool(
            f"postgresql://{role}:only-a-test@{address}/{database}",
            size=3,
            application_name="test",
        )
        store = Store(serving)
        async with serving, Posting(store, ledger.clock, booking_zone=ZoneInfo("UTC")) as posting:
            (verdict,) = await posting.post_transfers([transfer("t1", BANK, AVAILABLE, 5)])
            await posting.place_holds([Hold(
                hold_id="h", debit_account_id=AVAILABLE, credit_account_id=BANK, currency="CNY",
                amount_minor=2, expires_at=None, group_id="g")])  # fmt: skip
            await posting.capture_holds([CaptureHold(hold_id="h")])
            (barred,) = await posting.void_holds([], ["late"])
            treasury = Treasury(store, ledger.clock, booking_zone=ZoneInfo("UTC"))
            await treasury.open_real_accounts([REAL])
            mapping = AskedMapping(
                account_id=BANK, real_account_id="real", valid_from="2026-01-01", reason="test"
            )
            (mapped,) = await treasury.map_accounts("m1", [mapping])
            reopening = RealChange(
                real_account_id="real", state=RealAccountState.OPEN, reason="test"
            )
            (changed,) = await treasury.change_real_accounts("c1", [reopening])
            for statement in (
                "UPDATE transfer SET amount_minor = 1",
                "DELETE FROM transfer",
                "UPDATE batch SET transfers_count = 1",
                "DELETE FROM batch",
                "UPDATE account_change SET reason = ''",
                "DELETE FROM account_change",
                "UPDATE account_mapping SET reason = ''",
                "DELETE FROM account_mapping",
                "DELETE FROM real_account_change",
                "DELETE FROM real_account",
                "DELETE FROM hold_group",
                "TRUNCATE transfer",
                "DELETE FROM account_balance",
                "DROP TABLE transfer",
                "ALTER TABLE transfer DISABLE TRIGGER USER",
            ):
                with pytest.raises(asyncpg.InsufficientPrivilegeError):
                    await serving.execute(statement)
    finally:
        await ledger.pool.execute(f"DROP OWNED BY {role}; DROP ROLE {role}")

    assert verdict.booked
    assert [each.error for each in (barred, mapped, changed)] == [None] * 3


async def test_a_statement_never_goes_back_in_time_though_a_clock_is_behind(
    ledger: Ledger,
) -> None:
    """Two replicas whose clocks differ by a minute take turns."""
    behind = FrozenClock(MORNING - timedelta(minutes=1))
    async with Posting(Store(ledger.pool), behind, booking_zone=ZoneInfo("UTC")) as replica:
        await ledger.post(asked("t1", BANK, AVAILABLE, 5))
        await replica.post_transfers([transfer("t2", BANK, AVAILABLE, 5)])
        ledger.clock.advance(60)
        await ledger.post(asked("t3", BANK, AVAILABLE, 5))

    times = [line.booked_at.ToDatetime(UTC) for line in (await ledger.entries(AVAILABLE)).entries]

    assert times == [MORNING, MORNING, MORNING + timedelta(minutes=1)]


async def test_accounts_of_other_tenants_have_books_of_their_own(ledger: Ledger) -> None:
    theirs = account("tenant/t/bank/CNY", pb.ACCOUNT_ROLE_BANK_MIRROR)
    theirs.tenant_id = "ten_1"
    (opened,) = await ledger.open(theirs)

    (crossed,) = await ledger.post(asked("t1", theirs.account_id, AVAILABLE, 5))
    books = await ledger.pool.fetch("SELECT * FROM book ORDER BY book_id")

    assert opened.account.tenant_id == "ten_1"
    assert crossed.error.reason == "BOOK_MISMATCH"
    assert [tuple(row.values()) for row in books] == [
        ("CNY", "", "CNY", 2),
        ("ten_1/CNY", "ten_1", "CNY", 2),
    ]
