"""A directory shared with a bank: `outbox` for it, `inbox` from it, and `own` for what must survive us.

The files are the truth, so a crash at any line is mended by doing the same again: an order is taken in by one link that
can be made once, a message is whole before it is seen, and what was perhaps handed over is handed over again under the
same number, which the bank knows. One lock in `own` orders what several processes do here; the volume must support it.
"""

import fcntl
import hashlib
import os
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from datetime import date, datetime
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

import orjson

from libs import camt
from services.gateway.channels.answers import Malformed
from services.gateway.channels.iso20022 import messages, reports
from services.gateway.channels.iso20022.reports import Fact, Told
from services.gateway.channels.iso20022.settings import Settings
from services.gateway.domain.channel import PayoutOrder

FILE_BYTES_MAX: Final = 64 << 20
FILES_A_ROUND_MAX: Final = 500
FACTS_BYTES_MAX: Final = 1 << 20
LOCK_WAIT_MAX_S: Final = 2.0
LOCK_RETRY_S: Final = 0.01
# A file without a checksum is believed to be whole when nobody has written to it for this long.
QUIET_S: Final = 10.0
# A file that never comes to fit its checksum is put aside after this long.
TORN_MAX_S: Final = 3_600.0
NAME_BYTES_MAX: Final = 180
MESSAGE, CHECKSUM, BALANCE = "message.xml", ".sha256", "balance.xml"
_FOLDERS: Final = (
    "orders", "waiting", "placed", "sending", "sent", "facts", "statements", "read", "refused",
)  # fmt: skip


class DropBusy(Exception):
    """The directory cannot be used now: nothing was written."""


class OrderConflict(Exception):
    """The number is taken by an order with other terms."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where a payout is: `is_handed_over` once its message was put before the bank."""

    message_id: str
    is_handed_over: bool


