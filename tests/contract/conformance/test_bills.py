"""A channel's bill: announced, fetched, read by clearing, and the same as the channel's own book."""

from datetime import timedelta

import pytest

from services.clearing.domain import bills
from services.clearing.domain.bills.model import LineStatus
from services.gateway.channels import registry
from services.gateway.domain.capability import Feature
from services.gateway.domain.channel import BillHashMismatch, BillNotReady, ChannelUnavailable
from tests.contract.conformance.channel import NOBODY_URL, Channel
from tests.contract.conformance.orders import DAY, OUT, PAY, REF
from tests.contract.conformance.rig import accounts, paying_with, payouts

pytestmark = pytest.mark.asyncio(loop_scope="module")

NEXT_NOON = "2026-11-12T12:00:00+08:00"
# The book's words for what clearing calls by its own.
KINDS = {"charge": "PAYMENT", "capture": "PAYMENT", "refund": "REFUND", "payout": "PAYOUT"}


async def billed(channel: Channel) -> list[tuple[str, str, int]]:
    """(kind, our reference, amount) of every line that clearing reads as done."""
    await channel.set_clock(NEXT_NOON)
    bill = await channel.connector.fetch_bill(DAY)
    assert not bill.empty
    read = bills.parse(channel.rig.provider, bill.content)
    assert all(line.status is LineStatus.SUCCEEDED for line in read.lines)
    return sorted((line.kind.value, line.out_ref, line.amount_minor) for line in read.lines)


@pytest.mark.parametrize("channel", paying_with(Feature.BILL), indirect=True)
async def test_a_bill_is_what_stands_in_the_channels_book(channel: Channel) -> None:
    for number in range(1, 4):
        await channel.paid(f"pay0000000{number}")
    offers = registry.PROVIDERS[channel.rig.provider].capabilities.offers
    if offers(channel.method, Feature.PARTIAL_REFUND):
        for number, minor in ((1, 230), (2, 500)):
            await channel.give_back(f"ref0000000{number}", PAY, minor)
            await channel.refunded(f"ref0000000{number}", PAY, minor)
    elif offers(channel.method, Feature.REFUND):
        await channel.give_back(REF, PAY, 1230)
        await channel.refunded(REF, PAY, 1230)
    for_the_payee = [pair for pair in payouts() if pair[0] == channel.rig.provider]
    if for_the_payee:
        channel.method = for_the_payee[0][1]
        await channel.pay_out(OUT)

    booked = [
        (KINDS[row["kind"]], row["out_ref"], row["amount"])
        for row in await channel.rows()
        if row["status"] == "SUCCEEDED"
    ]
    assert await billed(channel) == sorted(booked)


@pytest.mark.parametrize("channel", accounts(Feature.BILL), indirect=True)
async def test_a_day_without_business_is_an_empty_bill(channel: Channel) -> None:
    await channel.set_clock(NEXT_NOON)
    assert (await channel.connector.fetch_bill(DAY)).empty


@pytest.mark.parametrize("channel", accounts(Feature.BILL), indirect=True)
async def test_a_bill_of_a_day_to_come_is_not_ready(channel: Channel) -> None:
    with pytest.raises(BillNotReady):
        await channel.connector.fetch_bill(DAY + timedelta(days=1))


@pytest.mark.parametrize("channel", accounts(Feature.BILL), indirect=True)
async def test_a_bill_that_cannot_be_fetched_is_no_bill(channel: Channel) -> None:
    await channel.set_clock(NEXT_NOON)
    with pytest.raises(ChannelUnavailable):
        await channel.connect(base_url=NOBODY_URL).fetch_bill(DAY)
    await channel.fault("error_5xx", count=1)
    with pytest.raises(ChannelUnavailable):
        await channel.connector.fetch_bill(DAY)


@pytest.mark.parametrize("channel", paying_with(Feature.BILL), indirect=True)
async def test_a_bill_cut_off_on_the_way_is_refused(channel: Channel) -> None:
    await channel.paid(PAY)
    await channel.set_clock(NEXT_NOON)
    await channel.fault("bill_truncated")
    with pytest.raises((BillHashMismatch, ChannelUnavailable)):
        await channel.connector.fetch_bill(DAY)
    assert [reference for _, reference, _ in await billed(channel)] == [PAY]


@pytest.mark.parametrize("channel", accounts(Feature.BALANCE), indirect=True)
async def test_the_balance_is_what_the_channels_book_says(channel: Channel) -> None:
    before = await channel.connector.balance()
    answer = await channel.control.get("/control/accounts")
    [known] = [each for each in answer.json() if each["account_id"] == channel.account_id]
    assert (before.currency, before.available_minor) == ("CNY", known["available"])
