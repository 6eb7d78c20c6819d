"""What a channel decides: charges, payers who pay, closes, refunds, payouts.

Every method is synchronous, so it is atomic on the event loop; each changes the book in one
transaction. Both wire protocols speak to this one set of rules.
"""

import asyncio
import uuid
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime

from services.sandbox import clock as clocks
from services.sandbox import records
from services.sandbox.book import Book
from services.sandbox.fate import Fate
from services.sandbox.notifier import Notifier
from services.sandbox.records import Account, Order, Payout, Refund


class Conflict(Exception):
    """The reference is taken by a request with other content."""


class OrderUnknown(Exception):
    """No such order."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ChargeRequest:
    """A charge as asked for, in either protocol. `immediate` means without a payer's act."""

    out_ref: str
    amount: int
    currency: str
    method: str
    description: str
    notify_url: str
    expires_at: datetime | None = None
    payer_token: str = ""
    attach: str = ""
    immediate: bool = True


class Exchange:
    """The rules over the book. `start` re-arms what was pending when the process ended."""

    def __init__(
        self,
        *,
        book: Book,
        clock: clocks.BusinessClock,
        fate: Fate,
        notifier: Notifier,
    ) -> None:
        self.book = book
        self.clock = clock
        self._fate = fate
        self._notifier = notifier
        self._timers: set[asyncio.TimerHandle] = set()

    def start(self) -> None:
        """Plan again what payers and banks were about to do; call on the running loop."""
        for order in self.book.select(Order, "WHERE status = 'PENDING'"):
            self._plan_payer(order)
        for refund in self.book.select(Refund, "WHERE status = 'PROCESSING'"):
            self._plan(refund.settle_at_ms, self.settle_refund, refund.account_id, refund.out_ref)
        for payout in self.book.select(Payout, "WHERE status = 'PROCESSING'"):
            self._plan(payout.settle_at_ms, self.settle_payout, payout.account_id, payout.out_ref)

    def stop(self) -> None:
        """Forget the plans (the book keeps them)."""
        for timer in self._timers:
            timer.cancel()
        self._timers.clear()

    # Charges

    def charge(self, account: Account, request: ChargeRequest, *, certainly: bool = False) -> Order:
        """Create an order, or return the one already there. Raises Conflict on other content.

        `certainly` makes it paid whatever chance says: for faults that hide a real charge.
        """
        known = self.order(account, request.out_ref)
        if known is not None:
            same = (known.amount, known.currency) == (request.amount, request.currency)
            if known.is_tombstone or same:
                return known
            raise Conflict(request.out_ref)
        status, code = self._fate.verdict(
            account,
            request.out_ref,
            request.payer_token,
            immediate=request.immediate and not certainly,
        )
        if certainly:
            status, code = records.PENDING, ""
        order = self._new_order(account, request, status, code)
        with self.book.transaction():
            self.book.save(order)
            if certainly or status == records.SUCCEEDED:
                order = self._take_money(account, order, tell=account.profile.notify_immediate)
        if order.status == records.PENDING:
            self._plan_payer(order)
        return order

    def order(self, account: Account, out_ref: str) -> Order | None:
        """The order as it stands now; one past its deadline is closed by looking at it."""
        order = self.book.find(Order, account.account_id, out_ref)
        if order is None or order.status != records.PENDING or order.deadline_ms is None:
            return order
        if clocks.now_ms() < order.deadline_ms:
            return order
        closed = replace(order, status=records.CLOSED, message="expired")
        self.book.save(closed)
        return closed

    def pay(self, account: Account, out_ref: str) -> Order:
        """The payer pays a pending order; nothing happens to one in any other state."""
        order = self.order(account, out_ref)
        if order is None:
            raise OrderUnknown(out_ref)
        if order.status == records.PENDING:
            with self.book.transaction():
                order = self._take_money(account, order, tell=True)
        return order

    def close(self, account: Account, out_ref: str, *, tombstone: bool) -> Order:
        """Close an unpaid order. An unknown one leaves a tombstone, or raises OrderUnknown."""
        order = self.order(account, out_ref)
        if order is None:
            if not tombstone:
                raise OrderUnknown(out_ref)
            order = self._tombstone(account, out_ref)
            self.book.save(order)
        elif order.status == records.PENDING:
            order = replace(order, status=records.CLOSED, message="closed by merchant")
            self.book.save(order)
        return order

    # Refunds

    def refund(
        self,
        account: Account,
        *,
        out_ref: str,
        order: Order,
        amount: int,
        reason: str,
        notify_url: str,
        fee_returns: bool,
    ) -> Refund:
        """Refund part of a paid order, or return the refund already there. Raises Conflict."""
        known = self.book.find(Refund, account.account_id, out_ref)
        if known is not None:
            if (known.order_ref, known.amount) != (order.out_ref, amount):
                raise Conflict(out_ref)
            return known
        code = self.refund_problem(account, order, amount)
        settle_at_ms = None if code else self._fate.settle_at_ms(account, out_ref)
        now = self.clock.now()
        refund = Refund(
            account_id=account.account_id,
            out_ref=out_ref,
            order_ref=order.out_ref,
            status=records.FAILED if code else records.PROCESSING,
            amount=amount,
            currency=order.currency,
            reason=reason,
            notify_url=notify_url,
            provider_ref=self._fate.provider_ref(self.clock.today(), account, "refund", out_ref),
            code=code,
            fee=self._returned_fee(account, order, amount) if fee_returns and not code else 0,
            settle_at_ms=settle_at_ms,
            created_at=now,
            finished_at=now if code else None,
        )
        with self.book.transaction():
            self.book.save(refund)
            if not code:
                self.book.credit(account.account_id, order.currency, refund.fee - amount)
        if code:
            return refund
        if settle_at_ms is None:
            return self.settle_refund(account.account_id, out_ref)
        self._plan(settle_at_ms, self.settle_refund, account.account_id, out_ref)
        return refund

    def refund_problem(self, account: Account, order: Order, amount: int) -> str:
        """Why the order cannot be refunded by that much: a code, or "" if it can."""
        if order.status != records.SUCCEEDED:
            return "ORDER_NOT_PAID"
        if self.book.refunded(account.account_id, order.out_ref) + amount > order.amount:
            return "REFUND_AMOUNT_EXCEEDED"
        if self.book.available(account.account_id, order.currency) < amount:
            return "NOT_ENOUGH"
        return ""

    def settle_refund(self, account_id: str, out_ref: str) -> Refund:
        """The money has arrived at the payer."""
        refund = self.book.find(Refund, account_id, out_ref)
        if refund is None:
            raise OrderUnknown(out_ref)
        if refund.status == records.PROCESSING:
            refund = replace(refund, status=records.SUCCEEDED, finished_at=self.clock.now())
            with self.book.transaction():
                self.book.save(refund)
                self._tell(account_id, "refund", out_ref, refund.notify_url)
        return refund

    # Payouts

    def payout(
        self,
        account: Account,
        *,
        out_ref: str,
        amount: int,
        currency: str,
        payee_account: str,
        payee_name: str,
        description: str,
    ) -> Payout:
        """Send money to a payee, or return the payout already there. Raises Conflict."""
        known = self.book.find(Payout, account.account_id, out_ref)
        if known is not None:
            if (known.amount, known.currency, known.payee_account) != (
                amount,
                currency,
                payee_account,
            ):
                raise Conflict(out_ref)
            return known
        fee = account.profile.payout_fee
        enough = self.book.available(account.account_id, currency) >= amount + fee
        settle_at_ms = self._fate.settle_at_ms(account, out_ref) if enough else None
        now = self.clock.now()
        payout = Payout(
            account_id=account.account_id,
            out_ref=out_ref,
            status=records.PROCESSING if enough else records.FAILED,
            amount=amount,
            currency=currency,
            payee_account=payee_account,
            payee_name=payee_name,
            description=description,
            provider_ref=self._fate.provider_ref(self.clock.today(), account, "payout", out_ref),
            code="" if enough else "NOT_ENOUGH",
            fee=fee if enough else 0,
            settle_at_ms=settle_at_ms,
            created_at=now,
            finished_at=None if enough else now,
        )
        with self.book.transaction():
            self.book.save(payout)
            if enough:
                self.book.credit(account.account_id, currency, -amount - fee)
        if not enough:
            return payout
        if settle_at_ms is None:
            return self.settle_payout(account.account_id, out_ref)
        self._plan(settle_at_ms, self.settle_payout, account.account_id, out_ref)
        return payout

    def settle_payout(self, account_id: str, out_ref: str) -> Payout:
        """The payee's bank has the money."""
        payout = self.book.find(Payout, account_id, out_ref)
        if payout is None:
            raise OrderUnknown(out_ref)
        if payout.status == records.PROCESSING:
            payout = replace(payout, status=records.SUCCEEDED, finished_at=self.clock.now())
            self.book.save(payout)
        return payout

    # Inner workings

    def _new_order(self, account: Account, request: ChargeRequest, status: str, code: str) -> Order:
        deadline_ms = None
        if request.expires_at is not None:
            deadline_ms = clocks.now_ms() + int(self.clock.remaining_s(request.expires_at) * 1000)
        return Order(
            account_id=account.account_id,
            out_ref=request.out_ref,
            status=status,
            amount=request.amount,
            currency=request.currency,
            method=request.method,
            description=request.description,
            attach=request.attach,
            payer=self._fate.payer(account, request.out_ref),
            notify_url=request.notify_url,
            deadline_ms=deadline_ms,
            auto_pay_at_ms=self._fate.auto_pay_at_ms(account, request.out_ref),
            provider_ref=self._fate.provider_ref(
                self.clock.today(), account, "charge", request.out_ref
            ),
            qr_content="" if request.immediate else self._fate.qr_content(account, request.out_ref),
            code=code,
            message=code.replace("_", " ").lower(),
            fee=0,
            times_charged=0,
            created_at=self.clock.now(),
            paid_at=None,
        )

    def _tombstone(self, account: Account, out_ref: str) -> Order:
        request = ChargeRequest(
            out_ref=out_ref,
            amount=0,
            currency=account.profile.currency,
            method="",
            description="",
            notify_url="",
        )
        order = self._new_order(account, request, records.CLOSED, "")
        return replace(order, message="closed before it existed", auto_pay_at_ms=None)

    def _take_money(self, account: Account, order: Order, *, tell: bool) -> Order:
        paid = replace(
            order,
            status=records.SUCCEEDED,
            code="",
            message="",
            fee=account.profile.fee(order.amount),
            times_charged=order.times_charged + 1,
            paid_at=self.clock.now(),
        )
        self.book.save(paid)
        self.book.credit(account.account_id, order.currency, order.amount - paid.fee)
        if tell:
            self._tell(account.account_id, "payment", order.out_ref, order.notify_url)
        return paid

    def _tell(self, account_id: str, kind: str, out_ref: str, url: str) -> None:
        account = self.book.account(account_id)
        if not url or account is None:
            return
        event_id = str(uuid.uuid5(uuid.NAMESPACE_URL, f"{account_id}/{kind}/{out_ref}"))
        self._notifier.enqueue(
            event_id=event_id,
            account_id=account_id,
            kind=kind,
            out_ref=out_ref,
            url=url,
            due_ms=self._fate.callback_at_ms(account, out_ref),
        )

    def _returned_fee(self, account: Account, order: Order, amount: int) -> int:
        """Proportional to the amount going back, half up, never more than is left of the fee."""
        returned = self.book.execute(
            "SELECT coalesce(sum(fee), 0) FROM refund WHERE account_id = ? AND order_ref = ?",
            *(account.account_id, order.out_ref),
        )[0][0]
        share = (order.fee * amount * 2 + order.amount) // (order.amount * 2)
        return min(share, order.fee - int(returned))

    def _plan_payer(self, order: Order) -> None:
        def payer_pays(account_id: str, out_ref: str) -> None:
            account = self.book.account(account_id)
            if account is not None:
                self.pay(account, out_ref)

        if order.auto_pay_at_ms is not None:
            self._plan(order.auto_pay_at_ms, payer_pays, order.account_id, order.out_ref)

    def _plan(
        self, due_ms: int | None, act: Callable[[str, str], object], account_id: str, out_ref: str
    ) -> None:
        def happen() -> None:
            self._timers.discard(timer)
            act(account_id, out_ref)

        wait_s = max(0, (due_ms or 0) - clocks.now_ms()) / 1000
        timer = asyncio.get_running_loop().call_later(wait_s, happen)
        self._timers.add(timer)
