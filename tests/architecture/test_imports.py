"""The walls between services and layers, as pyproject.toml draws them ([tool.importlinter])."""

import subprocess
import sys
from pathlib import Path

from tests.architecture.tree import ROOT


def test_no_module_imports_through_a_wall() -> None:
    command = Path(sys.executable).parent / "lint-imports"
    done = subprocess.run(
        [command, "--no-cache"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
