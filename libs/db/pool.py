"""The connection pool every service opens, with limits that keep one bad query from hurting all."""

from collections.abc import Awaitable, Callable, Mapping
from types import MappingProxyType
from typing import Any, TypeAlias, TypeVar

import asyncpg
import orjson

from libs.resilience.retry import retry

T = TypeVar("T")

# What a store takes: a connection of its own, or the stand-in that a pool lends.
Connection: TypeAlias = (
    "asyncpg.Connection[asyncpg.Record] | asyncpg.pool.PoolConnectionProxy[asyncpg.Record]"
)
Pool: TypeAlias = "asyncpg.Pool[asyncpg.Record]"

STATEMENT_TIMEOUT_MS = 15_000
# Also bounds how long a stuck writer can hold back readers of the event log (see libs.events.log).
IDLE_IN_TRANSACTION_TIMEOUT_MS = 15_000
# A server that answers at all answers by its own limit; one that has gone silent would be waited for for ever.
COMMAND_TIMEOUT_S = STATEMENT_TIMEOUT_MS / 1_000 + 2.0
CONNECT_TIMEOUT_S = 10.0
CONNECT_ATTEMPTS_MAX = 20
CONNECT_RETRY_S = 10.0
# A plan is kept as long as its connection. One made while a table was all but empty would read all of it for ever after,
# for every batch. For services that find rows by their keys, nearly always.
BY_KEYS = MappingProxyType({"enable_seqscan": "off"})
_JSONB_VERSION = b"\x01"


async def open_pool(
    database_url: str,
    *,
    size: int,
    application_name: str,
    settings: Mapping[str, str] = MappingProxyType({}),
) -> Pool:
    """Open a pool of up to `size` connections; jsonb columns come and go as Python objects.

    `settings` are of the server, on top of those all services have.

    The connections keep no session state between uses (settings are SET LOCAL, no session-level
    advisory locks, no LISTEN): they are handed on without the reset that asyncpg does by default,
    which costs a round trip each time. Raises what asyncpg raises if the server is not there
    within CONNECT_RETRY_S.
    """
    return await connecting(
        lambda: asyncpg.create_pool(
            database_url,
            min_size=min(2, size),
            max_size=size,
            timeout=CONNECT_TIMEOUT_S,
            command_timeout=COMMAND_TIMEOUT_S,
            init=_prepare,
            reset=_keep,
            server_settings={
                "application_name": application_name,
                "statement_timeout": str(STATEMENT_TIMEOUT_MS),
                "idle_in_transaction_session_timeout": str(IDLE_IN_TRANSACTION_TIMEOUT_MS),
                "timezone": "UTC",
                "jit": "off",
                **settings,
            },
        )
    )


async def connecting(connect: Callable[[], Awaitable[T]]) -> T:
    """Connect, waiting for a database that is just starting; raises what it last said after CONNECT_RETRY_S."""
    return await retry(
        connect,
        on=(OSError, asyncpg.CannotConnectNowError),
        attempts_max=CONNECT_ATTEMPTS_MAX,
        wait_initial_s=0.1,
        timeout_s=CONNECT_RETRY_S,
    )


async def _prepare(connection: "asyncpg.Connection[asyncpg.Record]") -> None:
    await connection.set_type_codec(
        "jsonb", schema="pg_catalog", format="binary", encoder=_encode_jsonb, decoder=_decode_jsonb
    )


async def _keep(_: "asyncpg.Connection[asyncpg.Record]") -> None:
    """Change nothing; an open transaction the pool has rolled back by itself."""


def _encode_jsonb(value: Any) -> bytes:
    return _JSONB_VERSION + orjson.dumps(value)


def _decode_jsonb(data: bytes) -> Any:
    return orjson.loads(data[len(_JSONB_VERSION) :])
