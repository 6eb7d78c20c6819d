"""Simpay's words: signatures, states, notifications and bills."""

import hashlib
import hmac
import json
from datetime import UTC, datetime, timedelta

import pytest

from libs.clock import FrozenClock
from services.gateway.channels.http import ChannelHttp
from services.gateway.channels.simpay import classify, messages
from services.gateway.channels.simpay.classify import Operation
from services.gateway.channels.simpay.connector import SimpayConnector
from services.gateway.domain.channel import (
    BillHashMismatch,
    CallbackMalformed,
    CallbackSignatureInvalid,
    OutcomeKind,
)

NOW = datetime(2026, 11, 11, 4, 0, tzinfo=UTC)
PAID: dict[str, object] = {
    "event_id": "evt-1",
    "kind": "payment",
    "order_no": "pay_1",
    "status": "SUCCEEDED",
    "provider_no": "S1",
    "amount": 1230,
    "currency": "CNY",
    "fee": 5,
    "paid_at": "2026-11-11T12:00:00+08:00",
}


@pytest.fixture
def connector() -> SimpayConnector:
    return SimpayConnector(
        base_url="http://127.0.0.1/simpay/cheap",
        secret="a test secret",
        http=ChannelHttp(),
        clock=FrozenClock(NOW),
        new_nonce=lambda: "nonce",
        timeout_s=1.0,
    )


def _signed(body: bytes, *, at: datetime = NOW, secret: bytes = b"a test secret") -> dict[str, str]:
    timestamp = str(int(at.timestamp()))
    message = timestamp.encode() + b"\nn\n" + body
    return {
        "X-Sim-Timestamp": timestamp,
        "X-Sim-Nonce": "n",
        "X-Sim-Signature": hmac.new(secret, message, hashlib.sha256).hexdigest(),
    }


async def test_a_paid_charge_is_told(connector: SimpayConnector) -> None:
    body = json.dumps(PAID).encode()
    callback = connector.parse_callback(_signed(body), body, NOW)
    assert (callback.event_id, callback.kind, callback.out_ref) == ("evt-1", "payment", "pay_1")
    assert callback.outcome.kind is OutcomeKind.SUCCEEDED
    assert (callback.outcome.amount_minor, callback.outcome.fee_minor) == (1230, 5)
    assert callback.outcome.paid_at == NOW


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"X-Sim-Signature": ""}, "X-Sim-Signature"),
        ({"X-Sim-Nonce": ""}, "X-Sim-Nonce"),
        ({"X-Sim-Timestamp": "-1"}, "X-Sim-Timestamp"),
        ({"X-Sim-Signature": "00"}, "X-Sim-Signature"),
        ({"X-Sim-Signature": "签"}, "X-Sim-Signature"),
        ({"X-Sim-Nonce": "other"}, "X-Sim-Signature"),
        (_signed(b"{}", at=NOW + timedelta(seconds=301)), "X-Sim-Timestamp"),
        (_signed(b"{}", secret=b"guessed"), "X-Sim-Signature"),
    ],
)
async def test_a_forged_notification_is_refused_by_name(
    connector: SimpayConnector, change: dict[str, str], field: str
) -> None:
    with pytest.raises(CallbackSignatureInvalid) as caught:
        connector.parse_callback({**_signed(b"{}"), **change}, b"{}", NOW)
    assert caught.value.field == field


@pytest.mark.parametrize(
    ("body", "field"),
    [
        (b"[]", "body"),
        (json.dumps({**PAID, "kind": "loan"}).encode(), "kind"),
        (json.dumps({**PAID, "event_id": ""}).encode(), "event_id"),
        (json.dumps({**PAID, "order_no": None}).encode(), "order_no"),
        (json.dumps({**PAID, "status": 1}).encode(), "status"),
        (json.dumps({**PAID, "amount": 12.3}).encode(), "amount"),
        (json.dumps({**PAID, "amount": True}).encode(), "amount"),
        (json.dumps({**PAID, "amount": -1}).encode(), "amount"),
        (json.dumps({**PAID, "paid_at": "2026-11-11T12:00:00"}).encode(), "paid_at"),
        (b" " * 70_000, "body"),
    ],
)
async def test_a_malformed_notification_names_the_field(
    connector: SimpayConnector, body: bytes, field: str
) -> None:
    with pytest.raises(CallbackMalformed) as caught:
        connector.parse_callback(_signed(body), body, NOW)
    assert caught.value.field == field


