"""Inter-company positions: what one company of a group owes another, in the books of both.

The creditor has it in a DUE_FROM account, the debtor in a DUE_TO account; owner and counterparty of the one are
counterparty and owner of the other. Both sides move together, each against an account of its own company, so
that each company's books balance by themselves.
"""

import enum
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from libs.errors import FiscError
from services.account.domain import errors
from services.account.domain.accounts import Account, Role
from services.account.domain.commands import Transfer, TransferVerdict
from services.account.domain.conversions import first_refusal


class IntercompanyKind(enum.StrEnum):
    """What is done to a position."""

    RAISE = "RAISE"
    SETTLE = "SETTLE"


@dataclass(frozen=True, slots=True, kw_only=True)
class Position:
    """What a debtor owes a creditor: by the creditor's books (due from) and by the debtor's (due to)."""

    creditor_id: str
    debtor_id: str
    tenant_id: str
    currency: str
    due_from_minor: int
    due_to_minor: int
    due_from_account_ids: Sequence[str]
    due_to_account_ids: Sequence[str]

    @property
    def difference_minor(self) -> int:
        """How far the two disagree."""
        return self.due_from_minor - self.due_to_minor

    @property
    def key(self) -> tuple[str, str, str, str]:
        """What tells it from others, in the order in which they are listed."""
        return self.tenant_id, self.currency, self.creditor_id, self.debtor_id


@dataclass(frozen=True, slots=True, kw_only=True)
class IntercompanyTransfer:
    """Raises or settles a position: one transfer in each company's books."""

    intercompany_id: str
    kind: IntercompanyKind
    due_from_account_id: str
    due_to_account_id: str
    creditor_account_id: str
    debtor_account_id: str
    currency: str
    amount_minor: int
    reference: str = ""
    description: str = ""
    effective_date: str = ""

    @property
    def account_ids(self) -> Sequence[str]:
        """The four accounts it touches."""
        return (
            self.due_from_account_id,
            self.due_to_account_id,
            self.creditor_account_id,
            self.debtor_account_id,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class IntercompanyVerdict:
    """What became of it, and of each of its transfers."""

    intercompany_id: str
    transfers: Sequence[TransferVerdict]
    error: FiscError | None = None

    @property
    def is_booked(self) -> bool:
        """Whether both sides stand booked."""
        return self.error is None

    @property
    def is_replayed(self) -> bool:
        """Whether both had been booked before."""
        return self.is_booked and all(each.replayed for each in self.transfers)


def refusal(asked: IntercompanyTransfer, accounts: Mapping[str, Account]) -> FiscError | None:
    """Say why the accounts are not those of one position, or None. The ledger judges all else."""
    due_from = accounts.get(asked.due_from_account_id)
    due_to = accounts.get(asked.due_to_account_id)
    if due_from is None or due_from.role is not Role.DUE_FROM:
        return errors.PositionMismatch("not a DUE_FROM account", field="due_from_account_id")
    if due_to is None or due_to.role is not Role.DUE_TO:
        return errors.PositionMismatch("not a DUE_TO account", field="due_to_account_id")
    if not _are_pair(due_from, due_to):
        return errors.PositionMismatch(field="due_to_account_id")
    # What is not a plain account of each company must be their position the other way round: those net.
    creditor = accounts.get(asked.creditor_account_id)
    debtor = accounts.get(asked.debtor_account_id)
    if not (_is_position(creditor) or _is_position(debtor)):
        return None
    if (
        creditor is None
        or debtor is None
        or creditor.role is not Role.DUE_TO
        or debtor.role is not Role.DUE_FROM
        or not _are_pair(debtor, creditor)
        or debtor.owner_id != due_to.owner_id
    ):
        return errors.PositionMismatch(
            "not the same two companies' position the other way round", field="creditor_account_id"
        )
    return None


def expand(asked: IntercompanyTransfer) -> list[Transfer]:
    """Return its transfers, a chain: the debtor's, then the creditor's."""
    legs = [
        ("debtor", asked.debtor_account_id, asked.due_to_account_id),
        ("creditor", asked.due_from_account_id, asked.creditor_account_id),
    ]
    is_settling = asked.kind is IntercompanyKind.SETTLE
    return [
        Transfer(
            transfer_id=f"{asked.intercompany_id}:{name}",
            debit_account_id=credit if is_settling else debit,
            credit_account_id=debit if is_settling else credit,
            currency=asked.currency,
            amount_minor=asked.amount_minor,
            reference=asked.reference,
            description=asked.description,
            effective_date=asked.effective_date,
            linked=number < len(legs),
        )
        for number, (name, debit, credit) in enumerate(legs, start=1)
    ]


def verdict(
    asked: IntercompanyTransfer,
    transfers: Sequence[TransferVerdict],
    error: FiscError | None = None,
) -> IntercompanyVerdict:
    """Sum up what became of it: refused before it was tried, or by what its transfers met."""
    return IntercompanyVerdict(
        intercompany_id=asked.intercompany_id,
        transfers=transfers,
        error=error or first_refusal(transfers),
    )


def _are_pair(due_from: Account, due_to: Account) -> bool:
    return (
        bool(due_from.owner_id and due_to.owner_id)
        and due_from.owner_id == due_to.counterparty_id
        and due_to.owner_id == due_from.counterparty_id
        and due_from.book_id == due_to.book_id
    )


def _is_position(account: Account | None) -> bool:
    return account is not None and account.role in {Role.DUE_FROM, Role.DUE_TO}
