"""Every connector behaves the same towards the gateway, against the real sandbox over HTTP."""

from datetime import UTC, datetime, timedelta

import pytest
from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from services.gateway.domain.channel import (
    BillHashMismatch,
    BillNotReady,
    CallbackSignatureInvalid,
    ChannelUnavailable,
    ChannelUnsupported,
    OutcomeKind,
)
from tests.contract.connectors_support import AMOUNT, DAY, Channel, qr_of, sent, until

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def test_a_charge_waits_for_the_payer_and_then_succeeds(channel: Channel) -> None:
    created = await channel.connector.charge(channel.order("pay_0001"))
    assert created.kind is OutcomeKind.PENDING
    assert "://" in qr_of(created)
    assert (await channel.connector.query(sent("pay_0001"))).kind is OutcomeKind.PENDING
    await channel.pay("pay_0001")
    paid = await channel.connector.query(sent("pay_0001"))
    assert paid.kind is OutcomeKind.SUCCEEDED
    assert (paid.amount_minor, paid.currency) == (AMOUNT, "CNY")
    assert paid.provider_ref == (await channel.book("pay_0001"))["provider_ref"]
    assert paid.paid_at is not None
    assert paid.paid_at.date() == DAY


async def test_the_same_number_twice_is_one_charge(channel: Channel) -> None:
    first = await channel.connector.charge(channel.order("pay_0001"))
    again = await channel.connector.charge(channel.order("pay_0001"))
    assert (again.kind, again.next_action) == (first.kind, first.next_action)


async def test_a_number_taken_by_another_amount_is_unknown(channel: Channel) -> None:
    await channel.connector.charge(channel.order("pay_0001"))
    other = await channel.connector.charge(channel.order("pay_0001", amount_minor=99))
    assert other.kind is OutcomeKind.UNKNOWN


async def test_a_busy_channel_declines_softly_and_nothing_happened(channel: Channel) -> None:
    await channel.fault("rate_limited")
    outcome = await channel.connector.charge(channel.order("pay_0001"))
    assert outcome.kind is OutcomeKind.DECLINED_SOFT
    assert (await channel.connector.query(sent("pay_0001"))).kind is OutcomeKind.NOT_FOUND


async def test_an_order_the_channel_cannot_read_is_declined_hard(channel: Channel) -> None:
    outcome = await channel.connector.charge(channel.order("pay_0001", amount_minor=0))
    assert (outcome.kind, outcome.code) == (OutcomeKind.DECLINED_HARD, "PARAM_ERROR")
    assert outcome.message


async def test_a_server_error_says_nothing_about_the_money(channel: Channel) -> None:
    connector = channel.connector
    await channel.fault("error_5xx", count=None)
    for outcome in (
        await connector.charge(channel.order("pay_0001")),
        await connector.query(sent("pay_0001")),
        await connector.close(sent("pay_0001")),
        await connector.refund(channel.refund("ref_0001", "pay_0001", 100)),
        await connector.query_refund(sent("ref_0001")),
    ):
        assert (outcome.kind, outcome.code) == (OutcomeKind.UNKNOWN, "HTTP_500")


@pytest.mark.parametrize("fault", ["timeout_after_charge", "commit_then_error"])
async def test_a_charge_hidden_by_a_fault_is_unknown_until_a_query_finds_it(
    channel: Channel, fault: str
) -> None:
    await channel.fault(fault)
    lost = await channel.connector.charge(channel.order("pay_0001"))
    assert lost.kind is OutcomeKind.UNKNOWN
    found = await channel.connector.query(sent("pay_0001"))
    assert (found.kind, found.amount_minor) == (OutcomeKind.SUCCEEDED, AMOUNT)
    assert (await channel.connector.close(sent("pay_0001"))).kind is OutcomeKind.SUCCEEDED
    assert (await channel.book("pay_0001"))["times_charged"] == 1


async def test_a_channel_that_hangs_up_is_unknown(channel: Channel) -> None:
    await channel.fault("down")
    outcome = await channel.connector.charge(channel.order("pay_0001"))
    assert (outcome.kind, outcome.code) == (OutcomeKind.UNKNOWN, "NO_ANSWER")


async def test_an_unreachable_channel_certainly_did_not_charge(channel: Channel) -> None:
    nobody = channel.connect(base_url="http://127.0.0.1:1/wechat")
    charged = await nobody.charge(channel.order("pay_0001"))
    assert (charged.kind, charged.code) == (OutcomeKind.DECLINED_SOFT, "CHANNEL_UNREACHABLE")
    for outcome in (
        await nobody.query(sent("pay_0001")),
        await nobody.close(sent("pay_0001")),
        await nobody.refund(channel.refund("ref_0001", "pay_0001", 100)),
    ):
        assert (outcome.kind, outcome.code) == (OutcomeKind.UNKNOWN, "CHANNEL_UNREACHABLE")
    with pytest.raises(ChannelUnavailable):
        await nobody.fetch_bill(DAY)


