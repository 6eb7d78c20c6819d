"""All of Fisc on one machine: Postgres, Valkey, the sandbox, six services and the cockpit."""

import asyncio
import contextlib
import fcntl
import os
import secrets
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from types import FrameType, TracebackType
from typing import IO, Final, Self

from cryptography.fernet import Fernet

from deploy.local import environment, ports, postgres, probes, secrets_file
from deploy.local.environment import LocalSettings
from deploy.local.errors import DataDirInUseError
from deploy.local.postgres import Postgres
from deploy.local.process import Child, Program
from deploy.local.redis import Redis
from deploy.local.supervisor import Supervisor

# Whoever is called stands before its caller; a group starts at once and stops at once.
START_ORDER: Final = (
    ("sandbox", "router", "risk", "account"),
    ("gateway",),
    ("clearing", "notification"),
    ("cockpit",),
)


class Suite:
    """`async with Suite(settings) as suite:` starts everything and stops it at the end.

    Entering returns when every process answers its health check; it raises LocalError (and its
    kinds) with a message for the operator, and then leaves nothing running. SIGTERM acts like
    Ctrl-C. The second suite on one data directory is refused.
    """

    def __init__(
        self,
        settings: LocalSettings,
        *,
        on_progress: Callable[[str], None] = lambda _: None,
        environ: Mapping[str, str] | None = None,
        start_order: Sequence[Sequence[str]] = START_ORDER,
    ) -> None:
        self.settings = settings
        self._on_progress = on_progress
        self._environ = dict(os.environ if environ is None else environ)
        self._start_order = start_order
        data_dir, host = settings.data_dir, settings.host
        self.postgres = Postgres(
            data_dir, port=settings.postgres_port, host=host, environ=self._environ
        )
        self.redis = Redis(data_dir, port=settings.redis_port, host=host, environ=self._environ)
        self._supervisor: Supervisor | None = None
        self._cleanup = contextlib.ExitStack()

    async def __aenter__(self) -> Self:
        """Start everything; see the class."""
        try:
            self._cleanup.enter_context(hold(self.settings.data_dir))
            self._cleanup.enter_context(terminate_like_interrupt())
            await self._start()
        except BaseException:
            await self.stop()
            raise
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Stop everything in reverse order."""
        await self.stop()

    @property
    def redis_url(self) -> str:
        """The address of Valkey, password included."""
        return self.redis.url

    @property
    def callback_base_url(self) -> str:
        """Where channels call gateway back."""
        return f"http://{self.settings.host}:{self.settings.callback_port}"

    def target(self, service: str) -> str:
        """Return the gRPC address of a service, `host:port`."""
        return f"{self.settings.host}:{self.settings.port(service)}"

    def url(self, web_server: str) -> str:
        """Return the HTTP address of `cockpit` or `sandbox`."""
        return f"http://{self.settings.host}:{self.settings.port(web_server)}"

    def metrics_url(self, name: str) -> str:
        """Return where Prometheus finds the metrics of a process."""
        return f"http://{self.settings.host}:{self.settings.metrics_port(name)}/metrics"

    def database_url(self, service: str) -> str:
        """Return the address of a service's database, password included."""
        return self.postgres.url(f"fisc_{service}")

    def log_path(self, name: str) -> Path:
        """Return the file that collects what a process prints."""
        return self.settings.data_dir / "logs" / f"{name}.log"

    def child(self, name: str) -> Child:
        """Return the present process of a program, for tests that kill it."""
        assert self._supervisor is not None, "the suite is not running"  # noqa: S101 misuse
        return self._supervisor.child(name)

    async def run_until_stopped(self) -> None:
        """Wait for Ctrl-C or SIGTERM. Raises ProgramFailedError when a program is given up."""
        assert self._supervisor is not None, "the suite is not running"  # noqa: S101 misuse
        loop = asyncio.get_running_loop()
        told = asyncio.Event()
        signals = (signal.SIGINT, signal.SIGTERM)
        for number in signals:
            loop.add_signal_handler(number, told.set)
        stopped = asyncio.create_task(told.wait())
        failed = asyncio.create_task(self._supervisor.wait_failed())
        try:
            await asyncio.wait((stopped, failed), return_when=asyncio.FIRST_COMPLETED)
            if failed.done():
                failed.result()
        finally:
            stopped.cancel()
            failed.cancel()
            for number in signals:
                loop.remove_signal_handler(number)

    async def stop(self) -> None:
        """Stop everything in reverse order; idempotent. Cancelled, it kills at once."""
        try:
            if self._supervisor is not None:
                self._on_progress("stopping")
                await self._supervisor.stop()
                self._on_progress("stopped")
        finally:
            self._supervisor = None
            self._cleanup.close()

    async def _start(self) -> None:
        for port, purpose in self.settings.purposes().items():
            ports.check_free(self.settings.host, port, purpose)
        self._supervisor = Supervisor(on_event=self._on_progress)
        await self._start_stores(self._supervisor)
        for names in self._start_order:
            began = time.monotonic()
            self._on_progress(f"starting {', '.join(names)}")
            await self._supervisor.start([self._describe(name) for name in names])
            self._on_progress(f"{', '.join(names)} ready in {time.monotonic() - began:.1f} s")

    async def _start_stores(self, supervisor: Supervisor) -> None:
        began = time.monotonic()
        if not self.postgres.cluster_dir.exists() and self.postgres.external_url is None:
            self._on_progress(f"making a database cluster in {self.postgres.cluster_dir}")
        programs = [await self.postgres.prepare(), await self.redis.prepare()]
        await supervisor.start([program for program in programs if program is not None])
        for service in environment.SERVICES:
            await postgres.create_database(self.postgres.admin_url, f"fisc_{service}")
        self._on_progress(
            f"{self.postgres.origin} and {self.redis.origin} ready in "
            f"{time.monotonic() - began:.1f} s"
        )

    def _describe(self, name: str) -> Program:
        is_service = name in environment.SERVICES
        host, port = self.settings.host, self.settings.port(name)
        probe = probes.grpc_serving if is_service else probes.http_healthy

        async def check_ports() -> None:
            ports.check_free(host, port, name)

        return Program(
            name=name,
            argv=(sys.executable, "-m", f"services.{name}"),
            log_path=self.log_path(name),
            ready=lambda: probe(host, port),
            env=environment.describe_environment(
                self.settings,
                name,
                database_url=self.database_url(name) if is_service else None,
                redis_url=self.redis_url,
                seal_keys={
                    service: secrets_file.read_or_create(
                        self.settings.data_dir / f"{service}.seal-key",
                        lambda: Fernet.generate_key().decode(),
                    )
                    for service in environment.SEALERS
                },
                operator_token=operator_token(self.settings.data_dir),
                inherited=self._environ,
            ),
            before_start=check_ports,
        )