class Drop:
    """One channel's directory. Blocking: call it in a thread."""

    def __init__(self, root: Path, settings: Settings) -> None:
        self._settings = settings
        self._outbox, self._inbox, self._own = root / "outbox", root / "inbox", root / "own"
        for name in _FOLDERS:
            (self._own / name).mkdir(parents=True, exist_ok=True)

    # Orders

    def accept(self, order: PayoutOrder, now: datetime) -> None:
        """Take an order in, once. Raises OrderConflict, DropBusy."""
        content = orjson.dumps(asdict(order), option=orjson.OPT_SORT_KEYS)
        path = self._own / "orders" / _name(order.out_ref)
        with self._locked():
            if path.exists():
                if _terms(path.read_bytes()) != _terms(content):
                    raise OrderConflict(order.out_ref)
            else:
                # Waiting first: an order that stands in `orders` alone would never be sent.
                _write(self._own / "waiting" / path.name, content)
                os.link(self._own / "waiting" / path.name, path)
            self._hand_over(now, is_forced=False)

    def hand_over(self, now: datetime, *, is_forced: bool = False) -> None:
        """Send what has waited long enough, or (forced) all that waits. Raises DropBusy."""
        with self._locked():
            self._hand_over(now, is_forced=is_forced)

    def place(self, out_ref: str) -> Place | None:
        """Where a payout is; None for one that was never taken in."""
        name = _name(out_ref)
        if not (self._own / "orders" / name).exists():
            return None
        placed = self._own / "placed" / name
        message = placed.read_text("utf-8") if placed.exists() else ""
        if message and (self._own / "sent" / message / name).exists():
            return Place(message_id=message, is_handed_over=True)
        return Place(message_id="", is_handed_over=False)

    def _hand_over(self, now: datetime, *, is_forced: bool) -> None:
        for unfinished in sorted((self._own / "sending").iterdir()):
            self._finish(unfinished, now)
        waiting = sorted((self._own / "waiting").glob("[!.]*"), key=lambda path: path.name)
        count_max = self._settings.batch_count_max
        while len(waiting) >= count_max or (waiting and (is_forced or self._is_due(waiting, now))):
            chosen, waiting = waiting[:count_max], waiting[count_max:]
            orders = [_order(path.read_bytes()) for path in chosen]
            folder = self._own / "sending" / messages.message_id(orders)
            folder.mkdir(exist_ok=True)
            for path in chosen:
                kept = self._own / "orders" / path.name
                if not kept.exists():
                    os.link(path, kept)
                _write(self._own / "placed" / path.name, folder.name.encode())
                path.rename(folder / path.name)
            self._finish(folder, now)

    def _is_due(self, waiting: Sequence[Path], now: datetime) -> bool:
        oldest_s = min(path.stat().st_mtime for path in waiting)
        return now.timestamp() - oldest_s >= self._settings.batch_window_s

    def _finish(self, folder: Path, now: datetime) -> None:
        """From a folder of orders to a message before the bank; each step may have been done already."""
        message = folder / MESSAGE
        if not message.exists():
            names = sorted(folder.glob("[!.]*"))
            orders = [_order(path.read_bytes()) for path in names]
            if not orders:
                folder.rmdir()
                return
            # A crash amid the moving leaves fewer orders than the number was made of; the number stays.
            _write(message, messages.payments(folder.name, orders, self._settings, now))
        content = message.read_bytes()
        name = f"pain001-{folder.name}.xml"
        digest = f"{hashlib.sha256(content).hexdigest()}  {name}\n"
        _write(self._outbox / f"{name}{CHECKSUM}", digest.encode())
        _write(self._outbox / name, content)
        folder.rename(self._own / "sent" / folder.name)

    # What the bank tells

    def collect(self, now: datetime) -> int:
        """Read what lies in the inbox, whole files only; how many. Raises DropBusy."""
        count = 0
        for path in sorted(self._inbox.glob("[!.]*.xml"))[:FILES_A_ROUND_MAX]:
            content = self._whole(path, now)
            if content is not None:
                self._take(path, content)
                count += 1
        return count

    def facts(self, out_ref: str) -> list[Fact]:
        """All that was said of a payout and of its message."""
        place = self.place(out_ref)
        names = [_name(out_ref)]
        if place is not None and place.message_id:
            names.append(f"message-{_name(place.message_id)}")
        return [fact for name in names for fact in self._read_facts(name)]

    def statement(self, day: date) -> bytes | None:
        """The day's statement as it came, or None. Raises Malformed for one in several files."""
        path = self._own / "statements" / f"{day.isoformat()}.xml"
        if path.exists():
            return path.read_bytes()
        if path.with_suffix(".part.xml").exists():
            raise Malformed("the statement came in several files")
        return None

    def latest_report(self) -> bytes | None:
        """The latest account report that says what may be paid out, as it came."""
        path = self._own / "statements" / BALANCE
        return path.read_bytes() if path.exists() else None

    def _whole(self, path: Path, now: datetime) -> bytes | None:
        """The content of a file that is surely complete; one that never will be is put aside."""
        try:
            descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
        except OSError:
            return None
        with open(descriptor, "rb") as file:  # noqa: PTH123 (a descriptor that follows no link)
            state = os.fstat(descriptor)
            if state.st_size > FILE_BYTES_MAX:
                self._refuse(path, "too long")
                return None
            content = file.read(FILE_BYTES_MAX + 1)
        age_s = now.timestamp() - state.st_mtime
        checksum = path.with_name(path.name + CHECKSUM)
        if checksum.is_file():
            stated = checksum.read_bytes()[:64].decode("ascii", "replace").lower()
            if stated == hashlib.sha256(content).hexdigest():
                return content
            if age_s > TORN_MAX_S:
                self._refuse(path, "does not fit its checksum")
            return None
        if self._settings.checksums_required:
            return None
        return content if age_s >= QUIET_S else None

    def _take(self, path: Path, content: bytes) -> None:
        try:
            told = reports.read(content, zone=self._settings.zone)
        except Malformed as error:
            self._refuse(path, str(error))
            return
        digest = hashlib.sha256(content).hexdigest()[:16]
        with self._locked():
            if path.exists():
                self._keep_facts(told)
                self._keep_reports(told, content)
                self._move(path, self._own / "read" / f"{digest}-{path.name[-NAME_BYTES_MAX:]}")

    def _keep_facts(self, told: Told) -> None:
        by_file: dict[str, list[Fact]] = {}
        for fact in told.facts:
            if not fact.end_to_end_id:
                by_file.setdefault(f"message-{_name(fact.message_id)}", []).append(fact)
            elif (self._own / "orders" / _name(fact.end_to_end_id)).exists():
                by_file.setdefault(_name(fact.end_to_end_id), []).append(fact)
        for name, facts in by_file.items():
            known = self._read_facts(name)
            new = [fact for fact in facts if fact not in known]
            if not new:
                continue
            lines = b"".join(orjson.dumps(asdict(fact)) + b"\n" for fact in [*known, *new])
            if len(lines) <= FACTS_BYTES_MAX:
                _write(self._own / "facts" / name, lines)

    def _read_facts(self, name: str) -> list[Fact]:
        path = self._own / "facts" / name
        if not path.exists():
            return []
        return [_fact(line) for line in path.read_bytes().splitlines()]

    def _keep_reports(self, told: Told, content: bytes) -> None:
        ours = [each for each in told.reports if each.account == self._settings.debtor_account]
        if told.kind == camt.STATEMENT:
            for report in ours:
                moment = report.until_at or report.from_at or report.created_at
                closing = report.balance("CLBD")
                day = closing.day if closing and closing.day else None
                if day is None and moment is not None:
                    day = moment.astimezone(self._settings.zone).date()
                if day is not None:
                    is_whole = report.page == 1 and report.is_last_page
                    suffix = ".xml" if is_whole else ".part.xml"
                    _write(self._own / "statements" / f"{day.isoformat()}{suffix}", content)
        if any(each.balance("ITAV", "CLAV", "ITBD", "CLBD") for each in ours):
            _write(self._own / "statements" / BALANCE, content)

    def _refuse(self, path: Path, reason: str) -> None:
        """Keep the bytes with the reason, out of the bank's way."""
        target = self._own / "refused" / f"{time.time_ns()}-{path.name[-NAME_BYTES_MAX:]}"
        _write(target.with_name(target.name + ".reason"), reason.encode())
        self._move(path, target)

    def _move(self, path: Path, target: Path) -> None:
        # Another process may have been faster, or a crash may have left a copy.
        with suppress(FileNotFoundError):
            path.replace(target)
        path.with_name(path.name + CHECKSUM).unlink(missing_ok=True)

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """Raises DropBusy when another process holds on, or the volume is gone."""
        try:
            descriptor = os.open(self._own / "lock", os.O_RDWR | os.O_CREAT, 0o600)
        except OSError as error:
            raise DropBusy(str(error)) from error
        try:
            ends_at_s = time.monotonic() + LOCK_WAIT_MAX_S
            while not _is_taken(descriptor):
                if time.monotonic() > ends_at_s:
                    raise DropBusy("another process holds the directory")
                time.sleep(LOCK_RETRY_S)
            yield
        finally:
            os.close(descriptor)


