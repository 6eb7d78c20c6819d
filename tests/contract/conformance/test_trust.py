"""Whom we believe, and who believes us: signatures, clocks and keys."""

from datetime import UTC, datetime, timedelta

import pytest

from libs.clock import FrozenClock
from services.gateway.domain.channel import CallbackSignatureInvalid, OutcomeKind
from tests.contract.conformance.channel import Channel
from tests.contract.conformance.orders import AMOUNT, PAY
from tests.contract.conformance.rig import RIGS, paying, waiting

pytestmark = pytest.mark.asyncio(loop_scope="module")

SKEW = timedelta(minutes=10)
TIMED = [pair for pair in paying() if RIGS[pair[0]].signs_time]
NOT_BELIEVED = {OutcomeKind.DECLINED_SOFT, OutcomeKind.UNKNOWN}


@pytest.mark.parametrize("channel", paying(), indirect=True)
async def test_an_answer_with_a_bad_signature_is_unknown(channel: Channel) -> None:
    await channel.paid(PAY)
    await channel.fault("bad_signature", operation="answer")
    doubtful = await channel.query(PAY)
    assert (doubtful.kind, doubtful.code) == (OutcomeKind.UNKNOWN, "ANSWER_SIGNATURE_INVALID")
    assert (await channel.query(PAY)).kind is OutcomeKind.SUCCEEDED


@pytest.mark.parametrize("channel", paying(), indirect=True)
async def test_a_request_signed_with_the_wrong_key_moves_nothing(channel: Channel) -> None:
    forger = channel.connect(credentials=channel.rig.guess(channel.credentials))
    assert (await forger.charge(channel.order(PAY))).kind in NOT_BELIEVED
    assert (await channel.query(PAY)).kind is OutcomeKind.NOT_FOUND


@pytest.mark.parametrize("channel", TIMED, indirect=True)
@pytest.mark.parametrize("skew", [SKEW, -SKEW], ids=["ahead", "behind"])
async def test_with_a_wrong_clock_nothing_moves_and_nothing_is_believed(
    channel: Channel, skew: timedelta
) -> None:
    late = channel.connect(clock=FrozenClock(datetime.now(UTC) + skew))
    assert (await late.charge(channel.order(PAY))).kind in NOT_BELIEVED
    assert (await channel.query(PAY)).kind is OutcomeKind.NOT_FOUND


@pytest.mark.parametrize("channel", TIMED, indirect=True)
async def test_a_notification_is_believed_for_some_minutes_only(channel: Channel) -> None:
    await channel.paid(PAY)
    headers, body = await channel.notified()
    now = datetime.now(UTC)
    assert channel.connector.parse_callback(headers, body, now).out_ref == PAY
    for wrong in (now + SKEW, now - SKEW):
        with pytest.raises(CallbackSignatureInvalid):
            channel.connector.parse_callback(headers, body, wrong)


@pytest.mark.parametrize("channel", paying(), indirect=True)
async def test_after_a_change_of_keys_only_the_new_ones_hold(channel: Channel) -> None:
    await channel.paid(PAY)
    old = channel.connector
    renewed = await channel.rig.rotate(channel.control, channel.account_id, channel.credentials)
    assert dict(renewed) != dict(channel.credentials)
    second = "pay00000002"
    assert (await old.charge(channel.order(second))).kind in NOT_BELIEVED

    channel.credentials = renewed
    channel.connector = channel.connect()

    assert (await channel.query(second)).kind is OutcomeKind.NOT_FOUND
    known = await channel.query(PAY)
    assert (known.kind, known.amount_minor) == (OutcomeKind.SUCCEEDED, AMOUNT)
    assert (await channel.paid(second)).kind is OutcomeKind.SUCCEEDED


@pytest.mark.parametrize("channel", waiting(), indirect=True)
async def test_a_notification_that_our_keys_do_not_fit_is_refused(
    channel: Channel,
) -> None:
    await channel.paid(PAY)
    headers, body = await channel.notified()
    stranger = channel.connect(credentials=channel.rig.strangers_eyes(channel.credentials))
    with pytest.raises(CallbackSignatureInvalid):
        stranger.parse_callback(headers, body, datetime.now(UTC))
