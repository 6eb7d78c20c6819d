"""What a bank's words come to for one payout: statuses of pain.002, movements of camt, reason codes.

Only money that moved, or the bank's word that settlement is complete, is a success; every other acceptance is on its
way. A status that is not in a table is UNKNOWN: a word we never met must not move money or end an order.
"""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Final

from services.gateway.channels.iso20022.reports import BOOKED, RETURNED, Fact
from services.gateway.domain.channel import Outcome, OutcomeKind

REJECTED: Final = "RJCT"
STATUSES: Final[Mapping[str, OutcomeKind]] = {
    "RCVD": OutcomeKind.PENDING,
    "ACTC": OutcomeKind.PENDING,
    "ACCP": OutcomeKind.PENDING,
    "ACFC": OutcomeKind.PENDING,
    "ACSP": OutcomeKind.PENDING,
    "ACWC": OutcomeKind.PENDING,
    "ACWP": OutcomeKind.PENDING,
    "PATC": OutcomeKind.PENDING,
    "PDNG": OutcomeKind.PENDING,
    # Some of a message was taken and some was not: of this one nothing was said yet.
    "PART": OutcomeKind.PENDING,
    "ACSC": OutcomeKind.SUCCEEDED,
    "ACCC": OutcomeKind.SUCCEEDED,
    BOOKED: OutcomeKind.SUCCEEDED,
    RETURNED: OutcomeKind.RETURNED,
    REJECTED: OutcomeKind.DECLINED_HARD,
    "CANC": OutcomeKind.CLOSED,
}

# ISO 20022 external status and return reasons, in our words.
WORDS: Final[Mapping[str, str]] = {
    "AC01": "ACCOUNT_NOT_FOUND",
    "AC03": "ACCOUNT_NOT_FOUND",
    "AC04": "ACCOUNT_CLOSED",
    "AC07": "ACCOUNT_CLOSED",
    "BE01": "ACCOUNT_NAME_MISMATCH",
    "AM04": "INSUFFICIENT_FUNDS",
}
# The number was used before: this refusal is not about the first message that carried it.
DUPLICATES: Final = frozenset({"AM05", "DU01", "DU02", "DU03", "DU04", "DU05"})
# Our account, the clock, or a bank in between is at fault: the payout may leave another way.
SOFT: Final = frozenset(
    {"AC02", "AC05", "AM04", "AM14", "AM21", "AB03", "AB05", "AB06", "AB07", "AB08", "AG09", "ED05", "TM01"}
)  # fmt: skip
_NEVER: Final = datetime.min.replace(tzinfo=UTC)


def fold(facts: Sequence[Fact], out_ref: str) -> Outcome | None:
    """What is known of a payout; None when nothing was said of it.

    What is said of the payout itself outweighs what is said of its message. Money that moved
    outweighs words, and a refusal after a success is money coming back, told in words.
    """
    own = [fact for fact in facts if fact.end_to_end_id == out_ref and not _is_duplicate(fact)]
    return _fold(own) or _fold(
        [fact for fact in facts if not fact.end_to_end_id and not _is_duplicate(fact)]
    )


def _fold(facts: Sequence[Fact]) -> Outcome | None:
    by_kind: dict[OutcomeKind, list[Fact]] = {}
    for fact in sorted(facts, key=_said_at):
        kind = STATUSES.get(fact.status, OutcomeKind.UNKNOWN)
        by_kind.setdefault(kind, []).append(fact)
    returned = by_kind.get(OutcomeKind.RETURNED)
    succeeded = by_kind.get(OutcomeKind.SUCCEEDED)
    refused = by_kind.get(OutcomeKind.DECLINED_HARD)
    if returned:
        return _outcome(OutcomeKind.RETURNED, returned[-1])
    if succeeded:
        if refused and _said_at(refused[-1]) > _said_at(succeeded[0]):
            return _outcome(OutcomeKind.RETURNED, refused[-1])
        return _outcome(OutcomeKind.SUCCEEDED, _richest(succeeded))
    if refused:
        last = refused[-1]
        is_soft = last.reason_code in SOFT
        return _outcome(OutcomeKind.DECLINED_SOFT if is_soft else OutcomeKind.DECLINED_HARD, last)
    for kind in (OutcomeKind.CLOSED, OutcomeKind.PENDING, OutcomeKind.UNKNOWN):
        if found := by_kind.get(kind):
            return _outcome(kind, found[-1])
    return None


def _is_duplicate(fact: Fact) -> bool:
    return fact.status == REJECTED and fact.reason_code in DUPLICATES


def _said_at(fact: Fact) -> datetime:
    return fact.said_at or _NEVER


def _richest(facts: Sequence[Fact]) -> Fact:
    """The latest that says how much moved, if any does."""
    return next((fact for fact in reversed(facts) if fact.amount_minor is not None), facts[-1])


def _outcome(kind: OutcomeKind, fact: Fact) -> Outcome:
    moved = kind in (OutcomeKind.SUCCEEDED, OutcomeKind.RETURNED)
    reason = WORDS.get(fact.reason_code, fact.reason_code)
    return Outcome(
        kind=kind,
        provider_ref=fact.servicer_ref,
        code=reason or fact.status,
        message=" ".join(
            part for part in (fact.status, fact.reason_code, fact.reason_text) if part
        ),
        paid_at=(fact.moved_at or fact.said_at) if moved else None,
        amount_minor=fact.amount_minor,
        currency=fact.currency,
    )
