"""What a failed call means: one class a kind, with the reason and details the server gave.

The server sends google.rpc.Status with ErrorInfo always, RetryInfo and BadRequest where they apply
(AIP-193). An answer without them did not come from Fisc but from the way to it.
"""

from collections.abc import Iterable, Mapping
from typing import Final, TypeVar

import grpc
from google.protobuf import any_pb2
from google.protobuf.message import DecodeError, Message
from google.rpc import error_details_pb2, status_pb2
from grpc_status import rpc_status

from fisc.common.v1 import verdict_pb2

FIELD_KEY: Final = "field"
_NANOS: Final = 1_000_000_000

_Item = verdict_pb2.ItemError
_CODES: Final[Mapping[verdict_pb2.ItemError.Kind.ValueType, grpc.StatusCode]] = {
    _Item.KIND_INVALID: grpc.StatusCode.INVALID_ARGUMENT,
    _Item.KIND_NOT_FOUND: grpc.StatusCode.NOT_FOUND,
    _Item.KIND_ALREADY_EXISTS: grpc.StatusCode.ALREADY_EXISTS,
    _Item.KIND_CONFLICT: grpc.StatusCode.ABORTED,
    _Item.KIND_REJECTED: grpc.StatusCode.FAILED_PRECONDITION,
    _Item.KIND_EXHAUSTED: grpc.StatusCode.RESOURCE_EXHAUSTED,
    _Item.KIND_UNAVAILABLE: grpc.StatusCode.UNAVAILABLE,
    _Item.KIND_DENIED: grpc.StatusCode.PERMISSION_DENIED,
    _Item.KIND_UNAUTHENTICATED: grpc.StatusCode.UNAUTHENTICATED,
}

_Detail = TypeVar("_Detail", bound=Message)


class FiscClientError(Exception):
    """A call that failed.

    `reason` is UPPER_SNAKE and stable; decide by the class or by it, never by the message.
    `request_id` is that of the mutating call, empty for reads. Where `is_outcome_unknown`, the
    operation may have been done: call again with the same arguments and this request_id, and you
    get the one that was made or make it now, never a second one.
    """

    is_retryable = False
    is_outcome_unknown = False

    def __init__(
        self,
        message: str,
        *,
        code: grpc.StatusCode,
        reason: str,
        field: str = "",
        violations: Iterable[tuple[str, str]] = (),
        metadata: Mapping[str, str] | None = None,
        retry_after_s: float | None = None,
        request_id: str = "",
    ) -> None:
        """`violations` are (field, description) of each bad field; `field` is the first of them."""
        super().__init__(message)
        self.message = message
        self.code = code
        self.reason = reason
        self.field = field
        self.violations = tuple(violations)
        self.metadata = dict(metadata or {})
        self.retry_after_s = retry_after_s
        self.request_id = request_id

    def __str__(self) -> str:
        """One line for a log."""
        parts = {"field": self.field, "request_id": self.request_id}
        extra = ", ".join(f"{name}={value}" for name, value in parts.items() if value)
        return f"{self.reason}: {self.message}" + (f" ({extra})" if extra else "")


class InvalidRequest(FiscClientError):
    """The request is malformed; `field` and `violations` say where."""


class Unauthenticated(FiscClientError):
    """The API key is missing, unknown or revoked."""


class Denied(FiscClientError):
    """The key may not do this."""


class NotFound(FiscClientError):
    """There is no such thing, or it is another merchant's."""


class AlreadyExists(FiscClientError):
    """REQUEST_ID_REUSED: this request_id came before with another body."""


class Conflict(FiscClientError):
    """Lost a race with another writer; try again."""

    is_retryable = True


class Rejected(FiscClientError):
    """What the request is about is not in a state that allows it."""


class Exhausted(FiscClientError):
    """Too much at once; come back after `retry_after_s`."""

    is_retryable = True


class Unavailable(FiscClientError):
    """No answer from Fisc, after all attempts."""

    is_retryable = True
    is_outcome_unknown = True


class DeadlineExceeded(FiscClientError):
    """The time was up before an answer came."""

    is_retryable = True
    is_outcome_unknown = True


class ServerError(FiscClientError):
    """A bug on the other side; `metadata["correlation_id"]` leads to it in the server's log."""

    is_outcome_unknown = True


_KINDS: Final[Mapping[grpc.StatusCode, type[FiscClientError]]] = {
    grpc.StatusCode.INVALID_ARGUMENT: InvalidRequest,
    grpc.StatusCode.OUT_OF_RANGE: InvalidRequest,
    grpc.StatusCode.UNAUTHENTICATED: Unauthenticated,
    grpc.StatusCode.PERMISSION_DENIED: Denied,
    grpc.StatusCode.NOT_FOUND: NotFound,
    grpc.StatusCode.ALREADY_EXISTS: AlreadyExists,
    grpc.StatusCode.ABORTED: Conflict,
    grpc.StatusCode.FAILED_PRECONDITION: Rejected,
    grpc.StatusCode.RESOURCE_EXHAUSTED: Exhausted,
    grpc.StatusCode.UNAVAILABLE: Unavailable,
    # A server sheds load with a bare CANCELLED; what we cancel raises CancelledError.
    grpc.StatusCode.CANCELLED: Unavailable,
    grpc.StatusCode.DEADLINE_EXCEEDED: DeadlineExceeded,
}


def from_rpc_error(error: grpc.aio.AioRpcError, *, request_id: str = "") -> FiscClientError:
    """The error a failed call stands for; details that cannot be read do not hide its code."""
    code = error.code()
    details = _details(error)
    info = _unpack(details, error_details_pb2.ErrorInfo())
    metadata = dict(info.metadata) if info is not None else {}
    bad_request = _unpack(details, error_details_pb2.BadRequest())
    retry_info = _unpack(details, error_details_pb2.RetryInfo())
    return _KINDS.get(code, ServerError)(
        error.details() or code.name,
        code=code,
        reason=info.reason if info is not None and info.reason else code.name,
        field=metadata.pop(FIELD_KEY, ""),
        violations=[
            (violation.field, violation.description)
            for violation in (bad_request.field_violations if bad_request is not None else ())
        ],
        metadata=metadata,
        retry_after_s=(
            retry_info.retry_delay.ToNanoseconds() / _NANOS if retry_info is not None else None
        ),
        request_id=request_id,
    )


def from_item(item: verdict_pb2.ItemError, *, request_id: str = "") -> FiscClientError:
    """The error that one item of a batch was refused with."""
    code = _CODES.get(item.kind, grpc.StatusCode.INTERNAL)
    violations = [(item.field, item.message)] if item.field else []
    return _KINDS.get(code, ServerError)(
        item.message,
        code=code,
        reason=item.reason,
        field=item.field,
        violations=violations if code is grpc.StatusCode.INVALID_ARGUMENT else (),
        metadata=item.metadata,
        request_id=request_id,
    )


def _details(error: grpc.aio.AioRpcError) -> Iterable[any_pb2.Any]:
    try:
        status: status_pb2.Status | None = rpc_status.from_call(  # type: ignore[no-untyped-call]  # no stubs
            error
        )
    except (DecodeError, ValueError):  # garbage, or a code that contradicts the call's
        return ()
    return status.details if status is not None else ()


def _unpack(details: Iterable[any_pb2.Any], into: _Detail) -> _Detail | None:
    for detail in details:
        try:
            if detail.Unpack(into):
                return into
        except DecodeError:
            return None
    return None
