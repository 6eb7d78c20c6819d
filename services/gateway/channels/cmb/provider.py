"""CMB cloud direct, as the registry finds it."""

from services.gateway.channels.cmb.connector import CmbConnector
from services.gateway.channels.provider import Credential, Provider, Wiring
from services.gateway.domain.capability import OF_ACCOUNTS, Capabilities, Feature
from services.gateway.domain.channel import Connector


def _build(wiring: Wiring) -> Connector:
    return CmbConnector(
        base_url=wiring.base_url,
        credentials=wiring.credentials,
        http=wiring.http,
        clock=wiring.clock,
        new_nonce=wiring.new_nonce,
        timeout_s=wiring.timeout_s,
    )


def _optional(name: str, description: str) -> Credential:
    return Credential(name=name, description=description, is_required=False)


PROVIDER = Provider(
    name="cmb",
    display_name="招商银行 云直联",
    credentials=(
        Credential(name="user_id", description="the company's user at the bank (UID)"),
        Credential(name="private_key", description="SM2, the 32 bytes in base64", is_secret=True),
        Credential(name="bank_public_key", description="SM2, the uncompressed point in base64"),
        Credential(name="cipher_key", description="SM4, 16 characters", is_secret=True),
        Credential(name="account", description="the account that pays"),
        Credential(name="branch", description="its branch (bbknbr)"),
        Credential(name="business_mode", description="the mode of business (busMod)"),
        _optional("business_code", "the kind of business (busCod), else N02030"),
        _optional("settlement", "the settlement channel (stlChn), else Q"),
        _optional("suspicious_states", "states that say nobody knows, else WRF"),
        _optional("duplicate_codes", "errors that say: this number was used before"),
        _optional("not_found_codes", "errors of a query that say: no such number"),
        _optional("not_ready_codes", "errors of the transactions that say: not yet"),
        _optional("transactions_function", "what tells a day's transactions, else DCTRSINF"),
        _optional("batch_count_max", "payouts in a batch at most, else 1"),
        _optional("batch_window_ms", "how long a batch gathers, at most 2000"),
    ),
    capabilities=Capabilities(
        methods={"BANK_TRANSFER": frozenset({Feature.PAYOUT})}, account=OF_ACCOUNTS
    ),
    build=_build,
)
