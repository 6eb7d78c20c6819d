"""Channels that keep an honest book and tell about it as badly as real ones do."""

import asyncio
import itertools
from collections.abc import Awaitable, Callable
from random import Random
from typing import Literal

from services.gateway.domain.channel import (
    Callback,
    CallbackAck,
    CaptureOrder,
    ChargeOrder,
    Outcome,
    OutcomeKind,
    PayoutOrder,
    RefundOrder,
)
from services.gateway.domain.next_action import ShowQr
from tests.simulation import book
from tests.simulation.book import Entry, State
from tests.simulation.chaos import Chaos
from tests.simulation.history import History
from tests.simulation.network import Network

TURNED_AWAY = frozenset({"CHANNEL_BUSY", "NOT_FUNDED"})
"""Codes of refusals that a channel does not even note down."""
HOUR_S = 3600.0
DAY_S = 24 * HOUR_S
VISIBLE_WITHIN_S = 4.0
# A payer has at most a day.
LAPSES_WITHIN_S = 20 * HOUR_S
PAYER_MAX_S = 45.0
RELAPSE_MAX_S = 30.0
ANSWERED_WITHIN_S = 6.0
# A bank may take days over a refund or payout, and send a payout back days after it took it.
BANK_DAYS_S = 3.6 * DAY_S
RETURNS_WITHIN_S = (20.0, 2 * DAY_S, 2.9 * DAY_S, 4.0 * DAY_S)
HOLD_EXPIRES_WITHIN_S = (60.0, 2 * DAY_S)
WRONG_SHARE = 0.3
CALLBACK_RETRIES_S = (2.0, 5.0, 10.0, 20.0, 30.0)
CALLBACK_TRIES_MAX = 60
_CALLBACK_KINDS: dict[str, Literal["payment", "capture", "refund", "payout"]] = {
    "charge": "payment",
    "capture": "capture",
    "refund": "refund",
    "payout": "payout",
}

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
        entry.is_hold = order.capture_later
        return self._open(entry, order.method)

    def capture(self, order: CaptureOrder) -> Outcome:
        if order.out_ref in self.book:
            return self._tell(self.book[order.out_ref])
        entry = Entry("capture", order.out_ref, State.PAID, order.amount_minor, order.currency)
        entry.payment_out_ref, entry.is_final = order.payment.out_ref, order.is_final
        charge = self.book.get(order.payment.out_ref)
        if charge is None or not book.can_draw_on(charge, order.amount_minor):
            return self._refuse(entry)
        outcome = self._open(entry, "CAPTURE")
        if entry.state in {State.PAID, State.PENDING}:
            self._draw_on(charge, entry)
        return outcome

    def refund(self, order: RefundOrder) -> Outcome:
        if order.out_ref in self.book:
            return self._tell(self.book[order.out_ref])
        if self._rng.random() < 0.04:
            return Outcome(kind=OutcomeKind.DECLINED_SOFT, code="NOT_FUNDED")
        entry = Entry("refund", order.out_ref, State.PAID, order.amount_minor, order.currency)
        entry.payment_out_ref = order.payment.out_ref
        charge = self.book.get(order.payment.out_ref)
        if (
            charge is None
            or charge.state not in {State.PAID, State.AUTHORIZED}
            or entry.amount_minor > book.room_minor(self.book, charge)
        ):
            return self._refuse(entry)
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
            if not entry.is_hold and self._chaos.strikes("closed, then paid"):
                entry.has_lied = True
                self._later(RELAPSE_MAX_S, self._relapse, entry)
        if entry.state is State.AUTHORIZED:
            self._release(entry)
        if entry.is_hold and entry.state is State.DECLINED_HARD:
            entry.state = State.CLOSED
        if entry.state is State.PAID:
            return self._tell(entry)
        self._chaos.counts["order closed at its channel"] += 1
        return Outcome(kind=OutcomeKind.CLOSED, code="CLOSED")

    def close_by_telephone(self, ordered: Entry) -> None:
        """A person has this order closed, whatever the channel's servers say. What its people promise is not always so."""
        entry = self.book.setdefault(ordered.out_ref, ordered)
        if entry.state is State.PENDING:
            self._become(entry, State.CLOSED)
        elif entry.state is State.AUTHORIZED:
            self._release(entry)
        is_over = entry.state not in {State.PAID, State.RETURNED} and not entry.is_hold
        if is_over and self._rng.random() < WRONG_SHARE:
            entry.has_lied = True
            self._later(RELAPSE_MAX_S, self._relapse, entry, "paid after its people had closed it")

    def _refuse(self, entry: Entry) -> Outcome:
        entry.state = State.DECLINED_HARD
        self.book[entry.out_ref] = entry
        self._note(entry)
        return self._tell(entry)

    def _open(self, entry: Entry, method: str) -> Outcome:
        if self._chaos.strikes("channel fails before commit"):
            entry.state = State.DECLINED_SOFT
            return Outcome(kind=OutcomeKind.UNKNOWN, code="HTTP_500")
        self.book[entry.out_ref] = entry
        entry.state = self._draw(entry, method)
        entry.moved_at_s = self._loop.now_s
        if entry.state is State.PENDING and method == "WECHAT_QR":
            entry.qr_content = f"qr:{entry.out_ref}"
        if self._chaos.strikes("channel does not know the number yet"):
            entry.visible_at_s = self._loop.now_s + VISIBLE_WITHIN_S * self._rng.random()
        self._lie(entry)
        self._note(entry)
        if entry.state is State.PENDING:
            is_slow = entry.kind in {"refund", "payout"} and self._chaos.strikes("bank takes days")
            self._later(BANK_DAYS_S if is_slow else PAYER_MAX_S, self._resolve, entry)
        elif entry.state in {State.PAID, State.AUTHORIZED}:
            self._call_back(entry)
        self._fate(entry)
        if self._chaos.strikes("channel fails after commit"):
            return Outcome(kind=OutcomeKind.UNKNOWN, code="HTTP_502")
        return self._tell(entry)

    def _draw(self, entry: Entry, method: str) -> State:
        chance = self._rng.random()
        done = State.AUTHORIZED if entry.is_hold else State.PAID
        if method == "WECHAT_QR":
            return State.PENDING if chance < 0.95 else State.DECLINED_SOFT
        if entry.kind == "capture":
            # A channel that has reserved money gives it as a rule; it may only take its time.
            if self._chaos.strikes("capture declined"):
                return State.DECLINED_HARD
            return State.PAID if chance < 0.7 else State.PENDING
        for share, state in ((0.66, done), (0.8, State.PENDING), (0.92, State.DECLINED_SOFT)):
            if chance < share:
                return state
        return State.DECLINED_HARD

    def _fate(self, entry: Entry) -> None:
        """What will become of it by itself."""
        if entry.state is State.AUTHORIZED and self._chaos.strikes("authorisation expires early"):
            entry.is_quiet = self._rng.random() < 0.5
            self._later(self._rng.choice(HOLD_EXPIRES_WITHIN_S), self._expire, entry)
        is_paid_out = entry.kind == "payout" and entry.state is State.PAID
        if is_paid_out and self._chaos.strikes("payout returned"):
            entry.is_quiet = self._rng.random() < 0.5
            self._later(self._rng.choice(RETURNS_WITHIN_S), self._send_back, entry)

    def _lie(self, entry: Entry) -> None:
        if entry.is_hold:
            if entry.state is State.DECLINED_HARD and self._chaos.strikes(
                "declined, then reserved"
            ):
                # Not before our order has its answer, or an old word would be taken for a new one.
                self._after(ANSWERED_WITHIN_S, self._reserve, entry)
            return
        is_charged = entry.kind == "charge" and entry.state is State.PAID
        if is_charged and self._chaos.strikes("another amount charged"):
            entry.amount_minor += 1
            entry.has_lied = True
        declined = entry.state in {State.DECLINED_SOFT, State.DECLINED_HARD}
        # Of payouts there are few, and what one of them comes to when it lies is a flow of its own.
        lie = "payout declined, then paid" if entry.kind == "payout" else "declined, then paid"
        if declined and self._chaos.strikes(lie):
            entry.has_lied = True
            # At once, it races with our next step; later, it meets a payment that has moved on.
            self._later(self._rng.choice((0.0, RELAPSE_MAX_S)), self._relapse, entry)

    def _relapse(self, entry: Entry, counted: str = "") -> None:
        """What was declined or closed happens after all, where there is the money for it."""
        charge = self.book.get(entry.payment_out_ref)
        if entry.state in {State.PAID, State.RETURNED}:
            return
        if entry.kind == "capture" and charge is not None:
            if not book.can_draw_on(charge, entry.amount_minor):
                return
            charge.has_lied = True
            self._draw_on(charge, entry)
        elif charge is not None and entry.amount_minor > book.room_minor(self.book, charge):
            return
        self._become(entry, State.PAID)
        self._chaos.counts[counted or f"{entry.kind} paid after its decline"] += 1
        self._fate(entry)

    def _reserve(self, entry: Entry) -> None:
        """What was declined is reserved after all, and the channel insists that we hear of it."""
        if entry.state is not State.DECLINED_HARD:
            return
        entry.state = State.AUTHORIZED
        self._note(entry)
        self._chaos.counts["reserved after its decline"] += 1
        self._send(self._write(entry, self._tell(entry)), 0.0)

    def _resolve(self, entry: Entry) -> None:
        """The payer has paid or not, or the bank has finished."""
        if entry.state is not State.PENDING:
            return
        chance = self._rng.random()
        if chance < 0.6 or entry.kind == "capture":
            self._become(entry, State.AUTHORIZED if entry.is_hold else State.PAID)
            self._fate(entry)
        elif not entry.qr_content:
            self._become(entry, State.DECLINED_HARD)
            if not entry.is_hold:
                self._lie(entry)
        else:
            self._later(LAPSES_WITHIN_S, self._lapse, entry)

    def _lapse(self, entry: Entry) -> None:
        """Nobody can pay any more."""
        if entry.state is State.PENDING:
            entry.state = State.CLOSED
            self._note(entry)

    def _draw_on(self, charge: Entry, capture: Entry) -> None:
        charge.captured_minor += capture.amount_minor
        if capture.is_final or charge.captured_minor == charge.amount_minor:
            charge.state = State.PAID
            self._note(charge)

    def _release(self, entry: Entry) -> None:
        """An authorisation ends: what was captured stays."""
        entry.state = State.PAID if entry.captured_minor else State.CLOSED
        self._note(entry)

    def _expire(self, entry: Entry) -> None:
        if entry.state is State.AUTHORIZED:
            self._chaos.counts["authorisation expired at its channel"] += 1
            self._release(entry)
            self._call_back(entry)

    def _send_back(self, entry: Entry) -> None:
        if entry.state is State.PAID:
            entry.returned_at_s = self._loop.now_s
            self._become(entry, State.RETURNED)

    def _become(self, entry: Entry, state: State) -> None:
        entry.state = state
        if state is State.PAID:
            entry.moved_at_s = self._loop.now_s
        self._note(entry)
        self._call_back(entry)

    def _tell(self, entry: Entry) -> Outcome:
        is_moved = entry.state in {State.PAID, State.RETURNED}
        at_s = entry.returned_at_s if entry.state is State.RETURNED else entry.moved_at_s
        return Outcome(
            kind=book.OUTCOMES[entry.state],
            provider_ref=f"{self.channel_id}-{entry.out_ref}",
            code="" if is_moved else entry.state.value,
            paid_at=book.instant(at_s) if is_moved else None,
            amount_minor=entry.moved_minor if is_moved else None,
            currency=entry.currency if is_moved else "",
            next_action=ShowQr(content=entry.qr_content) if entry.qr_content else None,
        )

    def _note(self, entry: Entry) -> None:
        self._history.add(
            entry.out_ref,
            f"{self.channel_id} books {entry.kind} {entry.state.value} {entry.moved_minor}"
            f" of {entry.amount_minor}" + (" (it lies)" if entry.has_lied else ""),
        )

    def _call_back(self, entry: Entry) -> None:
        if entry.is_quiet or self._chaos.strikes("callback lost"):
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
            self._send(body, delay_s + self._rng.random() * self._rng.choice((0.0, 0.0, 5.0)))
        if self._chaos.strikes("callback forged"):
            self._send(b"forged", delay_s)

    def _write(self, entry: Entry, outcome: Outcome) -> bytes:
        event_id = f"{entry.out_ref}-{next(self._numbers)}"
        callback = Callback(
            event_id=event_id,
            kind=_CALLBACK_KINDS[entry.kind],
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

    def _after(self, at_least_s: float, call: Callable[..., object], *arguments: object) -> None:
        delay_s = at_least_s + RELAPSE_MAX_S * self._rng.random()
        self._loop.call_later(delay_s, call, *arguments, context=self._network.context)

    def _later(self, within_s: float, call: Callable[..., object], *arguments: object) -> None:
        delay_s = within_s * self._rng.random()
        self._loop.call_later(delay_s, call, *arguments, context=self._network.context)
