"""What we ship: the stubs, installable alone; the platform, whose lock is enough to run it."""

import importlib.metadata
import os
import re
import subprocess
import sys
import zipfile
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Final

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.architecture import tree

OWNERS: Final = {
    "services": {"fisc"},
    "libs": {"fisc"},
    "deploy": {"fisc"},
    "fisc": {"fisc-protos"},
    "buf": {"fisc-protos"},
}
BUILD: Final = "import sys; from hatchling import build; print(build.build_wheel(sys.argv[1]))"


def _installed(name: str) -> importlib.metadata.Distribution | None:
    try:
        return importlib.metadata.distribution(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def _closure(requirements: Iterable[str]) -> set[str]:
    """The names of what requirements bring along on this machine."""
    found: set[str] = set()
    waiting = [Requirement(text) for text in requirements]
    while waiting:
        requirement = waiting.pop()
        extras = requirement.extras or {""}
        if requirement.marker and not any(
            requirement.marker.evaluate({"extra": extra}) for extra in ("", *extras)
        ):
            continue
        name = canonicalize_name(requirement.name)
        distribution = _installed(name)
        key = f"{name}[{','.join(sorted(extras))}]"
        if distribution is None or key in found:
            continue
        found.add(key)
        for text in distribution.requires or ():
            needed = Requirement(text)
            if needed.marker is None or any(
                needed.marker.evaluate({"extra": extra}) for extra in extras
            ):
                needed.marker = None
                waiting.append(needed)
    return {key.partition("[")[0] for key in found}


def _link(names: Iterable[str], site: Path) -> None:
    """Make a site directory that holds these distributions and nothing else."""
    for name in names:
        distribution = _installed(name)
        for file in (distribution.files if distribution else None) or ():
            if ".." in file.parts or "__pycache__" in file.parts:
                continue
            link = site / file
            link.parent.mkdir(parents=True, exist_ok=True)
            link.symlink_to(Path(str(file.locate())).resolve())


def _run(code: str, *, path: Sequence[Path]) -> subprocess.CompletedProcess[str]:
    """Run code in a Python that sees its own library and `path`, nothing installed."""
    return subprocess.run(
        [sys.executable, "-S", "-B", "-c", code],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(map(str, path))},
        cwd=path[0],
        capture_output=True,
        text=True,
        check=False,
    )


def test_nobody_else_owns_our_import_names() -> None:
    owners = {
        name: set(found)
        for name, found in importlib.metadata.packages_distributions().items()
        if name in OWNERS
    }
    strangers = {name: found - OWNERS[name] for name, found in owners.items()}
    assert {name: found for name, found in strangers.items() if found} == {}


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel of fisc-protos, built from this tree, offline."""
    folder = tmp_path_factory.mktemp("wheel")
    subprocess.run([sys.executable, "-c", BUILD, folder], cwd=tree.ROOT / "protos", check=True)
    (built,) = folder.glob("*.whl")
    return built


def test_the_stubs_wheel_holds_the_stubs_and_their_contracts_only(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
    assert {name.partition("/")[0] for name in names if ".dist-info/" not in name} == {
        "fisc",
        "buf",
    }
    assert "fisc/py.typed" in names
    assert "fisc/router/v1/router.proto" in names
    assert [name for name in names if "__pycache__" in name] == []


def test_the_stubs_import_where_only_they_and_their_requirements_are(
    wheel: Path, tmp_path: Path
) -> None:
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path)
        modules = [
            name.removesuffix(".py").removesuffix("/__init__").replace("/", ".")
            for name in archive.namelist()
            if name.endswith(".py")
        ]
    (metadata,) = tmp_path.glob("*.dist-info")
    requires = importlib.metadata.Distribution.at(metadata).requires
    _link(_closure(requires or ()), tmp_path)
    done = _run("\n".join(f"import {name}" for name in modules), path=[tmp_path])
    assert done.returncode == 0, done.stderr
    assert _run("import structlog", path=[tmp_path]).returncode != 0


def test_every_module_imports_with_the_run_lock_alone(tmp_path: Path) -> None:
    lock = (tree.ROOT / "requirements.txt").read_text("utf-8")
    _link(re.findall(r"^([a-z0-9][a-z0-9._-]*)==", lock, re.MULTILINE), tmp_path)
    names = tree.module_names("libs", "services", "deploy/local")
    done = _run(
        "\n".join(f"import {name}" for name in names),
        path=[tmp_path, tree.ROOT, tree.ROOT / "protos"],
    )
    assert done.returncode == 0, f"requirements.txt lacks something:\n{done.stderr}"
    assert _run("import hypothesis", path=[tmp_path]).returncode != 0
