"""Clearing: the real facts, fees, settlement flow, performer and driver, over items and batches in memory."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from datetime import date, datetime, time
from functools import partial
from random import Random
from types import SimpleNamespace
from typing import Any, cast

import grpc
from typing_extensions import override

from libs.batching.coalescer import Coalescer
from libs.db.pool import Pool
from libs.events import feed, kinds
from libs.events.log import StoredEvent
from libs.ids import SortableIds
from libs.saga import flow
from libs.saga.drives import Drives
from libs.saga.engine import Engine, Flow
from libs.saga.flow import Step
from libs.saga.table import Saved
from services.clearing.clients import AccountLedger
from services.clearing.domain import fees, settling, vouchers
from services.clearing.domain.days import WorkingDays
from services.clearing.domain.fees import PaidFee
from services.clearing.domain.model import (
    Batch,
    BatchState,
    Channel,
    Item,
    ItemKind,
    MatchState,
    Succeeded,
)
from services.clearing.store.sagas import batch_spec
from services.clearing.usecases.events import Encoders, Events
from services.clearing.usecases.items import Items
from services.clearing.usecases.performers import BatchPerformer
from services.clearing.workers import facts
from services.gateway.usecases.bills import BillLine
from tests.simulation import book
from tests.simulation.book import Line
from tests.simulation.database import Database, Layout
from tests.simulation.loop import Machine
from tests.simulation.neighbours import Neighbours
from tests.simulation.outside import Outside
from tests.simulation.pace import Pace, Watch, push_again
from tests.simulation.replica import Process
from tests.simulation.stores import MemoryTable
from tests.simulation.wallets import MERCHANTS

CONSUMER = "clearing"
FEED_MAX = 256
FEED_IDLE_S = 1.0
FEED_TIMEOUT_S = 5.0
PLAN = fees.default_plan(
    rate_ppm=6_000,
    fixed_minor=2,
    payout_fixed_minor=100,
    fee_refundable=True,
    settle_delay_days=1,
)
# Whose refunds cost more than its sales have brought it.
OTHER_PLAN = replace(
    PLAN, plan_id="other", merchant_id=MERCHANTS[1].merchant_id, fee_refundable=False
)
WORKING_DAYS = WorkingDays()
BATCHES = Layout(batch_spec(cast(SortableIds, None)), Batch)
_TOLD = frozenset(
    {
        "payment.succeeded",
        "payment.late_success",
        "capture.late_success",
        "refund.late_success",
        "payout.late_success",
        "payout.late_return",
        "capture.succeeded",
        "refund.succeeded",
        "payout.succeeded",
        "payout.returned",
    }
)
_ENCODERS = Encoders(
    batch=lambda batch: b"",
    difference=lambda each: b"",
    day=lambda day: b"",
    sweep=lambda each: b"",
)


class ClearingBooks:
    """Clearing's database: items, bills and batches."""

    def __init__(self, channel_ids: Sequence[str]) -> None:
        self.database = Database()
        self.items: dict[str, Item] = {}
        self.lines: dict[tuple[ItemKind, str], Line] = {}
        self.vouchers: dict[str, vouchers.Draft] = {}
        self._channels = {
            channel_id: Channel(
                channel_id=channel_id, provider="sim", zone=book.ZONE, cut_off=time(0, 0)
            )
            for channel_id in channel_ids
        }
        self._maker = Items(cast(Pool, None), cast(Any, None), PLAN)

    def take_in(self, events: Sequence[StoredEvent], before: str) -> str:
        """Items of new facts; the cursor moves in the same transaction, unless another replica has moved it."""
        if self.database.cursors.get(CONSUMER, "") == before:
            kinds.check_known(events)
            told = [event for event in events if event.type in _TOLD]
            news = facts(feed._response(told, "").events)
            self._record([fact for fact in news if fact.subject_id not in self.items])
            self.database.put(self.database.cursors, CONSUMER, events[-1].cursor)
        return self.database.cursors[CONSUMER]

    def match(self, lines: Sequence[Line]) -> list[Line]:
        """Remembers a bill's lines; answers those that no item explains."""
        for line in lines:
            self.lines[line.kind, line.out_ref] = line
        known = set()
        for item in self.items.values():
            line_of_it = self.lines.get((item.kind, item.out_ref))
            known.add((item.kind, item.out_ref))
            if line_of_it is not None and item.match_state is MatchState.UNMATCHED:
                agrees = line_of_it.amount_minor == item.amount_minor
                state = MatchState.MATCHED if agrees else MatchState.DIFFERENT
                self._put(replace(item, match_state=state))
        return [line for line in lines if (line.kind, line.out_ref) not in known]

    def make_batches(
        self, table: MemoryTable, until: date, ids: SortableIds, now: datetime, *, at_once: bool
    ) -> list[str]:
        """One a merchant, currency and day, of what the channels confirmed."""
        groups: dict[tuple[date, str, str], list[Item]] = {}
        for item in self.items.values():
            if (
                item.settles
                and not item.batch_id
                and item.business_date <= until
                and item.match_state is MatchState.MATCHED
            ):
                group = (item.business_date, item.merchant_id, item.currency)
                groups.setdefault(group, []).append(item)
        made = []
        for (day, merchant_id, currency), items in sorted(groups.items()):
            settle_date = WORKING_DAYS.settle_date(day, PLAN.settle_delay_days)
            batch = Batch(
                batch_id=ids.new("set"),
                merchant_id=merchant_id,
                currency=currency,
                business_date=day,
                settle_date=settle_date,
                items_count=len(items),
                **_sums(items),
                created_at=now,
                updated_at=now,
                next_run_at=settling.due_at(settle_date, now, at_once=at_once),
            )
            table.write_new(Saved(step=Step(subject=batch), events=()))
            for item in items:
                self._put(replace(item, batch_id=batch.batch_id))
            made.append(batch.batch_id)
        return made

    def beside(self, step: Step[Batch, None]) -> None:
        """A settled batch gets its voucher, a canceled one lets its items go."""
        batch = step.subject
        draft = vouchers.batch_voucher(batch)
        if batch.state is BatchState.SETTLED and draft is not None:
            self.database.put(self.vouchers, draft.source, draft)
        if batch.state is BatchState.CANCELED:
            for item in list(self.items.values()):
                if item.batch_id == batch.batch_id:
                    self._put(replace(item, batch_id=""))

    def _record(self, news: Sequence[Succeeded]) -> None:
        paid = {
            fact.payment_id: self._paid(fact.payment_id)
            for fact in news
            if fact.kind is ItemKind.REFUND and fact.settles
        }
        known = {payment_id: fee for payment_id, fee in paid.items() if fee is not None}
        for item in self._maker._items(news, self._channels, (OTHER_PLAN,), known):
            self._put(item)

    def _paid(self, payment_id: str) -> PaidFee | None:
        of_it = [i for i in self.items.values() if i.payment_id == payment_id and i.settles]
        charges = [item for item in of_it if item.kind is ItemKind.PAYMENT]
        if not charges:
            return None
        return PaidFee(
            amount_minor=sum(item.amount_minor for item in charges),
            fee_minor=sum(item.merchant_fee_minor for item in charges),
            fee_refundable=all(item.fee_refundable for item in charges),
            refunded_minor=sum(i.amount_minor for i in of_it if i.kind is ItemKind.REFUND),
        )

    def _put(self, item: Item) -> None:
        self.database.put(self.items, item.subject_id, item)


