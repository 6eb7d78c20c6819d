"""XML from outside, read into a tree without doing anything that XML can ask a reader to do.

A document with a DOCTYPE is refused where it begins, so there are no entities to expand, no defaults to add and nothing
to fetch. Bytes, depth, elements and the length of names and texts are bounded while reading, not afterwards.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Final, TypeAlias
from xml.parsers import expat
from xml.sax import saxutils

BYTES_MAX: Final = 64 << 20
DEPTH_MAX: Final = 40
ELEMENTS_MAX: Final = 4_000_000
ATTRIBUTES_MAX: Final = 32
TEXT_LENGTH_MAX: Final = 64_000
_SEPARATOR: Final = "\n"
# What XML 1.0 has no way to write.
_ALIEN: Final = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_ENCODINGS: Final = frozenset({"utf-8", "utf-16", "us-ascii", "iso-8859-1"})


_NONE: Final[Mapping[str, str]] = MappingProxyType({})


class MarkupInvalid(ValueError):
    """Not XML, or XML that asks for more than it is given."""


@dataclass(slots=True)
class Element:
    """One element: its name without the namespace, which stands beside it."""

    name: str
    namespace: str
    attributes: Mapping[str, str]
    text: str = ""
    children: list["Element"] = field(default_factory=list)

    def find(self, *path: str) -> "Element | None":
        """The first element along a path of names, or None."""
        found: Element | None = self
        for name in path:
            if found is None:
                return None
            found = next((each for each in found.children if each.name == name), None)
        return found

    def all(self, *path: str) -> Iterator["Element"]:
        """Every element along a path of names."""
        if not path:
            yield self
            return
        for each in self.children:
            if each.name == path[0]:
                yield from each.all(*path[1:])

    def value(self, *path: str) -> str:
        """The text of the first element along a path, trimmed; "" where there is none."""
        found = self.find(*path)
        return found.text.strip() if found is not None else ""


Take: TypeAlias = Callable[[Element], object]


class _Builder:
    def __init__(self, elements_max: int, take: Mapping[str, Take]) -> None:
        self._elements_left = elements_max
        self._take = take
        self._open: list[Element] = []
        self._texts: list[list[str]] = []
        self._lengths: list[int] = []
        self.root: Element | None = None

    def start(self, name: str, attributes: dict[str, str]) -> None:
        self._elements_left -= 1
        if self._elements_left < 0:
            raise MarkupInvalid("too many elements")
        if len(self._open) >= DEPTH_MAX:
            raise MarkupInvalid(f"nested more than {DEPTH_MAX} deep")
        namespace, _, local = name.rpartition(_SEPARATOR)
        element = Element(local, namespace, _kept(attributes) if attributes else _NONE)
        if not self._open:
            self.root = element
        elif local not in self._take:
            self._open[-1].children.append(element)
        self._open.append(element)
        self._texts.append([])
        self._lengths.append(0)

    def end(self, _: str) -> None:
        element = self._open.pop()
        element.text = "".join(self._texts.pop())
        self._lengths.pop()
        if self._open and element.name in self._take:
            self._take[element.name](element)

    def characters(self, text: str) -> None:
        self._lengths[-1] += len(text)
        if self._lengths[-1] > TEXT_LENGTH_MAX:
            raise MarkupInvalid("a text is too long")
        self._texts[-1].append(text)


def _kept(attributes: Mapping[str, str]) -> dict[str, str]:
    if len(attributes) > ATTRIBUTES_MAX:
        raise MarkupInvalid("too many attributes")
    if any(len(value) > TEXT_LENGTH_MAX for value in attributes.values()):
        raise MarkupInvalid("an attribute is too long")
    return {key.rpartition(_SEPARATOR)[2]: value for key, value in attributes.items()}


def parse(
    content: bytes,
    *,
    take: Mapping[str, Take] = MappingProxyType({}),
    bytes_max: int = BYTES_MAX,
    elements_max: int = ELEMENTS_MAX,
) -> Element:
    """Read a document. Raises MarkupInvalid.

    Elements of the names in `take` are handed over as they end, inner ones first, and are not in
    the tree: so a long document need not be held whole.
    """
    if len(content) > bytes_max:
        raise MarkupInvalid(f"longer than {bytes_max} bytes")
    builder = _Builder(elements_max, take)
    parser = expat.ParserCreate(namespace_separator=_SEPARATOR)
    parser.buffer_text = True
    parser.StartDoctypeDeclHandler = _refuse_doctype
    parser.XmlDeclHandler = _check_declaration
    parser.StartElementHandler = builder.start
    parser.EndElementHandler = builder.end
    parser.CharacterDataHandler = builder.characters
    try:
        parser.Parse(content, True)
    except expat.ExpatError as error:
        raise MarkupInvalid(f"not XML: {error}") from error
    except (LookupError, UnicodeError) as error:
        raise MarkupInvalid("an encoding that is not read") from error
    if builder.root is None:
        raise MarkupInvalid("has no element")
    return builder.root


def _refuse_doctype(*_: object) -> None:
    raise MarkupInvalid("a DOCTYPE is not read")


def _check_declaration(_: str, encoding: str | None, __: int) -> None:
    if encoding is not None and encoding.lower() not in _ENCODINGS:
        raise MarkupInvalid("an encoding that is not read")


def write(element: Element, *, namespace: str) -> bytes:
    """A document in UTF-8 with one default namespace, without white space of its own."""
    parts = ['<?xml version="1.0" encoding="UTF-8"?>\n']
    _write(element, parts, f' xmlns="{namespace}"')
    return "".join(parts).encode()


def _write(element: Element, parts: list[str], declaration: str) -> None:
    attributes = "".join(
        f" {name}={saxutils.quoteattr(_ALIEN.sub('', value))}"
        for name, value in element.attributes.items()
    )
    parts.append(f"<{element.name}{declaration}{attributes}>")
    parts.append(saxutils.escape(_ALIEN.sub("", element.text)))
    for each in element.children:
        _write(each, parts, "")
    parts.append(f"</{element.name}>")


def node(name: str, *content: "Element | str | None", **attributes: str) -> Element:
    """An element to write: of its content, texts are joined and None left out."""
    return Element(
        name,
        "",
        attributes,
        "".join(each for each in content if isinstance(each, str)),
        [each for each in content if isinstance(each, Element)],
    )
