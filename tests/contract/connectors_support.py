"""The sandbox in this process, a callback receiver, and accounts for the connectors' contract."""

import asyncio
import base64
import contextlib
import itertools
import os
import secrets
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import httpx
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from libs import web
from services.gateway.channels.http import ChannelHttp
from services.gateway.domain.channel import (
    Callback,
    CallbackSignatureInvalid,
    CaptureOrder,
    ChargeOrder,
    Connector,
    Outcome,
    OutcomeKind,
    PayoutOrder,
    RefundOrder,
    SentOrder,
)
from services.gateway.domain.next_action import ShowQr
from services.sandbox import app as sandbox_app
from services.sandbox import transport

PATIENCE_S = 8.0
AMOUNT = 1230
DAY = date(2026, 11, 11)
CALL_TIMEOUT_S = 1.0
SENT_AT = datetime(2026, 11, 11, 4, 0, tzinfo=UTC)


def sent(out_ref: str, **changes: Any) -> SentOrder:
    """An order of this number, as we remember it."""
    fields: dict[str, Any] = {
        "out_ref": out_ref,
        "method": "WECHAT_QR",
        "amount_minor": AMOUNT,
        "currency": "CNY",
        "sent_at": SENT_AT,
    }
    return SentOrder(**{**fields, **changes})


def qr_of(outcome: Outcome) -> str:
    """What the payer is to scan."""
    assert isinstance(outcome.next_action, ShowQr)
    return outcome.next_action.content


@dataclass(kw_only=True)
class Channel:
    """One account at the sandbox, our connector to it, and the sandbox's own view of it."""

    provider: str
    account_id: str
    connector: Connector
    connect: Callable[..., Connector]
    control: httpx.AsyncClient
    notify_url: str
    inbox: "asyncio.Queue[tuple[dict[str, str], bytes]]"

    def order(self, out_ref: str, **changes: Any) -> ChargeOrder:
        fields: dict[str, Any] = {
            "out_ref": out_ref,
            "amount_minor": AMOUNT,
            "currency": "CNY",
            "method": "wechat_qr",
            "description": "一杯咖啡",
            "notify_url": self.notify_url,
            "expires_at": datetime(2026, 11, 12, 4, 0, tzinfo=UTC),
            "sent_at": SENT_AT,
        }
        return ChargeOrder(**{**fields, **changes})

    def reservation(self, out_ref: str) -> ChargeOrder:
        return self.order(out_ref, method="card", capture_later=True)

    def capture(
        self, out_ref: str, payment: str, amount_minor: int, *, is_final: bool = False
    ) -> CaptureOrder:
        return CaptureOrder(
            out_ref=out_ref,
            sent_at=SENT_AT,
            payment=sent(payment),
            amount_minor=amount_minor,
            currency="CNY",
            is_final=is_final,
            notify_url=self.notify_url,
        )

    def payout(self, out_ref: str) -> PayoutOrder:
        return PayoutOrder(
            out_ref=out_ref,
            amount_minor=5000,
            currency="CNY",
            payee_account="6222000000000000",
            payee_name="张三",
            payee_bank_code="",
            method="BANK_TRANSFER",
            sent_at=SENT_AT,
            description="settlement",
            notify_url=self.notify_url,
        )

    def refund(self, out_ref: str, payment: str, amount_minor: int) -> RefundOrder:
        return RefundOrder(
            out_ref=out_ref,
            sent_at=SENT_AT,
            payment=sent(payment),
            amount_minor=amount_minor,
            currency="CNY",
            reason="冷了",
            notify_url=self.notify_url,
        )

    async def fault(self, fault: str, **changes: object) -> None:
        body = {"account_id": self.account_id, "fault": fault, "count": 1, **changes}
        (await self.control.post("/control/faults", json=body)).raise_for_status()

    async def set_clock(self, now: str) -> None:
        (await self.control.post("/control/clock", json={"now": now})).raise_for_status()

    async def pay(self, out_ref: str) -> None:
        body = {"account_id": self.account_id, "out_ref": out_ref}
        (await self.control.post("/control/pay", json=body)).raise_for_status()

    async def send_back(self, out_ref: str) -> None:
        body = {"account_id": self.account_id, "out_ref": out_ref}
        (await self.control.post("/control/return", json=body)).raise_for_status()

    async def paid(self, out_ref: str) -> None:
        """A charge that the payer has paid."""
        created = await self.connector.charge(self.order(out_ref))
        assert created.kind is OutcomeKind.PENDING
        await self.pay(out_ref)

    async def book(self, out_ref: str) -> dict[str, Any]:
        answer = await self.control.get("/control/book", params={"account_id": self.account_id})
        rows: list[dict[str, Any]] = answer.raise_for_status().json()
        return next(row for row in rows if row["out_ref"] == out_ref)

    async def notified(self) -> tuple[dict[str, str], bytes]:
        async with asyncio.timeout(PATIENCE_S):
            return await self.inbox.get()

    async def told(self) -> Callback:
        """The next notification, verified and read."""
        headers, body = await self.notified()
        return self.connector.parse_callback(headers, body, datetime.now(UTC))


