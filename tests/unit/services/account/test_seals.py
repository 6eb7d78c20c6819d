"""The seal of a batch, computed by hand from what docs/ledger.md says."""

import hashlib
from dataclasses import replace
from datetime import UTC, date, datetime

import pytest

from services.account.domain import seals
from services.account.domain.commands import Balancing, BookedTransfer, Transfer
from services.account.domain.seals import GENESIS, Batch, Head

AT = datetime(2026, 3, 2, 1, 2, 3, 456789, tzinfo=UTC)
PLAIN = BookedTransfer(
    transfer=Transfer(
        transfer_id="b",
        debit_account_id="bank",
        credit_account_id="merchant",
        currency="CNY",
        amount_minor=7,
        reference="pay_1",
        description="收款",
    ),
    effective_on=date(2026, 3, 1),
    booked_at=AT,
    debit_sequence=3,
    debit_balance_after_minor=21,
    credit_sequence=4,
    credit_balance_after_minor=-28,
)
SWEEP = replace(
    PLAIN,
    transfer=replace(
        PLAIN.transfer,
        transfer_id="a",
        balancing=Balancing.AT_MOST,
        requested_minor=0,
        keep_minor=5,
    ),
)
BACK = replace(
    PLAIN,
    transfer=replace(PLAIN.transfer, transfer_id="c", requested_minor=0, reverses_transfer_id="b"),
)


def test_the_hash_is_what_the_document_says() -> None:
    row = "bank|merchant|CNY|7|pay_1|收款|2026-03-01|1772413323456789|3|21|4|-28|"
    content = f"2|9|a|{row}AT_MOST|0|5||b|{row}||||c|{row}|0|0|b|".replace("|", "\x00")
    head = Head(chain=2, number=8, hash=hashlib.sha256(b"before").digest())

    batch = seals.seal(head, seals.ordered([PLAIN, BACK, SWEEP]), AT)

    assert batch.hash == hashlib.sha256(head.hash + content.encode()).digest()
    assert (batch.number, batch.previous_hash, batch.transfers_count) == (9, head.hash, 3)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"number": 2}, "batch 1:1 is missing"),
        ({"previous_hash": b"x" * 32}, "does not follow"),
        ({"transfers_count": 2}, "has 1 transfers, and sealed 2"),
        ({"hash": GENESIS}, "is not what was sealed"),
        ({}, ""),
    ],
)
def test_a_batch_that_does_not_fit_says_in_what(changes: dict[str, object], words: str) -> None:
    head = Head(chain=1)
    batch: Batch = replace(seals.seal(head, [PLAIN], AT), **changes)  # type: ignore[arg-type]  # rows of a table

    fault = seals.fault(head, batch, [PLAIN])

    assert words in fault
    assert bool(words) == bool(fault)


@pytest.mark.parametrize(
    "changed",
    [
        replace(PLAIN, debit_balance_after_minor=22),
        replace(PLAIN, effective_on=date(2026, 3, 2)),
        replace(PLAIN, transfer=replace(PLAIN.transfer, reference="pay_2")),
        replace(PLAIN, transfer=replace(PLAIN.transfer, reference="", description="pay_1收款")),
        SWEEP,
    ],
)
def test_no_field_can_be_changed_unseen(changed: BookedTransfer) -> None:
    head = Head(chain=1)
    assert seals.fault(head, seals.seal(head, [PLAIN], AT), [changed])
