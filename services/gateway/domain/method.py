"""How payers pay: what each payment method needs before it can be asked for, and what it can answer with.

The words are those of fisc.common.v1.PaymentMethod, without their prefix.
"""

import enum
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from services.gateway.domain.errors import (
    MethodNotForPayments,
    MethodNotForPayouts,
    PaymentInputMissing,
    PaymentInputUnexpected,
)

PAYOUT_DEFAULT: Final = "BANK_TRANSFER"


class Meeting(enum.Enum):
    """Where the payer meets the payment."""

    SCANS = "SCANS"
    """The payer scans a code of ours."""
    INSIDE_WALLET = "INSIDE_WALLET"
    BROWSER = "BROWSER"
    APP = "APP"
    SHOWS_CODE = "SHOWS_CODE"
    """The merchant scans a code of the payer's; after that the payer has only to say yes, or not even that."""
    TOKEN = "TOKEN"  # noqa: S105 -- a word, no secret
    OUR_BOOKS = "OUR_BOOKS"
    TRANSFER = "TRANSFER"


class Input(enum.StrEnum):
    """What a method may need of whoever asks for the payment; the value is the request's field."""

    AUTH_CODE = "payer.auth_code"
    WALLET_USER_ID = "payer.wallet_user_id"
    PAYER_IP = "payer.ip"
    ACCOUNT_ID = "payer.account_id"
    RETURN_URL = "return_url"


@dataclass(frozen=True, slots=True)
class Method:
    """One payment method."""

    meeting: Meeting
    needs: tuple[Input, ...] = ()
    is_for_payments: bool = True
    is_for_payouts: bool = False


METHODS: Final[Mapping[str, Method]] = {
    "WECHAT_QR": Method(Meeting.SCANS),
    "WECHAT_JSAPI": Method(Meeting.INSIDE_WALLET, (Input.WALLET_USER_ID,)),
    "WECHAT_H5": Method(Meeting.BROWSER, (Input.PAYER_IP,)),
    "WECHAT_APP": Method(Meeting.APP),
    "WECHAT_CODE": Method(Meeting.SHOWS_CODE, (Input.AUTH_CODE,)),
    "ALIPAY_QR": Method(Meeting.SCANS),
    "ALIPAY_JSAPI": Method(Meeting.INSIDE_WALLET, (Input.WALLET_USER_ID,)),
    "ALIPAY_PAGE": Method(Meeting.BROWSER, (Input.RETURN_URL,)),
    "ALIPAY_WAP": Method(Meeting.BROWSER, (Input.RETURN_URL,)),
    "ALIPAY_APP": Method(Meeting.APP),
    "ALIPAY_CODE": Method(Meeting.SHOWS_CODE, (Input.AUTH_CODE,)),
    "UNIONPAY_QR": Method(Meeting.SCANS),
    "UNIONPAY_APP": Method(Meeting.APP),
    "UNIONPAY_CODE": Method(Meeting.SHOWS_CODE, (Input.AUTH_CODE,)),
    # No token is demanded: where the channel hosts the card's form, it makes one itself.
    "CARD": Method(Meeting.TOKEN),
    # In force before there were return addresses, so none is demanded.
    "ONLINE_BANKING": Method(Meeting.BROWSER),
    "ONLINE_BANKING_BUSINESS": Method(Meeting.BROWSER, (Input.RETURN_URL,)),
    "BALANCE": Method(Meeting.OUR_BOOKS, (Input.ACCOUNT_ID,)),
    "BANK_TRANSFER": Method(Meeting.TRANSFER, is_for_payouts=True),
    "WECHAT_WALLET": Method(Meeting.TRANSFER, is_for_payments=False, is_for_payouts=True),
    "ALIPAY_WALLET": Method(Meeting.TRANSFER, is_for_payments=False, is_for_payouts=True),
}
# Here the payer has done their part, or has it asked of them, without anything that the answer to our order carries.
_NEEDS_NO_ANSWER: Final = frozenset({Meeting.SHOWS_CODE, Meeting.OUR_BOOKS})


def check_payment(method: str, given: Mapping[Input, str]) -> None:
    """Whether a payment can be asked for so. Raises MethodNotForPayments, PaymentInputMissing, PaymentInputUnexpected."""
    known = METHODS[method]
    if not known.is_for_payments:
        raise MethodNotForPayments(field="method", method=method)
    for needed in known.needs:
        if not given.get(needed):
            raise PaymentInputMissing(
                f"{method} needs {needed.value}", field=needed.value, method=method
            )
    # A secret that nothing is done with had better not be written down.
    if given.get(Input.AUTH_CODE) and Input.AUTH_CODE not in known.needs:
        raise PaymentInputUnexpected(field=Input.AUTH_CODE.value, method=method)


def check_payout(method: str) -> None:
    """Raises MethodNotForPayouts."""
    if not METHODS[method].is_for_payouts:
        raise MethodNotForPayouts(field="method", method=method)


def is_lost_without_answer(method: str) -> bool:
    """Whether a payer can go on only with what the channel's answer to our order carried, such as a QR code."""
    return METHODS[method].meeting not in _NEEDS_NO_ANSWER
