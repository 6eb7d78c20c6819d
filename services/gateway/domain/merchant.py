"""Who takes money through the gateway, how they prove who they are, and how channels are reached."""

import hashlib
import hmac
from dataclasses import dataclass
from datetime import datetime

API_KEY_PREFIX = "fk"


@dataclass(frozen=True, slots=True, kw_only=True)
class Merchant:
    """Who takes money. Field names are the columns of its row."""

    merchant_id: str
    tenant_id: str
    display_name: str
    currencies: tuple[str, ...]
    risk_down_allowed: bool
    risk_down_limit_minor: int
    created_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class ChannelAccount:
    """How to reach a channel; its credentials travel apart from it."""

    channel_id: str
    provider: str
    base_url: str
    currencies: tuple[str, ...]
    zone: str
    methods: tuple[str, ...] = ()
    """What it is used for; empty for everything that its provider offers."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredChannel:
    """A channel account with its credentials still sealed."""

    account: ChannelAccount
    credential_names: tuple[str, ...]
    sealed_credentials: bytes
    updated_at: datetime


def derived_id(request_id: str) -> str:
    """The id of a merchant who did not choose one: the same request makes the same merchant."""
    return f"mer_{hashlib.sha256(request_id.encode()).hexdigest()[:26]}"


def compose_api_key(key_id: str, secret: str) -> str:
    """The key a merchant sends: it names its row and proves itself."""
    return compose_key(API_KEY_PREFIX, key_id, secret)


def parse_api_key(text: str) -> tuple[str, str] | None:
    """(key_id, secret), or None for anything else."""
    return parse_key(API_KEY_PREFIX, text)


def compose_key(prefix: str, key_id: str, secret: str) -> str:
    """A key of any kind; neither part may hold a dot."""
    return f"{prefix}.{key_id}.{secret}"


def parse_key(prefix: str, text: str) -> tuple[str, str] | None:
    """(key_id, secret) of a key of this kind, or None for anything else."""
    parts = text.split(".")
    if len(parts) != 3 or parts[0] != prefix or not all(parts):  # noqa: PLR2004 - as composed above
        return None
    return parts[1], parts[2]


def secret_hash(secret: str) -> str:
    """What is stored of a key: its secret has 256 bits of chance, so one SHA-256 is enough."""
    return hashlib.sha256(secret.encode()).hexdigest()


def is_secret(secret: str, stored_hash: str) -> bool:
    """Compares in constant time."""
    return hmac.compare_digest(secret_hash(secret), stored_hash)


def available_account(merchant_id: str, currency: str) -> str:
    """The ledger account of money a merchant may use."""
    return f"merchant/{merchant_id}/available/{currency}"


def pending_account(merchant_id: str, currency: str) -> str:
    """The ledger account of money earned but not settled."""
    return f"merchant/{merchant_id}/pending/{currency}"


def receivable_account(channel_id: str, currency: str) -> str:
    """The ledger account of what a channel has collected for us."""
    return f"channel/{channel_id}/receivable/{currency}"


def late_success_account(currency: str) -> str:
    """The ledger account of what channels took late, until it is given back."""
    return f"platform/late-success/{currency}"


def payout_transit_account(currency: str) -> str:
    """The ledger account of payouts on their way, before it is known by which channel they left."""
    return f"platform/payout-transit/{currency}"
