"""SQL lives in `.sql` files as named queries, so that it can be read, and run, as SQL."""

import re
from collections.abc import Mapping
from pathlib import Path

_NAME = re.compile(r"^--\s*name:\s*(\S+)\s*$", re.MULTILINE)
_IDENTIFIER = re.compile(r"[a-z][a-z0-9_]*")


class _Queries(dict[str, str]):
    """A dict that says which file a missing query is missing from."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self._path = path

    def __missing__(self, name: str) -> str:
        raise KeyError(f"no query {name!r} in {self._path}")


def load(path: Path) -> Mapping[str, str]:
    """Return the queries of a file; each begins with a line `-- name: insert_payment`.

    Text before the first name is a comment on the file. Raises ValueError for a name that is not
    lower_snake, is given twice, or has no SQL. Looking up a missing name raises a KeyError that
    names the file.
    """
    _, *parts = _NAME.split(path.read_text(encoding="utf-8"))
    queries = _Queries(path)
    for name, body in zip(parts[::2], parts[1::2], strict=True):
        sql = body.strip()
        if not _IDENTIFIER.fullmatch(name):
            raise ValueError(f"query name {name!r} in {path} is not lower_snake")
        if name in queries:
            raise ValueError(f"query {name!r} is in {path} twice")
        if not sql:
            raise ValueError(f"query {name!r} in {path} is empty")
        queries[name] = sql
    return queries
