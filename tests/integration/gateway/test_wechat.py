"""WeChat Pay v3 through the whole gateway: signed request, QR code, encrypted callback, refund, bill."""

import secrets

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from fisc.common.v1 import method_pb2
from fisc.gateway.v1 import operations_pb2, payment_pb2
from fisc.router.v1 import router_pb2
from libs.testing import eventually
from tests.integration.gateway.house import TIMEOUT_S, House
from tests.integration.gateway.test_refunds import refund

QR = method_pb2.PAYMENT_METHOD_WECHAT_QR


@pytest.fixture
async def wechat(house: House) -> tuple[str, str]:
    """(channel_id, mchid) of a WeChat merchant of its own, whose payers wait to be told."""
    channel_id, mchid = f"w{secrets.token_hex(6)}", str(secrets.randbelow(10**9) + 10**9)
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    public_pem = key.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    private_pem = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    terms = {"appid": "wx0000000000000001", "apiv3_key": secrets.token_hex(16)}
    answer = await house.sandbox.post(
        "/control/accounts",
        json={
            "provider": "wechat",
            "account_id": mchid,
            **terms,
            "merchant_serial": "TEST01",
            "merchant_public_key_pem": public_pem.decode(),
            "profile": {"auto_pay_after_ms": None, "latency_ms": [0, 0]},
        },
    )
    answer.raise_for_status()
    platform = answer.json()
    await house.router.UpsertChannel(
        router_pb2.UpsertChannelRequest(
            request_id=channel_id,
            channel=router_pb2.Channel(
                channel_id=channel_id,
                provider="wechat",
                display_name=channel_id,
                status=router_pb2.CHANNEL_STATUS_ENABLED,
                methods=[QR],
                operations=[method_pb2.OPERATION_PAYMENT, method_pb2.OPERATION_REFUND],
                currencies=["CNY"],
                fee=router_pb2.FeeSchedule(rate_ppm=6000),
                zone="Asia/Shanghai",
                cut_off="00:00",
            ),
        ),
        timeout=TIMEOUT_S,
    )
    await house.operations.UpsertChannelAccount(
        operations_pb2.UpsertChannelAccountRequest(
            request_id=channel_id,
            channel_account=operations_pb2.ChannelAccount(
                channel_id=channel_id,
                provider="wechat",
                base_url=f"{str(house.sandbox.base_url).rstrip('/')}/wechat",
                currencies=["CNY"],
                zone="Asia/Shanghai",
            ),
            credentials={
                "mchid": mchid,
                **terms,
                "merchant_serial": "TEST01",
                "merchant_private_key_pem": private_pem.decode(),
                "platform_public_key_pem": platform["platform_public_key_pem"],
                "platform_public_key_id": platform["public_key_id"],
            },
        ),
        timeout=TIMEOUT_S,
        metadata=house.operator,
    )
    return channel_id, mchid


async def test_a_wechat_payment_is_paid_by_callback_refunded_and_on_the_bill(
    house: House, wechat: tuple[str, str]
) -> None:
    channel, mchid = wechat
    await house.sandbox.post("/control/clock", json={"now": "2026-11-11T12:00:00+08:00"})

    payment = await house.pay(channel, method=QR, amount_minor=8_800)
    assert payment.state == payment_pb2.Payment.STATE_PENDING
    assert payment.next_action.qr_content.startswith("weixin://")
    [row] = await house.book(mchid)
    await house.sandbox.post("/control/pay", json={"account_id": mchid, "out_ref": row["out_ref"]})
    paid = await house.ended(payment.payment_id, timeout_s=3)
    assert paid.state == payment_pb2.Payment.STATE_SUCCEEDED
    # The business time is the channel's: 12:00 in Shanghai on that day.
    assert paid.succeeded_at.ToJsonString().startswith("2026-11-11T04:00")

    back = await refund(house, payment.payment_id, 800)

    async def is_given_back() -> bool:
        found = await house.payments.GetRefund(
            payment_pb2.GetRefundRequest(refund_id=back.refund_id),
            timeout=TIMEOUT_S,
            metadata=house.key,
        )
        return found.refund.state == payment_pb2.Refund.STATE_SUCCEEDED

    await eventually(is_given_back, 10)

    await house.sandbox.post("/control/clock", json={"now": "2026-11-12T10:00:00+08:00"})
    pieces = house.operations.FetchBill(
        operations_pb2.FetchBillRequest(channel_id=channel, business_date="2026-11-11"),
        timeout=TIMEOUT_S,
        metadata=house.operator,
    )
    first, *rest = [piece async for piece in pieces]
    bill = b"".join(piece.chunk for piece in rest).decode("utf-8-sig")
    assert (first.provider, first.empty) == ("wechat", False)
    assert first.checked_hash.startswith("SHA1:")
    assert row["out_ref"] in bill
    assert "`88.00" in bill
    await house.sandbox.post("/control/clock", json={"now": None})


async def test_a_probe_with_a_bad_signature_is_refused_as_wechat_wants(
    house: House, wechat: tuple[str, str]
) -> None:
    channel, mchid = wechat
    url = f"http://127.0.0.1:{house.settings.callback_port}/callbacks/{channel}"
    answer = await house.sandbox.post(
        "/control/signtest", json={"account_id": mchid, "notify_url": url}
    )
    assert answer.json()["passed"] is True, answer.text
