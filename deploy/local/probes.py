"""Whether a process of the suite serves: gRPC health for services, /healthz for web servers."""

import asyncio
from typing import Final

import grpc
import httpx
from grpc_health.v1 import health_pb2, health_pb2_grpc

PROBE_TIMEOUT_S: Final = 2.0
HTTP_OK: Final = 200


async def listens(host: str, port: int) -> bool:
    """Whether someone accepts connections on the port. Cheap, so it comes before the others."""
    try:
        _, writer = await asyncio.wait_for(asyncio.open_connection(host, port), PROBE_TIMEOUT_S)
    except (OSError, TimeoutError):
        return False
    writer.close()
    return True


async def grpc_serving(host: str, port: int) -> bool:
    """Whether the whole server answers SERVING to the standard health check."""
    if not await listens(host, port):
        return False
    options = (("grpc.enable_http_proxy", 0),)
    async with grpc.aio.insecure_channel(f"{host}:{port}", options=options) as channel:
        stub = health_pb2_grpc.HealthStub(channel)  # type: ignore[no-untyped-call]  # ships no types
        try:
            answer = await stub.Check(health_pb2.HealthCheckRequest(), timeout=PROBE_TIMEOUT_S)
        except grpc.aio.AioRpcError:
            return False
    return bool(answer.status == health_pb2.HealthCheckResponse.SERVING)


async def http_healthy(host: str, port: int) -> bool:
    """Whether GET /healthz answers 200."""
    if not await listens(host, port):
        return False
    async with httpx.AsyncClient(timeout=PROBE_TIMEOUT_S, trust_env=False) as client:
        try:
            answer = await client.get(f"http://{host}:{port}/healthz")
        except httpx.HTTPError:
            return False
    return answer.status_code == HTTP_OK
