"""What one may ask of the ledger, and what it answers, item by item."""

import enum
from dataclasses import dataclass
from datetime import date, datetime

from libs.errors import FiscError
from services.account.domain.accounts import Balance

CAPTURE_SUFFIX = ":capture"


@dataclass(frozen=True, slots=True, kw_only=True)
class Transfer:
    """One amount from one account to another. `linked` ties it to the next one of the batch."""

    transfer_id: str
    debit_account_id: str
    credit_account_id: str
    currency: str
    amount_minor: int
    reference: str = ""
    description: str = ""
    effective_date: str = ""
    linked: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class BookedTransfer:
    """A transfer with the place it takes in both accounts' statements."""

    transfer: Transfer
    effective_on: date
    booked_at: datetime
    debit_sequence: int
    debit_balance_after_minor: int
    credit_sequence: int
    credit_balance_after_minor: int


class HoldState(enum.StrEnum):
    """Where a hold stands. All but HELD are final."""

    HELD = "HELD"
    CAPTURED = "CAPTURED"
    VOIDED = "VOIDED"
    EXPIRED = "EXPIRED"


@dataclass(frozen=True, slots=True, kw_only=True)
class Hold:
    """Money set aside. A tombstone (voided before it was placed) has no accounts and no amount."""

    hold_id: str
    debit_account_id: str = ""
    credit_account_id: str = ""
    currency: str = ""
    amount_minor: int = 0
    reference: str = ""
    expires_at: datetime | None = None
    state: HoldState = HoldState.HELD
    captured_minor: int = 0

    @property
    def is_tombstone(self) -> bool:
        """Whether the hold was voided before anybody placed it."""
        return not self.debit_account_id

    @property
    def capture_id(self) -> str:
        """The id of the transfer that a capture books."""
        return self.hold_id + CAPTURE_SUFFIX


@dataclass(frozen=True, slots=True, kw_only=True)
class PlaceHold:
    """Set money aside."""

    hold: Hold


@dataclass(frozen=True, slots=True, kw_only=True)
class CaptureHold:
    """Turn a hold into a transfer, wholly (0) or in part; the rest is released."""

    hold_id: str
    amount_minor: int = 0
    description: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class VoidHold:
    """Release a hold, or bar it from being placed."""

    hold_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ExpireHold:
    """Release a hold if its time is up."""

    hold_id: str


HoldCommand = PlaceHold | CaptureHold | VoidHold | ExpireHold
Command = Transfer | HoldCommand


@dataclass(frozen=True, slots=True, kw_only=True)
class TransferVerdict:
    """What became of a transfer, and how both accounts stand after it."""

    transfer_id: str
    booked: bool
    replayed: bool = False
    error: FiscError | None = None
    debit: Balance | None = None
    credit: Balance | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class HoldVerdict:
    """What became of a hold; accepted unless there is an error."""

    hold_id: str
    hold: Hold | None
    error: FiscError | None = None


Verdict = TransferVerdict | HoldVerdict
