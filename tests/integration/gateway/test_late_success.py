"""Money that a channel moves after we had ended the matter: told, booked, and given back, or squared by people."""

import asyncio
import secrets
from typing import Any

import grpc
import pytest

from fisc.common.v1 import method_pb2, money_pb2
from fisc.gateway.v1 import payment_pb2 as pb
from fisc.router.v1 import router_pb2
from libs.testing import eventually
from tests.integration.gateway.house import House, reason_of
from tests.integration.gateway.people import (
    bill_line,
    call,
    cases,
    deeds,
    force,
    in_suspense,
    refunds,
    tell_bill,
)

CARD = method_pb2.PAYMENT_METHOD_CARD
BANK = method_pb2.PAYMENT_METHOD_BANK_TRANSFER
PAYOUT = (method_pb2.OPERATION_PAYOUT,)
# A channel's own time: long enough for two people, or for ever.
SOON_MS, NEVER_MS = 2_500, 3_600_000


def cny(amount_minor: int) -> money_pb2.Money:
    return money_pb2.Money(currency="CNY", amount_minor=amount_minor)


async def under_way(house: House, flow: str, settle_after_ms: int) -> tuple[str, str]:
    """(its id, its channel) of a refund or payout of 400 that its channel is at work on."""
    if flow == "refund":
        channel = await house.new_channel(CARD, settle_after_ms=[settle_after_ms] * 2)
        payment = await house.pay(channel, amount_minor=1_000)
        refund = await call(
            house.payments.CreateRefund,
            pb.CreateRefundRequest(
                request_id=secrets.token_hex(8),
                payment_id=payment.payment_id,
                amount=cny(400),
            ),
            house.key,
        )
        return refund.refund.refund_id, channel
    await drain_banks(house)
    channel = await house.new_channel(
        BANK, operations=PAYOUT, settle_after_ms=[settle_after_ms] * 2
    )
    await house.fund(1_000)
    payout = await call(
        house.payments.CreatePayout,
        pb.CreatePayoutRequest(
            request_id=secrets.token_hex(8),
            amount=cny(400),
            payee=pb.Payee(account="6222000011112222", name="test payee"),
        ),
        house.key,
    )
    await drain_banks(house)
    assert payout.payout.channel_id == channel
    return payout.payout.payout_id, channel


async def drain_banks(house: House) -> None:
    """A payout goes where the router sends it: to the one that is open."""
    request = router_pb2.ListChannelsRequest(page_size=1000)
    listed = await call(house.router.ListChannels, request, ())
    for channel in listed.channels:
        if method_pb2.OPERATION_PAYOUT in channel.operations:
            drained = router_pb2.SetChannelStatusRequest(
                request_id=secrets.token_hex(8),
                channel_id=channel.channel_id,
                status=router_pb2.CHANNEL_STATUS_DRAINED,
            )
            await call(house.router.SetChannelStatus, drained, ())


async def state_of(house: House, subject_id: str) -> str:
    if subject_id.startswith("ref"):
        found = await call(
            house.payments.GetRefund, pb.GetRefundRequest(refund_id=subject_id), house.key
        )
        return pb.Refund.State.Name(found.refund.state)
    found = await call(
        house.payments.GetPayout, pb.GetPayoutRequest(payout_id=subject_id), house.key
    )
    return pb.Payout.State.Name(found.payout.state)


async def out_ref_of(database: Any, subject_id: str) -> str:
    query = "SELECT out_ref FROM attempt WHERE subject_id = $1 ORDER BY number LIMIT 1"
    return str(await database.fetchval(query, subject_id))


async def merchants_money(house: House, flow: str) -> tuple[int, int]:
    account = "pending" if flow == "refund" else "available"
    balance = await house.balance(f"merchant/{house.merchant_id}/{account}/CNY")
    return balance.posted_minor, balance.held_minor


@pytest.mark.parametrize("flow", ["refund", "payout"])
@pytest.mark.parametrize("teller", ["channel", "bill"])
async def test_money_that_left_after_we_had_ended_it_waits_until_two_people_have_squared_it(
    house: House, gateway_database: Any, flow: str, teller: str
) -> None:
    subject_id, channel = await under_way(house, flow, SOON_MS if teller == "channel" else NEVER_MS)
    await force(house, subject_id, "FAILED")
    if teller == "bill":
        line = bill_line(await out_ref_of(gateway_database, subject_id), 400)
        for _ in range(2):
            assert (await tell_bill(house, channel, 0, line)).failed_count == 0

    async def is_before_people() -> bool:
        return bool(await cases(house, subject_id))

    async def is_booked() -> bool:
        return await in_suspense(house, subject_id) == -400

    await eventually(is_before_people)
    await eventually(is_booked)
    assert await state_of(house, subject_id) == "STATE_FAILED"
    assert await merchants_money(house, flow) == (1_000, 0)
    [case] = await cases(house, subject_id)
    assert (case.reason, case.HasField("closed_at")) == ("LATE_SUCCESS", False)

    maker_id, checker_id = await force(house, subject_id, "RESOLVED")

    [case] = await cases(house, subject_id)
    assert (case.resolution, case.HasField("closed_at")) == ("RESOLVED", True)
    assert await state_of(house, subject_id) == "STATE_FAILED"
    assert await in_suspense(house, subject_id) == -400
    assert (await deeds(house, subject_id))[-3:] == [
        (maker_id, "FORCE_PROPOSED"),
        (checker_id, "FORCE_APPROVED"),
        (checker_id, "FORCE_APPLIED"),
    ]
    with pytest.raises(grpc.aio.AioRpcError) as nothing_left:
        await force(house, subject_id, "RESOLVED")
    assert reason_of(nothing_left.value) == "FORCE_REFUSED"


