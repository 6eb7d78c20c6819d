"""What a write to a connection that was torn a moment ago looks like on uvloop."""

from typing import Final

_CLOSED: Final = "the handler is closed"


def is_closed(error: BaseException) -> bool:
    """Whether uvloop refused to touch a transport that has ended.

    asyncio drops such bytes in silence and the reader hears of the end; uvloop raises a bare RuntimeError, which the
    client libraries do not know for a lost connection.
    """
    return isinstance(error, RuntimeError) and _CLOSED in str(error)
