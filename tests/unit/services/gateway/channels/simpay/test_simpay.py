"""Simpay's words: signatures, states, notifications and bills."""

import hashlib
import hmac
import json
from datetime import UTC, datetime, timedelta

import pytest

from libs.clock import FrozenClock
from services.gateway.channels.http import ChannelHttp
from services.gateway.channels.simpay import classify, messages
from services.gateway.channels.simpay.classify import Operation, Subject
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
    ("kind", "number", "told", "outcome"),
    [
        ("payment", "order_no", {"status": "AUTHORIZED", "paid_at": None}, OutcomeKind.AUTHORIZED),
        ("capture", "capture_no", {}, OutcomeKind.SUCCEEDED),
        ("refund", "refund_no", {"status": "FAILED"}, OutcomeKind.DECLINED_HARD),
        ("payout", "payout_no", {}, OutcomeKind.SUCCEEDED),
        ("payout", "payout_no", {"status": "RETURNED"}, OutcomeKind.RETURNED),
    ],
)
async def test_each_kind_of_notification_is_about_its_own_number(
    connector: SimpayConnector,
    kind: str,
    number: str,
    told: dict[str, object],
    outcome: OutcomeKind,
) -> None:
    body = json.dumps({**PAID, "kind": kind, "order_no": "pay_9", number: "mine", **told}).encode()
    callback = connector.parse_callback(_signed(body), body, NOW)
    assert (callback.kind, callback.out_ref) == (kind, "mine")
    assert (callback.outcome.kind, callback.outcome.amount_minor) == (outcome, 1230)


@pytest.mark.parametrize(
    ("subject", "told", "moved_at"),
    [
        (Subject.CHARGE, {}, NOW),
        (Subject.CHARGE, {"status": "AUTHORIZED"}, None),
        (Subject.CAPTURE, {}, NOW),
        (Subject.REFUND, {"refunded_at": "2026-11-11T12:00:01+08:00"}, NOW + timedelta(seconds=1)),
        (Subject.PAYOUT, {}, NOW),
        (
            Subject.PAYOUT,
            {"status": "RETURNED", "returned_at": "2026-11-11T12:00:09+08:00"},
            NOW + timedelta(seconds=9),
        ),
    ],
)
def test_an_outcome_says_when_its_money_moved(
    subject: Subject, told: dict[str, object], moved_at: datetime | None
) -> None:
    _, outcome = messages.outcome(subject, {**PAID, subject.value: "mine", **told})
    assert outcome.paid_at == moved_at


@pytest.mark.parametrize(
    ("told", "amount_minor"),
    [
        ({"captured": 400}, 400),
        ({}, 1230),
        ({"status": "AUTHORIZED", "captured": 400}, 1230),
        ({"status": "CLOSED", "captured": 0}, 1230),
    ],
)
def test_a_charge_that_succeeded_moved_what_was_captured_of_it(
    told: dict[str, object], amount_minor: int
) -> None:
    _, outcome = messages.outcome(Subject.CHARGE, {**PAID, **told})
    assert outcome.amount_minor == amount_minor


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


STATES = {
    (Subject.CHARGE, "PENDING"): OutcomeKind.PENDING,
    (Subject.CHARGE, "AUTHORIZED"): OutcomeKind.AUTHORIZED,
    (Subject.CHARGE, "SUCCEEDED"): OutcomeKind.SUCCEEDED,
    (Subject.CHARGE, "DECLINED"): OutcomeKind.DECLINED_HARD,
    (Subject.CHARGE, "CLOSED"): OutcomeKind.CLOSED,
    (Subject.CAPTURE, "PROCESSING"): OutcomeKind.PENDING,
    (Subject.CAPTURE, "SUCCEEDED"): OutcomeKind.SUCCEEDED,
    (Subject.CAPTURE, "FAILED"): OutcomeKind.DECLINED_HARD,
    (Subject.REFUND, "PROCESSING"): OutcomeKind.PENDING,
    (Subject.REFUND, "SUCCEEDED"): OutcomeKind.SUCCEEDED,
    (Subject.REFUND, "FAILED"): OutcomeKind.DECLINED_HARD,
    (Subject.PAYOUT, "PROCESSING"): OutcomeKind.PENDING,
    (Subject.PAYOUT, "SUCCEEDED"): OutcomeKind.SUCCEEDED,
    (Subject.PAYOUT, "FAILED"): OutcomeKind.DECLINED_HARD,
    (Subject.PAYOUT, "RETURNED"): OutcomeKind.RETURNED,
}
WORDS = ("SOMETHING_NEW", "succeeded", *sorted({word for _, word in STATES}))


