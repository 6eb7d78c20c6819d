"""Redis, which speeds things up and holds no truth: callers must get by without it."""

from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

SOCKET_TIMEOUT_S = 0.5


def open_redis(url: str) -> Redis:
    """Return a client that fails fast and sends every command at most once.

    The library's defaults wait five seconds a try and repeat a command ten times, even one that
    timed out after the server ran it; a counter would count twice. Connects on first use; close it
    with `aclose()`.
    """
    return Redis.from_url(
        url,
        socket_timeout=SOCKET_TIMEOUT_S,
        socket_connect_timeout=SOCKET_TIMEOUT_S,
        retry=Retry(NoBackoff(), 0),
    )
