"""A sandbox that really listens, a receiver for its callbacks, and a client of simpay."""

import asyncio
import hashlib
import hmac
import json
import secrets
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import httpx
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response

from libs import web
from services.sandbox import transport

DAY = "2026-11-11"


@asynccontextmanager
async def serving(application: Starlette) -> AsyncIterator[str]:
    async with web.running(application, options=transport.OPTIONS) as url:
        yield url


async def eventually(condition: Callable[[], Any], timeout_s: float = 5.0) -> Any:
    deadline_s = time.monotonic() + timeout_s
    while not (result := condition()):
        assert time.monotonic() < deadline_s, "it did not happen in time"
        await asyncio.sleep(0.01)
    return result


@dataclass
class Received:
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> dict[str, Any]:
        return dict(json.loads(self.body))


@dataclass
class Receiver:
    """A merchant's notification address; `refusals` deliveries are answered with 500 first."""

    url: str = ""
    refusals: int = 0
    trusting: bool = False
    answer: bytes = b"ok"
    received: list[Received] = field(default_factory=list)

    async def __call__(self, request: Request) -> Response:
        body = await request.body()
        self.received.append(Received(dict(request.headers), body))
        if self.refusals > 0:
            self.refusals -= 1
            return Response(b"not now", 500)
        probe = request.headers.get("wechatpay-signature", "").startswith("WECHATPAY/SIGNTEST/")
        if probe and not self.trusting:
            return Response(b"", 401)
        return Response(self.answer)


@dataclass
class Sandbox:
    """A client of the control API, and of simpay accounts."""

    url: str
    http: httpx.AsyncClient
    secret: str = "a-simpay-secret"

    async def control(self, method: str, path: str, **body: Any) -> Any:
        url = f"{self.url}/control/{path}"
        if method in ("GET", "DELETE"):
            response = await self.http.request(method, url, params=body)
        else:
            response = await self.http.request(method, url, json=body)
        assert response.status_code == 200, response.text
        return response.json()

    async def simpay_account(self, account_id: str = "sim_a", **profile: Any) -> str:
        quick = {"callback_after_ms": [0, 0], "auto_pay_after_ms": None} | profile
        await self.control(
            "POST",
            "accounts",
            provider="simpay",
            account_id=account_id,
            secret=self.secret,
            profile=quick,
        )
        return account_id

    async def simpay(
        self, method: str, path: str, body: Any = None, *, account_id: str = "sim_a", **options: Any
    ) -> httpx.Response:
        target = f"/simpay/{account_id}{path}"
        content = json.dumps(body).encode() if body is not None else b""
        headers = self.signed(method, target, content, skew_s=options.pop("skew_s", 0))
        return await self.http.request(
            method, self.url + target, content=content, headers=headers, **options
        )

    def signed(self, method: str, target: str, body: bytes, *, skew_s: int = 0) -> dict[str, str]:
        timestamp, nonce = str(int(time.time()) + skew_s), secrets.token_hex(8)
        message = f"{method}\n{target}\n{timestamp}\n{nonce}\n".encode() + body
        signature = hmac.new(self.secret.encode(), message, hashlib.sha256).hexdigest()
        return {
            "X-Sim-Timestamp": timestamp,
            "X-Sim-Nonce": nonce,
            "X-Sim-Signature": signature,
            "Content-Type": "application/json",
        }

    def is_genuine(self, headers: Any, body: bytes) -> bool:
        message = f"{headers['x-sim-timestamp']}\n{headers['x-sim-nonce']}\n".encode() + body
        expected = hmac.new(self.secret.encode(), message, hashlib.sha256).hexdigest()
        return hmac.compare_digest(expected, headers["x-sim-signature"])

    async def book(self, **query: str) -> list[dict[str, Any]]:
        rows: list[dict[str, Any]] = await self.control("GET", "book", **query)
        return rows


def charge(order_no: str, amount: int = 1000, **more: Any) -> dict[str, Any]:
    return {"order_no": order_no, "amount": amount, "currency": "CNY", "method": "CARD"} | more


@dataclass(frozen=True)
class Merchant:
    mchid: str
    appid: str
    serial: str
    apiv3_key: str
    private_key_pem: str
    public_key_pem: str
