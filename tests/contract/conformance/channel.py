"""One account at the sandbox, our connector to it, and the sandbox's own view of it."""

import asyncio
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import httpx

from libs.clock import Clock, SystemClock
from services.gateway.channels import registry
from services.gateway.channels.http import ChannelHttp
from services.gateway.channels.provider import Wiring
from services.gateway.domain.channel import (
    Callback,
    CaptureOrder,
    ChargeOrder,
    Connector,
    Outcome,
    OutcomeKind,
    PayoutOrder,
    RefundOrder,
    SentOrder,
)
from tests.contract.conformance.orders import AMOUNT, PAYOUT, SENT_AT, sent
from tests.contract.conformance.rig import Rig

PATIENCE_S = 8.0
CALL_TIMEOUT_S = 1.0
NOBODY_URL = "http://127.0.0.1:1"


@dataclass(kw_only=True)
class Channel:
    """What a test is put to: a fresh account of one provider, and one payment method of it."""

    rig: Rig
    method: str
    account_id: str
    base_url: str
    credentials: Mapping[str, str]
    control: httpx.AsyncClient
    http: ChannelHttp
    notify_url: str
    inbox: "asyncio.Queue[tuple[dict[str, str], bytes]]" = field(default_factory=asyncio.Queue)
    refs: dict[str, str] = field(default_factory=dict)
    """The channel's own references, as its answers told them: the gateway remembers them, too."""

    def __post_init__(self) -> None:
        self.connector = self.connect()

    def connect(
        self,
        *,
        base_url: str = "",
        clock: Clock | None = None,
        credentials: Mapping[str, str] | None = None,
    ) -> Connector:
        """Another connector to the same account."""
        wiring = Wiring(
            channel_id=self.account_id,
            base_url=base_url or self.base_url,
            credentials=self.credentials if credentials is None else credentials,
            http=self.http,
            clock=clock or SystemClock(),
            new_nonce=lambda: secrets.token_hex(16),
            timeout_s=CALL_TIMEOUT_S,
        )
        return registry.build(self.rig.provider, wiring)

    # What we send, and what we remember of it

    def order(self, out_ref: str, **changes: Any) -> ChargeOrder:
        method = str(changes.get("method", self.method))
        fields: dict[str, Any] = {
            "out_ref": out_ref,
            "amount_minor": AMOUNT,
            "currency": "CNY",
            "method": method,
            "description": "一杯咖啡",
            "notify_url": self.notify_url,
            "expires_at": datetime(2026, 11, 12, 4, 0, tzinfo=UTC),
            "sent_at": SENT_AT,
            **self.rig.inputs(method),
        }
        return ChargeOrder(**{**fields, **changes})

    def sent(self, out_ref: str, **changes: Any) -> SentOrder:
        """As the gateway would ask about it."""
        known = {"method": self.method, "provider_ref": self.refs.get(out_ref, "")}
        return sent(out_ref, **{**known, **changes})

    def capture(
        self, out_ref: str, payment: str, amount_minor: int, *, is_final: bool = False
    ) -> CaptureOrder:
        return CaptureOrder(
            out_ref=out_ref,
            sent_at=SENT_AT,
            payment=self.sent(payment),
            amount_minor=amount_minor,
            currency="CNY",
            is_final=is_final,
            notify_url=self.notify_url,
        )

    def refund(self, out_ref: str, payment: str, amount_minor: int) -> RefundOrder:
        return RefundOrder(
            out_ref=out_ref,
            sent_at=SENT_AT,
            payment=self.sent(payment),
            amount_minor=amount_minor,
            currency="CNY",
            reason="冷了",
            notify_url=self.notify_url,
        )

    def payout(self, out_ref: str) -> PayoutOrder:
        return PayoutOrder(
            out_ref=out_ref,
            sent_at=SENT_AT,
            method=self.method,
            amount_minor=PAYOUT,
            currency="CNY",
            payee_account="6222000000000000",
            payee_name="张三",
            payee_bank_code="102100099996",
            description="settlement",
            notify_url=self.notify_url,
        )

    # Our calls, with what the gateway would remember of their answers

    async def charge(self, out_ref: str, **changes: Any) -> Outcome:
        return self._noted(out_ref, await self.connector.charge(self.order(out_ref, **changes)))

    async def query(self, out_ref: str) -> Outcome:
        return self._noted(out_ref, await self.connector.query(self.sent(out_ref)))

    async def close(self, out_ref: str) -> Outcome:
        return self._noted(out_ref, await self.connector.close(self.sent(out_ref)))

    async def take(self, out_ref: str, payment: str, minor: int, **more: bool) -> Outcome:
        order = self.capture(out_ref, payment, minor, **more)
        return self._noted(out_ref, await self.connector.capture(order))

    async def query_capture(self, out_ref: str, payment: str) -> Outcome:
        asked = self.sent(out_ref, payment=self.sent(payment))
        return self._noted(out_ref, await self.connector.query_capture(asked))

    async def give_back(self, out_ref: str, payment: str, minor: int) -> Outcome:
        order = self.refund(out_ref, payment, minor)
        return self._noted(out_ref, await self.connector.refund(order))

    async def query_refund(self, out_ref: str, payment: str, minor: int) -> Outcome:
        asked = self.sent(out_ref, amount_minor=minor, payment=self.sent(payment))
        return self._noted(out_ref, await self.connector.query_refund(asked))

    async def refunded(self, out_ref: str, payment: str, minor: int) -> Outcome:
        """Once it has arrived."""
        return await until(
            lambda: self.query_refund(out_ref, payment, minor), OutcomeKind.SUCCEEDED
        )

    async def pay_out(self, out_ref: str) -> Outcome:
        return self._noted(out_ref, await self.connector.payout(self.payout(out_ref)))

    async def query_payout(self, out_ref: str) -> Outcome:
        asked = self.sent(out_ref, amount_minor=PAYOUT)
        return self._noted(out_ref, await self.connector.query_payout(asked))

    async def paid(self, out_ref: str) -> Outcome:
        """A charge that the payer has paid, whatever that took."""
        created = await self.charge(out_ref)
        if created.kind is OutcomeKind.SUCCEEDED:
            return created
        assert created.kind is OutcomeKind.PENDING
        await self.pay(out_ref)
        paid = await self.query(out_ref)
        assert paid.kind is OutcomeKind.SUCCEEDED
        return paid

    def _noted(self, out_ref: str, outcome: Outcome) -> Outcome:
        if outcome.provider_ref:
            self.refs[out_ref] = outcome.provider_ref
        return outcome

    # The other side

    async def fault(self, fault: str, **changes: object) -> None:
        body = {"account_id": self.account_id, "fault": fault, "count": 1, **changes}
        (await self.control.post("/control/faults", json=body)).raise_for_status()

    async def set_clock(self, now: str) -> None:
        (await self.control.post("/control/clock", json={"now": now})).raise_for_status()

    async def pay(self, out_ref: str, *, late: bool = False) -> None:
        """The payer pays; `late`, although the channel had said that the order is closed."""
        body = {"account_id": self.account_id, "out_ref": out_ref, "late": late}
        (await self.control.post("/control/pay", json=body)).raise_for_status()

    async def send_back(self, out_ref: str) -> None:
        body = {"account_id": self.account_id, "out_ref": out_ref}
        (await self.control.post("/control/return", json=body)).raise_for_status()

    async def rows(self) -> list[dict[str, Any]]:
        """The sandbox's own book."""
        answer = await self.control.get("/control/book", params={"account_id": self.account_id})
        rows: list[dict[str, Any]] = answer.raise_for_status().json()
        return rows

    async def book(self, out_ref: str) -> dict[str, Any]:
        return next(row for row in await self.rows() if row["out_ref"] == out_ref)

    async def notified(self) -> tuple[dict[str, str], bytes]:
        """The next notification, as it came."""
        async with asyncio.timeout(PATIENCE_S):
            return await self.inbox.get()

    async def told(self) -> Callback:
        """The next notification, verified and read."""
        headers, body = await self.notified()
        return self.connector.parse_callback(headers, body, datetime.now(UTC))


async def until(ask: Callable[[], Any], kind: OutcomeKind) -> Outcome:
    """Asks until it is so; meanwhile the channel may only be at work on it."""
    async with asyncio.timeout(PATIENCE_S):
        while True:
            outcome: Outcome = await ask()
            if outcome.kind is kind:
                return outcome
            assert outcome.kind is OutcomeKind.PENDING
            await asyncio.sleep(0.05)