def operator_token(data_dir: Path) -> str:
    """Return the token that opens the operators' services; made once for a data directory."""
    return secrets_file.read_or_create(
        data_dir / environment.OPERATOR_FILE, lambda: secrets.token_urlsafe(32)
    )


@contextlib.contextmanager
def hold(data_dir: Path) -> Iterator[None]:
    """Hold the data directory for this suite alone. Raises DataDirInUseError.

    The kernel lets go of it when this process ends, however it ends.
    """
    data_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
    with (data_dir / "suite.lock").open("a+") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise DataDirInUseError(
                f"Another suite (process {_read_owner(lock)}) already runs on {data_dir}. Stop it "
                "first, or choose another directory and ports: FISC_DATA_DIR=… FISC_BASE_PORT=…"
            ) from error
        lock.truncate(0)
        lock.write(str(os.getpid()))
        lock.flush()
        yield


def _read_owner(lock: IO[str]) -> str:
    lock.seek(0)
    return lock.read().strip() or "unknown"


@contextlib.contextmanager
def terminate_like_interrupt() -> Iterator[None]:
    """Let SIGTERM do what Ctrl-C does: cancel the main task, so that everything stops in order."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def interrupt(_number: int, _frame: FrameType | None) -> None:
        signal.raise_signal(signal.SIGINT)

    previous = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, previous)
