"""Migrations: each service keeps its versions as SQL, and alembic runs them through one shared env.

A version file holds `revision`, `down_revision` and `def upgrade() -> None: run_sql(SQL)`. There
are no downgrades: a mistake is mended by the next version.
"""

import asyncio
import threading
from pathlib import Path

import asyncpg
import sqlalchemy
from alembic import command, op
from alembic.config import Config
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.pool import NullPool
from sqlalchemy.util import await_only

from libs.db.pool import connecting

_ENVIRONMENT = Path(__file__).parent / "alembic"
# Any number will do, as long as no other use of advisory locks in the same database has it.
_LOCK_KEY = 7_246_338_510_913
# Alembic keeps the running migration in module globals.
_one_at_a_time = threading.Lock()


async def upgrade(database_url: str, versions_dir: Path) -> None:
    """Bring a database to the newest version in `versions_dir`, in one transaction.

    Idempotent. Several processes may do it at once: one works, the others wait for it and then
    find nothing to do. If a version fails, its error is raised and nothing has changed.
    """
    await asyncio.to_thread(_upgrade_in_own_loop, database_url, versions_dir)


def run_sql(text: str) -> None:
    """Run a script of SQL statements in the running migration's transaction.

    For use in version files only. The script must not begin or end a transaction.
    """
    connection = op.get_bind().connection
    # SQLAlchemy's adapter begins the transaction with the first statement that goes through it;
    # the script goes past it, straight to asyncpg, which alone takes many statements at once.
    op.execute("SELECT 1")
    driver_connection = connection.driver_connection
    if not isinstance(driver_connection, asyncpg.Connection):
        raise TypeError("migrations run over asyncpg")
    if not driver_connection.is_in_transaction():
        raise RuntimeError("a migration script needs an open transaction")
    await_only(driver_connection.execute(text))


def _upgrade_in_own_loop(database_url: str, versions_dir: Path) -> None:
    with _one_at_a_time:
        asyncio.run(_upgrade(database_url, versions_dir))


async def _upgrade(database_url: str, versions_dir: Path) -> None:
    engine = create_async_engine(
        "postgresql+asyncpg://",
        async_creator=lambda: connecting(lambda: asyncpg.connect(database_url)),
        poolclass=NullPool,
    )
    try:
        async with engine.begin() as connection:
            await connection.execute(
                sqlalchemy.text("SELECT pg_advisory_xact_lock(:key)"), {"key": _LOCK_KEY}
            )
            await connection.run_sync(_run_alembic, versions_dir)
    finally:
        await engine.dispose()


def _run_alembic(connection: sqlalchemy.Connection, versions_dir: Path) -> None:
    config = Config(attributes={"connection": connection})
    config.set_main_option("script_location", _escaped(_ENVIRONMENT))
    config.set_main_option("version_locations", _escaped(versions_dir))
    config.set_main_option("path_separator", "os")
    command.upgrade(config, "head")


def _escaped(path: Path) -> str:
    return str(path).replace("%", "%%")
