"""Every reason this service gives for saying no, and every reason for which it rejects a bill."""

import enum

from libs.errors import ErrorKind, FiscError


class RequestIdReused(FiscError):
    """Another request was made under this request_id."""

    kind = ErrorKind.ALREADY_EXISTS
    reason = "REQUEST_ID_REUSED"


class LostRace(FiscError):
    """Another writer was faster; ask again."""

    kind = ErrorKind.CONFLICT
    reason = "LOST_RACE"


class InvalidDate(FiscError):
    """Not a day of the calendar, YYYY-MM-DD."""

    kind = ErrorKind.INVALID
    reason = "INVALID_DATE"


class InvalidText(FiscError):
    """A text must not hold the NUL character."""

    kind = ErrorKind.INVALID
    reason = "INVALID_TEXT"


class DifferenceNotFound(FiscError):
    """There is no such difference."""

    kind = ErrorKind.NOT_FOUND
    reason = "DIFFERENCE_NOT_FOUND"


class DifferenceResolved(FiscError):
    """The difference has been resolved already."""

    kind = ErrorKind.REJECTED
    reason = "DIFFERENCE_RESOLVED"


class BatchNotFound(FiscError):
    """There is no such batch."""

    kind = ErrorKind.NOT_FOUND
    reason = "BATCH_NOT_FOUND"


class BatchNotManual(FiscError):
    """Only a batch that stands before a person can be canceled."""

    kind = ErrorKind.REJECTED
    reason = "BATCH_NOT_MANUAL"


class SweepNotFound(FiscError):
    """There is no such sweep."""

    kind = ErrorKind.NOT_FOUND
    reason = "SWEEP_NOT_FOUND"


class SweepNotCancelable(FiscError):
    """The sweep has begun to move, or has ended."""

    kind = ErrorKind.REJECTED
    reason = "SWEEP_NOT_CANCELABLE"


class SweepNotManual(FiscError):
    """The sweep does not stand before a person."""

    kind = ErrorKind.REJECTED
    reason = "SWEEP_NOT_MANUAL"


class SweepOntoItself(FiscError):
    """Source and target are the same account."""

    kind = ErrorKind.INVALID
    reason = "SWEEP_ONTO_ITSELF"


class BillReason(enum.StrEnum):
    """Why a bill is not believed."""

    TRUNCATED = "BILL_TRUNCATED"
    ENCODING_INVALID = "BILL_ENCODING_INVALID"
    HEADER_INVALID = "BILL_HEADER_INVALID"
    ROW_INVALID = "BILL_ROW_INVALID"
    TOTALS_MISMATCH = "BILL_TOTALS_MISMATCH"
    FORMAT_UNKNOWN = "BILL_FORMAT_UNKNOWN"


class BillRejected(Exception):
    """A bill cannot be believed; nothing of it is used. It never crosses a service border."""

    def __init__(self, reason: BillReason, detail: str, *, line_number: int = 0) -> None:
        """`line_number` counts the file's lines from 1; 0 when no single line is at fault."""
        super().__init__(detail)
        self.reason = reason
        self.detail = detail
        self.line_number = line_number

    @property
    def text(self) -> str:
        """The reason and where: "BILL_ROW_INVALID line 7: the time is not a time"."""
        place = f" line {self.line_number}" if self.line_number else ""
        return f"{self.reason}{place}: {self.detail}"
