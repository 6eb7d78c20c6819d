"""A bare grpc.aio echo server: what one unary hop costs here, with nothing of ours around it."""

import asyncio
import sys

import grpc
import uvloop


async def _echo(request: bytes, _: object) -> bytes:
    return request


async def main(port: int) -> None:
    server = grpc.aio.server()
    handler = grpc.method_handlers_generic_handler(
        "bench.Echo", {"Echo": grpc.unary_unary_rpc_method_handler(_echo)}
    )
    server.add_generic_rpc_handlers((handler,))
    server.add_insecure_port(f"127.0.0.1:{port}")
    await server.start()
    print("ready", flush=True)
    try:
        await server.wait_for_termination()
    except asyncio.CancelledError:
        await server.stop(0)
        raise


if __name__ == "__main__":
    uvloop.run(main(int(sys.argv[1])))
