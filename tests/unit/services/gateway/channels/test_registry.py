"""Which connectors can be built, and what is said about one that cannot."""

from collections.abc import AsyncIterator

import pytest

from libs.clock import SystemClock
from services.gateway.channels import registry
from services.gateway.channels.http import ChannelHttp
from services.gateway.domain.channel import ChannelMisconfigured, Connector


@pytest.fixture
async def http() -> AsyncIterator[ChannelHttp]:
    async with ChannelHttp() as client:
        yield client


def _build(http: ChannelHttp, provider: str, credentials: dict[str, str], base: str) -> Connector:
    return registry.build(
        provider,
        channel_id="cheap",
        base_url=base,
        credentials=credentials,
        http=http,
        clock=SystemClock(),
        new_nonce=lambda: "nonce",
    )


@pytest.mark.parametrize(
    ("provider", "credentials", "base", "field"),
    [
        ("paypal", {}, "http://127.0.0.1", "provider"),
        ("simpay", {"secret": "s"}, "127.0.0.1:80", "base_url"),
        ("simpay", {}, "http://127.0.0.1", "secret"),
        ("wechat", {}, "http://127.0.0.1", "merchant_private_key_pem"),
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
    credentials = {"merchant_private_key_pem": "hush", "platform_public_key_pem": "hush"}
    with pytest.raises(ChannelMisconfigured, match="not readable PEM") as caught:
        _build(http, "wechat", credentials, "http://127.0.0.1")
    assert "hush" not in str(caught.value)
