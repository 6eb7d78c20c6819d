"""A batch is settled by the ledger's word alone, and nothing that the ledger refuses is asked of it for ever."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from libs.events import kinds
from libs.saga import flow
from libs.saga.flow import Signal
from services.clearing.domain import errors, settlement, settling
from services.clearing.domain.model import Batch, BatchState
from services.clearing.domain.settlement import Booked, Transfer
from services.clearing.domain.settling import Decided, Posted, PostUnknown, Refused

NOW = datetime(2026, 3, 3, 4, tzinfo=UTC)
DAY = date(2026, 3, 2)
COMPUTED, POSTING, REFUSED, MANUAL, SETTLED, CANCELED = BatchState
RETRY = Decided(to_state=POSTING, actor="ops", note="again")
CANCEL = Decided(to_state=CANCELED, actor="ops", note="merge it")
SIGNALS: tuple[Signal, ...] = (
    flow.Due(),
    Posted(),
    Refused("INSUFFICIENT_FUNDS"),
    Refused("ACCOUNT_NOT_FOUND"),
    PostUnknown("UNAVAILABLE"),
    RETRY,
    CANCEL,
)
POOR, GONE, SILENT = SIGNALS[2], SIGNALS[3], SIGNALS[4]


def batch(state: BatchState = COMPUTED) -> Batch:
    return Batch(
        batch_id="set_1",
        merchant_id="mer_1",
        currency="CNY",
        business_date=DAY,
        settle_date=date(2026, 3, 3),
        items_count=1,
        gross_minor=1_000,
        refunds_minor=0,
        fees_minor=6,
        net_minor=994,
        state=state,
        settled_at=NOW if state is SETTLED else None,
        created_at=NOW,
        updated_at=NOW,
        next_run_at=NOW,
    )


# Which state each signal leads to; None for "nothing happens", an error for a refusal.
TABLE: dict[BatchState, Sequence[BatchState | type[Exception] | None]] = {
    #          Due      Posted   poor     gone    silent   retry    cancel
    COMPUTED: (POSTING, SETTLED, None, None, None, POSTING, errors.BatchNotManual),
    POSTING: (POSTING, SETTLED, REFUSED, MANUAL, POSTING, POSTING, errors.BatchNotManual),
    REFUSED: (POSTING, SETTLED, None, None, None, POSTING, errors.BatchNotManual),
    MANUAL: (POSTING, SETTLED, None, None, None, POSTING, CANCELED),
    SETTLED: (None, None, None, None, None, None, None),
    CANCELED: (None, None, None, None, None, None, None),
}


@pytest.mark.parametrize("state", list(BatchState))
@pytest.mark.parametrize(
    ("number", "signal"), list(enumerate(SIGNALS)), ids=lambda value: type(value).__name__
)
def test_every_signal_in_every_state(state: BatchState, number: int, signal: Signal) -> None:
    expected = TABLE[state][number]
    if isinstance(expected, type):
        with pytest.raises(expected):
            settling.decide(batch(state), None, signal, NOW)
        return
    step = settling.decide(batch(state), None, signal, NOW)
    assert (step.subject.state if step else None) == expected
    if step is None:
        return
    after = step.subject
    assert after.version == 2
    assert step.events == (("batch.settled",) if after.state is SETTLED else ())
    assert kinds.KNOWN.issuperset(step.events)
    asks = isinstance(signal, flow.Due) or signal is RETRY
    assert step.command is (settling.BatchCommand.POST if asks else None)
    waits = after.state in {POSTING, REFUSED}
    assert (after.next_run_at is not None and after.next_run_at > NOW) == waits
    assert (after.settled_at is not None) == (after.state is SETTLED)


def test_a_batch_is_due_at_once_or_when_its_settlement_day_begins_in_shanghai() -> None:
    made_at = datetime(2026, 3, 2, 4, tzinfo=UTC)
    later = settling.due_at(date(2026, 3, 3), made_at, at_once=False)
    assert later == datetime(2026, 3, 3, tzinfo=ZoneInfo("Asia/Shanghai"))
    assert settling.due_at(date(2026, 3, 3), made_at, at_once=True) == made_at
    assert settling.due_at(date(2026, 3, 1), made_at, at_once=False) == made_at


def test_a_reason_that_can_pass_is_waited_for_and_then_goes_to_a_person() -> None:
    now, current, waits = NOW, batch(), []
    while current.state is not MANUAL:
        current = _decided(current, flow.Due(), now)
        current = _decided(current, POOR, now)
        if current.next_run_at is not None:
            waits.append((current.next_run_at - now).total_seconds())
            now = current.next_run_at
    assert waits == sorted(waits)
    assert settling.REFUSAL_PATIENCE <= now - NOW < settling.REFUSAL_PATIENCE + timedelta(days=1)
    assert len(waits) < 10
    assert (current.reason, current.next_run_at) == ("INSUFFICIENT_FUNDS", None)


def test_silence_never_ends_the_asking_nor_goes_to_a_person() -> None:
    now, current = NOW, batch()
    for _ in range(50):
        current = _decided(_decided(current, flow.Due(), now), SILENT, now)
        assert current.state is POSTING
        assert current.next_run_at is not None
        assert timedelta(0) < current.next_run_at - now <= timedelta(minutes=5)
        now = current.next_run_at + timedelta(days=1)
    assert _decided(current, Posted(), now).state is SETTLED


@given(signals=st.lists(st.sampled_from(SIGNALS), max_size=40))
def test_whatever_happens_a_batch_is_settled_by_the_ledgers_word_alone(
    signals: list[Signal],
) -> None:
    current, now = batch(), NOW
    for signal in signals:
        now += timedelta(hours=1)
        before = current
        try:
            current = _decided(before, signal, now)
        except errors.BatchNotManual:
            continue
        if current.state is SETTLED and before.state is not SETTLED:
            assert isinstance(signal, Posted)
        if current.state is CANCELED and before.state is not CANCELED:
            assert signal is CANCEL
            assert before.state is MANUAL
        if before.state in settling.ENDED:
            assert current == before
        if current.state not in settling.ENDED | {MANUAL}:
            assert current.next_run_at is not None


def _booked() -> Booked:
    return Booked(transfer_id="", booked=True)


def _refused(reason: str) -> Booked:
    return Booked(transfer_id="", booked=False, reason=reason)


CHAIN = settlement.batch_transfers(batch())


@pytest.mark.parametrize(
    ("results", "expected"),
    [
        ((_booked(), _booked()), Posted()),
        (
            (_refused("LINKED_FAILED"), _refused("INSUFFICIENT_FUNDS")),
            Refused("INSUFFICIENT_FUNDS"),
        ),
        (
            (_refused("LOST_RACE"), _refused("LINKED_FAILED")),
            PostUnknown("LOST_RACE"),
        ),
        ((_booked(),), PostUnknown("ANSWER_INCOMPLETE")),
        ((), PostUnknown("ANSWER_INCOMPLETE")),
    ],
    ids=str,
)
def test_a_chain_is_posted_only_when_all_of_it_stands_booked(
    results: Sequence[Booked], expected: Signal
) -> None:
    named = {
        transfer.transfer_id: replace(result, transfer_id=transfer.transfer_id)
        for transfer, result in zip(CHAIN, results, strict=False)
    }
    assert settling.verdict(CHAIN, named) == expected


@given(sizes=st.lists(st.integers(1, 5), max_size=60), limit=st.integers(1, 12))
def test_chains_are_packed_in_order_and_never_split(sizes: list[int], limit: int) -> None:
    chains: list[Sequence[Transfer]] = [[CHAIN[0]] * size for size in sizes]
    parts = settlement.packed(chains, limit)
    assert [chain for part in parts for chain in part] == chains
    for part in parts:
        assert sum(len(chain) for chain in part) <= limit or len(part) == 1
    assert all(parts)


def _decided(before: Batch, signal: Signal, now: datetime) -> Batch:
    step = settling.decide(before, None, signal, now)
    return before if step is None else step.subject
