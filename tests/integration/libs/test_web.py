"""Serving HTTP: where it listens, and how it ends."""

import asyncio
import contextlib
import os
import signal
import socket
import sys
import textwrap
from collections.abc import AsyncIterator

import httpx
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from deploy.local import ports
from deploy.local.process import ROOT
from libs import web
from libs.testing import eventually

PATIENCE_S = 20.0
PROGRAM = textwrap.dedent(
    """
    import asyncio, os, sys
    import uvloop
    from tests.integration.libs.test_web import Told
    from libs import web

    async def main():
        told = Told()
        serving = web.serve(
            told.app(), service="test", host="127.0.0.1", port=int(os.environ["PORT"]),
            options=web.Options(on_stop=told.stop))
        if sys.argv[1] == "task":
            await asyncio.create_task(serving)
        else:
            await serving
        print(*told.marks)

    uvloop.run(main())
    """
)


class Told:
    """An application that answers /slow late, and keeps what it went through."""

    def __init__(self) -> None:
        self.marks: list[str] = []
        self.asked = asyncio.Event()
        self.stopping = asyncio.Event()

    def stop(self) -> None:
        self.marks.append("stop")
        self.stopping.set()

    def app(self) -> Starlette:
        async def ping(_: Request) -> Response:
            return PlainTextResponse("pong")

        async def slow(_: Request) -> Response:
            self.asked.set()
            await self.stopping.wait()
            await asyncio.sleep(0.2)
            self.marks.append("answered")
            return PlainTextResponse("late")

        return Starlette(routes=[Route("/ping", ping), Route("/slow", slow)], lifespan=self._life)

    @contextlib.asynccontextmanager
    async def _life(self, _: Starlette) -> AsyncIterator[None]:
        self.marks.append("begun")
        yield
        self.marks.append("ended")


async def _start(port: int, how: str = "main") -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        PROGRAM,
        how,
        env={**os.environ, "PYTHONPATH": str(ROOT), "PORT": str(port)},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )


async def _answers(url: str) -> bool:
    async with httpx.AsyncClient(trust_env=False) as http:
        try:
            return (await http.get(f"{url}/ping")).text == "pong"
        except httpx.TransportError:
            return False


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_signal_ends_it_with_status_0_after_the_answers_in_flight(
    number: signal.Signals,
) -> None:
    port = ports.find_free()
    url = f"http://127.0.0.1:{port}"
    process = await _start(port)
    try:
        await eventually(lambda: _answers(url), PATIENCE_S)
        async with httpx.AsyncClient(trust_env=False, timeout=PATIENCE_S) as http:
            late = asyncio.create_task(http.get(f"{url}/slow"))
            await asyncio.sleep(0.3)
            process.send_signal(number)
            assert (await late).text == "late"
        output, errors = await asyncio.wait_for(process.communicate(), PATIENCE_S)
    finally:
        if process.returncode is None:
            process.kill()
            await process.communicate()
    assert (process.returncode, output.split(), errors) == (
        0,
        [b"begun", b"stop", b"answered", b"ended"],
        b"",
    )


@pytest.mark.parametrize("how", ["main", "task"])
async def test_a_taken_port_ends_the_process_with_a_clear_message(how: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        process = await _start(port, how)
        output, errors = await asyncio.wait_for(process.communicate(), PATIENCE_S)
    assert process.returncode == 2
    assert errors.decode().startswith(f"test: cannot listen on 127.0.0.1:{port}; another process")
    assert b"Traceback" not in errors
    assert output == b""


async def test_cancelled_it_ends_as_cleanly_and_frees_its_port() -> None:
    told, port = Told(), ports.find_free()
    task = asyncio.create_task(
        web.serve(
            told.app(),
            service="test",
            host="127.0.0.1",
            port=port,
            options=web.Options(on_stop=told.stop),
            handles_signals=False,
        )
    )
    url = f"http://127.0.0.1:{port}"
    await eventually(lambda: _answers(url), PATIENCE_S)
    async with httpx.AsyncClient(trust_env=False, timeout=PATIENCE_S) as http:
        late = asyncio.create_task(http.get(f"{url}/slow"))
        await told.asked.wait()
        task.cancel()
        assert (await late).text == "late"
    with pytest.raises(asyncio.CancelledError):
        await task
    assert told.marks == ["begun", "stop", "answered", "ended"]
    with socket.create_server(("127.0.0.1", port)):
        pass


async def test_for_a_test_it_runs_on_a_free_port_and_leaves_the_signals_alone() -> None:
    before = signal.getsignal(signal.SIGINT)
    told = Told()
    async with web.running(told.app()) as url, httpx.AsyncClient(trust_env=False) as http:
        assert (await http.get(f"{url}/ping")).text == "pong"
        assert signal.getsignal(signal.SIGINT) is before
        with pytest.raises(OSError, match="in use"):
            async with web.running(told.app(), port=int(url.rpartition(":")[2])):
                raise AssertionError("two servers on one port")
    assert told.marks == ["begun", "ended"]
