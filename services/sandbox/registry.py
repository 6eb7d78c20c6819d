"""The providers that are played, found by their folders beside this module."""

import importlib
import pkgutil
from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import Final

from services import sandbox
from services.sandbox.provider import Provider

MODULE: Final = "provider"


def _found() -> Iterator[Provider]:
    for folder in pkgutil.iter_modules(sandbox.__path__, f"{sandbox.__name__}."):
        if folder.ispkg:
            provider: Provider = importlib.import_module(f"{folder.name}.{MODULE}").PROVIDER
            yield provider


PROVIDERS: Final[Mapping[str, Provider]] = MappingProxyType(
    {provider.name: provider for provider in _found()}
)