class ClearingReplica(Process):
    """A replica of clearing."""

    def __init__(
        self,
        machine: Machine,
        outside: Outside,
        rng: Random,
        *,
        books: ClearingBooks,
        pace: Pace,
    ) -> None:
        super().__init__(machine, outside)
        self.books = books
        self._events_watch = Watch(outside.pace, self.clock)
        stub = Neighbours(outside.network, outside.risk, outside.router, outside.ledger)
        self._performer = BatchPerformer(AccountLedger(_as_channel(stub.account_stub)))
        self._drives = Drives()
        self._ids = SortableIds(self.clock, rng)
        watch = Watch(pace, self.clock)
        self.table = MemoryTable(books.database, BATCHES, self.carry, books.beside, watch.claims)
        self._batches = Flow[Batch, None](
            table=self.table,
            decide=settling.decide,
            perform=self._performer,
            encode=Events(self._ids, _ENCODERS).of_batch,
            drives=self._drives,
            clock=self.clock,
        )
        self._engine = Engine([self._batches], self._drives)

    @property
    @override
    def database(self) -> Database:
        return self.books.database

    async def stop(self) -> None:
        """SIGTERM."""
        self.is_serving = False
        for task in self.background:
            task.cancel()
        await self._engine.hand_over()

    async def take_bill(self, lines: Sequence[Line]) -> list[Line]:
        """Matches a bill; answers the lines that no item explains."""
        return await self.carry("match", partial(self._alone, partial(self.books.match, lines)))

    async def settle(self, until: date, *, at_once: bool) -> None:
        """Makes batches, and has those booked that are due."""
        make = partial(
            self.books.make_batches, self.table, until, self._ids, self.clock.now(), at_once=at_once
        )
        made: list[str] = await self.carry("make batches", partial(self._alone, make))
        if at_once:
            for batch_id in made:
                self._drives.start(self._batches.driver.tell(batch_id, flow.Due()))

    def coalescers(self) -> Sequence[Coalescer[Any, Any]]:
        return [*self._engine.coalescers, self._performer.coalescer]

    def loops(self) -> Sequence[Callable[[], Awaitable[None]]]:
        return [*self._engine.background, self._consume]

    async def _consume(self) -> None:
        """Takes in the gateway's events; the effect and the cursor are one transaction."""
        cursor = await self.carry("load", lambda: self.database.cursors.get(CONSUMER, ""))
        network = self.outside.network
        while True:
            read = partial(self.outside.database.read, cursor, FEED_MAX)
            self._events_watch.reads(cursor)
            events = await network.exchange("gateway", "feed", read, timeout_s=FEED_TIMEOUT_S)
            if events:
                take_in = partial(self.books.take_in, events, cursor)
                cursor = await self.carry("apply", partial(self._alone, take_in))
            else:
                await push_again(FEED_IDLE_S)

    def _alone(self, write: Callable[[], Any]) -> Any:
        with self.database.transaction():
            return write()


