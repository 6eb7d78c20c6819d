"""Signatures against published vectors and against an independent SDK, in both directions."""

import base64
import json
from datetime import timedelta
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, RSAPublicKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from wechatpayv3 import utils

from services.gateway.channels.answers import Malformed, SignatureInvalid, lower_names
from services.gateway.channels.wechat import signing

oracle: Any = utils
TARGET = "/v3/pay/transactions/out-trade-no/pay_1?mchid=1900000001"


def test_the_published_key_gives_the_published_signature(vectors: dict[str, Any]) -> None:
    vector = vectors["request_signature"]
    pem = "\n".join(vector["published_test_key_lines"]).replace("TESTING KEY", "PRIVATE KEY")
    key = load_pem_private_key(pem.encode(), None)
    assert isinstance(key, RSAPrivateKey)
    assert signing.sign(key, vector["message"].encode()) == vector["signature"]


def test_a_request_published_with_its_signature_has_our_message(vectors: dict[str, Any]) -> None:
    vector = vectors["request_message"]
    message = signing.request_message(
        vector["method"],
        vector["target"],
        vector["timestamp"],
        vector["nonce"],
        vector["body"].encode(),
    )
    certificate = "\n".join(vectors["notifications"]["certificate_lines"])
    key = x509.load_pem_x509_certificate(certificate.encode()).public_key()
    assert isinstance(key, RSAPublicKey)
    key.verify(base64.b64decode(vector["signature"]), message, PKCS1v15(), SHA256())


def test_the_published_ciphertext_opens_to_the_published_text(vectors: dict[str, Any]) -> None:
    vector = vectors["aes_gcm"]
    plain = signing.decrypt(
        vector["published_test_key"].encode(),
        nonce=vector["nonce"],
        ciphertext=vector["ciphertext"],
        associated_data=vector["associated_data"],
    )
    assert plain.decode() == vector["plaintext"]


@pytest.mark.parametrize("ciphertext", ["tJjSQMG75/RoZP/alQ=", "exampleplaintext", "", "秘密"])
def test_a_broken_ciphertext_is_malformed(vectors: dict[str, Any], ciphertext: str) -> None:
    vector = vectors["aes_gcm"]
    with pytest.raises(Malformed) as caught:
        signing.decrypt(
            vector["published_test_key"].encode(),
            nonce=vector["nonce"],
            ciphertext=ciphertext,
            associated_data=vector["associated_data"],
        )
    assert caught.value.field == "resource.ciphertext"


@pytest.mark.parametrize("body", ["", '{"description":"支付","amount":{"total":1}}'])
def test_an_independent_sdk_builds_the_same_authorization(platform: Any, body: str) -> None:
    method = "POST" if body else "GET"
    theirs = oracle.build_authorization(
        TARGET, method, platform.mchid, "SERIAL", platform.merchant_key, data=body, nonce_str="N0"
    )
    timestamp = theirs.split('timestamp="')[1].split('"')[0]
    message = signing.request_message(method, TARGET, timestamp, "N0", body.encode())
    ours = signing.authorization(
        mchid=platform.mchid,
        serial="SERIAL",
        nonce="N0",
        timestamp=timestamp,
        signature=signing.sign(platform.merchant_key, message),
    )
    assert ours == theirs


def test_an_independent_sdk_accepts_what_we_sign(platform: Any) -> None:
    signature = signing.sign(platform.key, signing.answer_message("1", "n", '{"a":"支"}'.encode()))
    public = platform.key.public_key()
    assert oracle.rsa_verify("1", "n", '{"a":"支"}', signature, public)
    assert not oracle.rsa_verify("1", "n", '{"a":"付"}', signature, public)


