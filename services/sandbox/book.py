"""The durable book: every account, order, capture, refund, payout and callback, in SQLite (WAL).

A write is committed before it is answered. The calls are synchronous on purpose: one commit costs
some tens of microseconds, less than handing it to a thread, and so every operation of the
exchange is atomic on the event loop.
"""

import dataclasses
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import date, datetime
from pathlib import Path
from typing import Any, TypeVar

from services.sandbox.records import Account, BookRow, Callback, Capture, Order, Payout, Refund

Record = TypeVar("Record", Order, Capture, Refund, Payout, Callback)

_TABLES: dict[type, str] = {
    Order: "charge_order",
    Capture: "capture",
    Refund: "refund",
    Payout: "payout",
    Callback: "callback",
}
_TIMES = frozenset({"created_at", "paid_at", "finished_at", "authorized_until", "returned_at"})
_FLAGS = frozenset({"capture_later", "is_final"})
_FIELDS = {kind: [field.name for field in dataclasses.fields(kind)] for kind in _TABLES}
_SELECT = {kind: f"SELECT {', '.join(_FIELDS[kind])} FROM {_TABLES[kind]}" for kind in _TABLES}
_SAVE = {
    kind: f"INSERT OR REPLACE INTO {table} ({', '.join(_FIELDS[kind])})"
    f" VALUES ({', '.join('?' * len(_FIELDS[kind]))})"
    for kind, table in _TABLES.items()
}
_BUSY_TIMEOUT_S = 5.0
# Columns that books made by earlier versions lack; schema.sql has them for new ones.
_ADDED_COLUMNS = (
    ("charge_order", "capture_later", "INTEGER NOT NULL DEFAULT 0"),
    ("charge_order", "captured", "INTEGER NOT NULL DEFAULT 0"),
    ("charge_order", "authorized_until", "TEXT"),
    ("charge_order", "extra", "TEXT NOT NULL DEFAULT ''"),
    ("refund", "extra", "TEXT NOT NULL DEFAULT ''"),
    ("payout", "extra", "TEXT NOT NULL DEFAULT ''"),
    ("payout", "notify_url", "TEXT NOT NULL DEFAULT ''"),
    ("payout", "return_at_ms", "INTEGER"),
    ("payout", "returned_at", "TEXT"),
)
# An authorisation charges nobody: its captures do. A payout that came back keeps its own row.
_BOOK = (
    "SELECT 'charge' AS kind, account_id, out_ref, '' AS order_ref, amount, currency,"
    " status, code, provider_ref, coalesce(paid_at, created_at) AS time, fee, times_charged"
    " FROM charge_order UNION ALL"
    " SELECT 'capture', account_id, out_ref, order_ref, amount, currency, status, code,"
    " provider_ref, coalesce(finished_at, created_at), fee, status = 'SUCCEEDED'"
    " FROM capture UNION ALL"
    " SELECT 'refund', account_id, out_ref, order_ref, amount, currency, status, code,"
    " provider_ref, coalesce(finished_at, created_at), fee, 0 FROM refund UNION ALL"
    " SELECT 'payout', account_id, out_ref, '', amount, currency, status, code,"
    " provider_ref, coalesce(finished_at, created_at), fee, 0 FROM payout UNION ALL"
    " SELECT 'payout_return', account_id, out_ref, '', amount, currency, status, code,"
    " provider_ref, returned_at, 0, 0 FROM payout WHERE returned_at IS NOT NULL"
)


