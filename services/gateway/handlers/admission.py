"""Load shedding: what would begin new work is refused at the door while there is too much already.

A refusal comes before risk, router or database have heard of the call, so it costs next to nothing
and the same request may simply be sent again. Reads, cancellations and operators are never refused.
"""

import asyncio
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Final

import grpc
import prometheus_client
from typing_extensions import override

from libs.errors import Overloaded
from libs.rpc import status
from libs.rpc.interceptors import Behaviour, Context, Handler, HandlerInterceptor
from libs.rpc.metrics import MethodMetrics
from services.gateway.handlers import auth

METHODS: Final = frozenset(
    f"{auth.PUBLIC_PREFIX}{name}"
    for name in (
        "CreatePayment",
        "CapturePayment",
        "CreateRefund",
        "CreatePayout",
        "BatchCreatePayments",
    )
)
# Items of all bulk calls that are waiting or under way: what is beyond waits better at its caller. One merchant may have half.
ITEMS_MAX: Final = 1024
# An event loop that wakes this late serves everybody late: its backlog must not grow.
LAG_MAX_S: Final = 0.5
LAG_PROBE_INTERVAL_S: Final = 0.1
# A group commit takes milliseconds. One that is waited for this long means a database, or a machine, at its limit.
COMMIT_WAIT_MAX_S: Final = 0.5
RETRY_AFTER_S: Final = 1.0

rejected: Final = prometheus_client.Counter(
    "admission_rejected_total", "Calls refused for overload, by the limit they met.", ["reason"]
)
in_flight: Final = prometheus_client.Gauge(
    "admission_in_flight", "Admitted calls that have not been answered."
)


class Gate:
    """Counts what is under way, all together and the calls of each merchant. One event loop only."""

    def __init__(
        self,
        *,
        in_flight_max: int,
        share_max: int,
        items_max: int = ITEMS_MAX,
        sagas_begun: Callable[[], int] = lambda: 0,
        commit_waited_s: Callable[[], float] = lambda: 0.0,
        clock_s: Callable[[], float] = time.monotonic,
    ) -> None:
        """`share_max` is what one merchant may have of `in_flight_max`.

        `sagas_begun` counts those that calls have begun and that are still driven: a saga outlives the call whose
        caller has given up; those of bulk work have places of their own and are not counted. `commit_waited_s` is how long the oldest step has been waiting to be written.
        """
        self._in_flight_max = in_flight_max
        self._share_max = share_max
        self._sagas_begun = sagas_begun
        self._commit_waited_s = commit_waited_s
        self._clock_s = clock_s
        self._in_flight = 0
        self._of_merchant: Counter[str] = Counter()
        self._items_max = items_max
        self._items_of_merchant: Counter[str] = Counter()
        self._lag_s = 0.0

    def limit_met(self) -> str:
        """Which limit leaves no place for another call; "" when there is one."""
        if max(self._in_flight, self._sagas_begun()) >= self._in_flight_max:
            return "in_flight"
        if self._lag_s > LAG_MAX_S:
            return "event_loop_lag"
        if self._commit_waited_s() > COMMIT_WAIT_MAX_S:
            return "commit_wait"
        return ""

    @contextmanager
    def place(self) -> Iterator[None]:
        """A place among all calls, for the length of the block. Raises Overloaded."""
        if limit := self.limit_met():
            raise _refusal(limit)
        self._in_flight += 1
        in_flight.set(self._in_flight)
        try:
            yield
        finally:
            self._in_flight -= 1
            in_flight.set(self._in_flight)

    @contextmanager
    def share(self, merchant_id: str) -> Iterator[None]:
        """A place of this merchant's share, for the length of the block. Raises Overloaded."""
        if self._of_merchant[merchant_id] >= self._share_max:
            raise _refusal("merchant_share")
        self._of_merchant[merchant_id] += 1
        try:
            yield
        finally:
            self._of_merchant[merchant_id] -= 1
            if not self._of_merchant[merchant_id]:
                del self._of_merchant[merchant_id]

    @contextmanager
    def items(self, merchant_id: str, count: int) -> Iterator[None]:
        """Room for the items of one bulk call, for the length of the block. Raises Overloaded."""
        if self._items_of_merchant.total() + count > self._items_max:
            raise _refusal("bulk_items")
        if self._items_of_merchant[merchant_id] + count > self._items_max // 2:
            raise _refusal("bulk_share")
        self._items_of_merchant[merchant_id] += count
        try:
            yield
        finally:
            self._items_of_merchant[merchant_id] -= count
            if not self._items_of_merchant[merchant_id]:
                del self._items_of_merchant[merchant_id]

    async def watch_lag(self) -> None:
        """Background loop: how late the event loop wakes. Of two probes the better one counts, a single pause is none."""
        last_s = 0.0
        while True:
            due_s = self._clock_s() + LAG_PROBE_INTERVAL_S
            await asyncio.sleep(LAG_PROBE_INTERVAL_S)
            late_s = max(0.0, self._clock_s() - due_s)
            self._lag_s, last_s = min(late_s, last_s), late_s


class Doorkeeper(grpc.aio.ServerInterceptor):
    """Turns away what there is no place for before anything is read of it; the outermost interceptor.

    Under three times the capacity two calls of three are refused: each must cost next to nothing, or there is nothing left for the
    third. So the answers are made once, and a refused call passes no other interceptor.
    """

    def __init__(self, gate: Gate) -> None:
        self._gate = gate
        self._refusing: dict[tuple[str, str], Handler] = {}

    @override
    async def intercept_service(
        self,
        continuation: "Callable[[grpc.HandlerCallDetails], Awaitable[Handler | None]]",
        handler_call_details: grpc.HandlerCallDetails,
    ) -> "Handler | None":
        method = handler_call_details.method
        limit = self._gate.limit_met() if method in METHODS else ""
        if not limit:
            return await continuation(handler_call_details)
        handler = self._refusing.get((method, limit))
        if handler is None:
            handler = self._refusing[method, limit] = _refusing(method, limit)
        return handler


class AdmissionInterceptor(HandlerInterceptor):
    """Takes a place for each call that begins new work, before its caller is known."""

    def __init__(self, gate: Gate) -> None:
        super().__init__()
        self._gate = gate

    @override
    def wrap(self, method: str, inner: Behaviour, *, is_stream: bool) -> Behaviour:
        if method not in METHODS:
            return inner

        async def behave(request: object, context: Context) -> object:
            with self._gate.place():
                return await inner(request, context)

        return behave


def _refusing(method: str, limit: str) -> Handler:
    """A handler that refuses, with its answer and its metrics at hand."""
    metrics = MethodMetrics(method, "unary", side="server")
    counter = rejected.labels(limit)
    error = Overloaded(retry_after_s=RETRY_AFTER_S, limit=limit)
    answer, code = status.to_grpc(error), status.code_of(error)

    async def refuse(_: bytes, context: Context) -> bytes:
        metrics.started()
        metrics.finished(code, 0.0)
        counter.inc()
        context.set_code(code)
        context.set_details(answer.details)
        context.set_trailing_metadata(answer.trailing_metadata)
        return b""

    return grpc.unary_unary_rpc_method_handler(refuse)


def _refusal(reason: str) -> Overloaded:
    rejected.labels(reason).inc()
    return Overloaded(retry_after_s=RETRY_AFTER_S, limit=reason)
