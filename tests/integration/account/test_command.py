"""`fisc ledger verify` as an operator types it."""

import asyncio
import os
import sys
from pathlib import Path

from deploy.local import environment, secrets_file
from tests.integration.account.support import AVAILABLE, OTHER, Ledger, transfer
from tests.integration.account.test_proof import UNGUARDED

# Of account's port from the base port of a suite; see deploy/local/environment.py.
ACCOUNT_OFFSET = 3


async def verify(ledger: Ledger, data_dir: Path) -> tuple[int, str, str]:
    """(exit code, stdout, stderr)"""
    base_port = int(ledger.target.rpartition(":")[2]) - ACCOUNT_OFFSET
    secrets_file.write_private(data_dir / environment.OPERATOR_FILE, "only-a-test")
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "deploy.local.cli", "ledger", "verify"),
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

    whole = await verify(ledger, tmp_path)
    change = "UPDATE transfer SET reference = 'other' WHERE transfer_id = 't1'"
    await ledger.pool.execute(UNGUARDED.format("transfer", change))
    broken = await verify(ledger, tmp_path)

    assert whole[0] == 0, whole
    assert "2 batches, 2 transfers, 4 accounts" in whole[1]
    head = await ledger.pool.fetchval("SELECT encode(hash, 'hex') FROM chain_head WHERE chain = 1")
    assert head in whole[1].replace("\n", "")
    assert broken[0] == 1
    assert "THE LEDGER IS BROKEN: batch" in " ".join((broken[1] + broken[2]).split())