def _is_taken(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _name(reference: str) -> str:
    """A reference as a file name of its own: no path, no hidden file, and never too long."""
    quoted = quote(reference, safe="").replace(".", "%2E")
    if len(quoted) > NAME_BYTES_MAX:
        return "long-" + hashlib.sha256(reference.encode()).hexdigest()
    return quoted or "%00"


def _write(path: Path, content: bytes) -> None:
    """Appear whole under the name, or not at all, whatever happens to the machine."""
    unfinished = path.with_name(f".{path.name}.{os.getpid()}.part")
    descriptor = os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o640)
    with open(descriptor, "wb") as file:  # noqa: PTH123 (a descriptor with its mode)
        file.write(content)
        file.flush()
        os.fsync(descriptor)
    unfinished.rename(path)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def _order(content: bytes) -> PayoutOrder:
    fields = orjson.loads(content)
    return PayoutOrder(**fields | {"sent_at": datetime.fromisoformat(fields["sent_at"])})


def _terms(content: bytes) -> tuple[Any, ...]:
    fields = orjson.loads(content)
    return tuple(fields[name] for name in ("amount_minor", "currency", "payee_account"))


def _fact(line: bytes) -> Fact:
    fields = orjson.loads(line)
    for name in ("said_at", "moved_at"):
        if fields[name] is not None:
            fields[name] = datetime.fromisoformat(fields[name])
    return Fact(**fields)
