"""Reserving a payer's money, and taking it, or not."""

import asyncio
import secrets

import grpc
import pytest

from fisc.common.v1 import method_pb2, money_pb2
from fisc.gateway.v1 import payment_pb2
from libs.testing import eventually
from tests.integration.gateway.house import TIMEOUT_S, House, reason_of

CARD = method_pb2.PAYMENT_METHOD_CARD
P = payment_pb2.Payment
C = payment_pb2.Capture


@pytest.fixture
async def channel(house: House) -> str:
    return await house.new_channel(CARD)


async def authorize(house: House, channel: str, amount_minor: int = 1000) -> payment_pb2.Payment:
    return await house.pay(
        channel, amount_minor=amount_minor, capture_method=payment_pb2.CAPTURE_METHOD_MANUAL
    )


async def capture(
    house: House,
    payment_id: str,
    amount_minor: int | None = None,
    *,
    is_final: bool = False,
    request_id: str = "",
) -> payment_pb2.Capture:
    request = payment_pb2.CapturePaymentRequest(
        request_id=request_id or secrets.token_hex(8), payment_id=payment_id, is_final=is_final
    )
    if amount_minor is not None:
        request.amount.CopyFrom(money_pb2.Money(currency="CNY", amount_minor=amount_minor))
    answer = await house.payments.CapturePayment(request, timeout=TIMEOUT_S, metadata=house.key)
    return answer.capture


async def void(house: House, payment_id: str) -> payment_pb2.Payment:
    answer = await house.payments.VoidPayment(
        payment_pb2.VoidPaymentRequest(request_id=secrets.token_hex(8), payment_id=payment_id),
        timeout=TIMEOUT_S,
        metadata=house.key,
    )
    return answer.payment


async def reaches(
    house: House, payment_id: str, state: payment_pb2.Payment.State.ValueType
) -> payment_pb2.Payment:
    async def is_there() -> payment_pb2.Payment | None:
        payment = await house.get(payment_id)
        return payment if payment.state == state else None

    there = await eventually(is_there, 20.0)
    assert there is not None
    return there


async def pending_minor(house: House) -> int:
    balance = await house.balance(f"merchant/{house.merchant_id}/pending/CNY")
    return balance.posted_minor


async def test_an_authorisation_moves_no_money_until_it_is_captured(
    house: House, channel: str
) -> None:
    payment = await authorize(house, channel)

    assert payment.state == P.STATE_AUTHORIZED
    assert (payment.captured_minor, payment.HasField("authorized_until")) == (0, True)

    taken = await capture(house, payment.payment_id)

    assert (taken.state, taken.amount.amount_minor) == (C.STATE_SUCCEEDED, 1000)
    done = await reaches(house, payment.payment_id, P.STATE_SUCCEEDED)
    assert done.captured_minor == 1000

    async def is_booked() -> bool:
        return await pending_minor(house) == 1000

    await eventually(is_booked)


async def test_several_captures_take_their_parts_and_the_final_one_releases_the_rest(
    house: House, channel: str
) -> None:
    payment = await authorize(house, channel)

    first = await capture(house, payment.payment_id, 300)
    second = await capture(house, payment.payment_id, 200, is_final=True)

    assert [first.state, second.state] == [C.STATE_SUCCEEDED] * 2
    done = await reaches(house, payment.payment_id, P.STATE_SUCCEEDED)
    assert done.captured_minor == 500

    async def is_booked() -> bool:
        return await pending_minor(house) == 500

    await eventually(is_booked)
    rows = {row["out_ref"]: row for row in await house.book(channel)}
    assert sorted(row["amount"] for row in rows.values() if row["kind"] == "capture") == [200, 300]


async def test_captures_at_once_never_exceed_what_is_reserved(house: House, channel: str) -> None:
    payment = await authorize(house, channel)

    refusals: list[str] = []

    async def take() -> None:
        try:
            await capture(house, payment.payment_id, 400)
        except grpc.aio.AioRpcError as error:
            refusals.append(reason_of(error))

    async with asyncio.TaskGroup() as group:
        for _ in range(5):
            group.create_task(take())

    assert refusals == ["CAPTURE_EXCEEDS_AUTHORIZATION"] * 3
    assert (await house.get(payment.payment_id)).captured_minor == 800


