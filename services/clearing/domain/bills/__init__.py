"""The channels' bills: bytes in, believed lines out, or the reason why not.

A provider's format is a module of its name in this package, with a function `parse`; the modules without one are what they share.
"""

import importlib
import pkgutil
from collections.abc import Callable, Iterator, Mapping
from types import MappingProxyType
from typing import Final

from services.clearing.domain.bills.model import Bill
from services.clearing.domain.errors import BillReason, BillRejected


def _found() -> Iterator[tuple[str, Callable[[bytes], Bill]]]:
    for module in pkgutil.iter_modules(__path__):
        parser = getattr(importlib.import_module(f"{__name__}.{module.name}"), "parse", None)
        if parser is not None:
            yield module.name, parser


PARSERS: Final[Mapping[str, Callable[[bytes], Bill]]] = MappingProxyType(dict(_found()))


def parse(provider: str, content: bytes) -> Bill:
    """Read a provider's bill of one day. Raises BillRejected."""
    parser = PARSERS.get(provider)
    if parser is None:
        raise BillRejected(BillReason.FORMAT_UNKNOWN, f"no parser for provider {provider[:40]!r}")
    return parser(content)
