"""StatementService: what is too long for one message."""

from collections.abc import AsyncIterator
from typing import Any

import grpc
from typing_extensions import override

from fisc.account.v1 import account_pb2 as pb
from fisc.account.v1 import account_pb2_grpc
from libs.rpc import convert as rpc_convert
from services.account.handlers import convert, convert_operations
from services.account.usecases.chart import Chart

Context = grpc.aio.ServicerContext[Any, Any]


class StatementServicer(account_pb2_grpc.StatementServiceServicer):
    """Statements and the proof over gRPC."""

    def __init__(self, chart: Chart) -> None:
        """Serve these use cases."""
        self._chart = chart

    @override
    async def StreamEntries(
        self, request: pb.StreamEntriesRequest, context: Context
    ) -> AsyncIterator[pb.StreamEntriesResponse]:
        after, until = (
            rpc_convert.from_timestamp(getattr(request, name)) if request.HasField(name) else None
            for name in ("after_time", "until_time")
        )
        async for entries in self._chart.stream_entries(
            request.account_id,
            after=request.after_sequence,
            until=request.until_sequence,
            after_time=after,
            until_time=until,
        ):
            yield pb.StreamEntriesResponse(entries=map(convert.entry_to_proto, entries))

    @override
    async def VerifyChain(
        self, request: pb.VerifyChainRequest, context: Context
    ) -> AsyncIterator[pb.VerifyChainResponse]:
        async for progress in self._chart.verify(batches_only=request.batches_only):
            yield convert_operations.progress_to_proto(progress)
