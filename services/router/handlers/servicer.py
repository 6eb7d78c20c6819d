"""fisc.router.v1.RouterService: messages in, use case, messages out."""

from typing import Any, Final

import grpc
from typing_extensions import override

from fisc.router.v1 import router_pb2 as pb
from fisc.router.v1 import router_pb2_grpc
from libs.paging import PageRequest
from services.router.handlers import convert
from services.router.usecases import Router

SERVICE_NAME: Final = "fisc.router.v1.RouterService"
Context = grpc.aio.ServicerContext[Any, Any]


class RouterServicer(router_pb2_grpc.RouterServiceServicer):
    """Serves the contract; what each RPC promises stands there."""

    def __init__(self, router: Router) -> None:
        self._router = router

    def register(self, server: grpc.aio.Server) -> None:
        """Add this service to a server."""
        router_pb2_grpc.add_RouterServiceServicer_to_server(self, server)

    @override
    async def Route(self, request: pb.RouteRequest, context: Context) -> pb.RouteResponse:
        plan = await self._router.route(convert.query_from_proto(request.query))
        return pb.RouteResponse(plan=convert.plan_to_proto(plan))

    @override
    async def RouteBatch(
        self, request: pb.RouteBatchRequest, context: Context
    ) -> pb.RouteBatchResponse:
        queries = [convert.query_from_proto(each) for each in request.queries]
        results = await self._router.route_batch(queries)
        return pb.RouteBatchResponse(results=[convert.result_to_proto(each) for each in results])

    @override
    async def RecordOutcomes(
        self, request: pb.RecordOutcomesRequest, context: Context
    ) -> pb.RecordOutcomesResponse:
        outcomes = [
            convert.outcome_from_proto(each, index) for index, each in enumerate(request.outcomes)
        ]
        return pb.RecordOutcomesResponse(
            recorded_count=await self._router.record_outcomes(outcomes)
        )

    @override
    async def UpsertChannel(
        self, request: pb.UpsertChannelRequest, context: Context
    ) -> pb.UpsertChannelResponse:
        channel = convert.channel_from_proto(request.channel)
        stored = await self._router.upsert_channel(request.request_id, channel)
        return pb.UpsertChannelResponse(channel=convert.channel_to_proto(stored))

    @override
    async def GetChannel(
        self, request: pb.GetChannelRequest, context: Context
    ) -> pb.GetChannelResponse:
        channel = await self._router.get_channel(request.channel_id)
        return pb.GetChannelResponse(channel=convert.channel_to_proto(channel))

    @override
    async def ListChannels(
        self, request: pb.ListChannelsRequest, context: Context
    ) -> pb.ListChannelsResponse:
        page = await self._router.list_channels(PageRequest(request.page_size, request.page_token))
        return pb.ListChannelsResponse(
            channels=map(convert.channel_to_proto, page.items), next_page_token=page.next_token
        )

    @override
    async def SetChannelStatus(
        self, request: pb.SetChannelStatusRequest, context: Context
    ) -> pb.SetChannelStatusResponse:
        channel = await self._router.set_channel_status(
            request.request_id, request.channel_id, convert.status_from_proto(request.status)
        )
        return pb.SetChannelStatusResponse(channel=convert.channel_to_proto(channel))

    @override
    async def GetChannelStats(
        self, request: pb.GetChannelStatsRequest, context: Context
    ) -> pb.GetChannelStatsResponse:
        stats = await self._router.get_channel_stats(request.channel_id)
        return pb.GetChannelStatsResponse(stats=[convert.stats_to_proto(*each) for each in stats])

    @override
    async def GetDecision(
        self, request: pb.GetDecisionRequest, context: Context
    ) -> pb.GetDecisionResponse:
        plan = await self._router.get_decision(request.route_key)
        return pb.GetDecisionResponse(plan=convert.plan_to_proto(plan))
