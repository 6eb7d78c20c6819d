"""A gateway with real neighbours: risk, router, account and the sandbox's channels, each its own process."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import asyncpg
import pytest

from deploy.local.environment import LocalSettings
from tests.integration.gateway.house import GROUPS, House, open_house
from tests.suite_runner import running_suite

__all__ = ["House"]


@pytest.fixture(scope="session")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalSettings]:
    data_dir: Path = tmp_path_factory.mktemp("gateway-suite")
    with running_suite(data_dir, GROUPS) as running:
        yield running


@pytest.fixture
async def house(settings: LocalSettings) -> AsyncIterator[House]:
    """The services, and a fresh merchant."""
    async with open_house(settings) as opened:
        yield opened


@pytest.fixture
async def gateway_database(house: House) -> "AsyncIterator[asyncpg.Connection[asyncpg.Record]]":
    """The running gateway's own."""
    connection = await asyncpg.connect(house.gateway_database_url)
    yield connection
    await connection.close()
