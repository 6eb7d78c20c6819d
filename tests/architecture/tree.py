"""What the architecture tests look at: our own files, and our own modules."""

import ast
import functools
import gc
import importlib
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Final

ROOT: Final = Path(__file__).resolve().parents[2]
SOURCES: Final = ("services", "libs", "deploy", "protos", "tests")
SERVICES: Final = tuple(sorted(path.parent.name for path in ROOT.glob("services/*/__init__.py")))
_GENERATED: Final = ("_pb2.py", "_pb2.pyi", "_pb2_grpc.py", "_pb2_grpc.pyi")
_TEXTS: Final = frozenset(
    {".css", ".html", ".js", ".json", ".md", ".proto", ".py", ".sh", ".sql", ".toml", ".yaml", ".yml"}
)  # fmt: skip


def python_files() -> list[Path]:
    """Every Python file somebody wrote."""
    return [path for path in text_files() if path.suffix == ".py"]


def parse_file(path: Path) -> ast.Module:
    """The syntax tree, built without looking for garbage meanwhile.

    A finaliser that formats a traceback parses source itself, and CPython 3.11 then loses count of its depth (SystemError).
    """
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        return ast.parse(path.read_text(encoding="utf-8"), filename=str(path))
    finally:
        if was_enabled:
            gc.enable()


def markdown_files() -> list[Path]:
    """Every document, those at the top included."""
    return [path for path in text_files() if path.suffix == ".md"]


@functools.cache
def text_files() -> tuple[Path, ...]:
    """Every text somebody wrote: not generated, not installed."""
    at_the_top = (path for path in ROOT.iterdir() if path.is_file())
    below = (path for source in (*SOURCES, "docs") for path in (ROOT / source).rglob("*"))
    return tuple(
        sorted(
            path
            for path in (*at_the_top, *below)
            if (path.suffix in _TEXTS or path.name in {"Dockerfile", "Makefile"})
            and not path.name.endswith(_GENERATED)
            and "__pycache__" not in path.parts
        )
    )


@functools.cache
def parse(path: Path) -> ast.Module:
    """The syntax tree of a Python file."""
    return parse_file(path)


def place(path: Path, line: int | None = None) -> str:
    """How a failure names a place, so that an editor can jump to it."""
    relative = path.relative_to(ROOT)
    return f"{relative}" if line is None else f"{relative}:{line}"


def module_names(*packages: str) -> Iterator[str]:
    """The dotted names of all modules below packages, without those that only alembic loads."""
    for package in packages:
        for path in sorted((ROOT / package).rglob("*.py")):
            parts = path.relative_to(ROOT).with_suffix("").parts
            if "migrations" in parts or "alembic" in parts:
                continue
            yield ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


@functools.cache
def import_all() -> tuple[ModuleType, ...]:
    """Every module of libs and services, imported."""
    return tuple(importlib.import_module(name) for name in module_names("libs", "services"))
