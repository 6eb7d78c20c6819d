"""The tables: what each of WeChat Pay's words means for money."""

import pytest

from services.gateway.channels.wechat import classify
from services.gateway.channels.wechat.classify import Operation
from services.gateway.domain.channel import OutcomeKind


@pytest.mark.parametrize(
    ("operation", "status", "code", "kind"),
    [
        (Operation.CHARGE, 400, "ORDER_CLOSED", OutcomeKind.CLOSED),
        (Operation.CHARGE, 400, "ORDERPAID", OutcomeKind.UNKNOWN),
        (Operation.CHARGE, 403, "OUT_TRADE_NO_USED", OutcomeKind.UNKNOWN),
        (Operation.CHARGE, 400, "PARAM_ERROR", OutcomeKind.DECLINED_HARD),
        (Operation.CHARGE, 403, "ACCOUNT_ERROR", OutcomeKind.DECLINED_HARD),
        (Operation.CHARGE, 401, "SIGN_ERROR", OutcomeKind.DECLINED_SOFT),
        (Operation.CHARGE, 403, "NO_AUTH", OutcomeKind.DECLINED_SOFT),
        (Operation.CHARGE, 429, "FREQUENCY_LIMITED", OutcomeKind.DECLINED_SOFT),
        (Operation.CHARGE, 500, "SYSTEM_ERROR", OutcomeKind.UNKNOWN),
        (Operation.CHARGE, 500, "ORDER_CLOSED", OutcomeKind.UNKNOWN),
        (Operation.CHARGE, 400, "A_CODE_FROM_THE_FUTURE", OutcomeKind.UNKNOWN),
        (Operation.CHARGE, 404, "", OutcomeKind.UNKNOWN),
        (Operation.QUERY, 404, "ORDER_NOT_EXIST", OutcomeKind.NOT_FOUND),
        (Operation.QUERY, 404, "", OutcomeKind.UNKNOWN),
        (Operation.QUERY, 401, "SIGN_ERROR", OutcomeKind.UNKNOWN),
        (Operation.QUERY, 429, "FREQUENCY_LIMITED", OutcomeKind.UNKNOWN),
        (Operation.QUERY, 502, "", OutcomeKind.UNKNOWN),
        (Operation.CLOSE, 404, "ORDER_NOT_EXIST", OutcomeKind.CLOSED),
        (Operation.CLOSE, 400, "ORDER_CLOSED", OutcomeKind.CLOSED),
        (Operation.CLOSE, 401, "SIGN_ERROR", OutcomeKind.UNKNOWN),
        (Operation.REFUND, 403, "NOT_ENOUGH", OutcomeKind.DECLINED_SOFT),
        (Operation.REFUND, 404, "RESOURCE_NOT_EXISTS", OutcomeKind.DECLINED_HARD),
        (Operation.REFUND, 400, "PARAM_ERROR", OutcomeKind.DECLINED_HARD),
        (Operation.REFUND, 400, "INVALID_REQUEST", OutcomeKind.UNKNOWN),
        (Operation.REFUND, 429, "FREQUENCY_LIMITED", OutcomeKind.UNKNOWN),
        (Operation.REFUND, 401, "SIGN_ERROR", OutcomeKind.UNKNOWN),
        (Operation.REFUND, 500, "SYSTEM_ERROR", OutcomeKind.UNKNOWN),
        (Operation.QUERY_REFUND, 404, "RESOURCE_NOT_EXISTS", OutcomeKind.NOT_FOUND),
        (Operation.QUERY_REFUND, 500, "SYSTEM_ERROR", OutcomeKind.UNKNOWN),
    ],
)
def test_an_error_means(operation: Operation, status: int, code: str, kind: OutcomeKind) -> None:
    assert classify.error(operation, status, code) is kind


@pytest.mark.parametrize(
    ("state", "kind"),
    [
        ("SUCCESS", OutcomeKind.SUCCEEDED),
        ("REFUND", OutcomeKind.SUCCEEDED),
        ("NOTPAY", OutcomeKind.PENDING),
        ("USERPAYING", OutcomeKind.PENDING),
        ("CLOSED", OutcomeKind.CLOSED),
        ("REVOKED", OutcomeKind.CLOSED),
        ("PAYERROR", OutcomeKind.DECLINED_HARD),
        ("success", OutcomeKind.UNKNOWN),
        ("SOMETHING_NEW", OutcomeKind.UNKNOWN),
    ],
)
def test_a_trade_state_means(state: str, kind: OutcomeKind) -> None:
    assert classify.trade_state(state) is kind


@pytest.mark.parametrize(
    ("state", "kind"),
    [
        ("SUCCESS", OutcomeKind.SUCCEEDED),
        ("PROCESSING", OutcomeKind.PENDING),
        ("ABNORMAL", OutcomeKind.PENDING),
        ("CLOSED", OutcomeKind.CLOSED),
        ("CLOSE", OutcomeKind.CLOSED),
        ("SOMETHING_NEW", OutcomeKind.UNKNOWN),
    ],
)
def test_a_refund_state_means(state: str, kind: OutcomeKind) -> None:
    assert classify.refund_state(state) is kind
