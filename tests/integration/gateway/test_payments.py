"""The life of a payment through real services."""

import asyncio

import asyncpg
import grpc
import pytest

from fisc.common.v1 import method_pb2
from fisc.gateway.v1 import operations_pb2, payment_pb2
from libs.testing import eventually
from tests.integration.gateway.house import TIMEOUT_S, House, reason_of

CARD = method_pb2.PAYMENT_METHOD_CARD
P = payment_pb2.Payment


async def test_a_payment_is_charged_once_and_booked(house: House) -> None:
    channel = await house.new_channel(CARD)

    payment = await house.pay(channel, amount_minor=12_345)

    assert payment.state == P.STATE_SUCCEEDED
    [row] = await house.book(channel)
    assert (row["amount"], row["status"], row["times_charged"]) == (12_345, "SUCCEEDED", 1)

    async def is_booked() -> bool:
        pending = await house.balance(f"merchant/{house.merchant_id}/pending/CNY")
        receivable = await house.balance(f"channel/{channel}/receivable/CNY")
        return pending.posted_minor == receivable.posted_minor == 12_345

    await eventually(is_booked)


async def test_a_soft_decline_goes_to_the_next_channel(house: House) -> None:
    busy = await house.new_channel(CARD, soft_decline_rate=1, fee_ppm=0)
    good = await house.new_channel(CARD, fee_ppm=9000)

    payment = await house.pay(busy, good, routing=payment_pb2.ROUTING_CHEAPEST)

    assert (payment.state, payment.channel_id, payment.attempts_count) == (
        P.STATE_SUCCEEDED,
        good,
        2,
    )


async def test_a_hard_decline_ends_the_payment_with_the_payers_reason(house: House) -> None:
    first = await house.new_channel(CARD, fee_ppm=0)
    second = await house.new_channel(CARD, fee_ppm=9000)

    payment = await house.pay(
        first,
        second,
        routing=payment_pb2.ROUTING_CHEAPEST,
        payer=payment_pb2.Payer(payer_token="sim:INSUFFICIENT_FUNDS"),
    )

    assert (payment.state, payment.reason) == (P.STATE_FAILED, "INSUFFICIENT_FUNDS")
    assert payment.attempts_count == 1


async def test_a_charge_whose_answer_was_lost_is_found_and_not_charged_again(house: House) -> None:
    first = await house.new_channel(CARD, fee_ppm=0)
    second = await house.new_channel(CARD, fee_ppm=9000)
    await house.fault(first, "timeout_after_charge", count=1)

    payment = await house.pay(first, second, routing=payment_pb2.ROUTING_CHEAPEST)
    ended = await house.ended(payment.payment_id)

    assert (ended.state, ended.channel_id) == (P.STATE_SUCCEEDED, first)
    assert [row["times_charged"] for row in await house.book(first)] == [1]
    assert await house.book(second) == []


async def test_an_order_that_never_arrived_is_closed_before_another_channel_is_tried(
    house: House,
) -> None:
    first = await house.new_channel(CARD, fee_ppm=0)
    second = await house.new_channel(CARD, fee_ppm=9000)
    await house.fault(first, "down", count=1)

    payment = await house.pay(first, second, routing=payment_pb2.ROUTING_CHEAPEST)
    assert payment.state == P.STATE_PROCESSING  # not failed: nobody knows yet
    ended = await house.ended(payment.payment_id)

    assert (ended.state, ended.channel_id) == (P.STATE_SUCCEEDED, second)
    assert all(row["times_charged"] == 0 for row in await house.book(first))


async def test_the_same_request_gives_the_same_payment_and_another_body_is_refused(
    house: House,
) -> None:
    channel = await house.new_channel(CARD)

    first = await house.pay(channel, request_id="order-1")
    again = await house.pay(channel, request_id="order-1")
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await house.pay(channel, request_id="order-1", amount_minor=1)

    assert again == first
    assert len(await house.book(channel)) == 1
    assert refused.value.code() is grpc.StatusCode.ALREADY_EXISTS
    assert reason_of(refused.value) == "REQUEST_ID_REUSED"


