"""Bugs in what keeps rows, events, batches and the audit chain."""

import asyncio
import contextlib
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

from libs.audit import NewRecord
from libs.saga import flow
from libs.saga.table import Saved
from services.clearing.domain import settling
from services.clearing.domain.model import Batch
from services.gateway.channels.directory import GuardedConnector
from services.gateway.domain import forcing
from services.gateway.domain.channel import Callback, SentOrder
from services.gateway.domain.forcing import Force
from services.gateway.usecases.callbacks import Callbacks
from services.gateway.workers import pushers
from services.gateway.workers.pushers import Pusher
from tests.simulation import database, registry
from tests.simulation.bug import Patch, bug
from tests.simulation.clearing import ClearingBooks
from tests.simulation.database import Database, Layout
from tests.simulation.stores import MemoryTable


@bug
def the_epoch_is_not_checked(patch: Patch) -> None:
    patch(database, "is_current", lambda old, new: old.version == new.version - 1)


@bug
def the_version_is_not_checked(patch: Patch) -> None:
    patch(database, "is_current", lambda old, new: old.epoch == new.epoch)


@bug
def a_sweeper_takes_rows_without_a_new_epoch(patch: Patch) -> None:
    def take(row: Any, now: datetime) -> Any:
        next_run_at = now + timedelta(seconds=flow.LEASE_S)
        return replace(row, next_run_at=next_run_at, faults_count=row.faults_count + 1)

    patch(database, "taken_over", take)


@bug
def a_poisoned_row_is_taken_up_for_ever(patch: Patch) -> None:
    def is_claimable(layout: Layout, row: Any) -> bool:
        return row.state in layout.states and row.flow_version <= layout.flow_version

    def take(row: Any, now: datetime) -> Any:
        next_run_at = now + timedelta(seconds=flow.LEASE_S)
        faults_count = row.faults_count + 1
        return replace(row, epoch=row.epoch + 1, next_run_at=next_run_at, faults_count=faults_count)

    patch(database, "is_claimable", is_claimable)
    patch(database, "taken_over", take)


@bug
def a_row_of_a_later_release_is_taken_up(patch: Patch) -> None:
    def is_claimable(layout: Layout, row: Any) -> bool:
        return bool(row.faults_count < flow.FAULTS_MAX and row.state in layout.states)

    patch(database, "is_claimable", is_claimable)


@bug
def a_stopping_replica_hands_over_what_is_no_longer_its_own(patch: Patch) -> None:
    patch(database, "is_still_owned", lambda row, subject: True)


@bug
def a_callback_is_acknowledged_before_it_is_applied(patch: Patch) -> None:
    right = Callbacks._apply

    async def apply(self: Callbacks, channel_id: str, callback: Callback) -> str:
        async def later() -> None:
            with contextlib.suppress(Exception):
                await right(self, channel_id, callback)

        asyncio.get_running_loop().create_task(later())
        return "APPLIED"

    patch(Callbacks, "_apply", apply)


@bug
def events_are_written_after_the_transaction(patch: Patch) -> None:
    right = MemoryTable._save

    async def save(self: MemoryTable, batch: Sequence[Saved[Any, Any]]) -> list[Any]:
        results = await right(self, [replace(saved, events=()) for saved in batch])
        for saved, result in zip(batch, results, strict=True):
            if saved.events and not isinstance(result, BaseException):
                await self._carry("save", lambda saved=saved: self.database.append(saved.events))  # type: ignore[misc]  # bound now, not later
        return results

    patch(MemoryTable, "_save", save)


@bug
def the_cursor_moves_before_the_push(patch: Patch) -> None:
    async def run(self: Pusher) -> None:
        cursor = await self._outbox.get_cursor(self._consumer)
        while True:
            events = await self._outbox.read_events(cursor, pushers.BATCH_MAX)
            if not events:
                await vars(pushers)["asyncio"].sleep(pushers.PACE_S)
                continue
            cursor = await self._outbox.move_cursor(self._consumer, cursor, events[-1].cursor)
            await self._push(events)

    patch(Pusher, "run", run)


@bug
def the_same_request_twice_makes_two_payments(patch: Patch) -> None:
    right = Database.insert

    def insert(self: Database, layout: Layout, subject: Any) -> bool:
        self._by_identity.pop((layout.name, layout.identity(subject)), None)
        return right(self, layout, subject)

    patch(Database, "insert", insert)


@bug
def maker_and_checker_may_be_one(patch: Patch) -> None:
    right = forcing.decide

    def decide(force: Force, **decision: Any) -> Force | None:
        decided = right(replace(force, maker_id=""), **decision)
        return decided and replace(decided, maker_id=force.maker_id)

    patch(forcing, "decide", decide)
    patch(registry, "check_force", lambda force: None)


@bug
def an_audit_record_is_altered(patch: Patch) -> None:
    right = Database.record

    def record(self: Database, new: NewRecord) -> None:
        right(self, new)
        if new.action == "FORCE_APPROVED":
            self.records[-1] = replace(self.records[-1], actor_id="nobody")

    patch(Database, "record", record)


@bug
def a_forced_step_leaves_no_record(patch: Patch) -> None:
    right = Database.record

    def record(self: Database, new: NewRecord) -> None:
        if new.action != "FORCE_APPLIED":
            right(self, new)

    patch(Database, "record", record)


@bug
def what_was_settled_is_settled_again_the_next_day(patch: Patch) -> None:
    right = ClearingBooks.make_batches

    def make(self: ClearingBooks, *arguments: Any, **options: Any) -> list[str]:
        for item in list(self.items.values()):
            if item.batch_id:
                self._put(replace(item, batch_id=""))
        return right(self, *arguments, **options)

    patch(ClearingBooks, "make_batches", make)


@bug
def a_batch_is_settled_before_the_ledger_has_answered(patch: Patch) -> None:
    right = settling.decide

    def decide(batch: Batch, attempt: None, signal: Any, now: datetime) -> Any:
        if isinstance(signal, settling.PostUnknown):
            signal = settling.Posted()
        return right(batch, attempt, signal, now)

    patch(settling, "decide", decide)


@bug
def clearing_moves_its_cursor_without_the_items(patch: Patch) -> None:
    right = ClearingBooks._record
    calls = [0]

    def record(self: ClearingBooks, news: Sequence[Any]) -> None:
        calls[0] += 1
        if calls[0] % 50:
            right(self, news)

    patch(ClearingBooks, "_record", record)


@bug
def a_query_is_taken_for_an_order_by_the_breaker(patch: Patch) -> None:
    async def query(self: GuardedConnector, order: SentOrder) -> Any:
        return await self._guard(
            "query_payout", lambda: self._inner.query_payout(order), is_order=True
        )

    patch(GuardedConnector, "query_payout", query)
