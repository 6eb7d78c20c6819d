"""What simpay's words mean: states of each kind of object, and HTTP errors for each operation.

What is not in a table is UNKNOWN: a word we never met must not move money or end an order.
"""

import enum
from collections.abc import Mapping
from http import HTTPStatus

from services.gateway.domain.channel import OutcomeKind

SERVER_FAULT_MIN = 500

SOFT_CODES = frozenset({"CHANNEL_BUSY", "LIMIT_EXCEEDED", "CHANNEL_MAINTENANCE"})


class Subject(enum.Enum):
    """The kinds of objects; the value names the field with our number."""

    CHARGE = "order_no"
    CAPTURE = "capture_no"
    REFUND = "refund_no"
    PAYOUT = "payout_no"


class Operation(enum.Enum):
    """The calls whose errors are told apart."""

    CHARGE = "CHARGE"
    QUERY = "QUERY"
    CLOSE = "CLOSE"
    CAPTURE = "CAPTURE"
    REFUND = "REFUND"
    PAYOUT = "PAYOUT"


ERRORS: Mapping[tuple[Operation, int, str], OutcomeKind] = {
    # The number is taken by an order with other terms: only a query can tell more.
    (Operation.CHARGE, 409, "ORDER_CONFLICT"): OutcomeKind.UNKNOWN,
    (Operation.CHARGE, 400, "PARAM_ERROR"): OutcomeKind.DECLINED_HARD,
    (Operation.CHARGE, 401, "SIGN_ERROR"): OutcomeKind.DECLINED_SOFT,
    (Operation.QUERY, 404, "ORDER_NOT_FOUND"): OutcomeKind.NOT_FOUND,
    (Operation.QUERY, 404, "CAPTURE_NOT_FOUND"): OutcomeKind.NOT_FOUND,
    (Operation.QUERY, 404, "REFUND_NOT_FOUND"): OutcomeKind.NOT_FOUND,
    (Operation.QUERY, 404, "PAYOUT_NOT_FOUND"): OutcomeKind.NOT_FOUND,
    # The number is taken by a capture with other terms.
    (Operation.CAPTURE, 409, "ORDER_CONFLICT"): OutcomeKind.UNKNOWN,
    (Operation.CAPTURE, 400, "PARAM_ERROR"): OutcomeKind.DECLINED_HARD,
    (Operation.CAPTURE, 404, "ORDER_NOT_FOUND"): OutcomeKind.DECLINED_HARD,
    (Operation.REFUND, 400, "PARAM_ERROR"): OutcomeKind.DECLINED_HARD,
    (Operation.REFUND, 404, "ORDER_NOT_FOUND"): OutcomeKind.DECLINED_HARD,
    (Operation.PAYOUT, 400, "PARAM_ERROR"): OutcomeKind.DECLINED_HARD,
}

STATES: Mapping[tuple[Subject, str], OutcomeKind] = {
    (Subject.CHARGE, "PENDING"): OutcomeKind.PENDING,
    (Subject.CHARGE, "AUTHORIZED"): OutcomeKind.AUTHORIZED,
    (Subject.CHARGE, "SUCCEEDED"): OutcomeKind.SUCCEEDED,
    (Subject.CHARGE, "DECLINED"): OutcomeKind.DECLINED_HARD,
    # Also a reservation that was released or ran out before anything was captured.
    (Subject.CHARGE, "CLOSED"): OutcomeKind.CLOSED,
    # What failed stays failed under its number.
    (Subject.CAPTURE, "PROCESSING"): OutcomeKind.PENDING,
    (Subject.CAPTURE, "SUCCEEDED"): OutcomeKind.SUCCEEDED,
    (Subject.CAPTURE, "FAILED"): OutcomeKind.DECLINED_HARD,
    (Subject.REFUND, "PROCESSING"): OutcomeKind.PENDING,
    (Subject.REFUND, "SUCCEEDED"): OutcomeKind.SUCCEEDED,
    (Subject.REFUND, "FAILED"): OutcomeKind.DECLINED_HARD,
    (Subject.PAYOUT, "PROCESSING"): OutcomeKind.PENDING,
    (Subject.PAYOUT, "SUCCEEDED"): OutcomeKind.SUCCEEDED,
    (Subject.PAYOUT, "FAILED"): OutcomeKind.DECLINED_HARD,
    (Subject.PAYOUT, "RETURNED"): OutcomeKind.RETURNED,
}


def error(operation: Operation, status: int, code: str) -> OutcomeKind:
    """What an error answer means for the order; what is not in the table is UNKNOWN.

    A refused charge may go elsewhere. A capture, refund or payout is sent again under its number,
    so a refusal of the call alone (401, 429) says nothing about an earlier call and stays UNKNOWN.
    """
    if status == HTTPStatus.TOO_MANY_REQUESTS and operation is Operation.CHARGE:
        return OutcomeKind.DECLINED_SOFT
    return ERRORS.get((operation, status, code), OutcomeKind.UNKNOWN)


def state(subject: Subject, status: str, code: str) -> OutcomeKind:
    """What an object's `status` means; a declined charge is told soft from hard by its code.

    A decline with a code we never met is definite but hard: it ends the order, it does not send
    the payer from channel to channel.
    """
    kind = STATES.get((subject, status), OutcomeKind.UNKNOWN)
    if kind is OutcomeKind.DECLINED_HARD and subject is Subject.CHARGE and code in SOFT_CODES:
        return OutcomeKind.DECLINED_SOFT
    return kind
