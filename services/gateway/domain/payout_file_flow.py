"""The life of a payout file (代发文件): declared, uploaded, checked, perhaps approved, paid row by row, and done.

Rows start in their order, a part at a time, and `started_row` says how far: it is written down before the part is carried out, so that
whoever goes on after a crash carries out the same part again, under the same request_ids. What has started is seen through, also when the
file is paused or canceled; what has not, never happens then.
"""

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any, Final

from libs.saga import flow
from libs.saga.flow import Due, Signal, Step, leased_until
from services.gateway.domain import payout_rows
from services.gateway.domain.errors import (
    CheckerIsMaker,
    ChunkTooSmall,
    PayoutFileEnded,
    PayoutFileNotWaiting,
    UploadOffsetMismatch,
)
from services.gateway.domain.payout import RETURN_QUERY_S, RETURN_WINDOW_S
from services.gateway.domain.payout_file import (
    ENDED,
    STARTED,
    CancelWished,
    Checked,
    Chunk,
    ChunkCame,
    ChunksDone,
    Command,
    Decided,
    FileState,
    FileStep,
    PauseWished,
    PayoutFile,
    ResumeWished,
    RowEnd,
    RowsMoved,
    RowsRead,
    RowState,
    Settled,
    Taken,
    Unreadable,
)

CHUNK_BYTES_MIN: Final = 64 << 10
# An upload that nobody goes on with is given up.
UPLOAD_PATIENCE_S: Final = 24 * 3600
# A reviewed file waits for its approval at most this long.
APPROVAL_PATIENCE_S: Final = 7 * 24 * 3600
PART_ROWS: Final = 64
# After so many parts, what had not ended at once is looked at.
SETTLE_EVERY_PARTS: Final = 8
SETTLE_ROWS: Final = 1000
# Rows that wait for a bank are asked about soon at first, then rarely.
_SETTLE_BACKOFF_S: Final = (0.5, 1, 2, 5, 15, 60)
_RETRY_S: Final = 1.0


def open_file(draft: PayoutFile, now: datetime) -> FileStep:
    """It is known before any of it has come."""
    patience = timedelta(seconds=UPLOAD_PATIENCE_S)
    return Step(subject=replace(draft, next_run_at=now + patience))


def decide(file: PayoutFile, _: None, signal: Signal, now: datetime) -> FileStep | None:
    """What a signal means for a file; None when it means nothing (any more).

    Raises UploadOffsetMismatch, ChunkTooSmall, CheckerIsMaker, PayoutFileNotWaiting, PayoutFileEnded.
    """
    match signal:
        case ChunkCame():
            return _received(file, signal.chunk, now)
        case Checked() if file.state is FileState.CHECKING:
            return _checked(file, signal, now)
        case Unreadable() if file.state is FileState.CHECKING:
            return _refused(file, signal.reason, signal.detail, now)
        case Taken() if file.state in STARTED:
            return _taken(file, signal, now)
        case Settled():
            return _settled(file, signal, now)
        case Decided():
            return _decided(file, signal, now)
        case PauseWished() | ResumeWished() | CancelWished():
            return _wished(file, signal, now)
        case Due() if file.next_run_at is not None:
            return _due(file, now)
        case _:
            return None


def _received(file: PayoutFile, chunk: Chunk, now: datetime) -> FileStep | None:
    if file.state is not FileState.UPLOADING or chunk.offset_bytes < file.received_bytes:
        return None
    end = chunk.offset_bytes + len(chunk.data)
    if chunk.offset_bytes != file.received_bytes or end > file.size_bytes:
        raise UploadOffsetMismatch(
            field="offset_bytes",
            received_bytes=str(file.received_bytes),
            size_bytes=str(file.size_bytes),
        )
    is_last = end == file.size_bytes
    if not is_last and len(chunk.data) < CHUNK_BYTES_MIN:
        raise ChunkTooSmall(field="data", bytes_min=str(CHUNK_BYTES_MIN))
    patience = timedelta(seconds=0 if is_last else UPLOAD_PATIENCE_S)
    state = FileState.CHECKING if is_last else FileState.UPLOADING
    moved = _moved(file, now, state=state, received_bytes=end, next_run_at=now + patience)
    return Step(subject=moved, beside=(chunk,))


def _checked(file: PayoutFile, found: Checked, now: datetime) -> FileStep:
    good = [row for row in found.rows if not row.problems]
    read = _moved(
        file,
        now,
        columns=found.columns,
        checked_bytes=file.checked_bytes + found.bytes_count,
        checked_lines=file.checked_lines + found.lines_count,
        is_in_long_line=found.is_in_long_line,
        rows_count=file.rows_count + len(found.rows),
        rows_minor=file.rows_minor + sum(row.amount_minor for row in found.rows),
        bad_count=file.bad_count + len(found.rows) - len(good),
        good_minor=file.good_minor + sum(row.amount_minor for row in good),
        next_run_at=leased_until(now),
    )
    beside = (RowsRead(rows=found.rows),)
    if read.rows_count > payout_rows.ROWS_MAX:
        detail = f"more than {payout_rows.ROWS_MAX} rows"
        return _refused(file, "TOO_MANY_ROWS", detail, now)
    if read.checked_bytes < read.size_bytes:
        return Step(subject=read, beside=beside, command=Command.CHECK)
    return _judged(file, read, beside, now)


