"""A sweep moves money that was set aside, once, or leaves nothing set aside."""

from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from libs.events import kinds
from libs.saga import flow
from libs.saga.flow import Command, Signal
from services.clearing.domain import errors, sweeping
from services.clearing.domain.sweeping import (
    Available,
    CancelWanted,
    Decided,
    Held,
    HoldAnswer,
    Moved,
    Refused,
    Silent,
    Standing,
    Sweep,
    SweepCommand,
    SweepState,
    Voided,
)

NOW = datetime(2026, 3, 3, 4, tzinfo=UTC)
READING, HOLDING, MOVING, VOIDING, DONE, SKIPPED, FAILED, CANCELED, MANUAL = SweepState
READ, HOLD, MOVE, VOID = SweepCommand
MOVE_IT = Decided(to_state=MOVING, actor="ops", note="it is there")
RELEASE_IT = Decided(to_state=VOIDING, actor="ops", note="let it go")
NOT_CANCELABLE, NOT_MANUAL = errors.SweepNotCancelable, errors.SweepNotManual


def sweep(state: SweepState = READING, **changes: object) -> Sweep:
    made = Sweep(
        sweep_id="swp_1",
        request_id="r1",
        fingerprint="",
        source_account_id="merchant/a/available/CNY",
        target_account_id="merchant/b/available/CNY",
        currency="CNY",
        keep_minor=100,
        minimum_minor=50,
        memo="",
        state=state,
        amount_minor=0 if state is READING else 900,
        hard_deadline_at=NOW + sweeping.HARD_DEADLINE,
        created_at=NOW,
        updated_at=NOW,
        next_run_at=flow.leased_until(NOW),
    )
    return replace(made, **changes)  # type: ignore[arg-type]  # names are checked by replace itself


# Signal, and where it leads from READING, HOLDING, MOVING, VOIDING, MANUAL; states are reached with the command in TABLE_COMMANDS.
Row = tuple[Signal, tuple[SweepState | type[Exception] | None, ...]]
TABLE: tuple[Row, ...] = (
    (flow.Due(), (READING, HOLDING, MOVING, VOIDING, None)),
    (Available(1_000), (HOLDING, None, None, None, None)),
    (Available(149), (SKIPPED, None, None, None, None)),
    (Held(), (None, MOVING, None, None, None)),
    (Moved(), (DONE, DONE, DONE, DONE, DONE)),
    (Voided(), (None, None, None, FAILED, FAILED)),
    (Refused(READ, "ACCOUNT_NOT_FOUND"), (FAILED, None, None, None, None)),
    (Refused(HOLD, "INSUFFICIENT_FUNDS"), (None, FAILED, None, None, None)),
    (Refused(MOVE, "HOLD_VOIDED"), (None, None, FAILED, None, None)),
    (Refused(MOVE, "BALANCE_OVERFLOW"), (None, None, VOIDING, None, None)),
    (Refused(MOVE, "HOLD_CAPTURED"), (None, None, MANUAL, None, None)),
    (Refused(VOID, "HOLD_CAPTURED"), (None, None, None, MANUAL, None)),
    (Silent("UNAVAILABLE"), (READING, HOLDING, MOVING, VOIDING, None)),
    (CancelWanted(), (CANCELED, VOIDING, NOT_CANCELABLE, NOT_CANCELABLE, NOT_CANCELABLE)),
    (MOVE_IT, (NOT_MANUAL, NOT_MANUAL, None, NOT_MANUAL, MOVING)),
    (RELEASE_IT, (NOT_MANUAL, NOT_MANUAL, NOT_MANUAL, None, VOIDING)),
)
COMMANDS = {READING: READ, HOLDING: HOLD, MOVING: MOVE, VOIDING: VOID}
OPEN_STATES = (READING, HOLDING, MOVING, VOIDING, MANUAL)


@pytest.mark.parametrize("state", OPEN_STATES)
@pytest.mark.parametrize("row", TABLE, ids=lambda row: type(row[0]).__name__)
def test_every_signal_in_every_state(state: SweepState, row: Row) -> None:
    signal, outcomes = row
    expected = outcomes[OPEN_STATES.index(state)]
    if isinstance(expected, type):
        with pytest.raises(expected):
            sweeping.decide(sweep(state), None, signal, NOW)
        return
    step = sweeping.decide(sweep(state), None, signal, NOW)
    assert (step.subject.state if step else None) == expected
    if step is None:
        return
    after = step.subject
    rests = isinstance(signal, Silent) or after.state not in COMMANDS
    assert step.command is (None if rests else COMMANDS[after.state])
    assert (after.next_run_at is None) == (after.state in sweeping.ENDED | {MANUAL})
    assert bool(step.events) == (after.state in sweeping.ENDED)
    assert kinds.KNOWN.issuperset(step.events)
    assert after.version == 2


