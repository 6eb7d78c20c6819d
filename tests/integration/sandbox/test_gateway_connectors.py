"""The gateway's connectors against the sandbox: two sides written apart must understand each other."""

import secrets
from collections.abc import AsyncIterator, Mapping
from datetime import date, timedelta
from typing import Any

import pytest

from libs.clock import SystemClock
from services.gateway.channels import registry
from services.gateway.channels.http import ChannelHttp
from services.gateway.channels.provider import Wiring
from services.gateway.domain.channel import (
    BillNotReady,
    ChargeOrder,
    Outcome,
    OutcomeKind,
    PayoutOrder,
    RefundOrder,
)
from tests.contract.conformance.orders import qr_of, sent
from tests.integration.sandbox.support import DAY, Merchant, Receiver, Sandbox, eventually

NEXT_MORNING = "2026-11-12T10:00:00+08:00"


@pytest.fixture
async def http() -> AsyncIterator[ChannelHttp]:
    async with ChannelHttp() as client:
        yield client


def connector(
    provider: str, sandbox: Sandbox, http: ChannelHttp, path: str, credentials: Mapping[str, str]
) -> Any:
    return registry.build(
        provider,
        Wiring(
            channel_id="channel",
            base_url=f"{sandbox.url}{path}",
            credentials=credentials,
            http=http,
            clock=SystemClock(),
            new_nonce=lambda: secrets.token_hex(16),
            timeout_s=2.0,
        ),
    )


@pytest.fixture
async def simpay(sandbox: Sandbox, http: ChannelHttp) -> Any:
    await sandbox.simpay_account()
    await sandbox.control("POST", "clock", now=f"{DAY}T10:00:00+08:00")
    return connector("simpay", sandbox, http, "/simpay/sim_a", {"secret": sandbox.secret})


@pytest.fixture
async def wechat(sandbox: Sandbox, http: ChannelHttp, merchant: Merchant) -> Any:
    keys = await sandbox.control(
        "POST",
        "accounts",
        provider="wechat",
        account_id=merchant.mchid,
        appid=merchant.appid,
        apiv3_key=merchant.apiv3_key,
        merchant_serial=merchant.serial,
        merchant_public_key_pem=merchant.public_key_pem,
        profile={"auto_pay_after_ms": None, "callback_after_ms": [0, 0]},
    )
    await sandbox.control("POST", "clock", now=f"{DAY}T10:00:00+08:00")
    credentials = {
        "mchid": merchant.mchid,
        "appid": merchant.appid,
        "apiv3_key": merchant.apiv3_key,
        "merchant_serial": merchant.serial,
        "merchant_private_key_pem": merchant.private_key_pem,
        "platform_public_key_pem": keys["platform_public_key_pem"],
        "platform_public_key_id": keys["public_key_id"],
    }
    return connector("wechat", sandbox, http, "/wechat", credentials)


def order(out_ref: str, notify_url: str, method: str = "CARD") -> ChargeOrder:
    return ChargeOrder(
        out_ref=out_ref,
        amount_minor=5000,
        currency="CNY",
        method=method,
        description="tea",
        notify_url=notify_url,
        expires_at=SystemClock().now() + timedelta(minutes=15),
        sent_at=SystemClock().now(),
    )


def refund_order(notify_url: str) -> RefundOrder:
    return RefundOrder(
        out_ref="refund_1",
        payment=sent("order_1", amount_minor=5000),
        amount_minor=2000,
        sent_at=SystemClock().now(),
        currency="CNY",
        reason="cold",
        notify_url=notify_url,
    )


def kinds(*outcomes: Outcome) -> list[str]:
    return [outcome.kind.value for outcome in outcomes]


