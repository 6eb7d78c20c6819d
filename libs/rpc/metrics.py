"""Counters and timings of one RPC method, with the labels of go-grpc-prometheus."""

from typing import Final, Literal

import grpc
from prometheus_client import Counter, Histogram

from libs import telemetry

MethodType = Literal["unary", "server_stream"]

# The spelling of grpc-go's codes.Code.String(), which the public dashboards filter by.
CODE_NAMES: Final = {
    grpc.StatusCode.OK: "OK",
    grpc.StatusCode.CANCELLED: "Canceled",
    grpc.StatusCode.UNKNOWN: "Unknown",
    grpc.StatusCode.INVALID_ARGUMENT: "InvalidArgument",
    grpc.StatusCode.DEADLINE_EXCEEDED: "DeadlineExceeded",
    grpc.StatusCode.NOT_FOUND: "NotFound",
    grpc.StatusCode.ALREADY_EXISTS: "AlreadyExists",
    grpc.StatusCode.PERMISSION_DENIED: "PermissionDenied",
    grpc.StatusCode.RESOURCE_EXHAUSTED: "ResourceExhausted",
    grpc.StatusCode.FAILED_PRECONDITION: "FailedPrecondition",
    grpc.StatusCode.ABORTED: "Aborted",
    grpc.StatusCode.OUT_OF_RANGE: "OutOfRange",
    grpc.StatusCode.UNIMPLEMENTED: "Unimplemented",
    grpc.StatusCode.INTERNAL: "Internal",
    grpc.StatusCode.UNAVAILABLE: "Unavailable",
    grpc.StatusCode.DATA_LOSS: "DataLoss",
    grpc.StatusCode.UNAUTHENTICATED: "Unauthenticated",
}


class MethodMetrics:
    """The metrics of one method, looked up once: a lookup is what costs."""

    def __init__(
        self, method: str, method_type: MethodType, *, side: Literal["server", "client"]
    ) -> None:
        service, _, name = method.strip("/").rpartition("/")
        self.service = service
        self._labels = (method_type, service, name)
        started: Counter
        seconds: Histogram
        if side == "server":
            started, self._handled, seconds = (
                telemetry.rpc_server_started,
                telemetry.rpc_server_handled,
                telemetry.rpc_server_seconds,
            )
        else:
            started, self._handled, seconds = (
                telemetry.rpc_client_started,
                telemetry.rpc_client_handled,
                telemetry.rpc_client_seconds,
            )
        self._started = started.labels(*self._labels)
        self._seconds = seconds.labels(*self._labels)
        self._handled_by_code: dict[grpc.StatusCode, Counter] = {}

    def started(self) -> None:
        """One call began."""
        self._started.inc()

    def finished(self, code: grpc.StatusCode, elapsed_s: float) -> None:
        """One call ended with this code."""
        self._seconds.observe(elapsed_s)
        handled = self._handled_by_code.get(code)
        if handled is None:
            handled = self._handled.labels(*self._labels, CODE_NAMES[code])
            self._handled_by_code[code] = handled
        handled.inc()
