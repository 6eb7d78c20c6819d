"""The gateway's database in memory: what Postgres promises of these tables, a transaction at a time."""

import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Final, TypeAlias

import asyncpg

from libs.events.log import NewEvent, StoredEvent
from services.gateway.domain.payment import Payment, PaymentState
from services.gateway.domain.payout import Payout
from services.gateway.domain.refund import Refund
from services.gateway.domain.saga import Attempt, AttemptState

Subject: TypeAlias = Payment | Refund | Payout
Observer: TypeAlias = Callable[[str, Subject | None, Subject], None]

# What an update of each flow writes; the rest of a row is written once, or by a statement of its own.
_UPDATED: Final[dict[str, tuple[str, ...]]] = {
    "refund": (
        "state",
        "reason",
        "query_count",
        "updated_at",
        "succeeded_at",
        "next_run_at",
        "version",
    )
}
_UPDATED["payout"] = (*_UPDATED["refund"], "channel_id", "attempts_count")
_UPDATED["payment"] = (*_UPDATED["payout"], "qr_content", "cancel_requested", "expires_at")
_UPDATED_ATTEMPT: Final = (
    "state",
    "provider_ref",
    "code",
    "latency_ms",
    "fee_minor",
    "answered_at",
)
_MISSING: Final = object()


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
        self.rows: dict[str, dict[str, Any]] = {"payment": {}, "refund": {}, "payout": {}}
        self.attempts: dict[tuple[str, int], Attempt] = {}
        self.events: list[StoredEvent] = []
        self.inbox: dict[int, InboxRow] = {}
        self.cursors: dict[str, str] = {}
        self.observers: list[Observer] = []
        self.fenced_count = 0
        # Rows written by somebody who no longer owned them; must stay empty.
        self.usurped: list[str] = []
        self._by_request: dict[tuple[str, str, str], str] = {}
        self._by_reference: dict[tuple[str, str], tuple[str, int]] = {}
        self._numbers: dict[str, list[int]] = {}
        self._event_ids: dict[str, bool] = {}
        self._applied: dict[tuple[str, str], bool] = {}
        self._undo: list[tuple[dict[Any, Any], Any, Any]] = []

    @contextlib.contextmanager
    def transaction(self) -> Iterator[None]:
        """All that is written inside stands, or nothing if it raises."""
        self._undo = []
        events_count = len(self.events)
        try:
            yield
        except BaseException:
            for table, key, old in reversed(self._undo):
                if old is _MISSING:
                    del table[key]
                else:
                    table[key] = old
            del self.events[events_count:]
            raise

    def insert(self, name: str, subject: Any) -> bool:
        """False when its request_id is taken. Raises UniqueViolationError when its own id is."""
        key, request = _key(name, subject), (name, subject.merchant_id, subject.request_id)
        if request in self._by_request:
            return False
        if key in self.rows[name]:
            raise asyncpg.UniqueViolationError(f"{name} {key} exists")
        self._write(name, None, subject)
        self._put(self._by_request, request, key)
        return True

    def find_by_request(self, name: str, subject: Any) -> Any:
        key = self._by_request.get((name, subject.merchant_id, subject.request_id))
        return None if key is None else self.rows[name][key]

    def update(self, name: str, new: Any) -> bool:
        """Writes a row that still stands as it was when it was decided; False when it does not."""
        old = self.rows[name].get(_key(name, new))
        if old is None or not is_current(old, new):
            self.fenced_count += old is not None and old.epoch > new.epoch
            return False
        if old.epoch != new.epoch:
            self.usurped.append(_key(name, new))
        changes = {column: getattr(new, column) for column in _UPDATED[name]}
        self._write(name, old, replace(old, **changes))
        return True

    def change(self, name: str, key: str, **changes: Any) -> None:
        """Writes these columns of a row, whatever it stands at."""
        old = self.rows[name][key]
        self._write(name, old, replace(old, **changes))

    def upsert_attempt(self, new: Attempt) -> None:
        """Raises UniqueViolationError for a reference of another, and for a payout that succeeded twice."""
        key, reference = (new.subject_id, new.number), (new.channel_id, new.out_ref)
        known = self.attempts.get(key)
        if known is None and reference in self._by_reference:
            raise asyncpg.UniqueViolationError(f"{reference} is taken")
        if new.operation == "PAYOUT" and new.state is AttemptState.SUCCEEDED:
            for other in self.attempts_of(new.subject_id):
                if other.number != new.number and other.state is AttemptState.SUCCEEDED:
                    raise asyncpg.UniqueViolationError("attempt_one_success")
        if known is None:
            self._put(self.attempts, key, new)
            self._put(self._by_reference, reference, key)
            numbers = sorted((*self._numbers.get(new.subject_id, ()), new.number))
            self._put(self._numbers, new.subject_id, numbers)
        else:
            changes: dict[str, Any] = {name: getattr(new, name) for name in _UPDATED_ATTEMPT}
            self._put(self.attempts, key, replace(known, **changes))

    def attempts_of(self, subject_id: str) -> tuple[Attempt, ...]:
        numbers = self._numbers.get(subject_id, ())
        return tuple(self.attempts[subject_id, number] for number in numbers)

    def find_attempt(self, channel_id: str, out_ref: str) -> Attempt | None:
        key = self._by_reference.get((channel_id, out_ref))
        return None if key is None else self.attempts[key]

    def append(self, events: Sequence[NewEvent]) -> None:
        """Raises UniqueViolationError for an event told before."""
        for event in events:
            if event.event_id in self._event_ids:
                raise asyncpg.UniqueViolationError(f"{event.event_id} is in the log")
            self._put(self._event_ids, event.event_id, value=True)
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

    def read(self, cursor: str, limit: int) -> list[StoredEvent]:
        start = int(cursor.partition("-")[0]) if cursor else 0
        return self.events[start : start + limit]

    def claim(self, name: str, now: datetime, lease_until: datetime, limit: int) -> list[Any]:
        due = [
            row
            for row in self.rows[name].values()
            if row.next_run_at is not None and row.next_run_at <= now
        ]
        due.sort(key=lambda row: row.next_run_at)
        claimed = []
        for row in due[:limit]:
            taken = taken_over(row, lease_until)
            self._write(name, row, taken)
            claimed.append(taken)
        return claimed

    def receive(self, channel_id: str, body: bytes, now: datetime) -> int:
        inbox_id = len(self.inbox) + 1
        self._put(self.inbox, inbox_id, InboxRow(inbox_id, channel_id, body, now))
        return inbox_id

    def settle(self, inbox_id: int, event_id: str, out_ref: str, result: str) -> None:
        row = self.inbox[inbox_id]
        self._put(
            self.inbox, inbox_id, replace(row, event_id=event_id, out_ref=out_ref, result=result)
        )
        if result == "APPLIED":
            self._put(self._applied, (row.channel_id, event_id), value=True)

    def is_applied(self, channel_id: str, event_id: str) -> bool:
        return (channel_id, event_id) in self._applied

    def move_cursor(self, consumer: str, before: str, after: str) -> str:
        if self.cursors.get(consumer, "") == before:
            self._put(self.cursors, consumer, after)
        return self.cursors[consumer]

    def _write(self, name: str, old: Subject | None, new: Subject) -> None:
        if isinstance(new, Payment):
            _check_payment(new)
        self._put(self.rows[name], _key(name, new), new)
        for observe in self.observers:
            observe(name, old, new)

    def _put(self, table: dict[Any, Any], key: Any, value: Any) -> None:
        self._undo.append((table, key, table.get(key, _MISSING)))
        table[key] = value


def is_current(old: Subject, new: Subject) -> bool:
    """Whether a decision was taken on the row as it stands, by its owner."""
    return old.version == new.version - 1 and old.epoch == new.epoch


def taken_over(row: Any, lease_until: datetime) -> Any:
    """The row as a sweeper takes it: whoever had it before can write no more."""
    return replace(row, epoch=row.epoch + 1, next_run_at=lease_until)


def _key(name: str, subject: Any) -> str:
    return str(getattr(subject, f"{name}_id"))


def _check_payment(row: Payment) -> None:
    is_refundable = row.state is PaymentState.SUCCEEDED
    if not 0 <= row.refunded_minor <= row.amount_minor or (
        row.refunded_minor and not is_refundable
    ):
        raise asyncpg.CheckViolationError(f"refunded_minor {row.refunded_minor} in {row.state}")
