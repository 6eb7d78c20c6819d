"""Postgres refuses root; both ways around that, tried where the tests run as root."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import asyncpg
import pytest

from deploy.local import ports
from deploy.local.errors import LocalError
from deploy.local.postgres import Postgres

# Another user runs these tests too; then there is no root to work around and either way is the
# plain one, which must work just as well.
AS_ROOT = os.geteuid() == 0


@pytest.fixture
def open_dir() -> Iterator[Path]:
    """A directory every user may enter; pytest's own is closed to others."""
    directory = Path(tempfile.mkdtemp(prefix="fisc-test-"))
    directory.chmod(0o755)
    yield directory
    shutil.rmtree(directory)


@pytest.mark.parametrize("way", ["auto", "setuid"])
async def test_a_server_started_as_root_runs_and_finds_its_data_again(
    open_dir: Path, way: str
) -> None:
    environ = {**os.environ, "FISC_POSTGRES_AS_ROOT": way}
    for expected_rows in (1, 2):
        server = Postgres(open_dir / "data", port=ports.find_free(), environ=environ)
        await server.start()
        connection = await asyncpg.connect(server.admin_url)
        await connection.execute("CREATE TABLE IF NOT EXISTS starts (number int)")
        await connection.execute("INSERT INTO starts VALUES (1)")
        assert await connection.fetchval("SELECT count(*) FROM starts") == expected_rows
        await connection.close()
        await server.stop()


async def test_a_data_directory_the_other_user_cannot_reach_is_named(tmp_path: Path) -> None:
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o700)
    environ = {**os.environ, "FISC_POSTGRES_AS_ROOT": "setuid"}
    server = Postgres(closed / "data", port=ports.find_free(), environ=environ)
    if not AS_ROOT:
        await server.start()
        await server.stop()
        return
    with pytest.raises(LocalError, match="Choose a data directory others may enter"):
        await server.start()
