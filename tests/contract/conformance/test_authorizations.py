"""Money reserved: captured in parts or whole, released, run out."""

import pytest

from libs.clock import SystemClock
from libs.resilience.breaker import Breaker
from services.gateway.channels import directory
from services.gateway.channels.directory import GuardedConnector
from services.gateway.domain.capability import Feature
from services.gateway.domain.channel import Outcome, OutcomeKind
from tests.contract.conformance.channel import NOBODY_URL, Channel
from tests.contract.conformance.orders import AMOUNT, CAP, DAY, NEVER, PAY, REF
from tests.contract.conformance.rig import instant, waiting

pytestmark = pytest.mark.asyncio(loop_scope="module")

RESERVING = instant(Feature.AUTHORIZATION)
AFTER_A_WEEK = "2026-11-18T12:00:30+08:00"


async def reserve(channel: Channel) -> Outcome:
    outcome = await channel.charge(PAY, capture_later=True)
    assert outcome.kind is OutcomeKind.AUTHORIZED
    return outcome


@pytest.mark.parametrize("channel", RESERVING, indirect=True)
async def test_an_authorisation_moves_nothing(channel: Channel) -> None:
    created = await reserve(channel)
    assert (created.amount_minor, created.currency, created.paid_at) == (AMOUNT, "CNY", None)
    assert (await channel.charge(PAY, capture_later=True)).kind is OutcomeKind.AUTHORIZED
    assert (await channel.query(PAY)).kind is OutcomeKind.AUTHORIZED
    assert (await channel.book(PAY))["times_charged"] == 0
    told = await channel.told()
    assert (told.kind, told.out_ref, told.outcome.kind) == (
        "payment",
        PAY,
        OutcomeKind.AUTHORIZED,
    )


@pytest.mark.parametrize("channel", waiting(Feature.AUTHORIZATION), indirect=True)
async def test_a_payer_authorises_a_pending_order(channel: Channel) -> None:
    assert (await channel.charge(PAY, capture_later=True)).kind is OutcomeKind.PENDING
    await channel.pay(PAY)
    assert (await channel.query(PAY)).kind is OutcomeKind.AUTHORIZED


@pytest.mark.parametrize("channel", RESERVING, indirect=True)
async def test_a_number_taken_by_a_charge_at_once_is_unknown(channel: Channel) -> None:
    await reserve(channel)
    assert (await channel.charge(PAY)).kind is OutcomeKind.UNKNOWN


@pytest.mark.parametrize("channel", RESERVING, indirect=True)
async def test_a_capture_takes_the_money_once_and_is_told(channel: Channel) -> None:
    await reserve(channel)
    await channel.told()
    taken = await channel.take(CAP, PAY, AMOUNT)
    assert (taken.kind, taken.amount_minor) == (OutcomeKind.SUCCEEDED, AMOUNT)
    assert taken.paid_at is not None
    assert taken.paid_at.date() == DAY
    assert (await channel.take(CAP, PAY, AMOUNT)).provider_ref == taken.provider_ref
    assert (await channel.query_capture(CAP, PAY)).kind is OutcomeKind.SUCCEEDED
    told = await channel.told()
    assert (told.kind, told.out_ref, told.outcome.kind) == ("capture", CAP, taken.kind)
    payment = await channel.query(PAY)
    assert (payment.kind, payment.amount_minor) == (OutcomeKind.SUCCEEDED, AMOUNT)
    captures = [row["amount"] for row in await channel.rows() if row["kind"] == "capture"]
    assert captures == [AMOUNT]


@pytest.mark.parametrize("channel", instant(Feature.MULTIPLE_CAPTURE), indirect=True)
async def test_captures_never_take_more_than_was_reserved(channel: Channel) -> None:
    await reserve(channel)
    part = await channel.take("cap00000001", PAY, 1000)
    over = await channel.take("cap00000002", PAY, 231)
    rest = await channel.take("cap00000003", PAY, 230)
    late = await channel.take("cap00000004", PAY, 1)
    assert [part.kind, rest.kind] == [OutcomeKind.SUCCEEDED] * 2
    assert [over.kind, late.kind] == [OutcomeKind.DECLINED_HARD] * 2
    assert over.code
    assert late.code


@pytest.mark.parametrize("channel", instant(Feature.PARTIAL_CAPTURE), indirect=True)
async def test_a_final_capture_ends_the_payment_with_what_was_captured(channel: Channel) -> None:
    await reserve(channel)
    await channel.take(CAP, PAY, 300, is_final=True)
    payment = await channel.query(PAY)
    assert (payment.kind, payment.amount_minor) == (OutcomeKind.SUCCEEDED, 300)
    assert payment.paid_at is not None


@pytest.mark.parametrize("channel", instant(Feature.MULTIPLE_CAPTURE), indirect=True)
async def test_a_part_taken_leaves_the_rest_reserved(channel: Channel) -> None:
    await reserve(channel)
    await channel.take("cap00000001", PAY, 100)
    still = await channel.query(PAY)
    assert (still.kind, still.amount_minor) == (OutcomeKind.AUTHORIZED, AMOUNT)
    other = await channel.take("cap00000001", PAY, 200)
    assert other.kind is OutcomeKind.UNKNOWN


