"""The life of a payout file: every promise of the flow, and stories that try to break its tallies."""

import random
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from libs.errors import FiscError
from libs.saga.flow import Due
from services.gateway.domain import payout_file_flow as flow
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
from services.gateway.domain.payout_rows import ROWS_MAX, Problem, Row
from tests.unit.services.gateway.domain.orders import NOW

SIZE = 2 * flow.CHUNK_BYTES_MIN
FILE = PayoutFile(
    payout_file_id="pof_1",
    merchant_id="m1",
    request_id="r1",
    name="",
    currency="CNY",
    encoding="UTF8",
    bad_rows="REFUSE_FILE",
    needs_approval=False,
    routing="BALANCED",
    size_bytes=SIZE,
    sha256="",
    declared_rows=3,
    declared_minor=300,
    maker_key_id="maker",
    created_at=NOW,
    updated_at=NOW,
    next_run_at=NOW,
)
UPLOADED = replace(FILE, state=FileState.CHECKING, received_bytes=SIZE)
PAYING = replace(
    UPLOADED,
    state=FileState.PAYING,
    checked_bytes=SIZE,
    rows_count=3,
    rows_minor=300,
    good_minor=300,
)


def decided(file: PayoutFile, signal: Any) -> FileStep:
    step = flow.decide(file, None, signal, NOW)
    assert step is not None
    assert step.subject.version == file.version + 1
    return step


def row(number: int, *, amount_minor: int = 100, bad: bool = False) -> Row:
    problems = (Problem(column="ref", reason="is missing"),) if bad else ()
    return Row(
        row_number=number, line_number=number + 1, amount_minor=amount_minor, problems=problems
    )


def checked(*rows: Row, bytes_count: int = SIZE) -> Checked:
    return Checked(
        rows=rows, columns=("ref",), bytes_count=bytes_count, lines_count=4, is_in_long_line=False
    )


def chunk(offset: int, size: int) -> ChunkCame:
    return ChunkCame(chunk=Chunk(offset_bytes=offset, data=b"x" * size))


