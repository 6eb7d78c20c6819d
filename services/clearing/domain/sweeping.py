"""The life of a sweep (归集): what an account has above an amount to keep goes to another account of the ledger.

The money is set aside first, by a hold whose id is the sweep's, then moved by capturing that hold. Both may be asked for as often as it
takes. What may be set aside is released before a sweep ends without having moved it, also when the answer about it was lost:
voiding a hold that was never placed bars it from being placed later.
"""

import enum
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any, Final, TypeAlias

from libs.money import AMOUNT_MINOR_MAX
from libs.saga import flow
from libs.saga.flow import Command, Forced, Signal
from services.clearing.domain import errors

FLOW_VERSION: Final = 1
HARD_DEADLINE: Final = timedelta(hours=1)
DELAYS_S: Final = (1.0, 2.0, 5.0, 15.0, 60.0, 300.0)
NOTHING_TO_SWEEP: Final = "NOTHING_TO_SWEEP"
# The hold is gone and nothing was moved.
_RELEASED_REASONS: Final = frozenset({"HOLD_VOIDED", "HOLD_EXPIRED"})
# Refusals that say nothing of the question: ask again.
_RACE_REASONS: Final = frozenset({"LOST_RACE"})
# Another amount of this hold was moved: no rule squares that.
_HOLD_CAPTURED: Final = "HOLD_CAPTURED"


class SweepState(enum.StrEnum):
    """Where a sweep stands."""

    READING = "READING"
    HOLDING = "HOLDING"
    MOVING = "MOVING"
    VOIDING = "VOIDING"
    DONE = "DONE"
    SKIPPED = "SKIPPED"
    FAILED = "FAILED"
    CANCELED = "CANCELED"
    MANUAL = "MANUAL"


ENDED: Final = frozenset(
    {SweepState.DONE, SweepState.SKIPPED, SweepState.FAILED, SweepState.CANCELED}
)


class SweepCommand(Command):
    """What a sweep wants of the ledger."""

    READ = enum.auto()
    """Read the source account's available balance."""
    HOLD = enum.auto()
    """Set the amount aside."""
    MOVE = enum.auto()
    """Capture the hold."""
    VOID = enum.auto()
    """Release the hold, or bar it."""


_COMMANDS: Final = {
    SweepState.READING: SweepCommand.READ,
    SweepState.HOLDING: SweepCommand.HOLD,
    SweepState.MOVING: SweepCommand.MOVE,
    SweepState.VOIDING: SweepCommand.VOID,
}


@dataclass(frozen=True, slots=True)
class Available(Signal):
    """What the source account has that no hold has set aside."""

    amount_minor: int


@dataclass(frozen=True, slots=True)
class Held(Signal):
    """The amount is set aside."""


@dataclass(frozen=True, slots=True)
class Moved(Signal):
    """The amount is in the target account."""


@dataclass(frozen=True, slots=True)
class Voided(Signal):
    """Nothing is set aside, and nothing will be."""


@dataclass(frozen=True, slots=True)
class Refused(Signal):
    """The ledger has said no to what it was asked."""

    command: SweepCommand
    reason: str


@dataclass(frozen=True, slots=True)
class Silent(Signal):
    """No word of the ledger: what it was asked may be done or not."""

    reason: str


class CancelWanted(Signal):
    """The caller does not want it any more."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Decided(Forced):
    """A person wants what is set aside moved (MOVING) or released (VOIDING)."""

    actor: str
    note: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Sweep:
    """One sweep. Field names are the columns of its row."""

    sweep_id: str
    request_id: str
    fingerprint: str
    source_account_id: str
    target_account_id: str
    currency: str
    keep_minor: int
    minimum_minor: int
    memo: str
    state: SweepState = SweepState.READING
    reason: str = ""
    amount_minor: int = 0
    tries_count: int = 0
    """How often the ledger was asked the present question before without an answer being written down."""
    is_cancel_wanted: bool = False
    decided_by: str = ""
    note: str = ""
    hard_deadline_at: datetime
    created_at: datetime
    updated_at: datetime
    next_run_at: datetime | None
    version: int = 1
    epoch: int = 1
    flow_version: int = FLOW_VERSION
    faults_count: int = 0
    last_fault: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """How an account stands."""

    currency: str
    available_minor: int


@dataclass(frozen=True, slots=True, kw_only=True)
class HoldAnswer:
    """The ledger's word about a hold; `captured_minor` as it stands now."""

    is_accepted: bool
    reason: str
    captured_minor: int


SweepStep: TypeAlias = flow.Step[Sweep, None]


def open_sweep(sweep: Sweep) -> SweepStep:
    """The durable intent. Raises SweepOntoItself."""
    if sweep.source_account_id == sweep.target_account_id:
        raise errors.SweepOntoItself(field="target_account_id")
    return flow.Step(subject=sweep, command=SweepCommand.READ)


def read(sweep: Sweep, standing: Standing | None) -> Signal:
    """What the source account's balance says; no standing means no account."""
    if standing is None:
        return Refused(SweepCommand.READ, "ACCOUNT_NOT_FOUND")
    if standing.currency != sweep.currency:
        return Refused(SweepCommand.READ, "CURRENCY_MISMATCH")
    return Available(standing.available_minor)


def answered(command: SweepCommand, sweep: Sweep, answer: HoldAnswer) -> Signal:
    """What the ledger's word about the hold says."""
    if answer.reason in _RACE_REASONS:
        return Silent(answer.reason)
    if answer.captured_minor == sweep.amount_minor > 0:
        # Whatever was asked: the hold was captured, all of it, and so it has moved.
        return Moved()
    if not answer.is_accepted:
        return Refused(command, answer.reason)
    match command:
        case SweepCommand.HOLD:
            return Held()
        case SweepCommand.VOID:
            return Voided()
        case _:
            return Silent("ANSWER_INCOMPLETE")


