"""What Alipay's words mean: (code, sub_code) and states, for each operation.

`code` says how far a call came: 10000 done, 10003 waiting for the payer, 20000 Alipay does not know
itself, 4000x refused at the door, 40004 refused by the business, whose `sub_code` says why. What is in no
table is UNKNOWN: a word we never met must not move money or end an order.
"""

import enum
from collections.abc import Mapping
from typing import Final

from services.gateway.domain.channel import OutcomeKind

DONE: Final = "10000"
PAYER_MUST_ACT: Final = "10003"
SERVICE_UNAVAILABLE: Final = "20000"
NOT_AUTHORIZED: Final = "20001"
PARAMETER_MISSING: Final = "40001"
PARAMETER_INVALID: Final = "40002"
CONDITION_MISSING: Final = "40003"
BUSINESS_FAILED: Final = "40004"
CALLS_LIMITED: Final = "40005"
NO_PERMISSION: Final = "40006"
SERVER_FAULT_MIN: Final = 500

TRADE_NOT_EXIST: Final = "ACQ.TRADE_NOT_EXIST"
BILL_NOT_EXIST: Final = "BILL_NOT_EXIST"
# Alipay's own spelling; of the two arguments only the date can be wrong, namely not be over yet.
BILL_TOO_EARLY: Final = frozenset({"INVAILID_ARGUMENTS", "INVALID_ARGUMENTS"})
# A close that came too late: only a query can tell what became of the trade.
CLOSED_TOO_LATE: Final = frozenset({"ACQ.TRADE_STATUS_ERROR", "ACQ.REASON_TRADE_STATUS_INVALID"})


class Operation(enum.Enum):
    """The calls whose errors are told apart."""

    CHARGE = "CHARGE"
    QUERY = "QUERY"
    CLOSE = "CLOSE"
    CANCEL = "CANCEL"
    REFUND = "REFUND"
    QUERY_REFUND = "QUERY_REFUND"
    PAYOUT = "PAYOUT"
    QUERY_PAYOUT = "QUERY_PAYOUT"
    SPLIT = "SPLIT"
    QUERY_SPLIT = "QUERY_SPLIT"
    RELATION = "RELATION"


def _table(kinds: Mapping[OutcomeKind, str]) -> Mapping[str, OutcomeKind]:
    return {code: kind for kind, codes in kinds.items() for code in codes.split()}


# ACQ.TRADE_HAS_SUCCESS, ACQ.CONTEXT_INCONSISTENT and ACQ.TRADE_BUYER_NOT_MATCH say that the number is
# taken: only a query can tell by what, so they stay UNKNOWN, as ACQ.SYSTEM_ERROR does.
_CHARGE = _table(
    {
        OutcomeKind.CLOSED: "ACQ.TRADE_HAS_CLOSE",
        # The account at this channel is at fault, or busy: another channel can serve the payer.
        OutcomeKind.DECLINED_SOFT: (
            "ACQ.ACCESS_FORBIDDEN ACQ.PARTNER_ERROR ACQ.SELLER_BEEN_BLOCKED ACQ.INVALID_STORE_ID"
            " ACQ.BEYOND_PAY_RESTRICTION ACQ.BEYOND_PER_RECEIPT_RESTRICTION ACQ.TOTAL_FEE_EXCEED"
            " ACQ.MERCHANT_AGREEMENT_NOT_EXIST ACQ.MERCHANT_AGREEMENT_INVALID"
            " ACQ.MERCHANT_STATUS_NOT_NORMAL ACQ.CARD_TYPE_ERROR"
            " ACQ.NO_PAYMENT_INSTRUMENTS_AVAILABLE ACQ.NOT_SUPPORT_PAYMENT_INST"
        ),
        # The order or the payer is at fault.
        OutcomeKind.DECLINED_HARD: (
            "ACQ.INVALID_PARAMETER ACQ.EXIST_FORBIDDEN_WORD ACQ.PAYMENT_AUTH_CODE_INVALID"
            " ACQ.BUYER_SELLER_EQUAL ACQ.BUYER_BALANCE_NOT_ENOUGH"
            " ACQ.BUYER_BANKCARD_BALANCE_NOT_ENOUGH ACQ.BUYER_ENABLE_STATUS_FORBID"
            " ACQ.BUYER_PAYMENT_AMOUNT_DAY_LIMIT_ERROR ACQ.BUYER_PAYMENT_AMOUNT_MONTH_LIMIT_ERROR"
            " ACQ.ERROR_BUYER_CERTIFY_LEVEL_LIMIT ACQ.ERROR_BALANCE_PAYMENT_DISABLE"
            " ACQ.MOBILE_PAYMENT_SWITCH_OFF ACQ.USER_FACE_PAYMENT_SWITCH_OFF"
            " ACQ.PULL_MOBILE_CASHIER_FAIL ACQ.PAYMENT_FAIL ACQ.PAYMENT_REQUEST_HAS_RISK"
            " ACQ.RISK_MERCHANT_IP_NOT_EXIST ACQ.PRODUCT_AMOUNT_LIMIT_ERROR ACQ.BUYER_NOT_EXIST"
            " ACQ.REQUEST_AMOUNT_EXCEED ACQ.CURRENCY_NOT_SUPPORT"
        ),
    }
)

