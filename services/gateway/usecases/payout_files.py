"""Payout files: declare, upload, read, watch, decide, pause, cancel. Paying is the flow's."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from libs.clock import Clock
from libs.ids import IdSource
from libs.paging import Page, PageRequest
from libs.saga.driver import Driver
from libs.saga.flow import Signal
from services.gateway.domain import payout_file, payout_file_flow
from services.gateway.domain.errors import (
    ChunkDiffers,
    PayoutFileNotFound,
    PayoutFileRepeated,
    RequestIdReused,
    TooManyPayoutFiles,
    UploadOffsetMismatch,
)
from services.gateway.domain.merchant import Merchant
from services.gateway.domain.payout_file import Chunk, ChunkCame, FileState, PayoutFile
from services.gateway.store.payout_files import PayoutFileStore
from services.gateway.usecases.screening import check_currency

# Of one merchant that have not ended: each may hold 32 MiB and a worker's time.
FILES_OPEN_MAX: Final = 16
WATCH_INTERVAL_S: Final = 0.5
ROWS_A_MESSAGE: Final = 500
RETRY_AFTER_S: Final = 30.0
_FIELDS: Final[Mapping[str, str]] = {
    "sha256": "sha256",
    "size_bytes": "size_bytes",
    "declared_rows": "rows_count",
    "declared_minor": "sum_minor",
    "currency": "currency",
    "encoding": "encoding",
    "bad_rows": "bad_rows",
    "needs_approval": "needs_approval",
    "routing": "routing",
    "name": "name",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Declaration:
    """What a merchant says of a file before it comes, validated in form."""

    request_id: str
    name: str
    currency: str
    encoding: str
    bad_rows: str
    needs_approval: bool
    routing: str
    size_bytes: int
    sha256: str
    declared_rows: int
    declared_minor: int


class PayoutFiles:
    """The files of all merchants."""

    def __init__(
        self,
        *,
        store: PayoutFileStore,
        driver: Driver[PayoutFile, None],
        clock: Clock,
        ids: IdSource,
    ) -> None:
        self._store = store
        self._driver = driver
        self._clock = clock
        self._ids = ids

    async def create(
        self, merchant: Merchant, said: Declaration, *, key_id: str, allows_repeat: bool
    ) -> PayoutFile:
        """Declares a file; idempotent by (merchant, request_id).

        Raises UnknownCurrency, CurrencyNotEnabled, RequestIdReused with the field that differs, PayoutFileRepeated, TooManyPayoutFiles.
        """
        check_currency(merchant, said.currency)
        draft = self._draft(merchant.merchant_id, said, key_id)
        known = await self._store.find(draft)
        if known is None:
            await self._check_new(draft, allows_repeat=allows_repeat)
            step = payout_file_flow.open_file(draft, self._clock.now())
            known = await self._driver.create(step)
        for column, field in _FIELDS.items():
            if getattr(known, column) != getattr(draft, column):
                raise RequestIdReused(field=field, payout_file_id=known.payout_file_id)
        return known

    async def upload(self, merchant_id: str, file_id: str, chunk: Chunk) -> PayoutFile:
        """Takes a piece; the same piece again changes nothing.

        Raises PayoutFileNotFound, UploadOffsetMismatch, ChunkTooSmall, ChunkDiffers.
        """
        await self.get(merchant_id, file_id)
        step = await self._driver.note(file_id, ChunkCame(chunk=chunk))
        if step is not None and step.beside:
            return step.subject
        file = await self.get(merchant_id, file_id)
        if file.state is FileState.UPLOADING:
            stored = await self._store.get_chunk(file_id, chunk.offset_bytes)
            if stored is None:
                raise UploadOffsetMismatch(
                    field="offset_bytes", received_bytes=str(file.received_bytes)
                )
            if stored != chunk.data:
                raise ChunkDiffers(field="data", offset_bytes=str(chunk.offset_bytes))
        return file

    async def get(self, merchant_id: str, file_id: str) -> PayoutFile:
        """Raises PayoutFileNotFound, also for another merchant's file."""
        loaded = await self._store.files.load(file_id)
        if loaded is None or loaded[0].merchant_id != merchant_id:
            raise PayoutFileNotFound(field="payout_file_id")
        return loaded[0]

    async def page(self, merchant_id: str, page: PageRequest) -> Page[PayoutFile]:
        """Newest first. Raises InvalidPageToken."""
        found = await self._store.page(merchant_id, page.after, page.limit)
        return page.page(found, lambda file: file.payout_file_id)

    async def watch(self, merchant_id: str, file_id: str) -> AsyncIterator[PayoutFile]:
        """The file now and after changes, until it has ended. Raises PayoutFileNotFound."""
        seen_version = 0
        while True:
            file = await self.get(merchant_id, file_id)
            if file.version > seen_version:
                seen_version = file.version
                yield file
            if file.state in payout_file.ENDED:
                return
            await asyncio.sleep(WATCH_INTERVAL_S)

    async def rows(
        self, merchant_id: str, file_id: str, after: int, *, only_bad: bool
    ) -> AsyncIterator[list[dict[str, Any]]]:
        """The rows with their results, in the order of the file. Raises PayoutFileNotFound."""
        await self.get(merchant_id, file_id)
        async for page in self._store.rows(file_id, after, only_bad=only_bad, limit=ROWS_A_MESSAGE):
            yield page

    async def tell(self, merchant_id: str, file_id: str, wish: Signal) -> PayoutFile:
        """A person's word on it; idempotent. Raises PayoutFileNotFound and what the flow raises."""
        await self.get(merchant_id, file_id)
        await self._driver.note(file_id, wish)
        return await self.get(merchant_id, file_id)

    async def _check_new(self, draft: PayoutFile, *, allows_repeat: bool) -> None:
        if await self._store.count_open(draft.merchant_id) >= FILES_OPEN_MAX:
            raise TooManyPayoutFiles(retry_after_s=RETRY_AFTER_S, files_max=str(FILES_OPEN_MAX))
        if allows_repeat:
            return
        same = await self._store.find_content(draft.merchant_id, draft.sha256)
        if same is not None:
            raise PayoutFileRepeated(field="sha256", payout_file_id=same)

    def _draft(self, merchant_id: str, said: Declaration, key_id: str) -> PayoutFile:
        now = self._clock.now()
        return PayoutFile(
            payout_file_id=self._ids.new("pof"),
            merchant_id=merchant_id,
            request_id=said.request_id,
            name=said.name,
            currency=said.currency,
            encoding=said.encoding,
            bad_rows=said.bad_rows,
            needs_approval=said.needs_approval,
            routing=said.routing,
            size_bytes=said.size_bytes,
            sha256=said.sha256,
            declared_rows=said.declared_rows,
            declared_minor=said.declared_minor,
            maker_key_id=key_id,
            created_at=now,
            updated_at=now,
            next_run_at=None,
        )
