"""`fisc ops` as an on-call types it, against a real operators' desk."""

import asyncio
import io
import os
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest
from rich.console import Console

from deploy.local import environment, ops, secrets_file
from deploy.local.clients import Platform
from deploy.local.environment import LocalSettings
from deploy.local.errors import LocalError
from services.gateway.domain import forcing
from tests.integration.gateway.desk import Desk, add_case, open_desk

FreshDatabase = Callable[[str], Awaitable[str]]


@pytest.fixture
async def desk(fresh_database: FreshDatabase) -> AsyncIterator[Desk]:
    async with open_desk(await fresh_database("gateway")) as opened:
        yield opened


@pytest.fixture
def settings(desk: Desk, tmp_path: Path) -> LocalSettings:
    """A suite of which only the gateway's operations answer."""
    secrets_file.write_private(tmp_path / environment.OPERATOR_FILE, desk.token)
    return LocalSettings(base_port=int(desk.target.rpartition(":")[2]), data_dir=tmp_path)


@pytest.fixture
async def platform(settings: LocalSettings) -> AsyncIterator[Platform]:
    async with Platform(settings) as opened:
        yield opened


async def shown(work: Callable[[Console], Awaitable[None]]) -> str:
    """What a command prints."""
    out = Console(file=io.StringIO(), width=300, highlight=False, markup=False)
    await work(out)
    assert isinstance(out.file, io.StringIO)
    return out.file.getvalue()


async def fisc(settings: LocalSettings, *arguments: str, key: str = "") -> tuple[int, str, str]:
    """(exit code, stdout, stderr) of `fisc ops …`."""
    inherited = {name: value for name, value in os.environ.items() if name != ops.KEY_VARIABLE}
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "deploy.local.cli", "ops", *arguments),
        env={
            **inherited,
            "FISC_BASE_PORT": str(settings.base_port),
            "FISC_DATA_DIR": str(settings.data_dir),
            ops.KEY_VARIABLE: key,
        },
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, err = await process.communicate()
    assert process.returncode is not None
    return process.returncode, out.decode(), err.decode()


async def test_a_stuck_payment_is_brought_to_its_end_by_two_people(
    desk: Desk, settings: LocalSettings, tmp_path: Path
) -> None:
    payment_id = desk.flows["payment"].add("pay_1")
    _, maker, _ = await fisc(settings, "operator", "add", "maker")
    _, checker, _ = await fisc(settings, "operator", "add", "checker")
    key_file = tmp_path / "checker.key"
    key_file.write_text(checker)

    proposed = await fisc(
        settings,
        *("propose", payment_id, "succeeded", "--note", "line 12 of the bill"),
        key=maker.strip(),
    )
    [listed] = await desk.store.list_forces("", "", 10)
    own = await fisc(settings, "decide", listed.force_id, "--approve", key=maker.strip())
    decided = await fisc(
        settings, "decide", listed.force_id, "--approve", "--key-file", str(key_file)
    )

    assert proposed[0] == 0
    assert f"fisc ops decide {listed.force_id} --approve" in proposed[1]
    assert own[0] == 1
    assert "CHECKER_IS_MAKER" in own[2]
    assert decided == (
        0,
        f"{listed.force_id}: APPLIED by checker, {payment_id} to SUCCEEDED\n",
        "",
    )
    assert desk.flows["payment"].subjects[payment_id].state == "SUCCEEDED"


async def test_a_case_of_what_has_ended_is_resolved_by_two_people(
    desk: Desk, platform: Platform
) -> None:
    maker, checker = await desk.hire("maker"), await desk.hire("checker")
    desk.flows["refund"].add("ref_1", state="FAILED")
    await add_case(desk, 1, subject_id="ref_1")

    proposed = await shown(
        lambda out: ops.propose_force(
            platform, out, maker, "ref_1", state="resolved", note="wired back on the 3rd"
        )
    )
    [force] = await desk.store.list_forces("", "", 10)
    decided = await shown(
        lambda out: ops.decide_force(
            platform, out, checker, force.force_id, is_approved=True, note=""
        )
    )

    assert proposed.startswith(f"{force.force_id}: ref_1 to RESOLVED, proposed by maker\n")
    assert decided == f"{force.force_id}: APPLIED by checker, ref_1 to RESOLVED\n"
    assert desk.flows["refund"].resolved == ["ref_1"]


async def test_the_help_names_every_state_that_can_be_proposed(settings: LocalSettings) -> None:
    code, out, _ = await fisc(settings, "propose", "--help")

    assert code == 0
    for state in {each for ends in forcing.TARGETS.values() for each in ends}:
        assert state in out