def decide(sweep: Sweep, _attempt: None, signal: Signal, now: datetime) -> SweepStep | None:
    """What a signal means for a sweep; None when it means nothing (any more).

    Raises SweepNotCancelable, SweepNotManual.
    """
    match signal:
        case CancelWanted():
            return _canceled(sweep, now)
        case Decided():
            return _decided(sweep, signal, now)
        case _ if sweep.state in ENDED:
            return None
        case flow.Due() if sweep.state in _COMMANDS:
            tries_count = sweep.tries_count + 1
            return _asking(sweep, now, sweep.state, reason=sweep.reason, tries_count=tries_count)
        case Available(amount_minor=available) if sweep.state is SweepState.READING:
            return _measured(sweep, available, now)
        case Held() if sweep.state is SweepState.HOLDING:
            return _asking(sweep, now, SweepState.MOVING)
        case Moved():
            return _ended(sweep, now, SweepState.DONE, "")
        case Voided() if sweep.state in {SweepState.VOIDING, SweepState.MANUAL}:
            ended = SweepState.CANCELED if sweep.is_cancel_wanted else SweepState.FAILED
            return _ended(sweep, now, ended, sweep.reason)
        case Refused() if _COMMANDS.get(sweep.state) is signal.command:
            return _refused(sweep, signal, now)
        case Silent(reason=reason) if sweep.state in _COMMANDS:
            return _waiting(sweep, reason, now)
        case _:
            return None


def _measured(sweep: Sweep, available_minor: int, now: datetime) -> SweepStep:
    amount_minor = min(available_minor - sweep.keep_minor, AMOUNT_MINOR_MAX)
    if amount_minor < max(sweep.minimum_minor, 1):
        return _ended(sweep, now, SweepState.SKIPPED, NOTHING_TO_SWEEP)
    return _asking(sweep, now, SweepState.HOLDING, amount_minor=amount_minor)


def _refused(sweep: Sweep, refused: Refused, now: datetime) -> SweepStep:
    match refused.command:
        case SweepCommand.HOLD if sweep.tries_count > 0:
            # An earlier request for the hold got no answer and may still be on its way: bar it.
            return _asking(sweep, now, SweepState.VOIDING, reason=refused.reason)
        case SweepCommand.MOVE if refused.reason == _HOLD_CAPTURED:
            return _manual(sweep, refused.reason, now)
        case SweepCommand.MOVE if refused.reason not in _RELEASED_REASONS:
            return _asking(sweep, now, SweepState.VOIDING, reason=refused.reason)
        case SweepCommand.VOID:
            return _manual(sweep, refused.reason, now)
        case _:
            return _ended(sweep, now, SweepState.FAILED, refused.reason)


def _waiting(sweep: Sweep, reason: str, now: datetime) -> SweepStep:
    if now < sweep.hard_deadline_at:
        # A sweep that is being undone keeps the reason why.
        kept = sweep.reason if sweep.state is SweepState.VOIDING else reason
        again_at = flow.next_try_at(DELAYS_S, sweep.tries_count, now)
        return flow.Step(subject=_moved(sweep, now, reason=kept, next_run_at=again_at))
    if sweep.state is SweepState.READING:
        return _ended(sweep, now, SweepState.FAILED, reason)
    return _manual(sweep, reason, now)


def _canceled(sweep: Sweep, now: datetime) -> SweepStep | None:
    match sweep.state:
        case SweepState.READING:
            canceled = replace(sweep, is_cancel_wanted=True)
            return _ended(canceled, now, SweepState.CANCELED, "")
        case SweepState.HOLDING:
            # A hold on its way comes before the void, or finds itself barred.
            return _asking(sweep, now, SweepState.VOIDING, is_cancel_wanted=True)
        case _ if sweep.is_cancel_wanted:
            return None
        case _:
            raise errors.SweepNotCancelable(field="sweep_id", state=sweep.state.value)


def _decided(sweep: Sweep, decision: Decided, now: datetime) -> SweepStep | None:
    wanted = SweepState(decision.to_state)
    if sweep.state is SweepState.MANUAL and wanted in {SweepState.MOVING, SweepState.VOIDING}:
        words = {"decided_by": decision.actor, "note": decision.note}
        return _asking(
            sweep, now, wanted, reason=sweep.reason, hard_deadline_at=now + HARD_DEADLINE, **words
        )
    if sweep.state is wanted or sweep.state in ENDED:
        return None
    raise errors.SweepNotManual(field="sweep_id", state=sweep.state.value)


def _manual(sweep: Sweep, reason: str, now: datetime) -> SweepStep:
    return flow.Step(
        subject=_moved(sweep, now, state=SweepState.MANUAL, reason=reason, next_run_at=None)
    )


def _asking(sweep: Sweep, now: datetime, state: SweepState, **changes: Any) -> SweepStep:
    asked: dict[str, Any] = {
        "reason": "",
        "tries_count": 0,
        "next_run_at": flow.leased_until(now),
    }
    return flow.Step(
        subject=_moved(sweep, now, state=state, **asked | changes), command=_COMMANDS[state]
    )


def _ended(sweep: Sweep, now: datetime, state: SweepState, reason: str) -> SweepStep:
    ended = _moved(sweep, now, state=state, reason=reason, next_run_at=None)
    return flow.Step(subject=ended, events=(f"sweep.{state.lower()}",))


def _moved(sweep: Sweep, now: datetime, **changes: Any) -> Sweep:
    return replace(sweep, updated_at=now, version=sweep.version + 1, **changes)
