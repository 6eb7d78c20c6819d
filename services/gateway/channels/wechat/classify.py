"""What WeChat Pay's words mean: (HTTP status, error code) and states, for each operation.

A pair that is not in the table is UNKNOWN: a code we never met must not move money or end an order.
"""

import enum
from collections.abc import Mapping

from services.gateway.domain.channel import OutcomeKind

SERVER_FAULT_MIN = 500


class Operation(enum.Enum):
    """The calls whose errors are told apart."""

    CHARGE = "CHARGE"
    QUERY = "QUERY"
    CLOSE = "CLOSE"
    REFUND = "REFUND"
    QUERY_REFUND = "QUERY_REFUND"


_CHARGE: Mapping[tuple[int, str], OutcomeKind] = {
    (400, "ORDER_CLOSED"): OutcomeKind.CLOSED,
    # The number is taken: only a query can tell by what.
    (400, "ORDERPAID"): OutcomeKind.UNKNOWN,
    (403, "OUT_TRADE_NO_USED"): OutcomeKind.UNKNOWN,
    # The account at this channel is at fault, or busy: another channel can serve the payer.
    (400, "APPID_MCHID_NOT_MATCH"): OutcomeKind.DECLINED_SOFT,
    (400, "MCH_NOT_EXISTS"): OutcomeKind.DECLINED_SOFT,
    (401, "SIGN_ERROR"): OutcomeKind.DECLINED_SOFT,
    (403, "NO_AUTH"): OutcomeKind.DECLINED_SOFT,
    (403, "RULE_LIMIT"): OutcomeKind.DECLINED_SOFT,
    (429, "FREQUENCY_LIMITED"): OutcomeKind.DECLINED_SOFT,
    (429, "RATELIMIT_EXCEEDED"): OutcomeKind.DECLINED_SOFT,
    # The order or the payer is at fault.
    (400, "PARAM_ERROR"): OutcomeKind.DECLINED_HARD,
    (403, "ACCOUNT_ERROR"): OutcomeKind.DECLINED_HARD,
    (403, "NOT_ENOUGH"): OutcomeKind.DECLINED_HARD,
}

_QUERY: Mapping[tuple[int, str], OutcomeKind] = {
    (404, "ORDER_NOT_EXIST"): OutcomeKind.NOT_FOUND,
    (400, "ORDER_CLOSED"): OutcomeKind.CLOSED,
}

_CLOSE: Mapping[tuple[int, str], OutcomeKind] = {
    (400, "ORDER_CLOSED"): OutcomeKind.CLOSED,
    # Only right for native payments, the only ones we make: an order whose creation was never
    # answered may still come into being after this, but nobody ever got its code_url, so nobody
    # can pay it before it expires.
    (404, "ORDER_NOT_EXIST"): OutcomeKind.CLOSED,
}

# A refund is sent again under its number until there is a definite word, so a refusal of the
# call alone (401, 429) says nothing about an earlier call and stays UNKNOWN.
_REFUND: Mapping[tuple[int, str], OutcomeKind] = {
    (403, "NOT_ENOUGH"): OutcomeKind.DECLINED_SOFT,
    (400, "PARAM_ERROR"): OutcomeKind.DECLINED_HARD,
    (403, "NO_AUTH"): OutcomeKind.DECLINED_HARD,
    (403, "USER_ACCOUNT_ABNORMAL"): OutcomeKind.DECLINED_HARD,
    (404, "RESOURCE_NOT_EXISTS"): OutcomeKind.DECLINED_HARD,
    (404, "ORDER_NOT_EXIST"): OutcomeKind.DECLINED_HARD,
}

_QUERY_REFUND: Mapping[tuple[int, str], OutcomeKind] = {
    (404, "RESOURCE_NOT_EXISTS"): OutcomeKind.NOT_FOUND,
}

ERRORS: Mapping[Operation, Mapping[tuple[int, str], OutcomeKind]] = {
    Operation.CHARGE: _CHARGE,
    Operation.QUERY: _QUERY,
    Operation.CLOSE: _CLOSE,
    Operation.REFUND: _REFUND,
    Operation.QUERY_REFUND: _QUERY_REFUND,
}

TRADE_STATES: Mapping[str, OutcomeKind] = {
    "SUCCESS": OutcomeKind.SUCCEEDED,
    # The order shows REFUND as soon as any part was given back: so it had been paid.
    "REFUND": OutcomeKind.SUCCEEDED,
    "NOTPAY": OutcomeKind.PENDING,
    "USERPAYING": OutcomeKind.PENDING,
    "ACCEPT": OutcomeKind.PENDING,
    "CLOSED": OutcomeKind.CLOSED,
    "REVOKED": OutcomeKind.CLOSED,
    "PAYERROR": OutcomeKind.DECLINED_HARD,
}

REFUND_STATES: Mapping[str, OutcomeKind] = {
    "SUCCESS": OutcomeKind.SUCCEEDED,
    "PROCESSING": OutcomeKind.PENDING,
    # The money has left us but could not reach the payer's card: people must arrange the rest.
    "ABNORMAL": OutcomeKind.PENDING,
    # The documentation says CLOSED, the published OpenAPI enum CLOSE.
    "CLOSED": OutcomeKind.CLOSED,
    "CLOSE": OutcomeKind.CLOSED,
}


def error(operation: Operation, status: int, code: str) -> OutcomeKind:
    """What an error answer means for the order."""
    if status >= SERVER_FAULT_MIN:
        return OutcomeKind.UNKNOWN
    return ERRORS[operation].get((status, code), OutcomeKind.UNKNOWN)


def trade_state(state: str) -> OutcomeKind:
    """What an order's `trade_state` means."""
    return TRADE_STATES.get(state, OutcomeKind.UNKNOWN)


def refund_state(state: str) -> OutcomeKind:
    """What a refund's `status` or `refund_status` means."""
    return REFUND_STATES.get(state, OutcomeKind.UNKNOWN)
