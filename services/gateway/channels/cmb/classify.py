"""What CMB's words mean: the state of a request, its result, and the reasons of a return.

What is not in a table is UNKNOWN: a word we never met must not move money or end an order.
"""

from collections.abc import Collection, Mapping
from typing import Final

from services.gateway.domain.channel import OutcomeKind

CALL_OK: Final = "SUC0000"
FINISHED: Final = "FIN"

STATES: Final[Mapping[str, OutcomeKind]] = {
    "AUT": OutcomeKind.PENDING,  # waits for the company's own approver
    "NTE": OutcomeKind.PENDING,
    "OPR": OutcomeKind.PENDING,
    "APW": OutcomeKind.PENDING,
    "BNK": OutcomeKind.PENDING,
    "WRF": OutcomeKind.PENDING,
}

RESULTS: Final[Mapping[str, OutcomeKind]] = {
    "S": OutcomeKind.SUCCEEDED,
    "B": OutcomeKind.RETURNED,
    "U": OutcomeKind.PENDING,  # on the bank's own books, neither here nor there
    "F": OutcomeKind.DECLINED_HARD,
    # Refused, forgotten or withdrawn by the company's own people: no other bank should pay it instead.
    "R": OutcomeKind.DECLINED_HARD,
    "D": OutcomeKind.DECLINED_HARD,
    "C": OutcomeKind.DECLINED_HARD,
}

# The reason is free text. What it speaks of, in our words.
_REASONS: Final = (
    (("销户", "已关户"), "ACCOUNT_CLOSED"),
    (("户名", "名称不符", "账户名"), "ACCOUNT_NAME_MISMATCH"),
    (
        ("账号不存在", "帐号不存在", "账号有误", "帐号有误", "无此账户", "无此帐户"),
        "ACCOUNT_NOT_FOUND",
    ),
    (("余额不足",), "INSUFFICIENT_FUNDS"),
)
# The company's own account is empty: the payout may leave through another bank.
_SOFT: Final = frozenset({"INSUFFICIENT_FUNDS"})


def state(request_state: str, result: str, reason: str, suspicious: Collection[str]) -> OutcomeKind:
    """What a payment's `reqSts` and `rtnFlg` mean together."""
    if request_state in suspicious:
        return OutcomeKind.UNKNOWN
    if request_state != FINISHED:
        return STATES.get(request_state, OutcomeKind.UNKNOWN)
    kind = RESULTS.get(result, OutcomeKind.UNKNOWN)
    if kind is OutcomeKind.DECLINED_HARD and code(reason) in _SOFT:
        return OutcomeKind.DECLINED_SOFT
    return kind


def code(reason: str) -> str:
    """What a reason speaks of, or "" where that is not known."""
    for words, name in _REASONS:
        if any(word in reason for word in words):
            return name
    return ""
