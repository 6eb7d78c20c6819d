"""An independent SDK (wechatpayv3) as the merchant: it signs, verifies, decrypts and downloads."""

import asyncio
import gzip
import hashlib
import json
import secrets
from collections.abc import Callable
from typing import Any

import pytest
from wechatpayv3 import WeChatPay
from wechatpayv3.type import WeChatPayType

from tests.integration.sandbox.support import DAY, Merchant, Receiver, Sandbox, eventually


class Sdk:
    """The SDK with its gateway pointed at the sandbox; it is synchronous, so it runs in threads."""

    def __init__(self, client: Any, url: str) -> None:
        self.client = client
        client._core._gate_way = f"{url}/wechat"

    async def __call__(self, operation: str, **arguments: Any) -> tuple[int, Any]:
        call: Callable[..., tuple[int, Any]] = getattr(self.client, operation)
        status, body = await asyncio.to_thread(call, **arguments)
        if isinstance(body, str) and body:
            return status, json.loads(body)
        return status, body

    async def order(self, out_trade_no: str, total: int = 100, **more: Any) -> tuple[int, Any]:
        return await self(
            "pay",
            description="午餐, 两份",
            out_trade_no=out_trade_no,
            amount={"total": total},
            **more,
        )


@pytest.fixture
async def sdk(sandbox: Sandbox, receiver: Receiver, merchant: Merchant) -> Sdk:
    answer = await sandbox.control(
        "POST",
        "accounts",
        provider="wechat",
        account_id=merchant.mchid,
        appid=merchant.appid,
        apiv3_key=merchant.apiv3_key,
        merchant_serial=merchant.serial,
        merchant_public_key_pem=merchant.public_key_pem,
        profile={"auto_pay_after_ms": None, "callback_after_ms": [0, 0], "fee_bps": 60},
    )
    assert answer["public_key_id"].startswith("PUB_KEY_ID_")
    untyped: Any = WeChatPay
    client = untyped(
        wechatpay_type=WeChatPayType.NATIVE,
        mchid=merchant.mchid,
        private_key=merchant.private_key_pem,
        cert_serial_no=merchant.serial,
        appid=merchant.appid,
        apiv3_key=merchant.apiv3_key,
        notify_url=receiver.url,
        public_key=answer["platform_public_key_pem"],
        public_key_id=answer["public_key_id"],
        timeout=(5, 5),
    )
    return Sdk(client, sandbox.url)


async def pay(sandbox: Sandbox, merchant: Merchant, out_ref: str) -> None:
    await sandbox.control("POST", "pay", account_id=merchant.mchid, out_ref=out_ref)


async def test_the_sdk_creates_queries_and_closes_an_order(sdk: Sdk) -> None:
    status, created = await sdk.order("order_001")
    assert status == 200
    assert created["code_url"].startswith("weixin://wxpay/bizpayurl?pr=")
    status, found = await sdk("query", out_trade_no="order_001")
    assert (status, found["trade_state"], found["amount"]["total"]) == (200, "NOTPAY", 100)
    assert (await sdk("close", out_trade_no="order_001"))[0] == 204
    assert (await sdk("query", out_trade_no="order_001"))[1]["trade_state"] == "CLOSED"
    status, refused = await sdk("close", out_trade_no="order_001")
    assert (status, refused["code"]) == (400, "ORDER_CLOSED")
    status, refused = await sdk.order("order_001")
    assert (status, refused["code"]) == (400, "ORDER_CLOSED")


async def test_the_sdk_decrypts_the_payment_callback_and_the_order_is_found_by_both_numbers(
    sdk: Sdk, sandbox: Sandbox, receiver: Receiver, merchant: Merchant
) -> None:
    await sdk.order("order_001", 1234, attach="table 7")
    await pay(sandbox, merchant, "order_001")
    [told] = await eventually(lambda: receiver.received)
    notice = sdk.client.callback(told.headers, told.body)
    assert notice["event_type"] == "TRANSACTION.SUCCESS"
    resource = notice["resource"]
    assert (resource["out_trade_no"], resource["trade_state"]) == ("order_001", "SUCCESS")
    assert (resource["amount"]["total"], resource["attach"]) == (1234, "table 7")
    _, by_number = await sdk("query", out_trade_no="order_001")
    _, by_transaction = await sdk("query", transaction_id=resource["transaction_id"])
    assert by_number == by_transaction
    status, refused = await sdk.order("order_001", 1234)
    assert (status, refused["code"]) == (400, "ORDERPAID")
    status, refused = await sdk("close", out_trade_no="order_001")
    assert (status, refused["code"]) == (400, "ORDERPAID")


