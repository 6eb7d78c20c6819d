"""The rows of one flow in Postgres, written in batches, each batch one transaction.

Every update carries the version and epoch it was decided on: a row that has moved meanwhile is not written, and its writer gets
StaleWrite. One set of statements serves every flow; a spec names its table and columns.
"""

import dataclasses
import re
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from operator import attrgetter
from pathlib import Path
from typing import Any, Final, Generic, TypeVar

import asyncpg

from libs import crashpoints
from libs.db import queries
from libs.db.errors import is_connection_lost
from libs.db.pool import Connection, Pool
from libs.events import log as event_log
from libs.events.log import NewEvent
from libs.saga.flow import (
    FAULT_TEXT_MAX,
    FAULTS_MAX,
    LEASE_S,
    OVERDUE_S,
    FlowTooNew,
    StaleWrite,
    Step,
    Subject,
)

_SQL: Final = queries.load(Path(__file__).parent / "table.sql")
# What every flow's row has besides its own columns; migrations put it into the flow's CREATE TABLE.
COLUMNS_SQL: Final = """
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL,
    next_run_at timestamptz,
    version bigint NOT NULL,
    epoch bigint NOT NULL,
    flow_version int NOT NULL,
    faults_count int NOT NULL,
    last_fault text NOT NULL
"""

S = TypeVar("S", bound=Subject)
A = TypeVar("A")
T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Saved(Generic[S, A]):
    """A step to be written, with the events that tell it."""

    step: Step[S, A]
    events: Sequence[NewEvent]


@dataclass(frozen=True, slots=True, kw_only=True)
class BacklogLine:
    """How many subjects of one flow and state have not ended, and how many of them are quarantined."""

    flow: str
    state: str
    count: int
    oldest_at: datetime
    quarantined_count: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class TableSpec(Generic[S, A]):
    """One flow's table."""

    flow: str
    """The flow's name and its table's."""
    identity: tuple[str, ...]
    """Columns that make a second creation the first one again."""
    changing: tuple[str, ...]
    """Columns of its own that steps change."""
    states: Collection[str]
    """Every state this release knows."""
    ended: Collection[str]
    """Those that nothing follows."""
    resting: Collection[str] = ()
    """Those that wait for somebody's wish: not ended, and no backlog."""
    flow_version: int
    """This release's flow."""
    restore: Callable[[asyncpg.Record], S]
    attempts_of: Callable[[Connection, str], Awaitable[tuple[A, ...]]]
    """A subject's attempts, oldest first."""
    write_beside: Callable[[Connection, Sequence[Step[S, A]]], Awaitable[None]]
    """What the transaction that writes these steps writes besides: their attempts, and what the steps say."""

    @property
    def key(self) -> str:
        return f"{self.flow}_id"

    def statements(self) -> Mapping[str, str]:
        """The statements with this flow's names. They are constants of the code, never anybody's input."""
        names = {
            "{table}": self.flow,
            "{key}": self.key,
            "{identity}": ", ".join(self.identity),
            "{changes}": ", ".join(f"{column} = new.{column}" for column in self.changing),
        }
        mark = re.compile("|".join(map(re.escape, names)))
        return {
            name: mark.sub(lambda found: names[found.group()], text) for name, text in _SQL.items()
        }


