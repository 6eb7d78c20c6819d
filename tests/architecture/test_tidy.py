"""Hard ceilings on what a reader must hold in mind; the style asks for less.

After TigerBeetle's tidy test.
"""

import ast
import re
from pathlib import Path
from typing import Final

import pytest

from libs.db import queries
from tests.architecture import tree

FUNCTION_LINES_MAX: Final = 70
FILE_LINES_MAX: Final = 600
# Spelled in halves, or this file would be the first to break the rule.
POSTPONED: Final = re.compile(r"\b(?:FIX" r"ME|TO" r"DO|NotImplemented" r"Error)\b")
TITLE: Final = re.compile(r"^# ", re.MULTILINE)
FENCE: Final = re.compile(r"^(?:```|~~~).*?^(?:```|~~~)\s*$", re.MULTILINE | re.DOTALL)


def test_no_function_is_longer_than_a_screen_and_a_half() -> None:
    long = [
        f"{tree.place(path, node.lineno)} {node.name} has {lines} lines: split it"
        for path in tree.python_files()
        for node in ast.walk(tree.parse(path))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and (lines := (node.end_lineno or node.lineno) - node.lineno + 1) > FUNCTION_LINES_MAX
    ]
    assert not long, "\n".join(long)


def test_no_file_is_longer_than_anyone_reads_at_once() -> None:
    long = [
        f"{tree.place(path)} has {lines} lines: split it by subject"
        for path in tree.python_files()
        if (lines := len(path.read_text(encoding="utf-8").splitlines())) > FILE_LINES_MAX
    ]
    assert not long, "\n".join(long)


def test_nothing_is_postponed_in_a_comment() -> None:
    postponed = [
        f"{tree.place(path, number)}: do it, or open an issue: {line.strip()}"
        for path in tree.text_files()
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1)
        if POSTPONED.search(line)
    ]
    assert not postponed, "\n".join(postponed)


@pytest.mark.parametrize("service", tree.SERVICES)
def test_a_service_says_first_what_it_is_for(service: str) -> None:
    path = tree.ROOT / "services" / service / "__init__.py"
    module = tree.parse(path)
    assert ast.get_docstring(module), f"{tree.place(path)}: say what it decides, owns and promises"
    assert len(module.body) == 1, f"{tree.place(path)}: a docstring only"


def _pattern(text: ast.JoinedStr) -> re.Pattern[str] | None:
    """What an f-string such as f"get_{name}" can name; None where it names no query."""
    constants = [part.value for part in text.values if isinstance(part, ast.Constant)]
    if not all(re.fullmatch(r"[a-z_]+", str(value)) for value in constants) or not constants:
        return None
    parts = (
        str(part.value) if isinstance(part, ast.Constant) else r"[a-z]+" for part in text.values
    )
    return re.compile("".join(parts))


def _used_names(folder: Path) -> tuple[set[str], list[re.Pattern[str]]]:
    """Strings that could name a query: plain ones, and f-strings with their holes open."""
    plain: set[str] = set()
    formatted: list[re.Pattern[str]] = []
    for path in folder.rglob("*.py"):
        for node in ast.walk(tree.parse(path)):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                plain.add(node.value)
            if isinstance(node, ast.JoinedStr) and (pattern := _pattern(node)):
                formatted.append(pattern)
    return plain, formatted


def test_every_named_query_is_used_by_its_service() -> None:
    dead: list[str] = []
    for path in tree.text_files():
        if path.suffix != ".sql" or "-- name:" not in path.read_text(encoding="utf-8"):
            continue
        service = tree.ROOT.joinpath(*path.relative_to(tree.ROOT).parts[:2])
        plain, formatted = _used_names(service)
        dead.extend(
            f"{tree.place(path)}: nobody runs {name}: delete it"
            for name in queries.load(path)
            if name not in plain and not any(pattern.fullmatch(name) for pattern in formatted)
        )
    assert not dead, "\n".join(dead)


def test_a_document_has_one_title() -> None:
    wrong = [
        f"{tree.place(path)} has {count} headings of the first level, it needs one"
        for path in tree.markdown_files()
        if (count := len(TITLE.findall(FENCE.sub("", path.read_text(encoding="utf-8"))))) != 1
    ]
    assert not wrong, "\n".join(wrong)
