"""PayoutFiles: whole files of payouts, as Python methods of a FiscClient."""

import asyncio
import hashlib
import random
import time
from collections.abc import AsyncIterator, Callable
from typing import Any, Final, Literal, Protocol, TypeAlias, TypeVar

import grpc

from fisc.client import errors, words
from fisc.client.words import RoutingName
from fisc.gateway.v1 import bulk_pb2, bulk_pb2_grpc

CHUNK_BYTES: Final = 1 << 20
WATCH_TIMEOUT_S: Final = 24 * 3600.0
ROWS_TIMEOUT_S: Final = 600.0
# Reconnections of one stream without a word in between.
RECONNECTIONS_MAX: Final = 4
BACKOFF_INITIAL_S: Final = 0.1
ENDED: Final = frozenset(
    {
        bulk_pb2.PayoutFile.STATE_COMPLETED,
        bulk_pb2.PayoutFile.STATE_REFUSED,
        bulk_pb2.PayoutFile.STATE_CANCELED,
    }
)

EncodingName: TypeAlias = Literal["UTF8", "GB18030"]
Message = TypeVar("Message")


class Caller(Protocol):
    """What PayoutFiles need of their client."""

    async def __call__(self, method: Any, request: Any, timeout_s: float | None) -> Any: ...


class PayoutFiles:
    """The payout files of one merchant; `FiscClient.payout_files`. All methods raise FiscClientError."""

    def __init__(
        self,
        stub: "bulk_pb2_grpc.PayoutFileServiceAsyncStub",
        call: Caller,
        metadata: tuple[tuple[str, str], ...],
    ) -> None:
        self._stub = stub
        self._call = call
        self._metadata = metadata

    async def send(
        self,
        data: bytes,
        *,
        request_id: str,
        currency: str,
        rows_count: int,
        sum_minor: int,
        name: str = "",
        encoding: EncodingName = "UTF8",
        pays_good_rows: bool = False,
        needs_approval: bool = False,
        routing: RoutingName = "BALANCED",
        allows_repeat: bool = False,
        on_progress: Callable[[bulk_pb2.PayoutFile], None] = lambda _: None,
        timeout_s: float | None = None,
    ) -> bulk_pb2.PayoutFile:
        """Declare a file and upload what is not there yet; idempotent by request_id, so call it again after a crash.

        `rows_count` and `sum_minor` are control totals, best known from elsewhere than the file. timeout_s is for one chunk.
        Returns the file as it stands, usually CHECKING: watch it. Raises AlreadyExists when the same request_id came with something
        else (`field` says what), or the same content under another one (PAYOUT_FILE_REPEATED).
        """
        policies = bulk_pb2.BadRowPolicy
        request = bulk_pb2.CreatePayoutFileRequest(
            request_id=request_id,
            name=name,
            currency=currency,
            size_bytes=len(data),
            sha256=hashlib.sha256(data).digest(),
            rows_count=rows_count,
            sum_minor=sum_minor,
            encoding=bulk_pb2.TextEncoding.Value(f"TEXT_ENCODING_{encoding}"),
            bad_rows=policies.Value(
                f"BAD_ROW_POLICY_{'PAY_GOOD' if pays_good_rows else 'REFUSE_FILE'}"
            ),
            needs_approval=needs_approval,
            routing=words.routing_of(routing),
            allows_repeat=allows_repeat,
        )
        answer = await self._call(self._stub.CreatePayoutFile, request, timeout_s)
        file: bulk_pb2.PayoutFile = answer.payout_file
        while file.state == bulk_pb2.PayoutFile.STATE_UPLOADING:
            on_progress(file)
            at = file.received_bytes
            chunk = bulk_pb2.UploadPayoutFileRequest(
                payout_file_id=file.payout_file_id,
                offset_bytes=at,
                data=data[at : at + CHUNK_BYTES],
            )
            sent = await self._call(self._stub.UploadPayoutFile, chunk, timeout_s)
            file = sent.payout_file
        return file

    async def get(
        self, payout_file_id: str, *, timeout_s: float | None = None
    ) -> bulk_pb2.PayoutFile:
        """Return a file with its progress. Raises NotFound."""
        request = bulk_pb2.GetPayoutFileRequest(payout_file_id=payout_file_id)
        file: bulk_pb2.PayoutFile = (
            await self._call(self._stub.GetPayoutFile, request, timeout_s)
        ).payout_file
        return file

    def list(
        self, *, page_size: int = 100, timeout_s: float | None = None
    ) -> AsyncIterator[bulk_pb2.PayoutFile]:
        """Every file, newest first; timeout_s is for one page."""

        async def fetch(page_token: str) -> Any:
            request = bulk_pb2.ListPayoutFilesRequest(page_size=page_size, page_token=page_token)
            page = await self._call(self._stub.ListPayoutFiles, request, timeout_s)
            return page.payout_files, page.next_page_token

        return words.pages(fetch)

    async def watch(
        self, payout_file_id: str, *, timeout_s: float = WATCH_TIMEOUT_S
    ) -> AsyncIterator[bulk_pb2.PayoutFile]:
        """The file now and after changes until it has ended; a connection that breaks is made anew."""
        seen_version = 0
        request = bulk_pb2.WatchPayoutFileRequest(payout_file_id=payout_file_id)
        stream = self._resumed(lambda: (self._stub.WatchPayoutFile, request), timeout_s)
        async for response in stream:
            if response.payout_file.version > seen_version:
                seen_version = response.payout_file.version
                yield response.payout_file
            if response.payout_file.state in ENDED:
                return

    async def rows(
        self,
        payout_file_id: str,
        *,
        after_row_number: int = 0,
        only_bad: bool = False,
        timeout_s: float = ROWS_TIMEOUT_S,
    ) -> AsyncIterator[bulk_pb2.PayoutFileRow]:
        """Each row with its result, in the order of the file; a connection that breaks is made anew where it broke."""
        last = after_row_number

        def begin() -> tuple[Any, Any]:
            request = bulk_pb2.StreamPayoutFileRowsRequest(
                payout_file_id=payout_file_id, after_row_number=last, only_bad=only_bad
            )
            return self._stub.StreamPayoutFileRows, request

        async for response in self._resumed(begin, timeout_s, ends=True):
            for row in response.rows:
                last = row.row_number
                yield row

    async def decide(
        self,
        payout_file_id: str,
        *,
        is_approved: bool,
        request_id: str | None = None,
        timeout_s: float | None = None,
    ) -> bulk_pb2.PayoutFile:
        """Approve or reject a file that waits for it, with another API key than the one that sent it.

        Raises Denied (CHECKER_IS_MAKER), Rejected (PAYOUT_FILE_NOT_WAITING).
        """
        request = bulk_pb2.DecidePayoutFileRequest(
            request_id=request_id or words.new_request_id(),
            payout_file_id=payout_file_id,
            is_approved=is_approved,
        )
        return await self._told(self._stub.DecidePayoutFile, request, timeout_s)

    async def pause(
        self, payout_file_id: str, *, timeout_s: float | None = None
    ) -> bulk_pb2.PayoutFile:
        """Start no further row; idempotent. Raises Rejected when it is not being paid."""
        return await self._wish(
            self._stub.PausePayoutFile, bulk_pb2.PausePayoutFileRequest, payout_file_id, timeout_s
        )

    async def resume(
        self, payout_file_id: str, *, timeout_s: float | None = None
    ) -> bulk_pb2.PayoutFile:
        """Go on with a paused file; idempotent."""
        return await self._wish(
            self._stub.ResumePayoutFile, bulk_pb2.ResumePayoutFileRequest, payout_file_id, timeout_s
        )

    async def cancel(
        self, payout_file_id: str, *, timeout_s: float | None = None
    ) -> bulk_pb2.PayoutFile:
        """End a file: rows that have not started are never paid; idempotent."""
        return await self._wish(
            self._stub.CancelPayoutFile, bulk_pb2.CancelPayoutFileRequest, payout_file_id, timeout_s
        )

    async def _wish(
        self, method: Any, kind: Callable[..., Any], payout_file_id: str, timeout_s: float | None
    ) -> bulk_pb2.PayoutFile:
        request = kind(request_id=words.new_request_id(), payout_file_id=payout_file_id)
        return await self._told(method, request, timeout_s)

    async def _told(
        self, method: Any, request: Any, timeout_s: float | None
    ) -> bulk_pb2.PayoutFile:
        file: bulk_pb2.PayoutFile = (await self._call(method, request, timeout_s)).payout_file
        return file

    async def _resumed(
        self, begin: Callable[[], tuple[Any, Any]], timeout_s: float, *, ends: bool = False
    ) -> AsyncIterator[Any]:
        """The answers of a stream that is begun anew when it breaks; `ends` when its end is the end of it."""
        ends_at_s = time.monotonic() + timeout_s
        reconnections = 0
        while True:
            method, request = begin()
            rest_s = max(0.0, ends_at_s - time.monotonic())
            call = method(request, timeout=rest_s, metadata=self._metadata)
            try:
                async for response in call:
                    reconnections = 0
                    yield response
                if ends:
                    return
            except grpc.aio.AioRpcError as error:
                failure = errors.from_rpc_error(error)
                is_lost = isinstance(failure, errors.Unavailable)
                if not is_lost or reconnections == RECONNECTIONS_MAX:
                    raise failure from error
            finally:
                call.cancel()
            await asyncio.sleep(BACKOFF_INITIAL_S * 2**reconnections * random.uniform(0.5, 1.0))  # noqa: S311 jitter keeps no secret
            reconnections += 1
