"""A whole process under libs.rpc.server.serve: its start, its end, and a port that is taken."""

import asyncio
import os
import signal
import socket
import sys
import textwrap
import urllib.request
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from deploy.local import ports
from deploy.local.process import ROOT
from libs.rpc import client
from libs.testing import eventually

# "Slow" takes half a second, so that it is in flight when the drain begins.
PROGRAM = textwrap.dedent(
    """
    import asyncio, os, pathlib
    from google.protobuf import empty_pb2
    import grpc
    from libs import log
    from libs.config import ServiceSettings
    from libs.rpc import server

    MARKS = pathlib.Path(os.environ["MARKS"])
    starts = 0

    def mark(text):
        with MARKS.open("a") as file:
            file.write(text + "\\n")

    async def slow(request, context):
        mark("arrived")
        await asyncio.sleep(0.5)
        return empty_pb2.Empty()

    def register(to):
        to.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(
            "fisc.test.v1.Test", {"Slow": grpc.unary_unary_rpc_method_handler(
                slow,
                request_deserializer=empty_pb2.Empty.FromString,
                response_serializer=lambda message: message.SerializeToString())}),))

    async def loop():
        global starts
        starts += 1
        mark(f"loop started {starts}")
        if starts == 1:
            raise RuntimeError("a bug")
        try:
            await asyncio.Event().wait()
        finally:
            mark("loop cancelled")

    async def ready():
        return starts >= 2

    async def drained():
        mark("drained")

    async def main():
        settings = ServiceSettings.model_validate({"database_url": "none"})
        log.configure("test", settings.log_level, settings.log_format)
        await server.serve(
            service="test", settings=settings, registrations=[register],
            service_names=["fisc.test.v1.Test"], background=[loop], ready=ready,
            on_drain=[drained])
        mark("returned")

    server.run(main())
    """
)


@dataclass
class Running:
    process: asyncio.subprocess.Process
    port: int
    metrics_port: int
    marks: Path

    @property
    def target(self) -> str:
        return f"127.0.0.1:{self.port}"

    def lines(self) -> list[str]:
        return self.marks.read_text().splitlines() if self.marks.exists() else []


@pytest.fixture
async def start(tmp_path: Path) -> AsyncIterator[Callable[[], Awaitable[Running]]]:
    started: list[asyncio.subprocess.Process] = []

    async def start_one(port: int | None = None) -> Running:
        port = port or ports.find_free()
        metrics_port = ports.find_free()
        marks = tmp_path / f"marks-{len(started)}"
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-c",
            PROGRAM,
            cwd=ROOT,
            env={
                **os.environ,
                "PYTHONPATH": f"{ROOT}:{ROOT / 'protos'}",
                "FISC_GRPC_PORT": str(port),
                "FISC_METRICS_PORT": str(metrics_port),
                "MARKS": str(marks),
            },
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        started.append(process)
        return Running(process, port, metrics_port, marks)

    yield start_one
    for process in started:
        if process.returncode is None:
            process.kill()
        await process.communicate()


async def _health(channel: grpc.aio.Channel) -> int | None:
    try:
        stub = health_pb2_grpc.HealthStub(channel)  # type: ignore[no-untyped-call]  # no stubs
        answer = await stub.Check(
            health_pb2.HealthCheckRequest(service="fisc.test.v1.Test"), timeout=1
        )
    except grpc.aio.AioRpcError:
        return None
    return int(answer.status)


async def test_a_terminated_process_finishes_its_calls_and_leaves_in_order(
    start: Callable[[], Awaitable[Running]],
) -> None:
    running = await start()
    channel = client.open_channel(running.target, peer="test")

    async def is_serving() -> bool:
        return await _health(channel) == health_pb2.HealthCheckResponse.SERVING

    await eventually(is_serving, 15)
    assert running.lines() == ["loop started 1", "loop started 2"]
    page = await asyncio.to_thread(_read, f"http://127.0.0.1:{running.metrics_port}/metrics")
    assert "background_loop_restarts_total" in page
    assert "event_loop_lag_seconds" in page

    slow: Any = channel.unary_unary("/fisc.test.v1.Test/Slow")
    in_flight = asyncio.ensure_future(slow(b"", timeout=5))
    await eventually(lambda: "arrived" in running.lines())
    running.process.send_signal(signal.SIGTERM)
    assert await in_flight == b""
    assert await running.process.wait() == 0
    assert running.lines()[2:] == ["arrived", "loop cancelled", "drained", "returned"]
    await channel.close()


async def test_a_taken_port_is_named_and_exits_with_two(
    start: Callable[[int], Awaitable[Running]],
) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        running = await start(port)
        _, errors = await running.process.communicate()
    assert running.process.returncode == 2
    assert f"test: cannot listen on 127.0.0.1:{port}" in errors.decode()


def _read(url: str) -> str:
    with urllib.request.urlopen(url) as page:
        return str(page.read().decode())
