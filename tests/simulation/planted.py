"""`python -m tests.simulation.planted`: known bugs, switched on one at a time. A simulation that misses one shows nothing."""

import argparse
import asyncio
import contextlib
import itertools
import random
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Protocol

from fisc.account.v1 import account_pb2
from fisc.gateway.v1 import payment_pb2
from services.gateway.channels.directory import GuardedConnector
from services.gateway.domain import payment as payments
from services.gateway.domain import saga
from services.gateway.domain.channel import (
    Callback,
    ChargeOrder,
    Outcome,
    OutcomeKind,
    RefundOrder,
)
from services.gateway.domain.payment import Payment, PaymentState, PaymentStep
from services.gateway.domain.payout import Payout
from services.gateway.domain.saga import Answered, Attempt, Signal
from services.gateway.store.sagas import SavedStep
from services.gateway.usecases import performers
from services.gateway.usecases.callbacks import Callbacks
from services.gateway.usecases.performers import PayoutPerformer
from services.gateway.workers import facts, pushers
from services.gateway.workers.pushers import Pusher
from tests.simulation import database, runner, stores
from tests.simulation.database import Database
from tests.simulation.stores import MemoryTable

SEEDS_MAX = 200


class Patch(Protocol):
    """Puts something in the place of an attribute until the bug is taken out again."""

    def __call__(self, owner: object, name: str, value: object) -> None: ...


@dataclass(frozen=True, slots=True)
class Bug:
    """A mistake somebody could make."""

    name: str
    plant: Callable[[Patch], None]


BUGS: list[Bug] = []


def bug(plant: Callable[[Patch], None]) -> Callable[[Patch], None]:
    BUGS.append(Bug(plant.__name__, plant))
    return plant


@bug
def the_epoch_is_not_checked(patch: Patch) -> None:
    patch(database, "is_current", lambda old, new: old.version == new.version - 1)


@bug
def the_version_is_not_checked(patch: Patch) -> None:
    patch(database, "is_current", lambda old, new: old.epoch == new.epoch)


@bug
def an_unknown_outcome_fails_the_payment(patch: Patch) -> None:
    def fail(payment: Payment, attempt: Attempt, now: datetime) -> PaymentStep:
        return payments._ended(payment, attempt, PaymentState.FAILED, "TIMEOUT", now)

    patch(payments, "_unknown", fail)


@bug
def an_unknown_outcome_goes_to_the_next_channel(patch: Patch) -> None:
    def fail_over(payment: Payment, attempt: Attempt, now: datetime) -> PaymentStep:
        return payments._send_next(payment, attempt, "TIMEOUT", now)

    patch(payments, "_unknown", fail_over)


@bug
def a_number_not_found_counts_as_declined(patch: Patch) -> None:
    right = payments._answered

    def decide(
        payment: Payment, attempt: Attempt | None, signal: Answered, now: datetime
    ) -> PaymentStep | None:
        if signal.outcome.kind is OutcomeKind.NOT_FOUND:
            signal = replace(signal, outcome=Outcome(kind=OutcomeKind.DECLINED_SOFT))
        return right(payment, attempt, signal, now)

    patch(payments, "_answered", decide)


@bug
def a_callback_is_acknowledged_before_it_is_applied(patch: Patch) -> None:
    right = Callbacks._apply

    async def apply(self: Callbacks, channel_id: str, callback: Callback) -> str:
        async def later() -> None:
            with contextlib.suppress(Exception):
                await right(self, channel_id, callback)

        self._drives.start(later())
        return "APPLIED"

    patch(Callbacks, "_apply", apply)


@bug
def a_resent_refund_gets_another_number(patch: Patch) -> None:
    sent: set[str] = set()

    def order(**fields: Any) -> RefundOrder:
        made = RefundOrder(**fields)
        if made.out_ref not in sent:
            sent.add(made.out_ref)
            return made
        return replace(made, out_ref=f"{made.out_ref}x{random.getrandbits(32):08x}")

    patch(performers, "RefundOrder", order)


@bug
def refunds_reserve_nothing(patch: Patch) -> None:
    patch(stores, "can_bear", lambda payment, refund: payment.state is PaymentState.SUCCEEDED)
    patch(database, "_check_payment", lambda row: None)


@bug
def events_are_written_after_the_transaction(patch: Patch) -> None:
    right = MemoryTable._save

    async def save(self: MemoryTable[Any], batch: Sequence[SavedStep[Any]]) -> list[Any]:
        results = await right(self, [replace(saved, events=()) for saved in batch])
        for saved, result in zip(batch, results, strict=True):
            if saved.events and not isinstance(result, BaseException):
                await self._carry("save", lambda saved=saved: self._database.append(saved.events))  # type: ignore[misc]  # bound now, not later
        return results

    patch(MemoryTable, "_save", save)


