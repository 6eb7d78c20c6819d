"""A merchant's URL that wants to hear, and which events it wants."""

import enum
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final
from urllib.parse import SplitResult, urlsplit

from services.notification.domain import address, errors
from services.notification.domain.notice import EVENT_TYPES

_FAMILY_SUFFIX: Final = ".*"


class EndpointState(enum.StrEnum):
    """Whether it is told anything."""

    ENABLED = "ENABLED"
    DISABLED = "DISABLED"


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """A URL of a merchant and the event types it wants: exact, "payment.*" for a family, none for all."""

    endpoint_id: str
    merchant_id: str
    url: str
    event_types: tuple[str, ...]
    state: EndpointState
    created_at: datetime

    def wants(self, event_type: str) -> bool:
        """Whether an event of this type is to be sent here."""
        if self.state is not EndpointState.ENABLED:
            return False
        return not self.event_types or any(
            _matches(pattern, event_type) for pattern in self.event_types
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class UrlPolicy:
    """Which URLs may be registered and called."""

    allow_http: bool = False
    allow_private: bool = False

    def check(self, url: str) -> None:
        """Raise EndpointUrlInvalid, HttpsRequired or AddressNotPublic (for a host that is an address).

        What a name leads to is checked each time it is called, not here: it may change.
        """
        parts = _split(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise errors.EndpointUrlInvalid(field="endpoint.url")
        if parts.username is not None or parts.password is not None or parts.fragment:
            raise errors.EndpointUrlInvalid(field="endpoint.url")
        if parts.scheme == "http" and not self.allow_http:
            raise errors.HttpsRequired(field="endpoint.url")
        if address.is_address(parts.hostname) and not self.permits(parts.hostname):
            raise errors.AddressNotPublic(field="endpoint.url")

    def permits(self, ip_address: str) -> bool:
        """Whether this address may be called."""
        return self.allow_private or address.is_public(ip_address)


def check_event_types(event_types: Sequence[str]) -> tuple[str, ...]:
    """The event types without repetitions. Raises EventTypeUnknown for one that never happens."""
    for pattern in event_types:
        if not any(_matches(pattern, known) for known in EVENT_TYPES):
            raise errors.EventTypeUnknown(field="endpoint.event_types", event_type=pattern)
    return tuple(dict.fromkeys(event_types))


def _matches(pattern: str, event_type: str) -> bool:
    if pattern.endswith(_FAMILY_SUFFIX):
        return event_type.startswith(pattern.removesuffix("*"))
    return pattern == event_type


def _split(url: str) -> SplitResult:
    # urlsplit quietly drops line feeds and tabs, which no URL of ours may hold.
    if any(character.isspace() or not character.isprintable() for character in url):
        raise errors.EndpointUrlInvalid(field="endpoint.url")
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError as error:
        raise errors.EndpointUrlInvalid(field="endpoint.url") from error
    return parts
