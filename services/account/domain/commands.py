"""What one may ask of the ledger, and what it answers, item by item."""

import enum
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime

from libs.errors import FiscError
from services.account.domain.accounts import Balance

CAPTURE_SUFFIX = ":capture"
# Each capture is kept on the hold's row.
CAPTURES_MAX = 64


class Balancing(enum.StrEnum):
    """How the ledger decides an amount: the one asked is a maximum, and 0 is none."""

    AT_MOST = "AT_MOST"


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
    balancing: Balancing | None = None
    keep_minor: int = 0
    reverses_transfer_id: str = ""
    requested_minor: int | None = None
    """What was asked, where the ledger decided the amount; None where it is the amount."""


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
    linked: bool = False
    group_id: str = ""
    captures: tuple[tuple[str, int], ...] = ()
    """Name and amount of each capture that named itself, in order."""

    @property
    def is_tombstone(self) -> bool:
        """Whether the hold was voided before anybody placed it."""
        return not self.debit_account_id

    @property
    def capture_id(self) -> str:
        """The id of the transfer that the first capture books."""
        return self.hold_id + CAPTURE_SUFFIX

    @property
    def captures_count(self) -> int:
        """How often it was captured; a single capture need not have named itself."""
        return len(self.captures) or (1 if self.captured_minor else 0)

    @property
    def rest_minor(self) -> int:
        """What is set aside while the hold is HELD."""
        return self.amount_minor - self.captured_minor


def capture_transfer_id(hold_id: str, number: int) -> str:
    """The id of the transfer that a hold's capture of this number, from 1, books."""
    suffix = CAPTURE_SUFFIX if number == 1 else f"{CAPTURE_SUFFIX}:{number}"
    return hold_id + suffix


@dataclass(frozen=True, slots=True, kw_only=True)
class PlaceHold:
    """Set money aside."""

    hold: Hold


@dataclass(frozen=True, slots=True, kw_only=True)
class CaptureHold:
    """Turn a hold into a transfer, wholly (0) or in part; the rest is released unless `keep_open`."""

    hold_id: str
    amount_minor: int = 0
    description: str = ""
    keep_open: bool = False
    capture_id: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class CaptureGroup:
    """Capture every hold of a group wholly, all or none."""

    group_id: str
    description: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class VoidHold:
    """Release a hold, or bar it from being placed."""

    hold_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class VoidGroup:
    """Release every hold of a group, all or none, and bar it: no hold can be placed in it any more."""

    group_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ExpireHold:
    """Release a hold if its time is up."""

    hold_id: str


HoldCommand = PlaceHold | CaptureHold | CaptureGroup | VoidHold | VoidGroup | ExpireHold
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
    applied_minor: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class HoldVerdict:
    """What became of a hold, or of a group's holds; accepted unless there is an error."""

    hold_id: str
    hold: Hold | None
    error: FiscError | None = None
    group_id: str = ""
    group_holds: Sequence[Hold] = ()


Verdict = TransferVerdict | HoldVerdict
