"""Text that a database can keep."""

import dataclasses
from collections.abc import Iterable
from typing import TYPE_CHECKING

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
        for field in dataclasses.fields(item):
            value = getattr(item, field.name)
            if isinstance(value, str):
                check(f"{list_field}[{position}].{field.name}", value)
