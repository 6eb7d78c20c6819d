"""fisc.notification.v1.NotificationService: messages in, use case, messages out."""

from typing import Any, Final

import grpc
from typing_extensions import override

from fisc.notification.v1 import notification_pb2 as pb
from fisc.notification.v1 import notification_pb2_grpc
from libs.paging import PageRequest
from services.notification.handlers import convert
from services.notification.usecases.deliveries import Deliveries
from services.notification.usecases.endpoints import Endpoints

SERVICE_NAME: Final = "fisc.notification.v1.NotificationService"
Context = grpc.aio.ServicerContext[Any, Any]


class NotificationServicer(notification_pb2_grpc.NotificationServiceServicer):
    """Serves the contract; what each RPC promises stands there."""

    def __init__(self, endpoints: Endpoints, deliveries: Deliveries) -> None:
        self._endpoints = endpoints
        self._deliveries = deliveries

    def register(self, server: grpc.aio.Server) -> None:
        """Add this service to a server."""
        notification_pb2_grpc.add_NotificationServiceServicer_to_server(self, server)

    @override
    async def CreateEndpoint(
        self, request: pb.CreateEndpointRequest, context: Context
    ) -> pb.CreateEndpointResponse:
        asked = request.endpoint
        endpoint, secret = await self._endpoints.create(
            request.request_id, asked.merchant_id, asked.url, list(asked.event_types)
        )
        return pb.CreateEndpointResponse(
            endpoint=convert.endpoint_to_proto(endpoint), secret=secret
        )

    @override
    async def UpdateEndpoint(
        self, request: pb.UpdateEndpointRequest, context: Context
    ) -> pb.UpdateEndpointResponse:
        asked = request.endpoint
        endpoint = await self._endpoints.update(
            request.request_id,
            endpoint_id=asked.endpoint_id,
            merchant_id=asked.merchant_id,
            url=asked.url,
            event_types=list(asked.event_types),
            state=convert.endpoint_state(asked.state),
        )
        return pb.UpdateEndpointResponse(endpoint=convert.endpoint_to_proto(endpoint))

    @override
    async def ListEndpoints(
        self, request: pb.ListEndpointsRequest, context: Context
    ) -> pb.ListEndpointsResponse:
        page = await self._endpoints.list(
            request.merchant_id, PageRequest(request.page_size, request.page_token)
        )
        return pb.ListEndpointsResponse(
            endpoints=map(convert.endpoint_to_proto, page.items), next_page_token=page.next_token
        )

    @override
    async def RotateSecret(
        self, request: pb.RotateSecretRequest, context: Context
    ) -> pb.RotateSecretResponse:
        secret = await self._endpoints.rotate_secret(request.request_id, request.endpoint_id)
        return pb.RotateSecretResponse(secret=secret)

    @override
    async def ListDeliveries(
        self, request: pb.ListDeliveriesRequest, context: Context
    ) -> pb.ListDeliveriesResponse:
        page = await self._deliveries.list(
            merchant_id=request.merchant_id,
            state=convert.delivery_state(request.state),
            subject_id=request.subject_id,
            page=PageRequest(request.page_size, request.page_token),
        )
        return pb.ListDeliveriesResponse(
            deliveries=map(convert.delivery_to_proto, page.items), next_page_token=page.next_token
        )

    @override
    async def GetDelivery(
        self, request: pb.GetDeliveryRequest, context: Context
    ) -> pb.GetDeliveryResponse:
        delivery, attempts = await self._deliveries.get(request.delivery_id)
        return pb.GetDeliveryResponse(delivery=convert.delivery_to_proto(delivery, attempts))

    @override
    async def Redeliver(
        self, request: pb.RedeliverRequest, context: Context
    ) -> pb.RedeliverResponse:
        delivery = await self._deliveries.redeliver(request.request_id, request.delivery_id)
        return pb.RedeliverResponse(delivery=convert.delivery_to_proto(delivery))
