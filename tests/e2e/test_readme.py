"""What the two READMEs tell another team to do works, word for word."""

import asyncio
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from deploy.local import environment, ports, receiver
from deploy.local.clients import Platform
from deploy.local.credentials import FILE_NAME, Credentials
from deploy.local.environment import LocalSettings
from deploy.local.process import ROOT
from deploy.local.seed import Seeder
from deploy.local.suite import START_ORDER
from tests.suite_runner import running_suite

READMES = ("README.md", "README.zh-CN.md")
BLOCK = re.compile(r"<!-- first-payment:.*?-->\n```python\n(.*?)```", re.DOTALL)
KEY_COMMAND = re.compile(r"^export FISC_API_KEY=\$\((.*)\)$", re.MULTILINE)
LINK = re.compile(r"\]\((?!https?:)([^)#]+)")
DEFAULT_TARGET = "127.0.0.1:7400"
LINES_MAX = 10
RUN_TIMEOUT_S = 60


def text_of(readme: str) -> str:
    return (ROOT / readme).read_text(encoding="utf-8")


def block_of(readme: str) -> str:
    blocks: list[str] = BLOCK.findall(text_of(readme))
    assert len(blocks) == 1, f"{readme} must have one marked block"
    return blocks[0]


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalSettings]:
    """A suite as a first `make run` leaves it, without a replayed day."""
    groups = [",".join(group) for group in START_ORDER if "cockpit" not in group]
    with running_suite(tmp_path_factory.mktemp("readme") / ".fisc", groups) as running:
        asyncio.run(_seed(running))
        yield running


async def _seed(settings: LocalSettings) -> None:
    async with Platform(settings) as platform:
        await Seeder(
            platform,
            Credentials(settings.data_dir),
            receiver_url=receiver.url(settings),
            on_progress=print,
        ).seed()


@pytest.mark.parametrize("readme", READMES)
def test_the_first_payment_of_the_readme_succeeds(
    settings: LocalSettings, readme: str, tmp_path: Path
) -> None:
    # A shell in a checkout whose .fisc is this suite's: only the port is not the default one.
    command = KEY_COMMAND.search(text_of(readme))
    assert command is not None
    api_key = subprocess.run(
        command[1],
        shell=True,
        cwd=settings.data_dir.parent,
        check=True,
        capture_output=True,
        text=True,
    ).stdout.strip()
    source = block_of(readme)
    assert source.count(DEFAULT_TARGET) == 1
    script = tmp_path / "first_payment.py"
    script.write_text(source.replace(DEFAULT_TARGET, f"127.0.0.1:{settings.port('gateway')}"))
    answer = subprocess.run(
        [sys.executable, str(script)],
        cwd=tmp_path,
        env={**os.environ, "FISC_API_KEY": api_key},
        check=False,
        capture_output=True,
        text=True,
        timeout=RUN_TIMEOUT_S,
    )
    assert answer.returncode == 0, answer.stderr
    assert re.search(r"^pay_\w+ STATE_SUCCEEDED through alipay-", answer.stdout, re.MULTILINE)
    assert re.search(r"^show this as a QR code: \S", answer.stdout, re.MULTILINE)


def test_the_first_payment_is_ten_lines_and_the_same_in_both_languages() -> None:
    english, chinese = (block_of(readme) for readme in READMES)
    assert english == chinese
    assert len([line for line in english.splitlines() if line.strip()]) <= LINES_MAX


@pytest.mark.parametrize("readme", READMES)
def test_every_document_the_readme_links_to_exists(readme: str) -> None:
    missing = [link for link in LINK.findall(text_of(readme)) if not (ROOT / link).exists()]
    assert missing == []


@pytest.mark.parametrize("readme", READMES)
def test_the_readme_tells_the_default_ports_and_directories(readme: str) -> None:
    text = text_of(readme)
    settings = LocalSettings()
    for name in ("gateway", *ports.HTTP_OFFSETS):
        assert f"127.0.0.1:{settings.port(name)}" in text
    assert f"127.0.0.1:{settings.callback_port}" in text
    assert f"`{environment.DATA_DIR_DEFAULT}`" in text
    assert f"{environment.DATA_DIR_DEFAULT}/{FILE_NAME}" in text


@pytest.mark.parametrize("target", ["run", "test", "demo"])
def test_the_commands_of_the_readme_are_targets_of_the_makefile(target: str) -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    assert re.search(rf"^{target}:", makefile, re.MULTILINE)
    assert all(f"make {target} " in text_of(readme) for readme in READMES)
