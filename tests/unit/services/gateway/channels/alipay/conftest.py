"""Keys made at run time, Alipay's side of the wire, and certificates that are public."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote_plus

import pytest
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, generate_private_key
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)

from services.gateway.channels.alipay import signing

NOW = datetime(2026, 11, 11, 4, 0, tzinfo=UTC)


def private_pem(key: RSAPrivateKey) -> str:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()


def public_pem(key: RSAPrivateKey) -> str:
    return key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()


@dataclass(frozen=True, kw_only=True)
class Platform:
    """Alipay's end of one merchant's line, in key mode."""

    key: RSAPrivateKey
    app_key: RSAPrivateKey
    app_id: str = "2021000000000001"
    seller_id: str = "2088000000000156"
    now: datetime = NOW

    @property
    def credentials(self) -> dict[str, str]:
        return {
            "app_id": self.app_id,
            "seller_id": self.seller_id,
            "app_private_key": private_pem(self.app_key),
            "alipay_public_key": public_pem(self.key),
        }

    def answer(self, method: str, inner: str) -> bytes:
        signature = signing.sign(self.key, inner.encode())
        return f'{{"{signing.node_of(method)}":{inner},"sign":"{signature}"}}'.encode()

    def notice(self, *, charset: str = "utf-8", **changes: str) -> dict[str, str]:
        fields = {
            "notify_id": "n1",
            "notify_type": "trade_status_sync",
            "notify_time": "2026-11-11 12:00:01",
            "app_id": self.app_id,
            "seller_id": self.seller_id,
            "charset": charset,
            "version": "1.0",
            "out_trade_no": "pay_1",
            "trade_no": "2026111122001",
            "trade_status": "TRADE_SUCCESS",
            "total_amount": "12.30",
            "subject": "一杯咖啡 & 茶=?",
            "gmt_payment": "2026-11-11 12:00:00",
            **changes,
        }
        return {name: value for name, value in fields.items() if value != "-"}

    def form(self, fields: Mapping[str, str], *, codec: str = "utf-8") -> bytes:
        content = signing.notice_content(fields).encode(codec)
        signed = {**fields, "sign_type": "RSA2", "sign": signing.sign(self.key, content)}
        return encoded(signed, codec)


def encoded(fields: Mapping[str, str], codec: str = "utf-8") -> bytes:
    return "&".join(
        f"{name}={quote_plus(value, encoding=codec)}" for name, value in fields.items()
    ).encode()


@pytest.fixture(scope="session")
def rsa_keys() -> list[RSAPrivateKey]:
    return [generate_private_key(65537, 2048) for _ in range(3)]


@pytest.fixture(scope="session")
def platform(rsa_keys: list[RSAPrivateKey]) -> Platform:
    return Platform(key=rsa_keys[0], app_key=rsa_keys[1])


@pytest.fixture(scope="session")
def stranger(rsa_keys: list[RSAPrivateKey]) -> RSAPrivateKey:
    return rsa_keys[2]


@pytest.fixture(scope="session")
def vectors() -> dict[str, Any]:
    """Public certificates, with the serial numbers that Alipay's own SDK gives them."""
    loaded: dict[str, Any] = json.loads(Path(__file__).with_name("vectors.json").read_text("utf-8"))
    return loaded
