"""Every provider is put to the suite, and every method that it offers is tried at least once."""

from collections.abc import Awaitable, Callable

import pytest

from services.clearing.domain import bills
from services.gateway.channels import registry
from services.gateway.domain.capability import Feature
from services.gateway.domain.channel import ChannelUnsupported, OutcomeKind
from services.gateway.domain.method import METHODS, Meeting
from services.gateway.domain.next_action import CallSdk, Redirect, ShowQr, SubmitForm, Wait
from services.sandbox.registry import PROVIDERS as PLAYED
from tests.contract.conformance.channel import Channel
from tests.contract.conformance.orders import CAP, DAY, OUT, PAY, REF
from tests.contract.conformance.rig import RIGS, every_method, representatives

pytestmark = pytest.mark.asyncio(loop_scope="module")

SHOWN = {
    Meeting.SCANS: (ShowQr,),
    Meeting.INSIDE_WALLET: (CallSdk,),
    Meeting.APP: (CallSdk,),
    Meeting.BROWSER: (Redirect, SubmitForm),
    Meeting.SHOWS_CODE: (Wait,),
    Meeting.TOKEN: (Redirect, SubmitForm, Wait),
    Meeting.OUR_BOOKS: (),
    Meeting.TRANSFER: (ShowQr, Redirect, Wait),
}


async def test_every_provider_has_a_rig_and_is_played_by_the_sandbox() -> None:
    assert set(RIGS) == set(registry.PROVIDERS) == set(PLAYED)


@pytest.mark.parametrize("provider", sorted(registry.PROVIDERS))
async def test_what_the_suite_is_put_to_is_offered(provider: str) -> None:
    rig, offered = RIGS[provider], registry.PROVIDERS[provider].capabilities.methods
    assert {*rig.waits, *rig.instant} <= set(offered)
    if any(Feature.PAYMENT in features for features in offered.values()):
        assert rig.waits or rig.instant
        assert rig.declines


@pytest.mark.parametrize("provider", sorted(registry.PROVIDERS))
async def test_whose_bills_can_be_fetched_can_be_read(provider: str) -> None:
    if Feature.BILL in registry.PROVIDERS[provider].capabilities.account:
        assert provider in bills.PARSERS


@pytest.mark.parametrize("channel", every_method(), indirect=True)
async def test_every_method_offered_can_be_asked_for_and_says_what_its_payer_has_to_do(
    channel: Channel,
) -> None:
    outcome = await channel.charge(PAY)
    if outcome.kind is OutcomeKind.SUCCEEDED:
        assert outcome.next_action is None
        return
    assert outcome.kind is OutcomeKind.PENDING
    assert isinstance(outcome.next_action, SHOWN[METHODS[channel.method].meeting])


@pytest.mark.parametrize("channel", representatives(), indirect=True)
async def test_what_is_not_offered_is_refused_before_it_is_sent(channel: Channel) -> None:
    capabilities = registry.PROVIDERS[channel.rig.provider].capabilities
    offered = frozenset().union(*capabilities.methods.values()) | capabilities.account
    connector, asked = channel.connector, channel.sent(PAY)
    calls: list[tuple[Feature, Callable[[], Awaitable[object]]]] = [
        (Feature.PAYMENT, lambda: connector.charge(channel.order(PAY))),
        (Feature.AUTHORIZATION, lambda: connector.charge(channel.order(PAY, capture_later=True))),
        (Feature.AUTHORIZATION, lambda: connector.capture(channel.capture(CAP, PAY, 100))),
        (Feature.AUTHORIZATION, lambda: connector.query_capture(asked)),
        (Feature.REFUND, lambda: connector.refund(channel.refund(REF, PAY, 100))),
        (Feature.PAYOUT, lambda: connector.payout(channel.payout(OUT))),
        (Feature.PAYOUT, lambda: connector.query_payout(asked)),
        (Feature.BILL, lambda: connector.fetch_bill(DAY)),
        (Feature.BALANCE, connector.balance),
    ]
    for feature, call in calls:
        if feature not in offered:
            with pytest.raises(ChannelUnsupported):
                await call()
    assert await channel.rows() == []
