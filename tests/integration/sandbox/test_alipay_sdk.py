"""An independent SDK (python-alipay-sdk) as the merchant: it signs, verifies, and drives the sandbox."""

import asyncio
import io
import zipfile
from datetime import datetime
from typing import Any
from urllib.parse import parse_qsl

import pytest
from alipay.exceptions import AliPayException, AliPayValidationError
from Cryptodome.PublicKey import RSA

from services.sandbox.clock import SHANGHAI
from tests.integration.sandbox import alipay_support
from tests.integration.sandbox.alipay_support import Merchant, Sdk
from tests.integration.sandbox.support import DAY

# The SDK reads certificates through an interface that its library has since given up.
pytestmark = pytest.mark.filterwarnings(
    "ignore:X509:DeprecationWarning",
    "ignore:load_certificate:DeprecationWarning",
    "ignore:dump_publickey:DeprecationWarning",
)


@pytest.fixture
def merchant(alipay: Merchant) -> Merchant:
    return alipay


@pytest.fixture
def sdk(merchant: Merchant) -> Sdk:
    return Sdk(merchant)


async def order(sdk: Sdk, method: str = "alipay.trade.create", **more: Any) -> dict[str, Any]:
    content = {"out_trade_no": "order_1", "total_amount": "12.30", "subject": "午餐"}
    return await sdk(method, **{**content, "buyer_id": alipay_support.PAYER, **more})


async def test_the_sdk_creates_queries_and_closes_a_trade(sdk: Sdk) -> None:
    created = await order(sdk)
    assert (created["code"], created["out_trade_no"]) == ("10000", "order_1")
    found = await sdk("alipay.trade.query", out_trade_no="order_1")
    assert (found["trade_status"], found["total_amount"]) == ("WAIT_BUYER_PAY", "12.30")
    by_number = await sdk("alipay.trade.query", trade_no=created["trade_no"])
    assert by_number == found
    assert (await sdk("alipay.trade.close", out_trade_no="order_1"))["code"] == "10000"
    found = await sdk("alipay.trade.query", out_trade_no="order_1")
    assert found["trade_status"] == "TRADE_CLOSED"
    refused = await order(sdk)
    assert (refused["code"], refused["sub_code"]) == ("40004", "ACQ.TRADE_HAS_CLOSE")


async def test_a_code_is_unknown_to_queries_until_somebody_scans_it(
    sdk: Sdk, merchant: Merchant
) -> None:
    shown = await order(sdk, "alipay.trade.precreate")
    assert shown["qr_code"].startswith("https://qr.alipay.com/")
    unknown = await sdk("alipay.trade.query", out_trade_no="order_1")
    assert (unknown["code"], unknown["sub_code"]) == ("40004", "ACQ.TRADE_NOT_EXIST")
    await merchant.pay("order_1")
    found = await sdk("alipay.trade.query", out_trade_no="order_1")
    assert (found["trade_status"], found["send_pay_date"][:10]) == ("TRADE_SUCCESS", DAY)


async def test_answers_escape_their_slashes_so_that_only_the_very_characters_verify(
    sdk: Sdk, merchant: Merchant
) -> None:
    content = {"out_trade_no": "order_1", "total_amount": "12.30", "subject": "午餐"}
    now = datetime.now(SHANGHAI).strftime("%Y-%m-%d %H:%M:%S")
    asked = sdk.client.client_api("alipay.trade.precreate", content, timestamp=now)
    answer = await merchant.sandbox.http.get(f"{merchant.gateway_url}?{asked}")
    assert r'"qr_code":"https:\/\/qr.alipay.com\/' in answer.text


async def test_the_sdk_verifies_the_notice_and_sees_a_changed_one(
    sdk: Sdk, merchant: Merchant
) -> None:
    await order(sdk)
    await merchant.pay("order_1")
    told = await merchant.told()
    form = dict(parse_qsl(told.body.decode()))
    signature = form.pop("sign")
    assert sdk.client.verify(dict(form), signature)
    assert (form["out_trade_no"], form["trade_status"]) == ("order_1", "TRADE_SUCCESS")
    assert (form["app_id"], form["seller_id"]) == (merchant.app_id, alipay_support.SELLER)
    assert not sdk.client.verify({**form, "total_amount": "0.01"}, signature)


