"""Migrations run once, wholly or not at all, however many processes start them."""

import asyncio
import logging
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path

import asyncpg
import pytest

from libs.db import migrate

EmptyDatabase = Callable[[], Awaitable[str]]

VERSION = '''"""One version."""

from libs.db.migrate import run_sql

revision = "{revision}"
down_revision = {down_revision!r}
branch_labels = None
depends_on = None


def upgrade() -> None:
    run_sql("""{sql}""")
'''


@pytest.fixture
def versions_dir(tmp_path: Path) -> Path:
    """A folder whose name has the characters that configuration files trip over."""
    path = tmp_path / "100% of migrations"
    path.mkdir()
    return path


def write_version(versions_dir: Path, number: int, sql: str) -> None:
    text = VERSION.format(
        revision=f"{number:04}",
        down_revision=f"{number - 1:04}" if number > 1 else None,
        sql=sql,
    )
    (versions_dir / f"{number:04}_version.py").write_text(text)


async def fetch(database_url: str, sql: str) -> list[asyncpg.Record]:
    connection = await asyncpg.connect(database_url)
    try:
        return await connection.fetch(sql)
    finally:
        await connection.close()


async def tables(database_url: str) -> set[str]:
    rows = await fetch(
        database_url, "SELECT table_name FROM information_schema.tables WHERE table_schema='public'"
    )
    return {row["table_name"] for row in rows}


async def test_versions_run_once_and_in_order(
    empty_database: EmptyDatabase, versions_dir: Path
) -> None:
    url = await empty_database()
    write_version(
        versions_dir,
        1,
        "CREATE TABLE a (n int); INSERT INTO a VALUES (1); INSERT INTO a VALUES (2)",
    )
    await migrate.upgrade(url, versions_dir)
    await migrate.upgrade(url, versions_dir)
    write_version(versions_dir, 2, "INSERT INTO a SELECT n + 2 FROM a")
    await migrate.upgrade(url, versions_dir)
    assert [row["n"] for row in await fetch(url, "SELECT n FROM a ORDER BY n")] == [1, 2, 3, 4]


async def test_a_script_that_fails_leaves_nothing_behind(
    empty_database: EmptyDatabase, versions_dir: Path
) -> None:
    url = await empty_database()
    write_version(versions_dir, 1, "CREATE TABLE a (n int)")
    write_version(versions_dir, 2, "CREATE TABLE b (n int); SELECT 1 / 0; CREATE TABLE c (n int)")
    with pytest.raises(asyncpg.DivisionByZeroError):
        await migrate.upgrade(url, versions_dir)
    assert await tables(url) == set()

    write_version(versions_dir, 2, "CREATE TABLE b (n int)")
    await migrate.upgrade(url, versions_dir)
    assert await tables(url) == {"a", "b", "alembic_version"}


async def test_two_processes_that_start_at_once_migrate_once(
    empty_database: EmptyDatabase, versions_dir: Path
) -> None:
    url = await empty_database()
    write_version(versions_dir, 1, "CREATE TABLE a (n int); SELECT pg_sleep(0.5)")
    program = (
        "import asyncio, pathlib, sys; from libs.db import migrate; "
        "asyncio.run(migrate.upgrade(sys.argv[1], pathlib.Path(sys.argv[2])))"
    )
    root = Path(migrate.__file__).parents[2]
    processes = [
        await asyncio.create_subprocess_exec(
            sys.executable, "-c", program, url, str(versions_dir), cwd=root
        )
        for _ in range(2)
    ]
    assert [await process.wait() for process in processes] == [0, 0]
    assert await tables(url) == {"a", "alembic_version"}


async def test_one_process_may_migrate_several_databases_at_once(
    empty_database: EmptyDatabase, versions_dir: Path
) -> None:
    urls = [await empty_database() for _ in range(3)]
    write_version(versions_dir, 1, "CREATE TABLE a (n int)")
    async with asyncio.TaskGroup() as group:
        for url in urls:
            group.create_task(migrate.upgrade(url, versions_dir))
    for url in urls:
        assert await tables(url) == {"a", "alembic_version"}


async def test_logging_stays_as_it_was(empty_database: EmptyDatabase, versions_dir: Path) -> None:
    url = await empty_database()
    write_version(versions_dir, 1, "CREATE TABLE a (n int)")
    root, other = logging.getLogger(), logging.getLogger("fisc.test.other")
    before = (root.handlers[:], root.level)
    await migrate.upgrade(url, versions_dir)
    assert (root.handlers, root.level) == before
    assert not other.disabled


async def test_a_script_outside_a_transaction_is_refused(
    empty_database: EmptyDatabase, versions_dir: Path
) -> None:
    url = await empty_database()
    write_version(versions_dir, 1, "COMMIT")
    write_version(versions_dir, 2, "CREATE TABLE a (n int)")
    with pytest.raises(RuntimeError, match="transaction"):
        await migrate.upgrade(url, versions_dir)
    assert "a" not in await tables(url)
