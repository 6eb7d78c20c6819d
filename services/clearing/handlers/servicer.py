"""fisc.clearing.v1.ClearingService: messages in, use case, messages out."""

from collections.abc import AsyncIterator
from typing import Any, Final

import grpc
from typing_extensions import override

from fisc.clearing.v1 import clearing_pb2 as pb
from fisc.clearing.v1 import clearing_pb2_grpc
from libs.paging import PageRequest
from services.clearing.handlers import convert
from services.clearing.usecases.assembly import UseCases

SERVICE_NAME: Final = "fisc.clearing.v1.ClearingService"
DAY: Final = "business_date"
Context = grpc.aio.ServicerContext[Any, Any]


class ClearingServicer(clearing_pb2_grpc.ClearingServiceServicer):
    """Serves the contract; what each RPC promises stands there."""

    def __init__(self, does: UseCases) -> None:
        """One servicer serves all RPCs of the service."""
        self._does = does

    def register(self, server: grpc.aio.Server) -> None:
        """Serve it there."""
        clearing_pb2_grpc.add_ClearingServiceServicer_to_server(self, server)

    @override
    async def UpsertFeePlan(
        self, request: pb.UpsertFeePlanRequest, context: Context
    ) -> pb.UpsertFeePlanResponse:
        request_id = convert.text(request.request_id, field="request_id")
        plan = await self._does.plans.upsert(request_id, convert.plan_from_proto(request.fee_plan))
        return pb.UpsertFeePlanResponse(fee_plan=convert.plan_to_proto(plan))

    @override
    async def ListFeePlans(
        self, request: pb.ListFeePlansRequest, context: Context
    ) -> pb.ListFeePlansResponse:
        page = await self._does.plans.list_plans(
            convert.text(request.merchant_id, field="merchant_id"),
            PageRequest(request.page_size, request.page_token),
        )
        return pb.ListFeePlansResponse(
            fee_plans=map(convert.plan_to_proto, page.items), next_page_token=page.next_token
        )

    @override
    async def CloseDay(
        self, request: pb.CloseDayRequest, context: Context
    ) -> AsyncIterator[pb.CloseDayResponse]:
        day = convert.day_from_text(request.business_date, field=DAY)
        async for progress in self._does.closing.close_day(day):
            yield convert.progress_to_proto(progress)

    @override
    async def GetDayReport(
        self, request: pb.GetDayReportRequest, context: Context
    ) -> pb.GetDayReportResponse:
        day = convert.optional_day(request.business_date, field=DAY)
        report = await self._does.reports.day_report(day)
        return pb.GetDayReportResponse(report=convert.report_to_proto(report))

    @override
    async def ListItems(
        self, request: pb.ListItemsRequest, context: Context
    ) -> pb.ListItemsResponse:
        page = await self._does.items.list_items(
            convert.optional_day(request.business_date, field=DAY),
            convert.text(request.merchant_id, field="merchant_id"),
            PageRequest(request.page_size, request.page_token),
        )
        return pb.ListItemsResponse(
            items=map(convert.item_to_proto, page.items), next_page_token=page.next_token
        )

    @override
    async def ListStatements(
        self, request: pb.ListStatementsRequest, context: Context
    ) -> pb.ListStatementsResponse:
        page = await self._does.statements.list_statements(
            convert.optional_day(request.business_date, field=DAY),
            PageRequest(request.page_size, request.page_token),
        )
        return pb.ListStatementsResponse(
            statements=map(convert.statement_to_proto, page.items),
            next_page_token=page.next_token,
        )

    @override
    async def ListDifferences(
        self, request: pb.ListDifferencesRequest, context: Context
    ) -> pb.ListDifferencesResponse:
        page = await self._does.matching.list_differences(
            convert.optional_day(request.business_date, field=DAY),
            convert.state_from_proto(request.state),
            PageRequest(request.page_size, request.page_token),
        )
        return pb.ListDifferencesResponse(
            differences=map(convert.difference_to_proto, page.items),
            next_page_token=page.next_token,
        )

    @override
    async def ResolveDifference(
        self, request: pb.ResolveDifferenceRequest, context: Context
    ) -> pb.ResolveDifferenceResponse:
        difference = await self._does.matching.resolve(
            convert.text(request.request_id, field="request_id"),
            convert.text(request.difference_id, field="difference_id"),
            actor=convert.text(request.actor, field="actor"),
            note=convert.text(request.note, field="note"),
        )
        return pb.ResolveDifferenceResponse(difference=convert.difference_to_proto(difference))

    @override
    async def ListBatches(
        self, request: pb.ListBatchesRequest, context: Context
    ) -> pb.ListBatchesResponse:
        page = await self._does.settlement.list_batches(
            convert.optional_day(request.business_date, field=DAY),
            convert.text(request.merchant_id, field="merchant_id"),
            PageRequest(request.page_size, request.page_token),
        )
        return pb.ListBatchesResponse(
            batches=map(convert.batch_to_proto, page.items), next_page_token=page.next_token
        )

    @override
    async def ListVouchers(
        self, request: pb.ListVouchersRequest, context: Context
    ) -> pb.ListVouchersResponse:
        page = await self._does.settlement.list_vouchers(
            convert.optional_day(request.voucher_date, field="voucher_date"),
            PageRequest(request.page_size, request.page_token),
        )
        return pb.ListVouchersResponse(
            vouchers=map(convert.voucher_to_proto, page.items), next_page_token=page.next_token
        )

    @override
    async def DecideBatch(
        self, request: pb.DecideBatchRequest, context: Context
    ) -> pb.DecideBatchResponse:
        batch = await self._does.settlement.decide(
            convert.text(request.request_id, field="request_id"),
            convert.text(request.batch_id, field="batch_id"),
            convert.BATCH_DECISIONS[request.decision],
            actor=convert.text(request.actor, field="actor"),
            note=convert.text(request.note, field="note"),
        )
        return pb.DecideBatchResponse(batch=convert.batch_to_proto(batch))

    @override
    async def RunSweep(self, request: pb.RunSweepRequest, context: Context) -> pb.RunSweepResponse:
        sweep = await self._does.sweeps.run(convert.sweep_order(request))
        return pb.RunSweepResponse(sweep=convert.sweep_to_proto(sweep))

    @override
    async def GetSweep(self, request: pb.GetSweepRequest, context: Context) -> pb.GetSweepResponse:
        sweep = await self._does.sweeps.get(convert.text(request.sweep_id, field="sweep_id"))
        return pb.GetSweepResponse(sweep=convert.sweep_to_proto(sweep))

    @override
    async def CancelSweep(
        self, request: pb.CancelSweepRequest, context: Context
    ) -> pb.CancelSweepResponse:
        sweep = await self._does.sweeps.cancel(
            convert.text(request.request_id, field="request_id"),
            convert.text(request.sweep_id, field="sweep_id"),
        )
        return pb.CancelSweepResponse(sweep=convert.sweep_to_proto(sweep))

    @override
    async def DecideSweep(
        self, request: pb.DecideSweepRequest, context: Context
    ) -> pb.DecideSweepResponse:
        sweep = await self._does.sweeps.decide(
            convert.text(request.request_id, field="request_id"),
            convert.text(request.sweep_id, field="sweep_id"),
            convert.SWEEP_DECISIONS[request.decision],
            actor=convert.text(request.actor, field="actor"),
            note=convert.text(request.note, field="note"),
        )
        return pb.DecideSweepResponse(sweep=convert.sweep_to_proto(sweep))

    @override
    async def ListSweeps(
        self, request: pb.ListSweepsRequest, context: Context
    ) -> pb.ListSweepsResponse:
        page = await self._does.sweeps.list_sweeps(
            convert.sweep_state(request.state),
            PageRequest(request.page_size, request.page_token),
        )
        return pb.ListSweepsResponse(
            sweeps=map(convert.sweep_to_proto, page.items), next_page_token=page.next_token
        )
