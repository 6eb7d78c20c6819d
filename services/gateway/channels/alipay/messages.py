"""Alipay's trades, refunds and transfers: ours out of orders, theirs into outcomes."""

import re
from collections.abc import Mapping
from typing import Final

from services.gateway.channels import answers
from services.gateway.channels.alipay import classify, values
from services.gateway.channels.answers import Malformed
from services.gateway.domain.channel import (
    ChargeOrder,
    Outcome,
    OutcomeKind,
    PayoutOrder,
    RefundOrder,
)
from services.gateway.domain.next_action import CallSdk, NextAction, ShowQr, Wait

PRECREATE: Final = "alipay.trade.precreate"
PAGE_PAY: Final = "alipay.trade.page.pay"
WAP_PAY: Final = "alipay.trade.wap.pay"
APP_PAY: Final = "alipay.trade.app.pay"
CREATE: Final = "alipay.trade.create"
PAY: Final = "alipay.trade.pay"
QUERY: Final = "alipay.trade.query"
CLOSE: Final = "alipay.trade.close"
CANCEL: Final = "alipay.trade.cancel"
REFUND: Final = "alipay.trade.refund"
QUERY_REFUND: Final = "alipay.trade.fastpay.refund.query"
TRANSFER: Final = "alipay.fund.trans.uni.transfer"
QUERY_TRANSFER: Final = "alipay.fund.trans.common.query"
QUERY_ACCOUNT: Final = "alipay.fund.account.query"
DOWNLOAD_CERTIFICATE: Final = "alipay.open.app.alipaycert.download"

# Our words for how a payer pays, and the call that each of them is made with.
CALLS: Final[Mapping[str, str]] = {
    "ALIPAY_QR": PRECREATE,
    "ALIPAY_PAGE": PAGE_PAY,
    "ALIPAY_WAP": WAP_PAY,
    "ALIPAY_APP": APP_PAY,
    "ALIPAY_JSAPI": CREATE,
    "ALIPAY_CODE": PAY,
}
# Here there is no trade before the payer has taken it up: scanned the code, or logged in at the cashier.
MADE_BY_THE_PAYER: Final = frozenset({PRECREATE, PAGE_PAY, WAP_PAY, APP_PAY})
PRODUCTS: Final = {
    PRECREATE: "QR_CODE_OFFLINE",
    PAGE_PAY: "FAST_INSTANT_TRADE_PAY",
    WAP_PAY: "QUICK_WAP_WAY",
    APP_PAY: "QUICK_MSECURITY_PAY",
    CREATE: "JSAPI_PAY",
    PAY: "FACE_TO_FACE_PAYMENT",
}
SUBJECT_LENGTH_MAX: Final = 256
REASON_LENGTH_MAX: Final = 256
REMARK_LENGTH_MAX: Final = 200
BANK_TRANSFER: Final = "BANK_TRANSFER"
_WALLET_PRODUCT: Final = "TRANS_ACCOUNT_NO_PWD"
_CARD_PRODUCT: Final = "TRANS_BANKCARD_NO_PWD"
_PERSONAL_ACCOUNT: Final = "2"
# Alipay's own number of a person or a merchant.
_USER_ID: Final = re.compile(r"2088[0-9]{12}", re.ASCII)
# What a subject must not hold.
_FORBIDDEN: Final = str.maketrans(dict.fromkeys("/=&\r\n\t", " "))

Content = dict[str, object]


def trade_content(method: str, order: ChargeOrder, *, splits: bool) -> Content:
    """What each way to create a trade has in common.

    `splits` keeps the money frozen until it has been divided among receivers.
    """
    subject = order.description.translate(_FORBIDDEN).strip()[:SUBJECT_LENGTH_MAX]
    content: Content = {
        "out_trade_no": order.out_ref,
        "total_amount": values.yuan(order.amount_minor),
        "subject": subject or order.out_ref,
        "product_code": PRODUCTS[method],
        "time_expire": values.beijing(order.expires_at),
    }
    if splits:
        content["extend_params"] = {"royalty_freeze": "true"}
    return content


def charge_content(method: str, order: ChargeOrder, *, app_id: str, splits: bool) -> Content:
    """What creates the trade in each way."""
    content = trade_content(method, order, splits=splits)
    if method == PAY:
        return {**content, "scene": "bar_code", "auth_code": order.auth_code}
    if method == CREATE:
        return {**content, "op_app_id": app_id, **_buyer(order.wallet_user_id)}
    if method == WAP_PAY and order.return_url:
        return {**content, "quit_url": order.return_url}
    return content