async def test_without_a_key_of_ones_own_nothing_is_sent(settings: LocalSettings) -> None:
    code, out, err = await fisc(settings, "retry", "pay_1")

    assert (code, out) == (1, "")
    assert ops.KEY_VARIABLE in err


async def test_what_is_stuck_is_a_table_with_the_reason(desk: Desk, platform: Platform) -> None:
    assert await shown(lambda out: ops.show_stuck(platform, out, "")) == "nothing is stuck\n"
    desk.flows["payout"].add("pout_1")

    header, line = (await shown(lambda out: ops.show_stuck(platform, out, ""))).splitlines()

    assert header.split()[:4] == ["id", "why", "state", "reason"]
    assert line.split()[:5] == ["pout_1", "MANUAL", "MANUAL", "OUTCOME_UNKNOWN", "mer_1"]


async def test_an_unknown_flow_is_refused_with_its_reason(platform: Platform) -> None:
    with pytest.raises(LocalError, match="UNKNOWN_FLOW"):
        await shown(lambda out: ops.show_stuck(platform, out, "nonsense"))


async def test_a_retry_says_when_it_is_due(desk: Desk, platform: Platform) -> None:
    maker = await desk.hire("maker")
    desk.flows["refund"].add("ref_1")

    text = await shown(lambda out: ops.retry_saga(platform, out, maker, "ref_1"))

    assert text == "ref_1 is MANUAL, due 2026-11-11 04:00:00\n"


async def test_cases_forces_and_the_chain_are_tables(desk: Desk, platform: Platform) -> None:
    maker = await desk.hire("maker")
    force = await desk.propose(maker, desk.flows["payment"].add("pay_1"))
    await desk.pool.execute(
        "INSERT INTO manual_case (case_id, subject_id, merchant_id, reason, opened_at)"
        " VALUES ('case_1', 'pay_1', 'mer_1', 'LATE_SUCCESS', now())"
    )

    cases = await shown(lambda out: ops.show_cases(platform, out, only_open=True))
    forces = await shown(lambda out: ops.show_forces(platform, out))
    chain = await shown(lambda out: ops.show_audit(platform, out, "pay_1"))

    assert cases.splitlines()[1].split()[:4] == ["case_1", "pay_1", "mer_1", "LATE_SUCCESS"]
    assert forces.splitlines()[1].split()[:4] == [
        force.force_id,
        "PROPOSED",
        "pay_1",
        "SUCCEEDED",
    ]
    assert chain.splitlines()[1].split()[3:6] == ["maker", "FORCE_PROPOSED", "pay_1"]


async def test_a_history_is_told_line_by_line(platform: Platform) -> None:
    text = await shown(lambda out: ops.show_history(platform, out, "pay_1"))

    assert text == "2026-11-11 04:00:00  pay_1 began.\n"


async def test_a_stale_proposal_fails_the_command(desk: Desk, platform: Platform) -> None:
    maker, checker = await desk.hire("maker"), await desk.hire("checker")
    force = await desk.propose(maker, desk.flows["payment"].add("pay_1"))
    desk.flows["payment"].move("pay_1", "SUCCEEDED")

    with pytest.raises(LocalError, match="nothing was forced"):
        await shown(
            lambda out: ops.decide_force(
                platform, out, checker, force.force_id, is_approved=True, note=""
            )
        )


async def test_a_broken_chain_fails_the_command_and_names_the_place(
    desk: Desk, platform: Platform
) -> None:
    await desk.hire("maker")
    whole = await shown(lambda out: ops.verify_chain(platform, out))
    await desk.pool.execute("ALTER TABLE audit_record DISABLE TRIGGER ALL")
    await desk.pool.execute("UPDATE audit_record SET detail = '{}'")

    assert "every record fits" in whole
    with pytest.raises(LocalError, match="BROKEN at record 1"):
        await shown(lambda out: ops.verify_chain(platform, out))


async def test_a_revoked_person_is_refused(
    desk: Desk, settings: LocalSettings, platform: Platform
) -> None:
    maker = await desk.hire("maker")
    desk.flows["refund"].add("ref_1")

    code, _, _ = await fisc(settings, "operator", "revoke", "maker")

    assert code == 0
    with pytest.raises(LocalError, match="OPERATOR_TOKEN_INVALID"):
        await shown(lambda out: ops.retry_saga(platform, out, maker, "ref_1"))
