"""The event log: rows written in the transaction of the fact they report, read without gaps.

A sequence alone is no safe cursor: a transaction may take number 7, and commit after number 8 has
been read. So rows carry their transaction's id, and readers see only transactions older than every
one still running. A reader therefore lags behind the longest running write transaction of the
whole Postgres cluster; keep those short. Transaction ids do not survive a dump and restore into
another cluster: consumers must then start again from the beginning.
"""

import operator
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from libs.db.pool import Connection
from libs.errors import InvalidArgument

BEGINNING = ""

EVENT_LOG_SQL = """
CREATE TABLE event_log (
    seq bigint GENERATED ALWAYS AS IDENTITY,
    txid xid8 NOT NULL DEFAULT pg_current_xact_id(),
    event_id text COLLATE "C" NOT NULL UNIQUE,
    type text NOT NULL,
    merchant_id text NOT NULL,
    subject_id text NOT NULL,
    occurred_at timestamptz NOT NULL,
    payload_type text NOT NULL,
    payload bytea NOT NULL,
    PRIMARY KEY (txid, seq)
);
"""

# A log of an earlier release had four indexes, which cost more than half of what an event wrote. Harmless to a log that has this
# form. It builds two indexes anew, and nobody writes events meanwhile: about a minute for ten million. An earlier release beside
# this one reads and writes as before; only what it asks by subject is slow, having lost its index.
TWO_INDEXES_SQL = """
DROP INDEX IF EXISTS event_log_subject;
DROP INDEX IF EXISTS event_log_txid_seq;
ALTER TABLE event_log
    DROP CONSTRAINT event_log_pkey,
    ADD PRIMARY KEY (txid, seq),
    ALTER COLUMN event_id TYPE text COLLATE "C";
"""

EVENT_CURSOR_SQL = """
CREATE TABLE event_cursor (
    consumer text NOT NULL,
    source text NOT NULL,
    cursor text NOT NULL DEFAULT '',
    updated_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (consumer, source)
);
"""

# A service that only publishes, or only consumes, may take just its half.
SCHEMA_SQL = EVENT_LOG_SQL + EVENT_CURSOR_SQL

_COLUMNS = (
    "event_id",
    "type",
    "merchant_id",
    "subject_id",
    "occurred_at",
    "payload_type",
    "payload",
)
_AS_RECORD = operator.attrgetter(*_COLUMNS)

_READ = """
SELECT txid::text AS txid, seq, event_id, type, merchant_id, subject_id, occurred_at,
       payload_type, payload
FROM event_log
WHERE (txid, seq) > ($1::text::xid8, $2::bigint)
  AND txid < pg_snapshot_xmin(pg_current_snapshot())
ORDER BY event_log.txid, seq
LIMIT $3
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class NewEvent:
    """One fact, as told to other services."""

    event_id: str
    type: str
    """Dotted, past tense: `payment.succeeded`."""
    merchant_id: str
    """Empty when the fact belongs to no merchant."""
    subject_id: str
    occurred_at: datetime
    payload: bytes
    """A serialized protobuf message …"""
    payload_type: str
    """… of this full name: `fisc.gateway.v1.Payment`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredEvent(NewEvent):
    """An event of the log, and the cursor to read on from after it."""

    cursor: str


async def append(connection: Connection, events: Sequence[NewEvent]) -> None:
    """Write events, in their order, in the caller's transaction.

    Raises asyncpg.UniqueViolationError if an event id is in the log already.
    """
    if not events:
        return
    # A copy logs the rows of a page together; it takes their numbers in the order given.
    await connection.copy_records_to_table(
        "event_log",
        columns=_COLUMNS,
        records=list(map(_AS_RECORD, events)),
    )


async def read(connection: Connection, cursor: str, limit: int) -> list[StoredEvent]:
    """Return up to `limit` events after `cursor`, in commit-safe order; BEGINNING is the start.

    Reading on from the last event's cursor skips nothing, whatever commits later. Raises
    InvalidArgument for a cursor that did not come from here.
    """
    txid, seq = _parse_cursor(cursor)
    rows = await connection.fetch(_READ, txid, seq, limit)
    return [
        StoredEvent(
            event_id=row["event_id"],
            type=row["type"],
            merchant_id=row["merchant_id"],
            subject_id=row["subject_id"],
            occurred_at=row["occurred_at"],
            payload=row["payload"],
            payload_type=row["payload_type"],
            cursor=f"{row['txid']}-{row['seq']}",
        )
        for row in rows
    ]


def _parse_cursor(cursor: str) -> tuple[str, int]:
    if cursor == BEGINNING:
        return "0", 0
    txid, separator, seq = cursor.partition("-")
    if not (separator and _is_uint64(txid) and _is_uint64(seq)):
        raise InvalidArgument("not a cursor of this feed", field="cursor")
    return txid, int(seq)


def _is_uint64(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) <= 19  # noqa: PLR2004 -- digits of 2**63
