"""Reserving, capturing, releasing, paying out: what not every provider offers, over HTTP."""

from datetime import timedelta

import pytest

from libs.clock import SystemClock
from libs.resilience.breaker import Breaker
from services.gateway.channels import directory
from services.gateway.channels.directory import GuardedConnector
from services.gateway.domain.channel import OutcomeKind
from tests.contract.connectors_support import AMOUNT, DAY, Channel, sent

pytestmark = [
    pytest.mark.asyncio(loop_scope="module"),
    pytest.mark.parametrize("channel", ["simpay"], indirect=True),
]

AFTER_A_WEEK = "2026-11-18T12:00:30+08:00"


async def reserve(channel: Channel) -> None:
    outcome = await channel.connector.charge(channel.reservation("pay_0001"))
    assert outcome.kind is OutcomeKind.AUTHORIZED


async def test_an_authorisation_moves_nothing_and_is_told(channel: Channel) -> None:
    before = await channel.connector.balance()
    created = await channel.connector.charge(channel.reservation("pay_0001"))
    assert (created.kind, created.amount_minor) == (OutcomeKind.AUTHORIZED, AMOUNT)
    assert (created.currency, created.paid_at) == ("CNY", None)
    assert await channel.connector.charge(channel.reservation("pay_0001")) == created
    assert await channel.connector.query(sent("pay_0001")) == created
    assert await channel.connector.balance() == before
    told = await channel.told()
    assert (told.kind, told.out_ref, told.outcome) == ("payment", "pay_0001", created)


async def test_a_payer_authorises_a_pending_order(channel: Channel) -> None:
    order = channel.order("pay_0001", capture_later=True)
    assert (await channel.connector.charge(order)).kind is OutcomeKind.PENDING
    await channel.pay("pay_0001")
    assert (await channel.connector.query(sent("pay_0001"))).kind is OutcomeKind.AUTHORIZED


async def test_a_number_taken_by_a_charge_at_once_is_unknown(channel: Channel) -> None:
    await reserve(channel)
    other = await channel.connector.charge(channel.order("pay_0001", method="card"))
    assert (other.kind, other.code) == (OutcomeKind.UNKNOWN, "ORDER_CONFLICT")


async def test_a_capture_takes_the_money_once_and_is_told(channel: Channel) -> None:
    await reserve(channel)
    await channel.told()
    order = channel.capture("cap_0001", "pay_0001", AMOUNT)
    taken = await channel.connector.capture(order)
    assert (taken.kind, taken.amount_minor) == (OutcomeKind.SUCCEEDED, AMOUNT)
    assert taken.paid_at is not None
    assert taken.paid_at.date() == DAY
    assert taken.fee_minor == (await channel.book("cap_0001"))["fee"]
    assert await channel.connector.capture(order) == taken
    assert await channel.connector.query_capture(sent("cap_0001")) == taken
    told = await channel.told()
    assert (told.kind, told.out_ref, told.outcome) == ("capture", "cap_0001", taken)
    payment = await channel.connector.query(sent("pay_0001"))
    assert (payment.kind, payment.amount_minor) == (OutcomeKind.SUCCEEDED, AMOUNT)


async def test_captures_never_take_more_than_was_reserved(channel: Channel) -> None:
    await reserve(channel)
    part = await channel.connector.capture(channel.capture("cap_0001", "pay_0001", 1000))
    over = await channel.connector.capture(channel.capture("cap_0002", "pay_0001", 231))
    rest = await channel.connector.capture(channel.capture("cap_0003", "pay_0001", 230))
    late = await channel.connector.capture(channel.capture("cap_0004", "pay_0001", 1))
    assert [part.kind, rest.kind] == [OutcomeKind.SUCCEEDED] * 2
    assert (over.kind, over.code) == (OutcomeKind.DECLINED_HARD, "AMOUNT_EXCEEDED")
    assert (late.kind, late.code) == (OutcomeKind.DECLINED_HARD, "NOT_AUTHORIZED")


async def test_a_final_capture_ends_the_payment_with_what_was_captured(channel: Channel) -> None:
    await reserve(channel)
    await channel.connector.capture(channel.capture("cap_0001", "pay_0001", 100))
    still = await channel.connector.query(sent("pay_0001"))
    assert (still.kind, still.amount_minor) == (OutcomeKind.AUTHORIZED, AMOUNT)
    await channel.connector.capture(channel.capture("cap_0002", "pay_0001", 200, is_final=True))
    payment = await channel.connector.query(sent("pay_0001"))
    assert (payment.kind, payment.amount_minor) == (OutcomeKind.SUCCEEDED, 300)
    assert payment.paid_at is not None


