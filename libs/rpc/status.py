"""Errors on the wire: FiscError ↔ google.rpc.Status with its details (AIP-193).

One table maps our kinds to the canonical codes. What arrives without details did not come from a
handler of ours but from the transport; it becomes DeadlineExceeded, Unavailable, or a RemoteError
whose reason is the code's name.
"""

from collections.abc import Sequence
from typing import Final, TypeVar

import grpc
from google.protobuf import any_pb2
from google.protobuf.message import DecodeError, Message
from google.rpc import error_details_pb2, status_pb2
from grpc_status import rpc_status

from libs.errors import (
    DeadlineExceeded,
    ErrorKind,
    FiscError,
    InvalidArgument,
    RemoteError,
    Unavailable,
)

DOMAIN: Final = "fisc"
FIELD_KEY: Final = "field"
# Status travels in a header, and peers refuse headers beyond 8 KiB.
MESSAGE_LENGTH_MAX: Final = 1024
VIOLATIONS_MAX: Final = 16
_DETAILS_KEY: Final = "grpc-status-details-bin"
_NANOS: Final = 1_000_000_000

CODE_OF_KIND: Final = {
    ErrorKind.INVALID: grpc.StatusCode.INVALID_ARGUMENT,
    ErrorKind.UNAUTHENTICATED: grpc.StatusCode.UNAUTHENTICATED,
    ErrorKind.DENIED: grpc.StatusCode.PERMISSION_DENIED,
    ErrorKind.NOT_FOUND: grpc.StatusCode.NOT_FOUND,
    ErrorKind.ALREADY_EXISTS: grpc.StatusCode.ALREADY_EXISTS,
    ErrorKind.CONFLICT: grpc.StatusCode.ABORTED,
    ErrorKind.REJECTED: grpc.StatusCode.FAILED_PRECONDITION,
    ErrorKind.EXHAUSTED: grpc.StatusCode.RESOURCE_EXHAUSTED,
    ErrorKind.UNAVAILABLE: grpc.StatusCode.UNAVAILABLE,
    ErrorKind.INTERNAL: grpc.StatusCode.INTERNAL,
}
KIND_OF_CODE: Final = {code: kind for kind, code in CODE_OF_KIND.items()} | {
    grpc.StatusCode.OUT_OF_RANGE: ErrorKind.INVALID,
    grpc.StatusCode.DEADLINE_EXCEEDED: ErrorKind.UNAVAILABLE,
    grpc.StatusCode.CANCELLED: ErrorKind.UNAVAILABLE,
}
_CODE_OF_NUMBER: Final = {code.value[0]: code for code in grpc.StatusCode}

_Detail = TypeVar("_Detail", bound=Message)


class RequestInvalid(InvalidArgument):
    """The request breaks the rules its contract states."""

    def __init__(self, violations: Sequence[tuple[str, str]]) -> None:
        """Violations are (field path, description), the first one names the error."""
        self.violations = tuple(violations)
        field, description = self.violations[0]
        super().__init__(f"{field}: {description}" if field else description, field=field or None)


def code_of(error: FiscError) -> grpc.StatusCode:
    """The canonical code of an error."""
    return CODE_OF_KIND[error.kind]


def to_status(error: FiscError) -> status_pb2.Status:
    """The error with ErrorInfo always, RetryInfo and BadRequest where they apply."""
    metadata = dict(error.metadata)
    if error.field:
        metadata[FIELD_KEY] = error.field
    details: list[Message] = [
        error_details_pb2.ErrorInfo(reason=error.reason, domain=DOMAIN, metadata=metadata)
    ]
    if error.retry_after_s is not None:
        retry_info = error_details_pb2.RetryInfo()
        retry_info.retry_delay.FromNanoseconds(round(error.retry_after_s * _NANOS))
        details.append(retry_info)
    violations = _violations(error)
    if violations:
        bad_request = error_details_pb2.BadRequest()
        for field, description in violations[:VIOLATIONS_MAX]:
            bad_request.field_violations.add(field=field, description=description)
        details.append(bad_request)
    status = status_pb2.Status(
        code=code_of(error).value[0], message=error.message[:MESSAGE_LENGTH_MAX]
    )
    for detail in details:
        status.details.add().Pack(detail)
    return status


def to_grpc(error: FiscError) -> grpc.Status:
    """The error as ServicerContext.abort_with_status takes it."""
    grpc_status: grpc.Status = rpc_status.to_status(  # type: ignore[no-untyped-call]  # no stubs
        to_status(error)
    )
    return grpc_status


def from_status(status: status_pb2.Status) -> FiscError:
    """The error a google.rpc.Status describes; the opposite of to_status."""
    info = _unpack(status.details, error_details_pb2.ErrorInfo())
    code = _CODE_OF_NUMBER.get(status.code, grpc.StatusCode.UNKNOWN)
    if info is None:
        return _without_details(code, status.message)
    metadata = dict(info.metadata)
    error = RemoteError(
        status.message,
        kind=KIND_OF_CODE.get(code, ErrorKind.INTERNAL),
        reason=info.reason or code.name,
        field=metadata.pop(FIELD_KEY, None),
    )
    # Set after the fact: the peer chooses these names, and they must not meet our parameters.
    error.metadata.update(metadata)
    retry_info = _unpack(status.details, error_details_pb2.RetryInfo())
    if retry_info is not None:
        error.retry_after_s = retry_info.retry_delay.ToNanoseconds() / _NANOS
    return error


def from_rpc_error(error: grpc.aio.AioRpcError) -> FiscError:
    """What a failed call means to its caller.

    A RemoteError when the peer's handler said so, DeadlineExceeded or Unavailable when the
    transport did.
    """
    for key, value in error.trailing_metadata() or ():
        if key == _DETAILS_KEY and isinstance(value, bytes):
            try:
                return from_status(status_pb2.Status.FromString(value))
            except DecodeError:
                break
    return _without_details(error.code(), error.details() or "")


def _without_details(code: grpc.StatusCode, message: str) -> FiscError:
    match code:
        case grpc.StatusCode.DEADLINE_EXCEEDED:
            return DeadlineExceeded(message)
        # A server sheds load with a bare CANCELLED; what we cancel raises CancelledError.
        case grpc.StatusCode.UNAVAILABLE | grpc.StatusCode.CANCELLED:
            return Unavailable(message)
    kind = KIND_OF_CODE.get(code, ErrorKind.INTERNAL)
    return RemoteError(message, kind=kind, reason=code.name)


def _violations(error: FiscError) -> Sequence[tuple[str, str]]:
    if isinstance(error, RequestInvalid):
        return error.violations
    if error.kind is ErrorKind.INVALID and error.field:
        return ((error.field, error.message),)
    return ()


def _unpack(details: Sequence[any_pb2.Any], into: _Detail) -> _Detail | None:
    for detail in details:
        if detail.Unpack(into):
            return into
    return None
