"""From a channel's row to a connector. Providers are found by their folders beside this module."""

import importlib
import pkgutil
from collections.abc import Iterator, Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import Final

from services.gateway import channels
from services.gateway.channels.provider import Provider, Wiring
from services.gateway.domain.channel import ChannelMisconfigured, Connector

MODULE: Final = "provider"


def _found() -> Iterator[Provider]:
    for folder in pkgutil.iter_modules(channels.__path__, f"{channels.__name__}."):
        if folder.ispkg:
            provider: Provider = importlib.import_module(f"{folder.name}.{MODULE}").PROVIDER
            yield provider


PROVIDERS: Final[Mapping[str, Provider]] = MappingProxyType(
    {provider.name: provider for provider in _found()}
)


def get(name: str, *, channel_id: str = "") -> Provider:
    """The provider of this name. Raises ChannelMisconfigured."""
    provider = PROVIDERS.get(name)
    if provider is None:
        raise ChannelMisconfigured(
            f"provider {name[:40]!r} of channel {channel_id} is none of {', '.join(sorted(PROVIDERS))}",
            field="provider",
        )
    return provider


def build(name: str, wiring: Wiring) -> Connector:
    """The connector of one channel. Raises ChannelMisconfigured, also for a credential that the provider does not know."""
    provider = get(name, channel_id=wiring.channel_id)
    schemes = provider.address_schemes
    if not wiring.base_url.startswith(tuple(f"{scheme}://" for scheme in schemes)):
        raise ChannelMisconfigured(
            f"base_url of channel {wiring.channel_id} does not begin with one of {', '.join(schemes)}",
            field="base_url",
        )
    known = {credential.name: credential for credential in provider.credentials}
    for given in wiring.credentials:
        if given not in known:
            raise ChannelMisconfigured(f"{name} has no credential {given[:40]!r}", field=given)
    for credential in provider.credentials:
        if credential.is_required and not wiring.credentials.get(credential.name):
            raise ChannelMisconfigured(
                f"the credential {credential.name} is missing", field=credential.name
            )
    return provider.build(replace(wiring, base_url=wiring.base_url.rstrip("/")))
