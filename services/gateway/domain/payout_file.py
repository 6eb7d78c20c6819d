"""What a payout file (代发文件) is, and the words of its flow: states, signals, what its steps write beside themselves."""

import enum
from dataclasses import dataclass
from datetime import datetime
from typing import Final, TypeAlias

from libs.saga import flow
from libs.saga.flow import Signal, Step
from services.gateway.domain.payout import PayoutState
from services.gateway.domain.payout_rows import Row

FLOW_VERSION: Final = 1


class FileState(enum.StrEnum):
    """Where a file stands."""

    UPLOADING = "UPLOADING"
    CHECKING = "CHECKING"
    WAITING = "WAITING"
    PAYING = "PAYING"
    PAUSED = "PAUSED"
    CANCELING = "CANCELING"
    COMPLETED = "COMPLETED"
    REFUSED = "REFUSED"
    CANCELED = "CANCELED"


ENDED: Final = frozenset({FileState.COMPLETED, FileState.REFUSED, FileState.CANCELED})
STARTED: Final = frozenset({FileState.PAYING, FileState.PAUSED, FileState.CANCELING})


class RowState(enum.StrEnum):
    """Where a row stands."""

    READY = "READY"
    BAD = "BAD"
    OPEN = "OPEN"
    """Its payout is made and has not ended."""
    SUCCEEDED = "SUCCEEDED"
    FAILED = "FAILED"
    RETURNED = "RETURNED"


class Command(flow.Command):
    """What is done next."""

    CHECK = "CHECK"
    PAY = "PAY"
    SETTLE = "SETTLE"


@dataclass(frozen=True, slots=True, kw_only=True)
class PayoutFile:
    """One file. Field names are the columns of its row."""

    payout_file_id: str
    merchant_id: str
    request_id: str
    name: str
    currency: str
    encoding: str
    bad_rows: str
    needs_approval: bool
    routing: str
    size_bytes: int
    sha256: str
    declared_rows: int
    declared_minor: int
    maker_key_id: str
    checker_key_id: str = ""
    state: FileState = FileState.UPLOADING
    reason: str = ""
    reason_detail: str = ""
    received_bytes: int = 0
    columns: tuple[str, ...] = ()
    checked_bytes: int = 0
    checked_lines: int = 0
    is_in_long_line: bool = False
    rows_count: int = 0
    rows_minor: int = 0
    bad_count: int = 0
    good_minor: int = 0
    started_row: int = 0
    taken_row: int = 0
    settled_row: int = 0
    idle_count: int = 0
    has_moved: bool = False
    started_count: int = 0
    started_minor: int = 0
    succeeded_count: int = 0
    succeeded_minor: int = 0
    failed_count: int = 0
    failed_minor: int = 0
    returned_count: int = 0
    returned_minor: int = 0
    created_at: datetime
    updated_at: datetime
    ended_at: datetime | None = None
    next_run_at: datetime | None
    version: int = 1
    epoch: int = 1
    flow_version: int = FLOW_VERSION
    faults_count: int = 0
    last_fault: str = ""

    @property
    def open_count(self) -> int:
        """Rows whose payout has not ended."""
        ended_count = self.succeeded_count + self.failed_count + self.returned_count
        return self.started_count - ended_count


@dataclass(frozen=True, slots=True, kw_only=True)
class Chunk:
    """A piece of a file as it came; written beside the step that takes it."""

    offset_bytes: int
    data: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class RowsRead:
    """Rows to be written beside the step that has read them."""

    rows: tuple[Row, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class RowEnd:
    """How a row stands now, where it has moved."""

    row_number: int
    amount_minor: int
    state: RowState
    before: RowState
    payout_id: str = ""
    reason: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class RowsMoved:
    """To be written beside the step that counts them."""

    rows: tuple[RowEnd, ...]


class ChunksDone:
    """What was uploaded stands as rows now, and is deleted."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ChunkCame(Signal):
    """The caller sent a piece."""

    chunk: Chunk


@dataclass(frozen=True, slots=True, kw_only=True)
class Checked(Signal):
    """A piece was read."""

    rows: tuple[Row, ...]
    columns: tuple[str, ...]
    bytes_count: int
    lines_count: int
    is_in_long_line: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Unreadable(Signal):
    """It cannot be read as a whole."""

    reason: str
    detail: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Taken(Signal):
    """The payouts of the current part were made, as far as that was possible."""

    rows: tuple[RowEnd, ...]
    is_whole: bool
    """False when some must be tried again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Settled(Signal):
    """Some rows were looked at."""

    rows: tuple[RowEnd, ...]
    settled_row: int
    """The last one looked at; 0 when there was none left."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Decided(Signal):
    """The checker's word."""

    is_approved: bool
    key_id: str


class PauseWished(Signal):
    """The merchant wants no further row started."""


class ResumeWished(Signal):
    """The merchant wants it to go on."""


class CancelWished(Signal):
    """The merchant wants it to end."""


FileStep: TypeAlias = Step[PayoutFile, None]


def row_state(payout: PayoutState) -> RowState:
    """A row's state by its payout's."""
    try:
        return RowState(payout.value)
    except ValueError:
        return RowState.OPEN