@bug
def the_cursor_moves_before_the_push(patch: Patch) -> None:
    async def run(self: Pusher) -> None:
        cursor = await self._outbox.get_cursor(self._consumer)
        while True:
            events = await self._outbox.read_events(cursor, pushers.BATCH_MAX)
            if not events:
                await asyncio.sleep(pushers.IDLE_MAX_S)
                continue
            cursor = await self._outbox.move_cursor(self._consumer, cursor, events[-1].cursor)
            await self._push(events)

    patch(Pusher, "run", run)


@bug
def an_open_breaker_answers_queries_with_a_decline(patch: Patch) -> None:
    async def query(self: GuardedConnector, out_ref: str) -> Outcome:
        return await self._guard("query", lambda: self._inner.query(out_ref), is_order=True)

    patch(GuardedConnector, "query", query)


@bug
def the_same_request_twice_makes_two_payments(patch: Patch) -> None:
    right = Database.insert

    def insert(self: Database, name: str, subject: Any) -> bool:
        self._by_request.pop((name, subject.merchant_id, subject.request_id), None)
        return right(self, name, subject)

    patch(Database, "insert", insert)


@bug
def a_sweeper_takes_rows_without_a_new_epoch(patch: Patch) -> None:
    patch(database, "taken_over", lambda row, until: replace(row, next_run_at=until))


@bug
def a_payout_leaves_without_its_hold(patch: Patch) -> None:
    async def hold(self: PayoutPerformer, payout: Payout) -> Signal:
        return saga.HoldPlaced()

    patch(PayoutPerformer, "_hold", hold)


@bug
def a_repeated_push_is_booked_again(patch: Patch) -> None:
    right, numbers = facts.collect, itertools.count()
    booked: set[str] = set()

    def collect(payment: payment_pb2.Payment) -> account_pb2.Transfer:
        transfer = right(payment)
        if transfer.transfer_id in booked:
            transfer.transfer_id += f":{next(numbers)}"
        booked.add(transfer.transfer_id)
        return transfer

    patch(facts, "collect", collect)


@bug
def the_amount_of_a_success_is_not_checked(patch: Patch) -> None:
    patch(saga, "amounts_agree", lambda outcome, amount_minor, currency: True)


@bug
def a_late_success_is_ignored(patch: Patch) -> None:
    patch(payments, "_answered_earlier", lambda payment, signal, now: None)


@bug
def a_failed_refund_keeps_its_reservation(patch: Patch) -> None:
    patch(stores, "reserved_change_minor", lambda payments, refund: 0)


@bug
def a_charge_that_was_cut_off_is_sent_again_elsewhere(patch: Patch) -> None:
    right = GuardedConnector.charge

    async def charge(self: GuardedConnector, order: ChargeOrder) -> Outcome:
        outcome = await right(self, order)
        if outcome.code == "NO_ANSWER":
            return Outcome(kind=OutcomeKind.DECLINED_SOFT, code="NO_ANSWER")
        return outcome

    patch(GuardedConnector, "charge", charge)


def hunt(planted: Bug, seeds_max: int = SEEDS_MAX) -> str | None:
    """Which seed catches the bug, and by which invariant; None when none does."""
    undo: list[tuple[object, str, object]] = []

    def patch(owner: object, name: str, value: object) -> None:
        undo.append((owner, name, getattr(owner, name)))
        setattr(owner, name, value)

    planted.plant(patch)
    try:
        for report in runner.reports(range(1, seeds_max + 1), twice_each=0):
            if report.violations:
                first = report.violations[0]
                return f"seed {report.seed}: {first.invariant} {first.words}"
        return None
    finally:
        for owner, name, value in reversed(undo):
            setattr(owner, name, value)


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m tests.simulation.planted")
    parser.add_argument("--bug", default="", help="only the bugs whose name contains this")
    options = parser.parse_args()
    chosen = [each for each in BUGS if options.bug in each.name]
    missed = 0
    for each in chosen:
        started_s = time.perf_counter()
        caught = hunt(each)
        missed += caught is None
        elapsed_s = time.perf_counter() - started_s
        print(f"{'caught' if caught else 'MISSED'}  {elapsed_s:6.1f} s  {each.name}: {caught}")
    print(f"{len(chosen) - missed} of {len(chosen)} planted bugs caught")
    return bool(missed)


if __name__ == "__main__":
    sys.exit(main())
