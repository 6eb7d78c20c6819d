"""A channel as a plain book: what it has done under each number, and what it says when asked.

It keeps its word but for one thing, `lies`: money taken after it had said that it would not.
"""

from dataclasses import dataclass, field
from typing import Any

from services.gateway.domain.channel import Outcome, OutcomeKind
from services.gateway.domain.next_action import ShowQr
from services.gateway.domain.saga import Attempt, Command

QR = ShowQr(content="qr")


@dataclass
class Order:
    """One number."""

    amount_minor: int
    state: str = "unseen"
    """unseen, open, reserved, paid, refused, closed; of a payout also returned."""
    captured_minor: int = 0
    has_lied: bool = False

    @property
    def is_unseen(self) -> bool:
        return self.state == "unseen"

    def pay(self, *, reserves: bool) -> None:
        """The payer has said yes."""
        self.state = "reserved" if reserves else "paid"


_SAYS = {
    "unseen": OutcomeKind.NOT_FOUND,
    "open": OutcomeKind.PENDING,
    "reserved": OutcomeKind.AUTHORIZED,
    "paid": OutcomeKind.SUCCEEDED,
    "refused": OutcomeKind.DECLINED_HARD,
    "closed": OutcomeKind.CLOSED,
    "returned": OutcomeKind.RETURNED,
}
SILENCE = Outcome(kind=OutcomeKind.UNKNOWN)


@dataclass
class Channel:
    """All channels' books in one: numbers never meet."""

    orders: dict[str, Order] = field(default_factory=dict)

    def order(self, out_ref: str, amount_minor: int = 0) -> Order:
        """The order of this number, unseen if nobody has sent it."""
        return self.orders.setdefault(out_ref, Order(amount_minor))

    def says(self, out_ref: str, *, softly: bool = False) -> Outcome:
        """The truth."""
        order = self.order(out_ref)
        kind = _SAYS[order.state]
        if kind is OutcomeKind.DECLINED_HARD and softly:
            kind = OutcomeKind.DECLINED_SOFT
        moved_minor = order.captured_minor or order.amount_minor
        return Outcome(
            kind=kind,
            amount_minor=moved_minor if kind is OutcomeKind.SUCCEEDED else None,
            currency="CNY" if kind is OutcomeKind.SUCCEEDED else "",
            next_action=QR if kind is OutcomeKind.PENDING else None,
        )

    def close(self, out_ref: str) -> None:
        """Nothing more can be taken; a number never seen is barred."""
        order = self.order(out_ref)
        if order.state in {"unseen", "open"}:
            order.state = "closed"
        elif order.state == "reserved":
            order.state = "paid" if order.captured_minor else "closed"

    def capture(self, out_ref: str, of: str, amount_minor: int, *, is_final: bool) -> None:
        """Takes of what is reserved, once under its number."""
        capture, order = self.order(out_ref, amount_minor), self.order(of)
        if not capture.is_unseen:
            return
        if order.state != "reserved" or order.captured_minor + amount_minor > order.amount_minor:
            capture.state = "refused"
            return
        capture.state = "paid"
        order.captured_minor += amount_minor
        if is_final or order.captured_minor == order.amount_minor:
            order.state = "paid"

    def refund(self, out_ref: str, amount_minor: int) -> None:
        """Gives back, once under its number."""
        refund = self.order(out_ref, amount_minor)
        if refund.is_unseen:
            refund.state = "paid"

    def obey(self, command: Command, attempt: Attempt, row: Any, fate: str) -> None:
        """What the owner of a payment, capture or refund asked for has reached it."""
        order = self.order(attempt.out_ref)
        if command is Command.CLOSE:
            self.close(attempt.out_ref)
        if command is not Command.ORDER or not order.is_unseen:
            return
        if fate in {"refused", "softly"}:
            order.state = "refused"
        elif attempt.operation == "CAPTURE":
            self.capture(
                attempt.out_ref, row.payment_out_ref, row.amount_minor, is_final=row.is_final
            )
        elif attempt.operation == "REFUND":
            self.refund(attempt.out_ref, row.amount_minor)
        elif fate == "open":
            order.state = "open"
        else:
            order.pay(reserves=reserves(attempt, row))


def reserves(attempt: Attempt, row: Any) -> bool:
    """Whether it sets a payer's money aside, for captures to take."""
    return attempt.operation == "PAYMENT" and bool(row.capture_later)
