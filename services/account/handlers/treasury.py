"""TreasuryService: where the money really is, and who owes whom."""

from collections.abc import AsyncIterator
from datetime import datetime
from typing import Any

import grpc
from typing_extensions import override

from fisc.account.v1 import treasury_pb2 as pb
from fisc.account.v1 import treasury_pb2_grpc
from libs.paging import PageRequest
from libs.rpc import convert as rpc_convert
from services.account.handlers import convert_treasury
from services.account.usecases.positions import Positions
from services.account.usecases.treasury import Treasury

TREASURY_NAME = pb.DESCRIPTOR.services_by_name["TreasuryService"].full_name

Context = grpc.aio.ServicerContext[Any, Any]


class TreasuryServicer(treasury_pb2_grpc.TreasuryServiceServicer):
    """Real accounts, mirrors, positions and what is in transit over gRPC."""

    def __init__(self, treasury: Treasury, positions: Positions) -> None:
        """Serve these use cases."""
        self._treasury = treasury
        self._positions = positions

    def register(self, server: grpc.aio.Server) -> None:
        """Add the service to a server."""
        treasury_pb2_grpc.add_TreasuryServiceServicer_to_server(self, server)

    @override
    async def OpenRealAccounts(
        self, request: pb.OpenRealAccountsRequest, context: Context
    ) -> pb.OpenRealAccountsResponse:
        requested = list(map(convert_treasury.real_account_from_proto, request.real_accounts))
        results = await self._treasury.open_real_accounts(requested)
        return pb.OpenRealAccountsResponse(
            results=map(convert_treasury.real_result_to_proto, results)
        )

    @override
    async def ListRealAccounts(
        self, request: pb.ListRealAccountsRequest, context: Context
    ) -> pb.ListRealAccountsResponse:
        page = await self._treasury.list_real_accounts(
            request.tenant_id, PageRequest(request.page_size, request.page_token)
        )
        return pb.ListRealAccountsResponse(
            real_accounts=map(convert_treasury.real_account_to_proto, page.items),
            next_page_token=page.next_token,
        )

    @override
    async def ChangeRealAccounts(
        self, request: pb.ChangeRealAccountsRequest, context: Context
    ) -> pb.ChangeRealAccountsResponse:
        changes = list(map(convert_treasury.real_change_from_proto, request.changes))
        verdicts = await self._treasury.change_real_accounts(request.request_id, changes)
        return pb.ChangeRealAccountsResponse(
            results=map(convert_treasury.real_change_verdict_to_proto, verdicts)
        )

    @override
    async def MapAccounts(
        self, request: pb.MapAccountsRequest, context: Context
    ) -> pb.MapAccountsResponse:
        asked = list(map(convert_treasury.mapping_from_proto, request.mappings))
        verdicts = await self._treasury.map_accounts(request.request_id, asked)
        return pb.MapAccountsResponse(
            results=map(convert_treasury.mapping_verdict_to_proto, verdicts)
        )

    @override
    async def ListMappings(
        self, request: pb.ListMappingsRequest, context: Context
    ) -> pb.ListMappingsResponse:
        page = await self._treasury.list_mappings(
            account_id=request.account_id,
            real_account_id=request.real_account_id,
            page=PageRequest(request.page_size, request.page_token),
        )
        return pb.ListMappingsResponse(
            mappings=map(convert_treasury.mapping_to_proto, page.items),
            next_page_token=page.next_token,
        )

    @override
    async def GetMirror(
        self, request: pb.GetMirrorRequest, context: Context
    ) -> pb.GetMirrorResponse:
        mirror = await self._treasury.get_mirror(request.real_account_id, _at(request))
        return pb.GetMirrorResponse(mirror=convert_treasury.mirror_to_proto(mirror))

    @override
    async def ListMirrorAccounts(
        self, request: pb.ListMirrorAccountsRequest, context: Context
    ) -> pb.ListMirrorAccountsResponse:
        page = await self._treasury.list_mirror_accounts(
            request.real_account_id,
            _at(request),
            PageRequest(request.page_size, request.page_token),
        )
        return pb.ListMirrorAccountsResponse(
            accounts=map(convert_treasury.mirror_account_to_proto, page.items),
            next_page_token=page.next_token,
        )

    @override
    async def StreamMirrors(
        self, request: pb.StreamMirrorsRequest, context: Context
    ) -> AsyncIterator[pb.StreamMirrorsResponse]:
        async for mirrors in self._treasury.stream_mirrors(_at(request)):
            yield pb.StreamMirrorsResponse(mirrors=map(convert_treasury.mirror_to_proto, mirrors))

    @override
    async def ListPositions(
        self, request: pb.ListPositionsRequest, context: Context
    ) -> pb.ListPositionsResponse:
        page = await self._positions.list_positions(
            entity_id=request.entity_id,
            currency=request.currency,
            is_open_only=request.open_only,
            page=PageRequest(request.page_size, request.page_token),
        )
        return pb.ListPositionsResponse(
            positions=map(convert_treasury.position_to_proto, page.items),
            next_page_token=page.next_token,
        )

    @override
    async def PostIntercompanyTransfers(
        self, request: pb.PostIntercompanyTransfersRequest, context: Context
    ) -> pb.PostIntercompanyTransfersResponse:
        asked = list(map(convert_treasury.intercompany_from_proto, request.transfers))
        verdicts = await self._positions.post(asked)
        return pb.PostIntercompanyTransfersResponse(
            results=map(convert_treasury.intercompany_verdict_to_proto, verdicts)
        )

    @override
    async def ListInTransit(
        self, request: pb.ListInTransitRequest, context: Context
    ) -> pb.ListInTransitResponse:
        page = await self._positions.list_in_transit(
            request.currency, PageRequest(request.page_size, request.page_token)
        )
        return pb.ListInTransitResponse(
            accounts=map(convert_treasury.transit_to_proto, page.items),
            next_page_token=page.next_token,
        )


def _at(
    request: pb.GetMirrorRequest | pb.ListMirrorAccountsRequest | pb.StreamMirrorsRequest,
) -> datetime | None:
    return rpc_convert.from_timestamp(request.at_time) if request.HasField("at_time") else None