def _buyer(wallet_user_id: str) -> Content:
    """By Alipay's number of the user, or by the id that the application knows them by."""
    name = "buyer_id" if _USER_ID.fullmatch(wallet_user_id) else "buyer_open_id"
    return {name: wallet_user_id}


def trade_key(out_ref: str) -> Content:
    """Which trade is queried, closed or cancelled."""
    return {"out_trade_no": out_ref}


def refund_content(order: RefundOrder) -> Content:
    """A refund. The request number makes it idempotent."""
    content: Content = {
        "out_trade_no": order.payment.out_ref,
        "out_request_no": order.out_ref,
        "refund_amount": values.yuan(order.amount_minor),
    }
    if order.reason:
        content["refund_reason"] = order.reason[:REASON_LENGTH_MAX]
    return content


def refund_key(out_ref: str, payment_out_ref: str) -> Content:
    """Which refund is asked for; Alipay keeps refunds under their trades."""
    return {
        "out_trade_no": payment_out_ref,
        "out_request_no": out_ref,
        "query_options": ["gmt_refund_pay"],
    }


def transfer_content(order: PayoutOrder) -> Content:
    """A transfer out of our balance: into somebody's Alipay wallet, or onto a bank card."""
    payee: Content = {
        "identity": order.payee_account,
        "identity_type": _identity_type(order),
    }
    if order.payee_name:
        payee["name"] = order.payee_name
    if order.method == BANK_TRANSFER:
        payee["bankcard_ext_info"] = {
            "account_type": _PERSONAL_ACCOUNT,
            "inst_name": order.payee_bank_code,
        }
    title = order.description.translate(_FORBIDDEN).strip()[:REMARK_LENGTH_MAX]
    return {
        "out_biz_no": order.out_ref,
        "trans_amount": values.yuan(order.amount_minor),
        **_transfer_kind(order.method),
        "order_title": title or order.out_ref,
        "payee_info": payee,
        "remark": title,
    }


def transfer_key(out_ref: str, method: str) -> Content:
    """Which transfer is asked for."""
    return {"out_biz_no": out_ref, **_transfer_kind(method)}


def _identity_type(order: PayoutOrder) -> str:
    if order.method == BANK_TRANSFER:
        return "BANKCARD_ACCOUNT"
    return "ALIPAY_USER_ID" if _USER_ID.fullmatch(order.payee_account) else "ALIPAY_LOGON_ID"


def _transfer_kind(method: str) -> Content:
    product = _CARD_PRODUCT if method == BANK_TRANSFER else _WALLET_PRODUCT
    return {"product_code": product, "biz_scene": "DIRECT_TRANSFER"}


def cancelled(fields: Mapping[str, object]) -> Outcome:
    """What became of a payment by code that was cancelled. Raises Malformed.

    `action` is left out where there was no trade. Should the payer have been charged, the money goes back.
    """
    if answers.text(fields, "retry_flag") != "N":
        return Outcome(kind=OutcomeKind.UNKNOWN, code="CANCEL_UNFINISHED")
    action = answers.optional_text(fields, "action")
    return Outcome(
        kind=OutcomeKind.CLOSED,
        provider_ref=answers.optional_text(fields, "trade_no"),
        code=f"CANCELLED_{action.upper()}" if action else "CANCELLED",
    )


def trade(fields: Mapping[str, object], *, paid_field: str) -> tuple[str, Outcome]:
    """Our number and the outcome of a trade as queries and notifications show it. Raises Malformed.

    `paid_field` is where the two write when it was paid.
    """
    status = answers.text(fields, "trade_status")
    paid_at = values.optional_instant(fields, paid_field)
    kind = classify.trade_status(status, was_paid=paid_at is not None)
    amount_minor = values.optional_amount(fields, "total_amount")
    if kind is OutcomeKind.SUCCEEDED and amount_minor is None:
        raise Malformed("a paid trade without its amount", field="total_amount")
    return answers.text(fields, "out_trade_no"), Outcome(
        kind=kind,
        provider_ref=answers.optional_text(fields, "trade_no"),
        code=status,
        paid_at=paid_at,
        amount_minor=amount_minor,
        currency="" if amount_minor is None else values.CURRENCY,
    )


