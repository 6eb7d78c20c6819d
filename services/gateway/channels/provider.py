"""What a provider's folder says of it: `provider.py` there exports one PROVIDER, and nothing else has to be told.

docs/adding-a-provider.md walks through it.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from libs.clock import Clock
from services.gateway.channels.http import ChannelHttp
from services.gateway.domain.capability import Capabilities
from services.gateway.domain.channel import Connector


@dataclass(frozen=True, slots=True, kw_only=True)
class Credential:
    """One value that an account needs. What is not secret may be shown to operators."""

    name: str
    description: str
    is_secret: bool = False
    is_required: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Wiring:
    """What a connector of one account is built from.

    `clock` is the real one: signatures carry its time. `new_nonce` gives a fresh unguessable token of 16
    to 32 ASCII letters and digits. Required credentials are there and not empty; `base_url` has no slash at its end.
    """

    channel_id: str
    base_url: str
    credentials: Mapping[str, str]
    http: ChannelHttp
    clock: Clock
    new_nonce: Callable[[], str]
    timeout_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Provider:
    """One wire protocol: what its accounts need, what it can do, and how a connector is built.

    `build` raises ChannelMisconfigured for credentials that cannot be used.
    """

    name: str
    display_name: str
    credentials: tuple[Credential, ...]
    capabilities: Capabilities
    build: Callable[[Wiring], Connector]
    address_schemes: tuple[str, ...] = ("http", "https")
    """How a `base_url` may begin."""
