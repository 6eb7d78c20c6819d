"""Many payments in one call: each with its own verdict, in order, and nobody else starved."""

import asyncio
import secrets
from typing import Any

import grpc
import pytest

from fisc.common.v1 import method_pb2, money_pb2, verdict_pb2
from fisc.gateway.v1 import payment_pb2
from tests.integration.gateway.house import TIMEOUT_S, House, reason_of

CARD = method_pb2.PAYMENT_METHOD_CARD
P = payment_pb2.Payment
KIND = verdict_pb2.ItemError
BATCH_MAX = 256


def item(*channels: str, **fields: Any) -> payment_pb2.CreatePaymentRequest:
    wanted = {
        "request_id": secrets.token_hex(8),
        "amount": money_pb2.Money(currency="CNY", amount_minor=1999),
        "method": CARD,
        "channel_ids": channels,
        **fields,
    }
    return payment_pb2.CreatePaymentRequest(**wanted)


async def batch(
    house: House, *items: payment_pb2.CreatePaymentRequest, timeout_s: float = TIMEOUT_S
) -> list[payment_pb2.CreatePaymentResult]:
    response = await house.payments.BatchCreatePayments(
        payment_pb2.BatchCreatePaymentsRequest(requests=items),
        timeout=timeout_s,
        metadata=house.key,
    )
    return list(response.results)


async def test_a_full_batch_is_paid_in_order_and_charged_once(house: House) -> None:
    channel = await house.new_channel(CARD)
    items = [item(channel) for _ in range(BATCH_MAX)]

    results = await batch(house, *items)

    assert [each.payment.request_id for each in results] == [each.request_id for each in items]
    assert {each.payment.state for each in results} == {P.STATE_SUCCEEDED}
    book = await house.book(channel)
    assert len(book) == BATCH_MAX
    assert {row["times_charged"] for row in book} == {1}


async def test_each_bad_item_gets_its_own_verdict_and_the_rest_goes_on(house: House) -> None:
    channel = await house.new_channel(CARD)
    good, other = (
        item(channel),
        item(channel, amount=money_pb2.Money(currency="CNY", amount_minor=1)),
    )
    used = await house.pay(channel, amount_minor=5)

    results = await batch(
        house,
        good,
        item(channel, amount=money_pb2.Money(currency="CNY", amount_minor=0)),
        item(channel, method=99),
        item(channel, description="a\0b"),
        item(channel, request_id=good.request_id),
        item(channel, request_id=used.request_id),
        item(channel, amount=money_pb2.Money(currency="USD", amount_minor=1)),
        item("no-such-channel"),
        other,
    )

    assert [each.WhichOneof("result") for each in results] == [
        "payment", *["error"] * 6, "payment", "payment",
    ]  # fmt: skip
    assert [(each.error.reason, each.error.field, each.error.kind) for each in results[1:7]] == [
        ("INVALID_ARGUMENT", "amount", KIND.KIND_INVALID),
        ("INVALID_ARGUMENT", "method", KIND.KIND_INVALID),
        ("INVALID_ARGUMENT", "description", KIND.KIND_INVALID),
        ("REQUEST_ID_REPEATED", "request_id", KIND.KIND_INVALID),
        ("REQUEST_ID_REUSED", "request_id", KIND.KIND_ALREADY_EXISTS),
        ("CURRENCY_NOT_ENABLED", "amount.currency", KIND.KIND_REJECTED),
    ]
    assert results[0].payment.state == results[8].payment.state == P.STATE_SUCCEEDED
    assert (results[7].payment.state, results[7].payment.reason) == (P.STATE_FAILED, "NO_CHANNEL")
    assert sorted(row["amount"] for row in await house.book(channel)) == [1, 5, 1999]


async def test_the_same_batch_again_and_its_items_alone_are_the_same_payments(house: House) -> None:
    channel = await house.new_channel(CARD)
    items = [item(channel) for _ in range(3)]

    first, again = await batch(house, *items), await batch(house, *items)
    alone = await house.payments.CreatePayment(items[1], timeout=TIMEOUT_S, metadata=house.key)

    ids = [each.payment.payment_id for each in first]
    assert [each.payment.payment_id for each in again] == ids
    assert alone.payment.payment_id == ids[1]
    assert len(await house.book(channel)) == 3


async def test_what_has_no_outcome_in_the_callers_time_is_answered_as_it_stands(
    house: House,
) -> None:
    slow = await house.new_channel(CARD, latency_ms=[3000, 3000])
    quick = await house.new_channel(CARD)

    results = await batch(house, item(slow), item(quick), timeout_s=1.5)

    assert [each.payment.state for each in results] == [P.STATE_PROCESSING, P.STATE_SUCCEEDED]
    assert (await house.ended(results[0].payment.payment_id)).state == P.STATE_SUCCEEDED


@pytest.mark.parametrize("count", [0, BATCH_MAX + 1])
async def test_a_batch_of_none_or_too_many_is_refused_whole(house: House, count: int) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await batch(house, *[item()] * count)

    assert reason_of(refused.value) == "INVALID_ARGUMENT"


async def test_bulk_of_one_leaves_the_places_of_single_payments_free(house: House) -> None:
    """A channel that answers slowly holds every place of the bulk lane; a single payment elsewhere does not notice."""
    slow = await house.new_channel(CARD, latency_ms=[1500, 1500])
    quick = await house.new_channel(CARD)
    async with asyncio.TaskGroup() as group:
        big = group.create_task(batch(house, *[item(slow) for _ in range(BATCH_MAX)]))
        await asyncio.sleep(0.5)
        began = asyncio.get_running_loop().time()
        singles = [group.create_task(house.pay(quick)) for _ in range(20)]
        await asyncio.wait(singles)
        took_s = asyncio.get_running_loop().time() - began
        assert not big.done()

    assert {single.result().state for single in singles} == {P.STATE_SUCCEEDED}
    assert took_s < 1.5
    assert {each.error.kind for each in big.result()} <= {
        KIND.KIND_UNSPECIFIED,
        KIND.KIND_EXHAUSTED,
    }


async def test_one_merchants_bulk_beyond_its_share_is_told_when_to_come_back(house: House) -> None:
    slow = await house.new_channel(CARD, latency_ms=[1500, 1500])
    calls = [
        asyncio.create_task(batch(house, *[item(slow) for _ in range(BATCH_MAX)])) for _ in range(3)
    ]
    await asyncio.wait(calls)

    refused = [call.exception() for call in calls if call.exception()]
    assert len(refused) == 1
    assert isinstance(refused[0], grpc.aio.AioRpcError)
    assert refused[0].code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert reason_of(refused[0]) == "OVERLOADED"
