"""The process as the supervisor runs it."""

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator

import httpx
import pytest

from deploy.local import ports

HOST = "127.0.0.1"
PATIENCE_S = 20.0
NOBODY_LISTENS = f"{HOST}:9"


@pytest.fixture
def environment() -> dict[str, str]:
    """Settings of a cockpit whose services are all down."""
    targets = {
        f"FISC_{service}_TARGET": NOBODY_LISTENS
        for service in ("GATEWAY", "ROUTER", "RISK", "ACCOUNT", "CLEARING", "NOTIFICATION")
    }
    inherited = {name: value for name, value in os.environ.items() if "FISC_" not in name}
    return {
        **inherited,
        **targets,
        "FISC_COCKPIT_HTTP_PORT": str(ports.find_free()),
        "FISC_COCKPIT_METRICS_PORT": str(ports.find_free()),
        "FISC_OPERATOR_TOKEN": "token-of-this-test",
    }


@pytest.fixture
async def process(environment: dict[str, str]) -> AsyncIterator[asyncio.subprocess.Process]:
    running = await _start(environment)
    yield running
    if running.returncode is None:
        running.kill()
        await running.wait()


async def test_it_serves_with_every_service_down_and_ends_cleanly_with_streams_open(
    environment: dict[str, str], process: asyncio.subprocess.Process
) -> None:
    url = f"http://{HOST}:{environment['FISC_COCKPIT_HTTP_PORT']}"
    async with httpx.AsyncClient(base_url=url, trust_env=False, timeout=PATIENCE_S) as client:
        await _until_healthy(client)
        assert "not read yet" in (page := (await client.get("/")).text) or "is down" in page
        async with client.stream("GET", "/live") as response:
            assert response.status_code == 200
            process.send_signal(signal.SIGTERM)
            async with asyncio.timeout(PATIENCE_S):
                output, _ = await process.communicate()

    assert process.returncode == 0
    assert b"token-of-this-test" not in output
    assert b"Traceback" not in output


async def test_missing_settings_are_named_all_at_once(environment: dict[str, str]) -> None:
    del environment["FISC_OPERATOR_TOKEN"], environment["FISC_RISK_TARGET"]
    process = await _start(environment)
    output, _ = await process.communicate()

    assert process.returncode == 2
    assert b"FISC_OPERATOR_TOKEN" in output
    assert b"FISC_RISK_TARGET" in output


async def _start(environment: dict[str, str]) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "services.cockpit",
        env=environment,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )


async def _until_healthy(client: httpx.AsyncClient) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while True:
            try:
                if (await client.get("/healthz")).status_code == 200:
                    return
            except httpx.TransportError:
                await asyncio.sleep(0.05)
