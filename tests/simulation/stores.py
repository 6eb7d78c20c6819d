"""The gateway's stores over the database in memory. tests/contract/test_saga_store.py holds them to what the real ones do."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from datetime import date, datetime, timedelta
from functools import partial
from typing import Any, Protocol, TypeVar, cast

from typing_extensions import override

from libs.db.pool import Pool
from libs.saga import table
from libs.saga.flow import FAULT_TEXT_MAX, FAULTS_MAX, OVERDUE_S, FlowTooNew, StaleWrite, Step
from libs.saga.table import BacklogLine, Saved
from services.gateway.domain import follow_up, saga
from services.gateway.domain.capture import Capture
from services.gateway.domain.cases import Case
from services.gateway.domain.payment import Payment
from services.gateway.domain.payout import Payout
from services.gateway.domain.refund import Refund
from services.gateway.domain.saga import Attempt, CloseCase, OpenCase
from services.gateway.store import sagas
from services.gateway.store.sagas import UNKNOWN_ATTEMPTS_MAX, SagaStore, Subject
from tests.simulation import reservations
from tests.simulation.database import Database, Layout

S = TypeVar("S")
A = TypeVar("A")
G = TypeVar("G", bound=Subject)
F = TypeVar("F", Capture, Refund)
T = TypeVar("T")

_NO_POOL = cast(Pool, None)
_OPEN_STATES = frozenset({"SENT", "PENDING", "UNKNOWN"})
_KINDS: Mapping[str, type[Any]] = {
    "payment": Payment,
    "capture": Capture,
    "refund": Refund,
    "payout": Payout,
}
LAYOUTS = {each.flow: Layout(each._spec, _KINDS[each.flow]) for each in SagaStore(_NO_POOL).tables}


class Carry(Protocol):
    """How a transaction travels to the database and its result back."""

    async def __call__(self, operation: str, transact: Callable[[], T]) -> T: ...


async def at_once(operation: str, transact: Callable[[], T]) -> T:
    """Without a network."""
    return transact()


class MemoryTable(table.SagaTable[Any, Any]):
    """One flow's rows. `beside` writes what a step says besides its row."""

    def __init__(
        self,
        database: Database,
        layout: Layout,
        carry: Carry,
        beside: Callable[[Step[Any, Any]], None],
        on_claim: Callable[["MemoryTable"], None],
    ) -> None:
        self.layout = layout
        self.database = database
        self._carry = carry
        self._beside = beside
        self._on_claim = on_claim

    @property
    @override
    def flow(self) -> str:
        return self.layout.name

    @override
    def key(self, subject: Any) -> str:
        return self.layout.key(subject)

    @override
    async def _create(self, batch: Sequence[Saved[Any, Any]]) -> list[Any]:
        return await self._carry("create", partial(self._insert, batch))

    def _insert(self, batch: Sequence[Saved[Any, Any]]) -> list[Any]:
        with self.database.transaction():
            for new in batch:
                self.write_new(new)
            return [self.database.find(self.layout, new.step.subject) for new in batch]

    def write_new(self, new: Saved[Any, Any]) -> bool:
        """False, and nothing is written, when something stands under its identity."""
        is_new = self.database.insert(self.layout, new.step.subject)
        if is_new:
            self._write_rest(new)
        return is_new

    @override
    async def _save(self, batch: Sequence[Saved[Any, Any]]) -> list[Any]:
        return await self._carry("save", partial(self._update, batch))

    def _update(self, batch: Sequence[Saved[Any, Any]]) -> list[Any]:
        with self.database.transaction():
            return [self._update_one(saved) for saved in batch]

    def _update_one(self, saved: Saved[Any, Any]) -> Any:
        if not self.database.update(self.layout, saved.step.subject):
            return StaleWrite()
        self._write_rest(saved)
        return saved.step.subject

    def _write_rest(self, saved: Saved[Any, Any]) -> None:
        for attempt in saved.step.attempts:
            self.database.upsert_attempt(attempt)
        self._beside(saved.step)
        self.database.append(saved.events)

    @override
    async def load(self, subject_id: str) -> Any:
        return await self._carry("load", partial(self._load, subject_id))

    def _load(self, subject_id: str) -> Any:
        row = self.database.rows[self.flow].get(subject_id)
        if row is None:
            return None
        layout = self.layout
        if row.state not in layout.states or row.flow_version > layout.flow_version:
            raise FlowTooNew(f"{self.flow} {row.state} is of a later release")
        return row, self.database.attempts_of(subject_id)

    @override
    async def claim(self, now: datetime, limit: int) -> list[Any]:
        self._on_claim(self)
        return await self._carry("claim", partial(self._claim, now, limit))

    def _claim(self, now: datetime, limit: int) -> list[Any]:
        with self.database.transaction():
            return self.database.claim(self.layout, now, limit)

    @override
    async def attempts_of(self, subject_id: str) -> tuple[Any, ...]:
        return await self._carry("load", partial(self.database.attempts_of, subject_id))

    @override
    async def hand_over(self, owned: Sequence[Any], now: datetime) -> int:
        return await self._alone(
            "hand over", partial(self.database.hand_over, self.layout, owned, now)
        )

    @override
    async def note_fault(self, subject: Any, fault: str) -> None:
        await self._alone("note fault", partial(self._note_fault, subject, fault))

    def _note_fault(self, subject: Any, fault: str) -> None:
        row = self.database.rows[self.flow].get(self.key(subject))
        if row is not None and row.epoch == subject.epoch:
            key = self.key(subject)
            self.database.change(self.flow, key, last_fault=fault[:FAULT_TEXT_MAX])

    @override
    async def retry(self, subject_id: str, now: datetime) -> Any:
        return await self._alone("retry", partial(self._retry, subject_id, now))

    def _retry(self, subject_id: str, now: datetime) -> Any:
        row = self.database.rows[self.flow].get(subject_id)
        if row is None or (row.state in self.layout.ended and row.next_run_at is None):
            return None
        self.database.change(self.flow, subject_id, next_run_at=now, faults_count=0)
        return self.database.rows[self.flow][subject_id]

    @override
    async def stuck(self, now: datetime, limit: int) -> list[Any]:
        overdue_before = now - timedelta(seconds=OVERDUE_S)
        return await self._carry("load", partial(self._stuck, overdue_before, limit))

    def _stuck(self, overdue_before: datetime, limit: int) -> list[Any]:
        found = [
            row
            for _, row in sorted(self.database.rows[self.flow].items())
            if row.state == "MANUAL"
            or row.faults_count >= FAULTS_MAX
            or (row.next_run_at is not None and row.next_run_at < overdue_before)
        ]
        return found[:limit]

    @override
    async def backlog(self) -> list[BacklogLine]:
        return await self._carry("load", self._backlog)

    def _backlog(self) -> list[BacklogLine]:
        rows_of: dict[str, list[Any]] = {}
        for row in self.database.rows[self.flow].values():
            if row.state not in self.layout.ended:
                rows_of.setdefault(row.state.value, []).append(row)
        return [
            BacklogLine(
                flow=self.flow,
                state=state,
                count=len(rows),
                oldest_at=min(row.created_at for row in rows),
                quarantined_count=sum(row.faults_count >= FAULTS_MAX for row in rows),
            )
            for state, rows in rows_of.items()
        ]

    async def _alone(self, operation: str, write: Callable[[], T]) -> T:
        def transact() -> T:
            with self.database.transaction():
                return write()

        return await self._carry(operation, transact)


