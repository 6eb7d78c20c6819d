"""The gateway's stores over the database in memory. tests/contract/test_saga_store.py holds them to what the real ones do."""

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from functools import partial
from typing import Protocol, TypeVar, cast

from typing_extensions import override

from libs.db.pool import Pool
from libs.events.log import StoredEvent
from services.gateway.domain import refund as refunds
from services.gateway.domain.errors import StaleWrite
from services.gateway.domain.payment import Payment, PaymentState
from services.gateway.domain.payout import Payout
from services.gateway.domain.refund import Refund, RefundState
from services.gateway.domain.saga import Attempt
from services.gateway.store.registry import Registry
from services.gateway.store.sagas import NewSaga, SagaStore, SagaTable, SavedStep
from tests.simulation.database import Database

S = TypeVar("S", bound=Payment | Refund | Payout)
T = TypeVar("T")

_NO_POOL = cast(Pool, None)


class Carry(Protocol):
    """How a transaction travels to the database and its result back."""

    async def __call__(self, operation: str, transact: Callable[[], T]) -> T: ...


async def at_once(operation: str, transact: Callable[[], T]) -> T:
    """Without a network."""
    return transact()


class MemoryTable(SagaTable[S]):
    """One flow's rows."""

    def __init__(self, database: Database, name: str, carry: Carry) -> None:
        super().__init__(_NO_POOL, name, lambda row: cast(S, row))
        self._database = database
        self._carry = carry

    @override
    async def _create(self, batch: Sequence[NewSaga[S]]) -> list[S | BaseException]:
        return await self._carry("create", partial(self._insert, batch))

    def _insert(self, batch: Sequence[NewSaga[S]]) -> list[S | BaseException]:
        database = self._database
        with database.transaction():
            for new in batch:
                if database.insert(self._name, new.step.subject):
                    for attempt in new.step.attempts:
                        database.upsert_attempt(attempt)
                    database.append(new.events)
            return [database.find_by_request(self._name, new.step.subject) for new in batch]

    @override
    async def _save(self, batch: Sequence[SavedStep[S]]) -> list[S | BaseException]:
        return await self._carry("save", partial(self._update, batch))

    def _update(self, batch: Sequence[SavedStep[S]]) -> list[S | BaseException]:
        with self._database.transaction():
            return [self._update_one(saved) for saved in batch]

    def _update_one(self, saved: SavedStep[S]) -> S | BaseException:
        database, subject = self._database, saved.step.subject
        if not database.update(self._name, subject):
            return StaleWrite()
        for attempt in saved.step.attempts:
            database.upsert_attempt(attempt)
        database.append(saved.events)
        if isinstance(subject, Refund):
            change_minor = reserved_change_minor(database.rows["payment"], subject)
            if change_minor:
                _reserve(database, subject.payment_id, change_minor, subject.updated_at)
        return subject

    @override
    async def load(self, subject_id: str) -> tuple[S, tuple[Attempt, ...]] | None:
        return await self._carry("load", partial(self._load, subject_id))

    def _load(self, subject_id: str) -> tuple[S, tuple[Attempt, ...]] | None:
        row = self._database.rows[self._name].get(subject_id)
        return None if row is None else (row, self._database.attempts_of(subject_id))

    @override
    async def claim(self, now: datetime, lease_until: datetime, limit: int) -> list[S]:
        return await self._carry("claim", partial(self._claim, now, lease_until, limit))

    def _claim(self, now: datetime, lease_until: datetime, limit: int) -> list[S]:
        with self._database.transaction():
            return self._database.claim(self._name, now, lease_until, limit)


