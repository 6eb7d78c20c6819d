"""What every process measures, in Prometheus terms, and the port that shows it.

The names are those of go-grpc-prometheus and resilience4j, so that public dashboards work
unchanged. Labels hold only names from a closed set (methods, peers, codes), never ids or personal
data.
"""

import asyncio
import time
from typing import Final

from prometheus_client import Counter, Gauge, Histogram, start_http_server

RPC_BUCKETS_S: Final = (
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0,
)  # fmt: skip
LAG_PROBE_INTERVAL_S: Final = 0.5

_METHOD_LABELS: Final = ("grpc_type", "grpc_service", "grpc_method")

rpc_server_started: Final = Counter(
    "grpc_server_started_total", "RPCs the server began.", _METHOD_LABELS
)
rpc_server_handled: Final = Counter(
    "grpc_server_handled_total",
    "RPCs the server finished, by code.",
    (*_METHOD_LABELS, "grpc_code"),
)
rpc_server_seconds: Final = Histogram(
    "grpc_server_handling_seconds", "Time a handler took.", _METHOD_LABELS, buckets=RPC_BUCKETS_S
)
rpc_client_started: Final = Counter(
    "grpc_client_started_total", "RPCs the client began.", _METHOD_LABELS
)
rpc_client_handled: Final = Counter(
    "grpc_client_handled_total",
    "RPCs the client finished, by code.",
    (*_METHOD_LABELS, "grpc_code"),
)
rpc_client_seconds: Final = Histogram(
    "grpc_client_handling_seconds",
    "Time until the answer of an RPC came.",
    _METHOD_LABELS,
    buckets=RPC_BUCKETS_S,
)

breaker_state: Final = Gauge(
    "circuitbreaker_state", "1 for the state the breaker is in, else 0.", ("name", "state")
)
breaker_calls_seconds: Final = Histogram(
    "circuitbreaker_calls_seconds",
    "Guarded calls: successful, failed, or ignored (cancelled, or an answer that is no failure).",
    ("name", "kind"),
    buckets=RPC_BUCKETS_S,
)
breaker_not_permitted: Final = Counter(
    "circuitbreaker_not_permitted_total", "Calls an open breaker refused.", ("name",)
)
breaker_failure_rate: Final = Gauge(
    "circuitbreaker_failure_rate", "Percent of the window that failed, -1 while too few.", ("name",)
)
breaker_slow_call_rate: Final = Gauge(
    "circuitbreaker_slow_call_rate",
    "Percent of the window that was slow, -1 while too few.",
    ("name",),
)
breaker_transitions: Final = Counter(
    "circuitbreaker_transitions_total", "Changes of state.", ("name", "from", "to")
)

background_restarts: Final = Counter(
    "background_loop_restarts_total", "Background loops that raised and were restarted.", ("loop",)
)
event_loop_lag: Final = Gauge(
    "event_loop_lag_seconds", "How late the event loop woke from its last short sleep."
)


def start_metrics_server(host: str, port: int) -> int:
    """Serve /metrics from a thread of this process; returns the port (chosen by the system for 0).

    Raises OSError when the port is taken.
    """
    server, _thread = start_http_server(port, host)
    return int(server.server_port)


async def watch_event_loop_lag() -> None:
    """Keep `event_loop_lag` current until cancelled: a blocked loop shows here first."""
    while True:
        started_s = time.perf_counter()
        await asyncio.sleep(LAG_PROBE_INTERVAL_S)
        event_loop_lag.set(max(0.0, time.perf_counter() - started_s - LAG_PROBE_INTERVAL_S))
