"""The statements of a flow's table: one text for all flows, each with its own names in it."""

from typing import Any

import pytest

from libs.db.pool import Connection
from libs.saga.table import TableSpec, columns
from tests.unit.libs.saga.toy import ENDED, FLOW_VERSION, Errand, State, Try


async def no_tries(connection: Connection, subject_id: str) -> tuple[Try, ...]:
    return ()


async def nothing(connection: Connection, steps: Any) -> None:
    """Writes nothing besides."""


def spec(**changes: Any) -> TableSpec[Errand, Try]:
    described: dict[str, Any] = {
        "flow": "errand",
        "identity": ("owner_id", "request_id"),
        "changing": ("note",),
        "states": list(State),
        "ended": ENDED,
        "flow_version": FLOW_VERSION,
        "restore": lambda row: Errand(**dict(row)),
        "attempts_of": no_tries,
        "write_beside": nothing,
    }
    return TableSpec(**(described | changes))


def test_every_name_is_filled_in() -> None:
    for name, text in spec().statements().items():
        assert "{" not in text, name
        assert "}" not in text, name


def test_statements_name_the_flows_own_table_key_identity_and_columns() -> None:
    statements = spec().statements()

    assert "INSERT INTO errand " in statements["insert"]
    assert "ON CONFLICT (owner_id, request_id) DO NOTHING" in statements["insert"]
    assert "RETURNING errand_id" in statements["insert"]
    assert "SET note = new.note, state = new.state" in statements["update"]


def test_a_name_that_looks_like_another_ones_mark_is_not_filled_in_again() -> None:
    statements = spec(changing=("table", "key")).statements()

    assert "SET table = new.table, key = new.key, state" in statements["update"]


@pytest.mark.parametrize("name", ["update", "hand_over", "note_fault"])
def test_whoever_lost_the_row_can_write_nothing(name: str) -> None:
    assert "epoch = " in spec().statements()[name].partition("WHERE")[2]


def test_a_second_flow_shares_no_name_with_the_first() -> None:
    other = spec(flow="parcel", identity=("parcel_no",)).statements()

    for text in other.values():
        assert "errand" not in text
    assert "ORDER BY parcel_id FOR UPDATE" in other["lock"]


def test_a_row_has_the_columns_of_its_dataclass() -> None:
    assert columns(Try) == ("errand_id", "number", "word")
