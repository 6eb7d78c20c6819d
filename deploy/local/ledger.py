"""`fisc ledger`: what shows that the ledger is whole."""

from typing import Annotated

import grpc
import typer
from rich.console import Console

from deploy.local import tables
from deploy.local.clients import STREAM_TIMEOUT_S, explained
from deploy.local.environment import LocalSettings
from deploy.local.errors import LocalError
from deploy.local.terminal import run
from fisc.account.v1 import account_pb2 as pb
from fisc.account.v1 import account_pb2_grpc
from libs.rpc import client

commands = typer.Typer(
    name="ledger", help="Prove that nothing booked was changed.", no_args_is_help=True
)


@commands.callback()
def _group() -> None:
    # With a callback a single command keeps its name.
    pass


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
