"""Payments, refunds, payouts and their attempts in Postgres, written in batches, each batch one transaction.

Every update carries the version and epoch it was decided on: a row that has moved meanwhile is not written, and its writer gets
StaleWrite. One table spec a flow keeps the three flows on one path.
"""

from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Generic, TypeVar

import asyncpg
from typing_extensions import override

from libs import crashpoints
from libs.db import queries
from libs.db.errors import is_connection_lost
from libs.db.pool import Connection, Pool
from libs.events import log as event_log
from libs.events.log import NewEvent
from services.gateway.domain import payment as payments
from services.gateway.domain import payout as payouts
from services.gateway.domain import refund as refunds
from services.gateway.domain import saga
from services.gateway.domain.errors import StaleWrite
from services.gateway.domain.payment import Payment
from services.gateway.domain.payout import Payout
from services.gateway.domain.refund import Refund
from services.gateway.domain.saga import Attempt, Step

_SQL = queries.load(Path(__file__).parent / "sagas.sql")

_STATES = {
    "payment": list(payments.PaymentState),
    "refund": list(refunds.RefundState),
    "payout": list(payouts.PayoutState),
}

S = TypeVar("S", bound=Payment | Refund | Payout)
T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class NewSaga(Generic[S]):
    """A first step to be written, unless its (merchant, request_id) was written before."""

    step: Step[S]
    events: Sequence[NewEvent]


@dataclass(frozen=True, slots=True, kw_only=True)
class SavedStep(Generic[S]):
    """A later step to be written, with its events."""

    step: Step[S]
    events: Sequence[NewEvent]


@dataclass(frozen=True, slots=True, kw_only=True)
class BacklogLine:
    """How many subjects of one flow and state have not ended."""

    flow: str
    state: str
    count: int
    oldest_at: datetime


