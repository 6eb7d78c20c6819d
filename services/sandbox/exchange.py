"""What a channel decides: charges and authorisations, payers who pay, closes, refunds.

Every method is synchronous, so it is atomic on the event loop; each changes the book in one
transaction. Every wire protocol speaks to this one set of rules.
"""

from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from services.sandbox import clock as clocks
from services.sandbox import records
from services.sandbox.agenda import Agenda
from services.sandbox.book import Book
from services.sandbox.captures import Captures
from services.sandbox.errors import Conflict, OrderUnknown
from services.sandbox.fate import Fate
from services.sandbox.notifier import Notifier
from services.sandbox.payouts import Payouts
from services.sandbox.records import Account, Order, Refund

AUTHORIZATION_LIFE = timedelta(days=7)
AUTHORIZATION_EXPIRED = "AUTH_EXPIRED"


@dataclass(frozen=True, slots=True, kw_only=True)
class ChargeRequest:
    """A charge as asked for, in any protocol. `immediate` means without a payer's act."""

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
    capture_later: bool = False
    extra: str = ""


class Exchange:
    """The rules over the book. `start` re-arms what was pending when the process ended.

    Captures and payouts have their own rules, behind `captures` and `payouts`.
    """

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
        self._agenda = Agenda(book=book, fate=fate, notifier=notifier)
        self.captures = Captures(book=book, clock=clock, fate=fate, agenda=self._agenda)
        self.payouts = Payouts(book=book, clock=clock, fate=fate, agenda=self._agenda)

    def start(self) -> None:
        """Plan again what payers and banks were about to do; call on the running loop."""
        for order in self.book.select(Order, "WHERE status = 'PENDING'"):
            self._plan_payer(order)
        for refund in self.book.select(Refund, "WHERE status = 'PROCESSING'"):
            self._agenda.plan(
                refund.settle_at_ms, self.settle_refund, refund.account_id, refund.out_ref
            )
        self.captures.start()
        self.payouts.start()

    def stop(self) -> None:
        """Forget the plans (the book keeps them)."""
        self._agenda.stop()

    # Charges

    def charge(self, account: Account, request: ChargeRequest, *, certainly: bool = False) -> Order:
        """Create an order, or return the one already there. Raises Conflict on other content.

        `certainly` makes it paid (or authorised) whatever chance says: for faults that hide a real
        charge.
        """
        known = self.order(account, request.out_ref)
        if known is not None:
            terms = (known.amount, known.currency, known.capture_later)
            same = terms == (request.amount, request.currency, request.capture_later)
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
                order = self._paid(account, order, tell=account.profile.notify_immediate)
        if order.status == records.PENDING:
            self._plan_payer(order)
        return order

    def order(self, account: Account, out_ref: str) -> Order | None:
        """The order as it stands now; one whose time is over is closed by looking at it."""
        order = self.book.find(Order, account.account_id, out_ref)
        if order is None:
            return None
        until, deadline_ms = order.authorized_until, order.deadline_ms
        if order.status == records.AUTHORIZED and until and self.clock.now() >= until:
            return self._release(order, "authorisation expired", code=AUTHORIZATION_EXPIRED)
        if order.status == records.PENDING and deadline_ms and clocks.now_ms() >= deadline_ms:
            return self._release(order, "expired")
        return order

    def release_expired(self) -> None:
        """Release every authorisation whose time is over, for those who read the whole book."""
        now = self.clock.now().isoformat(timespec="seconds")
        due = "WHERE status = 'AUTHORIZED' AND authorized_until <= ?"
        for order in self.book.select(Order, due, now):
            self._release(order, "authorisation expired", code=AUTHORIZATION_EXPIRED)

    def pay(self, account: Account, out_ref: str, *, late: bool = False) -> Order:
        """The payer pays a pending order; nothing happens to one in any other state.

        `late`: the channel breaks its word and takes the money of an order that it has closed.
        """
        order = self.order(account, out_ref)
        if order is None:
            raise OrderUnknown(out_ref)
        breaks_word = late and order.status == records.CLOSED and not order.is_tombstone
        if order.status == records.PENDING or breaks_word:
            with self.book.transaction():
                order = self._paid(account, order, tell=True)
        return order

    def close(self, account: Account, out_ref: str, *, tombstone: bool) -> Order:
        """Close an unpaid order, or release what an authorised one still holds.

        An unknown one leaves a tombstone, or raises OrderUnknown.
        """
        order = self.order(account, out_ref)
        if order is None:
            if not tombstone:
                raise OrderUnknown(out_ref)
            order = self._tombstone(account, out_ref)
            self.book.save(order)
        elif order.status in (records.PENDING, records.AUTHORIZED):
            order = self._release(order, "closed by merchant")
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
        extra: str = "",
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
            extra=extra,
        )
        with self.book.transaction():
            self.book.save(refund)
            if not code:
                self.book.credit(account.account_id, order.currency, refund.fee - amount)
        if code:
            return refund
        if settle_at_ms is None:
            return self.settle_refund(account.account_id, out_ref)
        self._agenda.plan(settle_at_ms, self.settle_refund, account.account_id, out_ref)
        return refund

    def refund_problem(self, account: Account, order: Order, amount: int) -> str:
        """Why the order cannot be refunded by that much: a code, or "" if it can."""
        if order.taken == 0:
            return "ORDER_NOT_PAID"
        if self.book.refunded(account.account_id, order.out_ref) + amount > order.taken:
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
                self._agenda.tell(account_id, "refund", out_ref, refund.notify_url)
        return refund

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
            capture_later=request.capture_later,
            extra=request.extra,
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

    def _paid(self, account: Account, order: Order, *, tell: bool) -> Order:
        """The payer's money is taken, or only reserved; within a transaction."""
        now = self.clock.now()
        if order.capture_later:
            until = now + AUTHORIZATION_LIFE
            paid = replace(order, status=records.AUTHORIZED, authorized_until=until)
        else:
            paid = replace(
                order,
                status=records.SUCCEEDED,
                fee=account.profile.fee(order.amount),
                times_charged=order.times_charged + 1,
                paid_at=now,
            )
            self.book.credit(account.account_id, order.currency, order.amount - paid.fee)
        paid = replace(paid, code="", message="")
        self.book.save(paid)
        if tell:
            self._agenda.tell(account.account_id, "payment", order.out_ref, order.notify_url)
        return paid

    def _release(self, order: Order, message: str, *, code: str = "") -> Order:
        """Nothing more can be taken: paid as far as it was captured, or else closed."""
        if order.captured:
            released = replace(order, status=records.SUCCEEDED, message=message)
        else:
            released = replace(order, status=records.CLOSED, code=code, message=message)
        self.book.save(released)
        return released

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
            self._agenda.plan(order.auto_pay_at_ms, payer_pays, order.account_id, order.out_ref)
