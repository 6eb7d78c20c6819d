"""`fisc ops`: what an on-call does about sagas that no machine brings to their end.

Reading, and letting people in, goes with the platform's token of the running suite; what one person must answer for goes with that
person's own key.
"""

import os
import secrets
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Annotated, Final

import typer
from google.protobuf.timestamp_pb2 import Timestamp
from rich.cells import cell_len, set_cell_size
from rich.console import Console

from deploy.local import tables
from deploy.local.clients import Metadata, Platform, bearer, explained
from deploy.local.environment import LocalSettings
from deploy.local.errors import LocalError
from deploy.local.terminal import run
from fisc.gateway.v1 import operations_pb2 as pb

KEY_VARIABLE: Final = "FISC_OPERATOR_KEY"
LINES_MAX: Final = 100

commands = typer.Typer(
    name="ops",
    help="Look into payments, captures, refunds and payouts that are stuck, and bring them to an end. Times are UTC.",
    no_args_is_help=True,
)
operator = typer.Typer(name="operator", help="Who may propose and decide.", no_args_is_help=True)
commands.add_typer(operator)

SubjectArgument = Annotated[str, typer.Argument(metavar="ID", help="pay_…, cap_…, ref_…, pout_…")]
OperatorArgument = Annotated[
    str, typer.Argument(metavar="OPERATOR", help="A staff number or name.")
]
KeyFileOption = Annotated[
    Path | None, typer.Option(help=f"File with your operator key; else {KEY_VARIABLE}.")
]
Work = Callable[[Platform, Console], Awaitable[None]]


@commands.command()
def stuck(
    flow: Annotated[str, typer.Option(help="payment, capture, refund or payout; else all.")] = "",
) -> None:
    """List what stands before a person, is quarantined or overdue, oldest first."""
    _do(lambda platform, out: show_stuck(platform, out, flow))


@commands.command()
def cases(
    every: Annotated[bool, typer.Option("--all", help="Closed ones too.")] = False,
) -> None:
    """List the cases, newest first."""
    _do(lambda platform, out: show_cases(platform, out, only_open=not every))


@commands.command()
def show(subject_id: SubjectArgument) -> None:
    """Tell one's whole history in words."""
    _do(lambda platform, out: show_history(platform, out, subject_id))


@commands.command()
def retry(subject_id: SubjectArgument, key_file: KeyFileOption = None) -> None:
    """Have it tried again now, and end its quarantine. Needs your key."""
    key = operator_key(key_file)
    _do(lambda platform, out: retry_saga(platform, out, key, subject_id))


@commands.command()
def propose(
    subject_id: SubjectArgument,
    state: Annotated[
        str, typer.Argument(help="SUCCEEDED, FAILED, CANCELED, RETURNED or RESOLVED.")
    ],
    note: Annotated[str, typer.Option(help="On what evidence; at least 8 characters.")],
    key_file: KeyFileOption = None,
) -> None:
    """Propose to end it in a state, or to close the case of what has ended; another person decides. Needs your key."""
    key = operator_key(key_file)
    _do(lambda platform, out: propose_force(platform, out, key, subject_id, state=state, note=note))


@commands.command()
def decide(
    force_id: Annotated[str, typer.Argument(metavar="FORCE", help="for_…")],
    is_approved: Annotated[bool, typer.Option("--approve/--reject", help="Your decision.")],
    note: Annotated[str, typer.Option(help="Why.")] = "",
    key_file: KeyFileOption = None,
) -> None:
    """Approve or reject what another person proposed; approved, it is carried out at once. Needs your key."""
    key = operator_key(key_file)
    _do(
        lambda platform, out: decide_force(
            platform, out, key, force_id, is_approved=is_approved, note=note
        )
    )


@commands.command()
def forces() -> None:
    """List the proposals, newest first."""
    _do(show_forces)


@commands.command()
def audit(
    subject: Annotated[str, typer.Option(help="Only about this one.")] = "",
) -> None:
    """List who did what, newest first."""
    _do(lambda platform, out: show_audit(platform, out, subject))


