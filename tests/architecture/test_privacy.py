"""What must never be in this repository or in its databases: card numbers, card codes, keys."""

import re
from collections.abc import Iterator
from typing import Final

from google.protobuf.descriptor import Descriptor

from tests.architecture import tree
from tests.architecture.test_protos import contracts

FORBIDDEN: Final = frozenset(
    {"pan", "card_number", "card_no", "cardnumber", "cvv", "cvv2", "cvc", "cvc2", "card_pin"}
)
# A real key has its body after the head; code that looks for keys has not.
PRIVATE_KEY: Final = re.compile(
    r"-----BEGIN (?:[A-Z]+ )?PRIVATE KEY-----(?:\\n|\s|\")*[A-Za-z0-9+/]{40}"
)


def _fields(message: Descriptor) -> Iterator[str]:
    for field in message.fields:
        yield f"{message.full_name}.{field.name}"
    for nested in message.nested_types:
        yield from _fields(nested)


def test_no_message_has_a_field_for_card_data() -> None:
    fields = [
        field
        for contract in contracts()
        for message in contract.message_types_by_name.values()
        for field in _fields(message)
    ]
    assert len(fields) > 100
    assert [field for field in fields if field.rpartition(".")[2] in FORBIDDEN] == []


def test_no_table_has_a_column_for_card_data() -> None:
    schemas = [
        path
        for path in tree.text_files()
        if "services" in path.parts and ("migrations" in path.parts or path.suffix == ".sql")
    ]
    assert schemas
    found = [
        f"{tree.place(path)}: {word}"
        for path in schemas
        for word in re.findall(r"\w+", path.read_text(encoding="utf-8").lower())
        if word in FORBIDDEN
    ]
    assert found == []


def test_no_file_holds_a_private_key() -> None:
    found = [
        f"{tree.place(path)}: tests make their keys when they run"
        for path in tree.text_files()
        if PRIVATE_KEY.search(path.read_text(encoding="utf-8"))
    ]
    assert found == []
