"""What each of Alipay's words means for the money."""

import pytest

from services.gateway.channels.alipay import classify
from services.gateway.channels.alipay.classify import Operation
from services.gateway.domain.channel import OutcomeKind

BUSINESS = classify.BUSINESS_FAILED


@pytest.mark.parametrize("operation", list(Operation))
@pytest.mark.parametrize(
    ("code", "sub_code"),
    [
        ("20000", "isp.unknow-error"),
        ("20000", "aop.ACQ.SYSTEM_ERROR"),
        (BUSINESS, "ACQ.SYSTEM_ERROR"),
        (BUSINESS, "AQC.SYSTEM_ERROR"),
        (BUSINESS, "SYSTEM_ERROR"),
        (BUSINESS, "A.WORD_WE_NEVER_MET"),
        (BUSINESS, ""),
        ("", ""),
        ("10003", ""),
    ],
)
def test_what_may_have_happened_is_unknown(operation: Operation, code: str, sub_code: str) -> None:
    assert classify.error(operation, code, sub_code) is OutcomeKind.UNKNOWN


@pytest.mark.parametrize(
    ("operation", "sub_code", "kind"),
    [
        (Operation.CHARGE, "ACQ.TRADE_HAS_CLOSE", OutcomeKind.CLOSED),
        (Operation.CHARGE, "ACQ.TRADE_HAS_SUCCESS", OutcomeKind.UNKNOWN),
        (Operation.CHARGE, "ACQ.CONTEXT_INCONSISTENT", OutcomeKind.UNKNOWN),
        (Operation.CHARGE, "ACQ.SELLER_BEEN_BLOCKED", OutcomeKind.DECLINED_SOFT),
        (Operation.CHARGE, "ACQ.BUYER_BALANCE_NOT_ENOUGH", OutcomeKind.DECLINED_HARD),
        (Operation.QUERY, "ACQ.TRADE_NOT_EXIST", OutcomeKind.NOT_FOUND),
        (Operation.CLOSE, "ACQ.TRADE_NOT_EXIST", OutcomeKind.CLOSED),
        (Operation.REFUND, "ACQ.TRADE_NOT_EXIST", OutcomeKind.DECLINED_HARD),
        (Operation.REFUND, "ACQ.SELLER_BALANCE_NOT_ENOUGH", OutcomeKind.DECLINED_SOFT),
        (Operation.REFUND, "ACQ.DISCORDANT_REPEAT_REQUEST", OutcomeKind.UNKNOWN),
        (Operation.QUERY_REFUND, "ACQ.TRADE_NOT_EXIST", OutcomeKind.NOT_FOUND),
        (Operation.PAYOUT, "PAYEE_NOT_EXIST", OutcomeKind.DECLINED_HARD),
        (Operation.PAYOUT, "PAYER_BALANCE_NOT_ENOUGH", OutcomeKind.DECLINED_SOFT),
        (Operation.PAYOUT, "PAYMENT_INFO_INCONSISTENCY", OutcomeKind.UNKNOWN),
        (Operation.QUERY_PAYOUT, "ORDER_NOT_EXIST", OutcomeKind.NOT_FOUND),
        (Operation.SPLIT, "ACQ.TRADE_SETTLE_ERROR", OutcomeKind.UNKNOWN),
    ],
)
def test_the_business_says_why(operation: Operation, sub_code: str, kind: OutcomeKind) -> None:
    assert classify.error(operation, BUSINESS, sub_code) is kind


@pytest.mark.parametrize(
    ("code", "sub_code", "kind"),
    [
        ("40005", "isv.app-call-limited", OutcomeKind.DECLINED_SOFT),
        ("40006", "isv.insufficient-isv-permissions", OutcomeKind.DECLINED_SOFT),
        ("20001", "aop.invalid-app-auth-token", OutcomeKind.DECLINED_SOFT),
        ("40002", "isv.invalid-signature", OutcomeKind.DECLINED_SOFT),
        ("40001", "isv.missing-app-id", OutcomeKind.DECLINED_SOFT),
        ("40002", "isv.invalid-parameter", OutcomeKind.DECLINED_HARD),
        ("40001", "isv.missing-method", OutcomeKind.DECLINED_HARD),
    ],
)
def test_a_refusal_at_the_door_ends_a_charge_and_says_nothing_of_what_is_sent_again(
    code: str, sub_code: str, kind: OutcomeKind
) -> None:
    assert classify.error(Operation.CHARGE, code, sub_code) is kind
    for operation in (Operation.REFUND, Operation.PAYOUT, Operation.SPLIT, Operation.CLOSE):
        assert classify.error(operation, code, sub_code) is OutcomeKind.UNKNOWN


def test_a_closed_trade_was_paid_if_there_is_a_time_of_payment() -> None:
    assert classify.trade_status("TRADE_CLOSED", was_paid=True) is OutcomeKind.SUCCEEDED
    assert classify.trade_status("TRADE_CLOSED", was_paid=False) is OutcomeKind.CLOSED
    assert classify.trade_status("NEW_WORD", was_paid=True) is OutcomeKind.UNKNOWN
    assert classify.transfer_status("NEW_WORD") is OutcomeKind.UNKNOWN
    assert classify.split_state("NEW_WORD") is OutcomeKind.UNKNOWN


def test_no_code_means_two_things_for_one_operation() -> None:
    for operation, table in classify.ERRORS.items():
        codes = [code for code in table if not code.strip()]
        assert not codes, operation
    assert set(classify.ERRORS) == set(Operation)
