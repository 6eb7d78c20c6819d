"""WeChat Pay v3 signatures and decryption, as pure functions over bytes.

Wire format: "WECHATPAY2-SHA256-RSA2048", RSA PKCS#1 v1.5 with SHA-256 over lines that each end in
a line feed, the last one too; notifications are sealed with AES-256-GCM under the APIv3 key.
"""

import base64
import binascii
from collections.abc import Mapping
from datetime import datetime

from cryptography.exceptions import InvalidSignature, InvalidTag
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, RSAPublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256

from services.gateway.channels.answers import (
    Malformed,
    SignatureInvalid,
    check_timestamp,
    header,
)

SCHEME = "WECHATPAY2-SHA256-RSA2048"
# WeChat probes merchants with such signatures; who accepts one fails the probe.
PROBE_PREFIX = "WECHATPAY/SIGNTEST/"
APIV3_KEY_BYTES = 32
GCM_NONCE_BYTES = 12


def request_message(method: str, target: str, timestamp: str, nonce: str, body: bytes) -> bytes:
    """The bytes a request's signature covers; `target` is path and query without the host."""
    return f"{method}\n{target}\n{timestamp}\n{nonce}\n".encode() + body + b"\n"


def answer_message(timestamp: str, nonce: str, body: bytes) -> bytes:
    """The bytes the signature of an answer or a notification covers."""
    return f"{timestamp}\n{nonce}\n".encode() + body + b"\n"


def sign(key: RSAPrivateKey, message: bytes) -> str:
    """Base64 of the signature. Costs milliseconds of CPU; does not belong on the event loop."""
    return base64.b64encode(key.sign(message, PKCS1v15(), SHA256())).decode()


def authorization(*, mchid: str, serial: str, nonce: str, timestamp: str, signature: str) -> str:
    """The Authorization header; `serial` is that of the merchant's certificate."""
    return (
        f'{SCHEME} mchid="{mchid}",nonce_str="{nonce}",signature="{signature}",'
        f'timestamp="{timestamp}",serial_no="{serial}"'
    )


def verify(
    *,
    key: RSAPublicKey,
    key_id: str,
    headers: Mapping[str, str],
    body: bytes,
    now: datetime,
) -> None:
    """Raise SignatureInvalid unless WeChat signed exactly `body` within five minutes of `now`.

    `headers` have lower-case names; `key_id` is the identifier of the only key that is trusted.
    """
    signature = header(headers, "Wechatpay-Signature")
    timestamp = header(headers, "Wechatpay-Timestamp")
    nonce = header(headers, "Wechatpay-Nonce")
    serial = header(headers, "Wechatpay-Serial")
    scheme = headers.get("wechatpay-signature-type", SCHEME)
    if scheme != SCHEME:
        raise SignatureInvalid(
            "the signature type is not supported", field="Wechatpay-Signature-Type"
        )
    if signature.startswith(PROBE_PREFIX):
        raise SignatureInvalid("this is a signature probe", field="Wechatpay-Signature")
    if serial != key_id:
        raise SignatureInvalid("signed with another key than ours", field="Wechatpay-Serial")
    check_timestamp(timestamp, now=now, field="Wechatpay-Timestamp")
    try:
        raw = base64.b64decode(signature, validate=True)
    except (binascii.Error, ValueError) as error:
        raise SignatureInvalid(
            "the signature is not base64", field="Wechatpay-Signature"
        ) from error
    try:
        key.verify(raw, answer_message(timestamp, nonce, body), PKCS1v15(), SHA256())
    except InvalidSignature as error:
        raise SignatureInvalid(
            "the signature does not fit the body", field="Wechatpay-Signature"
        ) from error


def decrypt(apiv3_key: bytes, *, nonce: str, ciphertext: str, associated_data: str) -> bytes:
    """Open a sealed resource (base64 `ciphertext` with the tag at its end). Raises Malformed."""
    if len(nonce.encode()) != GCM_NONCE_BYTES:
        raise Malformed(f"the nonce is not {GCM_NONCE_BYTES} bytes", field="resource.nonce")
    try:
        sealed = base64.b64decode(ciphertext, validate=True)
    except (binascii.Error, ValueError) as error:
        raise Malformed("the ciphertext is not base64", field="resource.ciphertext") from error
    try:
        return AESGCM(apiv3_key).decrypt(nonce.encode(), sealed, associated_data.encode())
    except InvalidTag as error:
        raise Malformed(
            "the ciphertext does not open with our APIv3 key", field="resource.ciphertext"
        ) from error
