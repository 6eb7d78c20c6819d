"""The client against a server of ours with a small gateway in memory behind it."""

import asyncio
import importlib
import uuid
from collections.abc import AsyncIterator
from typing import Any

import pytest

from fisc import client
from fisc.client import FiscClient, Payment
from fisc.gateway.v1 import payment_pb2
from libs.errors import Overloaded, Unavailable
from libs.rpc import server
from tests.integration.client.fake_gateway import API_KEY, FakeGateway

PENDING, SUCCEEDED = Payment.STATE_PENDING, Payment.STATE_SUCCEEDED


@pytest.fixture
def gateway() -> FakeGateway:
    return FakeGateway()


@pytest.fixture
async def target(gateway: FakeGateway) -> AsyncIterator[str]:
    async with server.running(registrations=[gateway.register]) as address:
        yield address


@pytest.fixture
async def fisc(target: str) -> AsyncIterator[FiscClient]:
    async with FiscClient(target, api_key=API_KEY) as opened:
        yield opened


async def pay(fisc: FiscClient, **more: Any) -> Payment:
    arguments: dict[str, Any] = {"amount": ("CNY", 1999), "method": "CARD", **more}
    return await fisc.create_payment(**arguments)


async def test_a_payment_travels_with_everything_that_was_said(
    fisc: FiscClient, gateway: FakeGateway
) -> None:
    payment = await fisc.create_payment(
        amount=("CNY", 1999),
        method="CARD",
        request_id="order-1",
        order_ref="A-1",
        customer_id="c-7",
        payer_token="sim:tok",
        routing="CHEAPEST",
        channel_ids=["card-a"],
        expires_in_s=60,
    )
    assert payment.state == SUCCEEDED
    assert (payment.amount.currency, payment.amount.amount_minor) == ("CNY", 1999)
    sent: Any = gateway.received[0]
    assert (sent.request_id, sent.order_ref, sent.expires_in_s) == ("order-1", "A-1", 60)
    assert (sent.payer.customer_id, sent.payer.payer_token) == ("c-7", "sim:tok")
    assert list(sent.channel_ids) == ["card-a"]
    assert sent.routing == 1
    assert await fisc.get_payment(payment.payment_id) == payment


async def test_each_of_many_payments_is_answered_in_order_or_says_why_not(
    fisc: FiscClient,
) -> None:
    requests = [
        client.payment_request(amount=(currency, 1999), method="CARD", customer_id=f"c-{number}")
        for number, currency in enumerate(["CNY", "USD", "CNY"])
    ]

    first, refused, last = await fisc.create_payments(requests)

    assert [each.request_id for each in (first, last)] == [
        requests[0].request_id,
        requests[2].request_id,
    ]
    assert isinstance(refused, client.Rejected)
    assert (refused.reason, refused.request_id) == ("CURRENCY_NOT_ENABLED", requests[1].request_id)


async def test_the_same_request_id_never_takes_a_second_payment(
    fisc: FiscClient, gateway: FakeGateway
) -> None:
    first = await pay(fisc, request_id="order-1")
    assert await pay(fisc, request_id="order-1") == first
    with pytest.raises(client.AlreadyExists) as caught:
        await pay(fisc, request_id="order-1", amount=("CNY", 2000))
    assert (caught.value.reason, caught.value.field) == ("REQUEST_ID_REUSED", "request_id")
    assert len(gateway.payments) == 1


async def test_without_a_request_id_each_call_makes_its_own(
    fisc: FiscClient, gateway: FakeGateway
) -> None:
    first, second = await pay(fisc), await pay(fisc)
    assert uuid.UUID(first.request_id) != uuid.UUID(second.request_id)
    assert len(gateway.payments) == 2


