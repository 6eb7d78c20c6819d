"""Alipay Open API for a direct merchant, in key mode or in certificate mode."""

from services.gateway.channels.alipay.connector import AlipayConnector
from services.gateway.channels.provider import Credential, Provider, Wiring
from services.gateway.domain.capability import Capabilities, Feature
from services.gateway.domain.channel import Connector

_TRADE = frozenset({Feature.PAYMENT, Feature.REFUND, Feature.PARTIAL_REFUND, Feature.CLOSE})
# Only in certificate mode; in key mode Alipay refuses to send money out.
_TRANSFER = frozenset({Feature.PAYOUT})


def _build(wiring: Wiring) -> Connector:
    return AlipayConnector(
        gateway_url=wiring.base_url,
        credentials=wiring.credentials,
        http=wiring.http,
        clock=wiring.clock,
        timeout_s=wiring.timeout_s,
    )


PROVIDER = Provider(
    name="alipay",
    display_name="Alipay",
    credentials=(
        Credential(name="app_id", description="application at Alipay's open platform"),
        Credential(
            name="seller_id",
            description="the merchant's own number, 2088…; notices for others are refused",
            is_required=False,
        ),
        Credential(
            name="app_private_key",
            description="signs our requests; PEM, or base64 as Alipay's tool writes it",
            is_secret=True,
        ),
        Credential(
            name="alipay_public_key",
            description="key mode: verifies Alipay's answers; both PEM while it is being replaced",
            is_required=False,
        ),
        Credential(name="app_cert_pem", description="certificate mode: ours", is_required=False),
        Credential(
            name="alipay_cert_pem",
            description="certificate mode: Alipay's, with its issuer's",
            is_required=False,
        ),
        Credential(
            name="alipay_root_cert_pem",
            description="certificate mode: Alipay's roots, as one file",
            is_required=False,
        ),
        Credential(
            name="royalty_freeze",
            description="true keeps what is paid frozen until it has been divided",
            is_required=False,
        ),
    ),
    capabilities=Capabilities(
        methods={
            "ALIPAY_QR": _TRADE,
            "ALIPAY_PAGE": _TRADE,
            "ALIPAY_WAP": _TRADE,
            "ALIPAY_APP": _TRADE,
            "ALIPAY_JSAPI": _TRADE,
            "ALIPAY_CODE": _TRADE,
            "ALIPAY_WALLET": _TRANSFER,
            "BANK_TRANSFER": _TRANSFER,
        },
        account=frozenset({Feature.BILL, Feature.BALANCE}),
    ),
    build=_build,
)
