"""WeChat Pay API v3 for a direct merchant."""

from services.gateway.channels.provider import Credential, Provider, Wiring
from services.gateway.channels.wechat.connector import WechatConnector
from services.gateway.domain.capability import Capabilities, Feature
from services.gateway.domain.channel import Connector


def _build(wiring: Wiring) -> Connector:
    return WechatConnector(
        base_url=wiring.base_url,
        credentials=wiring.credentials,
        http=wiring.http,
        clock=wiring.clock,
        new_nonce=wiring.new_nonce,
        timeout_s=wiring.timeout_s,
    )


PROVIDER = Provider(
    name="wechat",
    display_name="WeChat Pay",
    credentials=(
        Credential(name="mchid", description="merchant number"),
        Credential(name="appid", description="app that the merchant number is bound to"),
        Credential(name="apiv3_key", description="32 bytes; opens notifications", is_secret=True),
        Credential(name="merchant_serial", description="serial of the merchant's certificate"),
        Credential(
            name="merchant_private_key_pem", description="signs our requests", is_secret=True
        ),
        Credential(name="platform_public_key_pem", description="verifies WeChat's answers"),
        Credential(name="platform_public_key_id", description="PUB_KEY_ID_… of that key"),
    ),
    capabilities=Capabilities(
        methods={
            "WECHAT_QR": frozenset(
                {Feature.PAYMENT, Feature.REFUND, Feature.PARTIAL_REFUND, Feature.CLOSE}
            )
        },
        account=frozenset({Feature.BILL}),
    ),
    build=_build,
)