class SagaTable(Generic[S]):
    """The rows of one flow."""

    def __init__(self, pool: Pool, name: str, restore: Callable[[asyncpg.Record], S]) -> None:
        """`name` is the table's, singular; its queries carry it."""
        self._pool = pool
        self._name = name
        self._key = f"{name}_id"
        self._restore: Callable[[asyncpg.Record], S] = restore

    def key(self, subject: S) -> str:
        return str(getattr(subject, self._key))

    async def create(self, batch: Sequence[NewSaga[S]]) -> list[S | BaseException]:
        """Writes the new ones in one transaction; answers each with what stands under its request_id.

        A row that the database refuses is refused alone.
        """
        return await _each_if_refused(self._create, batch)

    async def _create(self, batch: Sequence[NewSaga[S]]) -> list[S | BaseException]:
        async with self._pool.acquire() as connection, connection.transaction():
            subjects = [new.step.subject for new in _unique(batch, _request_key)]
            inserted = await _keys(connection, f"insert_{self._name}s", subjects)
            fresh = [new for new in batch if self.key(new.step.subject) in inserted]
            await _write_attempts(connection, (new.step for new in fresh))
            await event_log.append(connection, [event for new in fresh for event in new.events])
            crashpoints.reach("K1")
            if len(fresh) == len(batch):
                return [new.step.subject for new in batch]
            rows = await connection.fetch(
                _SQL[f"find_{self._name}s_by_request"],
                [new.step.subject.merchant_id for new in batch],
                [new.step.subject.request_id for new in batch],
            )
        stored = {(row["merchant_id"], row["request_id"]): self._restore(row) for row in rows}
        return [stored[_request_key(new)] for new in batch]

    async def save(self, batch: Sequence[SavedStep[S]]) -> list[S | BaseException]:
        """Writes the steps that are still current in one transaction; StaleWrite for each that is not.

        A row that the database refuses is refused alone.
        """
        return await _each_if_refused(self._save, batch)

    async def _save(self, batch: Sequence[SavedStep[S]]) -> list[S | BaseException]:
        async with self._pool.acquire() as connection, connection.transaction():
            current = _unique(batch, lambda saved: self.key(saved.step.subject))
            keys = [self.key(saved.step.subject) for saved in current]
            # In one order everywhere, so that two replicas saving the same rows take turns.
            await connection.execute(_SQL[f"lock_{self._name}s"], keys)
            written = await _keys(
                connection, f"update_{self._name}s", [saved.step.subject for saved in current]
            )
            fresh = [saved for saved in current if self.key(saved.step.subject) in written]
            await _write_attempts(connection, (saved.step for saved in fresh))
            await event_log.append(connection, [event for saved in fresh for event in saved.events])
            await self._after_save(connection, [saved.step.subject for saved in fresh])
        kept = {id(saved) for saved in fresh}
        return [saved.step.subject if id(saved) in kept else StaleWrite() for saved in batch]

    async def load(self, subject_id: str) -> tuple[S, tuple[Attempt, ...]] | None:
        """The subject and its attempts, oldest first."""
        async with self._pool.acquire() as connection:
            row = await connection.fetchrow(_SQL[f"get_{self._name}"], subject_id)
            if row is None:
                return None
            attempts = await connection.fetch(_SQL["get_attempts"], [subject_id])
        return self._restore(row), tuple(_attempt(attempt) for attempt in attempts)

    async def claim(self, now: datetime, lease_until: datetime, limit: int) -> list[S]:
        """Takes over due rows: each gets a new epoch, so that whoever had it before can write no more.

        A row in a state of a later release is left to the replicas that know it.
        """
        rows = await self._pool.fetch(
            _SQL[f"claim_{self._name}s"], now, lease_until, limit, _STATES[self._name]
        )
        return [self._restore(row) for row in rows]

    async def page(self, *arguments: object) -> list[S]:
        """Rows of list_<name>s, newest first; the arguments are the query's."""
        rows = await self._pool.fetch(_SQL[f"list_{self._name}s"], *arguments)
        return [self._restore(row) for row in rows]

    async def _after_save(self, connection: Connection, subjects: Sequence[S]) -> None:
        """What else the same transaction must do for the rows just written."""


class _RefundTable(SagaTable[Refund]):
    """A refund that failed frees what it had reserved of its payment."""

    @override
    async def _after_save(self, connection: Connection, subjects: Sequence[Refund]) -> None:
        for refund in sorted(subjects, key=lambda refund: refund.payment_id):
            if refund.reason == refunds.LATE_SUCCESS:
                # As far as the payment still bears it; whether it does, the person will see.
                await connection.fetch(
                    _SQL["reserve_refund"],
                    refund.payment_id,
                    refund.amount_minor,
                    refund.updated_at,
                )
            elif refund.state is refunds.RefundState.FAILED:
                await connection.execute(
                    _SQL["give_back_refund"],
                    refund.payment_id,
                    refund.amount_minor,
                    refund.updated_at,
                )


