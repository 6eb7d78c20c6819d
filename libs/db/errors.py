"""Which database errors mean that the connection is gone, and the outcome of a commit with it."""

import asyncpg

from libs.resilience import transport

_LOST = (
    asyncpg.PostgresConnectionError,
    asyncpg.AdminShutdownError,
    asyncpg.CrashShutdownError,
    asyncpg.CannotConnectNowError,
    asyncpg.InternalClientError,
    asyncpg.IdleInTransactionSessionTimeoutError,
    OSError,
)


def is_connection_lost(error: BaseException) -> bool:
    """Whether the statement or commit that raised `error` may or may not have taken effect.

    A timeout counts (it is an OSError): nobody knows whether the server acted. asyncpg uses
    InterfaceError for a closed connection and for misuse alike; only the former counts.
    """
    if isinstance(error, _LOST) or transport.is_closed(error):
        return True
    return isinstance(error, asyncpg.InterfaceError) and "clos" in str(error)
