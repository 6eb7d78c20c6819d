"""What a batch needs to see, what was loaded for it, and what was decided."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from services.account.domain.accounts import Balance
from services.account.domain.commands import (
    CAPTURE_SUFFIX,
    BookedTransfer,
    CaptureGroup,
    CaptureHold,
    Command,
    ExpireHold,
    Hold,
    PlaceHold,
    Transfer,
    Verdict,
    VoidGroup,
    VoidHold,
    capture_transfer_id,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Needs:
    """The rows a batch must see; the accounts of holds that are known already come on top."""

    account_ids: frozenset[str]
    transfer_ids: frozenset[str]
    hold_ids: frozenset[str]
    reversed_ids: frozenset[str] = frozenset()
    """Transfers to be reversed: they, their accounts, and how much of each is reversed already."""
    group_ids: frozenset[str] = frozenset()
    """Groups whose holds are needed, all of them."""
    joined_group_ids: frozenset[str] = frozenset()
    """Groups that holds are to be placed in; only whether they are barred is needed."""
    captures: Mapping[str, int] = field(default_factory=dict)
    """How many captures of each hold are asked."""

    def capture_transfer_ids(self, holds: Iterable[Hold]) -> set[str]:
        """The ids that captures may book, of the holds that are known."""
        return {
            capture_transfer_id(hold.hold_id, hold.captures_count + number)
            for hold in holds
            for number in range(
                1, self.captures.get(hold.hold_id, 0) + (hold.group_id in self.group_ids) + 1
            )
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Book:
    """The rows as loaded, locked against other writers."""

    balances: Mapping[str, Balance]
    transfers: Mapping[str, Transfer]
    holds: Mapping[str, Hold]
    reversed_minor: Mapping[str, int] = field(default_factory=dict)
    """How much of a transfer its reversals have taken back."""
    groups: Mapping[str, bool] = field(default_factory=dict)
    """Groups that are known, and whether they are barred."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """One verdict for each command, and what is to be written."""

    verdicts: Sequence[Verdict]
    booked: Sequence[BookedTransfer]
    balances: Sequence[Balance]
    holds_new: Sequence[Hold]
    holds_changed: Sequence[Hold]
    groups: Mapping[str, bool] = field(default_factory=dict)
    """Groups that are new or barred now, and whether they are barred."""


def needs(commands: Iterable[Command]) -> Needs:
    """Name the rows that deciding these commands takes."""
    account_ids: set[str] = set()
    transfer_ids: set[str] = set()
    hold_ids: set[str] = set()
    reversed_ids: set[str] = set()
    group_ids: set[str] = set()
    joined_group_ids: set[str] = set()
    captures: dict[str, int] = {}
    for command in commands:
        if isinstance(command, Transfer):
            account_ids.add(command.debit_account_id)
            account_ids.add(command.credit_account_id)
            transfer_ids.add(command.transfer_id)
            if command.reverses_transfer_id:
                reversed_ids.add(command.reverses_transfer_id)
            continue
        match command:
            case PlaceHold(hold=hold):
                account_ids |= {hold.debit_account_id, hold.credit_account_id}
                hold_ids.add(hold.hold_id)
                if hold.group_id:
                    joined_group_ids.add(hold.group_id)
            case CaptureHold(hold_id=hold_id):
                transfer_ids.add(hold_id + CAPTURE_SUFFIX)
                hold_ids.add(hold_id)
                captures[hold_id] = captures.get(hold_id, 0) + 1
            case VoidHold(hold_id=hold_id) | ExpireHold(hold_id=hold_id):
                hold_ids.add(hold_id)
            case CaptureGroup(group_id=group_id) | VoidGroup(group_id=group_id):
                group_ids.add(group_id)
    return Needs(
        account_ids=frozenset(account_ids),
        transfer_ids=frozenset(transfer_ids),
        hold_ids=frozenset(hold_ids),
        reversed_ids=frozenset(reversed_ids),
        group_ids=frozenset(group_ids),
        joined_group_ids=frozenset(joined_group_ids),
        captures=captures,
    )
