"""What must be true of every world: in each committed write, and when all is quiet."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from libs.saga.flow import FAULTS_MAX
from services.gateway.domain import authorization, saga
from services.gateway.domain.payment import Payment, PaymentState
from services.gateway.domain.payout import PayoutState
from services.gateway.domain.refund import Refund
from services.gateway.workers import facts

if TYPE_CHECKING:
    from tests.simulation.world import World

TERMINAL = frozenset({"SUCCEEDED", "FAILED", "CANCELED", "RETURNED", "MANUAL"})
FOR_A_PERSON = frozenset({saga.AMOUNT_MISMATCH, authorization.CAPTURED_UNASKED})
_ANY_END = {"SUCCEEDED", "FAILED", "CANCELED", "MANUAL"}
# Where a subject may go from where it had ended.
_AFTER_THE_END = {
    "payment": {
        "SUCCEEDED": {"SUCCEEDED"},
        "FAILED": {"FAILED"},
        "CANCELED": {"CANCELED"},
        "MANUAL": _ANY_END,
    },
    "payout": {
        "SUCCEEDED": {"SUCCEEDED", "RETURNED"},
        "FAILED": {"FAILED"},
        "RETURNED": {"RETURNED"},
        "MANUAL": _ANY_END,
    },
    "batch": {"SETTLED": {"SETTLED"}, "CANCELED": {"CANCELED"}},
}
_AFTER_THE_END["capture"] = _AFTER_THE_END["refund"] = {
    "SUCCEEDED": {"SUCCEEDED"},
    "FAILED": {"FAILED"},
    "MANUAL": _ANY_END,
}


@dataclass(frozen=True, slots=True)
class Violation:
    """An invariant that does not hold, and of what."""

    invariant: str
    subject_id: str
    words: str


def check_write(name: str, subject_id: str, old: Any, new: Any) -> list[Violation]:
    """I12, I13 and the one-way doors, for one row of one transaction."""
    if old is None:
        return []
    found = []
    if new.version < old.version or new.epoch < old.epoch:
        words = f"v{old.version} e{old.epoch} became v{new.version} e{new.epoch}"
        found.append(Violation("I12", subject_id, words))
    if new.faults_count > old.faults_count and new.epoch != old.epoch + 1:
        found.append(Violation("I13", subject_id, "taken over without a new epoch"))
    if new.faults_count > FAULTS_MAX:
        words = f"taken up {new.faults_count} times without getting anywhere"
        found.append(Violation("I16", subject_id, words))
    if isinstance(new, Payment) and new.refunded_minor > new.captured_minor:
        words = f"{new.refunded_minor} reserved of {new.captured_minor}"
        found.append(Violation("I9", subject_id, words))
    is_forced = new.reason == saga.FORCED
    if old.reason in FOR_A_PERSON and new.state != "MANUAL" and not is_forced:
        found.append(Violation("I4", subject_id, f"{old.reason} was taken from its human"))
    allowed = _AFTER_THE_END[name].get(old.state.value)
    if isinstance(new, Refund) and not new.takes_of_payment and old.state == "FAILED":
        # It had reserved nothing, so that a success after all is just that.
        allowed = {"FAILED", "SUCCEEDED"}
    if allowed is not None and new.state.value not in allowed:
        found.append(Violation("I5", subject_id, f"{old.state} became {new.state}"))
    return found


def check(world: "World") -> list[Violation]:
    """Everything that must hold once the world is quiet."""
    from tests.simulation import books, lateness, subjects

    found = [Violation(words.partition(" ")[0], "", words) for words in world.ledger.breaches]
    found += [Violation("I8", "", words) for words in world.clients.breaches]
    found += [Violation("I15", "", words) for words in world.people.breaches]
    found += [
        Violation(
            "I13", subject_id, "written by somebody who does not own it, or is too old for it"
        )
        for database in (world.database, world.books.database)
        for subject_id in database.usurped
    ]
    found += [Violation("unexpected", "", words) for words in world.outside.complaints]
    found += [Violation("unexpected", "", words) for words in world.loop.complaints]
    found += [
        Violation("I17", "", words) for words in world.reader.leaks(sorted(world.wallets.secrets))
    ]
    found += subjects.check(world)
    found += books.check(world)
    found += lateness.check(world, subjects.the_book(world))
    found += _check_told(world)
    found += _check_events(world)
    _count(world)
    lateness.count(world, subjects.the_book(world))
    return found


def _check_told(world: "World") -> list[Violation]:
    """I8 and I10: what a merchant heard is still so, and was the same each time."""
    found = []
    ids: dict[tuple[str, str], str] = {}
    for told in world.clients.told:
        first = ids.setdefault((told.kind, told.request_id), told.subject_id)
        row = world.database.rows[told.kind].get(told.subject_id)
        if first != told.subject_id:
            words = f"{told.request_id} was answered with {first}, too"
            found.append(Violation("I8", told.subject_id, words))
        if row is None:
            found.append(Violation("I10", told.subject_id, "acknowledged, and lost"))
        elif row.reason != saga.FORCED and (
            row.state.value not in _AFTER_THE_END[told.kind].get(told.state, TERMINAL)
        ):
            words = f"told as {told.state}, stands as {row.state}"
            found.append(Violation("I10", told.subject_id, words))
    return found


def _check_events(world: "World") -> list[Violation]:
    """I11 and I16: every consumer has had every event."""
    found = []
    database = world.database
    end = database.events[-1].cursor if database.events else ""
    cursors = database.cursors | world.books.database.cursors
    for consumer, cursor in cursors.items():
        if cursor != end:
            found.append(Violation("I16", "", f"{consumer} stands at {cursor} of {end}"))
    for event in database.events:
        if any(o.attempt_id not in world.router.outcomes for o in facts.outcomes(event)):
            found.append(Violation("I11", event.subject_id, f"the router missed {event.type}"))
        if any(e.evaluation_id not in world.risk.endings for e in facts.endings(event)):
            found.append(Violation("I11", event.subject_id, f"risk missed {event.type}"))
    told = {(event.subject_id, event.type.partition(".")[2]) for event in database.events}
    for name, rows in database.rows.items():
        for subject_id, row in rows.items():
            if row.state.value in TERMINAL and (subject_id, row.state.value.lower()) not in told:
                found.append(Violation("I11", subject_id, f"no event of {name} {row.state}"))
    return found


def _count(world: "World") -> None:
    """Notes what this world has shown beside its faults."""
    counts, database = world.chaos.counts, world.database
    counts["write fenced"] += database.fenced_count + world.books.database.fenced_count
    counts["handed over"] += database.handed_count + world.books.database.handed_count
    counts["settled by a bill's line"] += world.days.settled_count
    counts["settled by a bill's silence"] += world.days.absent_count
    counts["logs read"] += len(world.reader.lines)
    for event in database.events:
        counts["failover"] += event.type.endswith("rerouted")
    for case in database.cases.values():
        counts["hard deadline"] += case.reason == saga.OUTCOME_UNKNOWN
    for payment in database.rows["payment"].values():
        _count_payment(world, payment)
    for payout in database.rows["payout"].values():
        counts["hold refused"] += payout.reason == "INSUFFICIENT_FUNDS"
        counts["payout returned"] += payout.state is PayoutState.RETURNED
    for batch in world.books.database.rows["batch"].values():
        counts["batch settled"] += batch.state == "SETTLED"
        counts["batch refused"] += batch.refused_since is not None


def _count_payment(world: "World", payment: Payment) -> None:
    counts = world.chaos.counts
    counts["payment canceled"] += payment.state is PaymentState.CANCELED
    counts["authorisation expired with us"] += payment.reason == "AUTHORIZATION_EXPIRED"
    if payment.capture_later and payment.state is PaymentState.SUCCEEDED:
        captures = [
            capture
            for capture in world.database.rows["capture"].values()
            if capture.payment_id == payment.payment_id and capture.state == "SUCCEEDED"
        ]
        counts["captured in parts"] += len(captures) > 1
        is_part = payment.captured_minor < payment.amount_minor
        counts["captured, and the rest released"] += is_part
