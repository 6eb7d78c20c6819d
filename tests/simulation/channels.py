"""Channels that keep an honest book and tell about it as badly as real ones do."""

import asyncio
import enum
import itertools
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import timedelta
from random import Random

from services.gateway.domain.channel import (
    Callback,
    CallbackAck,
    ChargeOrder,
    Outcome,
    OutcomeKind,
    PayoutOrder,
    RefundOrder,
)
from tests.simulation.chaos import Chaos
from tests.simulation.history import History
from tests.simulation.loop import EPOCH
from tests.simulation.network import Network

TURNED_AWAY = frozenset({"CHANNEL_BUSY", "NOT_FUNDED"})
"""Codes of refusals that a channel does not even note down."""
VISIBLE_WITHIN_S = 4.0
PAYER_MAX_S = 45.0
RELAPSE_MAX_S = 30.0
CALLBACK_RETRIES_S = (2.0, 5.0, 10.0, 20.0, 30.0)
CALLBACK_TRIES_MAX = 60


class State(enum.Enum):
    """What a channel knows of one number."""

    PAID = "PAID"
    PENDING = "PENDING"
    DECLINED_SOFT = "DECLINED_SOFT"
    DECLINED_HARD = "DECLINED_HARD"
    CLOSED = "CLOSED"


