"""Simpay bodies: what merchants may send, and what the provider shows. Protocol: docs/sandbox.md."""

from datetime import datetime
from typing import Annotated, Any

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

from services.sandbox import records
from services.sandbox.clock import rfc3339
from services.sandbox.records import Capture, Order, Payout, Refund

AMOUNT_MAX = 10**15

Reference = Annotated[str, Field(pattern=r"^[0-9A-Za-z_\-]{1,64}$")]
Amount = Annotated[int, Field(gt=0, le=AMOUNT_MAX, strict=True)]
Currency = Annotated[str, Field(pattern=r"^[A-Z]{3}$")]
Json = dict[str, Any]


class _Body(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True)


class ChargeBody(_Body):
    """POST /charges."""

    order_no: Reference
    amount: Amount
    currency: Currency
    method: str = Field(min_length=1, max_length=32)
    description: str = Field(default="", max_length=256)
    payer_token: str = Field(default="", max_length=128)
    notify_url: str = Field(default="", max_length=512)
    expires_at: AwareDatetime | None = None
    capture: bool = Field(default=True, strict=True)
    """False only reserves the money; POST /captures takes it."""


class CaptureBody(_Body):
    """POST /captures. `final` releases what this and earlier captures leave."""

    capture_no: Reference
    order_no: Reference
    amount: Amount
    currency: Currency
    final: bool = Field(default=False, strict=True)
    notify_url: str = Field(default="", max_length=512)


class RefundBody(_Body):
    """POST /refunds."""

    refund_no: Reference
    order_no: Reference
    amount: Amount
    currency: Currency
    reason: str = Field(default="", max_length=256)
    notify_url: str = Field(default="", max_length=512)


class PayoutBody(_Body):
    """POST /payouts."""

    payout_no: Reference
    amount: Amount
    currency: Currency
    payee_account: str = Field(min_length=1, max_length=64)
    payee_name: str = Field(default="", max_length=128)
    description: str = Field(default="", max_length=256)
    notify_url: str = Field(default="", max_length=512)


def charge(order: Order) -> Json:
    """An order as simpay shows it; one that never existed has only its number and state."""
    if order.is_tombstone:
        return {"order_no": order.out_ref, "status": order.status, "message": order.message}
    is_held = order.status == records.AUTHORIZED
    return {
        "order_no": order.out_ref,
        "status": order.status,
        "provider_no": order.provider_ref,
        "amount": order.amount,
        "currency": order.currency,
        "code": order.code,
        "message": order.message,
        "paid_at": _time(order.paid_at),
        "qr_content": order.qr_content,
        "fee": order.fee,
        "captured": order.taken,
        "authorized_until": _time(order.authorized_until if is_held else None),
    }


def capture(capture: Capture) -> Json:
    """A capture as simpay shows it; `paid_at` is when its money was taken."""
    succeeded = capture.status == records.SUCCEEDED
    return {
        "capture_no": capture.out_ref,
        "order_no": capture.order_ref,
        "status": capture.status,
        "provider_no": capture.provider_ref,
        "amount": capture.amount,
        "currency": capture.currency,
        "final": capture.is_final,
        "code": capture.code,
        "paid_at": _time(capture.finished_at if succeeded else None),
        "fee": capture.fee,
    }


def refund(refund: Refund) -> Json:
    """A refund as simpay shows it."""
    return {
        "refund_no": refund.out_ref,
        "order_no": refund.order_ref,
        "status": refund.status,
        "provider_no": refund.provider_ref,
        "amount": refund.amount,
        "currency": refund.currency,
        "code": refund.code,
        "refunded_at": _time(refund.finished_at),
    }


def payout(payout: Payout) -> Json:
    """A payout as simpay shows it."""
    return {
        "payout_no": payout.out_ref,
        "status": payout.status,
        "provider_no": payout.provider_ref,
        "amount": payout.amount,
        "currency": payout.currency,
        "code": payout.code,
        "paid_at": _time(payout.finished_at),
        "fee": payout.fee,
        "returned_at": _time(payout.returned_at),
    }


def _time(moment: datetime | None) -> str | None:
    return rfc3339(moment) if moment else None
