"""`fisc payouts`: whole files of payouts, sent and followed by a person. docs/bulk.md tells how."""

import csv
import hashlib
import os
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Annotated, Final

import typer
from rich.console import Console

from deploy.local import tables
from deploy.local.credentials import Credentials
from deploy.local.environment import LocalSettings
from deploy.local.errors import LocalError
from deploy.local.terminal import run
from fisc.client import FiscClient, FiscClientError, PayoutFile, PayoutFileRow
from libs.errors import FiscError
from libs.money import Money

KEY_VARIABLE: Final = "FISC_API_KEY"
FILES_SHOWN_MAX: Final = 50
RESULT_COLUMNS: Final = (
    "row", "line", "ref", "amount", "payee_name", "account_tail", "state", "reason", "payout_id", "problems",
)  # fmt: skip

commands = typer.Typer(
    name="payouts",
    help=f"Send files of payouts (代发) and follow them. The merchant is who {KEY_VARIABLE} or --merchant names.",
    no_args_is_help=True,
)

IdArgument = Annotated[str, typer.Argument(metavar="ID", help="pof_…")]
MerchantOption = Annotated[
    str, typer.Option(help=f"A merchant of the demo, whose key is used in place of {KEY_VARIABLE}.")
]
Work = Callable[[FiscClient, Console], Awaitable[None]]


@commands.command()
def send(
    file: Annotated[Path, typer.Argument(help="A CSV file; its columns stand in docs/bulk.md.")],
    *,
    rows: Annotated[int, typer.Option(min=1, help="Control total: how many rows.")],
    total: Annotated[str, typer.Option("--sum", help="Control total: the sum, such as 1234.50.")],
    merchant: MerchantOption = "",
    currency: Annotated[str, typer.Option(help="Of every amount in it.")] = "CNY",
    gb18030: Annotated[bool, typer.Option(help="The text is GB18030 (GBK), not UTF-8.")] = False,
    pay_good: Annotated[
        bool, typer.Option(help="Pay the good rows even if others are bad.")
    ] = False,
    needs_approval: Annotated[
        bool, typer.Option(help="Wait until another API key has approved it.")
    ] = False,
    request_id: Annotated[
        str, typer.Option(help="Key of this file; by default made of all that is said here.")
    ] = "",
    again: Annotated[
        bool, typer.Option(help="The same content was sent before, and is meant once more.")
    ] = False,
) -> None:
    """Send a file. An upload that broke off goes on where it stopped when the command is given again."""

    async def work(fisc: FiscClient, out: Console) -> None:
        try:
            data = file.read_bytes()
            sum_minor = Money.parse(total, currency).amount_minor
        except OSError as error:
            raise LocalError(f"{file} cannot be read: {error.strerror or error}") from error
        except FiscError as error:
            raise LocalError(f"--sum {total}: {error.message}") from error
        said = (rows, sum_minor, currency, gb18030, pay_good, needs_approval, again)
        sent = await fisc.payout_files.send(
            data,
            request_id=request_id or _request_id(file.name, data, said),
            name=file.name,
            currency=currency,
            rows_count=rows,
            sum_minor=sum_minor,
            encoding="GB18030" if gb18030 else "UTF8",
            pays_good_rows=pay_good,
            needs_approval=needs_approval,
            allows_repeat=again,
            on_progress=lambda part: _say(out, f"{part.received_bytes} of {part.size_bytes} bytes"),
        )
        out.print(
            f"{sent.payout_file_id}: {_state(sent)}\n"
            f"follow it with: fisc payouts watch {sent.payout_file_id}"
        )

    _do(merchant, work)


@commands.command()
def watch(file_id: IdArgument, merchant: MerchantOption = "") -> None:
    """Follow a file until it has ended or waits for somebody; fails when it was refused."""

    async def work(fisc: FiscClient, out: Console) -> None:
        last = PayoutFile()
        async for last in fisc.payout_files.watch(file_id):
            _say(out, _progress(last))
            if last.state in (PayoutFile.STATE_WAITING, PayoutFile.STATE_PAUSED):
                break
        if last.state == PayoutFile.STATE_REFUSED:
            out.print(f"what is wrong with which row: fisc payouts results {file_id} --only-bad")
            raise LocalError(f"{file_id} was refused: {last.reason}: {last.reason_detail}")
        if last.state == PayoutFile.STATE_WAITING:
            out.print(f"another key decides with: fisc payouts approve {file_id}")

    _do(merchant, work)


