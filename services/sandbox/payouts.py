"""What a channel and the payees' banks decide: payouts, and payouts that come back."""

from dataclasses import replace

from services.sandbox import records
from services.sandbox.agenda import Agenda
from services.sandbox.book import Book
from services.sandbox.clock import BusinessClock
from services.sandbox.errors import Conflict, PayoutUnknown
from services.sandbox.fate import Fate
from services.sandbox.records import Account, Payout

RETURN_CODE = "ACCOUNT_CLOSED"


class Payouts:
    """Payouts over the book."""

    def __init__(self, *, book: Book, clock: BusinessClock, fate: Fate, agenda: Agenda) -> None:
        self._book = book
        self._clock = clock
        self._fate = fate
        self._agenda = agenda

    def start(self) -> None:
        """Plan again what banks were about to do when the process ended."""
        for payout in self._book.select(Payout, "WHERE status = 'PROCESSING'"):
            self._agenda.plan(payout.settle_at_ms, self.settle, payout.account_id, payout.out_ref)
        due = "WHERE status = 'SUCCEEDED' AND return_at_ms IS NOT NULL"
        for payout in self._book.select(Payout, due):
            self._agenda.plan(
                payout.return_at_ms, self.send_back, payout.account_id, payout.out_ref
            )

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
        notify_url: str,
        extra: str = "",
        refusal: str = "",
    ) -> Payout:
        """Send money to a payee, or return the payout already there. Raises Conflict.

        `refusal` is a code for which it fails at once.
        """
        known = self._book.find(Payout, account.account_id, out_ref)
        if known is not None:
            terms = (known.amount, known.currency, known.payee_account)
            if terms != (amount, currency, payee_account):
                raise Conflict(out_ref)
            return known
        fee = account.profile.payout_fee
        enough = not refusal and (
            self._book.available(account.account_id, currency) >= amount + fee
        )
        settle_at_ms = self._fate.settle_at_ms(account, out_ref) if enough else None
        now = self._clock.now()
        payout = Payout(
            account_id=account.account_id,
            out_ref=out_ref,
            status=records.PROCESSING if enough else records.FAILED,
            amount=amount,
            currency=currency,
            payee_account=payee_account,
            payee_name=payee_name,
            description=description,
            provider_ref=self._fate.provider_ref(self._clock.today(), account, "payout", out_ref),
            code="" if enough else refusal or "NOT_ENOUGH",
            fee=fee if enough else 0,
            settle_at_ms=settle_at_ms,
            created_at=now,
            finished_at=None if enough else now,
            notify_url=notify_url,
            extra=extra,
        )
        with self._book.transaction():
            self._book.save(payout)
            if enough:
                self._book.credit(account.account_id, currency, -amount - fee)
        if not enough:
            return payout
        if settle_at_ms is None:
            return self.settle(account.account_id, out_ref)
        self._agenda.plan(settle_at_ms, self.settle, account.account_id, out_ref)
        return payout

    def settle(self, account_id: str, out_ref: str) -> Payout:
        """The payee's bank has the money; whether it keeps it is another question."""
        payout, account = self._find(account_id, out_ref), self._book.account(account_id)
        if payout.status != records.PROCESSING or account is None:
            return payout
        payout = replace(
            payout,
            status=records.SUCCEEDED,
            finished_at=self._clock.now(),
            return_at_ms=self._fate.return_at_ms(account, out_ref),
        )
        with self._book.transaction():
            self._book.save(payout)
            self._agenda.tell(account_id, "payout", out_ref, payout.notify_url)
        if payout.return_at_ms is not None:
            self._agenda.plan(payout.return_at_ms, self.send_back, account_id, out_ref)
        return payout

    def send_back(self, account_id: str, out_ref: str) -> Payout:
        """The payee's bank returns a payout (退票); nothing happens to one that is not paid."""
        payout = self._find(account_id, out_ref)
        if payout.status != records.SUCCEEDED:
            return payout
        payout = replace(
            payout, status=records.RETURNED, code=RETURN_CODE, returned_at=self._clock.now()
        )
        with self._book.transaction():
            self._book.save(payout)
            self._book.credit(account_id, payout.currency, payout.amount)
            self._agenda.tell(account_id, "payout", out_ref, payout.notify_url, event="return")
        return payout

    def _find(self, account_id: str, out_ref: str) -> Payout:
        payout = self._book.find(Payout, account_id, out_ref)
        if payout is None:
            raise PayoutUnknown(out_ref)
        return payout
