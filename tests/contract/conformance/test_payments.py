"""Charges: paid, declined, closed, expired; and what may be believed when an answer is missing."""

from datetime import UTC, datetime, timedelta

import pytest

from services.gateway.domain.capability import Feature
from services.gateway.domain.channel import OutcomeKind
from tests.contract.conformance.channel import NOBODY_URL, Channel, until
from tests.contract.conformance.orders import AMOUNT, DAY, NEVER, PAY
from tests.contract.conformance.rig import declining, instant, paying, waiting

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest.mark.parametrize("channel", waiting(), indirect=True)
async def test_a_charge_waits_for_the_payer_and_then_succeeds(channel: Channel) -> None:
    created = await channel.charge(PAY)
    assert created.kind is OutcomeKind.PENDING
    assert created.next_action is not None
    assert (await channel.query(PAY)).kind is OutcomeKind.PENDING
    await channel.pay(PAY)
    paid = await channel.query(PAY)
    assert paid.kind is OutcomeKind.SUCCEEDED
    assert (paid.amount_minor, paid.currency) == (AMOUNT, "CNY")
    assert paid.provider_ref
    assert paid.paid_at is not None
    assert paid.paid_at.astimezone(UTC).date() == DAY


@pytest.mark.parametrize("channel", instant(), indirect=True)
async def test_a_charge_that_needs_no_payer_succeeds_at_once(channel: Channel) -> None:
    paid = await channel.charge(PAY)
    assert (paid.kind, paid.amount_minor, paid.currency) == (OutcomeKind.SUCCEEDED, AMOUNT, "CNY")
    assert paid.provider_ref
    assert (await channel.query(PAY)).kind is OutcomeKind.SUCCEEDED
    assert (await channel.book(PAY))["times_charged"] == 1


@pytest.mark.parametrize("channel", paying(), indirect=True)
async def test_the_same_number_twice_is_one_charge(channel: Channel) -> None:
    first = await channel.charge(PAY)
    again = await channel.charge(PAY)
    assert again.kind in {first.kind, OutcomeKind.UNKNOWN}
    assert (await channel.query(PAY)).kind is first.kind
    assert len(await channel.rows()) == 1


@pytest.mark.parametrize("channel", paying(), indirect=True)
async def test_a_number_taken_by_another_amount_is_never_a_decline(channel: Channel) -> None:
    """A decline would send the payer to another channel while this one may take their money."""
    await channel.charge(PAY)
    other = await channel.charge(PAY, amount_minor=99)
    assert other.kind is OutcomeKind.UNKNOWN


@pytest.mark.parametrize(("channel", "name"), declining(), indirect=["channel"])
async def test_a_decline_is_told_soft_from_hard_and_moves_nothing(
    channel: Channel, name: str
) -> None:
    decline = channel.rig.declines[name]
    outcome = await channel.charge(PAY, **decline.order)
    assert outcome.kind is decline.kind
    assert outcome.code
    assert all(row["times_charged"] == 0 for row in await channel.rows())


@pytest.mark.parametrize("channel", paying(), indirect=True)
async def test_a_busy_channel_declines_softly_and_nothing_happened(channel: Channel) -> None:
    await channel.fault("rate_limited")
    outcome = await channel.charge(PAY)
    assert outcome.kind is OutcomeKind.DECLINED_SOFT
    assert (await channel.query(PAY)).kind is OutcomeKind.NOT_FOUND


@pytest.mark.parametrize("channel", paying(), indirect=True)
async def test_a_question_that_a_busy_channel_turns_away_says_nothing(channel: Channel) -> None:
    await channel.paid(PAY)
    await channel.fault("rate_limited")
    assert (await channel.query(PAY)).kind is OutcomeKind.UNKNOWN
    assert (await channel.query(PAY)).kind is OutcomeKind.SUCCEEDED


@pytest.mark.parametrize("channel", paying(), indirect=True)
async def test_a_server_error_says_nothing_and_afterwards_there_is_nothing(
    channel: Channel,
) -> None:
    await channel.fault("error_5xx", count=2)
    lost = await channel.charge(PAY)
    assert lost.kind is OutcomeKind.UNKNOWN
    assert (await channel.query(PAY)).kind is OutcomeKind.UNKNOWN
    assert (await channel.query(PAY)).kind is OutcomeKind.NOT_FOUND
    assert all(row["times_charged"] == 0 for row in await channel.rows())