async def test_twenty_concurrent_calls_with_one_request_id_charge_once(house: House) -> None:
    channel = await house.new_channel(CARD)

    async with asyncio.TaskGroup() as group:
        calls = [group.create_task(house.pay(channel, request_id="order-1")) for _ in range(20)]

    assert len({call.result().payment_id for call in calls}) == 1
    await house.ended(calls[0].result().payment_id)
    assert [row["times_charged"] for row in await house.book(channel)] == [1]


async def test_a_qr_payment_waits_for_the_payer_and_succeeds_by_callback(house: House) -> None:
    qr = method_pb2.PAYMENT_METHOD_ALIPAY_QR
    channel = await house.new_channel(qr, auto_pay_after_ms=None)

    payment = await house.pay(channel, method=qr)
    assert payment.state == P.STATE_PENDING
    assert payment.next_action.qr_content
    [row] = await house.book(channel)
    paid = await house.sandbox.post(
        "/control/pay", json={"account_id": channel, "out_ref": row["out_ref"]}
    )
    paid.raise_for_status()
    ended = await house.ended(payment.payment_id, timeout_s=3)

    assert ended.state == P.STATE_SUCCEEDED


async def test_a_method_without_what_it_needs_is_refused_with_the_field_at_fault(
    house: House,
) -> None:
    channel = await house.new_channel(CARD)

    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await house.pay(channel, method=method_pb2.PAYMENT_METHOD_WECHAT_CODE)

    assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert reason_of(refused.value) == "PAYMENT_INPUT_MISSING"
    assert "payer.auth_code" in (refused.value.details() or "")
    assert await house.book(channel) == []


async def test_a_payers_code_is_kept_no_longer_than_it_is_needed(
    house: House, gateway_database: "asyncpg.Connection[asyncpg.Record]"
) -> None:
    code = "134567890123456789"
    method = method_pb2.PAYMENT_METHOD_ALIPAY_CODE
    channel = await house.new_channel(method)

    payment = await house.pay(
        channel,
        method=method,
        payer=payment_pb2.Payer(auth_code=code, wallet_user_id="2088", ip="192.0.2.1"),
        return_url="https://shop.example/back?order=1",
    )

    assert payment.state == P.STATE_SUCCEEDED
    row = await gateway_database.fetchrow(
        "SELECT * FROM payment WHERE payment_id = $1", payment.payment_id
    )
    assert row is not None
    assert (row["auth_code"], row["wallet_user_id"]) == ("", "2088")
    assert (row["payer_ip"], row["return_url"]) == (
        "192.0.2.1",
        "https://shop.example/back?order=1",
    )


async def test_repeated_callbacks_change_nothing(house: House) -> None:
    qr = method_pb2.PAYMENT_METHOD_ALIPAY_QR
    channel = await house.new_channel(qr, auto_pay_after_ms=None)
    await house.fault(channel, "duplicate_callback", count=1)

    payment = await house.pay(channel, method=qr)
    [row] = await house.book(channel)
    await house.sandbox.post(
        "/control/pay", json={"account_id": channel, "out_ref": row["out_ref"]}
    )
    ended = await house.ended(payment.payment_id)

    async def both_arrived() -> bool:
        evidence = await house.operations.GetEvidence(
            operations_pb2.GetEvidenceRequest(subject_id=payment.payment_id),
            timeout=TIMEOUT_S,
            metadata=house.operator,
        )
        return sum("notified us" in line.text for line in evidence.history) >= 2

    await eventually(both_arrived)
    assert (await house.get(payment.payment_id)).version == ended.version

    async def is_booked() -> int:
        return (await house.balance(f"merchant/{house.merchant_id}/pending/CNY")).posted_minor

    assert await eventually(is_booked) == payment.amount.amount_minor


