"""A real Redis-compatible server (Valkey) in a directory of ours, as a child process.

It keeps an append-only file, so velocity counters outlive a restart; losing it loses no money.
"""

import asyncio
import os
import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

import redis.asyncio
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from deploy.local import binaries, ports, secrets_file
from deploy.local.errors import LocalError
from deploy.local.process import Child, Program

ANSWER_TIMEOUT_S: Final = 1.0
MEMORY_MAX: Final = "256mb"
STOP_GRACE_S: Final = 10.0


class Redis:
    """One server below `data_dir`, or the one FISC_REDIS_URL names, left as it is."""

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
        self.external_url = self.environ.get("FISC_REDIS_URL") or None
        self.origin = "FISC_REDIS_URL"
        self._url = self.external_url or ""
        self._child: Child | None = None

    @property
    def url(self) -> str:
        """The address, password included. Known after `prepare`."""
        if not self._url:
            raise LocalError("The address of Redis is known only once it is prepared.")
        return self._url

    async def prepare(self) -> Program | None:
        """Write the configuration; return what to run, None for an external server.

        Raises BinariesMissingError.
        """
        if self.external_url is not None:
            return None
        found = await asyncio.to_thread(binaries.find_redis, self.environ)
        self.origin = f"{found.path.name} ({found.origin})"
        files_dir = self.data_dir / "redis"
        files_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
        password = secrets_file.read_or_create(
            self.data_dir / "redis.password", lambda: secrets.token_urlsafe(24)
        )
        self._url = f"redis://:{password}@{self.host}:{self.port}/0"
        # A file, because everyone may read the arguments of a process.
        configuration = self.data_dir / "redis.conf"
        secrets_file.write_private(configuration, self._configure(files_dir, password))
        return Program(
            name="redis",
            argv=(str(found.path), str(configuration)),
            log_path=self.data_dir / "logs" / "redis.log",
            ready=self._is_ready,
            env={"PATH": os.defpath, "LC_ALL": "C", "TZ": "UTC"},
            cwd=files_dir,
            before_start=self._check_port,
            stop_grace_s=STOP_GRACE_S,
        )

    async def start(self) -> None:
        """Prepare, start and wait until the server answers. Raises LocalError and its kinds."""
        program = await self.prepare()
        if program is None:
            await check_reachable(self.url)
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

    async def _is_ready(self) -> bool:
        return await answers(self.url)

    async def _check_port(self) -> None:
        ports.check_free(self.host, self.port, "Redis")

    def _configure(self, files_dir: Path, password: str) -> str:
        return "\n".join(
            (
                f"bind {self.host}",
                f"port {self.port}",
                "protected-mode yes",
                f"requirepass {password}",
                f'dir "{files_dir}"',
                "appendonly yes",
                "appendfsync everysec",
                'save ""',
                f"maxmemory {MEMORY_MAX}",
                "maxmemory-policy noeviction",
                "daemonize no",
            )
        )


async def answers(url: str) -> bool:
    """Whether the server answers a PING."""
    client = redis.asyncio.from_url(
        url,
        socket_timeout=ANSWER_TIMEOUT_S,
        socket_connect_timeout=ANSWER_TIMEOUT_S,
        retry=Retry(NoBackoff(), 0),
    )
    try:
        return bool(await client.ping())
    except (RedisError, OSError):
        return False
    finally:
        await client.aclose()


async def check_reachable(url: str) -> None:
    """Raise LocalError unless the external server answers."""
    if not await answers(url):
        host = urlsplit(url).hostname
        raise LocalError(f"The Redis of FISC_REDIS_URL, at {host}, does not answer.")
