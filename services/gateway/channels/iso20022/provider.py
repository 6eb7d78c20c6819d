"""Banks of ISO 20022, as the registry finds them: over HTTP, or (file:) in a directory that is shared with the bank."""

from pathlib import Path
from typing import Final
from urllib.parse import unquote, urlsplit

from services.gateway.channels.iso20022 import settings, signing
from services.gateway.channels.iso20022.connector import IsoConnector
from services.gateway.channels.iso20022.drop import Drop
from services.gateway.channels.iso20022.over_files import OverFiles
from services.gateway.channels.iso20022.over_http import Keys, OverHttp
from services.gateway.channels.provider import Credential, Provider, Wiring
from services.gateway.domain.capability import OF_ACCOUNTS, Capabilities, Feature
from services.gateway.domain.channel import ChannelMisconfigured, Connector

FILES: Final = "file"


def _build(wiring: Wiring) -> Connector:
    if urlsplit(wiring.base_url).scheme == FILES:
        ours = settings.load(wiring.credentials, window_max_ms=settings.FILE_WINDOW_MAX_MS)
        drop = _drop(wiring.base_url, ours)
        return IsoConnector(OverFiles(drop, settings=ours, clock=wiring.clock), ours)
    ours = settings.load(wiring.credentials, window_max_ms=settings.HTTP_WINDOW_MAX_MS)
    over_http = OverHttp(
        base_url=wiring.base_url,
        settings=ours,
        keys=_keys(wiring),
        http=wiring.http,
        clock=wiring.clock,
        new_nonce=wiring.new_nonce,
        timeout_s=wiring.timeout_s,
    )
    return IsoConnector(over_http, ours)


def _drop(base_url: str, ours: settings.Settings) -> Drop:
    """Only where somebody has made the two folders: a row of a table must not make directories anywhere."""
    root = Path(unquote(urlsplit(base_url).path))
    if not ((root / "outbox").is_dir() and (root / "inbox").is_dir()):
        raise ChannelMisconfigured("there is no outbox and inbox", field="base_url")
    try:
        return Drop(root, ours)
    except OSError as error:
        raise ChannelMisconfigured(
            "the directory cannot be written to", field="base_url"
        ) from error


def _keys(wiring: Wiring) -> Keys:
    values = wiring.credentials
    for name in ("private_key_pem", "bank_public_key_pem"):
        if not values.get(name):
            raise ChannelMisconfigured(f"over HTTP {name} is needed", field=name)
    try:
        return Keys(
            private_key=signing.load_private(values["private_key_pem"]),
            key_id=values.get("key_id") or wiring.channel_id,
            bank_key=signing.load_public(values["bank_public_key_pem"]),
        )
    except ValueError as error:
        raise ChannelMisconfigured(f"a key of the channel: {error}") from error


def _optional(name: str, description: str, *, is_secret: bool = False) -> Credential:
    return Credential(name=name, description=description, is_secret=is_secret, is_required=False)


PROVIDER = Provider(
    name="iso20022",
    display_name="ISO 20022",
    address_schemes=("http", "https", FILES),
    credentials=(
        Credential(name="initiating_party", description="who sends the messages"),
        Credential(name="debtor_name", description="who pays"),
        Credential(
            name="debtor_account", description="the account that pays: IBAN, or the bank's number"
        ),
        Credential(name="currency", description="the account's currency"),
        _optional("debtor_agent_bic", "the account's bank by BIC, or"),
        _optional("debtor_agent_member", "by its number in a clearing system"),
        _optional("clearing_system", "that system's code (ExternalClearingSystemIdentification)"),
        _optional("charge_bearer", "who bears the fees (ChrgBr), else SLEV"),
        _optional("payment_version", "of pain.001.001: 03 or 09, else 09"),
        _optional("batch_booking", "whether a message is one entry (BtchBookg), else false"),
        _optional("batch_count_max", "payouts in a message at most, else 1"),
        _optional("batch_window_ms", "how long a message gathers, at most 2000 over HTTP"),
        _optional("zone", "the bank's time zone, else UTC"),
        _optional("checksums_required", "whether files must have a SHA-256 beside them, else true"),
        _optional("private_key_pem", "RSA, P-256 or Ed25519: signs requests", is_secret=True),
        _optional("key_id", "our key's name at the bank, else the channel's"),
        _optional("bank_public_key_pem", "verifies the bank's answers"),
    ),
    capabilities=Capabilities(
        methods={"BANK_TRANSFER": frozenset({Feature.PAYOUT})}, account=OF_ACCOUNTS
    ),
    build=_build,
)
