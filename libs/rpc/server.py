"""Serving: one gRPC server a process, its health, its background loops, and an orderly end.

A service's `__main__` is `server.run(main())`, where `main` builds things and awaits `serve(...)`.
"""

import asyncio
import contextlib
import random
import signal
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator, Sequence
from typing import Any, Final, TypeVar

import grpc
import uvloop
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from libs import log, memory, ports, telemetry
from libs.config import ServiceSettings
from libs.rpc.interceptors import CallInterceptor, ValidationInterceptor

MESSAGE_BYTES_MAX: Final = 4 * 1024 * 1024
# Beyond its defaults gRPC answers CANCELLED, which no client tries again; we shed load ourselves.
PENDING_REQUESTS_MAX: Final = 100_000
PENDING_REQUESTS_HARD_LIMIT: Final = 200_000
# Clients only learn of new replicas when they connect anew.
CONNECTION_AGE_MAX_S: Final = 300
CONNECTION_AGE_GRACE_S: Final = 30
KEEPALIVE_INTERVAL_S: Final = 60
KEEPALIVE_TIMEOUT_S: Final = 20
# Below the 60 s of our clients, or we would call their pings too many.
PING_INTERVAL_MIN_S: Final = 30
# The health name a liveness probe asks for; "" and the services' own names follow readiness.
LIVENESS: Final = "liveness"
READINESS_INTERVAL_S: Final = 1.0
READINESS_TIMEOUT_S: Final = 2.0
RESTART_BACKOFF_INITIAL_S: Final = 0.5
RESTART_BACKOFF_MAX_S: Final = 30.0
# A loop that ran this long before it raised starts its back-off anew.
RESTART_HEALTHY_S: Final = 60.0

Registration = Callable[[grpc.aio.Server], None]
Hook = Callable[[], Awaitable[None]]
T = TypeVar("T")

_SERVING = health_pb2.HealthCheckResponse.SERVING
_NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING

_log = log.get_logger()


class PortTaken(OSError):
    """Another process listens on that address."""


class RpcServer:
    """A gRPC server with our options, interceptors, health and reflection services.

    It reports NOT_SERVING until `set_serving`. `stop` is idempotent and must be awaited before the
    loop ends.
    """

    def __init__(
        self,
        *,
        registrations: Sequence[Registration],
        service_names: Sequence[str] = (),
        host: str = "127.0.0.1",
        port: int = 0,
        extra_interceptors: Sequence[grpc.aio.ServerInterceptor] = (),
        outer_interceptors: Sequence[grpc.aio.ServerInterceptor] = (),
    ) -> None:
        """Port 0 lets the system choose; service_names are full proto names.

        Outer interceptors see a call before anything of ours does, and map their errors themselves.
        """
        self._registrations = registrations
        self._service_names = tuple(service_names)
        self._host = host
        self._port = port
        self._interceptors = (
            *outer_interceptors,
            CallInterceptor(),
            *extra_interceptors,
            ValidationInterceptor(),
        )
        self._health = health.aio.HealthServicer()  # type: ignore[attr-defined]  # no stubs
        self._server: grpc.aio.Server | None = None

    @property
    def port(self) -> int:
        """Where it listens; chosen by the system at `start` when 0 was asked for."""
        return self._port

    @property
    def target(self) -> str:
        """The address a client on this machine dials."""
        return f"{self._host}:{self._port}"

    async def start(self) -> None:
        """Listen and serve. Raises PortTaken."""
        server = grpc.aio.server(interceptors=self._interceptors, options=_options())
        for register in self._registrations:
            register(server)
        health_pb2_grpc.add_HealthServicer_to_server(  # type: ignore[no-untyped-call]  # no stubs
            self._health, server
        )
        reflection.enable_server_reflection(  # type: ignore[no-untyped-call]  # no stubs
            (*self._service_names, health.SERVICE_NAME, reflection.SERVICE_NAME), server
        )
        try:
            self._port = server.add_insecure_port(self.target)
        except RuntimeError as error:
            raise PortTaken(f"cannot listen on {self.target}: is it taken?") from error
        self._server = server
        await self.set_serving(is_serving=False)
        # A process that answers is alive, whatever its database does.
        await self._health.set(LIVENESS, _SERVING)
        await server.start()

    async def set_serving(self, *, is_serving: bool) -> None:
        """What the health service says, of every service and of the whole."""
        for name in ("", *self._service_names):
            await self._health.set(name, _SERVING if is_serving else _NOT_SERVING)

    async def enter_drain(self) -> None:
        """Say NOT_SERVING from now on, whatever `set_serving` is told."""
        await self._health.enter_graceful_shutdown()

    async def stop(self, grace_s: float = 0.0) -> None:
        """Refuse new calls, let those in flight finish for grace_s, cancel the rest.

        Called again meanwhile with a shorter grace, the shorter one holds.
        """
        if self._server is not None:
            await self._server.stop(grace_s or None)


