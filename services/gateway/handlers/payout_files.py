"""PayoutFileService: whole files of payouts."""

from collections.abc import AsyncIterator, Mapping
from typing import Any, TypeAlias

import grpc

from fisc.gateway.v1 import bulk_pb2, bulk_pb2_grpc
from libs.paging import PageRequest
from libs.rpc.convert import to_timestamp
from libs.saga.flow import Signal
from services.gateway.clients.wire import ROUTINGS
from services.gateway.domain import payout_file
from services.gateway.domain.payout_file import Chunk, FileState, PayoutFile, RowState
from services.gateway.handlers import auth
from services.gateway.usecases.operations import Merchants
from services.gateway.usecases.payout_files import Declaration, PayoutFiles

SERVICE_NAME = "fisc.gateway.v1.PayoutFileService"
Context: TypeAlias = "grpc.aio.ServicerContext[Any, Any]"

_R = bulk_pb2.PayoutFileRow
FILE_STATES = {
    state: bulk_pb2.PayoutFile.State.Value(f"STATE_{state.value}") for state in FileState
}
ROW_STATES = {
    RowState.READY: _R.STATE_READY,
    RowState.BAD: _R.STATE_BAD,
    RowState.OPEN: _R.STATE_PROCESSING,
    RowState.SUCCEEDED: _R.STATE_SUCCEEDED,
    RowState.FAILED: _R.STATE_FAILED,
    RowState.RETURNED: _R.STATE_RETURNED,
}
_ENCODINGS = {
    bulk_pb2.TEXT_ENCODING_UNSPECIFIED: "UTF8",
    bulk_pb2.TEXT_ENCODING_UTF8: "UTF8",
    bulk_pb2.TEXT_ENCODING_GB18030: "GB18030",
}
_POLICIES = {
    bulk_pb2.BAD_ROW_POLICY_UNSPECIFIED: "REFUSE_FILE",
    bulk_pb2.BAD_ROW_POLICY_REFUSE_FILE: "REFUSE_FILE",
    bulk_pb2.BAD_ROW_POLICY_PAY_GOOD: "PAY_GOOD",
}


class PayoutFileHandlers(bulk_pb2_grpc.PayoutFileServiceServicer):
    """Contract ↔ use cases."""

    def __init__(self, *, merchants: Merchants, files: PayoutFiles) -> None:
        self._merchants = merchants
        self._files = files

    def register(self, server: grpc.aio.Server) -> None:
        bulk_pb2_grpc.add_PayoutFileServiceServicer_to_server(self, server)

    async def CreatePayoutFile(
        self, request: bulk_pb2.CreatePayoutFileRequest, context: Context
    ) -> bulk_pb2.CreatePayoutFileResponse:
        merchant = await auth.merchant_of(context, self._merchants)
        file = await self._files.create(
            merchant,
            _declaration(request),
            key_id=auth.key_id_of(context),
            allows_repeat=request.allows_repeat,
        )
        return bulk_pb2.CreatePayoutFileResponse(payout_file=_file(file))

    async def UploadPayoutFile(
        self, request: bulk_pb2.UploadPayoutFileRequest, context: Context
    ) -> bulk_pb2.UploadPayoutFileResponse:
        merchant = await auth.merchant_of(context, self._merchants)
        chunk = Chunk(offset_bytes=request.offset_bytes, data=request.data)
        file = await self._files.upload(merchant.merchant_id, request.payout_file_id, chunk)
        return bulk_pb2.UploadPayoutFileResponse(payout_file=_file(file))

    async def GetPayoutFile(
        self, request: bulk_pb2.GetPayoutFileRequest, context: Context
    ) -> bulk_pb2.GetPayoutFileResponse:
        merchant = await auth.merchant_of(context, self._merchants)
        file = await self._files.get(merchant.merchant_id, request.payout_file_id)
        return bulk_pb2.GetPayoutFileResponse(payout_file=_file(file))

    async def ListPayoutFiles(
        self, request: bulk_pb2.ListPayoutFilesRequest, context: Context
    ) -> bulk_pb2.ListPayoutFilesResponse:
        merchant = await auth.merchant_of(context, self._merchants)
        page = await self._files.page(
            merchant.merchant_id, PageRequest(request.page_size, request.page_token)
        )
        return bulk_pb2.ListPayoutFilesResponse(
            payout_files=map(_file, page.items), next_page_token=page.next_token
        )

    async def WatchPayoutFile(
        self, request: bulk_pb2.WatchPayoutFileRequest, context: Context
    ) -> AsyncIterator[bulk_pb2.WatchPayoutFileResponse]:
        merchant = await auth.merchant_of(context, self._merchants)
        async for file in self._files.watch(merchant.merchant_id, request.payout_file_id):
            yield bulk_pb2.WatchPayoutFileResponse(payout_file=_file(file))

    async def StreamPayoutFileRows(
        self, request: bulk_pb2.StreamPayoutFileRowsRequest, context: Context
    ) -> AsyncIterator[bulk_pb2.StreamPayoutFileRowsResponse]:
        merchant = await auth.merchant_of(context, self._merchants)
        async for page in self._files.rows(
            merchant.merchant_id,
            request.payout_file_id,
            request.after_row_number,
            only_bad=request.only_bad,
        ):
            yield bulk_pb2.StreamPayoutFileRowsResponse(rows=map(_row, page))

    async def DecidePayoutFile(
        self, request: bulk_pb2.DecidePayoutFileRequest, context: Context
    ) -> bulk_pb2.DecidePayoutFileResponse:
        word = payout_file.Decided(is_approved=request.is_approved, key_id=auth.key_id_of(context))
        file = await self._tell(request.payout_file_id, word, context)
        return bulk_pb2.DecidePayoutFileResponse(payout_file=file)

    async def PausePayoutFile(
        self, request: bulk_pb2.PausePayoutFileRequest, context: Context
    ) -> bulk_pb2.PausePayoutFileResponse:
        file = await self._tell(request.payout_file_id, payout_file.PauseWished(), context)
        return bulk_pb2.PausePayoutFileResponse(payout_file=file)

    async def ResumePayoutFile(
        self, request: bulk_pb2.ResumePayoutFileRequest, context: Context
    ) -> bulk_pb2.ResumePayoutFileResponse:
        file = await self._tell(request.payout_file_id, payout_file.ResumeWished(), context)
        return bulk_pb2.ResumePayoutFileResponse(payout_file=file)

    async def CancelPayoutFile(
        self, request: bulk_pb2.CancelPayoutFileRequest, context: Context
    ) -> bulk_pb2.CancelPayoutFileResponse:
        file = await self._tell(request.payout_file_id, payout_file.CancelWished(), context)
        return bulk_pb2.CancelPayoutFileResponse(payout_file=file)

    async def _tell(self, file_id: str, wish: Signal, context: Context) -> bulk_pb2.PayoutFile:
        merchant = await auth.merchant_of(context, self._merchants)
        return _file(await self._files.tell(merchant.merchant_id, file_id, wish))