@commands.command()
def verify() -> None:
    """Compute the audit chain's hashes anew; fails when it is broken."""
    _do(verify_chain)


@operator.command()
def add(operator_id: OperatorArgument) -> None:
    """Let a person in, and print the key, once."""
    _do(lambda platform, out: add_operator(platform, out, operator_id))


@operator.command()
def revoke(operator_id: OperatorArgument) -> None:
    """End a person's key."""
    _do(lambda platform, out: revoke_operator(platform, out, operator_id))


def operator_key(key_file: Path | None) -> Metadata:
    """The person's key as metadata; says what is missing and exits 1."""
    try:
        key = key_file.read_text() if key_file else os.environ.get(KEY_VARIABLE, "")
    except OSError as error:
        raise _failed(f"{key_file}: {error.strerror}") from error
    if not key.strip():
        raise _failed(f"This needs your operator key: set {KEY_VARIABLE}, or name a --key-file.")
    return bearer(key.strip())


async def show_stuck(platform: Platform, out: Console, flow: str) -> None:
    with explained("listing what is stuck"):
        answer = await platform.call(
            platform.operations.ListStuckSagas,
            pb.ListStuckSagasRequest(flow=flow, page_size=LINES_MAX),
        )
    _print(
        out,
        ("id", "why", "state", "reason", "merchant", "created", "due", "tries", "last fault"),
        [
            (
                saga.subject_id,
                _name(pb.StuckSaga.Why.Name(saga.why), "WHY_"),
                saga.state,
                saga.reason,
                saga.merchant_id,
                _when(saga.created_at),
                _when(saga.next_run_at) if saga.HasField("next_run_at") else "never",
                str(saga.faults_count),
                saga.last_fault.partition("\n")[0],
            )
            for saga in answer.sagas
        ],
        none="nothing is stuck",
    )


async def show_cases(platform: Platform, out: Console, *, only_open: bool) -> None:
    with explained("listing the cases"):
        answer = await platform.call(
            platform.operations.ListCases,
            pb.ListCasesRequest(is_open=only_open, page_size=LINES_MAX),
        )
    _print(
        out,
        ("case", "about", "merchant", "reason", "opened", "closed", "by"),
        [
            (
                case.case_id,
                case.subject_id,
                case.merchant_id,
                case.reason,
                _when(case.opened_at),
                _when(case.closed_at) if case.HasField("closed_at") else "",
                case.resolution,
            )
            for case in answer.cases
        ],
        none="no case is open" if only_open else "there was never a case",
    )


async def show_history(platform: Platform, out: Console, subject_id: str) -> None:
    with explained(f"looking up {subject_id}"):
        evidence = await platform.call(
            platform.operations.GetEvidence, pb.GetEvidenceRequest(subject_id=subject_id)
        )
    for line in evidence.history:
        out.print(f"{_when(line.at)}  {line.text}")


async def retry_saga(platform: Platform, out: Console, key: Metadata, subject_id: str) -> None:
    request = pb.RetrySagaRequest(request_id=secrets.token_hex(16), subject_id=subject_id)
    with explained(f"retrying {subject_id}"):
        answer = await platform.call(platform.operations.RetrySaga, request, metadata=key)
    out.print(f"{subject_id} is {answer.saga.state}, due {_when(answer.saga.next_run_at)}")


async def propose_force(
    platform: Platform, out: Console, key: Metadata, subject_id: str, *, state: str, note: str
) -> None:
    request = pb.ProposeForceRequest(
        request_id=secrets.token_hex(16), subject_id=subject_id, to_state=state.upper(), note=note
    )
    with explained(f"proposing to force {subject_id}"):
        force = (await platform.call(platform.operations.ProposeForce, request, metadata=key)).force
    out.print(
        f"{force.force_id}: {subject_id} to {force.to_state}, proposed by {force.maker_id}\n"
        f"another person decides with: fisc ops decide {force.force_id} --approve"
    )


