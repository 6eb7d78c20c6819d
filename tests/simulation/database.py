"""A service's database in memory: what Postgres promises of its tables, a transaction at a time."""

import contextlib
import heapq
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta
from operator import attrgetter
from typing import Any, Final, TypeAlias

import asyncpg

from libs.audit import GENESIS, NewRecord, Record, seal
from libs.events.log import NewEvent, StoredEvent
from libs.saga import flow
from libs.saga.table import TableSpec, columns
from services.gateway.domain.cases import Case
from services.gateway.domain.forcing import Force
from services.gateway.domain.payment import Payment, PaymentState
from services.gateway.domain.saga import Attempt

Observer: TypeAlias = Callable[[str, Any, Any], None]

# What every step of every flow writes, besides the flow's own columns.
_STEPPED: Final = (
    "state",
    "updated_at",
    "next_run_at",
    "version",
    "faults_count",
    "last_fault",
    "flow_version",
)
_UPDATED_ATTEMPT: Final = (
    "state",
    "provider_ref",
    "code",
    "latency_ms",
    "fee_minor",
    "sent_at",
    "answered_at",
)
_MISSING: Final = object()


class Layout:
    """What the database knows of one flow's columns."""

    def __init__(self, spec: TableSpec[Any, Any], kind: type[Any]) -> None:
        self.name = spec.flow
        self.flow_version = spec.flow_version
        self.states = frozenset(spec.states)
        self.ended = frozenset(spec.ended)
        self.key: Callable[[Any], str] = attrgetter(spec.key)
        self.identity: Callable[[Any], Any] = attrgetter(*spec.identity)
        self.stepped = (*_STEPPED, *spec.changing)
        self.fixed: Callable[[Any], Any] = attrgetter(
            *(column for column in columns(kind) if column not in self.stepped)
        )

    def of_release(self, flow_version: int, states: Sequence[str]) -> "Layout":
        """The same as an earlier release knows it."""
        older = Layout.__new__(Layout)
        vars(older).update(vars(self) | {"flow_version": flow_version, "states": frozenset(states)})
        return older


@dataclass(frozen=True, slots=True)
class InboxRow:
    """A notification as it came, and what became of it."""

    inbox_id: int
    channel_id: str
    body: bytes
    received_at: datetime
    event_id: str = ""
    out_ref: str = ""
    result: str = "RECEIVED"


