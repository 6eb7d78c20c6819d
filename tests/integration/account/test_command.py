"""`fisc ledger …` as an operator types it."""

import asyncio
import os
import sys
from pathlib import Path

from deploy.local import environment, secrets_file
from tests.integration.account.support import (
    AVAILABLE,
    BANK,
    MORNING,
    OTHER,
    Ledger,
    transfer,
)
from tests.integration.account.test_proof import UNGUARDED
from tests.integration.account.treasury_support import (
    ICBC,
    map_accounts,
    mapping,
    open_real,
    real,
)

# Of account's port from the base port of a suite; see deploy/local/environment.py.
ACCOUNT_OFFSET = 3


async def type_in(ledger: Ledger, data_dir: Path, *words: str) -> tuple[int, str, str]:
    """(exit code, stdout, stderr)"""
    base_port = int(ledger.target.rpartition(":")[2]) - ACCOUNT_OFFSET
    secrets_file.write_private(data_dir / environment.OPERATOR_FILE, "only-a-test")
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "deploy.local.cli", "ledger", *words),
        env={**os.environ, "FISC_BASE_PORT": str(base_port), "FISC_DATA_DIR": str(data_dir)},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    stdout, stderr = await process.communicate()
    return process.returncode or 0, stdout.decode(), stderr.decode()


async def test_a_whole_ledger_shows_its_heads_and_a_broken_one_fails(
    ledger: Ledger, tmp_path: Path
) -> None:
    await ledger.fund(100)
    await ledger.post(transfer("t1", AVAILABLE, OTHER, 5))

    whole = await type_in(ledger, tmp_path, "verify")
    change = "UPDATE transfer SET reference = 'other' WHERE transfer_id = 't1'"
    await ledger.pool.execute(UNGUARDED.format("transfer", change))
    broken = await type_in(ledger, tmp_path, "verify")

    assert whole[0] == 0, whole
    assert "2 batches, 2 transfers, 4 accounts" in whole[1]
    head = await ledger.pool.fetchval("SELECT encode(hash, 'hex') FROM chain_head WHERE chain = 1")
    assert head in whole[1].replace("\n", "")
    assert broken[0] == 1
    assert "THE LEDGER IS BROKEN: batch" in " ".join((broken[1] + broken[2]).split())


async def test_real_accounts_that_cover_what_is_claimed_pass_and_one_that_does_not_fails(
    ledger: Ledger, tmp_path: Path
) -> None:
    await open_real(ledger, real(ICBC))
    await map_accounts(ledger, "m1", mapping(BANK, ICBC), mapping(AVAILABLE, ICBC))
    await ledger.fund(12_345)
    covered = await type_in(ledger, tmp_path, "mirror")
    ledger.clock.advance(60)
    await ledger.post(transfer("t1", AVAILABLE, OTHER, 45))
    uncovered = await type_in(ledger, tmp_path, "mirror")
    before = await type_in(ledger, tmp_path, "mirror", "--at", MORNING.isoformat())
    senseless = await type_in(ledger, tmp_path, "mirror", "--at", "2026-03-02T01:00:00")

    assert covered[0] == 0, covered
    assert "1 real accounts: what is claimed is there or on its way" in covered[1]
    assert "CNY 123.45" in covered[1]
    assert uncovered[0] == 1
    said = " ".join((uncovered[1] + uncovered[2]).split())
    assert f"REAL ACCOUNTS DIFFER FROM THE LEDGER: {ICBC}" in said
    assert "CNY -0.45" in said
    assert before[0] == 0, before
    assert senseless[0] == 2