@dataclass(kw_only=True)
class World:
    """The sandbox, and a callback receiver for all channels; shared, since starting it is slow."""

    sandbox_url: str
    receiver_url: str
    control: httpx.AsyncClient
    http: ChannelHttp
    channels: dict[str, Channel]
    numbers: Iterator[int]

    async def receive(self, request: Request) -> Response:
        """Verify, keep what came, and acknowledge."""
        channel = self.channels[request.path_params["account_id"]]
        body, headers = await request.body(), dict(request.headers)
        try:
            channel.connector.parse_callback(headers, body, datetime.now(UTC))
            answer = channel.connector.acknowledge(ok=True)
        except CallbackSignatureInvalid as error:
            answer = channel.connector.acknowledge(ok=False, message=error.message)
        channel.inbox.put_nowait((headers, body))
        return Response(answer.body, answer.status, media_type=answer.content_type)


@contextlib.asynccontextmanager
async def running(data_dir: Path) -> AsyncIterator[World]:
    """The sandbox with its book in `data_dir`, and the receiver."""
    options = sandbox_app.Options(callback_backoff_s=(0.05, 0.05, 0.05))
    book = sandbox_app.build(data_dir, options)

    async def receive(request: Request) -> Response:
        return await made.receive(request)

    receiver_app = Starlette(routes=[Route("/notify/{account_id}", receive, methods=["POST"])])
    async with (
        web.running(book, options=transport.OPTIONS) as sandbox_url,
        web.running(receiver_app) as receiver_url,
        httpx.AsyncClient(base_url=sandbox_url, trust_env=False) as control,
        ChannelHttp() as http,
    ):
        made: World = World(
            sandbox_url=sandbox_url,
            receiver_url=receiver_url,
            control=control,
            http=http,
            channels={},
            numbers=itertools.count(1_900_000_001),
        )
        yield made


async def register(
    control: httpx.AsyncClient, provider: str, account_id: str, key: dict[str, str]
) -> dict[str, str]:
    """Make the account known to the sandbox; what our side needs to speak for it."""
    profile = {"auto_pay_after_ms": None, "callback_after_ms": [0, 0], "pending_methods": ["qr"]}
    body: dict[str, object] = {"provider": provider, "account_id": account_id, "profile": profile}
    if provider == "simpay":
        credentials = {"secret": secrets.token_hex(16)}
        (await control.post("/control/accounts", json=body | credentials)).raise_for_status()
        return credentials
    shared = {
        "appid": "wx0000000000000001",
        "apiv3_key": base64.b64encode(os.urandom(24)).decode(),
        "merchant_serial": "5157F09EFDC096DE15EBE81A47057A7232F1B8E1",
    }
    registered = await control.post(
        "/control/accounts", json=body | shared | {"merchant_public_key_pem": key["public"]}
    )
    answer = registered.raise_for_status().json()
    return shared | {
        "mchid": account_id,
        "merchant_private_key_pem": key["private"],
        "platform_public_key_pem": answer["platform_public_key_pem"],
        "platform_public_key_id": answer["public_key_id"],
    }


async def until(ask: Callable[[], Any], kind: OutcomeKind) -> Outcome:
    async with asyncio.timeout(PATIENCE_S):
        while True:
            outcome: Outcome = await ask()
            if outcome.kind is kind:
                return outcome
            assert outcome.kind is OutcomeKind.PENDING
            await asyncio.sleep(0.05)
