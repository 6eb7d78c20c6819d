"""A day from its file to its close, in the order the commands need it, printed as it comes."""

from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Final

from rich.console import Console

from deploy.local import checks, close, dayfile, evidence, progress, replay, summary, tables
from deploy.local.checks import Check, Facts
from deploy.local.clients import Platform, explained
from deploy.local.close import Close
from deploy.local.credentials import Credentials
from deploy.local.dayfile import DayFile
from deploy.local.receiver import Receiver
from deploy.local.replay import Options, Replay
from deploy.local.seed import Seeder
from fisc.clearing.v1 import clearing_pb2
from fisc.router.v1 import router_pb2

SHIPPED: Final = Path(__file__).with_name("data") / "day-2026-11-11.csv"


@dataclass(frozen=True, slots=True, kw_only=True)
class Day:
    """A whole day: replayed, closed, checked."""

    replay: Replay
    close: Close
    facts: Facts
    checks: list[Check]


class Stage:
    """One running suite, and where to print."""

    def __init__(self, platform: Platform, credentials: Credentials, out: Console) -> None:
        self._platform = platform
        self._credentials = credentials
        self._out = out

    def tell(self, text: str) -> None:
        """Print one line of progress."""
        self._out.print(text)

    async def seed(self, receiver_url: str) -> bool:
        """Furnish the suite; whether anything was missing."""
        seeder = Seeder(
            self._platform, self._credentials, receiver_url=receiver_url, on_progress=self.tell
        )
        with explained("seeding"):
            return await seeder.seed()

    async def is_closed(self, day: date) -> bool:
        """Whether clearing says that the day is closed."""
        with explained("asking clearing for the day"):
            answer = await self._platform.call(
                self._platform.clearing.GetDayReport,
                clearing_pb2.GetDayReportRequest(business_date=day.isoformat()),
            )
        return answer.report.closed

    async def replay(self, file: DayFile, options: Options) -> Replay:
        """Send a file and print what became of it by channel."""
        dayfile.check_merchants(file, list(self._credentials.api_keys))
        with explained("replaying"), progress.shown(self._out, file.name) as on_progress:
            replayed = await replay.replay(
                self._platform, self._credentials, file, options, on_progress
            )
        with explained("reading the channels"):
            listed = self._platform.pages(
                self._platform.router.ListChannels, router_pb2.ListChannelsRequest(), "channels"
            )
            channels = [channel async for channel in listed]
        lines = summary.by_channel(replayed.outcomes, channels)
        tables.show_replay(self._out, replayed, lines)
        tables.show_reviews(self._out, replayed.reviewer.decided)
        return replayed

    async def show_faults(self, replayed: Replay, closed: Close | None) -> list[evidence.Finding]:
        """Print the planted faults and what was done about them."""
        with explained("asking for evidence"):
            differences = None if closed is None else closed.differences
            findings = await evidence.find(self._platform, replayed, differences)
        tables.show_findings(self._out, findings)
        return findings

    async def close(self, day: date) -> Close:
        """Close a day and print its report."""
        with explained("closing the day"):
            closed = await close.close_day(self._platform, day, self.tell)
        tables.show_close(self._out, closed)
        return closed

    async def whole(self, file: DayFile, options: Options, receiver: Receiver) -> Day:
        """Replay, close, and check that everything holds."""
        replayed = await self.replay(file, options)
        closed = await self.close(file.business_date)
        findings = await self.show_faults(replayed, closed)
        with explained("gathering what must hold"):
            facts = await checks.gather_settled(self._platform, file.business_date)
        found = checks.check_all(replayed, closed, facts, findings, receiver.heard)
        tables.show_checks(self._out, found)
        return Day(replay=replayed, close=closed, facts=facts, checks=found)