_QUERY = _table({OutcomeKind.NOT_FOUND: TRADE_NOT_EXIST})

# A QR code that nobody scanned has no trade yet: the close is answered as for an unknown number, and
# bars the payer all the same. Should Alipay take money of it after all, that is a late success.
_CLOSE = _table({OutcomeKind.CLOSED: f"{TRADE_NOT_EXIST} ACQ.TRADE_HAS_CLOSE"})

# A refund is sent again under its number until there is a definite word, so a refusal of the call alone
# (2000x, 40005, 40006) says nothing about an earlier call. ACQ.DISCORDANT_REPEAT_REQUEST: the number is
# taken by a refund with other terms.
_REFUND = _table(
    {
        OutcomeKind.DECLINED_SOFT: "ACQ.SELLER_BALANCE_NOT_ENOUGH",
        OutcomeKind.DECLINED_HARD: (
            "ACQ.INVALID_PARAMETER ACQ.TRADE_NOT_EXIST ACQ.TRADE_HAS_FINISHED"
            " ACQ.TRADE_STATUS_ERROR ACQ.REFUND_AMT_NOT_EQUAL_TOTAL"
            " ACQ.REASON_TRADE_REFUND_FEE_ERR ACQ.REASON_TRADE_BEEN_FREEZEN"
            " ACQ.TRADE_NOT_ALLOW_REFUND ACQ.REFUND_FEE_ERROR ACQ.REFUND_CHARGE_ERROR"
            " ACQ.ONLINE_TRADE_VOUCHER_NOT_ALLOW_REFUND ACQ.OVERDRAFT_AGREEMENT_NOT_MATCH"
        ),
    }
)

_QUERY_REFUND = _table({OutcomeKind.NOT_FOUND: TRADE_NOT_EXIST})

# PAYMENT_INFO_INCONSISTENCY: the number is taken by a transfer with other terms.
_PAYOUT = _table(
    {
        OutcomeKind.DECLINED_SOFT: (
            "PAYER_BALANCE_NOT_ENOUGH BALANCE_IS_NOT_ENOUGH PAYER_STATUS_ERROR"
            " EXCEED_LIMIT_DM_AMOUNT EXCEED_LIMIT_MM_AMOUNT EXCEED_LIMIT_DM_MAX_AMOUNT"
            " PERMIT_PAYER_FORBIDDEN PERMIT_PAYER_LOWEST_FORBIDDEN PAYCARD_UNABLE_PAYMENT"
            " NO_ACCOUNT_RECEIVE_PERMISSION NO_PERMISSION_ACCOUNT INST_PAY_UNABLE"
        ),
        OutcomeKind.DECLINED_HARD: (
            "INVALID_PARAMETER PAYEE_NOT_EXIST PAYEE_USER_INFO_ERROR PAYEE_ACC_OCUPIED"
            " PAYEE_CARD_INFO_ERROR CARD_BIN_ERROR EXCEED_LIMIT_SM_AMOUNT"
            " EXCEED_LIMIT_SM_MIN_AMOUNT EXCEED_LIMIT_PERSONAL_SM_AMOUNT"
            " EXCEED_LIMIT_UNRN_DM_AMOUNT PERM_AML_NOT_REALNAME_REV PERMIT_NON_BANK_LIMIT_PAYEE"
            " PAYEE_ACCOUNT_STATUS_ERROR PAYEE_TRUSTEESHIP_ACC_OVER_LIMIT"
            " MEMO_REQUIRED_IN_TRANSFER_ERROR REMARK_HAS_SENSITIVE_WORD BLOCK_USER_FORBBIDEN_RECIEVE"
            " SECURITY_CHECK_FAILED"
        ),
    }
)

_QUERY_PAYOUT = _table({OutcomeKind.NOT_FOUND: "ORDER_NOT_EXIST"})

# ACQ.TRADE_SETTLE_ERROR may have succeeded: the same parameters are to be sent again.
_SPLIT = _table(
    {
        OutcomeKind.DECLINED_SOFT: "ACQ.TXN_RESULT_ACCOUNT_BALANCE_NOT_ENOUGH",
        OutcomeKind.DECLINED_HARD: (
            "ACQ.INVALID_PARAMETER ACQ.TRADE_NOT_EXIST ACQ.TRADE_STATUS_ERROR"
            " ACQ.ALLOC_AMOUNT_VALIDATE_ERROR ACQ.ROYALTY_ACCOUNT_NOT_EXIST"
            " ACQ.ROYALTY_RECEIVER_INVALID ACQ.USER_NOT_EXIST ACQ.PARTNER_ERROR"
            " ACQ.NOT_SUPPORT_ROYALTY_TYPE ACQ.TRADE_HAS_FINISHED"
        ),
    }
)

