"""Keys made at run time, and WeChat's side of the wire: what signs answers and seals notices."""

import base64
import json
import os
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, generate_private_key
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)

from services.gateway.channels.wechat import signing

NOW = datetime(2026, 11, 11, 4, 0, tzinfo=UTC)


def private_pem(key: RSAPrivateKey) -> str:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()


def public_pem(key: RSAPrivateKey) -> str:
    return key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()


@dataclass(frozen=True, kw_only=True)
class Platform:
    """WeChat Pay's end of one merchant's connection."""

    key: RSAPrivateKey
    merchant_key: RSAPrivateKey
    apiv3_key: str
    key_id: str = "PUB_KEY_ID_0100000000000001"
    mchid: str = "1900000001"
    now: datetime = NOW

    @property
    def credentials(self) -> dict[str, str]:
        return {
            "mchid": self.mchid,
            "appid": "wx0000000000000001",
            "apiv3_key": self.apiv3_key,
            "merchant_serial": "5157F09EFDC096DE15EBE81A47057A7232F1B8E1",
            "merchant_private_key_pem": private_pem(self.merchant_key),
            "platform_public_key_pem": public_pem(self.key),
            "platform_public_key_id": self.key_id,
        }

    def headers(self, body: bytes, *, at: datetime | None = None) -> dict[str, str]:
        timestamp = str(int((at or self.now).timestamp()))
        message = signing.answer_message(timestamp, "n0nce", body)
        return {
            "Wechatpay-Timestamp": timestamp,
            "Wechatpay-Nonce": "n0nce",
            "Wechatpay-Serial": self.key_id,
            "Wechatpay-Signature-Type": "WECHATPAY2-SHA256-RSA2048",
            "Wechatpay-Signature": signing.sign(self.key, message),
        }

    def notice(self, event_type: str, content: dict[str, object], **changes: object) -> bytes:
        sealed = AESGCM(self.apiv3_key.encode()).encrypt(
            b"abcdefghijkl", json.dumps(content).encode(), b"transaction"
        )
        resource: dict[str, object] = {
            "original_type": "transaction",
            "algorithm": "AEAD_AES_256_GCM",
            "ciphertext": base64.b64encode(sealed).decode(),
            "associated_data": "transaction",
            "nonce": "abcdefghijkl",
        }
        return json.dumps(
            {
                "id": "EV-1",
                "create_time": "2026-11-11T12:00:00+08:00",
                "event_type": event_type,
                "resource_type": "encrypt-resource",
                "resource": {**resource, **changes},
            }
        ).encode()

    def paid(self, **changes: object) -> dict[str, object]:
        return {
            "mchid": self.mchid,
            "out_trade_no": "pay_1",
            "transaction_id": "4200000001",
            "trade_state": "SUCCESS",
            "success_time": "2026-11-11T12:00:00+08:00",
            "amount": {"total": 1230, "payer_total": 1230, "currency": "CNY"},
            **changes,
        }


@pytest.fixture(scope="session")
def rsa_keys() -> list[RSAPrivateKey]:
    return [generate_private_key(65537, 2048) for _ in range(3)]


@pytest.fixture
def platform(rsa_keys: list[RSAPrivateKey]) -> Platform:
    apiv3_key = base64.b64encode(os.urandom(24)).decode()
    return Platform(key=rsa_keys[0], merchant_key=rsa_keys[1], apiv3_key=apiv3_key)


@pytest.fixture
def stranger(rsa_keys: list[RSAPrivateKey]) -> RSAPrivateKey:
    return rsa_keys[2]


@pytest.fixture(scope="session")
def vectors() -> dict[str, Any]:
    """Published vectors; each names its source, and each key in it is a published test key."""
    loaded: dict[str, Any] = json.loads(Path(__file__).with_name("vectors.json").read_text("utf-8"))
    return loaded
