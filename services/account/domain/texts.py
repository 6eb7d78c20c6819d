"""Text that a database can keep."""

import dataclasses
import functools
from collections.abc import Callable, Iterable
from operator import attrgetter
from typing import TYPE_CHECKING, Any

from services.account.domain import errors

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

_NUL = "\x00"


def check(field: str, value: str) -> None:
    """Raise InvalidText, naming the field, if Postgres could not store the value."""
    if _NUL in value:
        raise errors.InvalidText(field=field)


def check_items(list_field: str, items: "Iterable[DataclassInstance]") -> None:
    """Check every text of every item."""
    for position, item in enumerate(items):
        names, texts_of = _texts(type(item))
        # Nearly always one look at all of them is enough.
        if _NUL in "".join(texts_of(item)):
            for name, value in zip(names, texts_of(item), strict=True):
                check(f"{list_field}[{position}].{name}", value)


@functools.cache
def _texts(kind: "type[DataclassInstance]") -> tuple[tuple[str, ...], Callable[[Any], Any]]:
    """The names of a class's texts, and what reads them all."""
    names = tuple(field.name for field in dataclasses.fields(kind) if field.type is str)
    if len(names) == 1:
        return names, lambda item: (getattr(item, names[0]),)
    return names, attrgetter(*names)