async def test_an_unavailable_gateway_is_asked_again_with_the_same_request_id(
    fisc: FiscClient, gateway: FakeGateway
) -> None:
    gateway.failures = [Unavailable()]
    gateway.failures_after_effect = [Unavailable(), Unavailable()]
    payment = await pay(fisc)
    assert payment.state == SUCCEEDED
    assert {sent.request_id for sent in gateway.received} == {payment.request_id}  # type: ignore[attr-defined]  # all are CreatePaymentRequest
    assert len(gateway.received) == 4
    assert len(gateway.payments) == 1


async def test_after_four_attempts_the_error_names_the_request_id_to_come_back_with(
    fisc: FiscClient, gateway: FakeGateway
) -> None:
    gateway.failures_after_effect = [Unavailable("closed for lunch") for _ in range(4)]
    with pytest.raises(client.Unavailable) as caught:
        await pay(fisc)
    error = caught.value
    assert len(gateway.received) == 4
    assert error.is_outcome_unknown
    assert (error.reason, error.message) == ("UNAVAILABLE", "closed for lunch")
    payment = await pay(fisc, request_id=error.request_id)
    assert [payment] == list(gateway.payments.values())


async def test_an_error_other_than_unavailable_is_not_asked_again(
    fisc: FiscClient, gateway: FakeGateway
) -> None:
    gateway.failures = [Overloaded(retry_after_s=0.5, queue="payments")]
    with pytest.raises(client.Exhausted) as caught:
        await pay(fisc)
    assert (caught.value.reason, caught.value.retry_after_s) == ("OVERLOADED", 0.5)
    assert caught.value.metadata == {"queue": "payments"}
    assert len(gateway.received) == 1


@pytest.mark.parametrize(
    ("amount", "field"),
    [
        (("CNY", 0), "amount"),
        (("CNY", -1), "amount"),
        (("CNY", 10**12 + 1), "amount"),
        (("yuan", 1), "amount.currency"),
    ],
)
async def test_a_bad_amount_is_an_invalid_request_that_names_the_field(
    fisc: FiscClient, gateway: FakeGateway, amount: tuple[str, int], field: str
) -> None:
    with pytest.raises(client.InvalidRequest) as caught:
        await pay(fisc, amount=amount)
    assert caught.value.field == field
    assert caught.value.violations[0][0] == field
    assert gateway.received == []


async def test_an_unknown_key_is_refused(target: str) -> None:
    async with FiscClient(target, api_key="another") as fisc:
        with pytest.raises(client.Unauthenticated) as caught:
            await fisc.get_payment("pay_1")
    assert caught.value.reason == "API_KEY_INVALID"


async def test_every_call_ends_at_its_deadline(target: str, gateway: FakeGateway) -> None:
    gateway.delay_s = 5
    async with FiscClient(target, api_key=API_KEY, timeout_s=0.2) as fisc:
        with pytest.raises(client.DeadlineExceeded) as caught:
            await pay(fisc, request_id="slow-1")
        assert caught.value.is_outcome_unknown
        assert caught.value.request_id == "slow-1"
        with pytest.raises(client.DeadlineExceeded):
            await fisc.get_payment("pay_1", timeout_s=0.1)


async def test_nobody_listening_is_unavailable() -> None:
    async with FiscClient("127.0.0.1:1", api_key=API_KEY, timeout_s=5) as fisc:
        with pytest.raises(client.Unavailable):
            await fisc.get_payment("pay_1")


async def test_a_list_fetches_page_after_page_until_the_last(
    fisc: FiscClient, gateway: FakeGateway
) -> None:
    for number in range(5):
        await pay(fisc, order_ref=f"order-{number}")
    gateway.received.clear()
    found = [payment.payment_id async for payment in fisc.list_payments(page_size=2)]
    assert found == ["pay_5", "pay_4", "pay_3", "pay_2", "pay_1"]
    assert len(gateway.received) == 3
    chosen = [
        payment.payment_id
        async for payment in fisc.list_payments(state="SUCCEEDED", order_ref="order-1")
    ]
    assert chosen == ["pay_2"]


