"""A real, durable Postgres in a directory of ours, as a child process; also for root.

Postgres refuses to run as root. Then it runs inside a user namespace that shows it another user
(no account made, no file changes its owner), or, where that is forbidden, as `nobody`.
"""

import asyncio
import contextlib
import dataclasses
import os
import pwd
import secrets
import shutil
import signal
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit, urlunsplit

import asyncpg

from deploy.local import binaries, ports, secrets_file
from deploy.local.errors import LocalError, ProgramFailedError
from deploy.local.process import Child, Program

USER: Final = "fisc"
CONNECTIONS_MAX: Final = 300
INITDB_TIMEOUT_S: Final = 120.0
ORPHAN_STOP_S: Final = 15.0
ORPHAN_POLL_S: Final = 0.1
CONNECT_TIMEOUT_S: Final = 5.0
STOP_GRACE_S: Final = 20.0
UNPRIVILEGED_USER: Final = "nobody"
PROCESSES_DIR: Final = Path("/proc")

SETTINGS: Final[Mapping[str, str]] = {
    "fsync": "on",
    "synchronous_commit": "on",
    "full_page_writes": "on",
    "max_connections": str(CONNECTIONS_MAX),
    "unix_socket_directories": "",
    "password_encryption": "scram-sha-256",
    "timezone": "UTC",
    "log_timezone": "UTC",
    "log_checkpoints": "off",
    "shared_buffers": "128MB",
}


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class RootWay:
    """How to run a program that refuses root: a command before it, or another user."""

    prefix: tuple[str, ...] = ()
    run_as: tuple[int, int] | None = None