@pytest.mark.parametrize("subject", Subject)
@pytest.mark.parametrize("status", WORDS)
def test_a_state_means_what_the_table_says_and_only_of_its_kind_of_object(
    subject: Subject, status: str
) -> None:
    expected = STATES.get((subject, status), OutcomeKind.UNKNOWN)
    assert classify.state(subject, status, "") is expected


@pytest.mark.parametrize("subject", Subject)
@pytest.mark.parametrize("status", WORDS)
@pytest.mark.parametrize(
    "code",
    [
        "CHANNEL_BUSY", "LIMIT_EXCEEDED", "CHANNEL_MAINTENANCE", "CARD_EXPIRED", "RISK_REJECTED",
        "INSUFFICIENT_FUNDS", "NOT_ENOUGH", "AMOUNT_EXCEEDED", "NOT_AUTHORIZED", "AUTH_EXPIRED",
        "ACCOUNT_CLOSED", "SOMETHING_NEW",
    ],
)  # fmt: skip
def test_only_a_declined_charge_is_told_soft_from_hard_by_its_code(
    subject: Subject, status: str, code: str
) -> None:
    expected = STATES.get((subject, status), OutcomeKind.UNKNOWN)
    soft = code in ("CHANNEL_BUSY", "LIMIT_EXCEEDED", "CHANNEL_MAINTENANCE")
    if (subject, status) == (Subject.CHARGE, "DECLINED") and soft:
        expected = OutcomeKind.DECLINED_SOFT
    assert classify.state(subject, status, code) is expected


ERRORS = {
    (Operation.CHARGE, 409, "ORDER_CONFLICT"): OutcomeKind.UNKNOWN,
    (Operation.CHARGE, 400, "PARAM_ERROR"): OutcomeKind.DECLINED_HARD,
    (Operation.CHARGE, 401, "SIGN_ERROR"): OutcomeKind.DECLINED_SOFT,
    (Operation.CHARGE, 429, "RATE_LIMITED"): OutcomeKind.DECLINED_SOFT,
    (Operation.CHARGE, 429, ""): OutcomeKind.DECLINED_SOFT,
    (Operation.QUERY, 404, "ORDER_NOT_FOUND"): OutcomeKind.NOT_FOUND,
    (Operation.QUERY, 404, "CAPTURE_NOT_FOUND"): OutcomeKind.NOT_FOUND,
    (Operation.QUERY, 404, "REFUND_NOT_FOUND"): OutcomeKind.NOT_FOUND,
    (Operation.QUERY, 404, "PAYOUT_NOT_FOUND"): OutcomeKind.NOT_FOUND,
    (Operation.CAPTURE, 400, "PARAM_ERROR"): OutcomeKind.DECLINED_HARD,
    (Operation.CAPTURE, 404, "ORDER_NOT_FOUND"): OutcomeKind.DECLINED_HARD,
    (Operation.CAPTURE, 409, "ORDER_CONFLICT"): OutcomeKind.UNKNOWN,
    (Operation.REFUND, 400, "PARAM_ERROR"): OutcomeKind.DECLINED_HARD,
    (Operation.REFUND, 404, "ORDER_NOT_FOUND"): OutcomeKind.DECLINED_HARD,
    (Operation.PAYOUT, 400, "PARAM_ERROR"): OutcomeKind.DECLINED_HARD,
}
ANSWERS = {(status, code) for _, status, code in ERRORS} | {(400, "SOMETHING_NEW"), (404, "")}


@pytest.mark.parametrize("operation", Operation)
@pytest.mark.parametrize(("status", "code"), sorted(ANSWERS))
def test_an_error_means_what_the_table_says_and_else_is_unknown(
    operation: Operation, status: int, code: str
) -> None:
    expected = ERRORS.get((operation, status, code), OutcomeKind.UNKNOWN)
    assert classify.error(operation, status, code) is expected


def test_the_tables_hold_nothing_that_is_not_tested() -> None:
    assert set(classify.STATES) == set(STATES)
    assert set(classify.ERRORS) <= set(ERRORS)


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