def _judged(
    file: PayoutFile, read: PayoutFile, beside: tuple[object, ...], now: datetime
) -> FileStep:
    """The whole file has been read: may it be paid?"""
    beside = (*beside, ChunksDone())
    reason, detail = _wrong(read)
    if reason:
        step = _refused(replace(read, version=file.version), reason, detail, now)
        return replace(step, beside=beside)
    if read.needs_approval:
        until = now + timedelta(seconds=APPROVAL_PATIENCE_S)
        return Step(
            subject=replace(read, state=FileState.WAITING, next_run_at=until), beside=beside
        )
    return Step(subject=replace(read, state=FileState.PAYING, next_run_at=now), beside=beside)


def _wrong(file: PayoutFile) -> tuple[str, str]:
    """(reason, detail) why nothing of a file is paid; ("", "") when it may be."""
    if file.rows_count != file.declared_rows:
        return (
            "CONTROL_COUNT_MISMATCH",
            f"{file.declared_rows} rows declared, {file.rows_count} found",
        )
    if file.bad_count and file.bad_rows != "PAY_GOOD":
        return "BAD_ROWS", f"{file.bad_count} of {file.rows_count} rows are bad"
    if file.rows_minor != file.declared_minor:
        return (
            "CONTROL_SUM_MISMATCH",
            f"{file.declared_minor} minor units declared, {file.rows_minor} found",
        )
    if file.bad_count == file.rows_count:
        return "NO_GOOD_ROWS", "every row is bad"
    return "", ""


def _decided(file: PayoutFile, word: Decided, now: datetime) -> FileStep | None:
    if word.key_id == file.maker_key_id:
        raise CheckerIsMaker(payout_file_id=file.payout_file_id)
    if file.state is not FileState.WAITING:
        is_same = file.checker_key_id == word.key_id and word.is_approved == (
            file.reason != "NOT_APPROVED"
        )
        if is_same:
            return None
        raise PayoutFileNotWaiting(field="payout_file_id", state=file.state.value)
    checked = replace(file, checker_key_id=word.key_id)
    if not word.is_approved:
        return _refused(checked, "NOT_APPROVED", "rejected by the checker", now)
    return Step(subject=_moved(checked, now, state=FileState.PAYING, next_run_at=now))


def _wished(file: PayoutFile, wish: Signal, now: datetime) -> FileStep | None:
    if file.state in ENDED or file.state is FileState.CANCELING:
        if isinstance(wish, CancelWished) and file.state is not FileState.COMPLETED:
            return None
        raise PayoutFileEnded(field="payout_file_id", state=file.state.value)
    match wish:
        case CancelWished() if file.state in STARTED:
            # Whoever is at work on it goes on; a paused one nobody is at work on.
            due_at = now if file.state is FileState.PAUSED else file.next_run_at
            return Step(subject=_moved(file, now, state=FileState.CANCELING, next_run_at=due_at))
        case CancelWished():
            step = _ended(file, FileState.CANCELED, "CANCELED", "canceled before it was paid", now)
            return replace(step, beside=(ChunksDone(),))
        case PauseWished() if file.state is FileState.PAYING:
            return Step(subject=_moved(file, now, state=FileState.PAUSED))
        case ResumeWished() if file.state is FileState.PAUSED:
            return Step(subject=_moved(file, now, state=FileState.PAYING, next_run_at=now))
        case PauseWished() if file.state is not FileState.PAUSED:
            raise PayoutFileNotWaiting(field="payout_file_id", state=file.state.value)
        case _:
            return None


def _due(file: PayoutFile, now: datetime) -> FileStep | None:
    match file.state:
        case FileState.UPLOADING:
            step = _refused(file, "NOT_UPLOADED", "the upload was not finished in time", now)
            return replace(step, beside=(ChunksDone(),))
        case FileState.CHECKING:
            checking = _moved(file, now, next_run_at=leased_until(now))
            return Step(subject=checking, command=Command.CHECK)
        case FileState.WAITING:
            return _refused(file, "NOT_APPROVED", "nobody approved it in time", now)
        case FileState.PAYING | FileState.PAUSED | FileState.CANCELING:
            return _go_on(_moved(file, now), now)
        case _:
            # Its payees' banks may send money back.
            return _command(_moved(file, now, settled_row=0), Command.SETTLE, now)