async def test_a_capture_number_taken_by_other_terms_is_unknown(channel: Channel) -> None:
    await reserve(channel)
    await channel.connector.capture(channel.capture("cap_0001", "pay_0001", 100))
    other = await channel.connector.capture(channel.capture("cap_0001", "pay_0001", 200))
    assert (other.kind, other.code) == (OutcomeKind.UNKNOWN, "ORDER_CONFLICT")


async def test_captures_of_what_never_was_are_declined_and_not_found(channel: Channel) -> None:
    outcome = await channel.connector.capture(channel.capture("cap_0001", "pay_9999", 100))
    assert (outcome.kind, outcome.code) == (OutcomeKind.DECLINED_HARD, "ORDER_NOT_FOUND")
    assert (await channel.connector.query_capture(sent("cap_0001"))).kind is OutcomeKind.NOT_FOUND


async def test_a_close_releases_what_was_reserved(channel: Channel) -> None:
    await reserve(channel)
    assert (await channel.connector.close(sent("pay_0001"))).kind is OutcomeKind.CLOSED
    assert (await channel.connector.close(sent("pay_0001"))).kind is OutcomeKind.CLOSED
    late = await channel.connector.capture(channel.capture("cap_0001", "pay_0001", 100))
    assert (late.kind, late.code) == (OutcomeKind.DECLINED_HARD, "NOT_AUTHORIZED")


async def test_a_close_after_a_capture_says_how_much_was_captured(channel: Channel) -> None:
    await reserve(channel)
    await channel.connector.capture(channel.capture("cap_0001", "pay_0001", 100))
    for outcome in (
        await channel.connector.close(sent("pay_0001")),
        await channel.connector.close(sent("pay_0001")),
        await channel.connector.query(sent("pay_0001")),
    ):
        assert (outcome.kind, outcome.amount_minor) == (OutcomeKind.SUCCEEDED, 100)


async def test_an_authorisation_that_ran_out_is_closed(channel: Channel) -> None:
    await reserve(channel)
    await channel.set_clock(AFTER_A_WEEK)
    late = await channel.connector.capture(channel.capture("cap_0001", "pay_0001", 100))
    assert (late.kind, late.code) == (OutcomeKind.DECLINED_HARD, "NOT_AUTHORIZED")
    found = await channel.connector.query(sent("pay_0001"))
    assert (found.kind, found.code) == (OutcomeKind.CLOSED, "AUTH_EXPIRED")


async def test_a_refund_gives_back_what_was_captured_and_no_more(channel: Channel) -> None:
    await reserve(channel)
    await channel.connector.capture(channel.capture("cap_0001", "pay_0001", 500, is_final=True))
    over = await channel.connector.refund(channel.refund("ref_0001", "pay_0001", 501))
    right = await channel.connector.refund(channel.refund("ref_0002", "pay_0001", 500))
    assert (over.kind, over.code) == (OutcomeKind.DECLINED_HARD, "REFUND_AMOUNT_EXCEEDED")
    assert right.kind is OutcomeKind.SUCCEEDED


@pytest.mark.parametrize("fault", ["timeout_after_charge", "commit_then_error"])
async def test_a_capture_hidden_by_a_fault_is_unknown_until_a_query_finds_it(
    channel: Channel, fault: str
) -> None:
    await reserve(channel)
    await channel.fault(fault, operation="capture")
    order = channel.capture("cap_0001", "pay_0001", 100)
    assert (await channel.connector.capture(order)).kind is OutcomeKind.UNKNOWN
    found = await channel.connector.query_capture(sent("cap_0001"))
    assert (found.kind, found.amount_minor) == (OutcomeKind.SUCCEEDED, 100)
    assert await channel.connector.capture(order) == found


@pytest.mark.parametrize(
    ("fault", "code"),
    [
        ("error_5xx", "HTTP_500"),
        ("rate_limited", "RATE_LIMITED"),
        ("down", "NO_ANSWER"),
        ("bad_signature", "ANSWER_SIGNATURE_INVALID"),
    ],
)
async def test_only_a_definite_word_settles_a_capture(
    channel: Channel, fault: str, code: str
) -> None:
    await reserve(channel)
    await channel.fault(fault)
    order = channel.capture("cap_0001", "pay_0001", 100)
    outcome = await channel.connector.capture(order)
    assert (outcome.kind, outcome.code) == (OutcomeKind.UNKNOWN, code)
    assert (await channel.connector.capture(order)).kind is OutcomeKind.SUCCEEDED
    assert (await channel.book("cap_0001"))["amount"] == 100