@contextlib.asynccontextmanager
async def running(
    *,
    registrations: Sequence[Registration],
    service_names: Sequence[str] = (),
    extra_interceptors: Sequence[grpc.aio.ServerInterceptor] = (),
    outer_interceptors: Sequence[grpc.aio.ServerInterceptor] = (),
) -> AsyncIterator[str]:
    """A serving server on a free loopback port, for tests; yields its target."""
    server = RpcServer(
        registrations=registrations,
        service_names=service_names,
        extra_interceptors=extra_interceptors,
        outer_interceptors=outer_interceptors,
    )
    await server.start()
    try:
        await server.set_serving(is_serving=True)
        yield server.target
    finally:
        await server.stop()


async def serve(
    *,
    service: str,
    settings: ServiceSettings,
    registrations: Sequence[Registration],
    service_names: Sequence[str],
    background: Sequence[Hook] = (),
    ready: Callable[[], Awaitable[bool]],
    on_drain: Sequence[Hook] = (),
    extra_interceptors: Sequence[grpc.aio.ServerInterceptor] = (),
    outer_interceptors: Sequence[grpc.aio.ServerInterceptor] = (),
) -> None:
    """Serve until SIGTERM or SIGINT, then drain and return.

    Draining: health says NOT_SERVING, background loops are cancelled and awaited, the on_drain
    hooks run in order, calls in flight get settings.drain_grace_s. What the handlers use (pools,
    coalescers) must live until this returns. A second signal cuts the grace short. Health follows
    `ready`, asked every second. Exits 2 when a port is taken.
    """
    server = RpcServer(
        registrations=registrations,
        service_names=service_names,
        host=settings.host,
        port=settings.grpc_port,
        extra_interceptors=extra_interceptors,
        outer_interceptors=outer_interceptors,
    )
    signals = _Signals()
    try:
        await _open_ports(service, server, settings)
        with signals.handled():
            _log.info("serving", target=server.target)
            async with _background((telemetry.watch_event_loop_lag, *background)):
                await _follow_readiness(server, ready, until=signals.first)
                _log.info("draining")
                await server.enter_drain()
            for hook in on_drain:
                await _run_hook(hook)
            await _stop_within(server, settings.drain_grace_s, cut_short=signals.second)
    finally:
        await server.stop()
    _log.info("stopped")


def run(main: Coroutine[Any, Any, T]) -> T:
    """Run a process's main coroutine on uvloop, the only event loop of the process."""
    memory.settle()
    return uvloop.run(main)


class _Signals:
    """SIGTERM and SIGINT as events: the first asks for a drain, the second for haste."""

    def __init__(self) -> None:
        self.first = asyncio.Event()
        self.second = asyncio.Event()

    @contextlib.contextmanager
    def handled(self) -> Iterator[None]:
        loop = asyncio.get_running_loop()
        numbers = (signal.SIGTERM, signal.SIGINT)
        for number in numbers:
            loop.add_signal_handler(number, self._receive)
        try:
            yield
        finally:
            for number in numbers:
                loop.remove_signal_handler(number)

    def _receive(self) -> None:
        (self.second if self.first.is_set() else self.first).set()


