"""The limit: what one unary call between two processes costs here, with nothing of ours around it."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import grpc

from deploy.local import ports
from tests.bench.figures import Row, row
from tests.bench.load import closed_loop

IN_FLIGHT = 64
# About what a CreatePayment and its answer have.
MESSAGE_BYTES = 200
WARM_UP_S = 1.0
DURATION_S = 5.0
TIMEOUT_S = 20.0


async def measure() -> Row:
    """Echoes a second, client and server each a process."""
    message = b"x" * MESSAGE_BYTES
    with _echo_server() as port:
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
            echo: grpc.aio.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(
                "/bench.Echo/Echo"
            )

            async def call() -> bool:
                return len(await echo(message, timeout=TIMEOUT_S)) == MESSAGE_BYTES

            await closed_loop(call, in_flight=IN_FLIGHT, duration_s=WARM_UP_S)
            result = await closed_loop(call, in_flight=IN_FLIGHT, duration_s=DURATION_S)
    return row("unary_hop", result.rate, "calls/s", f"bare grpc.aio echo, {IN_FLIGHT} in flight")


@contextmanager
def _echo_server() -> Iterator[int]:
    """A bare echo server in a process of its own; yields its port."""
    port = ports.find_free()
    server = subprocess.Popen(
        [sys.executable, "-m", "tests.bench.echo", str(port)], stdout=subprocess.PIPE
    )
    try:
        assert server.stdout is not None
        server.stdout.readline()
        yield port
    finally:
        server.terminate()
        server.wait()
        if server.stdout is not None:
            server.stdout.close()