async def test_simpay_from_charge_to_bill(
    simpay: Any, sandbox: Sandbox, receiver: Receiver
) -> None:
    paid = await simpay.charge(order("order_1", receiver.url))
    assert (paid.kind, paid.amount_minor, paid.fee_minor) == (OutcomeKind.SUCCEEDED, 5000, 30)
    refunded = await simpay.refund(refund_order(receiver.url))
    payout = await simpay.payout(
        PayoutOrder(
            out_ref="payout_1",
            amount_minor=70,
            currency="CNY",
            payee_account="6222000000000000",
            payee_name="A",
            payee_bank_code="",
            method="BANK_TRANSFER",
            sent_at=SystemClock().now(),
            description="",
            notify_url=receiver.url,
        )
    )
    queries = [
        await simpay.query(sent("order_1")),
        await simpay.query_refund(sent("refund_1")),
        await simpay.query_payout(sent("payout_1")),
        await simpay.query(sent("order_9")),
        await simpay.close(sent("order_9")),
        await simpay.charge(order("order_9", receiver.url)),
    ]
    assert kinds(refunded, payout) == ["SUCCEEDED", "SUCCEEDED"]
    assert kinds(*queries) == ["SUCCEEDED"] * 3 + ["NOT_FOUND", "CLOSED", "CLOSED"]
    await eventually(lambda: len(receiver.received) == 3)
    told = [
        simpay.parse_callback(item.headers, item.body, SystemClock().now())
        for item in receiver.received
    ]
    assert {(callback.kind, callback.out_ref) for callback in told} == {
        ("payment", "order_1"),
        ("refund", "refund_1"),
        ("payout", "payout_1"),
    }
    bill = await simpay.fetch_bill(date.fromisoformat(DAY))
    assert bill.content.splitlines()[-1] == b"#total,3,7070"
    assert (await simpay.balance()).available_minor > 0
    with pytest.raises(BillNotReady):
        await simpay.fetch_bill(date(2999, 1, 1))


async def test_simpay_faults_are_unknown_and_a_query_finds_the_truth(
    simpay: Any, sandbox: Sandbox, receiver: Receiver
) -> None:
    found = {}
    for fault in ("timeout_after_charge", "commit_then_error", "bad_signature", "down"):
        await sandbox.control("POST", "faults", account_id="sim_a", fault=fault, count=1)
        outcome = await simpay.charge(order(f"order_{fault}", receiver.url))
        query = await simpay.query(sent(f"order_{fault}"))
        found[fault] = kinds(outcome, query)
    assert found == {
        "timeout_after_charge": ["UNKNOWN", "SUCCEEDED"],
        "commit_then_error": ["UNKNOWN", "SUCCEEDED"],
        "bad_signature": ["UNKNOWN", "SUCCEEDED"],
        "down": ["UNKNOWN", "NOT_FOUND"],
    }


async def test_wechat_from_order_to_bill(
    wechat: Any, sandbox: Sandbox, receiver: Receiver, merchant: Merchant
) -> None:
    created = await wechat.charge(order("order_1", receiver.url, "WECHAT_QR"))
    assert created.kind is OutcomeKind.PENDING
    assert qr_of(created).startswith("weixin://")
    await sandbox.control("POST", "pay", account_id=merchant.mchid, out_ref="order_1")
    paid = await wechat.query(sent("order_1"))
    assert (paid.kind, paid.amount_minor) == (OutcomeKind.SUCCEEDED, 5000)
    refunded = await wechat.refund(refund_order(receiver.url))
    await wechat.charge(order("order_2", receiver.url, "WECHAT_QR"))
    closed = [await wechat.close(sent(out_ref)) for out_ref in ("order_2", "order_2", "order_3")]
    assert kinds(refunded, *closed) == ["PENDING", "CLOSED", "CLOSED", "CLOSED"]
    await eventually(lambda: len(receiver.received) == 2)
    told = [
        wechat.parse_callback(item.headers, item.body, SystemClock().now())
        for item in receiver.received
    ]
    assert [(callback.kind, callback.outcome.kind) for callback in told] == [
        ("payment", OutcomeKind.SUCCEEDED),
        ("refund", OutcomeKind.SUCCEEDED),
    ]
    assert kinds(await wechat.query_refund(sent("refund_1"))) == ["SUCCEEDED"]
    with pytest.raises(BillNotReady):
        await wechat.fetch_bill(date.fromisoformat(DAY))
    await sandbox.control("POST", "clock", now=NEXT_MORNING)
    bill = await wechat.fetch_bill(date.fromisoformat(DAY))
    assert len(bill.content.splitlines()) == 5
    assert (await wechat.fetch_bill(date(2026, 11, 10))).empty
