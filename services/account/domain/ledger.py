"""The engine: decides a batch of transfers and holds over the state that was loaded for it.

Pure: the same state, batch and time give the same answer. Items are decided in arrival order. The
order of the checks is part of the contract, for it decides which reason a caller sees: known id,
amount, effective date, both sides, accounts (debit first), currency, funds (debit first).
"""

from collections.abc import Sequence
from dataclasses import replace
from datetime import date, datetime

from libs.errors import FiscError
from libs.money import AMOUNT_MINOR_MAX
from services.account.domain import errors
from services.account.domain.accounts import Direction
from services.account.domain.batch import Book, Decision
from services.account.domain.commands import (
    BookedTransfer,
    CaptureHold,
    Command,
    ExpireHold,
    Hold,
    HoldCommand,
    HoldState,
    HoldVerdict,
    PlaceHold,
    Transfer,
    TransferVerdict,
    Verdict,
    VoidHold,
)

_TRANSFER_CONTENT = (
    ("debit_account_id", "debit_account_id"),
    ("credit_account_id", "credit_account_id"),
    ("currency", "amount.currency"),
    ("amount_minor", "amount.amount_minor"),
    ("reference", "reference"),
    ("description", "description"),
)
# The expiry is left out: a retry may well compute it anew, and the first placement's counts.
_HOLD_CONTENT = _TRANSFER_CONTENT[:5]


def check_chains(transfers: Sequence[Transfer]) -> None:
    """Raise ChainOpen if the last transfer waits for one that does not come."""
    if transfers and transfers[-1].linked:
        raise errors.ChainOpen(field=f"transfers[{len(transfers) - 1}].linked")


def decide(
    book: Book, commands: Sequence[Command], *, now: datetime, booking_day: date
) -> Decision:
    """Decide the commands in order; linked transfers that follow one another pass or fail as one.

    `booking_day` is the effective date of transfers that name none. Raises nothing: every refusal
    is a verdict.
    """
    work = _Work(book, now, booking_day)
    verdicts: list[Verdict] = []
    position = 0
    while position < len(commands):
        command = commands[position]
        if isinstance(command, Transfer):
            chain = _chain_at(commands, position)
            verdicts += work.post_chain(chain)
            position += len(chain)
        else:
            verdicts.append(work.handle_hold(command))
            position += 1
    return work.decision(verdicts)


def _chain_at(commands: Sequence[Command], position: int) -> list[Transfer]:
    chain: list[Transfer] = []
    for command in commands[position:]:
        if not isinstance(command, Transfer):
            break
        chain.append(command)
        if not command.linked:
            break
    return chain