async def _open_ports(service: str, server: RpcServer, settings: ServiceSettings) -> None:
    with ports.needed(service, settings.host, settings.grpc_port):
        await server.start()
    with ports.needed(service, settings.host, settings.metrics_port):
        telemetry.start_metrics_server(settings.host, settings.metrics_port)


async def _follow_readiness(
    server: RpcServer, ready: Callable[[], Awaitable[bool]], *, until: asyncio.Event
) -> None:
    was_ready: bool | None = None
    while not until.is_set():
        is_ready = await _ask(ready)
        if is_ready is not was_ready:
            was_ready = is_ready
            _log.info("readiness changed", is_ready=is_ready)
            await server.set_serving(is_serving=is_ready)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(READINESS_INTERVAL_S):
                await until.wait()


async def _ask(ready: Callable[[], Awaitable[bool]]) -> bool:
    try:
        async with asyncio.timeout(READINESS_TIMEOUT_S):
            return await ready()
    except Exception as error:  # noqa: BLE001 -- whatever the probe raises, the answer is no
        _log.warning("readiness probe failed", error=repr(error))
        return False


@contextlib.asynccontextmanager
async def _background(loops: Sequence[Hook]) -> AsyncIterator[None]:
    tasks = [asyncio.create_task(_keep_running(loop), name=_name_of(loop)) for loop in loops]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        for task in tasks:
            with contextlib.suppress(asyncio.CancelledError):
                await task


async def _keep_running(loop: Hook) -> None:
    """Run a loop until it returns. One that raises is a bug; the others must not suffer for it."""
    name = _name_of(loop)
    backoff_s = RESTART_BACKOFF_INITIAL_S
    clock = asyncio.get_running_loop()
    while True:
        started_s = clock.time()
        try:
            await loop()
        except Exception as error:  # noqa: BLE001 -- logged, counted and started again
            telemetry.background_restarts.labels(name).inc()
            if clock.time() - started_s >= RESTART_HEALTHY_S:
                backoff_s = RESTART_BACKOFF_INITIAL_S
            _log.error("background loop raised", loop=name, restart_in_s=backoff_s, exc_info=error)
        else:
            _log.info("background loop ended", loop=name)
            return
        await asyncio.sleep(backoff_s * random.uniform(0.8, 1.2))  # noqa: S311 -- jitter
        backoff_s = min(backoff_s * 2, RESTART_BACKOFF_MAX_S)


async def _run_hook(hook: Hook) -> None:
    try:
        await hook()
    except Exception as error:  # noqa: BLE001 -- the remaining steps of the drain matter more
        _log.error("drain hook raised", hook=_name_of(hook), exc_info=error)


async def _stop_within(server: RpcServer, grace_s: float, *, cut_short: asyncio.Event) -> None:
    stopping = asyncio.create_task(server.stop(grace_s))
    hurry = asyncio.create_task(cut_short.wait())
    await asyncio.wait((stopping, hurry), return_when=asyncio.FIRST_COMPLETED)
    hurry.cancel()
    if not stopping.done():
        await server.stop()
    await stopping


def _name_of(hook: Hook) -> str:
    return getattr(hook, "__qualname__", type(hook).__name__)


def _options() -> list[tuple[str, int]]:
    return [
        ("grpc.so_reuseport", 0),
        ("grpc.max_receive_message_length", MESSAGE_BYTES_MAX),
        ("grpc.max_send_message_length", MESSAGE_BYTES_MAX),
        ("grpc.server.max_pending_requests", PENDING_REQUESTS_MAX),
        ("grpc.server.max_pending_requests_hard_limit", PENDING_REQUESTS_HARD_LIMIT),
        ("grpc.max_connection_age_ms", CONNECTION_AGE_MAX_S * 1_000),
        ("grpc.max_connection_age_grace_ms", CONNECTION_AGE_GRACE_S * 1_000),
        ("grpc.keepalive_time_ms", KEEPALIVE_INTERVAL_S * 1_000),
        ("grpc.keepalive_timeout_ms", KEEPALIVE_TIMEOUT_S * 1_000),
        ("grpc.http2.min_ping_interval_without_data_ms", PING_INTERVAL_MIN_S * 1_000),
    ]