class SagaTable(Generic[S, A]):
    """Where one flow's subjects stand."""

    def __init__(self, pool: Pool, spec: TableSpec[S, A]) -> None:
        self._pool = pool
        self._spec = spec
        self._sql = spec.statements()
        self._ended = sorted(spec.ended)

    @property
    def flow(self) -> str:
        return self._spec.flow

    def key(self, subject: S) -> str:
        return str(getattr(subject, self._spec.key))

    async def create(self, batch: Sequence[Saved[S, A]]) -> list[S | BaseException]:
        """Writes the new ones in one transaction; answers each with what stands under its identity.

        All are taken for new at first, as they nearly always are: to ask the database about each costs every one of them something.
        A row that the database refuses is refused alone.
        """
        return await _each_if_refused(self._create, batch)

    async def save(self, batch: Sequence[Saved[S, A]]) -> list[S | BaseException]:
        """Writes the steps that are still current in one transaction; StaleWrite for each that is not.

        A row that the database refuses is refused alone.
        """
        return await _each_if_refused(self._save, batch)

    async def insert(self, connection: Connection, batch: Sequence[Saved[S, A]]) -> set[str]:
        """Writes new ones in the caller's transaction; the keys of those that were new."""
        subjects = [new.step.subject for new in batch]
        inserted = {row[0] for row in await connection.fetch(self._sql["insert"], rows(subjects))}
        fresh = [new for new in batch if self.key(new.step.subject) in inserted]
        await self._write(connection, fresh)
        return inserted

    async def find(self, connection: Connection, subject: S) -> S | None:
        """What stands under this subject's identity, in the caller's transaction."""
        row = await connection.fetchrow(self._sql["find"], rows([subject]))
        return None if row is None else self._spec.restore(row)

    async def load(self, subject_id: str) -> tuple[S, tuple[A, ...]] | None:
        """The subject and its attempts, oldest first. Raises FlowTooNew."""
        async with self._pool.acquire() as connection:
            row = await connection.fetchrow(self._sql["load"], subject_id)
            if row is None:
                return None
            if (
                row["state"] not in self._spec.states
                or row["flow_version"] > self._spec.flow_version
            ):
                raise FlowTooNew(f"{self._spec.flow} {row['state']} is of a later release")
            return self._spec.restore(row), await self._spec.attempts_of(connection, subject_id)

    async def claim(self, now: datetime, limit: int) -> list[S]:
        """Takes over due rows: each gets a new epoch, so that whoever had it before can write no more.

        Left alone: what a later release has written, which its replicas must go on with, and what was taken up FAULTS_MAX times
        without getting anywhere.
        """
        claimed = await self._pool.fetch(
            self._sql["claim"],
            now,
            LEASE_S,
            limit,
            list(self._spec.states),
            self._spec.flow_version,
            FAULTS_MAX,
        )
        return [self._spec.restore(row) for row in claimed]

    async def attempts_of(self, subject_id: str) -> tuple[A, ...]:
        async with self._pool.acquire() as connection:
            return await self._spec.attempts_of(connection, subject_id)

    async def hand_over(self, owned: Sequence[S], now: datetime) -> int:
        """Makes these due now, unless somebody else has them by now; how many."""
        keys, epochs = [self.key(each) for each in owned], [each.epoch for each in owned]
        status = await self._pool.execute(self._sql["hand_over"], keys, epochs, now)
        return int(status.rpartition(" ")[2])

    async def note_fault(self, subject: S, fault: str) -> None:
        """Keeps what broke, for the person who will look."""
        await self._pool.execute(
            self._sql["note_fault"], self.key(subject), subject.epoch, fault[:FAULT_TEXT_MAX]
        )

    async def retry(self, subject_id: str, now: datetime) -> S | None:
        """Makes one with something left to do due now and forgets its faults; None when there is none such."""
        row = await self._pool.fetchrow(self._sql["retry"], subject_id, now, self._ended)
        return None if row is None else self._spec.restore(row)

    async def stuck(self, now: datetime, limit: int) -> list[S]:
        """What stands before a person, is quarantined, or was due OVERDUE_S ago; oldest first."""
        overdue_before = now - timedelta(seconds=OVERDUE_S)
        found = await self._pool.fetch(self._sql["stuck"], overdue_before, FAULTS_MAX, limit)
        return [self._spec.restore(row) for row in found]

    async def backlog(self) -> list[BacklogLine]:
        """What there is to do, by state."""
        quiet = [*self._ended, *self._spec.resting]
        lines = await self._pool.fetch(self._sql["backlog"], quiet, FAULTS_MAX)
        return [BacklogLine(flow=self._spec.flow, **dict(line)) for line in lines]

    async def _create(self, batch: Sequence[Saved[S, A]]) -> list[S | BaseException]:
        try:
            return await self._create_new(batch)
        except asyncpg.UniqueViolationError:
            return await self._create_or_find(batch)

    async def _create_new(self, batch: Sequence[Saved[S, A]]) -> list[S | BaseException]:
        subjects = [new.step.subject for new in batch]
        async with self._pool.acquire() as connection, connection.transaction():
            names = columns(type(subjects[0]))
            await connection.copy_records_to_table(
                self._spec.flow, columns=names, records=list(map(attrgetter(*names), subjects))
            )
            await self._write(connection, batch)
            crashpoints.reach("K1")
        return list(subjects)

    async def _create_or_find(self, batch: Sequence[Saved[S, A]]) -> list[S | BaseException]:
        async with self._pool.acquire() as connection, connection.transaction():
            unique = _unique(batch, self._identity)
            inserted = await self.insert(connection, unique)
            crashpoints.reach("K1")
            if len(inserted) == len(batch):
                return [new.step.subject for new in batch]
            found = await connection.fetch(
                self._sql["find"], rows([new.step.subject for new in unique])
            )
        stored = {self._identity_of(row): self._spec.restore(row) for row in found}
        return [stored[self._identity(new)] for new in batch]

    async def _save(self, batch: Sequence[Saved[S, A]]) -> list[S | BaseException]:
        current = _unique(batch, lambda saved: self.key(saved.step.subject))
        subjects = [saved.step.subject for saved in current]
        async with self._pool.acquire() as connection, connection.transaction():
            # In one order everywhere, so that two replicas saving the same rows take turns.
            await connection.execute(self._sql["lock"], [self.key(each) for each in subjects])
            updated = await connection.fetch(
                self._sql["update"], rows(subjects), self._spec.flow_version
            )
            written = {row[0] for row in updated}
            fresh = [saved for saved in current if self.key(saved.step.subject) in written]
            await self._write(connection, fresh)
        kept = {id(saved) for saved in fresh}
        return [saved.step.subject if id(saved) in kept else StaleWrite() for saved in batch]

    async def _write(self, connection: Connection, saved: Sequence[Saved[S, A]]) -> None:
        if saved:
            await self._spec.write_beside(connection, [each.step for each in saved])
            await event_log.append(connection, [event for each in saved for event in each.events])

    def _identity(self, new: Saved[S, A]) -> tuple[object, ...]:
        return tuple(getattr(new.step.subject, column) for column in self._spec.identity)

    def _identity_of(self, row: asyncpg.Record) -> tuple[object, ...]:
        return tuple(row[column] for column in self._spec.identity)


def rows(values: Sequence[Any]) -> Any:
    """Dataclasses as what the jsonb codec takes: orjson writes dataclasses, enums and datetimes by itself."""
    return list(values)


def columns(kind: type[Any]) -> tuple[str, ...]:
    """The names of a dataclass's fields, which are its row's columns."""
    return tuple(field.name for field in dataclasses.fields(kind))


def _unique(batch: Sequence[T], key: Callable[[T], object]) -> list[T]:
    """The first of each key: one statement must not touch a row twice."""
    first: dict[object, T] = {}
    for item in batch:
        first.setdefault(key(item), item)
    return list(first.values())


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