class _Work:
    """The state of the ledger while a batch is being decided."""

    def __init__(self, book: Book, now: datetime, booking_day: date) -> None:
        self._book = book
        self._now = now
        self._booking_day = booking_day
        self._balances = dict(book.balances)
        self._transfers = dict(book.transfers)
        self._holds = dict(book.holds)
        self._booked: list[BookedTransfer] = []

    def decision(self, verdicts: Sequence[Verdict]) -> Decision:
        """Gather what differs from the state as loaded."""
        known = self._book.holds
        return Decision(
            verdicts=verdicts,
            booked=self._booked,
            balances=[b for key, b in self._balances.items() if b is not self._book.balances[key]],
            holds_new=[hold for key, hold in self._holds.items() if key not in known],
            holds_changed=[
                hold for key, hold in self._holds.items() if known.get(key, hold) is not hold
            ],
        )

    def post_chain(self, chain: Sequence[Transfer]) -> list[TransferVerdict]:
        """Book all of the chain or none; what had been booked before it stays booked."""
        if len(chain) == 1:
            return [self._post(chain[0])]
        booked_before = len(self._booked)
        balances_before = {
            account_id: self._balances[account_id]
            for transfer in chain
            for account_id in (transfer.debit_account_id, transfer.credit_account_id)
            if account_id in self._balances
        }
        verdicts: list[TransferVerdict] = []
        for transfer in chain:
            verdicts.append(self._post(transfer))
            if verdicts[-1].error is not None:
                break
        else:
            return verdicts
        self._balances.update(balances_before)
        for booked in self._booked[booked_before:]:
            del self._transfers[booked.transfer.transfer_id]
        del self._booked[booked_before:]
        return self._failed_chain(chain, len(verdicts) - 1, verdicts[-1].error)

    def handle_hold(self, command: HoldCommand) -> HoldVerdict:
        """Decide one command on a hold; one whose time is up expires first."""
        match command:
            case PlaceHold(hold=asked):
                self._expire_if_due(asked.hold_id)
                return self._place(asked)
            case CaptureHold(hold_id=hold_id):
                self._expire_if_due(hold_id)
                return self._capture(command)
            case VoidHold(hold_id=hold_id):
                self._expire_if_due(hold_id)
                return self._void(hold_id)
            case ExpireHold(hold_id=hold_id):
                self._expire_if_due(hold_id)
                return self._hold_verdict(hold_id)

    def _failed_chain(
        self, chain: Sequence[Transfer], failed: int, error: FiscError | None
    ) -> list[TransferVerdict]:
        verdicts: list[TransferVerdict] = []
        for position, transfer in enumerate(chain):
            if position == failed:
                verdicts.append(self._verdict(transfer, error=error))
            elif transfer.transfer_id in self._transfers:
                verdicts.append(self._post(transfer))
            else:
                linked = errors.LinkedFailed(failed_transfer_id=chain[failed].transfer_id)
                verdicts.append(self._verdict(transfer, error=linked))
        return verdicts

    def _post(self, transfer: Transfer) -> TransferVerdict:
        known = self._transfers.get(transfer.transfer_id)
        if known is not None:
            field = _transfer_difference(known, transfer)
            if field is None:
                return self._verdict(transfer, replayed=True)
            return self._verdict(transfer, error=errors.TransferIdReused(field=field))
        error = self._refusal(transfer) or self._book_transfer(transfer)
        return self._verdict(transfer, error=error)

    def _refusal(self, asked: Transfer | Hold) -> FiscError | None:
        """Say what is wrong with the request itself, whatever money there is."""
        if not 0 < asked.amount_minor <= AMOUNT_MINOR_MAX:
            return errors.AmountOutOfRange(field="amount.amount_minor")
        if isinstance(asked, Transfer) and not _is_date_or_empty(asked.effective_date):
            return errors.InvalidEffectiveDate(field="effective_date")
        if asked.debit_account_id == asked.credit_account_id:
            return errors.SameAccount(field="credit_account_id")
        for field in ("debit_account_id", "credit_account_id"):
            account_id: str = getattr(asked, field)
            if account_id not in self._balances:
                return errors.AccountNotFound(field=field, account_id=account_id)
        for field in ("debit_account_id", "credit_account_id"):
            balance = self._balances[getattr(asked, field)]
            if balance.currency != asked.currency:
                return errors.CurrencyMismatch(
                    field="amount.currency",
                    account_id=balance.account_id,
                    currency=balance.currency,
                )
        return None

    def _book_transfer(self, transfer: Transfer, *, released_minor: int = 0) -> FiscError | None:
        """Move the money, letting go of a hold on the debited account, or say why it cannot."""
        debit = self._balances[transfer.debit_account_id].moved(
            Direction.DEBIT, transfer.amount_minor, released_minor=released_minor
        )
        credit = self._balances[transfer.credit_account_id].moved(
            Direction.CREDIT, transfer.amount_minor
        )
        error = debit.refusal() or credit.refusal()
        if error is not None:
            return error
        effective_on = (
            date.fromisoformat(transfer.effective_date)
            if transfer.effective_date
            else self._booking_day
        )
        self._balances[debit.account_id] = debit
        self._balances[credit.account_id] = credit
        self._transfers[transfer.transfer_id] = replace(
            transfer, effective_date=effective_on.isoformat()
        )
        self._booked.append(
            BookedTransfer(
                transfer=transfer,
                effective_on=effective_on,
                booked_at=self._now,
                debit_sequence=debit.sequence,
                debit_balance_after_minor=debit.posted_minor,
                credit_sequence=credit.sequence,
                credit_balance_after_minor=credit.posted_minor,
            )
        )
        return None

    def _place(self, asked: Hold) -> HoldVerdict:
        known = self._holds.get(asked.hold_id)
        if known is not None:
            return self._hold_verdict(asked.hold_id, _replacement_refusal(known, asked))
        error = self._refusal(asked)
        if error is None and not self._balances[asked.debit_account_id].role.is_credit_normal:
            error = errors.AccountNotHoldable(field="debit_account_id")
        if error is None and _is_due(asked, self._now):
            error = errors.HoldExpired(field="expires_at")
        if error is None:
            balance = self._balances[asked.debit_account_id].holding(asked.amount_minor)
            error = balance.refusal()
            if error is None:
                self._balances[balance.account_id] = balance
                self._holds[asked.hold_id] = asked
        return self._hold_verdict(asked.hold_id, error)

    def _capture(self, command: CaptureHold) -> HoldVerdict:
        hold = self._holds.get(command.hold_id)
        if hold is None:
            return self._hold_verdict(command.hold_id, errors.HoldNotFound(field="hold_id"))
        amount_minor = command.amount_minor or hold.amount_minor
        error = _capture_refusal(hold, amount_minor)
        if error is not None or hold.state is HoldState.CAPTURED:
            return self._hold_verdict(command.hold_id, error)
        transfer = Transfer(
            transfer_id=hold.capture_id,
            debit_account_id=hold.debit_account_id,
            credit_account_id=hold.credit_account_id,
            currency=hold.currency,
            amount_minor=amount_minor,
            reference=hold.reference,
            description=command.description,
        )
        if transfer.transfer_id in self._transfers:
            error = errors.TransferIdReused(field="hold_id", transfer_id=transfer.transfer_id)
        else:
            error = self._book_transfer(transfer, released_minor=hold.amount_minor)
        if error is None:
            self._holds[hold.hold_id] = replace(
                hold, state=HoldState.CAPTURED, captured_minor=amount_minor
            )
        return self._hold_verdict(command.hold_id, error)

    def _void(self, hold_id: str) -> HoldVerdict:
        hold = self._holds.get(hold_id)
        if hold is None:
            self._holds[hold_id] = Hold(hold_id=hold_id, state=HoldState.VOIDED)
        elif hold.state is HoldState.CAPTURED:
            return self._hold_verdict(hold_id, errors.HoldCaptured(field="hold_id"))
        elif hold.state is HoldState.HELD:
            self._release(hold, HoldState.VOIDED)
        return self._hold_verdict(hold_id)

    def _expire_if_due(self, hold_id: str) -> None:
        hold = self._holds.get(hold_id)
        if hold is not None and hold.state is HoldState.HELD and _is_due(hold, self._now):
            self._release(hold, HoldState.EXPIRED)

    def _release(self, hold: Hold, state: HoldState) -> None:
        balance = self._balances[hold.debit_account_id]
        self._balances[hold.debit_account_id] = balance.holding(-hold.amount_minor)
        self._holds[hold.hold_id] = replace(hold, state=state)

    def _verdict(
        self, transfer: Transfer, *, error: FiscError | None = None, replayed: bool = False
    ) -> TransferVerdict:
        return TransferVerdict(
            transfer_id=transfer.transfer_id,
            booked=error is None,
            replayed=replayed,
            error=error,
            debit=self._balances.get(transfer.debit_account_id),
            credit=self._balances.get(transfer.credit_account_id),
        )

    def _hold_verdict(self, hold_id: str, error: FiscError | None = None) -> HoldVerdict:
        return HoldVerdict(hold_id=hold_id, hold=self._holds.get(hold_id), error=error)