class Postgres:
    """One cluster below `data_dir`, or the server FISC_POSTGRES_URL names, left as it is.

    The caller holds `data_dir` for itself alone: a server an earlier supervisor left behind in it
    is stopped. The first start makes the cluster; later ones find its data.
    """

    def __init__(
        self,
        data_dir: Path,
        *,
        port: int,
        host: str = "127.0.0.1",
        environ: Mapping[str, str] | None = None,
    ) -> None:
        self.data_dir = data_dir.absolute()
        self.host = host
        self.port = port
        self.environ = os.environ if environ is None else environ
        self.external_url = self.environ.get("FISC_POSTGRES_URL") or None
        self.origin = "FISC_POSTGRES_URL"
        self._admin_url = self.external_url or ""
        self._program: Program | None = None
        self._child: Child | None = None

    @property
    def cluster_dir(self) -> Path:
        """Where the cluster's files are."""
        return self.data_dir / "postgres"

    @property
    def admin_url(self) -> str:
        """The address of the maintenance database, password included. Known after `prepare`."""
        if not self._admin_url:
            raise LocalError("The address of Postgres is known only once it is prepared.")
        return self._admin_url

    def url(self, database: str) -> str:
        """Return the address of another database of the same server."""
        return database_url(self.admin_url, database)

    async def prepare(self) -> Program | None:
        """Make the cluster if there is none; return what to run, None for an external server.

        Raises BinariesMissingError, ProgramFailedError (initdb), LocalError.
        """
        if self.external_url is not None:
            return None
        found = await asyncio.to_thread(binaries.find_postgres, self.environ)
        self.origin = f"PostgreSQL {found.major} ({found.origin})"
        self.data_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
        way = await find_root_way(self.environ)
        if way.run_as is not None:
            found = self._open_to(found)
        password = secrets_file.read_or_create(
            self.data_dir / "postgres.password", lambda: secrets.token_urlsafe(24)
        )
        if self.cluster_dir.exists():
            self._check_version(found)
        else:
            await self._make_cluster(found, way, password)
        self._admin_url = f"postgresql://{USER}:{password}@{self.host}:{self.port}/postgres"
        return self._describe_program(found, way)

    async def start(self) -> None:
        """Prepare, start and wait until the server answers. Raises LocalError and its kinds."""
        program = await self.prepare()
        if program is None:
            await check_reachable(self.admin_url)
            return
        self._child = await Child.start(program)
        try:
            await self._child.wait_ready()
        except BaseException:
            await self.stop()
            raise

    async def stop(self) -> None:
        """Stop the server we started; idempotent, and nothing for an external one."""
        if self._child is not None:
            await self._child.stop()
            self._child = None

    def _describe_program(self, found: binaries.PostgresBinaries, way: RootWay) -> Program:
        settings = {**SETTINGS, "port": str(self.port), "listen_addresses": self.host}
        options = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
        return Program(
            name="postgres",
            argv=(
                *way.prefix,
                str(found.bin_dir / "postgres"),
                *("-D", str(self.cluster_dir)),
                *options,
            ),
            log_path=self.data_dir / "logs" / "postgres.log",
            ready=self._is_ready,
            env={"PATH": os.defpath, "LC_ALL": _locale(), "TZ": "UTC"},
            cwd=self.cluster_dir,
            run_as=way.run_as,
            before_start=self._clear_the_way,
            stop_signal=signal.SIGINT,  # a fast shutdown: clients are cut off, data is flushed
            stop_grace_s=STOP_GRACE_S,
        )

    async def _is_ready(self) -> bool:
        return await answers(self.admin_url)

    async def _make_cluster(
        self, found: binaries.PostgresBinaries, way: RootWay, password: str
    ) -> None:
        """Make it under another name first: a half-made cluster is never mistaken for a whole."""
        draft = self.data_dir / "postgres.draft"
        password_path = self.data_dir / "postgres.password.draft"
        shutil.rmtree(draft, ignore_errors=True)
        draft.mkdir(mode=0o700)
        secrets_file.write_private(password_path, password)
        if way.run_as is not None:
            for path in (draft, password_path):
                os.chown(path, *way.run_as)
        try:
            await run_once(
                "initdb",
                *way.prefix,
                str(found.bin_dir / "initdb"),
                f"--pgdata={draft}",
                f"--username={USER}",
                f"--pwfile={password_path}",
                "--auth=scram-sha-256",
                "--encoding=UTF8",
                f"--locale={_locale()}",
                "--data-checksums",
                run_as=way.run_as,
            )
        finally:
            password_path.unlink()
        draft.replace(self.cluster_dir)

    def _check_version(self, found: binaries.PostgresBinaries) -> None:
        major = int((self.cluster_dir / "PG_VERSION").read_text())
        if major != found.major:
            raise LocalError(
                f"{self.cluster_dir} was made by PostgreSQL {major}, but the one found is "
                f"{found.major} ({found.origin}). Install {major} again, or start afresh in "
                "another directory (FISC_DATA_DIR)."
            )

    def _open_to(self, found: binaries.PostgresBinaries) -> binaries.PostgresBinaries:
        """Let an unprivileged user reach the data directory, and the binaries of a wheel in it."""
        self.data_dir.chmod(0o711)
        closed = [parent for parent in self.data_dir.parents if not parent.stat().st_mode & 0o001]
        if closed:
            raise LocalError(
                f"Postgres cannot run as root, and the user {UNPRIVILEGED_USER!r} may not enter "
                f"{closed[0]}. Choose a data directory others may enter: FISC_DATA_DIR=/var/lib/fisc"
            )
        if self.cluster_dir.exists():
            chown_tree(self.cluster_dir, UNPRIVILEGED_USER)
        if found.wheel_dir is None:
            return found
        copies = self.data_dir / "postgres-programs"
        shutil.rmtree(copies, ignore_errors=True)
        libraries = found.wheel_dir.with_name(f"{found.wheel_dir.name}.libs")
        for source in (found.wheel_dir, libraries):
            if source.exists():
                shutil.copytree(source, copies / source.name, symlinks=True)
        bin_dir = copies / found.bin_dir.relative_to(found.wheel_dir.parent)
        return dataclasses.replace(found, bin_dir=bin_dir, wheel_dir=None)

    async def _clear_the_way(self) -> None:
        """Remove what a killed server left behind; complain about a port someone else holds."""
        pid_path = self.cluster_dir / "postmaster.pid"
        with contextlib.suppress(FileNotFoundError):
            pid = int(pid_path.read_text().split()[0])
            if await is_postgres_of(pid, self.cluster_dir):
                await stop_orphan(pid, self.cluster_dir)
            # The number may belong to another program by now; Postgres would then refuse.
            pid_path.unlink()
        ports.check_free(self.host, self.port, "Postgres")


def database_url(admin_url: str, database: str) -> str:
    """Return the address of another database of the same server."""
    return urlunsplit(urlsplit(admin_url)._replace(path=f"/{database}"))


async def create_database(admin_url: str, name: str) -> str:
    """Create the database unless it is there; return its address. Idempotent, also at once."""
    connection = await asyncpg.connect(admin_url, timeout=CONNECT_TIMEOUT_S)
    try:
        if not await connection.fetchval("SELECT 1 FROM pg_database WHERE datname = $1", name):
            quoted = name.replace('"', '""')
            with contextlib.suppress(asyncpg.DuplicateDatabaseError, asyncpg.UniqueViolationError):
                await connection.execute(f'CREATE DATABASE "{quoted}"')
    finally:
        await connection.close()
    return database_url(admin_url, name)


