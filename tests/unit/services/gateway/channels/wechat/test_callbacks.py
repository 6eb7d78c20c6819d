"""Notifications: what is accepted, and the precise reason why all else is not."""

from datetime import UTC, datetime
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, RSAPublicKey
from wechatpayv3 import core

from services.gateway.channels.wechat import callbacks
from services.gateway.domain.channel import (
    Callback,
    CallbackMalformed,
    CallbackSignatureInvalid,
    OutcomeKind,
)


def _parse(platform: Any, headers: dict[str, str], body: bytes) -> Callback:
    return callbacks.parse(
        headers,
        body,
        now=platform.now,
        key=platform.key.public_key(),
        key_id=platform.key_id,
        apiv3_key=platform.apiv3_key.encode(),
        mchid=platform.mchid,
    )


@pytest.mark.parametrize(
    ("kind", "mchid", "out_ref"),
    [
        ("payment", "1601959334", "S20210128170702357723"),
        ("refund", "1601959334", "S20210201151309277501"),
    ],
)
def test_a_published_notification_is_read(
    vectors: dict[str, Any], kind: str, mchid: str, out_ref: str
) -> None:
    vector = vectors["notifications"]
    certificate = "\n".join(vector["certificate_lines"]).encode()
    key = x509.load_pem_x509_certificate(certificate).public_key()
    assert isinstance(key, RSAPublicKey)
    callback = callbacks.parse(
        {
            "wechatpay-signature": vector[kind]["signature"],
            "WECHATPAY-TIMESTAMP": vector["timestamp"],
            "Wechatpay-Nonce": vector["nonce"],
            "Wechatpay-Serial": vector["serial"],
        },
        vector[kind]["body"].encode(),
        now=datetime.fromtimestamp(int(vector["timestamp"]), UTC),
        key=key,
        key_id=vector["serial"],
        apiv3_key=vector["published_test_key"].encode(),
        mchid=mchid,
    )
    assert (callback.kind, callback.out_ref) == (kind, out_ref)
    assert callback.outcome.kind is OutcomeKind.SUCCEEDED
    assert callback.outcome.amount_minor == 1


def test_a_paid_order_is_told_with_amount_and_time(platform: Any) -> None:
    body = platform.notice("TRANSACTION.SUCCESS", platform.paid())
    callback = _parse(platform, platform.headers(body), body)
    assert callback.event_id == "EV-1"
    assert callback.outcome.provider_ref == "4200000001"
    assert (callback.outcome.amount_minor, callback.outcome.currency) == (1230, "CNY")
    assert callback.outcome.paid_at == datetime(2026, 11, 11, 4, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        ("SUCCESS", OutcomeKind.SUCCEEDED),
        ("CLOSED", OutcomeKind.CLOSED),
        ("ABNORMAL", OutcomeKind.PENDING),
    ],
)
def test_a_refund_is_told_with_its_state(platform: Any, status: str, kind: OutcomeKind) -> None:
    content = {
        "mchid": platform.mchid,
        "out_trade_no": "pay_1",
        "out_refund_no": "ref_1",
        "refund_id": "503",
        "refund_status": status,
        "amount": {"total": 1230, "refund": 30, "payer_total": 1230, "payer_refund": 30},
    }
    body = platform.notice(f"REFUND.{status}", content)
    callback = _parse(platform, platform.headers(body), body)
    assert (callback.kind, callback.out_ref) == ("refund", "ref_1")
    assert (callback.outcome.kind, callback.outcome.amount_minor) == (kind, 30)


def test_an_independent_sdk_reads_the_same_notification(platform: Any) -> None:
    body = platform.notice("TRANSACTION.SUCCESS", platform.paid())
    headers = platform.headers(body)
    credentials = platform.credentials
    oracle: Any = core
    sdk = oracle.Core(
        mchid=platform.mchid,
        cert_serial_no=credentials["merchant_serial"],
        private_key=credentials["merchant_private_key_pem"],
        apiv3_key=platform.apiv3_key,
        public_key=credentials["platform_public_key_pem"],
        public_key_id=platform.key_id,
    )
    theirs, ours = sdk.callback(headers, body), _parse(platform, headers, body)
    assert theirs["resource"]["out_trade_no"] == ours.out_ref
    assert theirs["resource"]["amount"]["total"] == ours.outcome.amount_minor