async def test_what_our_connector_signs_the_sdk_verifies(sdk: Sdk, merchant: Merchant) -> None:
    handed = await merchant.connector.charge(merchant.order("order_1", "ALIPAY_APP"))
    action: Any = handed.next_action
    signed = dict(parse_qsl(action.parameters["orderStr"]))
    signature = signed.pop("sign")
    covered = "&".join(f"{name}={signed[name]}" for name in sorted(signed))
    ours = sdk.client._app_private_key.public_key()
    sdk.client._alipay_public_key = ours
    assert sdk.client._verify(covered, signature)
    assert not sdk.client._verify(covered.replace("12.30", "0.01"), signature)


async def test_what_the_sdk_hands_to_a_browser_and_a_phone_is_taken(
    sdk: Sdk, merchant: Merchant
) -> None:
    page = sdk.client.api_alipay_trade_page_pay("午餐", "order_1", "12.30")
    shown = await merchant.sandbox.http.get(f"{merchant.gateway_url}?{page}")
    assert (shown.status_code, "¥ 12.30" in shown.text) == (200, True)
    string = sdk.client.api_alipay_trade_app_pay("午餐", "order_2", "12.30")
    phone = f"{merchant.sandbox.url}/alipay/phone"
    result = (await merchant.sandbox.http.post(phone, content=string)).json()
    assert (result["resultStatus"], result["out_trade_no"]) == ("8000", "order_2")


async def test_the_sdk_takes_a_payers_code_and_cancels(sdk: Sdk) -> None:
    code = {"scene": "bar_code", "auth_code": "281234567890120001"}
    paid = await order(sdk, "alipay.trade.pay", **code)
    assert (paid["code"], paid["total_amount"]) == ("10000", "12.30")
    cancelled = await sdk("alipay.trade.cancel", out_trade_no="order_1")
    assert (cancelled["action"], cancelled["retry_flag"]) == ("refund", "N")
    code = {"scene": "bar_code", "auth_code": "281234567890129999"}
    waiting = await order(sdk, "alipay.trade.pay", out_trade_no="order_2", **code)
    assert waiting["code"] == "10003"
    cancelled = await sdk("alipay.trade.cancel", out_trade_no="order_2")
    assert (cancelled["action"], cancelled["retry_flag"]) == ("close", "N")
    nothing = await sdk("alipay.trade.cancel", out_trade_no="order_9")
    assert (nothing["code"], "action" in nothing) == ("10000", False)


async def test_refunds_are_cumulative_in_their_answer_and_single_in_their_query(
    sdk: Sdk, merchant: Merchant
) -> None:
    await order(sdk)
    await merchant.pay("order_1")
    refund = {"out_trade_no": "order_1", "refund_amount": "1.00"}
    first = await sdk("alipay.trade.refund", out_request_no="r1", **refund)
    second = await sdk("alipay.trade.refund", out_request_no="r2", **refund)
    again = await sdk("alipay.trade.refund", out_request_no="r2", **refund)
    assert [(answer["fund_change"], answer["refund_fee"]) for answer in (first, second, again)] == [
        ("Y", "1.00"),
        ("Y", "2.00"),
        ("N", "2.00"),
    ]
    key = {"out_trade_no": "order_1", "out_request_no": "r2"}
    found = await sdk("alipay.trade.fastpay.refund.query", **key)
    assert (found["refund_amount"], found["refund_status"]) == ("1.00", "REFUND_SUCCESS")
    missing = await sdk("alipay.trade.fastpay.refund.query", **{**key, "out_request_no": "r9"})
    assert set(missing) == {"code", "msg"}