def created(method: str, fields: Mapping[str, object]) -> tuple[str, Outcome]:
    """A trade that waits for its payer, and what the payer needs to go on. Raises Malformed."""
    out_ref = answers.text(fields, "out_trade_no")
    if method == PRECREATE:
        action: NextAction = ShowQr(content=answers.text(fields, "qr_code"))
    elif method == CREATE:
        action = CallSdk(parameters={"tradeNO": answers.text(fields, "trade_no")})
    else:
        action = Wait()
    return out_ref, Outcome(
        kind=OutcomeKind.PENDING,
        provider_ref=answers.optional_text(fields, "trade_no"),
        next_action=action,
    )


def not_taken_up() -> Outcome:
    """Of a trade that only the payer brings into being: there is none yet, and there may be one soon."""
    return Outcome(kind=OutcomeKind.PENDING, code=classify.TRADE_NOT_EXIST)


def code_paid(fields: Mapping[str, object]) -> tuple[str, Outcome]:
    """A payment by code that was paid in its own answer. Raises Malformed."""
    return answers.text(fields, "out_trade_no"), Outcome(
        kind=OutcomeKind.SUCCEEDED,
        provider_ref=answers.optional_text(fields, "trade_no"),
        code=classify.DONE,
        paid_at=values.optional_instant(fields, "gmt_payment"),
        amount_minor=values.amount(fields, "total_amount"),
        currency=values.CURRENCY,
    )


def refunded(fields: Mapping[str, object]) -> Outcome | None:
    """The outcome of a refund that moved money in this call; None where this call moved none.

    None is no failure: the money may have moved in an earlier call, or may be on its way. The sum in the
    answer is that of all the trade's refunds, so it says nothing about this one.
    """
    if answers.text(fields, "fund_change") != "Y":
        return None
    return Outcome(
        kind=OutcomeKind.SUCCEEDED,
        provider_ref=answers.optional_text(fields, "trade_no"),
        code=classify.DONE,
        paid_at=values.optional_instant(fields, "gmt_refund_pay"),
    )


def refund(fields: Mapping[str, object], *, out_ref: str) -> Outcome:
    """The outcome of a refund as its query shows it. Raises Malformed.

    "Done" says that the question was answered; only refund data says that money was given back.
    """
    status = answers.optional_text(fields, "refund_status")
    answered = answers.optional_text(fields, "out_request_no")
    if answered:
        answers.check_reference(answered, asked=out_ref)
    amount_minor = values.optional_amount(fields, "refund_amount")
    if amount_minor is None and not status:
        return Outcome(kind=OutcomeKind.NOT_FOUND, code="REFUND_NOT_EXIST")
    if status not in ("", "REFUND_SUCCESS"):
        kind = OutcomeKind.PENDING if status == "REFUND_PROCESSING" else OutcomeKind.UNKNOWN
        return Outcome(kind=kind, code=status)
    if amount_minor is None:
        raise Malformed("a refund without its amount", field="refund_amount")
    return Outcome(
        kind=OutcomeKind.SUCCEEDED,
        provider_ref=answers.optional_text(fields, "trade_no"),
        code=status or classify.DONE,
        paid_at=values.optional_instant(fields, "gmt_refund_pay"),
        amount_minor=amount_minor,
        currency=values.CURRENCY,
    )


def transfer(fields: Mapping[str, object]) -> tuple[str, Outcome]:
    """Our number and the outcome of a transfer: its answer, its query, and its notice. Raises Malformed."""
    status = answers.text(fields, "status")
    amount_minor = values.optional_amount(fields, "trans_amount")
    kind = classify.transfer_status(status)
    paid_name = "pay_date" if "pay_date" in fields else "trans_date"
    # When a transfer came back is not told, only when it had been made.
    is_paid = kind is OutcomeKind.SUCCEEDED
    return answers.text(fields, "out_biz_no"), Outcome(
        kind=kind,
        provider_ref=answers.optional_text(fields, "order_id"),
        code=answers.optional_text(fields, "error_code") or status,
        message=answers.optional_text(fields, "fail_reason"),
        paid_at=values.optional_instant(fields, paid_name) if is_paid else None,
        amount_minor=amount_minor,
        currency="" if amount_minor is None else values.CURRENCY,
        fee_minor=values.optional_amount(fields, "order_fee"),
    )