def bill_line(line: Line) -> BillLine:
    """As the gateway is told of it."""
    return BillLine(
        out_ref=line.out_ref,
        amount_minor=line.amount_minor,
        currency=line.currency,
        provider_ref="",
        paid_at=line.at,
        is_return=line.kind is ItemKind.PAYOUT_RETURN,
    )


def sums(items: Sequence[Item]) -> dict[str, int]:
    """What a batch of these items says."""
    gross_minor = sum(item.amount_minor for item in items if item.kind is ItemKind.PAYMENT)
    refunds_minor = sum(item.amount_minor for item in items if item.kind is ItemKind.REFUND)
    fees_minor = sum(item.merchant_fee_minor for item in items)
    return {
        "gross_minor": gross_minor,
        "refunds_minor": refunds_minor,
        "fees_minor": fees_minor,
        "net_minor": gross_minor - refunds_minor - fees_minor,
    }


def _sums(items: Sequence[Item]) -> Any:
    return sums(items)


def _as_channel(stub: Any) -> grpc.aio.Channel:
    """A channel whose calls go to the methods of this stub."""

    def unary_unary(path: str, **_: Any) -> Any:
        return getattr(stub, path.rpartition("/")[2], None)

    return cast(grpc.aio.Channel, SimpleNamespace(unary_unary=unary_unary))
