"""The life of a payment through real services."""

import secrets

import grpc
import pytest

from fisc.common.v1 import method_pb2
from fisc.gateway.v1 import payment_pb2
from libs.testing import eventually
from tests.integration.gateway.conftest import TIMEOUT_S, House

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
