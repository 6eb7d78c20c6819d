"""`fisc ledger`: what shows that the ledger is whole."""

from datetime import datetime
from typing import Annotated

import grpc
import typer
from rich.console import Console
from rich.table import Table

from deploy.local import tables
from deploy.local.clients import STREAM_TIMEOUT_S, Platform, explained
from deploy.local.environment import LocalSettings
from deploy.local.errors import LocalError
from deploy.local.terminal import run
from fisc.account.v1 import account_pb2 as pb
from fisc.account.v1 import account_pb2_grpc, treasury_pb2
from libs.money import Money
from libs.rpc import client

COLUMNS = ("claims", "positions", "in the bank", "in transit", "difference")

commands = typer.Typer(
    name="ledger",
    help="Prove that nothing booked was changed, and that real accounts cover what is claimed of them.",
    no_args_is_help=True,
)


@commands.command()
def verify(
    batches_only: Annotated[
        bool, typer.Option("--batches-only", help="Leave the accounts out.")
    ] = False,
) -> None:
    """Compute every batch's hash and every running balance anew; fails at the first that does not fit."""

    async def connected() -> None:
        settings = LocalSettings.from_environ()
        target = f"{settings.host}:{settings.port('account')}"
        async with client.open_channel(target, peer="command-line") as channel:
            await verify_ledger(channel, tables.console(), batches_only=batches_only)

    run(connected())


@commands.command()
def mirror(
    at: Annotated[
        str, typer.Option("--at", help="A past moment, as 2026-11-11T23:59:59+08:00.")
    ] = "",
) -> None:
    """Compare every real account with the virtual accounts that stand on it; fails if one differs."""
    moment = _moment(at)

    async def compared() -> None:
        async with Platform(LocalSettings.from_environ()) as platform:
            with explained("comparing real accounts"):
                mirrors = await platform.mirrors(moment)
            show_mirrors(mirrors, tables.console())

    run(compared())


def show_mirrors(mirrors: list[treasury_pb2.Mirror], out: Console) -> None:
    """Print each real account's parts. Raises LocalError naming those that differ."""
    table = Table("real account", "accounts", box=None)
    for name in COLUMNS:
        table.add_column(name, justify="right")
    for each in mirrors:
        parts = (
            each.claims_minor,
            each.positions_minor,
            each.bank_minor,
            each.in_transit_minor,
            each.difference_minor,
        )
        table.add_row(
            each.real_account_id or "(none)",
            str(each.accounts_count),
            *(f"{each.currency} {Money(each.currency, minor).format()}" for minor in parts),
        )
    out.print(table)
    compared = [each for each in mirrors if each.real_account_id]
    wrong = [each.real_account_id for each in compared if each.difference_minor]
    if wrong:
        raise LocalError(f"REAL ACCOUNTS DIFFER FROM THE LEDGER: {', '.join(wrong)}")
    out.print(f"{len(compared)} real accounts: what is claimed is there or on its way")


def _moment(text: str) -> datetime | None:
    """Read a moment with its zone, None for none. Raises typer.BadParameter."""
    if not text:
        return None
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from error
    if moment.tzinfo is None:
        raise typer.BadParameter("a moment needs its zone, as in +08:00")
    return moment


async def verify_ledger(
    channel: grpc.aio.Channel, out: Console, *, batches_only: bool = False
) -> None:
    """Print how far the proof has come, and the chains' heads. Raises LocalError for a ledger that is not whole."""
    statements = account_pb2_grpc.StatementServiceStub(channel)
    request = pb.VerifyChainRequest(batches_only=batches_only)
    last = pb.VerifyChainResponse()
    with explained("verifying the ledger"):
        async for last in statements.VerifyChain(request, timeout=STREAM_TIMEOUT_S):
            if out.is_terminal:
                out.print(_counts(last), end="\r")
    out.print(_counts(last))
    if not last.done:
        raise LocalError("the proof broke off before its end; run it again")
    if last.broken:
        raise LocalError(f"THE LEDGER IS BROKEN: {last.broken}")
    for head in last.heads:
        chain, number, digest = head.split(":")
        out.print(f"chain {chain}, batch {number}: {digest}")
    out.print("every batch fits its hash and its place, and every balance its entries")


def _counts(progress: pb.VerifyChainResponse) -> str:
    return (
        f"{progress.batches_count} batches, {progress.transfers_count} transfers, "
        f"{progress.accounts_count} accounts"
    )