async def test_a_changed_callback_is_refused_by_the_sdk(
    sdk: Sdk, sandbox: Sandbox, receiver: Receiver, merchant: Merchant
) -> None:
    await sdk.order("order_001")
    await pay(sandbox, merchant, "order_001")
    [told] = await eventually(lambda: receiver.received)
    assert sdk.client.callback(told.headers, told.body.replace(b"SUCCESS", b"SUCCEEDED")) is None


async def test_refunds_are_processed_then_told_and_shown_in_the_order(
    sdk: Sdk, sandbox: Sandbox, receiver: Receiver, merchant: Merchant
) -> None:
    await sdk.order("order_001", 1000)
    amount = {"refund": 300, "total": 1000, "currency": "CNY"}

    async def refund(number: str, **change: Any) -> tuple[int, Any]:
        arguments = {"out_trade_no": "order_001", "amount": amount} | change
        return await sdk(
            "refund", out_refund_no=number, notify_url=receiver.url, reason="cold", **arguments
        )

    status, early = await refund("refund_1")
    assert (status, early["code"]) == (400, "PARAM_ERROR")
    await pay(sandbox, merchant, "order_001")
    status, accepted = await refund("refund_1")
    assert (status, accepted["status"], accepted["amount"]["refund"]) == (200, "PROCESSING", 300)
    assert (await sdk("query", out_trade_no="order_001"))[1]["trade_state"] == "REFUND"
    await eventually(lambda: len(receiver.received) == 2)
    notice = sdk.client.callback(receiver.received[1].headers, receiver.received[1].body)
    assert notice["event_type"] == "REFUND.SUCCESS"
    assert notice["resource"]["refund_status"] == "SUCCESS"
    status, found = await sdk("query_refund", out_refund_no="refund_1")
    assert (status, found["status"]) == (200, "SUCCESS")
    assert found["refund_id"] == notice["resource"]["refund_id"] == accepted["refund_id"]
    again = await refund("refund_1")
    assert (again[0], again[1]["status"]) == (200, "SUCCESS")
    too_much = await refund("refund_2", amount=amount | {"refund": 701})
    assert (too_much[0], too_much[1]["detail"]["field"]) == (400, "/amount/refund")
    unknown = await refund("refund_3", out_trade_no="order_999")
    assert (unknown[0], unknown[1]["code"]) == (404, "RESOURCE_NOT_EXISTS")
    missing = await sdk("query_refund", out_refund_no="refund_9")
    assert (missing[0], missing[1]["code"]) == (404, "RESOURCE_NOT_EXISTS")


async def test_the_sdk_downloads_the_trade_bill_plain_and_compressed(
    sdk: Sdk, sandbox: Sandbox, merchant: Merchant
) -> None:
    await sandbox.control("POST", "clock", now=f"{DAY}T12:00:00+08:00")
    await sdk.order("order_001", 100_00)
    await pay(sandbox, merchant, "order_001")
    status, today = await sdk("trade_bill", bill_date=DAY)
    assert (status, today["code"]) == (400, "STATEMENT_CREATING")
    await sandbox.control("POST", "clock", now="2026-11-12T10:00:00+08:00")
    status, offer = await sdk("trade_bill", bill_date=DAY)
    assert (status, offer["hash_type"]) == (200, "SHA1")
    status, packed = await sdk("download_bill", url=offer["download_url"])
    content = gzip.decompress(packed)
    assert status == 200
    assert hashlib.sha1(content).hexdigest() == offer["hash_value"]
    lines = content.decode("utf-8-sig").split("\r\n")
    assert lines[0].startswith("交易时间,公众账号ID,商户号,")
    assert lines[1].startswith(f"`{DAY} 12:00:0")
    assert "`order_001," in lines[1]
    assert "`午餐\\  两份," in lines[1]
    assert "`0.60000,`0.60%,`100.00," in lines[1]
    assert len(lines[1].split(",")) == 27
    status, empty = await sdk("trade_bill", bill_date="2026-11-10")
    assert (status, empty["code"]) == (400, "NO_STATEMENT_EXIST")
    status, bad = await sdk("trade_bill", bill_date="20261111")
    assert (status, bad["code"]) == (400, "PARAM_ERROR")