async def answers(url: str) -> bool:
    """Whether the server lets us in and runs a query; a wrong password raises."""
    try:
        connection = await asyncpg.connect(url, timeout=CONNECT_TIMEOUT_S)
    except (OSError, TimeoutError, asyncpg.CannotConnectNowError, asyncpg.InterfaceError):
        return False
    except asyncpg.PostgresConnectionError:
        return False
    try:
        return bool(await connection.fetchval("SELECT true"))
    finally:
        await connection.close()


async def check_reachable(url: str) -> None:
    """Raise LocalError unless the external server answers."""
    try:
        reachable = await answers(url)
    except asyncpg.PostgresError as error:
        raise LocalError(f"The Postgres of FISC_POSTGRES_URL refused us: {error}") from error
    if not reachable:
        host = urlsplit(url).hostname
        raise LocalError(f"The Postgres of FISC_POSTGRES_URL, at {host}, does not answer.")


async def find_root_way(environ: Mapping[str, str]) -> RootWay:
    """Return how to run Postgres as the present user; FISC_POSTGRES_AS_ROOT forces a way."""
    if os.geteuid() != 0:
        return RootWay()
    account = pwd.getpwnam(UNPRIVILEGED_USER)
    prefix = (
        "unshare",
        "--user",
        f"--map-user={account.pw_uid}",
        f"--map-group={account.pw_gid}",
        "--",
    )
    wanted = environ.get("FISC_POSTGRES_AS_ROOT", "auto")
    if wanted in {"auto", "namespace"} and shutil.which("unshare") is not None:
        try:
            await run_once("unshare", *prefix, "true")
        except ProgramFailedError:
            if wanted == "namespace":
                raise
        else:
            return RootWay(prefix=prefix)
    return RootWay(run_as=(account.pw_uid, account.pw_gid))


async def run_once(name: str, *argv: str, run_as: tuple[int, int] | None = None) -> None:
    """Run a command to its end. Raises ProgramFailedError with its output when it fails."""
    user, group = run_as or (None, None)
    process = await asyncio.create_subprocess_exec(
        *argv,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        env={"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": _locale(), "TZ": "UTC"},
        cwd="/",
        user=user,
        group=group,
        extra_groups=None if run_as is None else [],
    )
    try:
        output, _ = await asyncio.wait_for(process.communicate(), INITDB_TIMEOUT_S)
    except BaseException:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        raise
    if process.returncode != 0:
        raise ProgramFailedError(f"{name} failed:\n{output.decode(errors='replace').strip()}")


async def is_postgres_of(pid: int, cluster_dir: Path) -> bool:
    """Whether the process is a Postgres that serves this very cluster."""
    command = await describe_process(pid)
    return "postgres" in command and str(cluster_dir) in command


async def describe_process(pid: int) -> str:
    """Return the command line of a process, "" when there is none. `ps` serves outside Linux."""
    if PROCESSES_DIR.exists():
        try:
            arguments = await asyncio.to_thread((PROCESSES_DIR / str(pid) / "cmdline").read_bytes)
        except OSError:
            return ""
        return arguments.replace(b"\0", b" ").decode(errors="replace")
    process = await asyncio.create_subprocess_exec(
        *("ps", "-ww", "-o", "args=", "-p", str(pid)), stdout=asyncio.subprocess.PIPE
    )
    output, _ = await process.communicate()
    return output.decode(errors="replace")


async def stop_orphan(pid: int, cluster_dir: Path) -> None:
    """Stop a server whose supervisor is gone. Raises LocalError when it does not end."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGINT)
    for _ in range(int(ORPHAN_STOP_S / ORPHAN_POLL_S)):
        if not await is_postgres_of(pid, cluster_dir):
            return
        await asyncio.sleep(ORPHAN_POLL_S)
    raise LocalError(f"A Postgres from an earlier run (process {pid}) does not stop; end it first.")


def chown_tree(directory: Path, user: str) -> None:
    """Give a directory and all in it to a user, unless it is the user's already."""
    account = pwd.getpwnam(user)
    if directory.stat().st_uid == account.pw_uid:
        return
    for path in (directory, *directory.rglob("*")):
        os.chown(path, account.pw_uid, account.pw_gid, follow_symlinks=False)


def _locale() -> str:
    return "C.UTF-8" if sys.platform == "linux" else "C"