async def test_only_ok_stops_the_redelivery(connector: SimpayConnector) -> None:
    assert connector.acknowledge(ok=True).body == b"ok"
    refused = connector.acknowledge(ok=False, message="later")
    assert (refused.status, refused.body) == (400, b"later")


@pytest.mark.parametrize(
    ("status", "code", "kind"),
    [
        ("SUCCEEDED", "", OutcomeKind.SUCCEEDED),
        ("PENDING", "", OutcomeKind.PENDING),
        ("PROCESSING", "", OutcomeKind.PENDING),
        ("CLOSED", "", OutcomeKind.CLOSED),
        ("DECLINED", "INSUFFICIENT_FUNDS", OutcomeKind.DECLINED_HARD),
        ("DECLINED", "CARD_EXPIRED", OutcomeKind.DECLINED_HARD),
        ("DECLINED", "RISK_REJECTED", OutcomeKind.DECLINED_HARD),
        ("DECLINED", "CHANNEL_BUSY", OutcomeKind.DECLINED_SOFT),
        ("DECLINED", "LIMIT_EXCEEDED", OutcomeKind.DECLINED_SOFT),
        ("DECLINED", "CHANNEL_MAINTENANCE", OutcomeKind.DECLINED_SOFT),
        ("DECLINED", "SOMETHING_NEW", OutcomeKind.DECLINED_HARD),
        ("FAILED", "NOT_ENOUGH", OutcomeKind.DECLINED_HARD),
        ("SOMETHING_NEW", "", OutcomeKind.UNKNOWN),
    ],
)
def test_a_state_means(status: str, code: str, kind: OutcomeKind) -> None:
    assert classify.state(status, code) is kind


@pytest.mark.parametrize(
    ("operation", "status", "code", "kind"),
    [
        (Operation.CHARGE, 429, "RATE_LIMITED", OutcomeKind.DECLINED_SOFT),
        (Operation.REFUND, 429, "RATE_LIMITED", OutcomeKind.UNKNOWN),
        (Operation.PAYOUT, 429, "RATE_LIMITED", OutcomeKind.UNKNOWN),
        (Operation.CHARGE, 409, "ORDER_CONFLICT", OutcomeKind.UNKNOWN),
        (Operation.CHARGE, 401, "SIGN_ERROR", OutcomeKind.DECLINED_SOFT),
        (Operation.PAYOUT, 401, "SIGN_ERROR", OutcomeKind.UNKNOWN),
        (Operation.QUERY, 404, "ORDER_NOT_FOUND", OutcomeKind.NOT_FOUND),
        (Operation.QUERY, 404, "", OutcomeKind.UNKNOWN),
        (Operation.CLOSE, 404, "ORDER_NOT_FOUND", OutcomeKind.UNKNOWN),
        (Operation.CHARGE, 400, "SOMETHING_NEW", OutcomeKind.UNKNOWN),
    ],
)
def test_an_error_means(operation: Operation, status: int, code: str, kind: OutcomeKind) -> None:
    assert classify.error(operation, status, code) is kind


def test_a_bill_is_believed_only_with_its_hash() -> None:
    content = b"order_no,refund_no\npay_1,\n#total,1,1230\n"
    digest = hashlib.sha256(content).hexdigest()
    bill = messages.bill(content, {"x-sim-sha256": digest})
    assert (bill.content, bill.hash_value, bill.empty) == (content, digest, False)
    for headers in ({}, {"x-sim-sha256": "0" * 64}):
        with pytest.raises(BillHashMismatch):
            messages.bill(content, headers)


def test_a_day_without_rows_is_an_empty_bill() -> None:
    content = b"order_no,refund_no\n#total,0,0\n"
    digest = hashlib.sha256(content).hexdigest()
    assert messages.bill(content, {"x-sim-sha256": digest}).empty