async def test_transfers_want_certificates(sdk: Sdk, merchant: Merchant) -> None:
    content = {
        "out_biz_no": "out_1",
        "trans_amount": "50.00",
        "product_code": "TRANS_ACCOUNT_NO_PWD",
        "biz_scene": "DIRECT_TRANSFER",
        "order_title": "settlement",
        "payee_info": {"identity": alipay_support.PAYER, "identity_type": "ALIPAY_USER_ID"},
    }
    answer = await sdk("alipay.fund.trans.uni.transfer", **content)
    if not merchant.certified:
        assert (answer["code"], answer["sub_code"]) == (
            "40006",
            "isv.insufficient-isv-permissions",
        )
        return
    assert (answer["status"], answer["out_biz_no"]) == ("SUCCESS", "out_1")


async def test_the_bill_is_a_zip_of_gbk_files_with_gbk_names_for_half_a_minute(
    sdk: Sdk, merchant: Merchant
) -> None:
    await order(sdk)
    await merchant.pay("order_1")
    ask = {"bill_type": "trade", "bill_date": DAY}
    method = "alipay.data.dataservice.bill.downloadurl.query"
    assert (await sdk(method, **ask))["sub_code"] == "INVAILID_ARGUMENTS"
    nothing = await sdk(method, **{**ask, "bill_date": "2026-11-10"})
    assert nothing["sub_code"] == "BILL_NOT_EXIST"
    await merchant.set_clock("2026-11-12T10:00:00+08:00")
    url = (await sdk(method, **ask))["bill_download_url"]
    raw = (await merchant.sandbox.http.get(url)).content
    with zipfile.ZipFile(io.BytesIO(raw)) as archive:
        members = archive.infolist()
        assert not any(member.flag_bits & 0x800 for member in members)
        names = [member.filename.encode("cp437").decode("gbk") for member in members]
        texts = [archive.read(member).decode("gbk") for member in members]
    assert any(name.endswith("业务明细.csv") for name in names)
    assert any(name.endswith("业务明细(汇总).csv") for name in names)
    [detail] = [text for text in texts if text.startswith("#支付宝业务明细查询")]
    [row] = [line for line in detail.splitlines() if "order_1" in line]
    assert row.split(",")[1] == "order_1\t"
    assert len(row.split(",")) == 25
    missing = await merchant.sandbox.http.get(f"{url}x")
    assert missing.status_code == 403


async def test_a_bad_signature_and_an_unknown_application_are_refused(
    sdk: Sdk, merchant: Merchant
) -> None:
    sdk.client._app_private_key = _another_key()
    with pytest.raises(AliPayException, match=r"isv\.invalid-signature"):
        await order(sdk)
    sdk.client._appid = "2021999999999999"
    with pytest.raises(AliPayException, match=r"isv\.invalid-app-id"):
        await order(sdk)
    assert await merchant.sandbox.book() == []


async def test_the_sdk_sees_a_spoilt_answer(sdk: Sdk, merchant: Merchant) -> None:
    await merchant.fault("bad_signature", operation="answer")
    with pytest.raises(AliPayValidationError):
        await sdk("alipay.trade.query", out_trade_no="order_1")


async def test_certificate_serials_must_fit(sdk: Sdk, merchant: Merchant) -> None:
    if not merchant.certified:
        assert not hasattr(sdk.client, "app_cert_sn")
        return
    assert sdk.client.app_cert_sn == merchant.keys["app_cert_sn"]
    await order(sdk)
    sdk.client._app_cert_sn = "0" * 32
    with pytest.raises(AliPayException, match=r"isv\.app-cert-sn-not-match"):
        await order(sdk, out_trade_no="order_2")


async def test_an_old_timestamp_is_refused(sdk: Sdk, merchant: Merchant) -> None:
    stale = await asyncio.to_thread(
        sdk.client.client_api,
        "alipay.trade.query",
        {"out_trade_no": "order_1"},
        timestamp="2026-11-11 12:00:00",
    )
    answer = await merchant.sandbox.http.get(f"{merchant.gateway_url}?{stale}")
    assert "isv.invalid-timestamp" in answer.text


def _another_key() -> Any:
    return RSA.import_key(alipay_support.private_pem(alipay_support.new_key()))
