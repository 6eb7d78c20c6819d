"""Money going out to payees, and coming back from their banks."""

import pytest

from services.gateway.domain.channel import OutcomeKind
from tests.contract.conformance.channel import NOBODY_URL, Channel, until
from tests.contract.conformance.orders import NEXT_DAY, OUT, PAYOUT
from tests.contract.conformance.rig import payouts

pytestmark = pytest.mark.asyncio(loop_scope="module")

NEVER = "out99999999"
ACCEPTED = {OutcomeKind.SUCCEEDED, OutcomeKind.PENDING}


@pytest.mark.parametrize("channel", payouts(), indirect=True)
async def test_a_payout_is_sent_once_and_told(channel: Channel) -> None:
    first = await channel.pay_out(OUT)
    assert first.kind in ACCEPTED
    assert (await channel.pay_out(OUT)).kind in ACCEPTED
    paid = await until(lambda: channel.query_payout(OUT), OutcomeKind.SUCCEEDED)
    assert (paid.amount_minor, paid.currency) == (PAYOUT, "CNY")
    assert [row["amount"] for row in await channel.rows()] == [PAYOUT]
    assert (await channel.query_payout(NEVER)).kind is OutcomeKind.NOT_FOUND


@pytest.mark.parametrize("channel", payouts(), indirect=True)
@pytest.mark.parametrize("fault", ["timeout_after_charge", "commit_then_error"])
async def test_a_payout_hidden_by_a_fault_is_unknown_until_a_query_finds_it(
    channel: Channel, fault: str
) -> None:
    await channel.fault(fault, operation="payout")
    assert (await channel.pay_out(OUT)).kind is OutcomeKind.UNKNOWN
    await until(lambda: channel.query_payout(OUT), OutcomeKind.SUCCEEDED)
    assert [row["amount"] for row in await channel.rows()] == [PAYOUT]


@pytest.mark.parametrize("channel", payouts(), indirect=True)
@pytest.mark.parametrize("fault", ["error_5xx", "rate_limited", "down", "bad_signature"])
async def test_only_a_definite_word_settles_a_payout(channel: Channel, fault: str) -> None:
    await channel.fault(fault)
    unsure = await channel.pay_out(OUT)
    assert unsure.kind in {OutcomeKind.UNKNOWN, OutcomeKind.DECLINED_SOFT}
    if unsure.kind is OutcomeKind.DECLINED_SOFT:
        assert await channel.rows() == []
    assert (await channel.pay_out(OUT)).kind in ACCEPTED
    assert [row["amount"] for row in await channel.rows()] == [PAYOUT]


@pytest.mark.parametrize("channel", payouts(), indirect=True)
async def test_a_payout_that_was_not_sent_is_unknown(channel: Channel) -> None:
    nobody = channel.connect(base_url=NOBODY_URL)
    outcome = await nobody.payout(channel.payout(OUT))
    assert (outcome.kind, outcome.code) == (OutcomeKind.UNKNOWN, "CHANNEL_UNREACHABLE")


@pytest.mark.parametrize("channel", payouts(), indirect=True)
async def test_a_payout_that_the_payees_bank_sends_back_is_returned(channel: Channel) -> None:
    await channel.pay_out(OUT)
    await until(lambda: channel.query_payout(OUT), OutcomeKind.SUCCEEDED)
    await channel.set_clock("2026-11-12T12:00:00+08:00")
    await channel.send_back(OUT)
    found = await channel.query_payout(OUT)
    assert found.kind is OutcomeKind.RETURNED
    assert (found.amount_minor, found.currency) == (PAYOUT, "CNY")
    assert found.code
    # Not every channel says when it came back; none says instead when it had been paid.
    assert found.paid_at is None or found.paid_at.date() == NEXT_DAY