async def test_an_answer_with_a_bad_signature_is_unknown(channel: Channel) -> None:
    await channel.paid("pay_0001")
    await channel.fault("bad_signature", operation="answer")
    doubtful = await channel.connector.query(sent("pay_0001"))
    assert (doubtful.kind, doubtful.code) == (OutcomeKind.UNKNOWN, "ANSWER_SIGNATURE_INVALID")
    assert (await channel.connector.query(sent("pay_0001"))).kind is OutcomeKind.SUCCEEDED


async def test_a_request_signed_with_the_wrong_key_moves_nothing(channel: Channel) -> None:
    stranger = generate_private_key(65537, 2048)
    pem = stranger.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
    forger = channel.connect(secret="guessed", merchant_private_key_pem=pem)
    outcome = await forger.charge(channel.order("pay_0001"))
    assert outcome.kind in (OutcomeKind.DECLINED_SOFT, OutcomeKind.UNKNOWN)
    assert (await channel.connector.query(sent("pay_0001"))).kind is OutcomeKind.NOT_FOUND


async def test_what_never_was_is_not_found(channel: Channel) -> None:
    assert (await channel.connector.query(sent("pay_9999"))).kind is OutcomeKind.NOT_FOUND
    assert (await channel.connector.query_refund(sent("ref_9999"))).kind is OutcomeKind.NOT_FOUND


async def test_a_closed_order_can_never_be_charged(channel: Channel) -> None:
    await channel.connector.charge(channel.order("pay_0001"))
    assert (await channel.connector.close(sent("pay_0001"))).kind is OutcomeKind.CLOSED
    assert (await channel.connector.close(sent("pay_0001"))).kind is OutcomeKind.CLOSED
    assert (await channel.connector.query(sent("pay_0001"))).kind is OutcomeKind.CLOSED
    again = await channel.connector.charge(channel.order("pay_0001"))
    assert again.kind is OutcomeKind.CLOSED


async def test_closing_what_never_was_is_closed(channel: Channel) -> None:
    assert (await channel.connector.close(sent("pay_9999"))).kind is OutcomeKind.CLOSED


async def test_closing_a_paid_order_says_that_it_was_paid(channel: Channel) -> None:
    await channel.paid("pay_0001")
    outcome = await channel.connector.close(sent("pay_0001"))
    assert (outcome.kind, outcome.amount_minor) == (OutcomeKind.SUCCEEDED, AMOUNT)


async def test_a_refund_arrives_once_and_the_payment_stays_paid(channel: Channel) -> None:
    await channel.paid("pay_0001")
    refund = channel.refund("ref_0001", "pay_0001", 230)
    first = await channel.connector.refund(refund)
    assert first.kind in (OutcomeKind.SUCCEEDED, OutcomeKind.PENDING)
    assert (await channel.connector.refund(refund)).provider_ref == first.provider_ref
    done = await until(
        lambda: channel.connector.query_refund(sent("ref_0001")), OutcomeKind.SUCCEEDED
    )
    assert (done.amount_minor, done.currency) == (230, "CNY")
    assert done.paid_at is not None
    payment = await channel.connector.query(sent("pay_0001"))
    assert (payment.kind, payment.amount_minor) == (OutcomeKind.SUCCEEDED, AMOUNT)


async def test_a_refund_of_what_never_was_is_declined(channel: Channel) -> None:
    outcome = await channel.connector.refund(channel.refund("ref_0001", "pay_9999", 230))
    assert outcome.kind is OutcomeKind.DECLINED_HARD


async def test_a_bill_holds_the_days_business(channel: Channel) -> None:
    await channel.paid("pay_0001")
    await channel.set_clock("2026-11-12T12:00:00+08:00")
    bill = await channel.connector.fetch_bill(DAY)
    assert not bill.empty
    assert b"pay_0001" in bill.content
    assert bill.hash_value


async def test_a_day_without_business_is_an_empty_bill(channel: Channel) -> None:
    await channel.set_clock("2026-11-12T12:00:00+08:00")
    assert (await channel.connector.fetch_bill(DAY)).empty


async def test_a_bill_of_a_day_to_come_is_not_ready(channel: Channel) -> None:
    with pytest.raises(BillNotReady):
        await channel.connector.fetch_bill(DAY + timedelta(days=1))


async def test_a_bill_cut_off_on_the_way_is_refused(channel: Channel) -> None:
    await channel.paid("pay_0001")
    await channel.set_clock("2026-11-12T12:00:00+08:00")
    await channel.fault("bill_truncated")
    with pytest.raises(BillHashMismatch):
        await channel.connector.fetch_bill(DAY)
    assert b"pay_0001" in (await channel.connector.fetch_bill(DAY)).content