class Book:
    """Opens (creates, brings up to date) the book in `path`. For one process and one thread."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._db = sqlite3.connect(path, isolation_level=None, timeout=_BUSY_TIMEOUT_S)
        self._db.execute("PRAGMA journal_mode=WAL")
        self._db.execute("PRAGMA synchronous=NORMAL")
        self._add_columns()
        self._db.executescript(Path(__file__).with_name("schema.sql").read_text("utf-8"))
        self._accounts = {
            account_id: Account.model_validate_json(settings)
            for account_id, settings in self._db.execute("SELECT account_id, settings FROM account")
        }

    def _add_columns(self) -> None:
        for table, column, definition in _ADDED_COLUMNS:
            known = {row[1] for row in self._db.execute(f"PRAGMA table_info ({table})")}
            if known and column not in known:
                self._db.execute(f"ALTER TABLE {table} ADD COLUMN {column} {definition}")

    def close(self) -> None:
        """Close the file; everything committed stays."""
        self._db.close()

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """All or nothing. Must not contain an await: nothing else may run in between."""
        self._db.execute("BEGIN IMMEDIATE")
        try:
            yield
        except BaseException:
            self._db.execute("ROLLBACK")
            raise
        self._db.execute("COMMIT")

    def execute(self, sql: str, *values: object) -> list[tuple[Any, ...]]:
        """Run one statement and return its rows; for the modules that keep their own tables."""
        return self._db.execute(sql, values).fetchall()

    def insert(self, sql: str, *values: object) -> int:
        """Run one INSERT and return the new row's number."""
        return self._db.execute(sql, values).lastrowid or 0

    # Accounts and balances

    def account(self, account_id: str) -> Account | None:
        """The registered account, or None."""
        return self._accounts.get(account_id)

    def accounts(self) -> list[Account]:
        """All registered accounts, by identifier."""
        return [self._accounts[account_id] for account_id in sorted(self._accounts)]

    def save_account(self, account: Account) -> None:
        """Register or replace; a new account starts with its profile's opening balance."""
        with self.transaction():
            self._db.execute(
                "INSERT OR REPLACE INTO account VALUES (?, ?)",
                (account.account_id, account.model_dump_json()),
            )
            self._db.execute(
                "INSERT OR IGNORE INTO balance VALUES (?, ?, ?)",
                (account.account_id, account.profile.currency, account.profile.opening_balance),
            )
        self._accounts[account.account_id] = account

    def available(self, account_id: str, currency: str) -> int:
        """Money the channel holds for the account, in minor units."""
        rows = self.execute(
            "SELECT available FROM balance WHERE account_id = ? AND currency = ?",
            account_id,
            currency,
        )
        return int(rows[0][0]) if rows else 0

    def credit(self, account_id: str, currency: str, delta: int) -> None:
        """Add to (or with a negative delta take from) the balance; within a transaction."""
        self._db.execute(
            "INSERT INTO balance VALUES (?1, ?2, ?3)"
            " ON CONFLICT DO UPDATE SET available = available + ?3",
            (account_id, currency, delta),
        )

    # Orders, captures, refunds, payouts, callbacks

    def save(self, record: Order | Capture | Refund | Payout | Callback) -> None:
        """Insert or replace one record."""
        values = [getattr(record, name) for name in _FIELDS[type(record)]]
        stored = [
            value.isoformat(timespec="seconds") if isinstance(value, datetime) else value
            for value in values
        ]
        self._db.execute(_SAVE[type(record)], stored)

    def find(self, kind: type[Record], account_id: str, out_ref: str) -> Record | None:
        """The record under our reference, or None."""
        found = self.select(kind, "WHERE account_id = ? AND out_ref = ?", account_id, out_ref)
        return found[0] if found else None

    def select(self, kind: type[Record], condition: str, *values: object) -> list[Record]:
        """Records under a constant SQL condition with its values."""
        rows = self._db.execute(f"{_SELECT[kind]} {condition}", values).fetchall()
        return [_record(kind, row) for row in rows]

    def refunded(self, account_id: str, order_ref: str) -> int:
        """Sum of the order's refunds that went or are going through."""
        rows = self.execute(
            "SELECT coalesce(sum(amount), 0) FROM refund"
            " WHERE account_id = ? AND order_ref = ? AND status <> 'FAILED'",
            account_id,
            order_ref,
        )
        return int(rows[0][0])

    # What a day's bill is made of

    def paid_on(self, account_id: str, day: date) -> list[Order]:
        """Orders paid on the business day, oldest first; of authorised ones the captures tell."""
        return self.select(
            Order,
            "WHERE account_id = ? AND substr(paid_at, 1, 10) = ? AND capture_later = 0"
            " ORDER BY paid_at, out_ref",
            account_id,
            day.isoformat(),
        )

    def captured_on(self, account_id: str, day: date) -> list[Capture]:
        """Captures that succeeded on the business day, oldest first."""
        return self.select(
            Capture,
            "WHERE account_id = ? AND substr(finished_at, 1, 10) = ? AND status = 'SUCCEEDED'"
            " ORDER BY finished_at, out_ref",
            account_id,
            day.isoformat(),
        )

    def refunds_of(self, account_id: str, day: date, *, by: str) -> list[Refund]:
        """Refunds accepted (`by` created_at) or finished (finished_at) on the day, none failed."""
        if by not in {"created_at", "finished_at"}:
            raise ValueError(by)
        return self.select(
            Refund,
            f"WHERE account_id = ? AND substr({by}, 1, 10) = ? AND status <> 'FAILED'"
            f" ORDER BY {by}, out_ref",
            account_id,
            day.isoformat(),
        )

    def paid_out_on(self, account_id: str, day: date) -> list[Payout]:
        """Payouts paid on the business day, oldest first, also those sent back since."""
        return self.select(
            Payout,
            "WHERE account_id = ? AND substr(finished_at, 1, 10) = ?"
            " AND status IN ('SUCCEEDED', 'RETURNED') ORDER BY finished_at, out_ref",
            account_id,
            day.isoformat(),
        )

    def returned_on(self, account_id: str, day: date) -> list[Payout]:
        """Payouts that came back on the business day, oldest first."""
        return self.select(
            Payout,
            "WHERE account_id = ? AND substr(returned_at, 1, 10) = ? ORDER BY returned_at, out_ref",
            account_id,
            day.isoformat(),
        )

    def rows(self, account_id: str | None, day: date | None) -> list[BookRow]:
        """The whole book as `GET /control/book` shows it, oldest first."""
        cursor = self._db.execute(
            f"SELECT * FROM ({_BOOK}) WHERE (?1 IS NULL OR account_id = ?1)"
            " AND (?2 IS NULL OR substr(time, 1, 10) = ?2) ORDER BY time, kind, out_ref",
            (account_id, day.isoformat() if day else None),
        )
        names = [column[0] for column in cursor.description]
        return [dict(zip(names, row, strict=True)) for row in cursor]

    # Small settings

    def meta(self, name: str, default: str = "") -> str:
        """A remembered setting."""
        rows = self.execute("SELECT value FROM meta WHERE name = ?", name)
        return str(rows[0][0]) if rows else default

    def set_meta(self, name: str, value: str) -> None:
        """Remember a setting."""
        self.execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", name, value)


def _record(kind: type[Record], row: Sequence[object]) -> Record:
    fields: dict[str, Any] = dict(zip(_FIELDS[kind], row, strict=True))
    for name in _TIMES & fields.keys():
        value = fields[name]
        fields[name] = datetime.fromisoformat(value) if isinstance(value, str) else None
    for name in _FLAGS & fields.keys():
        fields[name] = bool(fields[name])
    return kind(**fields)