_OUTCOMES = {
    State.PAID: OutcomeKind.SUCCEEDED,
    State.PENDING: OutcomeKind.PENDING,
    State.DECLINED_SOFT: OutcomeKind.DECLINED_SOFT,
    State.DECLINED_HARD: OutcomeKind.DECLINED_HARD,
    State.CLOSED: OutcomeKind.CLOSED,
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
    visible_at_s: float = 0.0
    has_lied: bool = False
    qr_content: str = ""


# Delivers a callback to some replica: the acknowledgement, or None when none came.
Deliver = Callable[[str, dict[str, str], bytes], Awaitable[CallbackAck | None]]


class Channel:
    """One channel: decides what becomes of orders, once for each number."""

    def __init__(
        self,
        channel_id: str,
        *,
        network: Network,
        chaos: Chaos,
        rng: Random,
        history: History,
        deliver: Deliver,
    ) -> None:
        self.channel_id = channel_id
        self.book: dict[str, Entry] = {}
        self.callbacks: dict[bytes, Callback] = {}
        self.deliveries: list[asyncio.Task[None]] = []
        self._network = network
        self._loop = network.loop
        self._chaos = chaos
        self._rng = rng
        self._history = history
        self._deliver = deliver
        self._numbers = itertools.count(1)

    def charge(self, order: ChargeOrder) -> Outcome:
        if order.out_ref in self.book:
            return self._tell(self.book[order.out_ref])
        if self._chaos.strikes("channel busy"):
            self._history.add(order.out_ref, f"{self.channel_id} is busy: not even noted")
            return Outcome(kind=OutcomeKind.DECLINED_SOFT, code="CHANNEL_BUSY")
        entry = Entry("charge", order.out_ref, State.PAID, order.amount_minor, order.currency)
        return self._open(entry, order.method)

    def refund(self, order: RefundOrder) -> Outcome:
        if order.out_ref in self.book:
            return self._tell(self.book[order.out_ref])
        if self._rng.random() < 0.04:
            return Outcome(kind=OutcomeKind.DECLINED_SOFT, code="NOT_FUNDED")
        entry = Entry(
            "refund", order.out_ref, State.PAID, order.refund_amount_minor, order.currency
        )
        entry.payment_out_ref = order.payment_out_ref
        charge = self.book.get(order.payment_out_ref)
        if (
            charge is None
            or charge.state is not State.PAID
            or entry.amount_minor > self._room_minor(charge)
        ):
            entry.state = State.DECLINED_HARD
            self.book[entry.out_ref] = entry
            self._note(entry)
            return self._tell(entry)
        return self._open(entry, "REFUND")

    def payout(self, order: PayoutOrder) -> Outcome:
        if order.out_ref in self.book:
            return self._tell(self.book[order.out_ref])
        entry = Entry("payout", order.out_ref, State.PAID, order.amount_minor, order.currency)
        return self._open(entry, "PAYOUT")

    def query(self, out_ref: str) -> Outcome:
        entry = self.book.get(out_ref)
        if entry is None or self._loop.now_s < entry.visible_at_s:
            return Outcome(kind=OutcomeKind.NOT_FOUND, code="NOT_FOUND")
        return self._tell(entry)

    def close(self, out_ref: str) -> Outcome:
        entry = self.book.get(out_ref)
        if entry is None:
            entry = self.book[out_ref] = Entry("charge", out_ref, State.CLOSED)
            self._note(entry)
        if entry.state is State.PENDING:
            self._become(entry, State.CLOSED)
        if entry.state is State.PAID:
            return self._tell(entry)
        self._chaos.counts["order closed at its channel"] += 1
        return Outcome(kind=OutcomeKind.CLOSED, code="CLOSED")

    def _open(self, entry: Entry, method: str) -> Outcome:
        if self._chaos.strikes("channel fails before commit"):
            return Outcome(kind=OutcomeKind.UNKNOWN, code="HTTP_500")
        entry.state = self._draw(method)
        if entry.state is State.PENDING and method == "WECHAT_QR":
            entry.qr_content = f"qr:{entry.out_ref}"
        if self._chaos.strikes("channel does not know the number yet"):
            entry.visible_at_s = self._loop.now_s + VISIBLE_WITHIN_S * self._rng.random()
        if entry.kind != "payout":
            self._lie(entry)
        self.book[entry.out_ref] = entry
        self._note(entry)
        if entry.state is State.PENDING:
            self._later(PAYER_MAX_S, self._resolve, entry)
        elif entry.kind != "payout" and entry.state is State.PAID:
            self._call_back(entry)
        if self._chaos.strikes("channel fails after commit"):
            return Outcome(kind=OutcomeKind.UNKNOWN, code="HTTP_502")
        return self._tell(entry)

    def _draw(self, method: str) -> State:
        chance = self._rng.random()
        if method == "WECHAT_QR":
            return State.PENDING if chance < 0.95 else State.DECLINED_SOFT
        for share, state in ((0.66, State.PAID), (0.8, State.PENDING), (0.92, State.DECLINED_SOFT)):
            if chance < share:
                return state
        return State.DECLINED_HARD

    def _lie(self, entry: Entry) -> None:
        is_charged = entry.kind == "charge" and entry.state is State.PAID
        if is_charged and self._chaos.strikes("another amount charged"):
            entry.amount_minor += 1
            entry.has_lied = True
        declined = entry.state in {State.DECLINED_SOFT, State.DECLINED_HARD}
        if declined and self._chaos.strikes("declined, then paid"):
            entry.has_lied = True
            # At once, it races with our next step; later, it meets a payment that has moved on.
            self._later(self._rng.choice((0.0, RELAPSE_MAX_S)), self._relapse, entry)

    def _room_minor(self, charge: Entry) -> int:
        """What can still be given back of a charge."""
        return charge.amount_minor - sum(
            other.amount_minor
            for other in self.book.values()
            if other.payment_out_ref == charge.out_ref
            and other.state in {State.PAID, State.PENDING}
        )

    def _relapse(self, entry: Entry) -> None:
        """What was declined happens after all."""
        if entry.kind == "charge":
            self._become(entry, State.PAID)
        elif entry.amount_minor <= self._room_minor(self.book[entry.payment_out_ref]):
            self._become(entry, State.PAID)
            self._chaos.counts["refund paid after its decline"] += 1

    def _resolve(self, entry: Entry) -> None:
        """The payer has paid or not, or the bank has finished."""
        if entry.state is not State.PENDING:
            return
        chance = self._rng.random()
        if chance < 0.6:
            self._become(entry, State.PAID)
        elif not entry.qr_content:
            self._become(entry, State.DECLINED_HARD)

    def _become(self, entry: Entry, state: State) -> None:
        entry.state = state
        self._note(entry)
        if entry.kind != "payout":
            self._call_back(entry)

    def _tell(self, entry: Entry) -> Outcome:
        is_moved = entry.state is State.PAID
        return Outcome(
            kind=_OUTCOMES[entry.state],
            provider_ref=f"{self.channel_id}-{entry.out_ref}",
            code="" if is_moved else entry.state.value,
            paid_at=EPOCH + timedelta(seconds=self._loop.now_s) if is_moved else None,
            amount_minor=entry.amount_minor if is_moved else None,
            currency=entry.currency if is_moved else "",
            qr_content=entry.qr_content,
        )

    def _note(self, entry: Entry) -> None:
        self._history.add(
            entry.out_ref,
            f"{self.channel_id} books {entry.kind} {entry.state.value} {entry.amount_minor}"
            + (" (it lies)" if entry.has_lied else ""),
        )

    def _call_back(self, entry: Entry) -> None:
        is_late_truth = entry.has_lied and entry.state is State.PAID
        if not is_late_truth and self._chaos.strikes("callback lost"):
            return
        if entry.state is State.PAID and self._chaos.strikes("callback out of order"):
            stale = Outcome(kind=OutcomeKind.PENDING, code="STALE")
            self._send(self._write(entry, stale), self._rng.random() * 10)
        delay_s = self._rng.random() * self._rng.choice((0.0, 0.02, 0.5))
        if self._chaos.strikes("callback late"):
            delay_s = self._rng.random() * 20.0
        if self._chaos.strikes("callback before our order"):
            delay_s = 0.0
        body = self._write(entry, self._tell(entry))
        self._send(body, delay_s)
        if self._chaos.strikes("callback twice"):
            self._send(body, delay_s + self._rng.random() * 5)
        if self._chaos.strikes("callback forged"):
            self._send(b"forged", delay_s)

    def _write(self, entry: Entry, outcome: Outcome) -> bytes:
        event_id = f"{entry.out_ref}-{next(self._numbers)}"
        callback = Callback(
            event_id=event_id,
            kind="refund" if entry.kind == "refund" else "payment",
            out_ref=entry.out_ref,
            outcome=outcome,
        )
        body = event_id.encode()
        self.callbacks[body] = callback
        return body

    def _send(self, body: bytes, delay_s: float) -> None:
        work = self._delivering(body, delay_s)
        self.deliveries.append(self._loop.create_task(work, context=self._network.context.copy()))

    async def _delivering(self, body: bytes, delay_s: float) -> None:
        await asyncio.sleep(delay_s)
        for number in range(CALLBACK_TRIES_MAX):
            acknowledged = await self._deliver(self.channel_id, {}, body)
            if body == b"forged" or (acknowledged is not None and acknowledged.status == 200):
                return
            await asyncio.sleep(CALLBACK_RETRIES_S[min(number, len(CALLBACK_RETRIES_S) - 1)])

    def _later(self, within_s: float, call: Callable[..., object], *arguments: object) -> None:
        delay_s = within_s * self._rng.random()
        self._loop.call_later(delay_s, call, *arguments, context=self._network.context)
