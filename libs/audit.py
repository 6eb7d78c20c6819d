"""The audit chain: who did what to what, each record sealed to the one before it by a hash.

A record's hash is SHA-256 over the previous record's hash and the record's own fields, each field with its length before it, so that no
two different records look alike. Whoever changes, inserts or takes out a record breaks the chain from there on. What a chain cannot
show by itself is that its end was cut off, or that all of it was computed anew: keep the last hash somewhere else.
"""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import orjson

from libs.db.pool import Connection

GENESIS: Final = "0" * 64
"""What the first record has for a previous hash."""
BATCH_MAX: Final = 1_000

# The trigger stops mistakes; who has the rights of the table's owner can take it away, and is found by the hashes.
SCHEMA_SQL: Final = """
CREATE TABLE audit_record (
    number bigint PRIMARY KEY CHECK (number > 0),
    at timestamptz NOT NULL,
    actor_id text NOT NULL,
    action text NOT NULL,
    subject_id text NOT NULL,
    detail text NOT NULL,
    previous_hash text NOT NULL UNIQUE,
    hash text NOT NULL
);
CREATE INDEX audit_record_subject ON audit_record (subject_id, number);
CREATE FUNCTION refuse_audit_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION '% is append-only', TG_TABLE_NAME USING ERRCODE = 'restrict_violation';
END $$;
CREATE TRIGGER audit_record_is_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON audit_record
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_audit_change();
"""

# Writers take turns from here to their commit: so numbers have no gaps, and each sees the record before its own.
_LOCK_KEY: Final = 7_246_338_510_914
_LOCK: Final = "SELECT pg_advisory_xact_lock($1)"
_LAST: Final = "SELECT number, hash FROM audit_record ORDER BY number DESC LIMIT 1"
_INSERT: Final = """
INSERT INTO audit_record (number, at, actor_id, action, subject_id, detail, previous_hash, hash)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
"""
_READ: Final = "SELECT * FROM audit_record WHERE number > $1 ORDER BY number LIMIT $2"
_PAGE: Final = """
SELECT * FROM audit_record
WHERE ($1 = '' OR subject_id = $1) AND ($2::bigint = 0 OR number < $2)
ORDER BY number DESC LIMIT $3
"""
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)
_DOMAIN: Final = b"fisc.audit.v1"
_LENGTH_BYTES: Final = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class NewRecord:
    """Something that was done. `detail` never holds a secret: it is shown to whoever may read the chain."""

    at: datetime
    actor_id: str
    action: str
    """UPPER_SNAKE, past tense: FORCE_PROPOSED."""
    subject_id: str
    detail: Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """A link of the chain. Field names are the columns of its row."""

    number: int
    at: datetime
    actor_id: str
    action: str
    subject_id: str
    detail: str
    """JSON, its keys sorted."""
    previous_hash: str
    hash: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """How far a chain was read, and whether it held."""

    records_count: int = 0
    first_broken_number: int = 0
    """The first place of the chain that does not hold what it should; 0 while all do."""
    last_hash: str = GENESIS

    def after(self, records: Iterable[Record]) -> "Verdict":
        """The verdict once these, which come next, are read too. Pure."""
        count, broken, last_hash = self.records_count, self.first_broken_number, self.last_hash
        for record in records:
            count += 1
            if not broken and not _fits(record, count, last_hash):
                broken = count
            last_hash = record.hash
        return Verdict(records_count=count, first_broken_number=broken, last_hash=last_hash)


def verify(records: Iterable[Record]) -> int:
    """The first broken place of a whole chain, from 1; 0 when none is."""
    return Verdict().after(records).first_broken_number


def seal(new: NewRecord, *, number: int, previous_hash: str) -> Record:
    """The link that comes after `previous_hash`. Pure."""
    detail = orjson.dumps(dict(new.detail), option=orjson.OPT_SORT_KEYS).decode()
    digest = _digest(
        number=number,
        at=new.at,
        actor_id=new.actor_id,
        action=new.action,
        subject_id=new.subject_id,
        detail=detail,
        previous_hash=previous_hash,
    )
    return Record(
        number=number,
        at=new.at,
        actor_id=new.actor_id,
        action=new.action,
        subject_id=new.subject_id,
        detail=detail,
        previous_hash=previous_hash,
        hash=digest,
    )


async def append(connection: Connection, new: NewRecord) -> Record:
    """Write a record in the caller's transaction, as late in it as possible: other writers wait for its end.

    Not idempotent: what is done twice is recorded twice.
    """
    await connection.execute(_LOCK, _LOCK_KEY)
    last = await connection.fetchrow(_LAST)
    number, previous_hash = (0, GENESIS) if last is None else (last["number"], last["hash"])
    record = seal(new, number=number + 1, previous_hash=previous_hash)
    await connection.execute(
        _INSERT,
        record.number,
        record.at,
        record.actor_id,
        record.action,
        record.subject_id,
        record.detail,
        record.previous_hash,
        record.hash,
    )
    return record


async def page(
    connection: Connection, *, subject_id: str, before_number: int, limit: int
) -> list[Record]:
    """Newest first; "" for every subject, 0 for from the end."""
    return _records(await connection.fetch(_PAGE, subject_id, before_number, limit))


async def check(connection: Connection) -> Verdict:
    """Compute every hash of the stored chain anew, batch by batch. What is appended meanwhile may be read or not."""
    verdict, number = Verdict(), 0
    while batch := _records(await connection.fetch(_READ, number, BATCH_MAX)):
        verdict, number = verdict.after(batch), batch[-1].number
    return verdict


def _fits(record: Record, number: int, previous_hash: str) -> bool:
    return (
        record.number == number
        and record.previous_hash == previous_hash
        and record.hash
        == _digest(
            number=record.number,
            at=record.at,
            actor_id=record.actor_id,
            action=record.action,
            subject_id=record.subject_id,
            detail=record.detail,
            previous_hash=previous_hash,
        )
    )


def _digest(
    *,
    number: int,
    at: datetime,
    actor_id: str,
    action: str,
    subject_id: str,
    detail: str,
    previous_hash: str,
) -> str:
    microseconds = (at - _EPOCH) // _MICROSECOND
    hashed = hashlib.sha256(_DOMAIN)
    for text in (
        previous_hash,
        str(number),
        str(microseconds),
        actor_id,
        action,
        subject_id,
        detail,
    ):
        data = text.encode()
        hashed.update(len(data).to_bytes(_LENGTH_BYTES, "big"))
        hashed.update(data)
    return hashed.hexdigest()


def _records(rows: Sequence[Any]) -> list[Record]:
    return [Record(**dict(row)) for row in rows]
