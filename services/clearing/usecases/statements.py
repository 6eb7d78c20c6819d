"""Bills: fetched, kept as they came, and believed only when their own totals add up."""

import asyncio
import hashlib
from datetime import date
from typing import Final

from libs import log
from libs.clock import Clock
from libs.db.pool import Pool
from libs.errors import FiscError
from libs.ids import IdSource
from libs.paging import Page, PageRequest
from services.clearing.domain import bills
from services.clearing.domain.bills.model import Bill
from services.clearing.domain.errors import BillRejected
from services.clearing.domain.model import BillFile, ChannelDay, Statement, StatementState
from services.clearing.store import statements as store
from services.clearing.usecases.ports import Bills

NOT_READY_REASON: Final = "BILL_NOT_READY"
_NOTHING: Final = Bill(())

_log = log.get_logger()


class Statements:
    """Fetches and keeps bills."""

    def __init__(self, pool: Pool, bill_source: Bills, clock: Clock, ids: IdSource) -> None:
        """Ids are of prefix "stm"."""
        self._pool = pool
        self._bill_source = bill_source
        self._clock = clock
        self._ids = ids

    async def obtain(self, channel_id: str, day: date) -> ChannelDay:
        """Return how far a channel's bill has come, after asking for it if it is not in yet.

        An accepted bill is never asked for again. What goes wrong is a state with a reason.
        """
        async with self._pool.acquire() as connection:
            known = await store.channel_days(connection, day, channel_id)
        if known and known[0].state.is_accepted:
            return known[0]
        try:
            file = await self._bill_source.fetch(channel_id, day)
        except FiscError as error:
            return await self._keep_failure(channel_id, day, error)
        bill, rejection = await asyncio.to_thread(_read, file)
        return await self._keep(channel_id, day, file, bill, rejection)

    async def list_statements(self, day: date | None, page: PageRequest) -> Page[Statement]:
        """Statements by id. Raises InvalidPageToken."""
        async with self._pool.acquire() as connection:
            found = await store.list_statements(
                connection, day=day, after=page.after, limit=page.limit
            )
        return page.page(found, lambda statement: statement.statement_id)

    async def _keep_failure(self, channel_id: str, day: date, error: FiscError) -> ChannelDay:
        _log.warning("bill not fetched", channel_id=channel_id, day=str(day), reason=error.reason)
        is_early = error.reason == NOT_READY_REASON
        state = StatementState.NOT_READY if is_early else StatementState.FAILED
        channel_day = ChannelDay(
            channel_id=channel_id, business_date=day, state=state, reason=error.reason
        )
        async with self._pool.acquire() as connection:
            await store.put_channel_day(connection, channel_day, self._clock.now())
        return channel_day

    async def _keep(
        self, channel_id: str, day: date, file: BillFile, bill: Bill, rejection: str
    ) -> ChannelDay:
        state = StatementState.FETCHED if bill.lines else StatementState.EMPTY
        now = self._clock.now()
        statement = Statement(
            statement_id=self._ids.new("stm"),
            channel_id=channel_id,
            business_date=day,
            sha256=hashlib.sha256(file.content).hexdigest(),
            size_bytes=len(file.content),
            state=StatementState.REJECTED if rejection else state,
            reason=rejection,
            lines_count=len(bill.lines),
            fetched_at=now,
        )
        async with self._pool.acquire() as connection, connection.transaction():
            statement_id, is_new = await store.insert_statement(
                connection,
                statement,
                provider=file.provider,
                checked_hash=file.checked_hash,
                content=file.content,
            )
            if is_new and not rejection:
                await store.insert_lines(connection, statement_id, bill.lines)
                await store.insert_channel_fees(connection, channel_id, day, bill.fees_e4())
            channel_day = ChannelDay(
                channel_id=channel_id,
                business_date=day,
                state=statement.state,
                reason=rejection,
                statement_id=statement_id,
                lines_count=len(bill.lines),
            )
            await store.put_channel_day(connection, channel_day, now)
            # A concurrent close may have been faster; what it accepted stands.
            (channel_day,) = await store.channel_days(connection, day, channel_id)
        return channel_day


def _read(file: BillFile) -> tuple[Bill, str]:
    """The bill, or why it is rejected."""
    if file.is_empty:
        return _NOTHING, ""
    try:
        return bills.parse(file.provider, file.content), ""
    except BillRejected as error:
        return _NOTHING, error.text