def _declaration(request: bulk_pb2.CreatePayoutFileRequest) -> Declaration:
    return Declaration(
        request_id=request.request_id,
        name=request.name,
        currency=request.currency,
        encoding=_ENCODINGS[request.encoding],
        bad_rows=_POLICIES[request.bad_rows],
        needs_approval=request.needs_approval,
        routing=ROUTINGS[request.routing],
        size_bytes=request.size_bytes,
        sha256=request.sha256.hex(),
        declared_rows=request.rows_count,
        declared_minor=request.sum_minor,
    )


def _file(file: PayoutFile) -> bulk_pb2.PayoutFile:
    message = bulk_pb2.PayoutFile(
        payout_file_id=file.payout_file_id,
        merchant_id=file.merchant_id,
        request_id=file.request_id,
        name=file.name,
        currency=file.currency,
        state=FILE_STATES[file.state],
        reason=file.reason,
        reason_detail=file.reason_detail,
        size_bytes=file.size_bytes,
        received_bytes=file.received_bytes,
        rows_count=file.rows_count,
        bad_count=file.bad_count,
        good_minor=file.good_minor,
        started=_tally(file.started_count, file.started_minor),
        succeeded=_tally(file.succeeded_count, file.succeeded_minor),
        failed=_tally(file.failed_count, file.failed_minor),
        returned=_tally(file.returned_count, file.returned_minor),
        created_at=to_timestamp(file.created_at),
        updated_at=to_timestamp(file.updated_at),
        version=file.version,
        needs_approval=file.needs_approval,
    )
    if file.ended_at is not None:
        message.ended_at.CopyFrom(to_timestamp(file.ended_at))
    return message


def _tally(count: int, amount_minor: int) -> bulk_pb2.Tally:
    return bulk_pb2.Tally(count=count, amount_minor=amount_minor)


def _row(row: Mapping[str, Any]) -> bulk_pb2.PayoutFileRow:
    problems = [bulk_pb2.RowProblem(**problem) for problem in row["problems"]]
    return bulk_pb2.PayoutFileRow(
        **{**row, "state": ROW_STATES[RowState(row["state"])], "problems": problems}
    )
