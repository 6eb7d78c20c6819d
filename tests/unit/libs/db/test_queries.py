"""Named queries come out of a file as they stand there, and a wrong file is refused."""

from pathlib import Path

import pytest

from libs.db import queries


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "store.sql"


def test_each_name_begins_a_query(path: Path) -> None:
    path.write_text(
        "-- All SQL of the store.\n\n-- name: find_payment\n-- By id.\nSELECT 1;\n\n"
        "--name: delete_payment\nDELETE\nFROM t\n"
    )
    assert dict(queries.load(path)) == {
        "find_payment": "-- By id.\nSELECT 1;",
        "delete_payment": "DELETE\nFROM t",
    }


def test_a_missing_query_is_reported_with_its_file(path: Path) -> None:
    path.write_text("-- name: find_payment\nSELECT 1")
    with pytest.raises(KeyError, match=r"no query 'find_refund' in .*store\.sql"):
        queries.load(path)["find_refund"]


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("-- name: a\nSELECT 1\n-- name: a\nSELECT 2", "twice"),
        ("-- name: a\n\n-- name: b\nSELECT 2", "empty"),
        ("-- name: FindIt\nSELECT 1", "lower_snake"),
    ],
)
def test_a_wrong_file_is_refused(path: Path, text: str, complaint: str) -> None:
    path.write_text(text)
    with pytest.raises(ValueError, match=complaint):
        queries.load(path)
