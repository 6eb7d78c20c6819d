"""What a channel decides about reserved money: taking it, in one or several captures."""

from dataclasses import replace

from services.sandbox import records
from services.sandbox.agenda import Agenda
from services.sandbox.book import Book
from services.sandbox.clock import BusinessClock
from services.sandbox.errors import Conflict
from services.sandbox.fate import Fate
from services.sandbox.records import Account, Capture, Order


class Captures:
    """Captures over the book. What one takes counts against the order as soon as it is accepted."""

    def __init__(self, *, book: Book, clock: BusinessClock, fate: Fate, agenda: Agenda) -> None:
        self._book = book
        self._clock = clock
        self._fate = fate
        self._agenda = agenda

    def start(self) -> None:
        """Plan again what was on its way when the process ended."""
        for capture in self._book.select(Capture, "WHERE status = 'PROCESSING'"):
            self._agenda.plan(
                capture.settle_at_ms, self.settle, capture.account_id, capture.out_ref
            )

    def capture(
        self,
        account: Account,
        *,
        out_ref: str,
        order: Order,
        amount: int,
        currency: str,
        is_final: bool,
        notify_url: str,
    ) -> Capture:
        """Take part of an authorised order, or return the capture already there. Raises Conflict."""
        known = self._book.find(Capture, account.account_id, out_ref)
        if known is not None:
            terms = (known.order_ref, known.amount, known.currency, known.is_final)
            if terms != (order.out_ref, amount, currency, is_final):
                raise Conflict(out_ref)
            return known
        code = _problem(order, amount)
        now = self._clock.now()
        capture = Capture(
            account_id=account.account_id,
            out_ref=out_ref,
            order_ref=order.out_ref,
            status=records.FAILED if code else records.PROCESSING,
            amount=amount,
            currency=currency,
            is_final=is_final,
            notify_url=notify_url,
            provider_ref=self._fate.provider_ref(self._clock.today(), account, "capture", out_ref),
            code=code,
            fee=0 if code else account.profile.fee(amount),
            settle_at_ms=None if code else self._fate.settle_at_ms(account, out_ref),
            created_at=now,
            finished_at=now if code else None,
        )
        with self._book.transaction():
            self._book.save(capture)
            if not code:
                self._book.save(_drawn(order, capture))
        if code:
            return capture
        if capture.settle_at_ms is None:
            return self.settle(account.account_id, out_ref)
        self._agenda.plan(capture.settle_at_ms, self.settle, account.account_id, out_ref)
        return capture

    def settle(self, account_id: str, out_ref: str) -> Capture:
        """The money is on the merchant's balance."""
        capture = self._book.find(Capture, account_id, out_ref)
        if capture is None:
            raise LookupError(f"the book has no capture {out_ref}")
        if capture.status == records.PROCESSING:
            capture = replace(capture, status=records.SUCCEEDED, finished_at=self._clock.now())
            with self._book.transaction():
                self._book.save(capture)
                self._book.credit(account_id, capture.currency, capture.amount - capture.fee)
                self._agenda.tell(account_id, "capture", out_ref, capture.notify_url)
        return capture


def _problem(order: Order, amount: int) -> str:
    if order.status != records.AUTHORIZED:
        return "NOT_AUTHORIZED"
    return "AMOUNT_EXCEEDED" if order.captured + amount > order.amount else ""


def _drawn(order: Order, capture: Capture) -> Order:
    """The order with the capture taken out of its authorisation."""
    captured = order.captured + capture.amount
    is_over = capture.is_final or captured == order.amount
    return replace(
        order,
        status=records.SUCCEEDED if is_over else records.AUTHORIZED,
        captured=captured,
        fee=order.fee + capture.fee,
        paid_at=capture.created_at,
    )
