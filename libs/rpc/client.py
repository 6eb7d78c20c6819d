"""Calling another service: one channel a target, deadlines inside the caller's, errors as ours."""

import json
import time
from collections.abc import Mapping, Sequence
from typing import Final, TypeVar

import grpc

from libs.errors import ErrorKind, FiscError
from libs.resilience.breaker import Breaker
from libs.rpc import deadline, request_id, status
from libs.rpc.metrics import MethodMetrics

MESSAGE_BYTES_MAX: Final = 4 * 1024 * 1024
KEEPALIVE_INTERVAL_S: Final = 60
KEEPALIVE_TIMEOUT_S: Final = 20
RECONNECT_BACKOFF_INITIAL_MS: Final = 100
RECONNECT_BACKOFF_MAX_MS: Final = 3_000
RETRY_ATTEMPTS_MAX: Final = 3

Request = TypeVar("Request")
Response = TypeVar("Response")
Metadata = Sequence[tuple[str, str | bytes]]

_metrics: dict[str, MethodMetrics] = {}


def open_channel(
    target: str, *, peer: str, idempotent_methods: Sequence[str] = ()
) -> grpc.aio.Channel:
    """A channel to every address of the target, in turn; one a process, closed by its opener.

    Nothing connects before the first call. Only the methods named in idempotent_methods
    ("fisc.router.v1.RouterService/GetChannel", reads) are tried again on UNAVAILABLE, by gRPC
    itself and inside the deadline of the call; nothing else is. The peer's name appears in what the
    peer logs as our user agent.
    """
    address = target if ":///" in target or target.startswith("unix:") else f"dns:///{target}"
    return grpc.aio.insecure_channel(
        address,
        options=[
            ("grpc.max_receive_message_length", MESSAGE_BYTES_MAX),
            ("grpc.max_send_message_length", MESSAGE_BYTES_MAX),
            ("grpc.keepalive_time_ms", KEEPALIVE_INTERVAL_S * 1_000),
            ("grpc.keepalive_timeout_ms", KEEPALIVE_TIMEOUT_S * 1_000),
            ("grpc.initial_reconnect_backoff_ms", RECONNECT_BACKOFF_INITIAL_MS),
            ("grpc.max_reconnect_backoff_ms", RECONNECT_BACKOFF_MAX_MS),
            ("grpc.primary_user_agent", f"fisc-to-{peer}"),
            ("grpc.service_config", json.dumps(_service_config(idempotent_methods))),
        ],
    )


async def call(
    method: grpc.aio.UnaryUnaryMultiCallable[Request, Response],
    request: Request,
    *,
    timeout_s: float,
    metadata: Metadata = (),
    breaker: Breaker | None = None,
) -> Response:
    """Make one unary call and return its response.

    It may take timeout_s, or less when the caller of the RPC being served waits for less. Raises
    DeadlineExceeded (also before sending, when no time is left), Unavailable when the transport
    failed, BreakerOpen, and RemoteError with the kind and reason that the peer gave. After the
    first two the outcome is unknown.
    """
    deadline.budget_s(timeout_s)
    if breaker is None:
        return await _send(method, request, timeout_s=timeout_s, metadata=metadata)

    async def send() -> Response:
        return await _send(method, request, timeout_s=timeout_s, metadata=metadata)

    return await breaker.call(send, is_failure=is_peer_failure)


def is_peer_failure(error: BaseException) -> bool:
    """Whether an error says that the peer is sick, rather than that it refused."""
    return isinstance(error, FiscError) and error.kind is ErrorKind.UNAVAILABLE


async def _send(
    method: grpc.aio.UnaryUnaryMultiCallable[Request, Response],
    request: Request,
    *,
    timeout_s: float,
    metadata: Metadata,
) -> Response:
    metrics = _metrics_of(method)
    code = grpc.StatusCode.CANCELLED
    metrics.started()
    started_s = time.perf_counter()
    try:
        response = await method(
            request, timeout=deadline.budget_s(timeout_s), metadata=_outgoing(metadata)
        )
    except grpc.aio.AioRpcError as error:
        code = error.code()
        raise status.from_rpc_error(error) from error
    else:
        code = grpc.StatusCode.OK
        return response
    finally:
        metrics.finished(code, time.perf_counter() - started_s)


def _outgoing(metadata: Metadata) -> grpc.aio.Metadata | None:
    current_id = request_id.current()
    if current_id:
        return grpc.aio.Metadata((request_id.METADATA_KEY, current_id), *metadata)
    return grpc.aio.Metadata(*metadata) if metadata else None


def _metrics_of(method: object) -> MethodMetrics:
    # The multi-callable shows its name nowhere else, and an interceptor costs a task a call.
    path = getattr(method, "_method", b"unknown/unknown")
    name = path.decode() if isinstance(path, bytes) else str(path)
    metrics = _metrics.get(name)
    if metrics is None:
        metrics = _metrics[name] = MethodMetrics(name, "unary", side="client")
    return metrics


def _service_config(idempotent_methods: Sequence[str]) -> Mapping[str, object]:
    config: dict[str, object] = {"loadBalancingConfig": [{"round_robin": {}}]}
    if idempotent_methods:
        names = [name.partition("/") for name in idempotent_methods]
        config["methodConfig"] = [
            {
                "name": [{"service": service, "method": method} for service, _, method in names],
                "retryPolicy": {
                    "maxAttempts": RETRY_ATTEMPTS_MAX,
                    "initialBackoff": "0.05s",
                    "maxBackoff": "0.5s",
                    "backoffMultiplier": 2,
                    "retryableStatusCodes": ["UNAVAILABLE"],
                },
            }
        ]
        config["retryThrottling"] = {"maxTokens": 10, "tokenRatio": 0.1}
    return config
