"""The `fisc` command: start everything, replay a day, close it, look at it."""

import asyncio
import shutil
import signal
import tempfile
import time
from collections.abc import Callable
from datetime import date, datetime
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from deploy.local import checks, dayfile, ledger, ops, payouts, ports, receiver, status, tables
from deploy.local.clients import Platform
from deploy.local.credentials import Credentials
from deploy.local.day import SHIPPED, Day, Stage
from deploy.local.environment import LocalSettings
from deploy.local.errors import LocalError
from deploy.local.replay import CONCURRENCY_DEFAULT, Options
from deploy.local.suite import Suite
from deploy.local.terminal import run

main = typer.Typer(
    name="fisc",
    help="Fisc on this machine. FISC_BASE_PORT and FISC_DATA_DIR say which suite is meant.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)
main.add_typer(ops.commands)
main.add_typer(ledger.commands)
main.add_typer(payouts.commands)

DayFileArgument = Annotated[Path, typer.Argument(help="A day file; see docs/replay.md.")]
SpeedOption = Annotated[
    float, typer.Option(min=0, help="File seconds a real second; 0 is as fast as possible.")
]
ConcurrencyOption = Annotated[int, typer.Option(min=1, max=1024, help="Rows sent at once.")]
FaultsOption = Annotated[bool, typer.Option(help="Plant the demo's faults at the sandbox.")]


@main.callback()
def _obey_interrupts() -> None:
    # A shell that starts us in the background has SIGINT ignored; then nothing could stop us.
    signal.signal(signal.SIGINT, signal.default_int_handler)


@main.command()
def up() -> None:
    """Start everything and stay up until Ctrl-C; the first start also plays a whole day."""
    run(_up(LocalSettings.from_environ()), when_interrupted=0)


@main.command()
def demo() -> None:
    """Play a day in a throw-away directory; succeed only if everything adds up."""
    directory = Path(tempfile.mkdtemp(prefix="fisc-demo-"))
    try:
        settings = LocalSettings(base_port=ports.find_free_base(), data_dir=directory / "data")
        day = asyncio.run(_demo(settings))
        checks.require(day.checks)
    except (LocalError, KeyboardInterrupt) as error:
        typer.echo(f"logs are kept in {directory}")
        typer.echo(f"DEMO FAILED: {' '.join(str(error).split()) or 'interrupted'}")
        raise typer.Exit(1) from error
    shutil.rmtree(directory, ignore_errors=True)
    typer.echo(ok_line(day))


@main.command()
def replay(
    file: DayFileArgument,
    speed: SpeedOption = 0.0,
    concurrency: ConcurrencyOption = CONCURRENCY_DEFAULT,
    faults: FaultsOption = True,
) -> None:
    """Send a day file to the running suite; a file sent before changes nothing."""
    options = Options(speed=speed, concurrency=concurrency, with_faults=faults)
    run(_replay(LocalSettings.from_environ(), file, options))


@main.command()
def close(day: Annotated[str, typer.Argument(metavar="DATE", help="YYYY-MM-DD")]) -> None:
    """Close a business day: fetch the bills, match, settle and book."""
    try:
        parsed = date.fromisoformat(day)
    except ValueError as error:
        raise typer.BadParameter(f"{day!r} is not a date such as 2026-11-11") from error
    run(_close(LocalSettings.from_environ(), parsed))


@main.command(name="status")
def show_status() -> None:
    """Show whether everything serves, and how the latest day stands."""
    is_well = run(_status(LocalSettings.from_environ()))
    raise typer.Exit(0 if is_well else 1)


def ok_line(day: Day) -> str:
    """The line by which a machine reads that everything holds."""
    report = day.close.report
    return (
        f"DEMO OK payments={report.payments_count} refunds={report.refunds_count} "
        f"payouts={report.payouts_count} matched={report.matched_count} "
        f"differences={report.differences_count} ledger_sum={day.facts.imbalance_minor}"
    )


async def _up(settings: LocalSettings) -> None:
    out = tables.console()
    file = dayfile.load(SHIPPED)
    async with Suite(settings, on_progress=_Teller(out)) as suite:
        credentials = Credentials(settings.data_dir)
        async with (
            receiver.running(settings, _secret_of(credentials)) as hearing,
            Platform(settings) as platform,
        ):
            stage = Stage(platform, credentials, out)
            seeded = await stage.seed(receiver.url(settings))
            if await stage.is_closed(file.business_date):
                again = "corrected what had moved" if seeded else "nothing was seeded or replayed"
                stage.tell(f"found the data of an earlier start in {settings.data_dir}: {again}")
                await status.show(platform, out)
            else:
                await stage.whole(file, Options(), hearing)
            _show_addresses(out, suite)
            await suite.run_until_stopped()


async def _demo(settings: LocalSettings) -> Day:
    out = tables.console()
    file = dayfile.load(SHIPPED)
    async with Suite(settings, on_progress=_Teller(out)) as suite:
        credentials = Credentials(settings.data_dir)
        async with (
            receiver.running(settings, _secret_of(credentials)) as hearing,
            Platform(settings) as platform,
        ):
            stage = Stage(platform, credentials, out)
            await stage.seed(receiver.url(settings))
            day = await stage.whole(file, Options(), hearing)
        _show_addresses(out, suite)
        return day


async def _replay(settings: LocalSettings, path: Path, options: Options) -> None:
    file = dayfile.load(path)
    async with Platform(settings) as platform:
        await platform.check_reachable()
        stage = Stage(platform, Credentials(settings.data_dir), tables.console())
        replayed = await stage.replay(file, options)
        await stage.show_faults(replayed, None)
        stage.tell(f"\nclose the day with: fisc close {file.business_date}")


async def _close(settings: LocalSettings, day: date) -> None:
    async with Platform(settings) as platform:
        await platform.check_reachable()
        await Stage(platform, Credentials(settings.data_dir), tables.console()).close(day)


async def _status(settings: LocalSettings) -> bool:
    async with Platform(settings) as platform:
        await platform.check_reachable()
        return await status.show(platform, tables.console())


class _Teller:
    """Prints progress with the seconds since the start."""

    def __init__(self, out: Console) -> None:
        self._out = out
        self._began = time.monotonic()

    def __call__(self, text: str) -> None:
        self._out.print(f"[{time.monotonic() - self._began:5.1f} s] {text}")


def _secret_of(credentials: Credentials) -> Callable[[str], str]:
    """A merchant's webhook secret, "" for one we do not play; read anew after each rotation."""
    return lambda merchant_id: credentials.webhook_secrets.get(merchant_id, "")


def _show_addresses(out: Console, suite: Suite) -> None:
    settings = suite.settings
    out.print(f"\nAddresses, {datetime.now().astimezone():%H:%M:%S}")
    out.print(f"  gateway (gRPC)   {suite.target('gateway')}")
    out.print(f"  cockpit          {suite.url('cockpit')}")
    out.print(f"  sandbox          {suite.url('sandbox')}")
    out.print(f"  callbacks        {suite.callback_base_url}")
    out.print(f"  metrics          {suite.metrics_url('gateway')} and the next ports")
    out.print(f"  data and logs    {settings.data_dir}")


if __name__ == "__main__":
    main()
