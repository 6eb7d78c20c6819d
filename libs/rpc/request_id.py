"""The id that follows one request through every service and every log line."""

import uuid
from contextvars import ContextVar
from typing import Final

METADATA_KEY: Final = "x-request-id"
LENGTH_MAX: Final = 64

_request_id: ContextVar[str] = ContextVar("request_id", default="")


def current() -> str:
    """The id of the request being served, "" outside any."""
    return _request_id.get()


def enter(received: str | bytes | None) -> str:
    """Adopt and return the caller's id, or a fresh one if it is missing or unfit for a log."""
    usable = (
        isinstance(received, str)
        and 0 < len(received) <= LENGTH_MAX
        and received.isascii()
        and received.isprintable()
    )
    request_id = received if usable and isinstance(received, str) else uuid.uuid4().hex
    _request_id.set(request_id)
    return request_id
