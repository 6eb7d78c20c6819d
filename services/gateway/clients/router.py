"""The router over gRPC, with what it last said as the answer while it is away."""

import asyncio
from collections.abc import Sequence

import prometheus_client

from fisc.common.v1 import money_pb2
from fisc.router.v1 import router_pb2, router_pb2_grpc
from libs.errors import FiscError, Unavailable
from libs.log import get_logger
from libs.rpc.client import call
from libs.rpc.convert import error_from_item
from services.gateway.clients import peers
from services.gateway.clients.wire import METHODS, OPERATIONS, POLICIES
from services.gateway.domain.neighbours import AWAY, RouteQuery
from services.gateway.domain.saga import Plan

ROUTE_TIMEOUT_S = 1.0
REFRESH_TIMEOUT_S = 2.0
REFRESH_INTERVAL_S = 10.0
PLANS_KEPT_MAX = 512
CHANNELS_MAX = 1000

_log = get_logger()
fallbacks = prometheus_client.Counter(
    "router_fallbacks_total", "Plans made without the router.", ["source"]
)


class RouterClient:
    """Plans for many at once. While the router is away: the last good plan of the segment, else the static order."""

    def __init__(self, stub: "router_pb2_grpc.RouterServiceAsyncStub") -> None:
        self._stub = stub
        self._breaker = peers.breaker("router")
        self._last_good: dict[tuple[str, str, str], Plan] = {}
        self._static: list[router_pb2.Channel] = []

    async def route(self, queries: Sequence[RouteQuery]) -> Sequence[Plan | FiscError]:
        request = router_pb2.RouteBatchRequest(queries=[_query(query) for query in queries])
        try:
            response = await call(
                self._stub.RouteBatch, request, timeout_s=ROUTE_TIMEOUT_S, breaker=self._breaker
            )
        except FiscError as error:
            return [self._settle(query, error) for query in queries]
        results = zip(queries, response.results, strict=True)
        return [self._settle(query, _plan(result)) for query, result in results]

    async def keep_static_order(self) -> None:
        """Background loop: remembers the router's channels, for the hour it is away."""
        while True:
            try:
                response = await call(
                    self._stub.ListChannels,
                    router_pb2.ListChannelsRequest(page_size=CHANNELS_MAX),
                    timeout_s=REFRESH_TIMEOUT_S,
                )
                self._static = sorted(response.channels, key=lambda channel: channel.static_rank)
            except FiscError as error:
                _log.warning("router not reached", reason=error.reason)
            await asyncio.sleep(REFRESH_INTERVAL_S)

    def _settle(self, query: RouteQuery, answer: Plan | FiscError) -> Plan | FiscError:
        segment = (query.operation, query.method, query.currency)
        if isinstance(answer, FiscError):
            if answer.reason == "NO_CHANNEL":
                return ()
            return self._fall_back(query, segment) if answer.kind in AWAY else answer
        if not query.allowed_channel_ids and len(self._last_good) < PLANS_KEPT_MAX:
            self._last_good[segment] = answer
        return answer

    def _fall_back(self, query: RouteQuery, segment: tuple[str, str, str]) -> Plan | FiscError:
        last_good = self._last_good.get(segment, ())
        plan = tuple(
            channel_id
            for channel_id in last_good or self._static_plan(query)
            if not query.allowed_channel_ids or channel_id in query.allowed_channel_ids
        )
        if not plan:
            return Unavailable("the router is away and nothing is known of this segment")
        fallbacks.labels("last_good" if last_good else "static").inc()
        return plan

    def _static_plan(self, query: RouteQuery) -> Plan:
        return tuple(
            channel.channel_id
            for channel in self._static
            if channel.status == router_pb2.CHANNEL_STATUS_ENABLED
            and METHODS[query.method] in channel.methods
            and OPERATIONS[query.operation] in channel.operations
            and query.currency in channel.currencies
            and query.amount_minor >= channel.amount_minimum_minor
            and query.amount_minor <= (channel.amount_maximum_minor or query.amount_minor)
        )


def _query(query: RouteQuery) -> router_pb2.RouteQuery:
    return router_pb2.RouteQuery(
        route_key=query.route_key,
        merchant_id=query.merchant_id,
        amount=money_pb2.Money(currency=query.currency, amount_minor=query.amount_minor),
        method=METHODS[query.method],
        operation=OPERATIONS[query.operation],
        policy=POLICIES[query.routing],
        allowed_channel_ids=query.allowed_channel_ids,
    )


def _plan(result: router_pb2.RouteResult) -> Plan | FiscError:
    if result.WhichOneof("result") == "error":
        return error_from_item(result.error)
    return tuple(candidate.channel_id for candidate in result.plan.candidates)
