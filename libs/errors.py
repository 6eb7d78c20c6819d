"""The errors that cross a service border: a kind, a stable reason, and what the caller can do.

A service's own errors are subclasses in its `domain/errors.py`; the RPC server turns them into
`google.rpc.Status`, the RPC client turns a status back into a `RemoteError`.
"""

import enum
from typing import ClassVar


class ErrorKind(enum.Enum):
    """What went wrong in the caller's terms; each kind is one gRPC status code on the wire."""

    INVALID = "invalid"
    UNAUTHENTICATED = "unauthenticated"
    DENIED = "denied"
    NOT_FOUND = "not_found"
    ALREADY_EXISTS = "already_exists"
    CONFLICT = "conflict"  # lost a race with another writer
    REJECTED = "rejected"  # the state of the thing does not allow it
    EXHAUSTED = "exhausted"
    UNAVAILABLE = "unavailable"
    INTERNAL = "internal"

    @property
    def retryable(self) -> bool:
        """Whether the very same request, sent again later, may succeed."""
        return self in _RETRYABLE


_RETRYABLE = frozenset({ErrorKind.CONFLICT, ErrorKind.EXHAUSTED, ErrorKind.UNAVAILABLE})


class FiscError(Exception):
    """Something went wrong inside.

    The first line of a subclass's docstring is its default message. `reason` is UPPER_SNAKE, part
    of the public contract, and never changes once released. Neither the message nor `metadata` may
    hold a secret or personal data: both reach the caller and the log.
    """

    kind: ClassVar[ErrorKind] = ErrorKind.INTERNAL
    reason: ClassVar[str] = "INTERNAL"

    def __init__(
        self,
        message: str = "",
        *,
        field: str | None = None,
        retry_after_s: float | None = None,
        **metadata: str,
    ) -> None:
        """Name the offending request `field`, or when to come back, where either is known."""
        self.message = message or _first_line(self.__doc__) or self.reason
        self.field = field
        self.retry_after_s = retry_after_s
        self.metadata: dict[str, str] = metadata
        super().__init__(self.message)


class RemoteError(FiscError):
    """Another service answered with an error."""

    def __init__(
        self,
        message: str = "",
        *,
        kind: ErrorKind,
        reason: str,
        field: str | None = None,
        retry_after_s: float | None = None,
        **metadata: str,
    ) -> None:
        """Carry the `kind` and `reason` that the other service gave."""
        # Every other error knows both by its class; this one learns them from the wire.
        vars(self).update(kind=kind, reason=reason)
        super().__init__(message, field=field, retry_after_s=retry_after_s, **metadata)


class InvalidArgument(FiscError):
    """The request is malformed."""

    kind = ErrorKind.INVALID
    reason = "INVALID_ARGUMENT"


class Unavailable(FiscError):
    """The service cannot answer now."""

    kind = ErrorKind.UNAVAILABLE
    reason = "UNAVAILABLE"


class Overloaded(FiscError):
    """Too much work is waiting already."""

    kind = ErrorKind.EXHAUSTED
    reason = "OVERLOADED"


class DeadlineExceeded(FiscError):
    """The deadline passed before an answer came."""

    kind = ErrorKind.UNAVAILABLE
    reason = "DEADLINE_EXCEEDED"


class OutcomeUnknown(FiscError):
    """The connection was lost while a commit was in flight; ask again with the same request id."""

    kind = ErrorKind.UNAVAILABLE
    reason = "OUTCOME_UNKNOWN"


def _first_line(text: str | None) -> str:
    return (text or "").strip().partition("\n")[0]