@pytest.mark.parametrize("state", sorted(sweeping.ENDED))
@pytest.mark.parametrize("row", TABLE, ids=lambda row: type(row[0]).__name__)
def test_what_has_ended_stays(state: SweepState, row: Row) -> None:
    signal, _ = row
    if isinstance(signal, CancelWanted):
        with pytest.raises(NOT_CANCELABLE):
            sweeping.decide(sweep(state), None, signal, NOW)
        return
    assert sweeping.decide(sweep(state), None, signal, NOW) is None


def test_what_is_above_the_amount_to_keep_is_moved_if_it_is_worth_it() -> None:
    step = sweeping.decide(sweep(), None, Available(1_000), NOW)
    assert step is not None
    assert (step.subject.amount_minor, step.command) == (900, HOLD)
    worthless = sweeping.decide(sweep(minimum_minor=0, keep_minor=0), None, Available(0), NOW)
    assert worthless is not None
    assert worthless.subject.state is SKIPPED


def test_a_refused_hold_whose_first_answer_was_lost_is_barred_before_the_sweep_fails() -> None:
    asked_again = sweeping.decide(sweep(HOLDING), None, flow.Due(), NOW)
    assert asked_again is not None
    step = sweeping.decide(asked_again.subject, None, Refused(HOLD, "INSUFFICIENT_FUNDS"), NOW)
    assert step is not None
    assert (step.subject.state, step.command) == (VOIDING, VOID)
    silent = sweeping.decide(step.subject, None, Silent("UNAVAILABLE"), NOW)
    assert silent is not None
    ended = sweeping.decide(silent.subject, None, Voided(), NOW)
    assert ended is not None
    assert (ended.subject.state, ended.subject.reason) == (FAILED, "INSUFFICIENT_FUNDS")


def test_a_canceled_sweep_ends_canceled_once_nothing_is_set_aside() -> None:
    voiding = sweeping.decide(sweep(HOLDING), None, CancelWanted(), NOW)
    assert voiding is not None
    assert sweeping.decide(voiding.subject, None, CancelWanted(), NOW) is None
    ended = sweeping.decide(voiding.subject, None, Voided(), NOW)
    assert ended is not None
    assert ended.subject.state is CANCELED
    assert sweeping.decide(ended.subject, None, CancelWanted(), NOW) is None


def test_silence_until_the_hard_deadline_goes_to_a_person() -> None:
    late = NOW + sweeping.HARD_DEADLINE
    for state, expected in (
        (READING, FAILED),
        (HOLDING, MANUAL),
        (MOVING, MANUAL),
        (VOIDING, MANUAL),
    ):
        step = sweeping.decide(sweep(state), None, Silent("UNAVAILABLE"), late)
        assert step is not None
        assert (step.subject.state, step.subject.next_run_at) == (expected, None)
    decided = sweeping.decide(sweep(MANUAL), None, RELEASE_IT, late)
    assert decided is not None
    assert decided.subject.hard_deadline_at == late + sweeping.HARD_DEADLINE
    assert (decided.subject.decided_by, decided.subject.note) == ("ops", "let it go")


def test_a_sweep_onto_itself_is_refused() -> None:
    with pytest.raises(errors.SweepOntoItself):
        sweeping.open_sweep(sweep(target_account_id="merchant/a/available/CNY"))


def test_a_balance_in_another_currency_or_none_at_all_fails() -> None:
    assert sweeping.read(sweep(), None) == Refused(READ, "ACCOUNT_NOT_FOUND")
    other = Standing(currency="USD", available_minor=1)
    assert sweeping.read(sweep(), other) == Refused(READ, "CURRENCY_MISMATCH")


@dataclass
class Ledger:
    """A plain model of the account service's holds, for one sweep."""

    available_minor: int
    state: str = ""
    moved_minor: int = 0

    def answer(self, command: Command, swept: Sweep) -> Signal:
        if command is READ:
            return Available(self.available_minor)
        accepted, reason = self._do(command, swept)
        answer = HoldAnswer(is_accepted=accepted, reason=reason, captured_minor=self.moved_minor)
        return sweeping.answered(SweepCommand(command), swept, answer)

    def _do(self, command: Command, swept: Sweep) -> tuple[bool, str]:
        if command is HOLD and self.state == "":
            if self.available_minor < swept.amount_minor:
                return False, "INSUFFICIENT_FUNDS"
            self.state, self.available_minor = "HELD", self.available_minor - swept.amount_minor
            return True, ""
        if command is HOLD:
            return (False, "HOLD_VOIDED") if self.state == "VOIDED" else (True, "")
        if command is MOVE:
            if self.state == "HELD":
                self.state, self.moved_minor = "CAPTURED", swept.amount_minor
            reasons = {"": "HOLD_NOT_FOUND", "VOIDED": "HOLD_VOIDED"}
            return self.state == "CAPTURED", reasons.get(self.state, "")
        if self.state == "CAPTURED":
            return False, "HOLD_CAPTURED"
        if self.state == "HELD":
            self.available_minor += swept.amount_minor
        self.state = "VOIDED"
        return True, ""