ERRORS: Mapping[Operation, Mapping[str, OutcomeKind]] = {
    Operation.CHARGE: _CHARGE,
    Operation.QUERY: _QUERY,
    Operation.CLOSE: _CLOSE,
    Operation.CANCEL: _table({OutcomeKind.CLOSED: "ACQ.TRADE_HAS_CLOSE"}),
    Operation.REFUND: _REFUND,
    Operation.QUERY_REFUND: _QUERY_REFUND,
    Operation.PAYOUT: _PAYOUT,
    Operation.QUERY_PAYOUT: _QUERY_PAYOUT,
    Operation.SPLIT: _SPLIT,
    Operation.QUERY_SPLIT: _table({OutcomeKind.NOT_FOUND: "ACQ.TRADE_SETTLE_NOT_EXIST"}),
    Operation.RELATION: _table(
        {
            OutcomeKind.DECLINED_HARD: "ACQ.INVALID_PARAMETER ACQ.USER_NOT_EXIST"
            " ACQ.ROYALTY_ACCOUNT_NOT_EXIST"
        }
    ),
}

# At the door nothing was done, which says the fate of a charge, since each is tried once under its number.
_AT_THE_DOOR: Mapping[str, OutcomeKind] = {
    NOT_AUTHORIZED: OutcomeKind.DECLINED_SOFT,
    CALLS_LIMITED: OutcomeKind.DECLINED_SOFT,
    NO_PERMISSION: OutcomeKind.DECLINED_SOFT,
    PARAMETER_MISSING: OutcomeKind.DECLINED_HARD,
    PARAMETER_INVALID: OutcomeKind.DECLINED_HARD,
    CONDITION_MISSING: OutcomeKind.DECLINED_HARD,
}
# Of the invalid parameters, those that are the account's and not the order's.
_OF_THE_ACCOUNT: Final = frozenset(
    {
        "isv.invalid-signature",
        "isv.missing-signature",
        "isv.missing-signature-key",
        "isv.missing-signature-config",
        "isv.missing-app-id",
        "isv.invalid-app-id",
        "isv.invalid-timestamp",
        "isv.missing-app-cert-sn",
        "isv.app-cert-sn-not-match",
        "isv.missing-alipay-root-cert-sn",
        "isv.invalid-alipay-root-cert-sn",
        "isv.invalid-cloud-app-permission",
        "isv.not-online-app",
    }
)

TRADE_STATUSES: Mapping[str, OutcomeKind] = {
    "WAIT_BUYER_PAY": OutcomeKind.PENDING,
    "TRADE_SUCCESS": OutcomeKind.SUCCEEDED,
    # Nothing can be refunded any more.
    "TRADE_FINISHED": OutcomeKind.SUCCEEDED,
    "TRADE_CLOSED": OutcomeKind.CLOSED,
}

TRANSFER_STATUSES: Mapping[str, OutcomeKind] = {
    "SUCCESS": OutcomeKind.SUCCEEDED,
    "WAIT_PAY": OutcomeKind.PENDING,
    "DEALING": OutcomeKind.PENDING,
    "CLOSED": OutcomeKind.CLOSED,
    "FAIL": OutcomeKind.DECLINED_HARD,
    "REFUND": OutcomeKind.RETURNED,
}

SPLIT_STATES: Mapping[str, OutcomeKind] = {
    "SUCCESS": OutcomeKind.SUCCEEDED,
    "PROCESSING": OutcomeKind.PENDING,
    "FAIL": OutcomeKind.DECLINED_HARD,
}


def error(operation: Operation, code: str, sub_code: str) -> OutcomeKind:
    """What an answer other than "done" means for the order."""
    if code == BUSINESS_FAILED:
        return ERRORS[operation].get(sub_code, OutcomeKind.UNKNOWN)
    if operation is not Operation.CHARGE:
        return OutcomeKind.UNKNOWN
    if sub_code in _OF_THE_ACCOUNT:
        return OutcomeKind.DECLINED_SOFT
    return _AT_THE_DOOR.get(code, OutcomeKind.UNKNOWN)


def trade_status(status: str, *, was_paid: bool) -> OutcomeKind:
    """What a trade's status means. One that is closed was never paid, or was given back as a whole."""
    if status == "TRADE_CLOSED" and was_paid:
        return OutcomeKind.SUCCEEDED
    return TRADE_STATUSES.get(status, OutcomeKind.UNKNOWN)


def transfer_status(status: str) -> OutcomeKind:
    """What a transfer's status means."""
    return TRANSFER_STATUSES.get(status, OutcomeKind.UNKNOWN)


def split_state(state: str) -> OutcomeKind:
    """What a receiver's part of a settlement has come to."""
    return SPLIT_STATES.get(state, OutcomeKind.UNKNOWN)
