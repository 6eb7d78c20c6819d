"""The state of the ledger while a batch is being decided, and the one way in which money moves in it."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import TypeVar

from libs.errors import FiscError
from libs.money import AMOUNT_MINOR_MAX
from services.account.domain import errors
from services.account.domain.accounts import Balance, Direction
from services.account.domain.batch import Book, Decision
from services.account.domain.commands import BookedTransfer, Hold, Transfer, Verdict

Row = TypeVar("Row")

DAYS_MAX = 366_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """How far an effective date may lie before and after the booking day, in days."""

    back_days: int = DAYS_MAX
    ahead_days: int = DAYS_MAX

    def has(self, day: date, booking_day: date) -> bool:
        """Whether a transfer booked on that day may belong to this one."""
        return (
            -timedelta(days=self.back_days) <= day - booking_day <= timedelta(days=self.ahead_days)
        )


class Chain:
    """What is to be undone if one of several commands that stand or fall together is refused."""

    __slots__ = ("is_failed",)

    def __init__(self) -> None:
        """Begin well."""
        self.is_failed = False


class Work:
    """Balances, transfers and holds as loaded, and as changed since."""

    def __init__(self, book: Book, now: datetime, booking_day: date, window: Window) -> None:
        """Start from the rows as loaded."""
        self.balances = dict(book.balances)
        self.transfers = dict(book.transfers)
        self.holds = dict(book.holds)
        self.reversed_minor = dict(book.reversed_minor)
        self.groups = dict(book.groups)
        self.now = now
        self.booking_day = booking_day
        self.window = window
        self._book = book
        self._booked: list[BookedTransfer] = []
        self._undo: list[tuple[dict[str, object], str, object]] | None = None

    def decision(self, verdicts: Sequence[Verdict]) -> Decision:
        """Gather what differs from the state as loaded."""
        loaded, known = self._book.balances, self._book.holds
        return Decision(
            verdicts=verdicts,
            booked=self._booked,
            balances=[b for key, b in self.balances.items() if b is not loaded[key]],
            holds_new=[hold for key, hold in self.holds.items() if key not in known],
            holds_changed=[
                hold for key, hold in self.holds.items() if known.get(key, hold) is not hold
            ],
            groups=dict(self.groups.items() - self._book.groups.items()) if self.groups else {},
        )

    @contextmanager
    def chain(self) -> Iterator[Chain]:
        """Undo all that happens within, if the chain is marked as failed."""
        booked_before = len(self._booked)
        undo: list[tuple[dict[str, object], str, object]] = []
        self._undo = undo
        chain = Chain()
        yield chain
        self._undo = None
        if chain.is_failed:
            for rows, key, row in reversed(undo):
                if row is None:
                    del rows[key]
                else:
                    rows[key] = row
            del self._booked[booked_before:]

    def put(self, rows: dict[str, Row], key: str, row: Row) -> None:
        """Set one row of one of the tables above."""
        if self._undo is not None:
            self._undo.append((rows, key, rows.get(key)))  # type: ignore[arg-type]  # rows stay of one kind
        rows[key] = row

    def refusal(self, asked: Transfer | Hold, *, amount_min_minor: int = 1) -> FiscError | None:
        """Say what is wrong with the request itself, whatever money there is."""
        if not amount_min_minor <= asked.amount_minor <= AMOUNT_MINOR_MAX:
            return errors.AmountOutOfRange(field="amount.amount_minor")
        if isinstance(asked, Transfer) and asked.effective_date:
            error = self._date_refusal(asked.effective_date)
            if error is not None:
                return error
        if asked.debit_account_id == asked.credit_account_id:
            return errors.SameAccount(field="credit_account_id")
        debit = self.balances.get(asked.debit_account_id)
        if debit is None:
            return errors.AccountNotFound(
                field="debit_account_id", account_id=asked.debit_account_id
            )
        credit = self.balances.get(asked.credit_account_id)
        if credit is None:
            return errors.AccountNotFound(
                field="credit_account_id", account_id=asked.credit_account_id
            )
        for balance in (debit, credit):
            if balance.currency != asked.currency:
                return errors.CurrencyMismatch(
                    field="amount.currency",
                    account_id=balance.account_id,
                    currency=balance.currency,
                )
        if debit.terms.book_id != credit.terms.book_id:
            return errors.BookMismatch(
                field="credit_account_id",
                debit_book_id=debit.terms.book_id,
                credit_book_id=credit.terms.book_id,
            )
        return debit.state_refusal(Direction.DEBIT, "debit_account_id") or credit.state_refusal(
            Direction.CREDIT, "credit_account_id"
        )

    def book(self, transfer: Transfer, *, released_minor: int = 0) -> FiscError | None:
        """Move the money, letting go of a hold on the debited account, or say why it cannot.

        A booking is never dated before the last one of either account, so that both statements
        ascend in time though clocks may not.
        """
        before_debit = self.balances[transfer.debit_account_id]
        before_credit = self.balances[transfer.credit_account_id]
        at = self.now
        if before_debit.booked_at is not None and before_debit.booked_at > at:
            at = before_debit.booked_at
        if before_credit.booked_at is not None and before_credit.booked_at > at:
            at = before_credit.booked_at
        debit = before_debit.moved(
            Direction.DEBIT, transfer.amount_minor, released_minor=released_minor, at=at
        )
        credit = before_credit.moved(Direction.CREDIT, transfer.amount_minor, at=at)
        error = debit.refusal() or credit.refusal()
        if error is not None:
            return error
        self.put(self.balances, debit.account_id, debit)
        self.put(self.balances, credit.account_id, credit)
        self.put(self.transfers, transfer.transfer_id, transfer)
        self._booked.append(
            BookedTransfer(
                transfer=transfer,
                effective_on=date.fromisoformat(transfer.effective_date)
                if transfer.effective_date
                else self.booking_day,
                booked_at=at,
                debit_sequence=debit.sequence,
                debit_balance_after_minor=debit.posted_minor,
                credit_sequence=credit.sequence,
                credit_balance_after_minor=credit.posted_minor,
            )
        )
        return None

    def hold_back(self, account_id: str, amount_minor: int) -> FiscError | None:
        """Set so much more aside (or release it, if negative), or say why not."""
        balance: Balance = self.balances[account_id].holding(amount_minor)
        error = balance.refusal() if amount_minor > 0 else None
        if error is None:
            self.put(self.balances, account_id, balance)
        return error

    def _date_refusal(self, text: str) -> FiscError | None:
        try:
            day = date.fromisoformat(text)
        except ValueError:
            return errors.InvalidEffectiveDate(field="effective_date")
        if day.isoformat() != text:
            return errors.InvalidEffectiveDate(field="effective_date")
        if not self.window.has(day, self.booking_day):
            return errors.EffectiveDateOutOfWindow(
                field="effective_date", booking_day=self.booking_day.isoformat()
            )
        return None
