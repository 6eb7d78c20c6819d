"""What a person should look at: sagas that no machine brings to their end."""

import enum
from dataclasses import dataclass
from datetime import datetime
from typing import Final

# The flow of a subject is told by the prefix of its id.
FLOW_OF_PREFIX: Final = {"pay": "payment", "cap": "capture", "ref": "refund", "pout": "payout"}
FLOWS: Final = tuple(FLOW_OF_PREFIX.values())


class Why(enum.StrEnum):
    """What is wrong with a saga."""

    MANUAL = "MANUAL"
    """It stands before a person: no machine can decide it."""
    QUARANTINED = "QUARANTINED"
    """It was taken up again and again without a step."""
    OVERDUE = "OVERDUE"
    """Its time has long come and nobody has taken it up."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StuckLine:
    """A saga as an on-call sees it."""

    flow: str
    subject_id: str
    merchant_id: str
    state: str
    reason: str
    why: Why | None
    """None when nothing is wrong with it, as right after a retry."""
    created_at: datetime
    next_run_at: datetime | None
    faults_count: int
    last_fault: str


def flow_of(subject_id: str) -> str:
    """The flow an id belongs to, "" for none."""
    return FLOW_OF_PREFIX.get(subject_id.partition("_")[0], "")