class GatewayTable(MemoryTable, sagas.SagaTable[Any]):
    """One of the gateway's flows."""

    @override
    async def page(self, *arguments: object) -> list[Any]:
        raise AssertionError("nobody pages here")

    @override
    async def find_request(self, merchant_id: str, request_id: str) -> Any:
        find = partial(self.database.find_request, self.flow, merchant_id, request_id)
        return await self._carry("load", find)


class MemoryStore(SagaStore):
    """All flows."""

    def __init__(
        self,
        database: Database,
        carry: Carry = at_once,
        *,
        layouts: Mapping[str, Layout] = LAYOUTS,
        on_claim: Callable[[MemoryTable], None] = lambda table: None,
    ) -> None:
        self.database = database
        self._carry = carry

        def flow(name: str) -> Any:
            return GatewayTable(database, layouts[name], carry, self._write_beside, on_claim)

        self.payments = flow("payment")
        self.captures = flow("capture")
        self.refunds = flow("refund")
        self.payouts = flow("payout")

    @override
    async def create_follow_up(self, into: Any, new: Saved[F, Attempt]) -> F | None:
        return await self._carry("create", partial(self._create_follow_up, into, new))

    def _create_follow_up(self, into: MemoryTable, new: Saved[F, Attempt]) -> F | None:
        database, order = self.database, new.step.subject
        existing: F | None = database.find(into.layout, order)
        if existing is not None:
            return existing
        with database.transaction():
            if not self._reserve(order):
                return None
            into.write_new(new)
        return order

    @override
    async def find_attempt(self, channel_id: str, out_ref: str) -> Attempt | None:
        return await self._carry("load", partial(self.database.find_attempt, channel_id, out_ref))

    @override
    async def backlog(self) -> list[BacklogLine]:
        lines = [line for each in self.tables for line in await each.backlog()]
        waiting = [
            row
            for row in self.database.inbox.values()
            if row.result not in {"APPLIED", "DUPLICATE"}
        ]
        return lines + [
            BacklogLine(
                flow="callback",
                state=result,
                count=sum(row.result == result for row in waiting),
                oldest_at=min(row.received_at for row in waiting if row.result == result),
            )
            for result in sorted({row.result for row in waiting})
        ]

    @override
    async def unknown_by_channel(self) -> dict[str, int]:
        channel_ids = [
            row.channel_id
            for layout in LAYOUTS.values()
            for row in self.database.rows[layout.name].values()
            if row.state == "UNKNOWN"
            or (row.reason == saga.OUTCOME_UNKNOWN and row.state not in layout.ended)
        ]
        return dict(Counter(channel_ids))

    @override
    async def tell_bill(self, channel_id: str, day: date, now: datetime) -> None:
        def tell() -> None:
            self.database.bills_told.setdefault((channel_id, day), now)

        await self._carry("tell bill", tell)

    @override
    async def is_bill_told(self, channel_id: str, day: date) -> bool:
        return await self._carry("load", lambda: (channel_id, day) in self.database.bills_told)

    @override
    async def unknown_attempts(
        self, channel_id: str, start: datetime, end: datetime
    ) -> list[Attempt]:
        def find() -> list[Attempt]:
            found = [
                attempt
                for _, attempt in sorted(self.database.attempts.items())
                if attempt.channel_id == channel_id
                and attempt.state in _OPEN_STATES
                and start <= attempt.sent_at < end
            ]
            return found[:UNKNOWN_ATTEMPTS_MAX]

        return await self._carry("load", find)

    @override
    async def history(self, subject_id: str) -> list[tuple[datetime, str]]:
        return [
            (event.occurred_at, event.type)
            for event in self.database.events
            if event.subject_id == subject_id
        ]

    def _write_beside(self, step: Step[Any, Any]) -> None:
        subject, now = step.subject, step.subject.updated_at
        for said in step.beside:
            if isinstance(said, OpenCase):
                case_id = said.case_id(subject.version)
                case = Case(
                    case_id=case_id, opened_at=now, closed_at=None, resolution="", **asdict(said)
                )
                self.database.open_case(case)
            elif isinstance(said, CloseCase):
                self.database.close_case(said.subject_id, said.resolution, said.reason, now)
            elif isinstance(said, Step):
                self.refunds.write_new(Saved(step=said, events=()))  # type: ignore[attr-defined]  # it is one of ours
            elif isinstance(said, follow_up.Squared):
                self._square(subject, is_taken=said.is_taken)

    def _square(self, order: Capture | Refund, *, is_taken: bool) -> None:
        """What an order's end means for its payment."""
        if not is_taken:
            reservations.give_back(self.database, order)
        elif isinstance(order, Capture):
            reservations.settle_capture(self.database, order)

    def _reserve(self, order: Capture | Refund) -> bool:
        payment: Payment | None = self.database.rows["payment"].get(order.payment_id)
        if payment is None or not reservations.can_bear(payment, order):
            return False
        column = reservations.reserved_column(order)
        minor = getattr(payment, column) + order.amount_minor
        reservations.change_payment(self.database, payment, order.created_at, **{column: minor})
        return True