@pytest.mark.parametrize("channel", RESERVING, indirect=True)
async def test_captures_of_what_never_was_are_declined_and_not_found(channel: Channel) -> None:
    assert (await channel.take(CAP, NEVER, 100)).kind is OutcomeKind.DECLINED_HARD
    assert (await channel.query_capture(CAP, NEVER)).kind is OutcomeKind.NOT_FOUND


@pytest.mark.parametrize("channel", instant(Feature.AUTHORIZATION), indirect=True)
async def test_a_close_releases_what_was_reserved(channel: Channel) -> None:
    await reserve(channel)
    assert (await channel.close(PAY)).kind is OutcomeKind.CLOSED
    assert (await channel.close(PAY)).kind is OutcomeKind.CLOSED
    assert (await channel.take(CAP, PAY, AMOUNT)).kind is OutcomeKind.DECLINED_HARD


@pytest.mark.parametrize("channel", instant(Feature.MULTIPLE_CAPTURE), indirect=True)
async def test_a_close_after_a_capture_says_how_much_was_captured(channel: Channel) -> None:
    await reserve(channel)
    await channel.take(CAP, PAY, 100)
    for outcome in (await channel.close(PAY), await channel.close(PAY), await channel.query(PAY)):
        assert (outcome.kind, outcome.amount_minor) == (OutcomeKind.SUCCEEDED, 100)


@pytest.mark.parametrize("channel", RESERVING, indirect=True)
async def test_an_authorisation_that_ran_out_is_closed(channel: Channel) -> None:
    await reserve(channel)
    await channel.set_clock(AFTER_A_WEEK)
    assert (await channel.take(CAP, PAY, AMOUNT)).kind is OutcomeKind.DECLINED_HARD
    found = await channel.query(PAY)
    assert found.kind is OutcomeKind.CLOSED
    assert found.code


@pytest.mark.parametrize("channel", instant(Feature.PARTIAL_CAPTURE), indirect=True)
async def test_a_refund_gives_back_what_was_captured_and_no_more(channel: Channel) -> None:
    await reserve(channel)
    await channel.take(CAP, PAY, 500, is_final=True)
    assert (await channel.give_back(REF, PAY, 501)).kind is OutcomeKind.DECLINED_HARD
    right = await channel.give_back("ref00000002", PAY, 500)
    assert right.kind in {OutcomeKind.SUCCEEDED, OutcomeKind.PENDING}


@pytest.mark.parametrize("channel", RESERVING, indirect=True)
@pytest.mark.parametrize("fault", ["timeout_after_charge", "commit_then_error"])
async def test_a_capture_hidden_by_a_fault_is_unknown_until_a_query_finds_it(
    channel: Channel, fault: str
) -> None:
    await reserve(channel)
    await channel.fault(fault, operation="capture")
    assert (await channel.take(CAP, PAY, AMOUNT)).kind is OutcomeKind.UNKNOWN
    found = await channel.query_capture(CAP, PAY)
    assert (found.kind, found.amount_minor) == (OutcomeKind.SUCCEEDED, AMOUNT)
    assert (await channel.take(CAP, PAY, AMOUNT)).kind is OutcomeKind.SUCCEEDED


@pytest.mark.parametrize("channel", RESERVING, indirect=True)
@pytest.mark.parametrize("fault", ["error_5xx", "rate_limited", "down", "bad_signature"])
async def test_only_a_definite_word_settles_a_capture(channel: Channel, fault: str) -> None:
    await reserve(channel)
    await channel.fault(fault)
    assert (await channel.take(CAP, PAY, AMOUNT)).kind is OutcomeKind.UNKNOWN
    assert (await channel.take(CAP, PAY, AMOUNT)).kind is OutcomeKind.SUCCEEDED
    assert (await channel.book(CAP))["amount"] == AMOUNT


@pytest.mark.parametrize("channel", RESERVING, indirect=True)
async def test_a_capture_that_was_not_sent_is_unknown_and_never_declined(channel: Channel) -> None:
    nobody = channel.connect(base_url=NOBODY_URL)
    breaker = Breaker(
        channel.account_id, consecutive_failures_max=2, open_s=60.0, clock=SystemClock()
    )
    guarded = GuardedConnector(channel.account_id, nobody, breaker)
    order, asked = channel.capture(CAP, PAY, AMOUNT), channel.sent(CAP, payment=channel.sent(PAY))
    codes = []
    for outcome in (
        await guarded.capture(order),
        await guarded.query_capture(asked),
        await guarded.capture(order),
        await guarded.query_capture(asked),
    ):
        assert outcome.kind is OutcomeKind.UNKNOWN
        codes.append(outcome.code)
    assert codes == ["CHANNEL_UNREACHABLE"] * 2 + [directory.CIRCUIT_OPEN] * 2


@pytest.mark.parametrize("channel", RESERVING, indirect=True)
async def test_captures_share_the_channels_places(
    channel: Channel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(directory, "IN_FLIGHT_MAX", 0)
    monkeypatch.setattr(directory, "PLACE_WAIT_MAX_S", 0.01)
    breaker = Breaker(channel.account_id, clock=SystemClock())
    guarded = GuardedConnector(channel.account_id, channel.connector, breaker)
    await reserve(channel)
    outcome = await guarded.capture(channel.capture(CAP, PAY, AMOUNT))
    assert (outcome.kind, outcome.code) == (OutcomeKind.UNKNOWN, directory.NO_PLACE)
    assert (await channel.query_capture(CAP, PAY)).kind is OutcomeKind.NOT_FOUND
