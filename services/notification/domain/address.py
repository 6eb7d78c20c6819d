"""Which addresses may be called: only those on the public internet."""

import ipaddress
from typing import Final, TypeAlias

Address: TypeAlias = ipaddress.IPv4Address | ipaddress.IPv6Address

# RFC 6052: the last 32 bits are an IPv4 address that a translator will call.
_NAT64: Final = ipaddress.IPv6Network("64:ff9b::/96")
_IPV4_BITS: Final = 0xFFFF_FFFF


def is_public(text: str) -> bool:
    """Whether an IP address is on the public internet; False for what is no address.

    An IPv6 address that carries an IPv4 address (mapped, 6to4, Teredo, NAT64) is public only if that one is too.
    """
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return False
    return all(map(_is_public, (address, *_carried(address))))


def is_address(text: str) -> bool:
    """Whether a host is an IP address rather than a name."""
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


def _is_public(address: Address) -> bool:
    if isinstance(address, ipaddress.IPv6Address) and (
        address.ipv4_mapped is not None or address in _NAT64
    ):
        return True  # decided by the address it carries
    return address.is_global and not (
        address.is_multicast or address.is_reserved or address.is_unspecified
    )


def _carried(address: Address) -> list[ipaddress.IPv4Address]:
    if isinstance(address, ipaddress.IPv4Address):
        return []
    teredo = address.teredo or ()
    nat64 = ipaddress.IPv4Address(int(address) & _IPV4_BITS) if address in _NAT64 else None
    carried = (address.ipv4_mapped, address.sixtofour, *teredo, nat64)
    return [each for each in carried if each is not None]