def test_a_probe_is_refused_and_answered_with_4xx(platform: Any) -> None:
    body = platform.notice("TRANSACTION.SUCCESS", platform.paid())
    headers = {**platform.headers(body), "Wechatpay-Signature": "WECHATPAY/SIGNTEST/c2ln"}
    with pytest.raises(CallbackSignatureInvalid) as caught:
        _parse(platform, headers, body)
    assert caught.value.reason == "CALLBACK_SIGNATURE_INVALID"
    answer = callbacks.acknowledge(ok=False, message=caught.value.message)
    assert 400 <= answer.status < 500
    assert answer.body == b'{"code":"FAIL","message":"this is a signature probe"}'


def test_a_stranger_cannot_speak_for_the_channel(platform: Any, stranger: RSAPrivateKey) -> None:
    body = platform.notice("TRANSACTION.SUCCESS", platform.paid())
    forger = type(platform)(
        key=stranger, merchant_key=platform.merchant_key, apiv3_key=platform.apiv3_key
    )
    with pytest.raises(CallbackSignatureInvalid) as caught:
        _parse(platform, forger.headers(body), body)
    assert caught.value.field == "Wechatpay-Signature"


def test_nothing_is_parsed_before_the_signature_holds(platform: Any) -> None:
    with pytest.raises(CallbackSignatureInvalid):
        _parse(platform, {}, b"{")


def _bodies(platform: Any) -> dict[str, bytes]:
    paid, kind = platform.paid(), "TRANSACTION.SUCCESS"
    return {
        "body": b"{",
        "id": b'{"event_type":"TRANSACTION.SUCCESS"}',
        "event_type": platform.notice("COUPON.USE", paid),
        "resource": b'{"id":"1","event_type":"TRANSACTION.SUCCESS","resource":[]}',
        "resource.algorithm": platform.notice(kind, paid, algorithm="AEAD_SM4_GCM"),
        "resource.nonce": platform.notice(kind, paid, nonce="short"),
        "resource.ciphertext": platform.notice(kind, paid, ciphertext="AAAA"),
        "mchid": platform.notice(kind, platform.paid(mchid="1900000002")),
        "out_trade_no": platform.notice(kind, platform.paid(out_trade_no=7)),
        "trade_state": platform.notice(kind, platform.paid(trade_state=None)),
        "amount": platform.notice(kind, platform.paid(amount=None)),
        "total": platform.notice(kind, platform.paid(amount={"total": "12.30"})),
        "success_time": platform.notice(kind, platform.paid(success_time="noon")),
    }


@pytest.mark.parametrize(
    "field",
    [
        "body",
        "id",
        "event_type",
        "resource",
        "resource.algorithm",
        "resource.nonce",
        "resource.ciphertext",
        "mchid",
        "out_trade_no",
        "trade_state",
        "amount",
        "total",
        "success_time",
    ],
)
def test_a_signed_but_malformed_notification_names_the_field(platform: Any, field: str) -> None:
    body = _bodies(platform)[field]
    with pytest.raises(CallbackMalformed) as caught:
        _parse(platform, platform.headers(body), body)
    assert caught.value.reason == "CALLBACK_MALFORMED"
    assert caught.value.field == field


def test_an_oversize_notification_is_refused_unread(platform: Any) -> None:
    with pytest.raises(CallbackMalformed, match="longer than"):
        _parse(platform, {}, b" " * (callbacks.BODY_BYTES_MAX + 1))


def test_an_accepted_notification_is_acknowledged_with_200() -> None:
    answer = callbacks.acknowledge(ok=True, message="")
    assert (answer.status, answer.body) == (200, b"")
