"""Forced steps: one person proposes in which state a saga shall end, another decides (制单, 复核).

A proposal is approved durably before anything is forced, so that the name of the second person stands written whatever crashes; from
then on nobody can reject it any more, and whoever decides it again only completes it.
"""

import enum
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final

from services.gateway.domain import saga
from services.gateway.domain.errors import CheckerIsMaker, ForceAlreadyDecided, ForceRefused

TARGETS: Final = {
    "payment": ("SUCCEEDED", "FAILED", "CANCELED", saga.RESOLVED),
    "capture": ("SUCCEEDED", "FAILED", saga.RESOLVED),
    "refund": ("SUCCEEDED", "FAILED", saga.RESOLVED),
    "payout": ("SUCCEEDED", "FAILED", "RETURNED", saga.RESOLVED),
}


class ForceState(enum.StrEnum):
    """Where a proposal stands."""

    PROPOSED = "PROPOSED"
    """Waits for another person; once it has a checker, it is approved and being carried out."""
    APPLIED = "APPLIED"
    REJECTED = "REJECTED"
    STALE = "STALE"
    """The subject moved after the proposal, so that it no longer fits."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Force:
    """A proposal to end a subject in a state. Field names are the columns of its row."""

    force_id: str
    request_id: str
    subject_id: str
    subject_version: int
    """The version that the maker had seen."""
    subject_state: str
    subject_reason: str
    """Where it stood then: a subject that has moved from there is not forced. Being asked about does not move it."""
    to_state: str
    note: str
    state: ForceState = ForceState.PROPOSED
    maker_id: str
    checker_id: str = ""
    decision_note: str = ""
    proposed_at: datetime
    decided_at: datetime | None = None

    @property
    def is_approved(self) -> bool:
        """Whether it may be carried out, or has been tried."""
        return bool(self.checker_id) and self.state is not ForceState.REJECTED


@dataclass(frozen=True, slots=True, kw_only=True)
class SubjectFacts:
    """What forcing must know of a subject."""

    flow: str
    state: str
    reason: str
    version: int
    merchant_id: str


def check_target(flow: str, to_state: str) -> None:
    """Raises ForceRefused for a state that this flow never ends in. The flow itself has the last word later."""
    allowed = TARGETS[flow]
    if to_state not in allowed:
        raise ForceRefused(
            f"a {flow} can only be forced to {', '.join(allowed)}", field="to_state", flow=flow
        )


def is_same_wish(known: Force, new: Force) -> bool:
    """Whether a request_id that comes again wants what it wanted before."""
    return (known.subject_id, known.to_state, known.note, known.maker_id) == (
        new.subject_id,
        new.to_state,
        new.note,
        new.maker_id,
    )


def decide(
    force: Force, *, is_approved: bool, checker_id: str, note: str, now: datetime
) -> Force | None:
    """The proposal with this decision: rejected, or approved and yet to be carried out. None when that stands already.

    Raises CheckerIsMaker, and ForceAlreadyDecided when it was decided otherwise or by somebody else.
    """
    if checker_id == force.maker_id:
        raise CheckerIsMaker(force_id=force.force_id)
    if force.state is ForceState.PROPOSED and force.is_approved and is_approved:
        # Its approval stands, but was not seen through: anybody but the maker may do that.
        return None
    if not force.checker_id:
        decided = replace(force, checker_id=checker_id, decision_note=note)
        return decided if is_approved else settle(decided, ForceState.REJECTED, now)
    if force.checker_id == checker_id and force.is_approved == is_approved:
        return None
    raise ForceAlreadyDecided(
        f"it was {'approved' if force.is_approved else 'rejected'} by {force.checker_id}",
        force_id=force.force_id,
        state=force.state.value,
    )


def settle(force: Force, state: ForceState, now: datetime) -> Force:
    """The proposal as it ends."""
    return replace(force, state=state, decided_at=now)


def is_applied(force: Force, facts: SubjectFacts) -> bool:
    """Whether a subject already stands where this force, or one like it, has put it."""
    return (
        facts.reason == saga.FORCED
        and facts.state == force.to_state
        and facts.version > force.subject_version
    )
