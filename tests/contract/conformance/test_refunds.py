"""Money going back: all, parts, again, refused, unknown."""

import pytest

from services.gateway.domain.capability import Feature
from services.gateway.domain.channel import OutcomeKind
from tests.contract.conformance.channel import NOBODY_URL, Channel
from tests.contract.conformance.orders import AMOUNT, NEVER, PAY, REF
from tests.contract.conformance.rig import paying

pytestmark = pytest.mark.asyncio(loop_scope="module")

ACCEPTED = {OutcomeKind.SUCCEEDED, OutcomeKind.PENDING}
REFUSED = {OutcomeKind.DECLINED_HARD, OutcomeKind.DECLINED_SOFT}


@pytest.mark.parametrize("channel", paying(Feature.REFUND), indirect=True)
async def test_all_of_a_payment_is_given_back_once(channel: Channel) -> None:
    await channel.paid(PAY)
    first = await channel.give_back(REF, PAY, AMOUNT)
    assert first.kind in ACCEPTED
    again = await channel.give_back(REF, PAY, AMOUNT)
    assert again.kind in ACCEPTED
    assert again.provider_ref == first.provider_ref
    done = await channel.refunded(REF, PAY, AMOUNT)
    assert (done.amount_minor, done.currency) == (AMOUNT, "CNY")
    assert done.paid_at is not None
    assert [row["amount"] for row in await channel.rows() if row["kind"] == "refund"] == [AMOUNT]


@pytest.mark.parametrize("channel", paying(Feature.PARTIAL_REFUND), indirect=True)
async def test_parts_go_back_one_by_one_and_the_payment_stays_paid(channel: Channel) -> None:
    await channel.paid(PAY)
    parts = (("ref00000001", 230), ("ref00000002", 700), ("ref00000003", 300))
    for number, minor in parts:
        assert (await channel.give_back(number, PAY, minor)).kind in ACCEPTED
        done = await channel.refunded(number, PAY, minor)
        assert done.amount_minor == minor
        payment = await channel.query(PAY)
        assert (payment.kind, payment.amount_minor) == (OutcomeKind.SUCCEEDED, AMOUNT)
    over = await channel.give_back("ref00000004", PAY, 1)
    assert over.kind in REFUSED
    assert over.code


@pytest.mark.parametrize("channel", paying(Feature.REFUND), indirect=True)
async def test_more_than_was_paid_never_goes_back(channel: Channel) -> None:
    await channel.paid(PAY)
    assert (await channel.give_back(REF, PAY, AMOUNT + 1)).kind in REFUSED
    assert (await channel.give_back("ref00000002", PAY, AMOUNT)).kind in ACCEPTED


@pytest.mark.parametrize("channel", paying(Feature.REFUND), indirect=True)
async def test_a_refund_of_what_never_was_is_declined(channel: Channel) -> None:
    assert (await channel.give_back(REF, NEVER, 230)).kind is OutcomeKind.DECLINED_HARD
    missing = await channel.query_refund(REF, NEVER, 230)
    assert missing.kind is OutcomeKind.NOT_FOUND


@pytest.mark.parametrize("channel", paying(Feature.REFUND), indirect=True)
@pytest.mark.parametrize("fault", ["timeout_after_charge", "commit_then_error"])
async def test_a_refund_hidden_by_a_fault_is_unknown_until_a_query_finds_it(
    channel: Channel, fault: str
) -> None:
    await channel.paid(PAY)
    await channel.fault(fault, operation="refund")
    assert (await channel.give_back(REF, PAY, AMOUNT)).kind is OutcomeKind.UNKNOWN
    await channel.refunded(REF, PAY, AMOUNT)
    assert (await channel.give_back(REF, PAY, AMOUNT)).kind in ACCEPTED
    assert [row["out_ref"] for row in await channel.rows() if row["kind"] == "refund"] == [REF]


@pytest.mark.parametrize("channel", paying(Feature.REFUND), indirect=True)
@pytest.mark.parametrize("fault", ["error_5xx", "rate_limited", "down", "bad_signature"])
async def test_only_a_definite_word_settles_a_refund(channel: Channel, fault: str) -> None:
    await channel.paid(PAY)
    await channel.fault(fault)
    assert (await channel.give_back(REF, PAY, AMOUNT)).kind is OutcomeKind.UNKNOWN
    assert (await channel.give_back(REF, PAY, AMOUNT)).kind in ACCEPTED
    await channel.refunded(REF, PAY, AMOUNT)
    assert [row["amount"] for row in await channel.rows() if row["kind"] == "refund"] == [AMOUNT]


@pytest.mark.parametrize("channel", paying(Feature.REFUND), indirect=True)
async def test_a_refund_that_was_not_sent_is_unknown_and_never_declined(channel: Channel) -> None:
    await channel.paid(PAY)
    nobody = channel.connect(base_url=NOBODY_URL)
    outcome = await nobody.refund(channel.refund(REF, PAY, AMOUNT))
    assert (outcome.kind, outcome.code) == (OutcomeKind.UNKNOWN, "CHANNEL_UNREACHABLE")
