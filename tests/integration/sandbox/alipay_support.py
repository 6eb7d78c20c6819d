"""A merchant of Alipay in key mode and in certificate mode: our connector, and an independent SDK."""

import asyncio
import secrets
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import alipay as python_alipay_sdk
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, generate_private_key
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)

from libs.clock import SystemClock
from services.gateway.channels import registry
from services.gateway.channels.alipay.connector import AlipayConnector
from services.gateway.channels.http import ChannelHttp
from services.gateway.channels.provider import Wiring
from services.gateway.domain.channel import ChargeOrder, PayoutOrder, RefundOrder, SentOrder
from services.sandbox.clock import SHANGHAI
from tests.integration.sandbox.support import DAY, Received, Receiver, Sandbox, eventually

SELLER = "2088000000000156"
NOON = datetime.fromisoformat(f"{DAY}T12:00:00+08:00")
EXPIRES_AT = datetime(2026, 11, 14, 4, 0, tzinfo=UTC)
AMOUNT = 1230
CALL_TIMEOUT_S = 2.0
PAYER = "2088000000000042"


def private_pem(key: RSAPrivateKey) -> str:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()


def public_pem(key: RSAPrivateKey) -> str:
    return key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()


def new_key() -> RSAPrivateKey:
    return generate_private_key(65537, 2048)


@dataclass(kw_only=True)
class Merchant:
    """One application at the sandbox's Alipay."""

    app_id: str
    key: RSAPrivateKey
    keys: dict[str, str]
    sandbox: Sandbox
    receiver: Receiver
    http: ChannelHttp
    certified: bool
    connector: AlipayConnector = field(init=False)

    def __post_init__(self) -> None:
        self.connector = self.connect()

    @property
    def gateway_url(self) -> str:
        return f"{self.sandbox.url}/alipay/gateway.do"

    @property
    def credentials(self) -> dict[str, str]:
        own = {
            "app_id": self.app_id,
            "seller_id": SELLER,
            "app_private_key": private_pem(self.key),
        }
        if not self.certified:
            return own | {"alipay_public_key": self.keys["alipay_public_key"]}
        names = ("app_cert_pem", "alipay_cert_pem", "alipay_root_cert_pem")
        return own | {name: self.keys[name] for name in names}

    def connect(self, **changed: str) -> AlipayConnector:
        built = registry.build(
            "alipay",
            Wiring(
                channel_id=self.app_id,
                base_url=self.gateway_url,
                credentials=self.credentials | changed,
                http=self.http,
                clock=SystemClock(),
                new_nonce=lambda: secrets.token_hex(16),
                timeout_s=CALL_TIMEOUT_S,
            ),
        )
        assert isinstance(built, AlipayConnector)
        return built

    def order(self, out_ref: str, method: str = "ALIPAY_JSAPI", **changes: Any) -> ChargeOrder:
        fields: dict[str, Any] = {
            "out_ref": out_ref,
            "amount_minor": AMOUNT,
            "currency": "CNY",
            "method": method,
            "description": "一杯咖啡",
            "notify_url": self.receiver.url,
            "expires_at": EXPIRES_AT,
            "sent_at": NOON,
            "return_url": "https://shop.example/back",
            "wallet_user_id": PAYER,
        }
        return ChargeOrder(**{**fields, **changes})

    def sent(self, out_ref: str, method: str = "ALIPAY_JSAPI") -> SentOrder:
        return SentOrder(
            out_ref=out_ref, method=method, amount_minor=AMOUNT, currency="CNY", sent_at=NOON
        )

    def refund(self, out_ref: str, payment: str, amount_minor: int) -> RefundOrder:
        return RefundOrder(
            out_ref=out_ref,
            payment=self.sent(payment),
            amount_minor=amount_minor,
            currency="CNY",
            reason="冷了",
            notify_url=self.receiver.url,
            sent_at=NOON,
        )

    def sent_refund(self, out_ref: str, payment: str) -> SentOrder:
        return SentOrder(
            out_ref=out_ref,
            method="ALIPAY_JSAPI",
            amount_minor=0,
            currency="CNY",
            sent_at=NOON,
            payment=self.sent(payment),
        )

    def payout(self, out_ref: str, **changes: Any) -> PayoutOrder:
        fields: dict[str, Any] = {
            "out_ref": out_ref,
            "method": "ALIPAY_WALLET",
            "amount_minor": 5000,
            "currency": "CNY",
            "payee_account": "payee@example.com",
            "payee_name": "张三",
            "payee_bank_code": "",
            "description": "settlement",
            "notify_url": self.receiver.url,
            "sent_at": NOON,
        }
        return PayoutOrder(**{**fields, **changes})

    def sent_payout(self, out_ref: str) -> SentOrder:
        return self.sent(out_ref, "ALIPAY_WALLET")

    async def pay(self, out_ref: str) -> None:
        await self.sandbox.control("POST", "pay", account_id=self.app_id, out_ref=out_ref)

    async def fault(self, fault: str, **more: Any) -> None:
        body = {"account_id": self.app_id, "fault": fault, "count": 1, **more}
        await self.sandbox.control("POST", "faults", **body)

    async def replace_key(self) -> str:
        """Let Alipay sign with a new key; its public half."""
        answer = await self.sandbox.http.post(f"{self.sandbox.url}/alipay/key")
        return str(answer.raise_for_status().json()["alipay_public_key"])

    async def set_clock(self, now: str) -> None:
        await self.sandbox.control("POST", "clock", now=now)

    async def told(self, count: int = 1) -> Received:
        await eventually(lambda: len(self.receiver.received) >= count)
        return self.receiver.received[count - 1]

    def parse(self, told: Received) -> Any:
        return self.connector.parse_callback(told.headers, told.body, datetime.now(UTC))


