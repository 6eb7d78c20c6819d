"""The suite's own promises: settings, the lock, ports, secrets, what each process is told."""

import asyncio
import contextlib
import os
import signal
import socket
import stat
import sys
import textwrap
from pathlib import Path

import pytest

from deploy.local import environment, ports, postgres
from deploy.local.environment import LocalSettings
from deploy.local.errors import DataDirInUseError, LocalError, PortTakenError
from deploy.local.process import ROOT
from deploy.local.suite import Suite


@pytest.fixture
def settings(tmp_path: Path) -> LocalSettings:
    return LocalSettings(base_port=ports.find_free_base(), data_dir=tmp_path / "data")


def describe(settings: LocalSettings, name: str) -> dict[str, str]:
    return environment.describe_environment(
        settings,
        name,
        database_url="postgresql://own",
        redis_url="redis://own",
        seal_keys={"gateway": "sealed", "notification": "sealed too"},
        operator_token="operators only",
        inherited={"PATH": "/bin", "FISC_ROUTER_TARGET": "elsewhere:1", "NO_PROXY": "example.org"},
    )


def test_an_override_reaches_its_own_process_alone(settings: LocalSettings) -> None:
    def described(name: str) -> dict[str, str]:
        return environment.describe_environment(
            settings,
            name,
            database_url=None,
            redis_url="redis://own",
            seal_keys={},
            operator_token="operators only",
            inherited={"FISC_OVERRIDE_GATEWAY_RISK_TARGET": "proxy:1"},
        )

    gateway, clearing = described("gateway"), described("clearing")

    assert gateway["FISC_RISK_TARGET"] == "proxy:1"
    assert clearing["FISC_RISK_TARGET"] == f"127.0.0.1:{settings.port('risk')}"
    assert not [name for name in (*gateway, *clearing) if "OVERRIDE" in name]


async def test_the_stores_come_up_with_a_database_for_each_service(settings: LocalSettings) -> None:
    async with Suite(settings, start_order=()) as suite:
        for service in environment.SERVICES:
            assert await postgres.answers(suite.database_url(service))
        first_url = suite.redis_url
    async with Suite(settings, start_order=()) as suite:
        assert suite.redis_url == first_url


async def test_a_second_suite_on_the_same_data_is_refused_naming_the_first(
    settings: LocalSettings,
) -> None:
    async with Suite(settings, start_order=()):
        with pytest.raises(DataDirInUseError, match=rf"process {os.getpid()}.*FISC_DATA_DIR"):
            async with Suite(settings, start_order=()):
                pass


async def test_a_taken_port_stops_the_start_before_anything_runs(settings: LocalSettings) -> None:
    port = settings.port("gateway")
    with (
        contextlib.closing(socket.create_server((settings.host, port))),
        pytest.raises(PortTakenError, match=rf"{port}.*gateway.*FISC_BASE_PORT"),
    ):
        await Suite(settings, start_order=()).__aenter__()
    assert not (settings.data_dir / "postgres").exists()


async def test_secrets_are_made_once_and_readable_by_their_owner_alone(
    settings: LocalSettings,
) -> None:
    async with Suite(settings, start_order=()) as suite:
        suite._describe("gateway")  # what starting gateway would do
    paths = [settings.data_dir / name for name in ("gateway.seal-key", "redis.password")]
    before = [path.read_text() for path in paths]

    async with Suite(settings, start_order=()) as suite:
        suite._describe("gateway")

    assert [path.read_text() for path in paths] == before
    assert [stat.S_IMODE(path.stat().st_mode) for path in paths] == [0o600, 0o600]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
async def test_a_signal_stops_everything_and_ends_cleanly(
    settings: LocalSettings, number: signal.Signals
) -> None:
    program = f"""
        import asyncio, pathlib
        from deploy.local.suite import LocalSettings, Suite

        async def main():
            settings = LocalSettings(
                base_port={settings.base_port}, data_dir=pathlib.Path({str(settings.data_dir)!r})
            )
            async with Suite(settings, start_order=()) as suite:
                asyncio.get_running_loop().call_soon(lambda: print("up", flush=True))
                await suite.run_until_stopped()

        asyncio.run(main())
    """
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", textwrap.dedent(program)), cwd=ROOT, stdout=asyncio.subprocess.PIPE
    )
    assert process.stdout is not None
    assert await process.stdout.readline() == b"up\n"

    process.send_signal(number)

    assert await asyncio.wait_for(process.wait(), timeout=30) == 0
    assert not (settings.data_dir / "postgres" / "postmaster.pid").exists()
    ports.check_free(settings.host, settings.redis_port, "a test")


def test_a_process_is_told_its_own_ports_and_database_and_where_the_others_are() -> None:
    settings = LocalSettings(base_port=7400)
    told = describe(settings, "clearing")

    assert told["FISC_CLEARING_GRPC_PORT"] == "7404"
    assert told["FISC_CLEARING_METRICS_PORT"] == "7424"
    assert told["FISC_CLEARING_DATABASE_URL"] == "postgresql://own"
    assert told["FISC_GATEWAY_TARGET"] == "127.0.0.1:7400"
    assert told["NO_PROXY"] == "example.org,127.0.0.1,localhost"


def test_addresses_of_the_suite_win_over_inherited_ones() -> None:
    assert describe(LocalSettings(), "gateway")["FISC_ROUTER_TARGET"] == "127.0.0.1:7401"


def test_only_gateway_is_told_the_key_that_seals_channel_secrets() -> None:
    holders = [
        name
        for name in (*environment.SERVICES, *environment.WEB_SERVERS)
        if "sealed" in describe(LocalSettings(), name).values()
    ]
    assert holders == ["gateway"]


def test_no_two_processes_share_a_port() -> None:
    settings = LocalSettings(base_port=7400)
    own = settings.purposes()
    assert len(own) == 8 + 8 + 1
    assert not own.keys() & {settings.postgres_port, settings.redis_port}


@pytest.mark.parametrize("text", ["http", "80", "-1", "65535"])
def test_a_base_port_that_cannot_be_is_refused_by_name(text: str) -> None:
    with pytest.raises(LocalError, match="FISC_BASE_PORT"):
        LocalSettings.from_environ({"FISC_BASE_PORT": text})


def test_settings_come_from_the_environment(tmp_path: Path) -> None:
    settings = LocalSettings.from_environ(
        {"FISC_BASE_PORT": "9000", "FISC_DATA_DIR": str(tmp_path)}
    )
    assert (settings.port("cockpit"), settings.data_dir) == (9008, tmp_path)
