"""A channel's book: what it knows of each number, and what its bill of a day says."""

import enum
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from zoneinfo import ZoneInfo

from services.clearing.domain.model import ItemKind
from services.gateway.domain.channel import OutcomeKind
from tests.simulation.loop import EPOCH

ZONE = ZoneInfo("Asia/Shanghai")


class State(enum.Enum):
    """What a channel knows of one number."""

    PAID = "PAID"
    AUTHORIZED = "AUTHORIZED"
    PENDING = "PENDING"
    DECLINED_SOFT = "DECLINED_SOFT"
    DECLINED_HARD = "DECLINED_HARD"
    CLOSED = "CLOSED"
    RETURNED = "RETURNED"


OUTCOMES = {
    State.PAID: OutcomeKind.SUCCEEDED,
    State.AUTHORIZED: OutcomeKind.AUTHORIZED,
    State.PENDING: OutcomeKind.PENDING,
    State.DECLINED_SOFT: OutcomeKind.DECLINED_SOFT,
    State.DECLINED_HARD: OutcomeKind.DECLINED_HARD,
    State.CLOSED: OutcomeKind.CLOSED,
    State.RETURNED: OutcomeKind.RETURNED,
}
_KINDS = {
    "charge": ItemKind.PAYMENT,
    "capture": ItemKind.PAYMENT,
    "refund": ItemKind.REFUND,
    "payout": ItemKind.PAYOUT,
}


@dataclass(slots=True)
class Entry:
    """A line of the channel's book."""

    kind: str
    out_ref: str
    state: State
    amount_minor: int = 0
    currency: str = "CNY"
    payment_out_ref: str = ""
    is_hold: bool = False
    """A charge whose money is taken by captures."""
    is_final: bool = False
    """A capture that releases what it leaves."""
    captured_minor: int = 0
    visible_at_s: float = 0.0
    moved_at_s: float = 0.0
    returned_at_s: float = 0.0
    has_lied: bool = False
    is_quiet: bool = False
    """Whether the channel keeps to itself what becomes of it later."""
    qr_content: str = ""

    @property
    def moved_minor(self) -> int:
        """What this number has moved, or a charge lets others move."""
        return self.captured_minor if self.is_hold else self.amount_minor

    @property
    def is_moved(self) -> bool:
        """Whether money has moved under this number itself, and stayed."""
        return self.state is State.PAID and not self.is_hold


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """A line of a bill."""

    kind: ItemKind
    out_ref: str
    amount_minor: int
    currency: str
    at: datetime


def room_minor(book: Mapping[str, Entry], charge: Entry) -> int:
    """What can still be given back of a charge."""
    return charge.moved_minor - sum(
        other.amount_minor
        for other in book.values()
        if other.kind == "refund"
        and other.payment_out_ref == charge.out_ref
        and other.state in {State.PAID, State.PENDING}
    )


def can_draw_on(charge: Entry, amount_minor: int) -> bool:
    """Whether a capture can still take so much of what is reserved."""
    is_reserved = charge.state is State.AUTHORIZED
    return is_reserved and charge.captured_minor + amount_minor <= charge.amount_minor


def bill(book: Mapping[str, Entry], day: date) -> Iterator[Line]:
    """What moved on that day, by this channel's calendar."""
    for entry in book.values():
        if entry.is_hold or entry.state not in {State.PAID, State.RETURNED}:
            continue
        moves = [(entry.moved_at_s, _KINDS[entry.kind])]
        if entry.state is State.RETURNED:
            moves.append((entry.returned_at_s, ItemKind.PAYOUT_RETURN))
        for at_s, kind in moves:
            at = instant(at_s)
            if at.astimezone(ZONE).date() == day:
                yield Line(
                    kind=kind,
                    out_ref=entry.out_ref,
                    amount_minor=entry.amount_minor,
                    currency=entry.currency,
                    at=at,
                )


def instant(at_s: float) -> datetime:
    """A moment of the world's time."""
    return EPOCH + timedelta(seconds=at_s)