@pytest.mark.parametrize("channel", paying(), indirect=True)
@pytest.mark.parametrize("fault", ["timeout_after_charge", "commit_then_error"])
async def test_a_charge_hidden_by_a_fault_is_unknown_until_a_query_finds_it(
    channel: Channel, fault: str
) -> None:
    await channel.fault(fault)
    lost = await channel.charge(PAY)
    assert lost.kind is OutcomeKind.UNKNOWN
    found = await channel.query(PAY)
    assert (found.kind, found.amount_minor) == (OutcomeKind.SUCCEEDED, AMOUNT)
    assert (await channel.close(PAY)).kind is OutcomeKind.SUCCEEDED
    assert (await channel.book(PAY))["times_charged"] == 1


@pytest.mark.parametrize("channel", paying(), indirect=True)
async def test_a_channel_that_hangs_up_is_unknown(channel: Channel) -> None:
    await channel.fault("down")
    outcome = await channel.charge(PAY)
    assert (outcome.kind, outcome.code) == (OutcomeKind.UNKNOWN, "NO_ANSWER")


@pytest.mark.parametrize("channel", paying(), indirect=True)
async def test_an_unreachable_channel_certainly_did_not_charge(channel: Channel) -> None:
    nobody = channel.connect(base_url=NOBODY_URL)
    charged = await nobody.charge(channel.order(PAY))
    assert (charged.kind, charged.code) == (OutcomeKind.DECLINED_SOFT, "CHANNEL_UNREACHABLE")
    for outcome in (await nobody.query(channel.sent(PAY)), await nobody.close(channel.sent(PAY))):
        assert (outcome.kind, outcome.code) == (OutcomeKind.UNKNOWN, "CHANNEL_UNREACHABLE")


@pytest.mark.parametrize("channel", paying(), indirect=True)
async def test_what_never_was_is_not_found(channel: Channel) -> None:
    assert (await channel.query(NEVER)).kind is OutcomeKind.NOT_FOUND


@pytest.mark.parametrize("channel", waiting(Feature.CLOSE), indirect=True)
async def test_a_closed_order_can_never_be_charged(channel: Channel) -> None:
    await channel.charge(PAY)
    assert (await channel.close(PAY)).kind is OutcomeKind.CLOSED
    assert (await channel.close(PAY)).kind is OutcomeKind.CLOSED
    assert (await channel.query(PAY)).kind is OutcomeKind.CLOSED
    again = await channel.charge(PAY)
    assert again.kind in {OutcomeKind.CLOSED, OutcomeKind.UNKNOWN}
    await channel.pay(PAY)
    assert (await channel.book(PAY))["times_charged"] == 0


@pytest.mark.parametrize("channel", waiting(Feature.CLOSE), indirect=True)
async def test_closing_what_never_was_is_closed(channel: Channel) -> None:
    assert (await channel.close(NEVER)).kind is OutcomeKind.CLOSED


@pytest.mark.parametrize("channel", paying(), indirect=True)
async def test_closing_a_paid_order_says_that_it_was_paid(channel: Channel) -> None:
    await channel.paid(PAY)
    outcome = await channel.close(PAY)
    assert (outcome.kind, outcome.amount_minor) == (OutcomeKind.SUCCEEDED, AMOUNT)


@pytest.mark.parametrize("channel", waiting(Feature.CLOSE), indirect=True)
async def test_a_channel_that_takes_money_after_its_close_is_heard_of(channel: Channel) -> None:
    await channel.charge(PAY)
    assert (await channel.close(PAY)).kind is OutcomeKind.CLOSED
    await channel.pay(PAY, late=True)
    told = await channel.told()
    assert (told.out_ref, told.outcome.kind) == (PAY, OutcomeKind.SUCCEEDED)
    assert (await channel.query(PAY)).kind is OutcomeKind.SUCCEEDED


@pytest.mark.parametrize("channel", waiting(), indirect=True)
async def test_an_order_ends_when_its_time_is_over(channel: Channel) -> None:
    # A channel may want whole seconds, and refuse what ends at once.
    expires_at = datetime.now(UTC) + timedelta(seconds=2)
    assert (await channel.charge(PAY, expires_at=expires_at)).kind is OutcomeKind.PENDING
    assert (await until(lambda: channel.query(PAY), OutcomeKind.CLOSED)).paid_at is None
    await channel.pay(PAY)
    assert (await channel.query(PAY)).kind is OutcomeKind.CLOSED