class SagaStore:
    """All three flows, and what crosses them."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self.payments = SagaTable[Payment](pool, "payment", _payment)
        self.refunds = _RefundTable(pool, "refund", _refund)
        self.payouts = SagaTable[Payout](pool, "payout", _payout)

    async def create_refund(self, new: NewSaga[Refund]) -> Refund | None:
        """Reserves the amount and writes the intent in one transaction.

        None when the payment cannot bear it. A request_id written before answers that refund and reserves nothing.
        """
        refund = new.step.subject
        async with self._pool.acquire() as connection, connection.transaction():
            existing = await connection.fetchrow(
                _SQL["find_refunds_by_request"], [refund.merchant_id], [refund.request_id]
            )
            if existing is not None:
                return _refund(existing)
            reserved = await connection.fetchrow(
                _SQL["reserve_refund"], refund.payment_id, refund.amount_minor, refund.created_at
            )
            if reserved is None:
                return None
            inserted = await _keys(connection, "insert_refunds", [refund])
            if not inserted:
                # The same request came twice at once and the other one was first: undo the reservation by leaving.
                raise StaleWrite("the same refund is being written by another call")
            await _write_attempts(connection, [new.step])
            await event_log.append(connection, new.events)
            crashpoints.reach("K1")
        crashpoints.reach("K2")
        return refund

    async def find_attempt(self, channel_id: str, out_ref: str) -> Attempt | None:
        """The attempt a channel knows by this reference."""
        row = await self._pool.fetchrow(_SQL["find_attempt"], channel_id, out_ref)
        return None if row is None else _attempt(row)

    async def attempts_of(self, subject_id: str) -> tuple[Attempt, ...]:
        rows = await self._pool.fetch(_SQL["get_attempts"], [subject_id])
        return tuple(_attempt(row) for row in rows)

    async def backlog(self) -> list[BacklogLine]:
        rows = await self._pool.fetch(_SQL["backlog"])
        return [BacklogLine(**dict(row)) for row in rows]

    async def history(self, subject_id: str) -> list[tuple[datetime, str]]:
        """(when, event type) of everything told about a subject."""
        rows = await self._pool.fetch(_SQL["events_of"], subject_id)
        return [(row["occurred_at"], row["type"]) for row in rows]


async def nudge_in_review(
    connection: Connection, evaluation_ids: Sequence[str], now: datetime
) -> None:
    """Makes what waits for these decisions due, in the caller's transaction."""
    for name in ("payments", "payouts"):
        await connection.execute(_SQL[f"nudge_{name}_in_review"], list(evaluation_ids), now)


async def _each_if_refused(
    write: Callable[[Sequence[T]], Awaitable[list[S | BaseException]]], batch: Sequence[T]
) -> list[S | BaseException]:
    """One transaction for all; if the database refuses it, one for each, so that one bad row harms no other."""
    try:
        return await write(batch)
    except asyncpg.PostgresError as error:
        if is_connection_lost(error) or len(batch) == 1:
            raise
    results: list[S | BaseException] = []
    for item in batch:
        try:
            results += await write([item])
        except asyncpg.PostgresError as error:
            if is_connection_lost(error):
                raise
            results.append(error)
    return results


async def _keys(connection: Connection, query: str, subjects: Sequence[S]) -> set[str]:
    rows = await connection.fetch(_SQL[query], _rows(subjects))
    return {row[0] for row in rows}


async def _write_attempts(connection: Connection, steps: Iterable[Step[Any]]) -> None:
    attempts = [attempt for step in steps for attempt in step.attempts]
    if attempts:
        await connection.execute(_SQL["upsert_attempts"], _rows(attempts))


def _rows(values: Sequence[Any]) -> Any:
    """Dataclasses as what the jsonb codec takes: orjson writes dataclasses, enums and datetimes by itself."""
    return list(values)


def _unique(batch: Sequence[T], key: Callable[[T], object]) -> list[T]:
    """The first of each key: one statement must not touch a row twice."""
    first: dict[object, T] = {}
    for item in batch:
        first.setdefault(key(item), item)
    return list(first.values())


def _request_key(new: NewSaga[S]) -> tuple[str, str]:
    return new.step.subject.merchant_id, new.step.subject.request_id


def _payment(row: asyncpg.Record) -> Payment:
    values = dict(row)
    return Payment(
        **{**values, "state": payments.PaymentState(row["state"]), "plan": tuple(row["plan"])}
    )


def _refund(row: asyncpg.Record) -> Refund:
    return Refund(**{**dict(row), "state": refunds.RefundState(row["state"])})


def _payout(row: asyncpg.Record) -> Payout:
    return Payout(
        **{**dict(row), "state": payouts.PayoutState(row["state"]), "plan": tuple(row["plan"])}
    )


def _attempt(row: asyncpg.Record) -> Attempt:
    return Attempt(**{**dict(row), "state": saga.AttemptState(row["state"])})