async def test_a_pending_payment_can_be_canceled_and_then_cannot_be_paid(house: House) -> None:
    qr = method_pb2.PAYMENT_METHOD_ALIPAY_QR
    channel = await house.new_channel(qr, auto_pay_after_ms=None)
    payment = await house.pay(channel, method=qr)

    canceled = await house.payments.CancelPayment(
        payment_pb2.CancelPaymentRequest(request_id="stop-1", payment_id=payment.payment_id),
        timeout=TIMEOUT_S,
        metadata=house.key,
    )
    again = await house.payments.CancelPayment(
        payment_pb2.CancelPaymentRequest(request_id="stop-1", payment_id=payment.payment_id),
        timeout=TIMEOUT_S,
        metadata=house.key,
    )

    assert canceled.payment.state == again.payment.state == P.STATE_CANCELED
    [row] = await house.book(channel)
    assert row["status"] == "CLOSED"


async def test_a_succeeded_payment_cannot_be_canceled(house: House) -> None:
    channel = await house.new_channel(CARD)
    payment = await house.pay(channel)

    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await house.payments.CancelPayment(
            payment_pb2.CancelPaymentRequest(request_id="stop-1", payment_id=payment.payment_id),
            timeout=TIMEOUT_S,
            metadata=house.key,
        )

    assert refused.value.code() is grpc.StatusCode.FAILED_PRECONDITION
    assert reason_of(refused.value) == "PAYMENT_NOT_CANCELABLE"


async def test_a_qr_nobody_scans_expires(house: House) -> None:
    qr = method_pb2.PAYMENT_METHOD_ALIPAY_QR
    channel = await house.new_channel(qr, auto_pay_after_ms=None)

    payment = await house.pay(channel, method=qr, expires_in_s=1)
    ended = await house.ended(payment.payment_id)

    assert (ended.state, ended.reason) == (P.STATE_CANCELED, "EXPIRED")


async def test_watching_shows_every_state_and_ends_with_the_payment(house: House) -> None:
    qr = method_pb2.PAYMENT_METHOD_ALIPAY_QR
    channel = await house.new_channel(qr, auto_pay_after_ms=[300, 300])

    payment = await house.pay(channel, method=qr)
    watch = house.payments.WatchPayment(
        payment_pb2.WatchPaymentRequest(payment_id=payment.payment_id),
        timeout=TIMEOUT_S,
        metadata=house.key,
    )
    states = [response.payment.state async for response in watch]

    assert states[0] == P.STATE_PENDING
    assert states[-1] == P.STATE_SUCCEEDED


async def test_payments_are_listed_newest_first_in_pages(house: House) -> None:
    channel = await house.new_channel(CARD)
    made = [(await house.pay(channel)).payment_id for _ in range(4)]

    listed, sizes, token = [], [], ""
    while True:
        page = await house.payments.ListPayments(
            payment_pb2.ListPaymentsRequest(page_size=2, page_token=token),
            timeout=TIMEOUT_S,
            metadata=house.key,
        )
        listed += [payment.payment_id for payment in page.payments]
        sizes.append(len(page.payments))
        token = page.next_page_token
        if not token:
            break

    assert listed == made[::-1]
    assert sizes == [2, 2]


async def test_a_merchant_never_sees_anothers_payment(house: House) -> None:
    channel = await house.new_channel(CARD)
    payment = await house.pay(channel)

    await house.new_merchant()
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await house.get(payment.payment_id)

    assert refused.value.code() is grpc.StatusCode.NOT_FOUND


async def test_no_channel_that_fits_is_a_failed_payment_not_an_error(house: House) -> None:
    channel = await house.new_channel(method_pb2.PAYMENT_METHOD_UNIONPAY_QR)

    payment = await house.pay(channel)

    assert (payment.state, payment.reason) == (P.STATE_FAILED, "NO_CHANNEL")
