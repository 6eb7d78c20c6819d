"""A failed call tells its caller what went wrong, and how to come back."""

import grpc
import pytest
from google.protobuf.message import Message
from google.rpc import error_details_pb2, status_pb2

from fisc import client
from fisc.client import errors
from fisc.common.v1 import verdict_pb2
from libs.errors import ErrorKind, RemoteError
from libs.rpc import status

DETAILS_KEY = "grpc-status-details-bin"


def failed(
    code: grpc.StatusCode, *details: Message, message: str = "why", raw: bytes | None = None
) -> grpc.aio.AioRpcError:
    """What grpc raises for a call answered with a code and these details."""
    status = status_pb2.Status(code=code.value[0], message=message)
    for detail in details:
        status.details.add().Pack(detail)
    value = status.SerializeToString() if raw is None else raw
    metadata = ((DETAILS_KEY, value),) if details or raw is not None else ()
    return grpc.aio.AioRpcError(
        code,
        initial_metadata=grpc.aio.Metadata(),
        trailing_metadata=grpc.aio.Metadata(*metadata),
        details=message,
    )


def test_reason_field_metadata_and_delay_come_out_of_the_details() -> None:
    retry_info = error_details_pb2.RetryInfo()
    retry_info.retry_delay.FromMilliseconds(1_250)
    bad_request = error_details_pb2.BadRequest()
    bad_request.field_violations.add(field="amount", description="must be positive")
    bad_request.field_violations.add(field="method", description="is required")
    info = error_details_pb2.ErrorInfo(
        reason="INVALID_ARGUMENT", domain="fisc", metadata={"field": "amount", "limit": "10"}
    )
    error = errors.from_rpc_error(
        failed(grpc.StatusCode.INVALID_ARGUMENT, info, retry_info, bad_request), request_id="r-1"
    )
    assert isinstance(error, client.InvalidRequest)
    assert (error.reason, error.message, error.field) == ("INVALID_ARGUMENT", "why", "amount")
    assert error.metadata == {"limit": "10"}
    assert error.violations == (("amount", "must be positive"), ("method", "is required"))
    assert error.retry_after_s == 1.25
    assert error.request_id == "r-1"
    assert str(error) == "INVALID_ARGUMENT: why (field=amount, request_id=r-1)"


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        (grpc.StatusCode.INVALID_ARGUMENT, client.InvalidRequest),
        (grpc.StatusCode.OUT_OF_RANGE, client.InvalidRequest),
        (grpc.StatusCode.UNAUTHENTICATED, client.Unauthenticated),
        (grpc.StatusCode.PERMISSION_DENIED, client.Denied),
        (grpc.StatusCode.NOT_FOUND, client.NotFound),
        (grpc.StatusCode.ALREADY_EXISTS, client.AlreadyExists),
        (grpc.StatusCode.ABORTED, client.Conflict),
        (grpc.StatusCode.FAILED_PRECONDITION, client.Rejected),
        (grpc.StatusCode.RESOURCE_EXHAUSTED, client.Exhausted),
        (grpc.StatusCode.UNAVAILABLE, client.Unavailable),
        (grpc.StatusCode.CANCELLED, client.Unavailable),
        (grpc.StatusCode.DEADLINE_EXCEEDED, client.DeadlineExceeded),
        (grpc.StatusCode.INTERNAL, client.ServerError),
        (grpc.StatusCode.UNIMPLEMENTED, client.ServerError),
    ],
)
def test_every_code_has_its_class_even_without_details(
    code: grpc.StatusCode, kind: type[client.FiscClientError]
) -> None:
    error = errors.from_rpc_error(failed(code))
    assert type(error) is kind
    assert (error.reason, error.field, error.retry_after_s) == (code.name, "", None)


def test_details_that_are_garbage_do_not_hide_the_code() -> None:
    error = errors.from_rpc_error(failed(grpc.StatusCode.NOT_FOUND, raw=b"\xff\xff"))
    assert isinstance(error, client.NotFound)
    assert error.reason == "NOT_FOUND"


def test_details_of_another_code_do_not_hide_the_code() -> None:
    other = status_pb2.Status(code=grpc.StatusCode.INTERNAL.value[0], message="why")
    error = errors.from_rpc_error(failed(grpc.StatusCode.NOT_FOUND, raw=other.SerializeToString()))
    assert isinstance(error, client.NotFound)


def test_only_errors_that_leave_the_outcome_open_say_so() -> None:
    open_ended = {kind for kind in _kinds() if kind.is_outcome_unknown}
    assert open_ended == {client.Unavailable, client.DeadlineExceeded, client.ServerError}


def _kinds() -> list[type[client.FiscClientError]]:
    return client.FiscClientError.__subclasses__()


@pytest.mark.parametrize("kind", ErrorKind)
def test_an_item_is_refused_with_the_error_its_own_call_would_raise(kind: ErrorKind) -> None:
    item = verdict_pb2.ItemError(
        reason="WHY",
        message="why",
        field="amount",
        metadata={"limit": "1"},
        kind=verdict_pb2.ItemError.Kind.Value(f"KIND_{kind.name}"),
    )
    error = errors.from_item(item, request_id="r-1")
    sent = RemoteError("why", kind=kind, reason="WHY")
    assert error.code is status.code_of(sent)
    assert type(error) is type(errors.from_rpc_error(failed(error.code)))
    assert (error.reason, error.message, error.field) == ("WHY", "why", "amount")
    assert (error.metadata, error.request_id) == ({"limit": "1"}, "r-1")