async def test_a_late_payout_that_the_payees_bank_sends_back_is_nobodys_matter_any_more(
    house: House, gateway_database: Any
) -> None:
    payout_id, channel = await under_way(house, "payout", NEVER_MS)
    await force(house, payout_id, "FAILED")
    out_ref = await out_ref_of(gateway_database, payout_id)
    await tell_bill(house, channel, 1, bill_line(out_ref, 400))

    for _ in range(2):
        await tell_bill(house, channel, 0, bill_line(out_ref, 400, is_return=True))

    [case] = await cases(house, payout_id)
    assert (case.reason, case.resolution) == ("LATE_SUCCESS", "RETURNED")

    async def is_level() -> bool:
        receivable = await house.balance(f"channel/{channel}/receivable/CNY")
        return (receivable.sequence, receivable.posted_minor) == (2, 0)

    await eventually(is_level)
    assert await in_suspense(house, payout_id) == 0
    assert await state_of(house, payout_id) == "STATE_FAILED"
    assert await merchants_money(house, "payout") == (1_000, 0)


async def test_a_capture_heard_of_late_is_refunded_by_itself(house: House) -> None:
    channel = await house.new_channel(CARD, settle_after_ms=[SOON_MS] * 2)
    payment = await house.pay(channel, amount_minor=1_000, capture_method=pb.CAPTURE_METHOD_MANUAL)
    answer = await call(
        house.payments.CapturePayment,
        pb.CapturePaymentRequest(
            request_id=secrets.token_hex(8), payment_id=payment.payment_id, amount=cny(400)
        ),
        house.key,
    )
    capture_id = answer.capture.capture_id
    await force(house, capture_id, "FAILED")

    async def given_back() -> pb.Refund | None:
        found = await refunds(house, payment.payment_id)
        return found[0] if found and found[0].state == pb.Refund.STATE_SUCCEEDED else None

    refund = await eventually(given_back, 20.0)
    assert refund is not None
    assert (refund.origin, refund.amount) == (pb.Refund.ORIGIN_LATE_SUCCESS, cny(400))
    [case] = await cases(house, refund.refund_id)
    assert (case.reason, case.resolution) == ("LATE_SUCCESS", "REFUNDED")
    assert await cases(house, capture_id) == []
    untouched = await house.get(payment.payment_id)
    assert (untouched.state, untouched.captured_minor, untouched.refunded_minor) == (
        pb.Payment.STATE_AUTHORIZED,
        0,
        0,
    )

    async def nothing_is_left() -> bool:
        owed = await house.balance(f"channel/{channel}/receivable/CNY")
        return (owed.posted_minor, owed.sequence) == (0, 2)

    await eventually(nothing_is_left)
    assert await merchants_money(house, "refund") == (0, 0)


async def test_one_late_success_told_by_many_at_once_is_told_once(
    house: House, gateway_database: Any
) -> None:
    refusing = await house.new_channel(CARD, soft_decline_rate=1, fee_ppm=0)
    good = await house.new_channel(CARD, fee_ppm=9000)
    payment = await house.pay(refusing, good, routing=pb.ROUTING_CHEAPEST)
    assert (payment.state, payment.attempts_count) == (pb.Payment.STATE_SUCCEEDED, 2)
    line = bill_line(await out_ref_of(gateway_database, payment.payment_id), 1_999)

    async with asyncio.TaskGroup() as group:
        calls = [group.create_task(tell_bill(house, refusing, 0, line)) for _ in range(8)]

    assert {call.result().failed_count for call in calls} == {0}
    told = await gateway_database.fetchval(
        "SELECT count(*) FROM event_log WHERE subject_id = $1 AND type = 'payment.late_success'",
        payment.payment_id,
    )
    [refund] = await refunds(house, payment.payment_id)
    assert (told, refund.amount.amount_minor) == (1, 1_999)
    assert [case.reason for case in await cases(house, refund.refund_id)] == ["LATE_SUCCESS"]
    assert (await house.get(payment.payment_id)).state == pb.Payment.STATE_SUCCEEDED
