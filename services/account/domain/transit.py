"""Money in transit: what has left one place and not arrived at the other, by reference."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

# Of each account its latest entries are looked at; what stood before them is one sum.
ENTRIES_LOOKED_MAX = 20_000
ITEMS_SHOWN_MAX = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class TransitItem:
    """A reference whose entries do not cancel one another: debits less credits, since the first of them."""

    reference: str
    amount_minor: int
    since: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class TransitAccount:
    """An account of money in transit, with its oldest unmatched references."""

    account_id: str
    currency: str
    posted_minor: int
    earlier_minor: int
    items_count: int
    items: Sequence[TransitItem]

    @property
    def oldest_at(self) -> datetime | None:
        """When the oldest unmatched reference began; None if every one is matched."""
        return self.items[0].since if self.items else None
