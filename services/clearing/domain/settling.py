"""The life of a settlement batch (结算批次): computed, due, posted as one chain of transfers, settled.

Transfers have ids that come from the batch, so the ledger may be asked as often as it takes. Nothing is settled without its word, and
nothing it has refused is asked of it for ever.
"""

import enum
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime, time, timedelta
from typing import Any, Final, TypeAlias
from zoneinfo import ZoneInfo

from libs.saga import flow
from libs.saga.flow import Command, Forced, Signal
from services.clearing.domain import errors
from services.clearing.domain.model import Batch, BatchState
from services.clearing.domain.settlement import Booked, Transfer

FLOW_VERSION: Final = 1
SETTLEMENT_ZONE: Final = ZoneInfo("Asia/Shanghai")
ENDED: Final = frozenset({BatchState.SETTLED, BatchState.CANCELED})
# What the ledger refuses today and may accept tomorrow, when the merchant has been paid again.
PASSING_REASONS: Final = frozenset({"INSUFFICIENT_FUNDS"})
# How long a batch waits for such a reason to pass.
REFUSAL_PATIENCE: Final = timedelta(days=3)
REFUSED_DELAYS_S: Final = (60.0, 600.0, 3_600.0, 21_600.0, 86_400.0)
UNKNOWN_DELAYS_S: Final = (1.0, 2.0, 5.0, 15.0, 60.0, 300.0)
# The ledger's word for the innocent transfers of a refused chain.
CHAIN_REASON: Final = "LINKED_FAILED"
# Refusals that say nothing of the question: ask again.
RACE_REASONS: Final = frozenset({"LOST_RACE"})
ANSWER_INCOMPLETE: Final = "ANSWER_INCOMPLETE"
SETTLED_EVENT: Final = "batch.settled"

BatchStep: TypeAlias = flow.Step[Batch, None]


class BatchCommand(Command):
    """What a batch wants of the outside."""

    POST = enum.auto()
    """Have its transfers booked."""


@dataclass(frozen=True, slots=True)
class Posted(Signal):
    """The ledger has it, all of it."""


@dataclass(frozen=True, slots=True)
class Refused(Signal):
    """The ledger has said no; nothing of it is booked."""

    reason: str


@dataclass(frozen=True, slots=True)
class PostUnknown(Signal):
    """No word of the ledger: all of it may be booked, or nothing."""

    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Decided(Forced):
    """A person wants it booked again (POSTING) or canceled (CANCELED)."""

    actor: str
    note: str


def verdict(chain: Sequence[Transfer], results: Mapping[str, Booked]) -> Signal:
    """What the ledger's results say of a batch's chain."""
    told = [results[each.transfer_id] for each in chain if each.transfer_id in results]
    if len(told) < len(chain):
        return PostUnknown(ANSWER_INCOMPLETE)
    reasons = [each.reason for each in told if not each.booked]
    if not reasons:
        return Posted()
    reason = next((each for each in reasons if each != CHAIN_REASON), CHAIN_REASON)
    return PostUnknown(reason) if reason in RACE_REASONS else Refused(reason)


def due_at(settle_date: date, made_at: datetime, *, at_once: bool) -> datetime:
    """When a batch made now is to be booked."""
    if at_once:
        return made_at
    return max(made_at, datetime.combine(settle_date, time(0, 0), tzinfo=SETTLEMENT_ZONE))


def decide(batch: Batch, _attempt: None, signal: Signal, now: datetime) -> BatchStep | None:
    """What a signal means for a batch; None when it means nothing (any more). Raises BatchNotManual."""
    match signal:
        case Decided():
            return _decided(batch, signal, now)
        case _ if batch.state in ENDED:
            return None
        case flow.Due():
            return _posting(batch, now)
        case Posted():
            settled = _moved(
                batch,
                now,
                state=BatchState.SETTLED,
                reason="",
                settled_at=now,
                refused_since=None,
                next_run_at=None,
            )
            return flow.Step(subject=settled, events=(SETTLED_EVENT,))
        case Refused(reason=reason) if batch.state is BatchState.POSTING:
            return _refused(batch, reason, now)
        case PostUnknown(reason=reason) if batch.state is BatchState.POSTING:
            again_at = flow.next_try_at(UNKNOWN_DELAYS_S, batch.tries_count, now)
            tries_count = batch.tries_count + 1
            waiting = _moved(
                batch, now, reason=reason, tries_count=tries_count, next_run_at=again_at
            )
            return flow.Step(subject=waiting)
        case _:
            return None


def _decided(batch: Batch, decision: Decided, now: datetime) -> BatchStep | None:
    words = {"decided_by": decision.actor, "note": decision.note}
    match decision.to_state:
        case BatchState.POSTING if batch.state not in ENDED:
            return _posting(batch, now, **words)
        case BatchState.CANCELED if batch.state is BatchState.MANUAL:
            canceled = _moved(batch, now, state=BatchState.CANCELED, next_run_at=None, **words)
            return flow.Step(subject=canceled)
        case BatchState.POSTING | BatchState.CANCELED if batch.state in ENDED:
            return None
        case _:
            raise errors.BatchNotManual(field="batch_id", state=batch.state.value)


def _posting(batch: Batch, now: datetime, **words: str) -> BatchStep:
    posting = _moved(
        batch, now, state=BatchState.POSTING, next_run_at=flow.leased_until(now), **words
    )
    return flow.Step(subject=posting, command=BatchCommand.POST)


def _refused(batch: Batch, reason: str, now: datetime) -> BatchStep:
    since = batch.refused_since or now
    tries_count = batch.tries_count if batch.refused_since else 0
    can_pass = reason in PASSING_REASONS and now < since + REFUSAL_PATIENCE
    refused = _moved(
        batch,
        now,
        state=BatchState.REFUSED if can_pass else BatchState.MANUAL,
        reason=reason,
        tries_count=tries_count + 1,
        refused_since=since,
        next_run_at=flow.next_try_at(REFUSED_DELAYS_S, tries_count, now) if can_pass else None,
    )
    return flow.Step(subject=refused)


def _moved(batch: Batch, now: datetime, **changes: Any) -> Batch:
    return replace(batch, updated_at=now, version=batch.version + 1, **changes)
