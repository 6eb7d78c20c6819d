"""The audit chain: whatever is done to a record afterwards shows."""

import dataclasses
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from libs import audit
from libs.audit import NewRecord, Record

NOON = datetime(2026, 11, 11, 4, 0, 0, 123_456, tzinfo=UTC)
TEXT = st.text(max_size=6)


def chain(news: list[NewRecord]) -> list[Record]:
    records: list[Record] = []
    for number, new in enumerate(news, start=1):
        previous_hash = records[-1].hash if records else audit.GENESIS
        records.append(audit.seal(new, number=number, previous_hash=previous_hash))
    return records


NEWS = st.lists(
    st.builds(
        NewRecord,
        at=st.integers(0, 10**9).map(lambda seconds: NOON + timedelta(microseconds=seconds)),
        actor_id=TEXT,
        action=TEXT,
        subject_id=TEXT,
        detail=st.dictionaries(TEXT, TEXT | st.integers(-9, 9), max_size=3),
    ),
    min_size=1,
    max_size=6,
)


def forged(record: Record, field: str) -> Record:
    """The record with another value in this field."""
    value = getattr(record, field)
    if isinstance(value, datetime):
        changed: object = value + timedelta(microseconds=1)
    elif isinstance(value, int):
        changed = value + 1
    else:
        changed = f"{value}x"
    return dataclasses.replace(record, **{field: changed})  # type: ignore[arg-type]  # by name


@given(NEWS)
def test_a_chain_that_nobody_touched_holds(news: list[NewRecord]) -> None:
    records = chain(news)
    verdict = audit.Verdict().after(records)

    assert audit.verify(records) == 0
    assert (verdict.records_count, verdict.last_hash) == (len(records), records[-1].hash)


@given(NEWS, st.data())
def test_a_change_of_any_field_of_any_record_is_found(
    news: list[NewRecord], data: st.DataObject
) -> None:
    records = chain(news)
    index = data.draw(st.integers(0, len(records) - 1))
    field = data.draw(st.sampled_from([each.name for each in dataclasses.fields(Record)]))

    records[index] = forged(records[index], field)

    # A changed hash breaks its own record; the ones before it still hold.
    assert audit.verify(records) == index + 1


@given(NEWS, st.data())
def test_a_record_taken_out_of_the_middle_is_found(
    news: list[NewRecord], data: st.DataObject
) -> None:
    records = chain([*news, *news])
    index = data.draw(st.integers(0, len(records) - 2))

    del records[index]

    assert audit.verify(records) == index + 1


@given(NEWS, st.data())
def test_records_out_of_order_are_found(news: list[NewRecord], data: st.DataObject) -> None:
    records = chain([*news, *news])
    first = data.draw(st.integers(0, len(records) - 2))
    second = data.draw(st.integers(first + 1, len(records) - 1))

    records[first], records[second] = records[second], records[first]

    assert audit.verify(records) == first + 1


@given(NEWS, NEWS, st.data())
def test_a_record_put_in_between_is_found(
    news: list[NewRecord], foreign: list[NewRecord], data: st.DataObject
) -> None:
    """Even one that fits the record before it: the one after it no longer does."""
    records = chain(news)
    index = data.draw(st.integers(0, len(records) - 1))
    previous_hash = records[index - 1].hash if index else audit.GENESIS

    records.insert(index, audit.seal(foreign[0], number=index + 1, previous_hash=previous_hash))

    assert audit.verify(records) == index + 2


def test_the_border_between_two_fields_is_part_of_what_is_sealed() -> None:
    """Without lengths "ab" + "c" and "a" + "bc" would have one hash."""

    def sealed(actor_id: str, action: str) -> str:
        new = NewRecord(at=NOON, actor_id=actor_id, action=action, subject_id="", detail={})
        return audit.seal(new, number=1, previous_hash=audit.GENESIS).hash

    assert sealed("ab", "c") != sealed("a", "bc")


def test_the_same_facts_in_another_order_make_the_same_record() -> None:
    def sealed(detail: dict[str, int]) -> Record:
        new = NewRecord(at=NOON, actor_id="a", action="A", subject_id="s", detail=detail)
        return audit.seal(new, number=1, previous_hash=audit.GENESIS)

    assert sealed({"a": 1, "b": 2}) == sealed({"b": 2, "a": 1})


@pytest.mark.parametrize("size", [1, 2, 3, 7])
def test_a_chain_read_in_batches_has_the_same_verdict(size: int) -> None:
    new = NewRecord(at=NOON, actor_id="a", action="A", subject_id="s", detail={})
    records = chain([new] * 7)
    records[4] = forged(records[4], "actor_id")

    verdict = audit.Verdict()
    for start in range(0, len(records), size):
        verdict = verdict.after(records[start : start + size])

    assert verdict == audit.Verdict().after(records)
    assert verdict.first_broken_number == 5


def test_a_number_left_out_is_found_although_every_hash_fits() -> None:
    new = NewRecord(at=NOON, actor_id="a", action="A", subject_id="s", detail={})
    first = audit.seal(new, number=1, previous_hash=audit.GENESIS)
    third = audit.seal(new, number=3, previous_hash=first.hash)

    assert audit.verify([first, third]) == 2
