"""What a provider can do, as data: so that nothing is registered, planned or promised that its connector would refuse."""

import enum
from collections.abc import Mapping
from dataclasses import dataclass


class Feature(enum.StrEnum):
    """One thing a provider may offer."""

    PAYMENT = "PAYMENT"
    AUTHORIZATION = "AUTHORIZATION"
    """Money reserved and captured later, once and whole at least."""
    PARTIAL_CAPTURE = "PARTIAL_CAPTURE"
    MULTIPLE_CAPTURE = "MULTIPLE_CAPTURE"
    REFUND = "REFUND"
    PARTIAL_REFUND = "PARTIAL_REFUND"
    """Parts of what was paid, as often as there is something left."""
    CLOSE = "CLOSE"
    """An unpaid order can be ended at once; without it, it ends by its own time."""
    PAYOUT = "PAYOUT"
    BILL = "BILL"
    """Of an account, not of a method."""
    BALANCE = "BALANCE"
    """Likewise."""


OF_ACCOUNTS = frozenset({Feature.BILL, Feature.BALANCE})
# What the router plans for, and what a channel must offer to be planned.
OPERATIONS: Mapping[str, Feature] = {
    "PAYMENT": Feature.PAYMENT,
    "AUTHORIZATION": Feature.AUTHORIZATION,
    "PAYOUT": Feature.PAYOUT,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Capabilities:
    """What a provider offers for each payment method, and of an account as a whole."""

    methods: Mapping[str, frozenset[Feature]]
    account: frozenset[Feature] = frozenset()

    def offers(self, method: str, feature: Feature) -> bool:
        return feature in self.methods.get(method, frozenset())