def _go_on(file: PayoutFile, now: datetime) -> FileStep:
    """The next thing to do of a file that is being paid; its version counts already."""
    if file.taken_row < file.started_row:
        return _command(file, Command.PAY, now)
    parts_count = -(-file.taken_row // PART_ROWS)
    is_time_to_settle = parts_count % SETTLE_EVERY_PARTS == 0 and file.settled_row == 0
    is_startable = file.state is FileState.PAYING and file.started_row < file.rows_count
    if is_startable and not (file.open_count and is_time_to_settle):
        started_row = min(file.started_row + PART_ROWS, file.rows_count)
        return _command(replace(file, started_row=started_row, settled_row=0), Command.PAY, now)
    if file.open_count:
        return _command(file, Command.SETTLE, now)
    if file.state is FileState.CANCELING:
        return _end(file, FileState.CANCELED, "CANCELED", "canceled while it was paid", now)
    if file.started_row == file.rows_count:
        return _end(file, FileState.COMPLETED, "", "", now)
    return Step(subject=replace(file, next_run_at=None))


def _taken(file: PayoutFile, taken: Taken, now: datetime) -> FileStep:
    counted = _counted(_moved(file, now), taken.rows)
    beside = (RowsMoved(rows=taken.rows),) if taken.rows else ()
    if not taken.is_whole:
        again_at = now + timedelta(seconds=_RETRY_S)
        return Step(subject=replace(counted, next_run_at=again_at), beside=beside)
    return replace(_go_on(replace(counted, taken_row=file.started_row), now), beside=beside)


def _settled(file: PayoutFile, settled: Settled, now: datetime) -> FileStep:
    counted = replace(_counted(_moved(file, now), settled.rows), settled_row=settled.settled_row)
    beside = (RowsMoved(rows=settled.rows),) if settled.rows else ()
    has_moved = file.has_moved or bool(settled.rows)
    if settled.settled_row:
        # More rows to look at in this round.
        again = replace(counted, has_moved=has_moved)
        return replace(_command(again, Command.SETTLE, now), beside=beside)
    idle_count = 0 if has_moved else file.idle_count + 1
    rested = replace(counted, has_moved=False, idle_count=idle_count)
    if file.state in ENDED:
        return Step(subject=replace(rested, next_run_at=_watched_until(rested, now)), beside=beside)
    is_startable = file.state is FileState.PAYING and file.started_row < file.rows_count
    if is_startable:
        started_row = min(file.started_row + PART_ROWS, file.rows_count)
        step = _command(replace(rested, started_row=started_row), Command.PAY, now)
        return replace(step, beside=beside)
    if rested.open_count == 0:
        return replace(_go_on(rested, now), beside=beside)
    at = flow.next_try_at(_SETTLE_BACKOFF_S, idle_count, now)
    return Step(subject=replace(rested, next_run_at=at), beside=beside)


def _counted(file: PayoutFile, rows: Sequence[RowEnd]) -> PayoutFile:
    """The tallies with these rows moved from where they were to where they are."""
    changes: dict[str, int] = {}

    def add(name: str, count: int, amount_minor: int) -> None:
        for column, by in ((f"{name}_count", count), (f"{name}_minor", amount_minor)):
            changes[column] = changes.get(column, getattr(file, column)) + by

    for row in rows:
        if row.before is RowState.READY:
            add("started", 1, row.amount_minor)
        if row.before is RowState.SUCCEEDED:
            add("succeeded", -1, -row.amount_minor)
        if row.state is not RowState.OPEN:
            add(row.state.lower(), 1, row.amount_minor)
    return replace(file, **changes)  # type: ignore[arg-type]  # the tallies are ints


def _refused(file: PayoutFile, reason: str, detail: str, now: datetime) -> FileStep:
    step = _ended(file, FileState.REFUSED, reason, detail, now)
    return replace(step, beside=(ChunksDone(),))


def _ended(file: PayoutFile, state: FileState, reason: str, detail: str, now: datetime) -> FileStep:
    return _end(_moved(file, now), state, reason, detail, now)


def _end(file: PayoutFile, state: FileState, reason: str, detail: str, now: datetime) -> FileStep:
    ended = replace(
        file, state=state, reason=reason, reason_detail=detail, ended_at=now, settled_row=0
    )
    return Step(subject=replace(ended, next_run_at=_watched_until(ended, now)))


def _watched_until(file: PayoutFile, now: datetime) -> datetime | None:
    """When returns are looked for again; None when none can come any more."""
    next_at = now + timedelta(seconds=RETURN_QUERY_S)
    window = timedelta(seconds=RETURN_WINDOW_S + RETURN_QUERY_S)
    if not file.succeeded_count or file.ended_at is None or next_at > file.ended_at + window:
        return None
    return next_at


def _command(file: PayoutFile, command: Command, now: datetime) -> FileStep:
    return Step(subject=replace(file, next_run_at=leased_until(now)), command=command)


def _moved(file: PayoutFile, now: datetime, **changes: Any) -> PayoutFile:
    return replace(file, updated_at=now, version=file.version + 1, **changes)
