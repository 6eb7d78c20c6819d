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
from services.gateway.channels.simpay.classify import Subject
from services.gateway.domain.channel import (
    BillFile,
    BillHashMismatch,
    Callback,
    CaptureOrder,
    ChargeOrder,
    Outcome,
    OutcomeKind,
    PayoutOrder,
    RefundOrder,
)
from services.gateway.domain.next_action import NextAction, ShowQr

HASH_HEADER = "x-sim-sha256"

_CallbackKind = Literal["payment", "capture", "refund", "payout"]
_CALLBACKS: Mapping[str, tuple[_CallbackKind, Subject]] = {
    "payment": ("payment", Subject.CHARGE),
    "capture": ("capture", Subject.CAPTURE),
    "refund": ("refund", Subject.REFUND),
    "payout": ("payout", Subject.PAYOUT),
}
# Where an object says when its money moved.
_MOVED_AT: Mapping[tuple[Subject, OutcomeKind], str] = {
    (Subject.CHARGE, OutcomeKind.SUCCEEDED): "paid_at",
    (Subject.CAPTURE, OutcomeKind.SUCCEEDED): "paid_at",
    (Subject.REFUND, OutcomeKind.SUCCEEDED): "refunded_at",
    (Subject.PAYOUT, OutcomeKind.SUCCEEDED): "paid_at",
    (Subject.PAYOUT, OutcomeKind.RETURNED): "returned_at",
}


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
            "capture": not order.capture_later,
        }
    )


def capture_body(order: CaptureOrder) -> bytes:
    """The body that takes reserved money."""
    return orjson.dumps(
        {
            "capture_no": order.out_ref,
            "order_no": order.payment.out_ref,
            "amount": order.amount_minor,
            "currency": order.currency,
            "final": order.is_final,
            "notify_url": order.notify_url,
        }
    )


def refund_body(order: RefundOrder) -> bytes:
    """The body that creates a refund."""
    return orjson.dumps(
        {
            "refund_no": order.out_ref,
            "order_no": order.payment.out_ref,
            "amount": order.amount_minor,
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
            "notify_url": order.notify_url,
        }
    )


def _rfc3339(instant: datetime) -> str:
    return instant.isoformat(timespec="seconds")


def outcome(subject: Subject, fields: Mapping[str, object]) -> tuple[str, Outcome]:
    """Our number and the outcome of an object as answers and notifications show it.

    A charge that succeeded moved what was captured of it. Raises Malformed.
    """
    status = answers.text(fields, "status")
    code = answers.optional_text(fields, "code")
    kind = classify.state(subject, status, code)
    amount_minor = answers.optional_amount(fields, "amount")
    if subject is Subject.CHARGE and kind is OutcomeKind.SUCCEEDED:
        captured_minor = answers.optional_amount(fields, "captured")
        amount_minor = amount_minor if captured_minor is None else captured_minor
    moved_at = _MOVED_AT.get((subject, kind))
    return answers.text(fields, subject.value), Outcome(
        kind=kind,
        provider_ref=answers.optional_text(fields, "provider_no"),
        code=code or status,
        message=answers.optional_text(fields, "message"),
        paid_at=answers.optional_instant(fields, moved_at) if moved_at else None,
        amount_minor=amount_minor,
        currency=answers.optional_text(fields, "currency"),
        next_action=_next_action(kind, answers.optional_text(fields, "qr_content")),
        fee_minor=answers.optional_amount(fields, "fee"),
    )


def _next_action(kind: OutcomeKind, qr_content: str) -> NextAction | None:
    """A charge shows its code whatever has become of it; only while it waits is there something to do with it."""
    is_waiting = kind is OutcomeKind.PENDING and qr_content
    return ShowQr(content=qr_content) if is_waiting else None


def callback(body: bytes) -> Callback:
    """The content of a notification that was verified already. Raises Malformed."""
    fields = answers.decode_object(body)
    name = answers.text(fields, "kind")
    known = _CALLBACKS.get(name)
    if known is None:
        raise Malformed(f"kind {name} is not expected here", field="kind")
    kind, subject = known
    event_id = answers.text(fields, "event_id")
    out_ref, told = outcome(subject, fields)
    return Callback(event_id=event_id, kind=kind, out_ref=out_ref, outcome=told)


def bill(content: bytes, headers: Mapping[str, str]) -> BillFile:
    """A day's bill, if its SHA-256 is the announced one. Raises BillHashMismatch."""
    announced = headers.get(HASH_HEADER, "").lower()
    if not hmac.compare_digest(announced.encode(), hashlib.sha256(content).hexdigest().encode()):
        raise BillHashMismatch("the bill's SHA-256 is not the announced one", field="X-Sim-SHA256")
    rows = [line for line in content.splitlines()[1:] if line and not line.startswith(b"#")]
    return BillFile(content=content, hash_type="SHA256", hash_value=announced, empty=not rows)