class Sdk:
    """python-alipay-sdk with its gateway at the sandbox; it is synchronous, so it runs in threads."""

    def __init__(self, merchant: Merchant) -> None:
        own = private_pem(merchant.key)
        keys = merchant.keys
        untyped: Any = python_alipay_sdk
        if merchant.certified:
            # The SDK wants Alipay's certificate alone, and splits the roots at empty lines.
            head = keys["alipay_cert_pem"].partition("-----END CERTIFICATE-----")
            self.client = untyped.DCAliPay(
                merchant.app_id,
                own,
                keys["app_cert_pem"],
                head[0] + head[1] + "\n",
                keys["alipay_root_cert_pem"],
                app_notify_url=merchant.receiver.url,
            )
        else:
            self.client = untyped.AliPay(
                merchant.app_id,
                app_notify_url=merchant.receiver.url,
                app_private_key_string=own,
                alipay_public_key_string=keys["alipay_public_key"],
            )
        self.client._gateway = merchant.gateway_url

    async def __call__(self, method: str, **content: Any) -> dict[str, Any]:
        call: Callable[..., dict[str, Any]] = self.client.server_api
        # The SDK writes the time of whatever zone it runs in; Alipay reads Beijing's.
        now = datetime.now(SHANGHAI).strftime("%Y-%m-%d %H:%M:%S")
        return await asyncio.to_thread(call, method, content, timestamp=now)


async def register(
    sandbox: Sandbox,
    receiver: Receiver,
    http: ChannelHttp,
    *,
    app_id: str,
    key: RSAPrivateKey,
    certified: bool,
    **profile: Any,
) -> Merchant:
    quick = {"callback_after_ms": [0, 0], "auto_pay_after_ms": None, "fee_bps": 60} | profile
    keys = await sandbox.control(
        "POST",
        "accounts",
        provider="alipay",
        account_id=app_id,
        seller_id=SELLER,
        merchant_public_key_pem=public_pem(key),
        certificate_mode="true" if certified else "",
        messages_url=receiver.url,
        profile=quick,
    )
    receiver.answer = b"success"
    merchant = Merchant(
        app_id=app_id,
        key=key,
        keys=keys,
        sandbox=sandbox,
        receiver=receiver,
        http=http,
        certified=certified,
    )
    await merchant.set_clock(NOON.isoformat())
    return merchant
