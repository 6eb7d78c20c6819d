"""WeChat Pay's side of the signatures: RSA over lines, and AES-GCM inside callbacks.

Wire facts from pay.weixin.qq.com, documents 4013071227, 4013071235 and 4013071238.
"""

import base64
import binascii
import hashlib
import secrets
import time
from functools import lru_cache
from pathlib import Path

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from services.sandbox import keys

SCHEMA = "WECHATPAY2-SHA256-RSA2048"
SIGNTEST_PREFIX = "WECHATPAY/SIGNTEST/"
PUBLIC_KEY_ID_PREFIX = "PUB_KEY_ID_"

_KEY_ID_DIGITS = 32
_GCM_NONCE_CHARS = 12


class PlatformKey:
    """WeChat Pay's own key pair, made on the first start and kept in the data directory."""

    def __init__(self, path: Path) -> None:
        self._key = keys.load_or_make(path)
        self.public_key_pem = keys.public_pem(self._key)
        digest = int(hashlib.sha256(self.public_key_pem.encode()).hexdigest(), 16)
        digits = str(digest % 10**_KEY_ID_DIGITS).zfill(_KEY_ID_DIGITS)
        self.public_key_id = f"{PUBLIC_KEY_ID_PREFIX}01{digits}"

    def sign(self, message: bytes) -> str:
        """Base64 of RSA PKCS#1 v1.5 with SHA-256. Costs milliseconds of CPU."""
        signature = self._key.sign(message, padding.PKCS1v15(), hashes.SHA256())
        return base64.b64encode(signature).decode()

    def headers(self, body: bytes) -> dict[str, str]:
        """The headers that sign an answer or a callback: time, nonce and body, a line each."""
        timestamp, nonce = str(int(time.time())), secrets.token_hex(16).upper()
        message = f"{timestamp}\n{nonce}\n".encode() + body + b"\n"
        return {
            "Wechatpay-Timestamp": timestamp,
            "Wechatpay-Nonce": nonce,
            "Wechatpay-Signature": self.sign(message),
            "Wechatpay-Signature-Type": SCHEMA,
            "Wechatpay-Serial": self.public_key_id,
        }


def verify_merchant(public_key_pem: str, message: bytes, signature: str) -> bool:
    """Whether the merchant of that key signed the message."""
    try:
        raw = base64.b64decode(signature, validate=True)
        merchant_key(public_key_pem).verify(raw, message, padding.PKCS1v15(), hashes.SHA256())
    except (InvalidSignature, binascii.Error):
        return False
    return True


@lru_cache(maxsize=256)
def merchant_key(public_key_pem: str) -> rsa.RSAPublicKey:
    """The merchant's public key. Raises ValueError if it is not an RSA key in PEM."""
    key = serialization.load_pem_public_key(public_key_pem.encode())
    if not isinstance(key, rsa.RSAPublicKey):
        raise ValueError("merchant_public_key_pem: not an RSA key")  # noqa: TRY004 (bad input)
    return key


def encrypt_resource(
    apiv3_key: str, plaintext: bytes, associated_data: str, original_type: str
) -> dict[str, str]:
    """The `resource` of a callback: AES-256-GCM with a 12 character nonce."""
    nonce = secrets.token_hex(_GCM_NONCE_CHARS // 2)
    sealed = AESGCM(apiv3_key.encode()).encrypt(nonce.encode(), plaintext, associated_data.encode())
    return {
        "original_type": original_type,
        "algorithm": "AEAD_AES_256_GCM",
        "ciphertext": base64.b64encode(sealed).decode(),
        "associated_data": associated_data,
        "nonce": nonce,
    }


def probe_signature() -> str:
    """A signature that must fail: WeChat Pay probes receivers with such ones."""
    return SIGNTEST_PREFIX + base64.b64encode(secrets.token_bytes(keys.KEY_BITS // 8 - 15)).decode()
