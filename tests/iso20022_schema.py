"""Messages of ISO 20022 against the standard's schemas, as pyiso20022 carries them.

Its classes are generated from the schemas: each field knows its element, whether it must be there, how often it may be,
its pattern, its lengths and digits; the order of the fields is that of the elements.
"""

import dataclasses
import enum
import importlib
import re
import sys
import typing
from decimal import Decimal
from typing import Any

from libs import camt, markup
from libs.markup import Element


def problems(content: bytes) -> list[str]:
    """What is wrong with a message; nothing if it is valid."""
    root = markup.parse(content)
    match = camt.NAMESPACE.fullmatch(root.namespace)
    if match is None:
        return [f"unknown namespace {root.namespace}"]
    family, number = match.group(1).split(".")
    name = f"{family}_{number}_001_{match.group(2)}"
    module = importlib.import_module(f"pyiso20022.{family}.{name}.{name}")
    return list(_check(root, module.Document, module.__name__, root.name))


def _check(element: Element, kind: Any, module: str, path: str) -> typing.Iterator[str]:
    if not dataclasses.is_dataclass(kind):
        yield from _check_text(element.text, kind, {}, path)
        return
    fields = {
        field.metadata["name"]: field
        for field in dataclasses.fields(kind)
        if "name" in field.metadata
    }
    types = typing.get_type_hints(kind, vars(sys.modules[module]))
    attributes = {name for name, field in fields.items() if field.metadata["type"] == "Attribute"}
    elements = [name for name, field in fields.items() if field.metadata["type"] == "Element"]
    for name in element.attributes.keys() - attributes:
        yield f"{path}: no attribute {name}"
    value = next((field for field in dataclasses.fields(kind) if field.name == "value"), None)
    if value is not None and not elements:
        yield from _check_text(element.text, _inner(types["value"]), value.metadata, path)
    places = []
    for child in element.children:
        if child.name not in elements:
            yield f"{path}: no element {child.name}"
            continue
        places.append(elements.index(child.name))
        field = fields[child.name]
        inner = _inner(types[field.name])
        below = f"{path}/{child.name}"
        if dataclasses.is_dataclass(inner):
            yield from _check(child, inner, module, below)
        else:
            yield from _check_text(child.text, inner, field.metadata, below)
    if places != sorted(places):
        yield f"{path}: the elements are out of order"
    for name in elements:
        metadata = fields[name].metadata
        count = sum(child.name == name for child in element.children)
        if count < (1 if metadata.get("required") else metadata.get("min_occurs", 0)):
            yield f"{path}: {name} is missing"
        is_list = typing.get_origin(types[fields[name].name]) is list
        if count > (metadata.get("max_occurs", sys.maxsize) if is_list else 1):
            yield f"{path}: {name} is there {count} times"


def _inner(kind: Any) -> Any:
    """The class within `list[...]` or `None | ...`."""
    arguments = [each for each in typing.get_args(kind) if each is not type(None)]
    return _inner(arguments[0]) if arguments else kind


def _check_text(text: str, kind: Any, metadata: Any, path: str) -> typing.Iterator[str]:
    if isinstance(kind, type) and issubclass(kind, enum.Enum):
        if text not in {each.value for each in kind}:
            yield f"{path}: {text!r} is no value of {kind.__name__}"
        return
    if not metadata.get("min_length", 0) <= len(text) <= metadata.get("max_length", sys.maxsize):
        yield f"{path}: {text!r} has {len(text)} characters"
    pattern = metadata.get("pattern")
    if pattern is not None and re.fullmatch(pattern, text) is None:
        yield f"{path}: {text!r} does not fit {pattern}"
    if kind is Decimal:
        number = Decimal(text)
        _, digits, exponent = number.as_tuple()
        fraction = -exponent if isinstance(exponent, int) else 0
        if fraction > metadata.get("fraction_digits", sys.maxsize) or len(digits) > metadata.get(
            "total_digits", sys.maxsize
        ):
            yield f"{path}: {text} has too many digits"
    elif kind is bool and text not in ("true", "false"):
        yield f"{path}: {text!r} is no boolean"
    elif getattr(kind, "__name__", "") in ("XmlDate", "XmlDateTime"):
        try:
            kind.from_string(text)
        except ValueError:
            yield f"{path}: {text!r} is no {kind.__name__}"
