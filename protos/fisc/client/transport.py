"""The channel to a gateway: where it leads, what is tried again, how it is kept alive."""

import json
from collections.abc import Mapping, Sequence
from typing import Final

import grpc

SERVICE: Final = "fisc.gateway.v1.PaymentService"
# Reads, and mutations guarded by their request_id: sent twice, they take effect once. WatchPayment
# is not among them: the client resumes it by itself, and retries live in one layer.
RETRIED_METHODS: Final = (
    "CreatePayment",
    "GetPayment",
    "ListPayments",
    "CancelPayment",
    "CapturePayment",
    "VoidPayment",
    "GetCapture",
    "ListCaptures",
    "CreateRefund",
    "GetRefund",
    "ListRefunds",
    "CreatePayout",
    "GetPayout",
    "ListPayouts",
    "BatchCreatePayments",
)
FILE_SERVICE: Final = "fisc.gateway.v1.PayoutFileService"
RETRIED_FILE_METHODS: Final = (
    "CreatePayoutFile",
    "UploadPayoutFile",
    "GetPayoutFile",
    "ListPayoutFiles",
    "DecidePayoutFile",
    "PausePayoutFile",
    "ResumePayoutFile",
    "CancelPayoutFile",
)
RETRY_ATTEMPTS_MAX: Final = 4
KEEPALIVE_INTERVAL_S: Final = 60
KEEPALIVE_TIMEOUT_S: Final = 20
RECONNECT_BACKOFF_INITIAL_MS: Final = 100
RECONNECT_BACKOFF_MAX_MS: Final = 3_000
LOOPBACK_HOSTS: Final = ("127.0.0.1", "localhost", "[::1]")


def open_channel(target: str, credentials: grpc.ChannelCredentials | None) -> grpc.aio.Channel:
    """A channel to every address of the target, in turn; plain text without credentials.

    Calls answered UNAVAILABLE are sent again by gRPC itself, at most RETRY_ATTEMPTS_MAX times in
    all, with jittered back-off, inside the call's deadline (gRFC A6).
    """
    address = target if ":///" in target or target.startswith("unix:") else f"dns:///{target}"
    options = _options(target)
    if credentials is None:
        return grpc.aio.insecure_channel(address, options=options)
    return grpc.aio.secure_channel(address, credentials, options=options)


def _options(target: str) -> Sequence[tuple[str, str | int]]:
    options: list[tuple[str, str | int]] = [
        ("grpc.keepalive_time_ms", KEEPALIVE_INTERVAL_S * 1_000),
        ("grpc.keepalive_timeout_ms", KEEPALIVE_TIMEOUT_S * 1_000),
        ("grpc.initial_reconnect_backoff_ms", RECONNECT_BACKOFF_INITIAL_MS),
        ("grpc.max_reconnect_backoff_ms", RECONNECT_BACKOFF_MAX_MS),
        ("grpc.primary_user_agent", "fisc-client"),
        ("grpc.service_config", json.dumps(_service_config())),
    ]
    if target.rpartition(":")[0] in LOOPBACK_HOSTS:
        # A proxy the machine has set for the outside never leads back to the machine itself.
        options.append(("grpc.enable_http_proxy", 0))
    return options


def _service_config() -> Mapping[str, object]:
    return {
        "loadBalancingConfig": [{"round_robin": {}}],
        "methodConfig": [
            {
                "name": [
                    {"service": service, "method": method}
                    for service, methods in (
                        (SERVICE, RETRIED_METHODS),
                        (FILE_SERVICE, RETRIED_FILE_METHODS),
                    )
                    for method in methods
                ],
                "retryPolicy": {
                    "maxAttempts": RETRY_ATTEMPTS_MAX,
                    "initialBackoff": "0.1s",
                    "maxBackoff": "2s",
                    "backoffMultiplier": 2,
                    "retryableStatusCodes": ["UNAVAILABLE"],
                },
            }
        ],
        # When most calls fail, trying again only makes it worse.
        "retryThrottling": {"maxTokens": 20, "tokenRatio": 0.1},
    }
