"""What simpay's words mean: states, decline codes, and HTTP errors for each operation."""

import enum
from collections.abc import Mapping
from http import HTTPStatus

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
    (Operation.QUERY, 404, "ORDER_NOT_FOUND"): OutcomeKind.NOT_FOUND,
    (Operation.QUERY, 404, "REFUND_NOT_FOUND"): OutcomeKind.NOT_FOUND,
    (Operation.QUERY, 404, "PAYOUT_NOT_FOUND"): OutcomeKind.NOT_FOUND,
    (Operation.REFUND, 400, "PARAM_ERROR"): OutcomeKind.DECLINED_HARD,
    (Operation.REFUND, 404, "ORDER_NOT_FOUND"): OutcomeKind.DECLINED_HARD,
    (Operation.PAYOUT, 400, "PARAM_ERROR"): OutcomeKind.DECLINED_HARD,
}

_STATES: Mapping[str, OutcomeKind] = {
    "SUCCEEDED": OutcomeKind.SUCCEEDED,
    "PENDING": OutcomeKind.PENDING,
    "PROCESSING": OutcomeKind.PENDING,
    "CLOSED": OutcomeKind.CLOSED,
    "DECLINED": OutcomeKind.DECLINED_HARD,
    # A failed refund or payout stays failed under its number.
    "FAILED": OutcomeKind.DECLINED_HARD,
}


def error(operation: Operation, status: int, code: str) -> OutcomeKind:
    """What an error answer means for the order; what is not in the table is UNKNOWN.

    A refused charge may go elsewhere. A refund or payout is sent again under its number, so a
    refusal of the call alone (401, 429) says nothing about an earlier call and stays UNKNOWN.
    """
    if status == HTTPStatus.TOO_MANY_REQUESTS and operation is Operation.CHARGE:
        return OutcomeKind.DECLINED_SOFT
    return _ERRORS.get((operation, status, code), OutcomeKind.UNKNOWN)


def state(status: str, code: str) -> OutcomeKind:
    """What an object's `status` means; a declined charge is told soft from hard by its code.

    A decline with a code we never met is definite but hard: it ends the order, it does not send
    the payer from channel to channel.
    """
    if status == "DECLINED" and code in SOFT_CODES:
        return OutcomeKind.DECLINED_SOFT
    return _STATES.get(status, OutcomeKind.UNKNOWN)
