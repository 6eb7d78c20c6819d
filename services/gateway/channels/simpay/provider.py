"""Simpay: a plain protocol of our own, which can do everything; the sandbox speaks it."""

from services.gateway.channels.provider import Credential, Provider, Wiring
from services.gateway.channels.simpay.connector import SimpayConnector
from services.gateway.domain.capability import OF_ACCOUNTS, Capabilities, Feature
from services.gateway.domain.channel import Connector
from services.gateway.domain.method import METHODS


def _build(wiring: Wiring) -> Connector:
    return SimpayConnector(
        base_url=wiring.base_url,
        secret=wiring.credentials["secret"],
        http=wiring.http,
        clock=wiring.clock,
        new_nonce=wiring.new_nonce,
        timeout_s=wiring.timeout_s,
    )


_PAYING = frozenset(set(Feature) - OF_ACCOUNTS - {Feature.PAYOUT})

PROVIDER = Provider(
    name="simpay",
    display_name="simpay",
    credentials=(
        Credential(name="secret", description="shared key of the HMAC, both ways", is_secret=True),
    ),
    capabilities=Capabilities(
        methods={
            name: (_PAYING if method.is_for_payments else frozenset())
            | (frozenset({Feature.PAYOUT}) if method.is_for_payouts else frozenset())
            for name, method in METHODS.items()
            if name != "BALANCE"
        },
        account=OF_ACCOUNTS,
    ),
    build=_build,
)