@dataclass
class World:
    """One sweep, its ledger, and calls whose answers are lost or that arrive later than others."""

    ledger: Ledger
    current: Sweep = field(default_factory=sweep)
    command: Command | None = READ
    delayed: tuple[tuple[Command, Sweep], ...] = ()
    now: datetime = NOW

    def copy(self) -> "World":
        return replace(self, ledger=replace(self.ledger))

    @property
    def key(self) -> object:
        """What can make a difference to what happens next."""
        now = self.current
        return (
            now.state,
            now.amount_minor,
            now.tries_count > 0,
            now.is_cancel_wanted,
            now.hard_deadline_at > self.now,
            self.command,
            repr(self.ledger),
            tuple((command, swept.amount_minor) for command, swept in self.delayed),
        )

    def happen(self, event: str) -> None:
        asked, swept = self.command, self.current
        match event:
            case "due" if swept.next_run_at is not None:
                self._tell(flow.Due())
            case "later":
                self.now += timedelta(hours=2)
            case "cancel" if swept.state in {READING, HOLDING}:
                self._tell(CancelWanted())
            case "move it" if swept.state is MANUAL:
                self._tell(MOVE_IT)
            case "release it" if swept.state is MANUAL:
                self._tell(RELEASE_IT)
            case "spent":
                self.ledger.available_minor = 0
            case "earned":
                self.ledger.available_minor = 400
            case "arrives" if self.delayed:
                call, *others = self.delayed
                self.delayed = tuple(others)
                self.ledger.answer(*call)
            case _ if asked is not None:
                self._call(event, asked, swept)

    def _call(self, event: str, asked: Command, swept: Sweep) -> None:
        match event:
            case "answered":
                self._tell(self.ledger.answer(asked, swept))
            case "lost":
                self.ledger.answer(asked, swept)
                self._tell(Silent("UNAVAILABLE"))
            case "dies":
                self.ledger.answer(asked, swept)
                self.command = None
            case "delayed" if len(self.delayed) < DELAYED_MAX:
                self.delayed += ((asked, swept),)
                self._tell(Silent("UNAVAILABLE"))
            case "dies early" if len(self.delayed) < DELAYED_MAX:
                self.delayed += ((asked, swept),)
                self.command = None

    def check(self) -> None:
        """Money has moved, or will never: whatever is still on its way arrives at a rich ledger."""
        ledger, state = replace(self.ledger), self.current.state
        if state is DONE:
            assert ledger.moved_minor == self.current.amount_minor > 0
        if state in {SKIPPED, FAILED, CANCELED}:
            ledger.available_minor += 10_000
            for call in self.delayed:
                ledger.answer(*call)
            assert (ledger.moved_minor, ledger.state) in {(0, ""), (0, "VOIDED")}

    def _tell(self, signal: Signal) -> None:
        self.command = None
        step = sweeping.decide(self.current, None, signal, self.now)
        if step is not None:
            self.current, self.command = step.subject, step.command


DELAYED_MAX = 2
EVENTS = (
    "answered", "lost", "delayed", "arrives", "due", "cancel", "spent", "earned", "later",
    "dies", "dies early", "move it", "release it",
)  # fmt: skip


def test_money_has_moved_or_never_will_in_every_world_that_can_be() -> None:
    worlds = [World(ledger=Ledger(available_minor=400))]
    seen = {worlds[0].key}
    ends = set()
    while worlds:
        before = worlds.pop()
        for event in EVENTS:
            world = before.copy()
            world.happen(event)
            if world.key not in seen:
                seen.add(world.key)
                world.check()
                ends.add(world.current.state)
                worlds.append(world)
    assert ends == set(SweepState)
    assert len(seen) > 500


@given(events=st.lists(st.sampled_from(EVENTS), max_size=60), available=st.integers(0, 2_000))
def test_money_has_moved_or_never_will_whatever_happens(events: list[str], available: int) -> None:
    world = World(ledger=Ledger(available_minor=available))
    for event in events:
        world.happen(event)
        world.check()
