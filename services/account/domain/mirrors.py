"""The mirror invariant: of each real account, claims + positions = bank + in transit.

Every transfer debits one account and credits another, so that it holds for a set of accounts that no transfer
leaves. A difference is money that was moved between virtual accounts of two real ones without the money
itself, or a position in its place.
"""

import enum
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from services.account.domain.accounts import Role


class Part(enum.StrEnum):
    """What a role means to the real account that its account stands on."""

    NONE = "NONE"
    CLAIM = "CLAIM"
    POSITION = "POSITION"
    BANK = "BANK"
    IN_TRANSIT = "IN_TRANSIT"


# What a channel owes is in transit: it has left the payers and not arrived at the bank. An allowance is no money.
_PARTS = {
    Role.LIMIT: Part.NONE,
    Role.DUE_FROM: Part.POSITION,
    Role.DUE_TO: Part.POSITION,
    Role.BANK_MIRROR: Part.BANK,
    Role.IN_TRANSIT: Part.IN_TRANSIT,
    Role.CHANNEL_RECEIVABLE: Part.IN_TRANSIT,
}
_DEBIT_PARTS = frozenset({Part.BANK, Part.IN_TRANSIT})


def part_of(role: Role) -> Part:
    """Return what the role means; whatever is not said is somebody's claim."""
    return _PARTS.get(role, Part.CLAIM)


@dataclass(frozen=True, slots=True, kw_only=True)
class MirrorLine:
    """The sum over the accounts of one role, on its normal side."""

    role: Role
    accounts: int
    posted_minor: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Mirror:
    """A real account ("" for none) beside the virtual accounts that stand on it, in one snapshot."""

    real_account_id: str
    tenant_id: str
    currency: str
    at: datetime
    lines: Sequence[MirrorLine] = ()

    def minor(self, part: Part) -> int:
        """Sum a part: what lies there and is on its way as debits, what is owed for it as credits."""
        return sum(
            line.posted_minor
            if line.role.is_credit_normal is not (part in _DEBIT_PARTS)
            else -line.posted_minor
            for line in self.lines
            if part_of(line.role) is part
        )

    @property
    def difference_minor(self) -> int:
        """Claims + positions − bank − in transit: 0, or the invariant is broken."""
        return (
            self.minor(Part.CLAIM)
            + self.minor(Part.POSITION)
            - self.minor(Part.BANK)
            - self.minor(Part.IN_TRANSIT)
        )

    @property
    def accounts_count(self) -> int:
        """How many virtual accounts stand on it."""
        return sum(line.accounts for line in self.lines)


@dataclass(frozen=True, slots=True, kw_only=True)
class MirrorAccount:
    """A virtual account that stands on a real one, and the account whose mapping it follows."""

    account_id: str
    role: Role
    currency: str
    posted_minor: int
    sequence: int
    mapped_by_account_id: str
