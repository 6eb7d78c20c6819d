"""Accounts at the sandbox's banks: CMB, ISO 20022 over HTTP, ISO 20022 over files; and our connectors to them."""

import asyncio
import base64
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import httpx
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from libs import sm2
from libs.clock import SystemClock
from services.clearing.domain import bills
from services.clearing.domain.bills.model import Bill
from services.gateway.channels import registry
from services.gateway.channels.http import ChannelHttp
from services.gateway.channels.provider import Wiring
from services.gateway.domain.channel import (
    BillFile,
    BillNotReady,
    Connector,
    Outcome,
    OutcomeKind,
    PayoutOrder,
    SentOrder,
)

KINDS = ("cmb", "iso20022", "iso20022_files")
AMOUNT, FEE, OPENING = 5_000, 150, 1_000_000
ACCOUNT = "6225880000000001"
SENT_AT = datetime(2026, 11, 11, 4, 0, tzinfo=UTC)
PATIENCE_S = 10.0
CALL_TIMEOUT_S = 1.0


@dataclass(kw_only=True)
class BankAccount:
    """One account, our connector to it, and the sandbox's own view of it."""

    kind: str
    account_id: str
    control: httpx.AsyncClient
    make: Callable[..., Connector]
    connector: Connector
    directory: Path

    @property
    def provider(self) -> str:
        return self.kind.removesuffix("_files")

    def order(self, out_ref: str, **changes: Any) -> PayoutOrder:
        fields: dict[str, Any] = {
            "out_ref": out_ref,
            "method": "BANK_TRANSFER",
            "amount_minor": AMOUNT,
            "currency": "CNY",
            "payee_account": "6222000000000000",
            "payee_name": "某某 & <公司>",
            "payee_bank_code": "102100099996",
            "description": "十一月货款",
            "notify_url": "",
            "sent_at": SENT_AT,
        }
        return PayoutOrder(**fields | changes)

    async def query(self, out_ref: str) -> Outcome:
        sent = SentOrder(
            out_ref=out_ref,
            method="BANK_TRANSFER",
            amount_minor=AMOUNT,
            currency="CNY",
            sent_at=SENT_AT,
        )
        return await self.connector.query_payout(sent)

    async def until(self, out_ref: str, *kinds: OutcomeKind) -> Outcome:
        """Asked until one of the kinds; on the way only what leaves everything open."""
        async with asyncio.timeout(PATIENCE_S):
            while (outcome := await self.query(out_ref)).kind not in kinds:
                assert outcome.kind in (OutcomeKind.PENDING, OutcomeKind.SUCCEEDED), outcome
                await asyncio.sleep(0.05)
            return outcome

    async def paid(self, out_ref: str, **changes: Any) -> Outcome:
        await self.connector.payout(self.order(out_ref, **changes))
        return await self.until(out_ref, OutcomeKind.SUCCEEDED)

    async def fault(self, fault: str, **changes: object) -> None:
        body = {"account_id": self.account_id, "fault": fault, "count": 1, **changes}
        (await self.control.post("/control/faults", json=body)).raise_for_status()

    async def set_clock(self, now: str) -> None:
        (await self.control.post("/control/clock", json={"now": now})).raise_for_status()

    async def send_back(self, out_ref: str) -> None:
        body = {"account_id": self.account_id, "out_ref": out_ref}
        (await self.control.post("/control/return", json=body)).raise_for_status()

    async def book(self) -> list[dict[str, Any]]:
        answer = await self.control.get("/control/book", params={"account_id": self.account_id})
        rows: list[dict[str, Any]] = answer.raise_for_status().json()
        return rows

    async def bill(self, day: str) -> tuple[BillFile, Bill]:
        """The day's bill once it is there, and what clearing reads in it."""
        asked = datetime.fromisoformat(day).date()
        async with asyncio.timeout(PATIENCE_S):
            while True:
                file = await self._fetched(asked)
                if file is not None:
                    break
                await asyncio.sleep(0.1)
        return file, Bill(()) if file.empty else bills.parse(self.provider, file.content)

    async def _fetched(self, day: date) -> BillFile | None:
        try:
            return await self.connector.fetch_bill(day)
        except BillNotReady:
            return None


def strange_key(kind: str) -> dict[str, str]:
    """A key that no bank knows."""
    _, theirs = _open_cmb(None) if kind == "cmb" else _open_iso(None)
    name = "private_key" if kind == "cmb" else "private_key_pem"
    return {name: theirs[name]}


async def open_account(
    kind: str,
    *,
    control: httpx.AsyncClient,
    sandbox_url: str,
    http: ChannelHttp,
    directory: Path,
    keys: dict[str, str] | None = None,
    profile: dict[str, object] | None = None,
    **credentials: str,
) -> BankAccount:
    """Register with the sandbox, and build a connector with the credentials it needs."""
    account_id = f"bank-{secrets.token_hex(6)}"
    provider = kind.removesuffix("_files")
    shown = {"opening_balance": OPENING, "payout_fee": FEE} | (profile or {})
    open_one = _open_cmb if provider == "cmb" else _open_iso
    told, ours = open_one(directory if kind.endswith("files") else None)
    body = {
        "provider": provider,
        "account_id": account_id,
        "profile": shown,
        **told,
        **(keys or {}),
    }
    answer = (await control.post("/control/accounts", json=body)).raise_for_status().json()

    known = {credential.name for credential in registry.get(provider).credentials}

    def make(**changes: str) -> Connector:
        values = {**ours, **answer, **credentials, **changes}
        path = answer["base_path"]
        wiring = Wiring(
            channel_id=account_id,
            base_url=directory.as_uri() if kind.endswith("_files") else f"{sandbox_url}{path}",
            credentials={name: value for name, value in values.items() if name in known},
            http=http,
            clock=SystemClock(),
            new_nonce=lambda: secrets.token_hex(16),
            timeout_s=CALL_TIMEOUT_S,
        )
        return registry.build(provider, wiring)

    return BankAccount(
        kind=kind,
        account_id=account_id,
        control=control,
        make=make,
        connector=make(),
        directory=directory,
    )


def _open_cmb(_: Path | None) -> tuple[dict[str, str], dict[str, str]]:
    scalar = secrets.randbits(255).to_bytes(32)
    point = sm2.PrivateKey.from_raw(scalar).public_key().point
    cipher_key, user_id = secrets.token_hex(8), f"N{secrets.randbelow(10**9):09d}"
    shared = {"user_id": user_id, "cipher_key": cipher_key, "account": ACCOUNT}
    told = shared | {"public_key": base64.b64encode(point).decode()}
    ours = shared | {
        "private_key": base64.b64encode(scalar).decode(),
        "branch": "75",
        "business_mode": "00001",
        "duplicate_codes": "CSAC054",
    }
    return told, ours


def _open_iso(directory: Path | None) -> tuple[dict[str, str], dict[str, str]]:
    key = Ed25519PrivateKey.generate()
    public = key.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    private = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    told = {"account": ACCOUNT, "public_key_pem": public.decode()}
    if directory is not None:
        for name in ("inbox", "outbox"):
            (directory / name).mkdir(parents=True, exist_ok=True)
        told["directory"] = str(directory)
    ours = {
        "private_key_pem": private.decode(),
        "initiating_party": "Fisc",
        "debtor_name": "Fisc",
        "debtor_account": ACCOUNT,
        "debtor_agent_bic": "ICBKCNBJ",
        "currency": "CNY",
        "zone": "Asia/Shanghai",
    }
    return told, ours