async def test_a_payment_is_told_by_a_notification_we_can_verify(channel: Channel) -> None:
    await channel.paid("pay_0001")
    headers, body = await channel.notified()
    callback = channel.connector.parse_callback(headers, body, datetime.now(UTC))
    assert (callback.kind, callback.out_ref) == ("payment", "pay_0001")
    assert (callback.outcome.kind, callback.outcome.amount_minor) == (OutcomeKind.SUCCEEDED, AMOUNT)


async def test_a_refund_is_told_by_a_notification_we_can_verify(channel: Channel) -> None:
    await channel.paid("pay_0001")
    await channel.notified()
    await channel.connector.refund(channel.refund("ref_0001", "pay_0001", 230))
    headers, body = await channel.notified()
    callback = channel.connector.parse_callback(headers, body, datetime.now(UTC))
    assert (callback.kind, callback.out_ref) == ("refund", "ref_0001")
    assert (callback.outcome.kind, callback.outcome.amount_minor) == (OutcomeKind.SUCCEEDED, 230)


async def test_a_repeated_notification_carries_the_same_event(channel: Channel) -> None:
    await channel.fault("duplicate_callback")
    await channel.paid("pay_0001")
    now = datetime.now(UTC)
    first = channel.connector.parse_callback(*await channel.notified(), now)
    second = channel.connector.parse_callback(*await channel.notified(), now)
    assert first == second


async def test_a_forged_notification_is_refused_and_the_true_one_comes_again(
    channel: Channel,
) -> None:
    await channel.fault("bad_signature", operation="callback")
    await channel.paid("pay_0001")
    headers, body = await channel.notified()
    with pytest.raises(CallbackSignatureInvalid):
        channel.connector.parse_callback(headers, body, datetime.now(UTC))
    headers, body = await channel.notified()
    assert channel.connector.parse_callback(headers, body, datetime.now(UTC)).out_ref == "pay_0001"


@pytest.mark.parametrize("channel", ["simpay"], indirect=True)
@pytest.mark.parametrize(
    ("code", "kind"),
    [
        ("CARD_EXPIRED", OutcomeKind.DECLINED_HARD),
        ("INSUFFICIENT_FUNDS", OutcomeKind.DECLINED_HARD),
        ("CHANNEL_BUSY", OutcomeKind.DECLINED_SOFT),
    ],
)
async def test_a_decline_is_told_soft_from_hard(
    channel: Channel, code: str, kind: OutcomeKind
) -> None:
    order = channel.order("pay_0001", method="card", payer_token=f"sim:{code}")
    outcome = await channel.connector.charge(order)
    assert (outcome.kind, outcome.code) == (kind, code)
    assert (await channel.book("pay_0001"))["times_charged"] == 0


@pytest.mark.parametrize("channel", ["simpay"], indirect=True)
async def test_a_card_charge_succeeds_at_once_with_its_fee(channel: Channel) -> None:
    outcome = await channel.connector.charge(channel.order("pay_0001", method="card"))
    assert (outcome.kind, outcome.amount_minor) == (OutcomeKind.SUCCEEDED, AMOUNT)
    assert outcome.fee_minor == (await channel.book("pay_0001"))["fee"]


@pytest.mark.parametrize("channel", ["wechat"], indirect=True)
async def test_what_the_channel_does_not_offer_is_refused_before_it_is_sent(
    channel: Channel,
) -> None:
    with pytest.raises(ChannelUnsupported):
        await channel.connector.charge(channel.order("pay_0001", capture_later=True))
    with pytest.raises(ChannelUnsupported):
        await channel.connector.capture(channel.capture("cap_0001", "pay_0001", 100))
    with pytest.raises(ChannelUnsupported):
        await channel.connector.query_capture(sent("cap_0001"))
    with pytest.raises(ChannelUnsupported):
        await channel.connector.payout(channel.payout("out_0001"))
    with pytest.raises(ChannelUnsupported):
        await channel.connector.query_payout(sent("out_0001"))
    with pytest.raises(ChannelUnsupported):
        await channel.connector.balance()
    assert (await channel.connector.query(sent("pay_0001"))).kind is OutcomeKind.NOT_FOUND


@pytest.mark.parametrize("channel", ["wechat"], indirect=True)
async def test_a_signature_probe_is_answered_as_the_channel_wants(channel: Channel) -> None:
    body = {"account_id": channel.account_id, "notify_url": channel.notify_url}
    answer = await channel.control.post("/control/signtest", json=body)
    assert answer.raise_for_status().json()["passed"] is True