class Database:
    """Tables, and transactions that happen wholly or not at all. Nothing here waits, so each is alone."""

    def __init__(self) -> None:
        self.rows: dict[str, dict[str, Any]] = defaultdict(dict)
        self.attempts: dict[tuple[str, int], Attempt] = {}
        self.events: list[StoredEvent] = []
        self.inbox: dict[int, InboxRow] = {}
        self.cursors: dict[str, str] = {}
        self.cases: dict[str, Case] = {}
        self.forces: dict[str, Force] = {}
        self.records: list[Record] = []
        self.bills_told: dict[tuple[str, date], datetime] = {}
        self.observers: list[Observer] = []
        # Told when a row of a flow is to be due at some time, and when there are new events.
        self.on_due: Callable[[str, datetime], None] = lambda name, due_at: None
        self.on_news: Callable[[], None] = lambda: None
        self.fenced_count = 0
        self.handed_count = 0
        # Who runs the transaction, and who has written each row in its epoch.
        self.actor: object = None
        self.owners: dict[str, set[object]] = {}
        # Rows written by somebody who no longer owned them, or by an older release; must stay empty.
        self.usurped: list[str] = []
        self._by_identity: dict[tuple[str, Any], str] = {}
        self._by_reference: dict[tuple[str, str], tuple[str, int]] = {}
        self._numbers: dict[str, list[int]] = {}
        self._event_ids: dict[str, bool] = {}
        self._applied: dict[tuple[str, str], bool] = {}
        self._due: dict[str, list[tuple[datetime, str]]] = defaultdict(list)
        self._undo: list[tuple[dict[Any, Any], Any, Any]] = []

    @contextlib.contextmanager
    def transaction(self) -> Iterator[None]:
        """All that is written inside stands, or nothing if it raises."""
        self._undo = []
        events_count, records_count = len(self.events), len(self.records)
        try:
            yield
        except BaseException:
            for table, key, old in reversed(self._undo):
                if old is _MISSING:
                    del table[key]
                else:
                    table[key] = old
            del self.events[events_count:]
            del self.records[records_count:]
            raise

    def insert(self, layout: Layout, subject: Any) -> bool:
        """False when its identity is taken. Raises UniqueViolationError when its own id is."""
        key, identity = layout.key(subject), (layout.name, layout.identity(subject))
        if identity in self._by_identity:
            return False
        if key in self.rows[layout.name]:
            raise asyncpg.UniqueViolationError(f"{layout.name} {key} exists")
        if subject.flow_version > layout.flow_version:
            subject = replace(subject, flow_version=layout.flow_version)
        self.put(self._by_identity, identity, key)
        self._write(layout.name, key, None, subject)
        self.owners[key] = {self.actor}
        return True

    def find(self, layout: Layout, subject: Any) -> Any:
        """What stands under this subject's identity."""
        key = self._by_identity.get((layout.name, layout.identity(subject)))
        return None if key is None else self.rows[layout.name][key]

    def find_request(self, name: str, merchant_id: str, request_id: str) -> Any:
        key = self._by_identity.get((name, (merchant_id, request_id)))
        return None if key is None else self.rows[name][key]

    def update(self, layout: Layout, new: Any) -> bool:
        """Writes a row that still stands as it was when it was decided; False when it does not."""
        key = layout.key(new)
        old = self.rows[layout.name].get(key)
        if old is None or not is_current(old, new):
            self.fenced_count += old is not None and old.epoch > new.epoch
            return False
        if old.epoch != new.epoch or old.flow_version > layout.flow_version:
            self.usurped.append(key)
        written_by = max(old.flow_version, layout.flow_version)
        if new.flow_version != written_by:
            new = replace(new, flow_version=written_by)
        if layout.fixed(old) != layout.fixed(new):
            new = replace(old, **{column: getattr(new, column) for column in layout.stepped})
        self._write(layout.name, key, old, new)
        self.owners.setdefault(key, set()).add(self.actor)
        return True

    def change(self, name: str, key: str, **changes: Any) -> None:
        """Writes these columns of a row, whatever it stands at."""
        old = self.rows[name][key]
        self._write(name, key, old, replace(old, **changes))

    def next_due(self, layout: Layout) -> datetime | None:
        """When the first row is due that may be claimed."""
        heap, aside = self._due[layout.name], []
        rows, found = self.rows[layout.name], None
        while heap:
            due_at, key = heap[0]
            row = rows.get(key)
            if row is not None and row.next_run_at == due_at:
                if is_claimable(layout, row):
                    found = due_at
                    break
                aside.append(heap[0])
            heapq.heappop(heap)
        for entry in aside:
            heapq.heappush(heap, entry)
        return found

    def claim(self, layout: Layout, now: datetime, limit: int) -> list[Any]:
        """Takes over due rows, the longest due first."""
        heap, aside = self._due[layout.name], []
        rows = self.rows[layout.name]
        claimed: list[Any] = []
        while heap and heap[0][0] <= now and len(claimed) < limit:
            due_at, key = heapq.heappop(heap)
            row = rows.get(key)
            if row is None or row.next_run_at != due_at:
                continue
            if not is_claimable(layout, row):
                aside.append((due_at, key))
                continue
            if row.flow_version > layout.flow_version:
                self.usurped.append(key)
            taken = taken_over(row, now)
            self._write(layout.name, key, row, taken)
            self.owners[key] = {self.actor}
            claimed.append(taken)
        for entry in aside:
            heapq.heappush(heap, entry)
        return claimed

    def hand_over(self, layout: Layout, owned: Sequence[Any], now: datetime) -> int:
        """Makes rows due that nobody has taken over since; how many."""
        count = 0
        for subject in owned:
            key = layout.key(subject)
            row = self.rows[layout.name].get(key)
            if row is not None and is_still_owned(row, subject) and row.next_run_at is not None:
                if row.next_run_at <= now:
                    continue
                if self.actor not in self.owners.get(key, ()):
                    self.usurped.append(key)
                self._write(layout.name, key, row, replace(row, next_run_at=now))
                count += 1
        self.handed_count += count
        return count

    def upsert_attempt(self, new: Attempt) -> None:
        """Raises UniqueViolationError for a reference of another."""
        key, reference = (new.subject_id, new.number), (new.channel_id, new.out_ref)
        known = self.attempts.get(key)
        if known is None and reference in self._by_reference:
            raise asyncpg.UniqueViolationError(f"{reference} is taken")
        if known is None:
            self.put(self.attempts, key, new)
            self.put(self._by_reference, reference, key)
            numbers = sorted((*self._numbers.get(new.subject_id, ()), new.number))
            self.put(self._numbers, new.subject_id, numbers)
        elif known is not new:
            changes: dict[str, Any] = {name: getattr(new, name) for name in _UPDATED_ATTEMPT}
            self.put(self.attempts, key, replace(known, **changes))

    def attempts_of(self, subject_id: str) -> tuple[Attempt, ...]:
        numbers = self._numbers.get(subject_id, ())
        return tuple(self.attempts[subject_id, number] for number in numbers)

    def find_attempt(self, channel_id: str, out_ref: str) -> Attempt | None:
        key = self._by_reference.get((channel_id, out_ref))
        return None if key is None else self.attempts[key]

    def open_case(self, case: Case) -> None:
        """Nothing where one is open for the same reason already."""
        if any(known.reason == case.reason for known in self.open_cases_of(case.subject_id)):
            return
        if case.case_id in self.cases:
            raise asyncpg.UniqueViolationError(f"{case.case_id} exists")
        self.put(self.cases, case.case_id, case)

    def close_case(self, subject_id: str, resolution: str, reason: str, now: datetime) -> None:
        """That of this reason, or all of them where it is "". Nothing where none is open."""
        for case in self.open_cases_of(subject_id):
            if reason in {"", case.reason}:
                closed = replace(case, closed_at=now, resolution=resolution)
                self.put(self.cases, case.case_id, closed)

    def open_cases_of(self, subject_id: str) -> list[Case]:
        """What of it stands before people."""
        cases = self.cases.values()
        return [each for each in cases if each.subject_id == subject_id and not each.closed_at]

    def open_case_of(self, subject_id: str) -> Case | None:
        """The first of them."""
        return next(iter(self.open_cases_of(subject_id)), None)

    def append(self, events: Sequence[NewEvent]) -> None:
        """Raises UniqueViolationError for an event told before."""
        for event in events:
            if event.event_id in self._event_ids:
                raise asyncpg.UniqueViolationError(f"{event.event_id} is in the log")
            self.put(self._event_ids, event.event_id, value=True)
            number = len(self.events) + 1
            self.events.append(
                StoredEvent(
                    event_id=event.event_id,
                    type=event.type,
                    merchant_id=event.merchant_id,
                    subject_id=event.subject_id,
                    occurred_at=event.occurred_at,
                    payload=event.payload,
                    payload_type=event.payload_type,
                    cursor=f"{number}-{number}",
                )
            )
        if events:
            self.on_news()

    def read(self, cursor: str, limit: int) -> list[StoredEvent]:
        start = position(cursor)
        return self.events[start : start + limit]

    def record(self, new: NewRecord) -> None:
        """Seals a record to the end of the audit chain."""
        last_hash = self.records[-1].hash if self.records else GENESIS
        self.records.append(seal(new, number=len(self.records) + 1, previous_hash=last_hash))

    def receive(self, channel_id: str, body: bytes, now: datetime) -> int:
        inbox_id = len(self.inbox) + 1
        self.put(self.inbox, inbox_id, InboxRow(inbox_id, channel_id, body, now))
        return inbox_id

    def settle(self, inbox_id: int, event_id: str, out_ref: str, result: str) -> None:
        row = self.inbox[inbox_id]
        self.put(
            self.inbox, inbox_id, replace(row, event_id=event_id, out_ref=out_ref, result=result)
        )
        if result == "APPLIED":
            self.put(self._applied, (row.channel_id, event_id), value=True)

    def is_applied(self, channel_id: str, event_id: str) -> bool:
        return (channel_id, event_id) in self._applied

    def move_cursor(self, consumer: str, before: str, after: str) -> str:
        if self.cursors.get(consumer, "") == before:
            self.put(self.cursors, consumer, after)
        return self.cursors[consumer]

    def put(self, table: dict[Any, Any], key: Any, value: Any) -> None:
        """Writes a value that goes again if the transaction does."""
        self._undo.append((table, key, table.get(key, _MISSING)))
        table[key] = value

    def _write(self, name: str, key: str, old: Any, new: Any) -> None:
        if isinstance(new, Payment):
            check_payment(new)
        self.put(self.rows[name], key, new)
        due_at = new.next_run_at
        if due_at is not None and (old is None or old.next_run_at != due_at):
            heapq.heappush(self._due[name], (due_at, key))
            self.on_due(name, due_at)
        for observe in self.observers:
            observe(name, old, new)