def test_we_accept_what_an_independent_sdk_signs(platform: Any) -> None:
    body = '{"trade_state":"SUCCESS"}'
    timestamp = str(int(platform.now.timestamp()))
    headers = {
        "Wechatpay-Signature": oracle.rsa_sign(platform.key, f"{timestamp}\nn\n{body}\n"),
        "Wechatpay-Timestamp": timestamp,
        "Wechatpay-Nonce": "n",
        "Wechatpay-Serial": platform.key_id,
    }
    _verify(platform, headers, body.encode())


def test_an_independent_sdk_opens_the_same_seal(platform: Any) -> None:
    notice = platform.notice("TRANSACTION.SUCCESS", platform.paid())
    resource = json.loads(notice)["resource"]
    sealed = {name: resource[name] for name in ("nonce", "ciphertext", "associated_data")}
    ours = signing.decrypt(platform.apiv3_key.encode(), **sealed)
    assert ours.decode() == oracle.aes_decrypt(**sealed, apiv3_key=platform.apiv3_key)


def _verify(platform: Any, headers: dict[str, str], body: bytes) -> None:
    signing.verify(
        key=platform.key.public_key(),
        key_id=platform.key_id,
        headers=lower_names(headers),
        body=body,
        now=platform.now,
    )


@pytest.mark.parametrize(
    "name",
    ["Wechatpay-Signature", "Wechatpay-Timestamp", "Wechatpay-Nonce", "Wechatpay-Serial"],
)
def test_a_missing_header_is_named(platform: Any, name: str) -> None:
    headers = platform.headers(b"{}")
    del headers[name]
    with pytest.raises(SignatureInvalid, match=f"{name} is missing") as caught:
        _verify(platform, headers, b"{}")
    assert caught.value.field == name


@pytest.mark.parametrize(
    ("header", "value", "complaint"),
    [
        ("Wechatpay-Signature", "WECHATPAY/SIGNTEST/abcd", "probe"),
        ("Wechatpay-Signature", "not base64!", "not base64"),
        ("Wechatpay-Signature", "AAAA", "does not fit"),
        ("Wechatpay-Serial", "PUB_KEY_ID_ANOTHER", "another key"),
        ("Wechatpay-Timestamp", "yesterday", "not unix seconds"),
        ("Wechatpay-Timestamp", "²", "not unix seconds"),
        ("Wechatpay-Timestamp", "9" * 5000, "not unix seconds"),
        ("Wechatpay-Signature-Type", "WECHATPAY2-SM2-WITH-SM3", "not supported"),
    ],
)
def test_a_forged_header_is_refused_by_name(
    platform: Any, header: str, value: str, complaint: str
) -> None:
    headers = {**platform.headers(b"{}"), header: value}
    with pytest.raises(SignatureInvalid, match=complaint) as caught:
        _verify(platform, headers, b"{}")
    assert caught.value.field == header


@pytest.mark.parametrize("seconds", [-301, 301])
def test_a_signature_older_or_newer_than_five_minutes_is_refused(
    platform: Any, seconds: int
) -> None:
    headers = platform.headers(b"{}", at=platform.now + timedelta(seconds=seconds))
    with pytest.raises(SignatureInvalid, match="away from now"):
        _verify(platform, headers, b"{}")


@pytest.mark.parametrize("seconds", [-300, 300])
def test_a_signature_just_within_five_minutes_is_accepted(platform: Any, seconds: int) -> None:
    _verify(platform, platform.headers(b"{}", at=platform.now + timedelta(seconds=seconds)), b"{}")


def test_a_signature_does_not_fit_another_nonce(platform: Any) -> None:
    headers = {**platform.headers(b"{}"), "Wechatpay-Nonce": "another"}
    with pytest.raises(SignatureInvalid, match="does not fit"):
        _verify(platform, headers, b"{}")


def test_one_changed_byte_of_the_body_is_noticed(platform: Any) -> None:
    headers = platform.headers(b'{"total":100}')
    with pytest.raises(SignatureInvalid, match="does not fit"):
        _verify(platform, headers, b'{"total":900}')
