"""What banks have in common: payments they take in or refuse, and what moved on an account in a day."""

from datetime import date, datetime, time
from typing import Final, TypeAlias

from services.sandbox import bills, records
from services.sandbox.exchange import Exchange
from services.sandbox.faults import FaultBoard
from services.sandbox.records import Account, Payout

REFUSAL_ON_DEMAND: Final = "sim:"
"""A payee account `sim:AC01` is always refused for that reason."""
CUT_OFF: Final = "TM01"

Line: TypeAlias = Payout | bills.PayoutReturn


class Bank:
    """The rules over the book."""

    def __init__(self, exchange: Exchange) -> None:
        self._exchange = exchange
        self._book = exchange.book

    def pay(
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
        """Send money, refuse to, or return the payment already there. Raises Conflict."""
        refusal = ""
        if payee_account.startswith(REFUSAL_ON_DEMAND):
            refusal = payee_account.removeprefix(REFUSAL_ON_DEMAND).upper()
        elif self._is_after_cut_off(account):
            refusal = CUT_OFF
        return self._exchange.payouts.payout(
            account,
            out_ref=out_ref,
            amount=amount,
            currency=currency,
            payee_account=payee_account,
            payee_name=payee_name,
            description=description,
            notify_url="",
            refusal=refusal,
        )

    def _is_after_cut_off(self, account: Account) -> bool:
        text = account.terms.get("cut_off", "")
        return bool(text) and self._exchange.clock.now().time() >= time.fromisoformat(text)

    def lines(self, account_id: str, day: date) -> list[Line]:
        """What moved on a business day, oldest first."""
        lines: list[Line] = [
            *self._book.paid_out_on(account_id, day),
            *map(bills.payout_return, self._book.returned_on(account_id, day)),
        ]
        return sorted(lines, key=lambda line: (moved_at(line), line.out_ref))

    def stated(self, account_id: str, day: date, faults: FaultBoard) -> list[Line]:
        """What a statement says of the day: what moved, but for the faults planted in it."""
        lines = self.lines(account_id, day)
        alterations = faults.bill_alterations(account_id, day, [line.out_ref for line in lines])
        altered = bills.altered(lines, alterations)
        return [line for line in altered if isinstance(line, Payout | bills.PayoutReturn)]

    def balance_before(self, account: Account, day: date) -> int:
        """What stood on the account when the day began."""
        rows = self._book.execute(
            "SELECT coalesce(sum(CASE WHEN substr(finished_at, 1, 10) < ?2"
            f" AND status IN ('{records.SUCCEEDED}', '{records.RETURNED}')"
            " THEN -amount - fee ELSE 0 END), 0)"
            " + coalesce(sum(CASE WHEN substr(returned_at, 1, 10) < ?2 THEN amount ELSE 0 END), 0)"
            " FROM payout WHERE account_id = ?1",
            account.account_id,
            day.isoformat(),
        )
        return account.profile.opening_balance + int(rows[0][0])


def moved_at(line: Line) -> datetime:
    """When the money moved."""
    moment = line.returned_at if isinstance(line, bills.PayoutReturn) else line.finished_at
    if moment is None:
        raise ValueError(line.out_ref)
    return moment
