"""The chains of batches: each batch is sealed to the one before it by a hash of all it booked.

A hash is SHA-256 over the previous batch's hash, the batch's own chain and number, and its
transfers by ascending id (byte order). A field is its text in UTF-8 and a NUL, which no text may
hold: so that no two different batches look alike, and any language can compute it. Integers are
decimal, days ISO 8601, moments microseconds since 1970, what is absent is empty. The order of a
transfer's fields is that of `_row`.

What a chain cannot show by itself is that its end was cut off, or that all of it was computed
anew: keep the heads somewhere else.
"""

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from services.account.domain.commands import BookedTransfer

GENESIS = bytes(32)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Head:
    """The latest batch of a chain; whoever has it locked writes the next."""

    chain: int
    number: int = 0
    hash: bytes = GENESIS


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """What one transaction booked, sealed."""

    chain: int
    number: int
    previous_hash: bytes
    hash: bytes
    transfers_count: int
    booked_at: datetime


def ordered(booked: Iterable[BookedTransfer]) -> list[BookedTransfer]:
    """A batch's transfers in the order in which they are written and sealed."""
    return sorted(booked, key=lambda each: each.transfer.transfer_id)


def seal(head: Head, booked: Sequence[BookedTransfer], booked_at: datetime) -> Batch:
    """Make the batch that follows the head out of transfers in order."""
    return Batch(
        chain=head.chain,
        number=head.number + 1,
        previous_hash=head.hash,
        hash=_hash(head, booked),
        transfers_count=len(booked),
        booked_at=booked_at,
    )


def fault(head: Head, batch: Batch, booked: Sequence[BookedTransfer]) -> str:
    """Say in words why the batch does not follow the head with these transfers; "" if it does."""
    name = f"batch {batch.chain}:{batch.number}"
    if batch.number != head.number + 1:
        return f"batch {batch.chain}:{head.number + 1} is missing"
    if batch.previous_hash != head.hash:
        return f"{name} does not follow the one before it"
    if batch.transfers_count != len(booked):
        return f"{name} has {len(booked)} transfers, and sealed {batch.transfers_count}"
    if batch.hash != _hash(head, booked):
        return f"{name} is not what was sealed: one of its transfers has changed"
    return ""


def _hash(head: Head, booked: Sequence[BookedTransfer]) -> bytes:
    prefix = f"{head.chain}\x00{head.number + 1}\x00"
    content = prefix + "".join(map(_row, booked))
    return hashlib.sha256(head.hash + content.encode()).digest()


def _row(booked: BookedTransfer) -> str:
    transfer = booked.transfer
    booked_us = (booked.booked_at - _EPOCH) // _MICROSECOND
    if transfer.requested_minor is None:
        decided = "\x00\x00\x00"
    else:
        balancing = transfer.balancing or ""
        decided = f"{balancing}\x00{transfer.requested_minor}\x00{transfer.keep_minor}\x00"
    return (
        f"{transfer.transfer_id}\x00{transfer.debit_account_id}\x00{transfer.credit_account_id}\x00"
        f"{transfer.currency}\x00{transfer.amount_minor}\x00{transfer.reference}\x00"
        f"{transfer.description}\x00{booked.effective_on}\x00{booked_us}\x00"
        f"{booked.debit_sequence}\x00{booked.debit_balance_after_minor}\x00"
        f"{booked.credit_sequence}\x00{booked.credit_balance_after_minor}\x00"
        f"{decided}{transfer.reverses_transfer_id}\x00"
    )
