"""Settlement batches: made of agreed items, booked in the ledger once, with their vouchers."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime
from typing import Final
from zoneinfo import ZoneInfo

from libs import log
from libs.clock import Clock
from libs.db.pool import Connection, Pool
from libs.events import log as event_log
from libs.ids import IdSource
from libs.paging import Page, PageRequest
from services.clearing.domain import fees, settlement, vouchers
from services.clearing.domain.days import WorkingDays
from services.clearing.domain.model import Batch, ChannelFee, FeePlan
from services.clearing.domain.settlement import Booked
from services.clearing.domain.vouchers import Draft, Voucher
from services.clearing.store import items as item_store
from services.clearing.store import settlement as store
from services.clearing.usecases.events import Events
from services.clearing.usecases.ports import Ledger

# Each batch is a chain of at most two transfers; a call takes 1024.
BATCHES_PER_CALL_MAX: Final = 256
SETTLEMENT_ZONE: Final = ZoneInfo("Asia/Shanghai")

_log = log.get_logger()


@dataclass(frozen=True, slots=True, kw_only=True)
class Booking:
    """What a round of booking came to. `days` are the business days that something was booked for."""

    booked_count: int = 0
    refused: Sequence[str] = ()
    days: frozenset[date] = frozenset()


class Settlement:
    """Makes and books batches, books channel fees, and writes vouchers."""

    def __init__(
        self,
        *,
        pool: Pool,
        ledger: Ledger,
        events: Events,
        clock: Clock,
        ids: IdSource,
        working_days: WorkingDays,
        default_plan: FeePlan,
        settle_on_close: bool,
    ) -> None:
        """`settle_on_close` books batches when they are made; else not before their day."""
        self._pool = pool
        self._ledger = ledger
        self._events = events
        self._clock = clock
        self._ids = ids
        self._working_days = working_days
        self._default_plan = default_plan
        self._settle_on_close = settle_on_close

    async def make_batches(self, until: date) -> list[Batch]:
        """Put settleable items of days up to `until` into batches, one a merchant, currency and day.

        Items that came too late for their day's batch make one more of that day.
        """
        made = []
        async with self._pool.acquire() as connection:
            groups = await store.settleable(connection, until)
            merchant_ids = {group.merchant_id for group in groups}
            plans = await item_store.plans_of(connection, merchant_ids)
            for group in groups:
                plan = fees.plan_on(
                    plans, group.merchant_id, group.business_date, self._default_plan
                )
                settle_date = self._working_days.settle_date(
                    group.business_date, plan.settle_delay_days
                )
                batch = await store.make_batch(
                    connection,
                    self._ids.new("set"),
                    group,
                    settle_date=settle_date,
                    now=self._clock.now(),
                )
                if batch is not None:
                    made.append(batch)
        return made

    async def book_batches(self) -> Booking:
        """Book every computed batch that is due. Idempotent: the ledger knows the transfers' ids.

        Raises FiscError when the ledger cannot be asked; what was booked by then stays.
        """
        due_on = None if self._settle_on_close else self._today()
        booking = Booking()
        after = ""
        while True:
            async with self._pool.acquire() as connection:
                batches = await store.computed_batches(
                    connection, due_on=due_on, after=after, limit=BATCHES_PER_CALL_MAX
                )
            if not batches:
                return booking
            booking = _add(booking, await self._book(batches))
            after = batches[-1].batch_id

    async def book_channel_fees(self) -> Booking:
        """Book what channels took, of every day it is not booked for. Raises FiscError."""
        async with self._pool.acquire() as connection:
            found = await store.computed_fees(connection, BATCHES_PER_CALL_MAX)
        if not found:
            return Booking()
        await self._ledger.open_platform_accounts({fee.currency for fee in found})
        transfers = [each for fee in found for each in settlement.fee_transfers(fee)]
        results = await self._post(transfers)
        booked = [
            fee for fee in found if settlement.is_booked(settlement.fee_transfers(fee), results)
        ]
        for fee in booked:
            await self._mark_fee(fee)
        return Booking(
            booked_count=len(booked),
            refused=_refusals(results),
            days=frozenset(fee.business_date for fee in booked),
        )

    async def write_flow_vouchers(self, day: date) -> int:
        """Write vouchers for what each channel collected, gave back and paid out; how many."""
        async with self._pool.acquire() as connection:
            flows = await store.unvouchered_flows(connection, day)
            for channel_id, kind, currency in flows:
                async with connection.transaction():
                    now = self._clock.now()
                    voucher_id = self._ids.new("vou")
                    flow = await store.take_flow(
                        connection,
                        voucher_id,
                        day,
                        channel_id=channel_id,
                        kind=kind,
                        currency=currency,
                    )
                    number = 1 + await store.count_vouchers_of(connection, flow.source)
                    draft = vouchers.flow_voucher(flow, number=number)
                    await self._write_voucher(connection, voucher_id, draft, now)
        return len(flows)

    async def list_batches(
        self, day: date | None, merchant_id: str, page: PageRequest
    ) -> Page[Batch]:
        """Batches by id. Raises InvalidPageToken."""
        async with self._pool.acquire() as connection:
            found = await store.list_batches(
                connection, day=day, merchant_id=merchant_id, after=page.after, limit=page.limit
            )
        return page.page(found, lambda batch: batch.batch_id)

    async def list_vouchers(self, day: date | None, page: PageRequest) -> Page[Voucher]:
        """Vouchers by id. Raises InvalidPageToken."""
        async with self._pool.acquire() as connection:
            found = await store.list_vouchers(
                connection, day=day, after=page.after, limit=page.limit
            )
        return page.page(found, lambda voucher: voucher.voucher_id)

    async def _book(self, batches: Sequence[Batch]) -> Booking:
        await self._ledger.open_platform_accounts({batch.currency for batch in batches})
        chains = {batch.batch_id: settlement.batch_transfers(batch) for batch in batches}
        results = await self._post([each for chain in chains.values() for each in chain])
        booked = [key for key, chain in chains.items() if settlement.is_booked(chain, results)]
        now = self._clock.now()
        async with self._pool.acquire() as connection, connection.transaction():
            settled = await store.settle_batches(connection, booked, now)
            await event_log.append(
                connection, [self._events.batch_settled(batch, now) for batch in settled]
            )
            for batch in settled:
                draft = vouchers.batch_voucher(batch)
                await self._write_voucher(connection, self._ids.new("vou"), draft, now)
        return Booking(
            booked_count=len(settled),
            refused=_refusals(results),
            days=frozenset(batch.business_date for batch in settled),
        )

    async def _mark_fee(self, fee: ChannelFee) -> None:
        now = self._clock.now()
        async with self._pool.acquire() as connection, connection.transaction():
            if await store.mark_fee_booked(connection, fee):
                draft = vouchers.fee_voucher(fee)
                await self._write_voucher(connection, self._ids.new("vou"), draft, now)

    async def _write_voucher(
        self, connection: Connection, voucher_id: str, draft: Draft | None, now: datetime
    ) -> None:
        if draft is not None:
            await store.insert_voucher(connection, voucher_id, draft, now)

    async def _post(self, transfers: Sequence[settlement.Transfer]) -> dict[str, Booked]:
        if not transfers:
            return {}
        results = {each.transfer_id: each for each in await self._ledger.post(transfers)}
        for result in results.values():
            if not result.booked:
                _log.warning("ledger refused", transfer_id=result.transfer_id, reason=result.reason)
        return results

    def _today(self) -> date:
        return self._clock.now().astimezone(SETTLEMENT_ZONE).date()


def _add(total: Booking, more: Booking) -> Booking:
    return replace(
        total,
        booked_count=total.booked_count + more.booked_count,
        refused=(*total.refused, *more.refused),
        days=total.days | more.days,
    )


def _refusals(results: dict[str, Booked]) -> list[str]:
    return [
        f"{result.transfer_id} {result.reason}" for result in results.values() if not result.booked
    ]
