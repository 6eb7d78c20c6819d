"""Settlement batches: made of agreed items, booked in the ledger once, with their vouchers."""

import asyncio
import hashlib
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Final

from libs import log
from libs.clock import Clock
from libs.db.pool import Connection, Pool
from libs.ids import IdSource
from libs.paging import Page, PageRequest
from libs.saga import flow
from services.clearing.domain import errors, fees, settlement, settling, vouchers
from services.clearing.domain.days import WorkingDays
from services.clearing.domain.model import Batch, BatchState, ChannelFee, FeePlan
from services.clearing.domain.settlement import Booked
from services.clearing.domain.vouchers import Draft, Voucher
from services.clearing.store import items as item_store
from services.clearing.store import sagas as saga_store
from services.clearing.store import settlement as store
from services.clearing.usecases.ports import Ledger
from services.clearing.usecases.sagas import Sagas

# Driven at the same time by one close, so that they share calls and commits.
BATCHES_AT_ONCE_MAX: Final = 256
FEES_PER_CALL_MAX: Final = 256

_log = log.get_logger()


@dataclass(frozen=True, slots=True, kw_only=True)
class Booking:
    """What a round of booking came to: how much was booked, what was refused, what has no answer yet."""

    booked_count: int = 0
    refused: Sequence[str] = ()
    unanswered: Sequence[str] = ()

    def __add__(self, more: "Booking") -> "Booking":
        """Both together."""
        return Booking(
            booked_count=self.booked_count + more.booked_count,
            refused=(*self.refused, *more.refused),
            unanswered=(*self.unanswered, *more.unanswered),
        )


class Settlement:
    """Makes and books batches, books channel fees, and writes vouchers."""

    def __init__(
        self,
        *,
        pool: Pool,
        ledger: Ledger,
        sagas: Sagas,
        clock: Clock,
        ids: IdSource,
        working_days: WorkingDays,
        default_plan: FeePlan,
        settle_on_close: bool,
    ) -> None:
        """`settle_on_close` books batches when they are made; else not before their day."""
        self._pool = pool
        self._ledger = ledger
        self._flow = sagas.batches
        self._drives = sagas.drives
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
                now = self._clock.now()
                batch = await store.make_batch(
                    connection,
                    self._ids.new("set"),
                    group,
                    settle_date=settle_date,
                    due_at=settling.due_at(settle_date, now, at_once=self._settle_on_close),
                    now=now,
                )
                if batch is not None:
                    made.append(batch)
        return made

    async def book_batches(self) -> Booking:
        """Have every batch booked that is due, on its way, or was refused before.

        Sweepers may be at the same ones: the ledger books each transfer once, and only one of them writes
        what came of it. What breaks here is left to them.
        """
        async with self._pool.acquire() as connection:
            batch_ids = await saga_store.bookable_batches(
                connection, due_only=not self._settle_on_close, now=self._clock.now()
            )
        booking = Booking()
        for start in range(0, len(batch_ids), BATCHES_AT_ONCE_MAX):
            booking += await self._book(batch_ids[start : start + BATCHES_AT_ONCE_MAX])
        return booking

    async def decide(
        self, request_id: str, batch_id: str, to_state: BatchState, *, actor: str, note: str
    ) -> Batch:
        """A person's word: have it booked again (POSTING), or cancel it (CANCELED). Idempotent.

        Raises BatchNotFound, BatchNotManual, RequestIdReused.
        """
        text = repr(("DecideBatch", batch_id, to_state, actor, note))
        fingerprint = hashlib.sha256(text.encode()).hexdigest()
        async with self._pool.acquire() as connection, connection.transaction():
            made = await item_store.claim_request(
                connection, request_id, fingerprint, batch_id, self._clock.now()
            )
        decision = settling.Decided(to_state=to_state, actor=actor, note=note)
        if made is None or to_state is BatchState.CANCELED:
            step = await self._flow.driver.note(batch_id, decision)
            if step is not None:
                task = self._drives.start(self._flow.driver.drive(step))
                await self._drives.wait(task)
        async with self._pool.acquire() as connection:
            found = await store.get_batches(connection, [batch_id])
        if not found:
            raise errors.BatchNotFound(field="batch_id")
        return found[0]

    async def book_channel_fees(self) -> Booking:
        """Book what channels took, of every day it is not booked for. Raises FiscError."""
        async with self._pool.acquire() as connection:
            found = await store.computed_fees(connection, FEES_PER_CALL_MAX)
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
        )

    async def write_flow_vouchers(self, day: date) -> int:
        """Write vouchers for what each channel collected, gave back and paid out; how many."""
        async with self._pool.acquire() as connection:
            flows = await store.unvouchered_flows(connection, day)
            for channel_id, kind, currency, settles in flows:
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
                        settles=settles,
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

    async def _book(self, batch_ids: Sequence[str]) -> Booking:
        await asyncio.wait(
            [
                self._drives.start(self._flow.driver.tell(batch_id, flow.Due()))
                for batch_id in batch_ids
            ]
        )
        async with self._pool.acquire() as connection:
            batches = await store.get_batches(connection, batch_ids)
        by_state: dict[BatchState, list[str]] = defaultdict(list)
        for batch in batches:
            by_state[batch.state].append(f"{batch.batch_id} {batch.reason}".strip())
        return Booking(
            booked_count=len(by_state[BatchState.SETTLED]),
            refused=(*by_state[BatchState.REFUSED], *by_state[BatchState.MANUAL]),
            unanswered=(*by_state[BatchState.COMPUTED], *by_state[BatchState.POSTING]),
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


def _refusals(results: dict[str, Booked]) -> list[str]:
    return [
        f"{result.transfer_id} {result.reason}" for result in results.values() if not result.booked
    ]
