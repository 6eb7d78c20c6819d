"""Everything wrong gets a precise code, reason and field, and leaves nothing behind."""

from typing import Any

import grpc
import httpx
import pytest

from fisc.common.v1 import method_pb2, money_pb2
from fisc.gateway.v1 import operations_pb2, payment_pb2
from tests.integration.gateway.house import TIMEOUT_S, House, error_info, reason_of

CARD = method_pb2.PAYMENT_METHOD_CARD
INVALID = grpc.StatusCode.INVALID_ARGUMENT


def cny(amount_minor: int) -> money_pb2.Money:
    return money_pb2.Money(currency="CNY", amount_minor=amount_minor)


@pytest.mark.parametrize(
    ("fields", "code", "reason", "field"),
    [
        ({"amount": cny(0)}, INVALID, "INVALID_ARGUMENT", "amount"),
        ({"amount": cny(-1)}, INVALID, "INVALID_ARGUMENT", "amount"),
        ({"amount": cny(10**12 + 1)}, INVALID, "INVALID_ARGUMENT", "amount"),
        ({"amount": cny(2**63 - 1)}, INVALID, "INVALID_ARGUMENT", "amount"),
        ({"amount": None}, INVALID, "INVALID_ARGUMENT", "amount"),
        (
            {"amount": money_pb2.Money(currency="cny", amount_minor=1)},
            INVALID,
            "INVALID_ARGUMENT",
            "amount.currency",
        ),
        (
            {"amount": money_pb2.Money(currency="XQZ", amount_minor=1)},
            INVALID,
            "UNKNOWN_CURRENCY",
            "amount.currency",
        ),
        (
            {"amount": money_pb2.Money(currency="USD", amount_minor=1)},
            grpc.StatusCode.FAILED_PRECONDITION,
            "CURRENCY_NOT_ENABLED",
            "amount.currency",
        ),
        ({"method": 0}, INVALID, "INVALID_ARGUMENT", "method"),
        ({"method": 99}, INVALID, "INVALID_ARGUMENT", "method"),
        ({"request_id": ""}, INVALID, "INVALID_ARGUMENT", "request_id"),
        ({"request_id": "x" * 65}, INVALID, "INVALID_ARGUMENT", "request_id"),
        ({"description": "x" * 121}, INVALID, "INVALID_ARGUMENT", "description"),
        ({"order_ref": "a\0b"}, INVALID, "INVALID_ARGUMENT", "order_ref"),
        (
            {"payer": payment_pb2.Payer(customer_id="\0")},
            INVALID,
            "INVALID_ARGUMENT",
            "payer.customer_id",
        ),
        ({"expires_in_s": -1}, INVALID, "INVALID_ARGUMENT", "expires_in_s"),
        (
            {"payer": payment_pb2.Payer(payer_token="4111 1111 1111 1111")},
            INVALID,
            "INVALID_ARGUMENT",
            "payer.payer_token",
        ),
    ],
)
async def test_a_wrong_payment_is_refused_by_field(
    house: House, fields: dict[str, Any], code: grpc.StatusCode, reason: str, field: str
) -> None:
    request = {"request_id": "bad-1", "amount": cny(1), "method": CARD, **fields}
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await house.payments.CreatePayment(
            payment_pb2.CreatePaymentRequest(**request), timeout=TIMEOUT_S, metadata=house.key
        )

    assert refused.value.code() is code
    assert (reason_of(refused.value), error_info(refused.value).metadata["field"]) == (
        reason,
        field,
    )
    listed = await house.payments.ListPayments(
        payment_pb2.ListPaymentsRequest(), timeout=TIMEOUT_S, metadata=house.key
    )
    assert list(listed.payments) == []


@pytest.mark.parametrize("key", ["", "Bearer ", "Bearer nonsense", "Bearer fk.key_unknown.secret"])
async def test_a_wrong_api_key_is_unauthenticated(house: House, key: str) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await house.payments.GetPayment(
            payment_pb2.GetPaymentRequest(payment_id="pay_1"),
            timeout=TIMEOUT_S,
            metadata=(("authorization", key),) if key else (),
        )

    assert refused.value.code() is grpc.StatusCode.UNAUTHENTICATED
    assert reason_of(refused.value) == "API_KEY_INVALID"


async def test_a_revoked_key_is_refused(house: House) -> None:
    key_id = house.key[0][1].split(".")[1]
    await house.operations.RevokeApiKey(
        operations_pb2.RevokeApiKeyRequest(request_id="revoke-1", key_id=key_id),
        timeout=TIMEOUT_S,
        metadata=house.operator,
    )

    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await house.get("pay_1")

    assert reason_of(refused.value) == "API_KEY_INVALID"


async def test_merchants_cannot_call_the_operators_service(house: House) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await house.operations.ListMerchants(
            operations_pb2.ListMerchantsRequest(), timeout=TIMEOUT_S, metadata=house.key
        )

    assert refused.value.code() is grpc.StatusCode.UNAUTHENTICATED
    assert reason_of(refused.value) == "OPERATOR_TOKEN_INVALID"