async def test_a_bill_address_is_for_its_merchant_and_must_be_signed(
    sdk: Sdk, sandbox: Sandbox, merchant: Merchant
) -> None:
    unknown = f"{sandbox.url}/wechat/v3/billdownload/file?token={secrets.token_hex(8)}"
    response = await sandbox.http.get(unknown)
    assert (response.status_code, response.json()["code"]) == (401, "SIGN_ERROR")
    status, refused = await sdk("download_bill", url=unknown)
    assert (status, refused["code"]) == (403, "NO_AUTH")


async def test_a_request_signed_with_another_key_is_refused(
    sdk: Sdk, sandbox: Sandbox, merchant: Merchant
) -> None:
    genuine = sdk.client._core._cert_serial_no
    sdk.client._core._cert_serial_no = "00FF"
    status, refused = await sdk.order("order_001")
    assert (status, refused["code"], refused["detail"]["field"]) == (
        401,
        "SIGN_ERROR",
        "serial_no",
    )
    sdk.client._core._cert_serial_no = genuine
    path = "/v3/pay/transactions/native"
    authorization = (
        f'WECHATPAY2-SHA256-RSA2048 mchid="{merchant.mchid}",nonce_str="n",signature="AAAA",'
        f'timestamp="1",serial_no="{merchant.serial}"'
    )
    response = await sandbox.http.post(
        f"{sandbox.url}/wechat{path}", headers={"Authorization": authorization}, content=b"{}"
    )
    assert (response.status_code, response.json()["detail"]["field"]) == (401, "timestamp")
    assert await sandbox.book() == []


@pytest.mark.parametrize(
    ("change", "code", "field"),
    [
        ({"amount": {"total": 0}}, "PARAM_ERROR", "/amount/total"),
        ({"amount": {"total": "100"}}, "PARAM_ERROR", "/amount/total"),
        ({"amount": {"total": 100, "currency": "USD"}}, "PARAM_ERROR", "/amount/currency"),
        ({"out_trade_no": "short"}, "PARAM_ERROR", "/out_trade_no"),
        ({"notify_url": "https://shop.example/notify?x=1"}, "PARAM_ERROR", "/notify_url"),
        ({"time_expire": "2018-06-08T10:34:56+08:00"}, "PARAM_ERROR", "/time_expire"),
        ({"mchid": "1900000110"}, "PARAM_ERROR", "mchid"),
        ({"appid": "wx0000000000000000"}, "APPID_MCHID_NOT_MATCH", None),
    ],
)
async def test_a_wrong_field_is_named(
    sdk: Sdk, sandbox: Sandbox, change: dict[str, Any], code: str, field: str | None
) -> None:
    arguments = {"description": "lunch", "out_trade_no": "order_001", "amount": {"total": 100}}
    status, refused = await sdk("pay", **(arguments | change))
    assert (status, refused["code"]) == (400, code)
    assert refused.get("detail", {}).get("field") == field
    assert await sandbox.book() == []


async def test_a_number_in_use_cannot_take_another_amount(sdk: Sdk) -> None:
    _, first = await sdk.order("order_001", 100)
    assert (await sdk.order("order_001", 100))[1] == first
    status, refused = await sdk.order("order_001", 200)
    assert (status, refused["code"]) == (403, "OUT_TRADE_NO_USED")


async def test_the_signature_probe_passes_only_if_it_is_refused(
    sdk: Sdk, sandbox: Sandbox, receiver: Receiver, merchant: Merchant
) -> None:
    probe = await sandbox.control(
        "POST", "signtest", account_id=merchant.mchid, notify_url=receiver.url
    )
    assert probe["passed"] is True
    [told] = receiver.received
    assert told.headers["wechatpay-signature"].startswith("WECHATPAY/SIGNTEST/")
    receiver.trusting = True
    await sdk.order("order_001")
    probe = await sandbox.control("POST", "signtest", account_id=merchant.mchid)
    assert probe["passed"] is False
