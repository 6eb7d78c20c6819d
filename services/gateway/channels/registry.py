"""From a channel's row to a connector: the only place that knows which providers exist."""

from collections.abc import Callable, Mapping

from libs.clock import Clock
from services.gateway.channels.http import CALL_TIMEOUT_S, ChannelHttp
from services.gateway.channels.simpay.connector import SimpayConnector
from services.gateway.channels.wechat.connector import WechatConnector
from services.gateway.domain.channel import ChannelMisconfigured, Connector

PROVIDERS = ("simpay", "wechat")


def build(
    provider: str,
    *,
    channel_id: str,
    base_url: str,
    credentials: Mapping[str, str],
    http: ChannelHttp,
    clock: Clock,
    new_nonce: Callable[[], str],
    timeout_s: float = CALL_TIMEOUT_S,
) -> Connector:
    """Build the connector of one channel.

    `clock` must be the real one: signatures carry its time. `new_nonce` gives a fresh unguessable
    token of 16 to 32 ASCII letters and digits. `credentials` of wechat: mchid, appid, apiv3_key,
    merchant_serial, merchant_private_key_pem, platform_public_key_pem, platform_public_key_id; of
    simpay: secret. Raises ChannelMisconfigured.
    """
    if not base_url.startswith(("http://", "https://")):
        raise ChannelMisconfigured(
            f"base_url of channel {channel_id} is not an http address", field="base_url"
        )
    base_url = base_url.rstrip("/")
    match provider:
        case "wechat":
            return WechatConnector(
                base_url=base_url,
                credentials=credentials,
                http=http,
                clock=clock,
                new_nonce=new_nonce,
                timeout_s=timeout_s,
            )
        case "simpay":
            return SimpayConnector(
                base_url=base_url,
                secret=_secret(credentials),
                http=http,
                clock=clock,
                new_nonce=new_nonce,
                timeout_s=timeout_s,
            )
        case _:
            raise ChannelMisconfigured(
                f"provider {provider!r} of channel {channel_id} is none of {', '.join(PROVIDERS)}",
                field="provider",
            )


def _secret(credentials: Mapping[str, str]) -> str:
    secret = credentials.get("secret", "")
    if not secret:
        raise ChannelMisconfigured("the credential secret is missing", field="secret")
    return secret