async def test_a_call_without_a_deadline_is_refused(house: House) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await house.payments.GetPayment(
            payment_pb2.GetPaymentRequest(payment_id="pay_1"), metadata=house.key
        )

    assert reason_of(refused.value) == "DEADLINE_REQUIRED"


async def test_an_oversize_message_is_refused(house: House) -> None:
    request = payment_pb2.GetPaymentRequest(payment_id="x" * (5 * 1024 * 1024))
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await house.payments.GetPayment(request, timeout=TIMEOUT_S, metadata=house.key)

    assert refused.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED


@pytest.mark.parametrize("token", ["'; DROP TABLE payment", "x" * 65])
async def test_a_page_token_that_is_not_ours_is_refused(house: House, token: str) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await house.payments.ListPayments(
            payment_pb2.ListPaymentsRequest(page_token=token), timeout=TIMEOUT_S, metadata=house.key
        )

    assert reason_of(refused.value) == "INVALID_PAGE_TOKEN"


@pytest.mark.parametrize(
    ("body", "headers", "result"),
    [
        (b"{}", {}, "CALLBACK_SIGNATURE_INVALID"),
        (
            b"not json",
            {"X-Sim-Signature": "00", "X-Sim-Timestamp": "1"},
            "CALLBACK_SIGNATURE_INVALID",
        ),
    ],
)
async def test_a_forged_callback_is_kept_counted_and_refused(
    house: House, body: bytes, headers: dict[str, str], result: str
) -> None:
    channel = await house.new_channel(CARD)
    async with httpx.AsyncClient() as client:
        url = f"http://127.0.0.1:{house.settings.callback_port}/callbacks"
        answer = await client.post(f"{url}/{channel}", content=body, headers=headers)
        unknown = await client.post(f"{url}/nobody", content=body, headers=headers)
        large = await client.post(f"{url}/{channel}", content=b"x" * 70_000)
        metrics = await client.get(
            f"http://127.0.0.1:{house.settings.metrics_port('gateway')}/metrics"
        )

    assert 400 <= answer.status_code < 500
    assert unknown.status_code == 404
    assert large.status_code == 413
    assert f'callbacks_total{{channel="{channel}",result="{result}"}} 1.0' in metrics.text
    backlog = await house.operations.GetBacklog(
        operations_pb2.GetBacklogRequest(), timeout=TIMEOUT_S, metadata=house.operator
    )
    assert any(line.flow == "callback" and line.state == result for line in backlog.lines)


async def test_a_channel_that_cannot_be_spoken_to_is_refused_and_harms_no_other(
    house: House,
) -> None:
    good = await house.new_channel(CARD)
    account = operations_pb2.ChannelAccount(
        channel_id="aaa-first-of-all",
        provider="wechatt",
        base_url="http://127.0.0.1:1",
        currencies=["CNY"],
        zone="Asia/Shanghai",
    )
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await house.operations.UpsertChannelAccount(
            operations_pb2.UpsertChannelAccountRequest(request_id="bad-1", channel_account=account),
            timeout=TIMEOUT_S,
            metadata=house.operator,
        )

    assert reason_of(refused.value) == "CHANNEL_MISCONFIGURED"
    assert (await house.pay(good)).state == payment_pb2.Payment.STATE_SUCCEEDED


async def test_a_channel_is_not_registered_for_what_its_provider_lacks(house: House) -> None:
    account = operations_pb2.ChannelAccount(
        channel_id="wechat-for-cards",
        provider="simpay",
        base_url="http://127.0.0.1:1",
        currencies=["CNY"],
        zone="Asia/Shanghai",
        methods=[CARD, method_pb2.PAYMENT_METHOD_BALANCE],
    )
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await house.operations.UpsertChannelAccount(
            operations_pb2.UpsertChannelAccountRequest(
                request_id="bad-2", channel_account=account, credentials={"secret": "s"}
            ),
            timeout=TIMEOUT_S,
            metadata=house.operator,
        )

    assert reason_of(refused.value) == "METHOD_NOT_OFFERED"
    assert "BALANCE" in (refused.value.details() or "")


async def test_a_channel_that_is_not_used_for_a_method_is_never_asked_for_it(house: House) -> None:
    """However the router has it: here it thinks that the channel takes cards."""
    channel = await house.new_channel(CARD, used_for=[method_pb2.PAYMENT_METHOD_ALIPAY_QR])

    payment = await house.pay(channel)

    assert (payment.state, payment.reason) == (payment_pb2.Payment.STATE_FAILED, "NO_CHANNEL")
    assert await house.book(channel) == []


async def test_operators_are_told_what_each_provider_needs_and_can_do(house: House) -> None:
    answer = await house.operations.ListProviders(
        operations_pb2.ListProvidersRequest(), timeout=TIMEOUT_S, metadata=house.operator
    )

    providers = {provider.name: provider for provider in answer.providers}
    assert list(providers) == sorted(providers)
    secrets = {each.name for each in providers["wechat"].credentials if each.is_secret}
    assert secrets == {"apiv3_key", "merchant_private_key_pem"}
    [offer] = [
        each
        for each in providers["wechat"].offers
        if each.method == method_pb2.PAYMENT_METHOD_WECHAT_QR
    ]
    assert "PARTIAL_REFUND" in offer.features
    assert "AUTHORIZATION" not in offer.features
