"""WeChat Pay v3 bodies: what merchants may send, and what the provider shows.

Fields from the MIT-licensed OpenAPI tree TheNorthMemory/wechatpay-openapi (docs/v3).
"""

from typing import Annotated, Any, Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, model_validator

from services.sandbox import records
from services.sandbox.clock import rfc3339
from services.sandbox.records import Account, Order, Refund

AMOUNT_MAX = 10**10

Number = Annotated[str, Field(pattern=r"^[0-9A-Za-z_\-|*]{6,32}$")]
Fen = Annotated[int, Field(gt=0, le=AMOUNT_MAX, strict=True)]
NotifyUrl = Annotated[str, Field(pattern=r"^https?://[^?#\s]+$", max_length=255)]
Json = dict[str, Any]

_STATE_WORDS = {
    "SUCCESS": "支付成功",
    "REFUND": "转入退款",
    "NOTPAY": "订单未支付",
    "CLOSED": "订单已关闭",
}


class _Body(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True)


class OrderAmount(_Body):
    """Fen; only CNY."""

    total: Fen
    currency: Literal["CNY"] = "CNY"


class NativeOrder(_Body):
    """POST /v3/pay/transactions/native."""

    appid: str = Field(min_length=1, max_length=32)
    mchid: str = Field(min_length=1, max_length=32)
    description: str = Field(min_length=1, max_length=127)
    out_trade_no: Number
    time_expire: AwareDatetime | None = None
    attach: str = Field(default="", max_length=128)
    notify_url: NotifyUrl
    amount: OrderAmount


class CloseOrder(_Body):
    """POST …/out-trade-no/{out_trade_no}/close."""

    mchid: str


class RefundAmount(_Body):
    """Fen; `total` repeats the order's amount."""

    refund: Fen
    total: Fen
    currency: Literal["CNY"]


class RefundOrder(_Body):
    """POST /v3/refund/domestic/refunds."""

    transaction_id: str | None = None
    out_trade_no: str | None = None
    out_refund_no: str = Field(pattern=r"^[0-9A-Za-z_\-|*@]{1,64}$")
    reason: str = Field(default="", max_length=80)
    notify_url: NotifyUrl | None = None
    amount: RefundAmount

    @model_validator(mode="after")
    def _names_an_order(self) -> "RefundOrder":
        if not (self.transaction_id or self.out_trade_no):
            raise ValueError("one of transaction_id and out_trade_no is needed")
        return self


def trade_state(order: Order, *, refunded: bool) -> str:
    """`trade_state` of an order: REFUND as soon as any refund was accepted."""
    if order.status == records.SUCCEEDED:
        return "REFUND" if refunded else "SUCCESS"
    return "NOTPAY" if order.status == records.PENDING else "CLOSED"


def transaction(account: Account, order: Order, *, refunded: bool) -> Json:
    """An order as a query answers it, and as a payment notification carries it."""
    state = trade_state(order, refunded=refunded)
    content: Json = {
        "appid": account.terms["appid"],
        "mchid": account.account_id,
        "out_trade_no": order.out_ref,
        "trade_state": state,
        "trade_state_desc": _STATE_WORDS[state],
        "attach": order.attach,
        "amount": {"total": order.amount, "currency": order.currency},
    }
    if order.paid_at is None:
        return content
    content["amount"] |= {"payer_total": order.amount, "payer_currency": order.currency}
    return content | {
        "transaction_id": order.provider_ref,
        "trade_type": "NATIVE",
        "bank_type": "OTHERS",
        "success_time": rfc3339(order.paid_at),
        "payer": {"openid": order.payer},
    }


def refund_answer(refund: Refund, order: Order) -> Json:
    """A refund as its creation and its query answer it."""
    content: Json = {
        "refund_id": refund.provider_ref,
        "out_refund_no": refund.out_ref,
        "transaction_id": order.provider_ref,
        "out_trade_no": order.out_ref,
        "channel": "ORIGINAL",
        "user_received_account": "支付用户零钱",
        "create_time": rfc3339(refund.created_at),
        "status": _refund_state(refund),
        "funds_account": "AVAILABLE",
        "amount": {
            **_refund_amounts(refund, order),
            "settlement_refund": refund.amount,
            "settlement_total": order.amount,
            "discount_refund": 0,
            "currency": refund.currency,
        },
    }
    if refund.status == records.SUCCEEDED and refund.finished_at:
        content["success_time"] = rfc3339(refund.finished_at)
    return content


def refund_notice(account: Account, refund: Refund, order: Order) -> Json:
    """A refund as its notification carries it: other names, and no currency."""
    content: Json = {
        "mchid": account.account_id,
        "out_trade_no": order.out_ref,
        "transaction_id": order.provider_ref,
        "out_refund_no": refund.out_ref,
        "refund_id": refund.provider_ref,
        "refund_status": _refund_state(refund),
        "user_received_account": "支付用户零钱",
        "amount": _refund_amounts(refund, order),
    }
    if refund.finished_at:
        content["success_time"] = rfc3339(refund.finished_at)
    return content


def _refund_state(refund: Refund) -> str:
    return "SUCCESS" if refund.status == records.SUCCEEDED else "PROCESSING"


def _refund_amounts(refund: Refund, order: Order) -> dict[str, int]:
    return {
        "total": order.amount,
        "refund": refund.amount,
        "payer_total": order.amount,
        "payer_refund": refund.amount,
    }
