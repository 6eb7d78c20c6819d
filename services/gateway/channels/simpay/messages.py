"""Simpay bodies: ours out of orders, theirs into outcomes. Amounts are integer minor units."""

import hashlib
import hmac
from collections.abc import Mapping
from datetime import datetime
from typing import Literal

import orjson

from services.gateway.channels import answers
from services.gateway.channels.answers import Malformed
from services.gateway.channels.simpay import classify
from services.gateway.domain.channel import (
    BillFile,
    BillHashMismatch,
    Callback,
    ChargeOrder,
    Outcome,
    OutcomeKind,
    PayoutOrder,
    RefundOrder,
)

HASH_HEADER = "x-sim-sha256"


def charge_body(order: ChargeOrder) -> bytes:
    """The body that creates a charge."""
    return orjson.dumps(
        {
            "order_no": order.out_ref,
            "amount": order.amount_minor,
            "currency": order.currency,
            "method": order.method,
            "description": order.description,
            "payer_token": order.payer_token,
            "notify_url": order.notify_url,
            "expires_at": _rfc3339(order.expires_at),
        }
    )


def refund_body(order: RefundOrder) -> bytes:
    """The body that creates a refund."""
    return orjson.dumps(
        {
            "refund_no": order.out_ref,
            "order_no": order.payment_out_ref,
            "amount": order.refund_amount_minor,
            "currency": order.currency,
            "reason": order.reason,
            "notify_url": order.notify_url,
        }
    )


def payout_body(order: PayoutOrder) -> bytes:
    """The body that creates a payout."""
    return orjson.dumps(
        {
            "payout_no": order.out_ref,
            "amount": order.amount_minor,
            "currency": order.currency,
            "payee_account": order.payee_account,
            "payee_name": order.payee_name,
            "description": order.description,
        }
    )


def _rfc3339(instant: datetime) -> str:
    return instant.isoformat(timespec="seconds")


def reference(fields: Mapping[str, object]) -> str:
    """The number an object is about, or "" where it does not say: its most specific one."""
    for name in ("payout_no", "refund_no", "order_no"):
        if number := answers.optional_text(fields, name):
            return number
    return ""


def outcome(fields: Mapping[str, object]) -> Outcome:
    """The outcome of a charge, refund or payout object. Raises Malformed."""
    status = answers.text(fields, "status")
    code = answers.optional_text(fields, "code")
    kind = classify.state(status, code)
    succeeded = kind is OutcomeKind.SUCCEEDED
    paid_at = answers.optional_instant(fields, "paid_at")
    return Outcome(
        kind=kind,
        provider_ref=answers.optional_text(fields, "provider_no"),
        code=code or status,
        message=answers.optional_text(fields, "message"),
        paid_at=(paid_at or answers.optional_instant(fields, "refunded_at")) if succeeded else None,
        amount_minor=answers.optional_amount(fields, "amount"),
        currency=answers.optional_text(fields, "currency"),
        qr_content=answers.optional_text(fields, "qr_content"),
        fee_minor=answers.optional_amount(fields, "fee"),
    )


def callback(body: bytes) -> Callback:
    """The content of a notification that was verified already. Raises Malformed."""
    fields = answers.decode_object(body)
    kind: Literal["payment", "refund"]
    match answers.text(fields, "kind"):
        case "payment":
            kind, reference = "payment", "order_no"
        case "refund":
            kind, reference = "refund", "refund_no"
        case other:
            raise Malformed(f"kind {other} is not expected here", field="kind")
    return Callback(
        event_id=answers.text(fields, "event_id"),
        kind=kind,
        out_ref=answers.text(fields, reference),
        outcome=outcome(fields),
    )


def bill(content: bytes, headers: Mapping[str, str]) -> BillFile:
    """A day's bill, if its SHA-256 is the announced one. Raises BillHashMismatch."""
    announced = headers.get(HASH_HEADER, "").lower()
    if not hmac.compare_digest(announced.encode(), hashlib.sha256(content).hexdigest().encode()):
        raise BillHashMismatch("the bill's SHA-256 is not the announced one", field="X-Sim-SHA256")
    rows = [line for line in content.splitlines()[1:] if line and not line.startswith(b"#")]
    return BillFile(content=content, hash_type="SHA256", hash_value=announced, empty=not rows)
