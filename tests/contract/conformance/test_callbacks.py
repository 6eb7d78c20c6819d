"""Notifications: true, late, repeated, forged, and what is answered to them."""

import asyncio
from datetime import UTC, datetime

import pytest

from services.gateway.domain.capability import Feature
from services.gateway.domain.channel import (
    CallbackMalformed,
    CallbackRejected,
    CallbackSignatureInvalid,
    OutcomeKind,
)
from tests.contract.conformance.channel import Channel
from tests.contract.conformance.orders import AMOUNT, PAY, REF
from tests.contract.conformance.rig import RIGS, waiting

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest.mark.parametrize("channel", waiting(), indirect=True)
async def test_a_payment_is_told_by_a_notification_we_can_verify(channel: Channel) -> None:
    paid = await channel.paid(PAY)
    told = await channel.told()
    assert (told.kind, told.out_ref) == ("payment", PAY)
    assert (told.outcome.kind, told.outcome.amount_minor) == (OutcomeKind.SUCCEEDED, AMOUNT)
    assert told.outcome.provider_ref == paid.provider_ref
    assert told.event_id


@pytest.mark.parametrize("channel", waiting(Feature.PARTIAL_REFUND), indirect=True)
async def test_a_refund_is_told_by_a_notification_we_can_verify(channel: Channel) -> None:
    await channel.paid(PAY)
    await channel.notified()
    await channel.give_back(REF, PAY, 230)
    told = await channel.told()
    assert (told.kind, told.out_ref) == ("refund", REF)
    assert told.outcome.kind is OutcomeKind.SUCCEEDED
    # A channel may tell what went back of the payment in all, which is no word on this refund.
    assert told.outcome.amount_minor in {230, None}


@pytest.mark.parametrize("channel", waiting(), indirect=True)
async def test_a_late_notification_says_what_a_query_has_said_before(channel: Channel) -> None:
    await channel.fault("bad_signature", operation="callback", count=2)
    paid = await channel.paid(PAY)
    for _ in range(2):
        with pytest.raises(CallbackSignatureInvalid):
            await channel.told()
    late = await channel.told()
    assert (late.outcome.kind, late.outcome.provider_ref) == (paid.kind, paid.provider_ref)


@pytest.mark.parametrize("channel", waiting(), indirect=True)
async def test_a_repeated_notification_carries_the_same_event(channel: Channel) -> None:
    await channel.fault("duplicate_callback")
    await channel.paid(PAY)
    now = datetime.now(UTC)
    first = channel.connector.parse_callback(*await channel.notified(), now)
    second = channel.connector.parse_callback(*await channel.notified(), now)
    assert first == second


@pytest.mark.parametrize("channel", waiting(), indirect=True)
async def test_a_forged_notification_is_refused_and_the_true_one_comes_again(
    channel: Channel,
) -> None:
    await channel.fault("bad_signature", operation="callback")
    await channel.paid(PAY)
    headers, body = await channel.notified()
    with pytest.raises(CallbackSignatureInvalid):
        channel.connector.parse_callback(headers, body, datetime.now(UTC))
    assert (await channel.told()).out_ref == PAY


@pytest.mark.parametrize("channel", waiting(), indirect=True)
async def test_what_is_made_of_a_true_notification_is_refused(channel: Channel) -> None:
    await channel.paid(PAY)
    headers, body = await channel.notified()
    forgeries = list(channel.rig.forgeries(headers, body))
    assert forgeries
    for forged_headers, forged_body in forgeries:
        with pytest.raises(CallbackSignatureInvalid):
            channel.connector.parse_callback(forged_headers, forged_body, datetime.now(UTC))


@pytest.mark.parametrize("channel", waiting(), indirect=True)
@pytest.mark.parametrize("body", [b"", b"{}", b"\xff\x00", b"a=1&b=2", b"[" * 5000, b"x" * 70_000])
async def test_what_was_never_a_notification_is_refused_and_no_more(
    channel: Channel, body: bytes
) -> None:
    for headers in ({}, {"content-type": "application/json"}):
        with pytest.raises(CallbackRejected):
            channel.connector.parse_callback(headers, body, datetime.now(UTC))


@pytest.mark.parametrize("channel", waiting(), indirect=True)
async def test_a_notification_of_any_length_is_not_read(channel: Channel) -> None:
    await channel.paid(PAY)
    headers, body = await channel.notified()
    with pytest.raises((CallbackMalformed, CallbackSignatureInvalid)):
        channel.connector.parse_callback(headers, body + b" " * 1_000_000, datetime.now(UTC))


@pytest.mark.parametrize("channel", waiting(), indirect=True)
async def test_what_is_acknowledged_is_not_told_again(channel: Channel) -> None:
    """The receiver answers as the connector says; the sandbox repeats what it takes for a refusal."""
    await channel.paid(PAY)
    await channel.notified()
    await asyncio.sleep(0.4)
    assert channel.inbox.empty()
    accepted, refused = (channel.connector.acknowledge(ok=ok) for ok in (True, False))
    assert (accepted.status, accepted.body) != (refused.status, refused.body)


@pytest.mark.parametrize(
    "channel", [pair for pair in waiting() if RIGS[pair[0]].probes], indirect=True
)
async def test_a_signature_probe_is_answered_as_the_channel_wants(channel: Channel) -> None:
    body = {"account_id": channel.account_id, "notify_url": channel.notify_url}
    answer = await channel.control.post("/control/signtest", json=body)
    assert answer.raise_for_status().json()["passed"] is True
