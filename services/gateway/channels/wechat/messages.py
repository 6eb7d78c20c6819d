"""WeChat Pay v3 bodies: ours out of orders, theirs into outcomes. Amounts are integer fen."""

from collections.abc import Mapping
from datetime import timedelta, timezone
from urllib.parse import quote

import orjson

from services.gateway.channels import answers
from services.gateway.channels.answers import Malformed
from services.gateway.channels.wechat import classify
from services.gateway.domain.channel import ChargeOrder, Outcome, OutcomeKind, RefundOrder
from services.gateway.domain.next_action import ShowQr

NATIVE = "/v3/pay/transactions/native"
REFUNDS = "/v3/refund/domestic/refunds"
DESCRIPTION_LENGTH_MAX = 127
REASON_BYTES_MAX = 80
_BEIJING = timezone(timedelta(hours=8))


def order_target(out_ref: str, mchid: str) -> str:
    """Path and query under which an order is asked for."""
    return f"/v3/pay/transactions/out-trade-no/{quote(out_ref, safe='')}?mchid={mchid}"


def close_target(out_ref: str) -> str:
    """Path under which an order is closed."""
    return f"/v3/pay/transactions/out-trade-no/{quote(out_ref, safe='')}/close"


def refund_target(out_ref: str) -> str:
    """Path under which a refund is asked for."""
    return f"{REFUNDS}/{quote(out_ref, safe='')}"


def charge_body(order: ChargeOrder, *, appid: str, mchid: str) -> bytes:
    """The body that creates a native order."""
    return orjson.dumps(
        {
            "appid": appid,
            "mchid": mchid,
            "description": order.description[:DESCRIPTION_LENGTH_MAX] or order.out_ref,
            "out_trade_no": order.out_ref,
            "time_expire": order.expires_at.astimezone(_BEIJING).isoformat(timespec="seconds"),
            "notify_url": order.notify_url,
            "amount": {"total": order.amount_minor, "currency": order.currency},
        }
    )


def close_body(*, mchid: str) -> bytes:
    """The body that closes an order."""
    return orjson.dumps({"mchid": mchid})


def refund_body(order: RefundOrder) -> bytes:
    """The body that creates a refund."""
    body: dict[str, object] = {
        "out_trade_no": order.payment.out_ref,
        "out_refund_no": order.out_ref,
        "notify_url": order.notify_url,
        "amount": {
            "refund": order.amount_minor,
            "total": order.payment.amount_minor,
            "currency": order.currency,
        },
    }
    reason = order.reason.encode()[:REASON_BYTES_MAX].decode(errors="ignore")
    if reason:
        body["reason"] = reason
    return orjson.dumps(body)


def created(fields: Mapping[str, object]) -> Outcome:
    """A native order was created: the payer must scan. Raises Malformed."""
    return Outcome(
        kind=OutcomeKind.PENDING, next_action=ShowQr(content=answers.text(fields, "code_url"))
    )


def trade(fields: Mapping[str, object], *, mchid: str) -> tuple[str, Outcome]:
    """Our number and the outcome of an order as queries and notifications show it.

    Raises Malformed, also if the order belongs to another merchant or is paid without an amount.
    """
    if answers.text(fields, "mchid") != mchid:
        raise Malformed("the order belongs to another merchant", field="mchid")
    state = answers.text(fields, "trade_state")
    kind = classify.trade_state(state)
    amount_minor, currency = None, ""
    if kind is OutcomeKind.SUCCEEDED or "amount" in fields:
        amount = answers.child(fields, "amount")
        amount_minor = answers.amount(amount, "total")
        currency = answers.optional_text(amount, "currency")
    return answers.text(fields, "out_trade_no"), Outcome(
        kind=kind,
        provider_ref=answers.optional_text(fields, "transaction_id"),
        code=state,
        message=answers.optional_text(fields, "trade_state_desc"),
        paid_at=answers.optional_instant(fields, "success_time"),
        amount_minor=amount_minor,
        currency=currency,
    )


def refund(fields: Mapping[str, object]) -> tuple[str, Outcome]:
    """Our number and the outcome of a refund; notifications call its state `refund_status`.

    Raises Malformed. Notifications carry no currency.
    """
    state = answers.text(fields, "refund_status" if "refund_status" in fields else "status")
    kind = classify.refund_state(state)
    amount = answers.child(fields, "amount")
    return answers.text(fields, "out_refund_no"), Outcome(
        kind=kind,
        provider_ref=answers.optional_text(fields, "refund_id"),
        code=state,
        paid_at=(
            answers.optional_instant(fields, "success_time")
            if kind is OutcomeKind.SUCCEEDED
            else None
        ),
        amount_minor=answers.amount(amount, "refund"),
        currency=answers.optional_text(amount, "currency"),
    )