async def test_a_capture_that_was_not_sent_is_unknown_and_never_declined(channel: Channel) -> None:
    nobody = channel.connect(base_url="http://127.0.0.1:1/simpay/x")
    breaker = Breaker(
        channel.account_id, consecutive_failures_max=2, open_s=60.0, clock=SystemClock()
    )
    guarded = GuardedConnector(channel.account_id, nobody, breaker)
    order = channel.capture("cap_0001", "pay_0001", 100)
    codes = []
    for outcome in (
        await guarded.capture(order),
        await guarded.query_capture(sent("cap_0001")),
        await guarded.capture(order),
        await guarded.query_capture(sent("cap_0001")),
    ):
        assert outcome.kind is OutcomeKind.UNKNOWN
        codes.append(outcome.code)
    assert codes == ["CHANNEL_UNREACHABLE"] * 2 + [directory.CIRCUIT_OPEN] * 2


async def test_captures_share_the_channels_places(
    channel: Channel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(directory, "IN_FLIGHT_MAX", 0)
    monkeypatch.setattr(directory, "PLACE_WAIT_MAX_S", 0.01)
    breaker = Breaker(channel.account_id, clock=SystemClock())
    guarded = GuardedConnector(channel.account_id, channel.connector, breaker)
    await reserve(channel)
    outcome = await guarded.capture(channel.capture("cap_0001", "pay_0001", 100))
    assert (outcome.kind, outcome.code) == (OutcomeKind.UNKNOWN, directory.NO_PLACE)
    assert (await channel.connector.query_capture(sent("cap_0001"))).kind is OutcomeKind.NOT_FOUND


async def test_a_bill_names_captures_and_not_their_authorisation(channel: Channel) -> None:
    await reserve(channel)
    assert (await channel.connector.fetch_bill(DAY)).empty
    await channel.connector.capture(channel.capture("cap_0001", "pay_0001", 100))
    [row] = (await channel.connector.fetch_bill(DAY)).content.splitlines()[1:-1]
    assert row.startswith(b"pay_0001,,,CAPTURE,100,CNY,")
    assert row.endswith(b",cap_0001")


async def test_a_payout_leaves_the_balance_once_and_is_told(channel: Channel) -> None:
    before = await channel.connector.balance()
    payout = channel.payout("out_0001")
    paid = await channel.connector.payout(payout)
    assert (paid.kind, paid.amount_minor) == (OutcomeKind.SUCCEEDED, 5000)
    assert await channel.connector.payout(payout) == paid
    assert await channel.connector.query_payout(sent("out_0001")) == paid
    after = await channel.connector.balance()
    assert before.available_minor - after.available_minor == 5000
    assert (await channel.connector.query_payout(sent("out_9999"))).kind is OutcomeKind.NOT_FOUND
    told = await channel.told()
    assert (told.kind, told.out_ref, told.outcome) == ("payout", "out_0001", paid)


async def test_a_payout_that_the_payees_bank_sends_back_is_returned(channel: Channel) -> None:
    before = await channel.connector.balance()
    await channel.connector.payout(channel.payout("out_0001"))
    paid = await channel.told()
    await channel.set_clock("2026-11-12T12:00:00+08:00")
    await channel.send_back("out_0001")
    found = await channel.connector.query_payout(sent("out_0001"))
    assert (found.kind, found.code) == (OutcomeKind.RETURNED, "ACCOUNT_CLOSED")
    assert (found.amount_minor, found.currency) == (5000, "CNY")
    assert found.paid_at is not None
    assert found.paid_at.date() == DAY + timedelta(days=1)
    assert await channel.connector.payout(channel.payout("out_0001")) == found
    told = await channel.told()
    assert (told.kind, told.out_ref, told.outcome) == ("payout", "out_0001", found)
    assert told.event_id != paid.event_id
    assert await channel.connector.balance() == before
    bill = (await channel.connector.fetch_bill(DAY + timedelta(days=1))).content
    assert b",out_0001,PAYOUT_RETURN,5000,CNY,0,SUCCEEDED," in bill