async def test_a_watch_tells_each_change_once_even_over_lost_connections(
    fisc: FiscClient, gateway: FakeGateway
) -> None:
    gateway.next_states = [Payment.STATE_PROCESSING, SUCCEEDED]
    gateway.breaks_of_watch = 2
    payment = await pay(fisc)
    seen = [each.state async for each in fisc.watch_payment(payment.payment_id)]
    assert seen == [PENDING, Payment.STATE_PROCESSING, SUCCEEDED]


async def test_waiting_returns_the_payment_that_has_ended(
    fisc: FiscClient, gateway: FakeGateway
) -> None:
    gateway.next_states = [SUCCEEDED]
    payment = await pay(fisc)
    assert payment.state == PENDING
    ended = await fisc.wait_for_payment(payment.payment_id, timeout_s=5)
    assert (ended.payment_id, ended.state) == (payment.payment_id, SUCCEEDED)
    assert client.has_ended(ended)


async def test_waiting_too_long_is_an_error_and_so_is_waiting_for_nothing(
    fisc: FiscClient, gateway: FakeGateway
) -> None:
    gateway.next_states = [PENDING]
    payment = await pay(fisc)
    with pytest.raises(client.DeadlineExceeded):
        await fisc.wait_for_payment(payment.payment_id, timeout_s=0.2)
    with pytest.raises(client.NotFound) as caught:
        await fisc.wait_for_payment("pay_nobody", timeout_s=5)
    assert caught.value.reason == "PAYMENT_NOT_FOUND"


async def test_a_watch_gives_up_on_a_gateway_that_stays_away() -> None:
    async with FiscClient("127.0.0.1:1", api_key=API_KEY) as fisc:
        async with asyncio.timeout(30):
            with pytest.raises(client.Unavailable):
                await fisc.wait_for_payment("pay_1", timeout_s=25)


async def test_refunds_payouts_and_cancellations_travel_too(
    fisc: FiscClient, gateway: FakeGateway
) -> None:
    payment = await pay(fisc)
    capture = await fisc.capture_payment(payment.payment_id, amount=("CNY", 300), is_final=True)
    assert (capture.amount.amount_minor, capture.is_final) == (300, True)
    everything = await fisc.capture_payment(payment.payment_id)
    assert (everything.HasField("amount"), everything.is_final) == (False, False)
    assert (await fisc.get_capture("cap_1")).capture_id == "cap_1"
    captures = [each async for each in fisc.list_captures(payment_id=payment.payment_id)]
    assert [each.payment_id for each in captures] == [payment.payment_id]
    assert (await fisc.void_payment(payment.payment_id)).payment_id == payment.payment_id
    reserved = await fisc.create_payment(amount=("CNY", 5), method="CARD", capture_later=True)
    assert reserved.capture_method == payment_pb2.CAPTURE_METHOD_MANUAL
    refund = await fisc.create_refund(payment.payment_id, amount=("CNY", 500), note="broken")
    assert (refund.amount.amount_minor, refund.note) == (500, "broken")
    assert (await fisc.get_refund("ref_1")).refund_id == "ref_1"
    refunds = [each async for each in fisc.list_refunds(payment_id=payment.payment_id)]
    assert [each.payment_id for each in refunds] == [payment.payment_id]
    payout = await fisc.create_payout(
        amount=client.Money(currency="CNY", amount_minor=700),
        payee_account="6222000000001234",
        payee_name="A Payee",
    )
    assert (payout.amount.amount_minor, payout.payee.name) == (700, "A Payee")
    assert (await fisc.get_payout("pout_1")).payout_id == "pout_1"
    assert [each.payout_id async for each in fisc.list_payouts()] == ["pout_1"]
    canceled = await fisc.cancel_payment(payment.payment_id)
    assert canceled.state == Payment.STATE_CANCELED


def test_everything_the_package_offers_exists() -> None:
    module = importlib.import_module("fisc.client")
    assert all(hasattr(module, name) for name in module.__all__)