def test_chunks_come_in_order_and_the_last_one_begins_the_check() -> None:
    first = decided(FILE, chunk(0, flow.CHUNK_BYTES_MIN))
    assert (first.subject.state, first.subject.received_bytes) == (FileState.UPLOADING, SIZE // 2)
    last = decided(first.subject, chunk(SIZE // 2, SIZE // 2))
    assert (last.subject.state, last.subject.next_run_at) == (FileState.CHECKING, NOW)
    assert flow.decide(first.subject, None, chunk(0, flow.CHUNK_BYTES_MIN), NOW) is None
    assert flow.decide(last.subject, None, chunk(SIZE, 1), NOW) is None


@pytest.mark.parametrize(
    ("came", "error"),
    [
        (chunk(1, SIZE - 1), UploadOffsetMismatch),
        (chunk(0, SIZE + 1), UploadOffsetMismatch),
        (chunk(0, flow.CHUNK_BYTES_MIN - 1), ChunkTooSmall),
    ],
)
def test_a_chunk_that_leaves_a_gap_or_is_too_small_is_refused(
    came: ChunkCame, error: type[FiscError]
) -> None:
    with pytest.raises(error):
        flow.decide(FILE, None, came, NOW)


@pytest.mark.parametrize(
    ("changes", "found", "state", "reason"),
    [
        ({}, checked(row(1), row(2), row(3)), FileState.PAYING, ""),
        ({"needs_approval": True}, checked(row(1), row(2), row(3)), FileState.WAITING, ""),
        ({}, checked(row(1), row(2)), FileState.REFUSED, "CONTROL_COUNT_MISMATCH"),
        ({}, checked(row(1), row(2), row(3, amount_minor=99)), FileState.REFUSED, "CONTROL_SUM_MISMATCH"),
        ({}, checked(row(1), row(2), row(3, bad=True)), FileState.REFUSED, "BAD_ROWS"),
        ({"bad_rows": "PAY_GOOD"}, checked(row(1), row(2), row(3, bad=True)), FileState.PAYING, ""),
        ({"bad_rows": "PAY_GOOD"}, checked(*(row(n, bad=True) for n in (1, 2, 3))), FileState.REFUSED, "NO_GOOD_ROWS"),
        ({"rows_count": ROWS_MAX}, checked(row(1)), FileState.REFUSED, "TOO_MANY_ROWS"),
        ({}, Unreadable(reason="HEADER_INVALID", detail="d"), FileState.REFUSED, "HEADER_INVALID"),
    ],
)  # fmt: skip
def test_a_read_file_is_paid_waits_or_says_why_not(
    changes: dict[str, Any], found: Any, state: FileState, reason: str
) -> None:
    step = decided(replace(UPLOADED, **changes), found)
    assert (step.subject.state, step.subject.reason) == (state, reason)
    assert any(isinstance(said, ChunksDone) for said in step.beside)
    assert (step.subject.ended_at is not None) == (state in ENDED)


def test_a_piece_of_a_file_is_written_and_the_next_one_read() -> None:
    step = decided(UPLOADED, checked(row(1), row(2, bad=True), bytes_count=10))
    assert step.command is Command.CHECK
    assert step.beside == (RowsRead(rows=(row(1), row(2, bad=True))),)
    assert (step.subject.rows_count, step.subject.bad_count, step.subject.good_minor) == (2, 1, 100)


def test_another_key_approves_once_and_a_late_one_is_told_so() -> None:
    waiting = replace(PAYING, state=FileState.WAITING)
    with pytest.raises(CheckerIsMaker):
        flow.decide(waiting, None, Decided(is_approved=True, key_id="maker"), NOW)
    approved = decided(waiting, Decided(is_approved=True, key_id="checker")).subject
    assert (approved.state, approved.checker_key_id) == (FileState.PAYING, "checker")
    assert flow.decide(approved, None, Decided(is_approved=True, key_id="checker"), NOW) is None
    for late in (
        Decided(is_approved=False, key_id="checker"),
        Decided(is_approved=True, key_id="x"),
    ):
        with pytest.raises(PayoutFileNotWaiting):
            flow.decide(approved, None, late, NOW)
    rejected = decided(waiting, Decided(is_approved=False, key_id="checker")).subject
    assert (rejected.state, rejected.reason) == (FileState.REFUSED, "NOT_APPROVED")


def test_what_nobody_goes_on_with_is_given_up() -> None:
    for file, reason in (
        (FILE, "NOT_UPLOADED"),
        (replace(PAYING, state=FileState.WAITING), "NOT_APPROVED"),
    ):
        step = decided(file, Due())
        assert (step.subject.state, step.subject.reason) == (FileState.REFUSED, reason)
        assert step.subject.next_run_at is None


def test_a_part_is_written_down_before_it_is_paid_and_carried_out_again_after_a_crash() -> None:
    begun = decided(PAYING, Due())
    assert (begun.command, begun.subject.started_row, begun.subject.taken_row) == (
        Command.PAY,
        3,
        0,
    )
    again = decided(begun.subject, Due())
    assert (again.command, again.subject.started_row) == (Command.PAY, 3)


def test_a_canceled_file_sees_through_what_it_has_started_and_starts_no_more() -> None:
    many = replace(PAYING, rows_count=200, rows_minor=20_000, good_minor=20_000)
    begun = decided(many, Due()).subject
    canceling = decided(begun, CancelWished()).subject
    assert (canceling.state, canceling.next_run_at) == (FileState.CANCELING, begun.next_run_at)
    ends = tuple(
        RowEnd(row_number=number, amount_minor=100, state=RowState.SUCCEEDED, before=RowState.READY)
        for number in range(1, flow.PART_ROWS + 1)
    )
    done = decided(canceling, Taken(rows=ends, is_whole=True)).subject
    assert (done.state, done.started_row, done.succeeded_count) == (
        FileState.CANCELED, flow.PART_ROWS, flow.PART_ROWS,
    )  # fmt: skip


@pytest.mark.parametrize("state", sorted(ENDED))
@pytest.mark.parametrize("wish", [PauseWished(), ResumeWished(), CancelWished()])
def test_an_ended_file_obeys_no_wish(state: FileState, wish: Any) -> None:
    ended = replace(PAYING, state=state)
    if isinstance(wish, CancelWished) and state is not FileState.COMPLETED:
        assert flow.decide(ended, None, wish, NOW) is None
    else:
        with pytest.raises(PayoutFileEnded):
            flow.decide(ended, None, wish, NOW)


def test_returns_are_looked_for_as_long_as_a_bank_may_send_money_back() -> None:
    file = replace(
        PAYING,
        state=FileState.COMPLETED,
        ended_at=NOW,
        succeeded_count=1,
        succeeded_minor=100,
        started_count=1,
    )
    looks = 0
    now = NOW
    while file.next_run_at is not None:
        now = max(now, file.next_run_at)
        looking = flow.decide(file, None, Due(), now)
        assert looking is not None
        assert looking.command is Command.SETTLE
        step = flow.decide(looking.subject, None, Settled(rows=(), settled_row=0), now)
        assert step is not None
        file, looks = step.subject, looks + 1
    assert looks >= RETURN_WINDOW_S / RETURN_QUERY_S
    back = RowEnd(
        row_number=1, amount_minor=100, state=RowState.RETURNED, before=RowState.SUCCEEDED
    )
    counted = decided(replace(file, next_run_at=NOW), Settled(rows=(back,), settled_row=0)).subject
    assert (counted.succeeded_count, counted.returned_count, counted.returned_minor) == (0, 1, 100)


class World:
    """The rows as a store keeps them, and outside answers that come when they like."""

    def __init__(self, seed: int, rows_count: int) -> None:
        self.random = random.Random(seed)
        self.bad = {n for n in range(1, rows_count + 1) if self.random.random() < 0.1}
        self.rows = {
            n: RowState.BAD if n in self.bad else RowState.READY for n in range(1, rows_count + 1)
        }
        self.payouts: set[int] = set()
        good = rows_count - len(self.bad)
        self.file = replace(
            PAYING,
            rows_count=rows_count,
            bad_count=len(self.bad),
            rows_minor=100 * rows_count,
            good_minor=100 * good,
        )
        self.now = NOW

    def end(self, before: RowState, numbers: list[int]) -> tuple[RowEnd, ...]:
        choices = (RowState.SUCCEEDED, RowState.FAILED, RowState.OPEN)
        return tuple(
            RowEnd(row_number=n, amount_minor=100, state=state, before=before)
            for n in numbers
            if (state := self.random.choice(choices)) is not before
        )

    def perform(self, command: Any) -> Any:
        if command is Command.PAY:
            part = [
                n for n, state in self.rows.items()
                if self.file.taken_row < n <= self.file.started_row and state is RowState.READY
            ]  # fmt: skip
            taken = [n for n in part if self.random.random() < 0.9]
            self.payouts |= set(taken)
            return Taken(rows=self.end(RowState.READY, taken), is_whole=len(taken) == len(part))
        open_rows = [n for n, state in self.rows.items() if state is RowState.OPEN]
        return Settled(rows=self.end(RowState.OPEN, open_rows), settled_row=0)

    def apply(self, step: FileStep | None) -> Any:
        if step is None:
            return None
        for said in step.beside:
            if isinstance(said, RowsMoved):
                for end in said.rows:
                    assert self.rows[end.row_number] is end.before
                    self.rows[end.row_number] = end.state
        self.file = step.subject
        self.check()
        return step.command

    def check(self) -> None:
        counts = {state: list(self.rows.values()).count(state) for state in RowState}
        assert self.file.succeeded_count == counts[RowState.SUCCEEDED]
        assert self.file.failed_count == counts[RowState.FAILED]
        assert self.file.open_count == counts[RowState.OPEN]
        assert self.file.started_minor == 100 * self.file.started_count
        assert max(self.payouts, default=0) <= self.file.started_row
        assert not self.payouts & self.bad


@given(st.integers(0, 2**32), st.integers(1, 700))
def test_no_story_breaks_the_tallies_and_every_file_ends(seed: int, rows_count: int) -> None:
    world = World(seed, rows_count)
    for _ in range(4000):
        if world.file.state in ENDED:
            break
        if world.random.random() < 0.02:
            wish = world.random.choice([PauseWished(), ResumeWished(), ResumeWished()])
            if world.random.random() < 0.1:
                wish = CancelWished()
            try:
                world.apply(flow.decide(world.file, None, wish, world.now))
            except FiscError:
                continue
        if world.file.next_run_at is None:
            world.apply(flow.decide(world.file, None, ResumeWished(), world.now))
        world.now = max(world.now, world.file.next_run_at or world.now) + timedelta(seconds=1)
        command = world.apply(flow.decide(world.file, None, Due(), world.now))
        while command is not None and world.random.random() < 0.95:
            signal = world.perform(command)
            command = world.apply(flow.decide(world.file, None, signal, world.now))
    assert world.file.state in {FileState.COMPLETED, FileState.CANCELED}
    assert world.file.open_count == 0
    if world.file.state is FileState.COMPLETED:
        assert world.file.started_count == rows_count - len(world.bad)
        assert RowState.READY not in world.rows.values()
