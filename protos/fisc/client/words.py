"""The words that callers say in plain Python, and the contract's own."""

import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import Literal, TypeAlias, TypeVar

from fisc.common.v1 import method_pb2, money_pb2
from fisc.gateway.v1 import payment_pb2

Item = TypeVar("Item")

Amount: TypeAlias = money_pb2.Money | tuple[str, int]
"""A Money message, or (ISO 4217 code, amount in minor units): ("CNY", 1999) is 19.99 yuan."""
MethodName: TypeAlias = Literal[
    "WECHAT_QR", "WECHAT_JSAPI", "WECHAT_H5", "WECHAT_APP", "WECHAT_CODE",
    "ALIPAY_QR", "ALIPAY_JSAPI", "ALIPAY_PAGE", "ALIPAY_WAP", "ALIPAY_APP", "ALIPAY_CODE",
    "UNIONPAY_QR", "UNIONPAY_APP", "UNIONPAY_CODE", "ONLINE_BANKING", "ONLINE_BANKING_BUSINESS",
    "CARD", "BALANCE", "BANK_TRANSFER", "WECHAT_WALLET", "ALIPAY_WALLET",
]  # fmt: skip
PayoutMethodName: TypeAlias = Literal["BANK_TRANSFER", "WECHAT_WALLET", "ALIPAY_WALLET"]
RoutingName: TypeAlias = Literal["CHEAPEST", "MOST_SUCCESSFUL", "FASTEST", "BALANCED"]
PaymentStateName: TypeAlias = Literal[
    "PROCESSING",
    "PENDING",
    "REQUIRES_REVIEW",
    "AUTHORIZED",
    "SUCCEEDED",
    "FAILED",
    "CANCELED",
    "MANUAL",
]


def payment_request(
    *,
    amount: Amount,
    method: MethodName,
    request_id: str | None = None,
    order_ref: str = "",
    description: str = "",
    customer_id: str = "",
    payer_token: str = "",
    ip: str = "",
    country: str = "",
    device_id: str = "",
    auth_code: str = "",
    wallet_user_id: str = "",
    bank_code: str = "",
    account_id: str = "",
    return_url: str = "",
    routing: RoutingName = "BALANCED",
    channel_ids: Sequence[str] = (),
    expires_in_s: int = 0,
    capture_later: bool = False,
) -> payment_pb2.CreatePaymentRequest:
    """What `create_payments` takes many of; the arguments are those of `create_payment`."""
    request = payment_pb2.CreatePaymentRequest(
        request_id=request_id or new_request_id(),
        amount=money(amount),
        method=method_of(method),
        order_ref=order_ref,
        description=description,
        routing=routing_of(routing),
        channel_ids=channel_ids,
        expires_in_s=expires_in_s,
        return_url=return_url,
        capture_method=(
            payment_pb2.CAPTURE_METHOD_MANUAL
            if capture_later
            else payment_pb2.CAPTURE_METHOD_AUTOMATIC
        ),
    )
    payer = payment_pb2.Payer(
        customer_id=customer_id,
        payer_token=payer_token,
        auth_code=auth_code,
        wallet_user_id=wallet_user_id,
        bank_code=bank_code,
        account_id=account_id,
        ip=ip,
        country=country,
        device_id=device_id,
    )
    if payer.ByteSize():
        request.payer.CopyFrom(payer)
    return request


def new_request_id() -> str:
    """A request_id no other request has."""
    return str(uuid.uuid4())


def money(amount: Amount) -> money_pb2.Money:
    """Raises TypeError for an amount that is not an int of minor units."""
    if isinstance(amount, money_pb2.Money):
        return amount
    currency, amount_minor = amount
    # protobuf would take 1999.0, and a program that computes with floats is wrong already.
    if type(amount_minor) is not int:
        raise TypeError(f"an amount is an int of minor units, not {amount_minor!r}")
    return money_pb2.Money(currency=currency, amount_minor=amount_minor)


def method_of(name: str) -> method_pb2.PaymentMethod.ValueType:
    """Raises ValueError for a name that the contract does not know."""
    return method_pb2.PaymentMethod.Value(f"PAYMENT_METHOD_{name}")


def routing_of(name: str) -> payment_pb2.Routing.ValueType:
    """Raises ValueError for a name that the contract does not know."""
    return payment_pb2.Routing.Value(f"ROUTING_{name}")


async def pages(
    fetch: Callable[[str], Awaitable[tuple[Sequence[Item], str]]],
) -> AsyncIterator[Item]:
    """Every item of a paged list; `fetch` gets the token of a page and returns its items and the next token."""
    page_token = ""
    while True:
        items, page_token = await fetch(page_token)
        for item in items:
            yield item
        if not page_token:
            return
