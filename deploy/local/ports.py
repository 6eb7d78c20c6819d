"""The ports of the local suite, as offsets from one base port."""

import contextlib
import os
import socket
from collections.abc import Mapping
from typing import Final

from deploy.local.errors import PortTakenError

BASE_PORT_DEFAULT: Final = 7400

GRPC_OFFSETS: Final[Mapping[str, int]] = {
    "gateway": 0,
    "router": 1,
    "risk": 2,
    "account": 3,
    "clearing": 4,
    "notification": 5,
}
HTTP_OFFSETS: Final[Mapping[str, int]] = {"cockpit": 8, "sandbox": 9}
CALLBACK_OFFSET: Final = 10
METRICS_OFFSETS: Final[Mapping[str, int]] = {
    **{service: 20 + offset for service, offset in GRPC_OFFSETS.items()},
    **{service: 20 + offset for service, offset in HTTP_OFFSETS.items()},
}
POSTGRES_OFFSET: Final = 30
REDIS_OFFSET: Final = 31
# Where throw-away suites look for a span: below the ports systems hand out to clients.
FREE_BASES: Final = range(20_000, 32_000, 100)
BASE_PORT_MIN: Final = 1024
BASE_PORT_MAX: Final = 65535 - REDIS_OFFSET


def check_free(host: str, port: int, purpose: str) -> None:
    """Raise PortTakenError when something already listens on the port."""
    with contextlib.closing(socket.socket(socket.AF_INET, socket.SOCK_STREAM)) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            raise PortTakenError(host, port, purpose) from error


def find_free(host: str = "127.0.0.1") -> int:
    """Return a port nobody listens on now; another program may still take it first."""
    with contextlib.closing(socket.socket(socket.AF_INET, socket.SOCK_STREAM)) as probe:
        probe.bind((host, 0))
        port: int = probe.getsockname()[1]
        return port


def find_free_base(host: str = "127.0.0.1") -> int:
    """Return a base port whose whole span is free now; processes begin to look at different ones.

    Raises PortTakenError when there is none.
    """
    first = os.getpid() % len(FREE_BASES)
    bases: list[int] = [*FREE_BASES[first:], *FREE_BASES[:first]]
    for base_port in bases:
        with contextlib.suppress(PortTakenError):
            for port in range(base_port, base_port + REDIS_OFFSET + 1):
                check_free(host, port, "a suite")
            return base_port
    raise PortTakenError(host, bases[0], "a throw-away suite")
