"""What a batch needs to see, what was loaded for it, and what was decided."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from services.account.domain.accounts import Balance
from services.account.domain.commands import (
    CAPTURE_SUFFIX,
    BookedTransfer,
    CaptureHold,
    Command,
    ExpireHold,
    Hold,
    PlaceHold,
    Transfer,
    Verdict,
    VoidHold,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Needs:
    """The rows a batch must see; the accounts of holds that are known already come on top."""

    account_ids: frozenset[str]
    transfer_ids: frozenset[str]
    hold_ids: frozenset[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Book:
    """The rows as loaded, locked against other writers."""

    balances: Mapping[str, Balance]
    transfers: Mapping[str, Transfer]
    holds: Mapping[str, Hold]


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """One verdict for each command, and what is to be written."""

    verdicts: Sequence[Verdict]
    booked: Sequence[BookedTransfer]
    balances: Sequence[Balance]
    holds_new: Sequence[Hold]
    holds_changed: Sequence[Hold]


def needs(commands: Iterable[Command]) -> Needs:
    """Name the rows that deciding these commands takes."""
    account_ids: set[str] = set()
    transfer_ids: set[str] = set()
    hold_ids: set[str] = set()
    for command in commands:
        match command:
            case Transfer():
                account_ids |= {command.debit_account_id, command.credit_account_id}
                transfer_ids.add(command.transfer_id)
            case PlaceHold(hold=hold):
                account_ids |= {hold.debit_account_id, hold.credit_account_id}
                hold_ids.add(hold.hold_id)
            case CaptureHold(hold_id=hold_id):
                transfer_ids.add(hold_id + CAPTURE_SUFFIX)
                hold_ids.add(hold_id)
            case VoidHold(hold_id=hold_id) | ExpireHold(hold_id=hold_id):
                hold_ids.add(hold_id)
    return Needs(
        account_ids=frozenset(account_ids),
        transfer_ids=frozenset(transfer_ids),
        hold_ids=frozenset(hold_ids),
    )