async def decide_force(
    platform: Platform,
    out: Console,
    key: Metadata,
    force_id: str,
    *,
    is_approved: bool,
    note: str,
) -> None:
    request = pb.DecideForceRequest(force_id=force_id, is_approved=is_approved, note=note)
    with explained(f"deciding {force_id}"):
        force = (await platform.call(platform.operations.DecideForce, request, metadata=key)).force
    state = _name(pb.Force.State.Name(force.state), "STATE_")
    out.print(f"{force_id}: {state} by {force.checker_id}, {force.subject_id} to {force.to_state}")
    if force.state == pb.Force.STATE_STALE:
        raise LocalError(
            "nothing was forced: it has moved since the proposal; look, and propose anew"
        )


async def show_forces(platform: Platform, out: Console) -> None:
    with explained("listing the proposals"):
        answer = await platform.call(
            platform.operations.ListForces, pb.ListForcesRequest(page_size=LINES_MAX)
        )
    _print(
        out,
        ("force", "state", "about", "to", "maker", "checker", "proposed", "note"),
        [
            (
                force.force_id,
                _name(pb.Force.State.Name(force.state), "STATE_"),
                force.subject_id,
                force.to_state,
                force.maker_id,
                force.checker_id,
                _when(force.proposed_at),
                force.note,
            )
            for force in answer.forces
        ],
        none="nothing was ever proposed",
    )


async def show_audit(platform: Platform, out: Console, subject_id: str) -> None:
    with explained("reading the audit chain"):
        answer = await platform.call(
            platform.operations.ListAuditRecords,
            pb.ListAuditRecordsRequest(subject_id=subject_id, page_size=LINES_MAX),
        )
    _print(
        out,
        ("number", "at", "who", "did", "to", "detail"),
        [
            (
                str(record.number),
                _when(record.at),
                record.operator_id,
                record.action,
                record.subject_id,
                record.detail,
            )
            for record in answer.records
        ],
        none="nothing is recorded",
    )


async def verify_chain(platform: Platform, out: Console) -> None:
    with explained("verifying the audit chain"):
        verdict = await platform.call(
            platform.operations.VerifyAuditChain, pb.VerifyAuditChainRequest()
        )
    out.print(f"{verdict.records_count} records, last hash {verdict.last_hash or 'none'}")
    if verdict.first_broken_number:
        raise LocalError(f"THE CHAIN IS BROKEN at record {verdict.first_broken_number}")
    out.print("every record fits its hash and its place")


async def add_operator(platform: Platform, out: Console, operator_id: str) -> None:
    request = pb.CreateOperatorRequest(request_id=secrets.token_hex(16), operator_id=operator_id)
    with explained(f"letting {operator_id} in"):
        answer = await platform.call(platform.operations.CreateOperator, request)
    out.print(answer.operator_key)


async def revoke_operator(platform: Platform, out: Console, operator_id: str) -> None:
    request = pb.RevokeOperatorRequest(request_id=secrets.token_hex(16), operator_id=operator_id)
    with explained(f"revoking the key of {operator_id}"):
        await platform.call(platform.operations.RevokeOperator, request)
    out.print(f"the key of {operator_id} is refused from now on")


def _do(work: Work) -> None:
    async def connected() -> None:
        async with Platform(LocalSettings.from_environ()) as platform:
            await work(platform, tables.console())

    run(connected())


def _failed(text: str) -> typer.Exit:
    typer.echo(text, err=True)
    return typer.Exit(1)


def _print(
    out: Console, columns: Sequence[str], rows: Sequence[tuple[str, ...]], *, none: str
) -> None:
    """In columns, whole: an id that is cut off cannot be copied."""
    if not rows:
        out.print(none)
        return
    lines = [tuple(columns), *rows]
    widths = [max(map(cell_len, column)) for column in zip(*lines, strict=True)]
    for line in lines:
        cells = (set_cell_size(cell, width) for cell, width in zip(line, widths, strict=True))
        out.print("  ".join(cells).rstrip())


def _name(text: str, prefix: str) -> str:
    name = text.removeprefix(prefix)
    return "" if name == "UNSPECIFIED" else name


def _when(at: Timestamp) -> str:
    return f"{at.ToDatetime():%Y-%m-%d %H:%M:%S}"