async def test_the_same_capture_request_takes_once(house: House, channel: str) -> None:
    payment = await authorize(house, channel)

    first = await capture(house, payment.payment_id, 100, request_id="capture-1")
    again = await capture(house, payment.payment_id, 100, request_id="capture-1")
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await capture(house, payment.payment_id, 101, request_id="capture-1")

    assert first.capture_id == again.capture_id
    assert reason_of(refused.value) == "REQUEST_ID_REUSED"
    assert (await house.get(payment.payment_id)).captured_minor == 100


async def test_a_void_releases_all_that_no_capture_took(house: House, channel: str) -> None:
    untouched, partly = await authorize(house, channel), await authorize(house, channel)
    await capture(house, partly.payment_id, 250)

    await void(house, untouched.payment_id)
    await void(house, partly.payment_id)

    canceled = await reaches(house, untouched.payment_id, P.STATE_CANCELED)
    kept = await reaches(house, partly.payment_id, P.STATE_SUCCEEDED)
    assert canceled.reason == "CANCELED_BY_MERCHANT"
    assert kept.captured_minor == 250
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await capture(house, partly.payment_id, 1)
    assert reason_of(refused.value) == "PAYMENT_NOT_AUTHORIZED"


async def test_a_capture_whose_answer_is_lost_is_found_and_booked_once(
    house: House, channel: str
) -> None:
    payment = await authorize(house, channel)
    await house.fault(channel, "commit_then_error", operation="capture", count=1)

    taken = await capture(house, payment.payment_id)

    assert taken.state == C.STATE_PROCESSING
    await reaches(house, payment.payment_id, P.STATE_SUCCEEDED)

    async def is_booked() -> bool:
        return await pending_minor(house) == 1000

    await eventually(is_booked)
    captures = [row for row in await house.book(channel) if row["kind"] == "capture"]
    assert [row["times_charged"] for row in captures] == [1]


async def test_while_a_capture_is_under_way_nothing_is_released(house: House, channel: str) -> None:
    payment = await authorize(house, channel)
    await house.fault(channel, "slow", count=1, latency_ms=3000)
    under_way = asyncio.create_task(capture(house, payment.payment_id, 400))
    await asyncio.sleep(0.5)

    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await void(house, payment.payment_id)

    assert reason_of(refused.value) == "CAPTURE_IN_FLIGHT"
    assert (await under_way).state == C.STATE_SUCCEEDED
    await void(house, payment.payment_id)
    assert (await reaches(house, payment.payment_id, P.STATE_SUCCEEDED)).captured_minor == 400


async def test_only_what_was_captured_can_be_refunded(house: House, channel: str) -> None:
    payment = await authorize(house, channel)
    await capture(house, payment.payment_id, 300, is_final=True)
    await reaches(house, payment.payment_id, P.STATE_SUCCEEDED)

    async def refund(amount_minor: int) -> payment_pb2.Refund:
        answer = await house.payments.CreateRefund(
            payment_pb2.CreateRefundRequest(
                request_id=secrets.token_hex(8),
                payment_id=payment.payment_id,
                amount=money_pb2.Money(currency="CNY", amount_minor=amount_minor),
            ),
            timeout=TIMEOUT_S,
            metadata=house.key,
        )
        return answer.refund

    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await refund(301)

    assert reason_of(refused.value) == "REFUND_TOO_LARGE"
    assert (await refund(300)).state == payment_pb2.Refund.STATE_SUCCEEDED


async def test_a_channel_that_cannot_reserve_is_never_asked_to(house: House) -> None:
    plain = await house.new_channel(CARD, operations=(method_pb2.OPERATION_PAYMENT,))

    payment = await authorize(house, plain)

    assert (payment.state, payment.reason) == (P.STATE_FAILED, "NO_CHANNEL")
    assert await house.book(plain) == []


async def test_what_a_payment_took_at_once_cannot_be_captured_or_voided(
    house: House, channel: str
) -> None:
    paid = await house.pay(channel)

    for attempt in (capture(house, paid.payment_id, 1), void(house, paid.payment_id)):
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await attempt
        assert reason_of(refused.value) == "PAYMENT_NOT_AUTHORIZED"
