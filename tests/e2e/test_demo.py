"""The whole platform as its users meet it: `fisc demo`, with every service up."""

import asyncio
import os
import re
import sys

import pytest

from deploy.local.process import ROOT

DEMO_TIMEOUT_S = 280
LAST_LINE = re.compile(
    r"DEMO OK payments=(\d+) refunds=(\d+) payouts=(\d+) matched=(\d+) "
    r"differences=(\d+) ledger_sum=(-?\d+)"
)


@pytest.mark.timeout(DEMO_TIMEOUT_S + 20)
async def test_a_day_with_planted_faults_adds_up_over_every_service() -> None:
    environ = {name: value for name, value in os.environ.items() if not name.startswith("FISC_")}
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "deploy.local.cli", "demo",
        cwd=ROOT, env=environ,
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
    )  # fmt: skip
    try:
        async with asyncio.timeout(DEMO_TIMEOUT_S):
            printed, _ = await process.communicate()
    finally:
        if process.returncode is None:
            process.terminate()
            await process.wait()
    output = printed.decode()

    assert process.returncode == 0, output
    last = LAST_LINE.fullmatch(output.rstrip().splitlines()[-1])
    assert last is not None, output
    payments, refunds, payouts, matched, differences, ledger_sum = map(int, last.groups())
    assert payments > 2_000
    assert refunds > 100
    assert payouts == 48
    # The one planted wrong amount, and everything else agrees.
    assert differences == 1
    assert matched == payments + refunds + payouts - 1
    assert ledger_sum == 0
    for fault in (
        "timeout_after_charge", "duplicate_callback", "down", "bill_wrong_amount",
    ):  # fmt: skip
        assert re.search(rf"{fault}: .*\n    ok: ", output), output
    for decision in ("approved", "rejected"):
        assert re.search(rf"review case_\w+ of .*: {decision}", output), output
    assert "FAILED " not in output.partition("\nChecks\n")[2]