def position(cursor: str) -> int:
    """How many events a cursor has behind it."""
    return int(cursor.partition("-")[0]) if cursor else 0


def is_current(old: Any, new: Any) -> bool:
    """Whether a decision was taken on the row as it stands, by its owner."""
    return bool(old.version == new.version - 1 and old.epoch == new.epoch)


def is_claimable(layout: Layout, row: Any) -> bool:
    """Not what a later release wrote, nor what was taken up too often without getting anywhere."""
    return (
        row.faults_count < flow.FAULTS_MAX
        and row.state in layout.states
        and row.flow_version <= layout.flow_version
    )


def is_still_owned(row: Any, subject: Any) -> bool:
    """Whether a row is still of the epoch in which somebody had it."""
    return bool(row.epoch == subject.epoch)


def taken_over(row: Any, now: datetime) -> Any:
    """The row as a sweeper takes it: whoever had it before can write no more, and each time it waits twice as long."""
    return replace(
        row,
        epoch=row.epoch + 1,
        faults_count=row.faults_count + 1,
        next_run_at=now + timedelta(seconds=flow.LEASE_S * 2**row.faults_count),
    )


def check_payment(row: Payment) -> None:
    """The constraints of the table. Raises CheckViolationError."""
    is_paid = row.state is PaymentState.SUCCEEDED
    if (
        min(row.refunded_minor, row.captured_minor, row.capturing_minor) < 0
        or row.refunded_minor > row.captured_minor
        or row.captured_minor + row.capturing_minor > row.amount_minor
        or (row.refunded_minor and not is_paid)
        or (is_paid and not row.captured_minor)
    ):
        words = (
            f"{row.state}: {row.amount_minor} ordered, {row.captured_minor} captured, "
            f"{row.capturing_minor} in flight, {row.refunded_minor} refunded"
        )
        raise asyncpg.CheckViolationError(words)
