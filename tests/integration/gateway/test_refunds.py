"""Giving money back through real services."""

import asyncio
import secrets
from typing import Any

import grpc
import pytest

from fisc.common.v1 import method_pb2, money_pb2
from fisc.gateway.v1 import payment_pb2
from libs.testing import eventually
from tests.integration.gateway.house import TIMEOUT_S, House, error_info, reason_of

CARD = method_pb2.PAYMENT_METHOD_CARD
R = payment_pb2.Refund


async def refund(
    house: House, payment_id: str, amount_minor: int, currency: str = "CNY", **fields: Any
) -> payment_pb2.Refund:
    response = await house.payments.CreateRefund(
        payment_pb2.CreateRefundRequest(
            **{
                "request_id": secrets.token_hex(8),
                "payment_id": payment_id,
                "amount": money_pb2.Money(currency=currency, amount_minor=amount_minor),
                **fields,
            }
        ),
        timeout=TIMEOUT_S,
        metadata=house.key,
    )
    return response.refund


async def test_partial_refunds_add_up_and_are_booked(house: House) -> None:
    channel = await house.new_channel(CARD)
    payment = await house.pay(channel, amount_minor=1_000)

    first = await refund(house, payment.payment_id, 300)
    second = await refund(house, payment.payment_id, 700)

    assert first.state == second.state == R.STATE_SUCCEEDED
    assert (await house.get(payment.payment_id)).refunded_minor == 1_000

    async def is_booked() -> bool:
        pending = await house.balance(f"merchant/{house.merchant_id}/pending/CNY")
        receivable = await house.balance(f"channel/{channel}/receivable/CNY")
        return (pending.sequence, pending.posted_minor, receivable.posted_minor) == (3, 0, 0)

    await eventually(is_booked)


async def test_a_refund_over_the_rest_is_refused_and_says_how_much_is_left(house: House) -> None:
    channel = await house.new_channel(CARD)
    payment = await house.pay(channel, amount_minor=1_000)
    await refund(house, payment.payment_id, 400)

    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await refund(house, payment.payment_id, 601)

    assert refused.value.code() is grpc.StatusCode.FAILED_PRECONDITION
    assert reason_of(refused.value) == "REFUND_TOO_LARGE"
    assert error_info(refused.value).metadata["refundable_minor"] == "600"


async def test_concurrent_refunds_never_exceed_the_payment(house: House) -> None:
    channel = await house.new_channel(CARD)
    payment = await house.pay(channel, amount_minor=1_000)

    async def attempt() -> bool:
        try:
            await refund(house, payment.payment_id, 300)
        except grpc.aio.AioRpcError as error:
            assert reason_of(error) == "REFUND_TOO_LARGE"
            return False
        return True

    async with asyncio.TaskGroup() as group:
        attempts = [group.create_task(attempt()) for _ in range(10)]

    assert sum(each.result() for each in attempts) == 3
    refunds = [row for row in await house.book(channel) if row["kind"] == "refund"]
    assert sum(row["amount"] for row in refunds) == 900


async def test_the_same_refund_request_refunds_once(house: House) -> None:
    channel = await house.new_channel(CARD)
    payment = await house.pay(channel, amount_minor=1_000)

    async with asyncio.TaskGroup() as group:
        calls = [
            group.create_task(refund(house, payment.payment_id, 100, request_id="back-1"))
            for _ in range(8)
        ]

    assert len({call.result().refund_id for call in calls}) == 1
    assert (await house.get(payment.payment_id)).refunded_minor == 100


async def test_a_refund_whose_answer_was_lost_is_found_again(house: House) -> None:
    channel = await house.new_channel(CARD)
    payment = await house.pay(channel, amount_minor=1_000)
    await house.fault(channel, "timeout_after_charge", count=1, operation="refund")

    sent = await refund(house, payment.payment_id, 1_000)

    async def has_succeeded() -> bool:
        response = await house.payments.GetRefund(
            payment_pb2.GetRefundRequest(refund_id=sent.refund_id),
            timeout=TIMEOUT_S,
            metadata=house.key,
        )
        return response.refund.state == R.STATE_SUCCEEDED

    await eventually(has_succeeded, 15)
    refunds = [row for row in await house.book(channel) if row["kind"] == "refund"]
    assert [row["amount"] for row in refunds] == [1_000]


async def test_only_a_succeeded_payment_can_be_refunded_in_its_own_currency(house: House) -> None:
    channel = await house.new_channel(CARD)
    declined = await house.pay(
        channel, payer=payment_pb2.Payer(payer_token="sim:INSUFFICIENT_FUNDS")
    )
    paid = await house.pay(channel)

    for payment_id, currency, reason in (
        (declined.payment_id, "CNY", "PAYMENT_NOT_REFUNDABLE"),
        (paid.payment_id, "USD", "REFUND_CURRENCY_MISMATCH"),
        ("pay_unknown", "CNY", "PAYMENT_NOT_FOUND"),
    ):
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await refund(house, payment_id, 1, currency)
        assert reason_of(refused.value) == reason
