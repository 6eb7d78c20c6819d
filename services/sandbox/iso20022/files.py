"""The bank's file interface: looks into companies' directories, takes messages out, and puts its own in."""

import asyncio
import hashlib
import os
from datetime import date, timedelta
from pathlib import Path
from typing import Final, Protocol

from libs.log import get_logger
from services.sandbox import bank, bills
from services.sandbox.book import Book
from services.sandbox.clock import BusinessClock
from services.sandbox.faults import FaultBoard
from services.sandbox.iso20022 import messages
from services.sandbox.records import PROCESSING, Account, Payout

PROVIDER: Final = "iso20022"
ROUND_INTERVAL_S: Final = 0.1
DIRECTORY: Final = "directory"

_log = get_logger()


class Rules(Protocol):
    """What the file interface shares with the one over HTTP."""

    book: Book
    clock: BusinessClock
    faults: FaultBoard

    def take_in(
        self, account: Account, message_id: str, transfers: list[messages.Transfer]
    ) -> bytes:
        """Carry a message out; what the bank says of it."""
        ...

    def statement_of(self, account: Account, day_text: str) -> bytes:
        """camt.053 of a day."""
        ...


class Files:
    """A loop over the accounts that have a directory: `outbox` is the company's, `inbox` the bank's to write."""

    def __init__(self, player: Rules) -> None:
        self._player = player
        self._book = player.book
        self._told: dict[tuple[str, str], str] = {}
        self._numbers = 0

    async def run(self) -> None:
        """For ever; cancel to stop."""
        while True:
            for account in self._book.accounts():
                if account.provider == PROVIDER and account.terms.get(DIRECTORY):
                    try:
                        self._visit(account, Path(account.terms[DIRECTORY]))
                    except OSError as error:
                        _log.warning(
                            "directory not visited", account=account.account_id, error=repr(error)
                        )
            await asyncio.sleep(ROUND_INTERVAL_S)

    def _visit(self, account: Account, root: Path) -> None:
        if self._player.faults.stands(account.account_id, "down"):
            return
        for path in sorted((root / "outbox").glob("[!.]*.xml")):
            self._take(account, root, path)
        self._tell_news(account, root)
        self._write_statements(account, root)

    def _take(self, account: Account, root: Path, path: Path) -> None:
        checksum = path.with_name(path.name + ".sha256")
        content = path.read_bytes()
        if (
            not checksum.exists()
            or checksum.read_text()[:64] != hashlib.sha256(content).hexdigest()
        ):
            return
        try:
            message_id, transfers = messages.read_payments(content, account.terms["account"])
        except messages.MessageInvalid as invalid:
            now = self._player.clock.now()
            number = path.stem.removeprefix("pain001-")
            report = messages.status_report(
                number, [], now, messages.versions(account), group_status="RJCT", reason="FF01"
            )
            _log.info("message refused", account=account.account_id, reason=str(invalid))
        else:
            report = self._player.take_in(account, message_id, transfers)
            for each in transfers:
                found = self._book.find(Payout, account.account_id, each.end_to_end_id)
                if found is not None:
                    self._told[account.account_id, each.end_to_end_id] = found.status
        self._put(root, "pain002", report)
        path.unlink()
        checksum.unlink()

    def _tell_news(self, account: Account, root: Path) -> None:
        """Payments whose state is another than what was told: a report, and a notice of what moved."""
        news = [
            payout
            for payout in self._book.select(Payout, "WHERE account_id = ?", account.account_id)
            if self._told.get((account.account_id, payout.out_ref), PROCESSING) != payout.status
        ]
        if not news:
            return
        now, wanted = self._player.clock.now(), messages.versions(account)
        lines: list[bank.Line] = []
        for payout in news:
            self._put(
                root, "pain002", messages.status_report(payout.out_ref, [payout], now, wanted)
            )
            lines += [payout] if payout.finished_at and payout.status != "FAILED" else []
            lines += [bills.payout_return(payout)] if payout.returned_at else []
            self._told[account.account_id, payout.out_ref] = payout.status
        if lines:
            self._put(root, "camt054", messages.notification(account, lines, now, wanted))

    def _write_statements(self, account: Account, root: Path) -> None:
        """One for every day that is over, once, as far back as there were payments."""
        name = f"iso20022_stated/{account.account_id}"
        last = self._book.meta(name)
        yesterday = self._player.clock.today() - timedelta(days=1)
        rows = self._book.execute(
            "SELECT min(substr(created_at, 1, 10)) FROM payout WHERE account_id = ?",
            account.account_id,
        )
        if not rows[0][0]:
            return
        day = date.fromisoformat(rows[0][0])
        if last:
            day = max(day, date.fromisoformat(last) + timedelta(days=1))
        while day <= yesterday:
            self._put(root, f"camt053-{day}", self._player.statement_of(account, day.isoformat()))
            self._book.set_meta(name, day.isoformat())
            day += timedelta(days=1)

    def _put(self, root: Path, kind: str, content: bytes) -> None:
        """Whole, and after its checksum; or badly on request, to see what the company makes of it."""
        self._numbers += 1
        stamp = f"{self._player.clock.now():%Y%m%d%H%M%S}-{os.getpid()}-{self._numbers}"
        path = root / "inbox" / f"{kind}-{stamp}.xml"
        path.with_name(path.name + ".sha256").write_text(hashlib.sha256(content).hexdigest())
        unfinished = path.with_name(f".{path.name}")
        unfinished.write_bytes(content)
        unfinished.rename(path)