class MemoryStore(SagaStore):
    """All three flows."""

    def __init__(self, database: Database, carry: Carry = at_once) -> None:
        super().__init__(_NO_POOL)
        self._database = database
        self._carry = carry
        self.payments = MemoryTable[Payment](database, "payment", carry)
        self.refunds: MemoryTable[Refund] = MemoryTable(database, "refund", carry)  # type: ignore[assignment]  # the other one's helper class is private
        self.payouts = MemoryTable[Payout](database, "payout", carry)

    @override
    async def create_refund(self, new: NewSaga[Refund]) -> Refund | None:
        return await self._carry("create", partial(self._create_refund, new))

    def _create_refund(self, new: NewSaga[Refund]) -> Refund | None:
        database, refund = self._database, new.step.subject
        existing: Refund | None = database.find_by_request("refund", refund)
        if existing is not None:
            return existing
        payment: Payment | None = database.rows["payment"].get(refund.payment_id)
        if payment is None or not can_bear(payment, refund):
            return None
        with database.transaction():
            _reserve(database, refund.payment_id, refund.amount_minor, refund.created_at)
            database.insert("refund", refund)
            for attempt in new.step.attempts:
                database.upsert_attempt(attempt)
            database.append(new.events)
        return refund

    @override
    async def find_attempt(self, channel_id: str, out_ref: str) -> Attempt | None:
        return await self._carry("load", partial(self._database.find_attempt, channel_id, out_ref))

    @override
    async def attempts_of(self, subject_id: str) -> tuple[Attempt, ...]:
        return await self._carry("load", partial(self._database.attempts_of, subject_id))

    @override
    async def history(self, subject_id: str) -> list[tuple[datetime, str]]:
        return [
            (event.occurred_at, event.type)
            for event in self._database.events
            if event.subject_id == subject_id
        ]


def can_bear(payment: Payment, refund: Refund) -> bool:
    """Whether so much of a payment can still be given back."""
    return (
        payment.state is PaymentState.SUCCEEDED
        and payment.refunded_minor + refund.amount_minor <= payment.amount_minor
    )


def reserved_change_minor(payments: Mapping[str, Payment], refund: Refund) -> int:
    """What a refund's step changes of its payment's reservation."""
    if refund.reason == refunds.LATE_SUCCESS:
        return refund.amount_minor if can_bear(payments[refund.payment_id], refund) else 0
    return -refund.amount_minor if refund.state is RefundState.FAILED else 0


def _reserve(database: Database, payment_id: str, change_minor: int, now: datetime) -> None:
    payment: Payment = database.rows["payment"][payment_id]
    database.change(
        "payment",
        payment_id,
        refunded_minor=payment.refunded_minor + change_minor,
        version=payment.version + 1,
        updated_at=now,
    )


class MemoryRegistry(Registry):
    """The callback inbox, the event log and its cursors."""

    def __init__(self, database: Database, carry: Carry = at_once) -> None:
        super().__init__(_NO_POOL)
        self._database = database
        self._carry = carry

    @override
    async def receive_callback(
        self, channel_id: str, headers: Mapping[str, str], body: bytes, now: datetime
    ) -> int:
        return await self._write("receive", partial(self._database.receive, channel_id, body, now))

    @override
    async def settle_callback(
        self, inbox_id: int, *, event_id: str, out_ref: str, result: str
    ) -> None:
        await self._write(
            "settle", partial(self._database.settle, inbox_id, event_id, out_ref, result)
        )

    @override
    async def is_callback_applied(self, channel_id: str, event_id: str) -> bool:
        return await self._carry("load", partial(self._database.is_applied, channel_id, event_id))

    @override
    async def callbacks_of(self, channel_id: str, out_ref: str) -> list[tuple[datetime, str]]:
        return [
            (row.received_at, row.result)
            for row in self._database.inbox.values()
            if (row.channel_id, row.out_ref) == (channel_id, out_ref)
        ]

    @override
    async def read_events(self, cursor: str, limit: int) -> list[StoredEvent]:
        return await self._carry("load", partial(self._database.read, cursor, limit))

    @override
    async def get_cursor(self, consumer: str) -> str:
        return await self._carry("load", lambda: self._database.cursors.get(consumer, ""))

    @override
    async def move_cursor(self, consumer: str, before: str, after: str) -> str:
        return await self._write(
            "cursor", partial(self._database.move_cursor, consumer, before, after)
        )

    async def _write(self, operation: str, write: Callable[[], T]) -> T:
        def transact() -> T:
            with self._database.transaction():
                return write()

        return await self._carry(operation, transact)
