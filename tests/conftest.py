"""What every test may use: one real Postgres and one real Valkey for the whole run."""

import asyncio
import contextlib
import itertools
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import asyncpg
import pytest
import pytest_asyncio
import redis.asyncio

from deploy.local import ports, postgres
from deploy.local.postgres import Postgres
from deploy.local.process import ROOT
from deploy.local.redis import Redis

# A connection that was just closed may still be seen on the server when its database is cloned.
CLONE_ATTEMPTS_MAX = 50
CLONE_PAUSE_S = 0.1

_numbers = itertools.count(1)


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def postgres_admin_url(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[str]:
    """The maintenance database of a fresh cluster, durable settings on."""
    server = Postgres(tmp_path_factory.mktemp("postgres"), port=ports.find_free())
    await server.start()
    yield server.admin_url
    await server.stop()


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def redis_server_url(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[str]:
    """The Valkey of the run; tests take `redis_url`, which is empty."""
    server = Redis(tmp_path_factory.mktemp("redis"), port=ports.find_free())
    await server.start()
    yield server.url
    await server.stop()


@pytest.fixture
async def redis_url(redis_server_url: str) -> str:
    """A Valkey without a key in it."""
    client = redis.asyncio.from_url(redis_server_url)
    await client.flushall()
    await client.aclose()
    return redis_server_url


@pytest.fixture
async def empty_database(
    postgres_admin_url: str,
) -> AsyncIterator[Callable[[], Awaitable[str]]]:
    """Make empty databases: `url = await empty_database()`. They go when the test ends."""
    made: list[str] = []

    async def make() -> str:
        name = f"empty_{os.getpid()}_{next(_numbers)}"
        made.append(name)
        return await postgres.create_database(postgres_admin_url, name)

    yield make
    await _drop(postgres_admin_url, made)


@pytest.fixture(scope="session")
def migrated_templates() -> dict[str, str]:
    """The template database of each service migrated so far in this run."""
    return {}


@pytest.fixture
async def fresh_database(
    postgres_admin_url: str, migrated_templates: dict[str, str]
) -> AsyncIterator[Callable[[str], Awaitable[str]]]:
    """Make migrated databases: `url = await fresh_database("router")`. They go with the test."""
    made: list[str] = []

    async def make(service: str) -> str:
        if service not in migrated_templates:
            migrated_templates[service] = await _make_template(postgres_admin_url, service)
        name = f"{service}_{os.getpid()}_{next(_numbers)}"
        await _clone(postgres_admin_url, migrated_templates[service], name)
        made.append(name)
        return postgres.database_url(postgres_admin_url, name)

    yield make
    await _drop(postgres_admin_url, made)


async def _make_template(admin_url: str, service: str) -> str:
    from libs.db import migrate

    name = f"template_{service}_{os.getpid()}_{next(_numbers)}"
    url = await postgres.create_database(admin_url, name)
    await migrate.upgrade(url, migrations_dir(service))
    return name


def migrations_dir(service: str) -> Path:
    """Where a service keeps its migrations."""
    return ROOT / "services" / service / "migrations"


async def _clone(admin_url: str, template: str, name: str) -> None:
    connection = await asyncpg.connect(admin_url)
    try:
        for _ in range(CLONE_ATTEMPTS_MAX):
            with contextlib.suppress(asyncpg.ObjectInUseError):
                await connection.execute(f'CREATE DATABASE "{name}" TEMPLATE "{template}"')
                return
            await asyncio.sleep(CLONE_PAUSE_S)
    finally:
        await connection.close()
    pytest.fail(f"someone still uses the template database {template}")


async def _drop(admin_url: str, names: list[str]) -> None:
    if not names:
        return
    connection = await asyncpg.connect(admin_url)
    try:
        for name in names:
            await connection.execute(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')
    finally:
        await connection.close()
