"""What the suite takes for "it serves"."""

import asyncio
from collections.abc import AsyncIterator

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_health.v1._async import HealthServicer

from deploy.local import ports, probes

HOST = "127.0.0.1"


@pytest.fixture
async def health_servicer() -> AsyncIterator[tuple[HealthServicer, int]]:
    servicer = HealthServicer()
    server = grpc.aio.server()
    health_pb2_grpc.add_HealthServicer_to_server(servicer, server)  # type: ignore[no-untyped-call]  # ships no types
    port = server.add_insecure_port(f"{HOST}:0")
    await server.start()
    yield servicer, port
    await server.stop(None)


async def test_a_service_serves_once_its_health_says_so(
    health_servicer: tuple[HealthServicer, int],
) -> None:
    servicer, port = health_servicer
    await servicer.set("", health_pb2.HealthCheckResponse.NOT_SERVING)
    assert not await probes.grpc_serving(HOST, port)

    await servicer.set("", health_pb2.HealthCheckResponse.SERVING)
    assert await probes.grpc_serving(HOST, port)


@pytest.mark.parametrize(("status", "healthy"), [("200 OK", True), ("503 Busy", False)])
async def test_a_web_server_serves_when_healthz_answers_200(status: str, healthy: bool) -> None:
    asked: list[bytes] = []

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked.append(await reader.readline())
        writer.write(f"HTTP/1.1 {status}\r\nContent-Length: 0\r\n\r\n".encode())
        writer.close()

    server = await asyncio.start_server(answer, HOST, 0)
    port = server.sockets[0].getsockname()[1]

    assert await probes.http_healthy(HOST, port) is healthy
    assert b"GET /healthz HTTP/1.1\r\n" in asked
    server.close()


async def test_nobody_on_the_port_is_not_serving() -> None:
    port = ports.find_free()
    assert not await probes.grpc_serving(HOST, port)
    assert not await probes.http_healthy(HOST, port)
    assert not await probes.listens(HOST, port)