def _transfer_difference(known: Transfer, asked: Transfer) -> str | None:
    """Name the first field in which two transfers differ; no effective date agrees with any."""
    for attribute, field in _TRANSFER_CONTENT:
        if getattr(known, attribute) != getattr(asked, attribute):
            return field
    if asked.effective_date and asked.effective_date != known.effective_date:
        return "effective_date"
    return None


def _replacement_refusal(known: Hold, asked: Hold) -> FiscError | None:
    """Say why a hold that stands does not answer a request to place it."""
    if not known.is_tombstone:
        for attribute, field in _HOLD_CONTENT:
            if getattr(known, attribute) != getattr(asked, attribute):
                return errors.HoldIdReused(field=field)
    if known.state is HoldState.VOIDED:
        return errors.HoldVoided(field="hold_id")
    if known.state is HoldState.EXPIRED:
        return errors.HoldExpired(field="hold_id")
    return None


def _capture_refusal(hold: Hold, amount_minor: int) -> FiscError | None:
    if hold.state is HoldState.VOIDED:
        return errors.HoldVoided(field="hold_id")
    if hold.state is HoldState.EXPIRED:
        return errors.HoldExpired(field="hold_id")
    if hold.state is HoldState.CAPTURED and hold.captured_minor != amount_minor:
        return errors.HoldCaptured(field="amount_minor", captured_minor=str(hold.captured_minor))
    if amount_minor > hold.amount_minor:
        return errors.CaptureTooLarge(field="amount_minor", amount_minor=str(hold.amount_minor))
    return None


def _is_due(hold: Hold, now: datetime) -> bool:
    return hold.expires_at is not None and hold.expires_at <= now


def _is_date_or_empty(text: str) -> bool:
    if not text:
        return True
    try:
        return date.fromisoformat(text).isoformat() == text
    except ValueError:
        return False
