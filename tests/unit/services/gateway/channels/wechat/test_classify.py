"""The tables, walked in full: what each of WeChat Pay's words means for money."""

import pytest

from services.gateway.channels.wechat import classify
from services.gateway.channels.wechat.classify import Operation
from services.gateway.domain.channel import OutcomeKind

ERRORS = {
    (Operation.CHARGE, 400, "ORDER_CLOSED"): OutcomeKind.CLOSED,
    (Operation.CHARGE, 400, "ORDERPAID"): OutcomeKind.UNKNOWN,
    (Operation.CHARGE, 403, "OUT_TRADE_NO_USED"): OutcomeKind.UNKNOWN,
    (Operation.CHARGE, 400, "APPID_MCHID_NOT_MATCH"): OutcomeKind.DECLINED_SOFT,
    (Operation.CHARGE, 400, "MCH_NOT_EXISTS"): OutcomeKind.DECLINED_SOFT,
    (Operation.CHARGE, 401, "SIGN_ERROR"): OutcomeKind.DECLINED_SOFT,
    (Operation.CHARGE, 403, "NO_AUTH"): OutcomeKind.DECLINED_SOFT,
    (Operation.CHARGE, 403, "RULE_LIMIT"): OutcomeKind.DECLINED_SOFT,
    (Operation.CHARGE, 429, "FREQUENCY_LIMITED"): OutcomeKind.DECLINED_SOFT,
    (Operation.CHARGE, 429, "RATELIMIT_EXCEEDED"): OutcomeKind.DECLINED_SOFT,
    (Operation.CHARGE, 400, "PARAM_ERROR"): OutcomeKind.DECLINED_HARD,
    (Operation.CHARGE, 403, "ACCOUNT_ERROR"): OutcomeKind.DECLINED_HARD,
    (Operation.CHARGE, 403, "NOT_ENOUGH"): OutcomeKind.DECLINED_HARD,
    (Operation.QUERY, 404, "ORDER_NOT_EXIST"): OutcomeKind.NOT_FOUND,
    (Operation.QUERY, 400, "ORDER_CLOSED"): OutcomeKind.CLOSED,
    (Operation.CLOSE, 400, "ORDER_CLOSED"): OutcomeKind.CLOSED,
    (Operation.CLOSE, 404, "ORDER_NOT_EXIST"): OutcomeKind.CLOSED,
    (Operation.REFUND, 403, "NOT_ENOUGH"): OutcomeKind.DECLINED_SOFT,
    (Operation.REFUND, 400, "PARAM_ERROR"): OutcomeKind.DECLINED_HARD,
    (Operation.REFUND, 403, "NO_AUTH"): OutcomeKind.DECLINED_HARD,
    (Operation.REFUND, 403, "USER_ACCOUNT_ABNORMAL"): OutcomeKind.DECLINED_HARD,
    (Operation.REFUND, 404, "RESOURCE_NOT_EXISTS"): OutcomeKind.DECLINED_HARD,
    (Operation.REFUND, 404, "ORDER_NOT_EXIST"): OutcomeKind.DECLINED_HARD,
    (Operation.QUERY_REFUND, 404, "RESOURCE_NOT_EXISTS"): OutcomeKind.NOT_FOUND,
}
ANSWERS = {(status, code) for _, status, code in ERRORS} | {
    (400, "A_CODE_FROM_THE_FUTURE"),
    (400, "INVALID_REQUEST"),
    (404, ""),
    (429, ""),
    (500, "SYSTEM_ERROR"),
    (500, "ORDER_CLOSED"),
    (502, ""),
}
TRADE_STATES = {
    "SUCCESS": OutcomeKind.SUCCEEDED,
    "REFUND": OutcomeKind.SUCCEEDED,
    "NOTPAY": OutcomeKind.PENDING,
    "USERPAYING": OutcomeKind.PENDING,
    "ACCEPT": OutcomeKind.PENDING,
    "CLOSED": OutcomeKind.CLOSED,
    "REVOKED": OutcomeKind.CLOSED,
    "PAYERROR": OutcomeKind.DECLINED_HARD,
}
REFUND_STATES = {
    "SUCCESS": OutcomeKind.SUCCEEDED,
    "PROCESSING": OutcomeKind.PENDING,
    "ABNORMAL": OutcomeKind.PENDING,
    "CLOSED": OutcomeKind.CLOSED,
    "CLOSE": OutcomeKind.CLOSED,
}
WORDS = sorted({*TRADE_STATES, *REFUND_STATES, "success", "SOMETHING_NEW"})


@pytest.mark.parametrize("operation", Operation)
@pytest.mark.parametrize(("status", "code"), sorted(ANSWERS))
def test_an_error_means_what_the_table_says_and_else_is_unknown(
    operation: Operation, status: int, code: str
) -> None:
    expected = ERRORS.get((operation, status, code), OutcomeKind.UNKNOWN)
    assert classify.error(operation, status, code) is expected


@pytest.mark.parametrize("state", WORDS)
def test_a_state_means_what_its_table_says_and_else_is_unknown(state: str) -> None:
    assert classify.trade_state(state) is TRADE_STATES.get(state, OutcomeKind.UNKNOWN)
    assert classify.refund_state(state) is REFUND_STATES.get(state, OutcomeKind.UNKNOWN)


def test_the_tables_hold_nothing_that_is_not_tested() -> None:
    held = {
        (operation, *answer) for operation, table in classify.ERRORS.items() for answer in table
    }
    assert held == set(ERRORS)
    assert set(classify.TRADE_STATES) == set(TRADE_STATES)
    assert set(classify.REFUND_STATES) == set(REFUND_STATES)
