"""Which connectors can be built, and what is said about one that cannot."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from libs.clock import SystemClock
from services.gateway.channels import registry
from services.gateway.channels.http import ChannelHttp
from services.gateway.channels.provider import Wiring
from services.gateway.domain.capability import OF_ACCOUNTS, Feature
from services.gateway.domain.channel import ChannelMisconfigured, Connector
from services.gateway.domain.method import METHODS


@pytest.fixture
async def http() -> AsyncIterator[ChannelHttp]:
    async with ChannelHttp() as client:
        yield client


def _build(http: ChannelHttp, provider: str, credentials: dict[str, str], base: str) -> Connector:
    return registry.build(
        provider,
        Wiring(
            channel_id="cheap",
            base_url=base,
            credentials=credentials,
            http=http,
            clock=SystemClock(),
            new_nonce=lambda: "nonce",
            timeout_s=1.0,
        ),
    )


@pytest.mark.parametrize(
    ("provider", "credentials", "base", "field"),
    [
        ("paypal", {}, "http://127.0.0.1", "provider"),
        ("simpay", {"secret": "s"}, "127.0.0.1:80", "base_url"),
        ("simpay", {}, "http://127.0.0.1", "secret"),
        ("simpay", {"secret": "s", "sceret": "s"}, "http://127.0.0.1", "sceret"),
        ("wechat", {}, "http://127.0.0.1", "mchid"),
    ],
)
async def test_a_channel_that_cannot_be_built_names_the_field(
    http: ChannelHttp, provider: str, credentials: dict[str, str], base: str, field: str
) -> None:
    with pytest.raises(ChannelMisconfigured) as caught:
        _build(http, provider, credentials, base)
    assert caught.value.reason == "CHANNEL_MISCONFIGURED"
    assert caught.value.field == field


async def test_a_key_that_is_no_key_is_refused_without_being_shown(http: ChannelHttp) -> None:
    names = (credential.name for credential in registry.PROVIDERS["wechat"].credentials)
    credentials = dict.fromkeys(names, "hush")
    with pytest.raises(ChannelMisconfigured, match="not readable PEM") as caught:
        _build(http, "wechat", credentials, "http://127.0.0.1")
    assert "hush" not in str(caught.value)


def test_every_folder_beside_the_registry_is_a_provider_of_that_name() -> None:
    folders = {each.parent.name for each in Path(registry.__file__).parent.glob("*/__init__.py")}
    assert set(registry.PROVIDERS) == folders
    assert folders >= {"simpay", "wechat"}


@pytest.mark.parametrize("name", sorted(registry.PROVIDERS))
def test_what_a_provider_says_of_itself_holds_together(name: str) -> None:
    provider = registry.PROVIDERS[name]
    names = [credential.name for credential in provider.credentials]
    assert len(set(names)) == len(names)
    assert provider.capabilities.account <= OF_ACCOUNTS
    for method, features in provider.capabilities.methods.items():
        assert not features & OF_ACCOUNTS
        if features & {Feature.PAYMENT, Feature.AUTHORIZATION}:
            assert METHODS[method].is_for_payments
        if Feature.PAYOUT in features:
            assert METHODS[method].is_for_payouts
        if Feature.PARTIAL_REFUND in features:
            assert Feature.REFUND in features
        if features & {Feature.PARTIAL_CAPTURE, Feature.MULTIPLE_CAPTURE}:
            assert Feature.AUTHORIZATION in features
