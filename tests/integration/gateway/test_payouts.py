"""Sending money out: hold, send, book."""

import secrets

import pytest

from fisc.common.v1 import method_pb2, money_pb2
from fisc.gateway.v1 import payment_pb2
from libs.testing import eventually
from tests.integration.gateway.house import TIMEOUT_S, House

BANK = method_pb2.PAYMENT_METHOD_BANK_TRANSFER
PAYOUT = (method_pb2.OPERATION_PAYOUT,)
O = payment_pb2.Payout  # noqa: E741 - as short as P and R beside it


@pytest.fixture
async def bank(house: House) -> str:
    """The one channel that pays out in these tests, drained afterwards so that no other test meets it."""
    return await house.new_channel(BANK, operations=PAYOUT)


async def payout(house: House, amount_minor: int, request_id: str = "") -> payment_pb2.Payout:
    response = await house.payments.CreatePayout(
        payment_pb2.CreatePayoutRequest(
            request_id=request_id or secrets.token_hex(8),
            amount=money_pb2.Money(currency="CNY", amount_minor=amount_minor),
            payee=payment_pb2.Payee(account="6222000011112222", name="test payee"),
            description="salary",
        ),
        timeout=TIMEOUT_S,
        metadata=house.key,
    )
    return response.payout


async def balances(house: House) -> tuple[int, int]:
    """(posted, held) of the merchant's available account."""
    balance = await house.balance(f"merchant/{house.merchant_id}/available/CNY")
    return balance.posted_minor, balance.held_minor


async def test_a_payout_leaves_the_available_balance(house: House, bank: str) -> None:
    await house.fund(10_000)

    sent = await payout(house, 4_000)

    assert sent.state == O.STATE_SUCCEEDED
    assert sent.payee.account == "****2222"

    async def is_booked() -> bool:
        return await balances(house) == (6_000, 0)

    await eventually(is_booked)


async def test_a_payout_without_the_money_fails_before_any_channel_hears_of_it(
    house: House, bank: str
) -> None:
    await house.fund(1_000)

    refused = await payout(house, 1_001)

    assert (refused.state, refused.reason) == (O.STATE_FAILED, "INSUFFICIENT_FUNDS")
    assert refused.channel_id == ""
    assert await balances(house) == (1_000, 0)


async def test_the_same_payout_request_pays_once(house: House, bank: str) -> None:
    await house.fund(10_000)

    first = await payout(house, 1_000, "salary-1")
    again = await payout(house, 1_000, "salary-1")

    assert first.payout_id == again.payout_id

    async def is_booked() -> bool:
        return await balances(house) == (9_000, 0)

    await eventually(is_booked)


async def test_a_payout_that_the_bank_sends_back_is_the_merchants_again(
    house: House, bank: str
) -> None:
    await house.fund(10_000)
    sent = await payout(house, 4_000)
    assert sent.state == O.STATE_SUCCEEDED
    via = sent.channel_id
    rows = [row for row in await house.book(via) if row["kind"] == "payout"]

    answer = await house.sandbox.post(
        "/control/return", json={"account_id": via, "out_ref": rows[-1]["out_ref"]}
    )
    answer.raise_for_status()

    async def returned() -> payment_pb2.Payout | None:
        found = await house.payments.GetPayout(
            payment_pb2.GetPayoutRequest(payout_id=sent.payout_id),
            timeout=TIMEOUT_S,
            metadata=house.key,
        )
        return found.payout if found.payout.state == O.STATE_RETURNED else None

    back = await eventually(returned, 20.0)
    assert back is not None
    assert (back.reason, back.HasField("returned_at")) == ("ACCOUNT_CLOSED", True)

    async def is_booked() -> bool:
        return await balances(house) == (10_000, 0)

    await eventually(is_booked)
