"""What each payment method needs, and who may ask for it."""

import pytest

from fisc.common.v1 import method_pb2
from services.gateway.domain import method as methods
from services.gateway.domain.errors import (
    MethodNotForPayments,
    MethodNotForPayouts,
    PaymentInputMissing,
    PaymentInputUnexpected,
)
from services.gateway.domain.method import METHODS, Input

EVERYTHING = {
    Input.WALLET_USER_ID: "o1",
    Input.PAYER_IP: "192.0.2.1",
    Input.ACCOUNT_ID: "wallet/1",
    Input.RETURN_URL: "https://shop.example/back",
}


def test_every_method_of_the_contract_is_described() -> None:
    names = {name.removeprefix("PAYMENT_METHOD_") for name in method_pb2.PaymentMethod.keys()}  # noqa: SIM118 -- no dict
    assert set(METHODS) == names - {"UNSPECIFIED"}


@pytest.mark.parametrize("method", [name for name, each in METHODS.items() if each.needs])
def test_a_method_is_refused_without_what_it_needs_and_taken_with_it(method: str) -> None:
    needs = METHODS[method].needs
    given = dict.fromkeys(needs, "134567890123456789")
    methods.check_payment(method, given)
    for missing in needs:
        with pytest.raises(PaymentInputMissing) as refused:
            methods.check_payment(method, {**given, missing: ""})
        assert refused.value.field == missing.value


def test_the_old_methods_need_nothing_new() -> None:
    for method in ("WECHAT_QR", "ALIPAY_QR", "UNIONPAY_QR", "CARD", "ONLINE_BANKING"):
        methods.check_payment(method, {})


def test_a_payers_code_is_taken_only_where_it_is_used() -> None:
    given = {**EVERYTHING, Input.AUTH_CODE: "134567890123456789"}
    for method, described in METHODS.items():
        if not described.is_for_payments or Input.AUTH_CODE in described.needs:
            continue
        with pytest.raises(PaymentInputUnexpected):
            methods.check_payment(method, given)


def test_wallets_of_payees_are_for_payouts_only() -> None:
    with pytest.raises(MethodNotForPayments):
        methods.check_payment("WECHAT_WALLET", {})
    methods.check_payout("WECHAT_WALLET")
    methods.check_payout(methods.PAYOUT_DEFAULT)
    with pytest.raises(MethodNotForPayouts):
        methods.check_payout("CARD")
