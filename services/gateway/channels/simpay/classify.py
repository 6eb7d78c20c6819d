"""What simpay's words mean: states, decline codes, and HTTP errors for each operation."""

import enum
from collections.abc import Mapping

from services.gateway.domain.channel import OutcomeKind

SERVER_FAULT_MIN = 500

SOFT_CODES = frozenset({"CHANNEL_BUSY", "LIMIT_EXCEEDED", "CHANNEL_MAINTENANCE"})


class Operation(enum.Enum):
    """The calls whose errors are told apart."""

    CHARGE = "CHARGE"
    QUERY = "QUERY"
    CLOSE = "CLOSE"
    REFUND = "REFUND"
    PAYOUT = "PAYOUT"


_ERRORS: Mapping[tuple[Operation, int, str], OutcomeKind] = {
    # The number is taken by an order with other terms: only a query can tell more.
    (Operation.CHARGE, 409, "ORDER_CONFLICT"): OutcomeKind.UNKNOWN,
    (Operation.CHARGE, 400, "PARAM_ERROR"): OutcomeKind.DECLINED_HARD,
    (Operation.CHARGE, 401, "SIGN_ERROR"): OutcomeKind.DECLINED_SOFT,
    (Operation.REFUND, 400, "PARAM_ERROR"): OutcomeKind.DECLINED_HARD,
    (Operation.REFUND, 404, "ORDER_NOT_FOUND"): OutcomeKind.DECLINED_HARD,
    (Operation.PAYOUT, 400, "PARAM_ERROR"): OutcomeKind.DECLINED_HARD,
}

_STATES: Mapping[str, OutcomeKind] = {
    "SUCCEEDED": OutcomeKind.SUCCEEDED,
    "PENDING": OutcomeKind.PENDING,
    "PROCESSING": OutcomeKind.PENDING,
    "CLOSED": OutcomeKind.CLOSED,
}


def error(operation: Operation, status: int, code: str) -> OutcomeKind:
    """What an error answer means for the order; what is not in the table is UNKNOWN.

    A refused charge may go elsewhere. A refund or payout is sent again under its number, so a
    refusal of the call alone (401, 429) says nothing about an earlier call and stays UNKNOWN.
    """
    if status == 429 and operation is Operation.CHARGE:
        return OutcomeKind.DECLINED_SOFT
    if status == 404 and operation is Operation.QUERY and code.endswith("_NOT_FOUND"):
        return OutcomeKind.NOT_FOUND
    return _ERRORS.get((operation, status, code), OutcomeKind.UNKNOWN)


def state(status: str, code: str) -> OutcomeKind:
    """What an object's `status` means; a decline or failure is told soft from hard by its code.

    A decline with a code we never met is definite but hard: it ends the order, it does not send
    the payer from channel to channel.
    """
    if status in ("DECLINED", "FAILED"):
        return OutcomeKind.DECLINED_SOFT if code in SOFT_CODES else OutcomeKind.DECLINED_HARD
    return _STATES.get(status, OutcomeKind.UNKNOWN)