@commands.command()
def results(
    file_id: IdArgument,
    merchant: MerchantOption = "",
    after: Annotated[int, typer.Option(min=0, help="Only rows after this one.")] = 0,
    only_bad: Annotated[bool, typer.Option("--only-bad", help="Only bad rows.")] = False,
) -> None:
    """Write each row with its result as CSV."""

    async def work(fisc: FiscClient, _: Console) -> None:
        currency = (await fisc.payout_files.get(file_id)).currency
        writer = csv.writer(sys.stdout)
        writer.writerow(RESULT_COLUMNS)
        found = fisc.payout_files.rows(file_id, after_row_number=after, only_bad=only_bad)
        async for row in found:
            writer.writerow(_result(row, currency))

    _do(merchant, work)


@commands.command(name="list")
def list_files(merchant: MerchantOption = "") -> None:
    """List the files, newest first."""

    async def work(fisc: FiscClient, out: Console) -> None:
        shown = 0
        async for file in fisc.payout_files.list(page_size=FILES_SHOWN_MAX):
            out.print(f"{file.payout_file_id}  {file.name}: {_progress(file)}", soft_wrap=True)
            shown += 1
            if shown == FILES_SHOWN_MAX:
                break
        if not shown:
            out.print("no file was ever sent")

    _do(merchant, work)


@commands.command()
def approve(file_id: IdArgument, merchant: MerchantOption = "") -> None:
    """Approve a file that another key has sent."""
    _tell(merchant, lambda fisc: fisc.payout_files.decide(file_id, is_approved=True))


@commands.command()
def reject(file_id: IdArgument, merchant: MerchantOption = "") -> None:
    """Reject a file that another key has sent."""
    _tell(merchant, lambda fisc: fisc.payout_files.decide(file_id, is_approved=False))


@commands.command()
def pause(file_id: IdArgument, merchant: MerchantOption = "") -> None:
    """Start no further row."""
    _tell(merchant, lambda fisc: fisc.payout_files.pause(file_id))


@commands.command()
def resume(file_id: IdArgument, merchant: MerchantOption = "") -> None:
    """Go on with a paused file."""
    _tell(merchant, lambda fisc: fisc.payout_files.resume(file_id))


@commands.command()
def cancel(file_id: IdArgument, merchant: MerchantOption = "") -> None:
    """Never pay the rows that have not started."""
    _tell(merchant, lambda fisc: fisc.payout_files.cancel(file_id))


def _tell(merchant: str, say: Callable[[FiscClient], Awaitable[PayoutFile]]) -> None:
    async def work(fisc: FiscClient, out: Console) -> None:
        file = await say(fisc)
        out.print(f"{file.payout_file_id}: {_progress(file)}")

    _do(merchant, work)


def _do(merchant: str, work: Work) -> None:
    async def connected() -> None:
        async with _client(merchant) as fisc:
            try:
                await work(fisc, tables.console())
            except FiscClientError as error:
                raise LocalError(str(error)) from error

    run(connected())


@asynccontextmanager
async def _client(merchant: str) -> AsyncIterator[FiscClient]:
    settings = LocalSettings.from_environ()
    keys = Credentials(settings.data_dir).api_keys
    key = keys.get(merchant, "") if merchant else os.environ.get(KEY_VARIABLE, "").strip()
    if not key:
        known = f" Merchants of the demo: {', '.join(sorted(keys))}." if keys else ""
        raise LocalError(
            f"Set {KEY_VARIABLE}, or name a --merchant whose key is known here.{known}"
        )
    async with FiscClient(f"{settings.host}:{settings.port('gateway')}", api_key=key) as fisc:
        yield fisc


def _request_id(name: str, data: bytes, said: object) -> str:
    """The same for the same command: given again, it goes on and pays nothing twice."""
    return hashlib.sha256(f"{name}\0{said}\0".encode() + data).hexdigest()[:32]


def _say(out: Console, text: str) -> None:
    out.print(text, soft_wrap=True)


def _state(file: PayoutFile) -> str:
    return PayoutFile.State.Name(file.state).removeprefix("STATE_")


def _progress(file: PayoutFile) -> str:
    parts = [_state(file), f"{file.rows_count} rows"]
    if file.bad_count:
        parts.append(f"{file.bad_count} bad")
    for name in ("started", "succeeded", "failed", "returned"):
        tally = getattr(file, name)
        if tally.count:
            amount = Money(file.currency, tally.amount_minor)
            parts.append(f"{name} {tally.count} ({amount})")
    if file.reason:
        parts.append(f"{file.reason}: {file.reason_detail}")
    return ", ".join(parts)


def _result(row: PayoutFileRow, currency: str) -> tuple[object, ...]:
    return (
        row.row_number,
        row.line_number,
        row.ref,
        Money(currency, row.amount_minor).format(),
        row.payee_name,
        row.payee_account_tail,
        PayoutFileRow.State.Name(row.state).removeprefix("STATE_"),
        row.reason,
        row.payout_id,
        "; ".join(f"{each.column}: {each.reason}".lstrip(": ") for each in row.problems),
    )
