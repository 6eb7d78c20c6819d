"""What must be true of every world: in each committed write, and when all is quiet."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from services.account.domain.commands import HoldState
from services.gateway.domain.payment import Payment, PaymentState
from services.gateway.domain.payout import Payout, PayoutState
from services.gateway.domain.refund import Refund, RefundState
from services.gateway.domain.saga import Attempt, AttemptState
from services.gateway.workers import facts
from tests.simulation.channels import Entry, State
from tests.simulation.clients import MERCHANT
from tests.simulation.database import Subject

if TYPE_CHECKING:
    from tests.simulation.world import World

TERMINAL = frozenset({"SUCCEEDED", "FAILED", "CANCELED", "MANUAL"})
_FOR_A_PERSON = {"LATE_SUCCESS", "AMOUNT_MISMATCH"}
# Where a subject may go from where its merchant was told it had ended.
_AFTER_THE_END = {
    "SUCCEEDED": {"SUCCEEDED"},
    "FAILED": {"FAILED", "MANUAL"},
    "CANCELED": {"CANCELED", "MANUAL"},
    "MANUAL": {"MANUAL", "SUCCEEDED"},
}


@dataclass(frozen=True, slots=True)
class Violation:
    """An invariant that does not hold, and of what."""

    invariant: str
    subject_id: str
    words: str


def check_write(subject_id: str, old: Subject | None, new: Subject) -> list[Violation]:
    """I12, I13 and the one-way doors, for one row of one transaction."""
    if old is None:
        return []
    found = []
    if new.version < old.version or new.epoch < old.epoch:
        words = f"v{old.version} e{old.epoch} became v{new.version} e{new.epoch}"
        found.append(Violation("I12", subject_id, words))
    if isinstance(new, Payment) and new.refunded_minor > new.amount_minor:
        words = f"{new.refunded_minor} reserved of {new.amount_minor}"
        found.append(Violation("I9", subject_id, words))
    if new.version == old.version and new.epoch != old.epoch + 1:
        found.append(Violation("I13", subject_id, "taken over without a new epoch"))
    if old.reason in _FOR_A_PERSON and new.state.value != "MANUAL":
        found.append(Violation("I4", subject_id, f"{old.reason} was taken from its human"))
    if new.state.value not in _AFTER_THE_END.get(old.state.value, {new.state.value}):
        found.append(Violation("I5", subject_id, f"{old.state} became {new.state}"))
    return found


def check(world: "World") -> list[Violation]:
    """Everything that must hold once the world is quiet."""
    found = [Violation(words.partition(" ")[0], "", words) for words in world.ledger.breaches]
    found += [Violation("I8", "", words) for words in world.clients.breaches]
    found += [
        Violation("I13", subject_id, "written by an owner of the past")
        for subject_id in world.database.usurped
    ]
    found += [Violation("unexpected", "", words) for words in world.outside.complaints]
    found += [Violation("unexpected", "", words) for words in world.loop.complaints]
    book = {
        ref: entry for channel in world.channels.values() for ref, entry in channel.book.items()
    }
    database = world.database
    for payment in database.rows["payment"].values():
        found += _check_payment(world, payment, database.attempts_of(payment.payment_id), book)
    for refund in database.rows["refund"].values():
        found += _check_refund(world, refund, database.attempts_of(refund.refund_id), book)
    for payout in database.rows["payout"].values():
        found += _check_payout(world, payout, database.attempts_of(payout.payout_id), book)
    found += _check_strangers(world, book)
    found += _check_ledger(world)
    found += _check_told(world)
    found += _check_events(world)
    found += _check_counts(world)
    return found


def _check_payment(
    world: "World", payment: Payment, attempts: tuple[Attempt, ...], book: dict[str, Entry]
) -> list[Violation]:
    found: list[Violation] = []

    def miss(invariant: str, words: str) -> None:
        found.append(Violation(invariant, payment.payment_id, words))

    entries = [book[attempt.out_ref] for attempt in attempts if attempt.out_ref in book]
    paid = [entry for entry in entries if entry.state is State.PAID]
    told_late = _is_told(world, payment.payment_id, "payment.late_success")
    if payment.state.value not in TERMINAL or payment.next_run_at is not None:
        miss("I4", f"rests in {payment.state}, due {payment.next_run_at}")
    if len(paid) > 1 and not any(entry.has_lied for entry in paid):
        miss("I3", "charged twice by honest channels")
    if len(paid) > 1 and payment.state is not PaymentState.MANUAL and not told_late:
        miss("I3", f"charged twice and stands as {payment.state} before nobody")
    booked = world.ledger.transfers.get(f"{payment.payment_id}:collect")
    if payment.state is PaymentState.SUCCEEDED:
        good = [attempt for attempt in attempts if attempt.state is AttemptState.SUCCEEDED]
        if len(good) != 1 and not told_late:
            miss("I6", f"SUCCEEDED with {len(good)} good attempts")
        if booked is None or booked.amount_minor != payment.amount_minor:
            miss("I6", "SUCCEEDED, but the ledger does not have it")
    elif booked is not None:
        miss("I6", f"{payment.state}, but the ledger has it as paid")
    if payment.state in {PaymentState.FAILED, PaymentState.CANCELED}:
        found += _check_over(payment, attempts, entries)
    if payment.state is PaymentState.MANUAL:
        is_due = world.dead_channel and payment.reason == "OUTCOME_UNKNOWN"
        if not is_due and not any(entry.has_lied for entry in entries):
            miss("I4", f"before a human for no reason: {payment.reason}")
    else:
        found += _compare(payment.payment_id, attempts, paid, payment.amount_minor)
    return found


def _check_over(
    payment: Payment, attempts: tuple[Attempt, ...], entries: list[Entry]
) -> list[Violation]:
    """I5: what is told to have failed has moved no money, and never will."""
    found = [
        f"{payment.state}, but {entry.out_ref} is {entry.state.value}"
        for entry in entries
        if entry.state in {State.PAID, State.PENDING}
    ]
    found += [
        f"{payment.state}, but attempt {attempt.number} is {attempt.state}"
        for attempt in attempts
        if attempt.state not in {AttemptState.DECLINED, AttemptState.CLOSED}
    ]
    return [Violation("I5", payment.payment_id, words) for words in found]


def _check_refund(
    world: "World", refund: Refund, attempts: tuple[Attempt, ...], book: dict[str, Entry]
) -> list[Violation]:
    found: list[Violation] = []
    entry = book.get(attempts[0].out_ref)
    is_paid = entry is not None and entry.state is State.PAID
    if refund.state.value not in TERMINAL:
        found.append(Violation("I4", refund.refund_id, f"rests in {refund.state}"))
    if refund.state is RefundState.FAILED and entry and entry.state in {State.PAID, State.PENDING}:
        found.append(Violation("I5", refund.refund_id, f"FAILED, but {entry.state.value}"))
    is_booked = f"{refund.refund_id}:refund" in world.ledger.transfers
    if (refund.state is RefundState.SUCCEEDED) is not is_booked:
        found.append(Violation("I6", refund.refund_id, f"{refund.state}, booked: {is_booked}"))
    has_lied = entry is not None and entry.has_lied
    if refund.state is RefundState.MANUAL and not (world.dead_channel or has_lied):
        found.append(Violation("I4", refund.refund_id, f"before a human: {refund.reason}"))
    if refund.state is not RefundState.MANUAL:
        paid = [entry] if is_paid and entry else []
        found += _compare(refund.refund_id, attempts, paid, refund.amount_minor)
    return found


def _check_payout(
    world: "World", payout: Payout, attempts: tuple[Attempt, ...], book: dict[str, Entry]
) -> list[Violation]:
    found: list[Violation] = []

    def miss(invariant: str, words: str) -> None:
        found.append(Violation(invariant, payout.payout_id, words))

    entries = [book[attempt.out_ref] for attempt in attempts if attempt.out_ref in book]
    paid = [entry for entry in entries if entry.state is State.PAID]
    hold = world.ledger.holds.get(payout.payout_id)
    state = HoldState.VOIDED if hold is None else hold.state
    if payout.state.value not in TERMINAL:
        miss("I4", f"rests in {payout.state}")
    if len(paid) > 1:
        miss("I3", "paid out twice")
    if payout.state is PayoutState.FAILED:
        if any(entry.state in {State.PAID, State.PENDING} for entry in entries):
            miss("I5", "FAILED, but the channel has paid or still may")
        if state is not HoldState.VOIDED:
            miss("I5", f"FAILED, but its hold is {state}")
    if payout.state is PayoutState.SUCCEEDED:
        is_booked = f"{payout.payout_id}:payout" in world.ledger.transfers
        if state is not HoldState.CAPTURED or not is_booked:
            miss("I6", f"SUCCEEDED, but its hold is {state}, booked: {is_booked}")
    if paid and (hold is None or hold.is_tombstone):
        miss("I2", "money left that was never held")
    if payout.state is PayoutState.MANUAL and not world.dead_channel:
        miss("I4", f"before a human for no reason: {payout.reason}")
    if payout.state is not PayoutState.MANUAL:
        found += _compare(payout.payout_id, attempts, paid, payout.amount_minor)
    return found


def _compare(
    subject_id: str, attempts: tuple[Attempt, ...], paid: list[Entry], amount_minor: int
) -> list[Violation]:
    """I7: what the channels have paid is what our attempts say."""
    theirs = {entry.out_ref: entry.amount_minor for entry in paid}
    ours = {
        attempt.out_ref: amount_minor
        for attempt in attempts
        if attempt.state is AttemptState.SUCCEEDED
    }
    if theirs == ours:
        return []
    return [Violation("I7", subject_id, f"the channels say {theirs}, we say {ours}")]


def _check_strangers(world: "World", book: dict[str, Entry]) -> list[Violation]:
    """I7 the other way, and I9: nothing stands in a channel's book that we do not know."""
    found = []
    known = {attempt.out_ref: attempt for attempt in world.database.attempts.values()}
    refunded: dict[str, int] = {}
    for out_ref, entry in book.items():
        if out_ref not in known:
            found.append(Violation("I7", out_ref, "the channel has an order that we never wrote"))
        if entry.kind == "refund" and entry.state is State.PAID:
            total = refunded.get(entry.payment_out_ref, 0) + entry.amount_minor
            refunded[entry.payment_out_ref] = total
    found += [
        Violation("I9", out_ref, f"{minor} were given back of {book[out_ref].amount_minor}")
        for out_ref, minor in refunded.items()
        if minor > book[out_ref].amount_minor
    ]
    for payment in world.database.rows["payment"].values():
        refunds = [
            refund
            for refund in world.database.rows["refund"].values()
            if refund.payment_id == payment.payment_id and refund.state is not RefundState.FAILED
        ]
        reserved_minor = sum(refund.amount_minor for refund in refunds)
        if any(refund.reason == "LATE_SUCCESS" for refund in refunds):
            continue
        if reserved_minor != payment.refunded_minor or reserved_minor > payment.amount_minor:
            words = f"{payment.refunded_minor} noted, {reserved_minor} given back"
            found.append(Violation("I9", payment.payment_id, words))
    return found


def _check_ledger(world: "World") -> list[Violation]:
    """I6 the other way: the ledger has booked nothing but what we know of."""
    expected = {f"fund-{MERCHANT.merchant_id}"}
    rows = world.database.rows
    expected |= {f"{payment_id}:collect" for payment_id in rows["payment"]}
    expected |= {f"{refund_id}:refund" for refund_id in rows["refund"]}
    for payout_id in rows["payout"]:
        expected |= {f"{payout_id}:payout", f"{payout_id}:capture"}
    return [
        Violation("I6", transfer_id, "the ledger has booked what nobody wrote")
        for transfer_id in world.ledger.transfers
        if transfer_id not in expected
    ]


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
        elif row.state.value not in _AFTER_THE_END.get(told.state, TERMINAL):
            words = f"told as {told.state}, stands as {row.state}"
            found.append(Violation("I10", told.subject_id, words))
    return found


def _check_events(world: "World") -> list[Violation]:
    """I11 and I16: every consumer has had every event."""
    found = []
    for consumer, cursor in world.database.cursors.items():
        end = world.database.events[-1].cursor if world.database.events else ""
        if cursor != end:
            found.append(Violation("I16", "", f"{consumer} stands at {cursor} of {end}"))
    for event in world.database.events:
        if any(o.attempt_id not in world.router.outcomes for o in facts.outcomes(event)):
            found.append(Violation("I11", event.subject_id, f"the router missed {event.type}"))
        if any(e.evaluation_id not in world.risk.endings for e in facts.endings(event)):
            found.append(Violation("I11", event.subject_id, f"risk missed {event.type}"))
    told = {(event.subject_id, event.type.partition(".")[2]) for event in world.database.events}
    for name, rows in world.database.rows.items():
        for subject_id, row in rows.items():
            if row.state.value in TERMINAL and (subject_id, row.state.value.lower()) not in told:
                found.append(Violation("I11", subject_id, f"no event of {name} {row.state}"))
    return found


def _is_told(world: "World", subject_id: str, kind: str) -> bool:
    return any(e.type == kind and e.subject_id == subject_id for e in world.database.events)


def _check_counts(world: "World") -> list[Violation]:
    """Notes what this world has shown beside its faults; finds nothing."""
    counts = world.chaos.counts
    for event in world.database.events:
        if event.type.endswith("rerouted"):
            counts["failover"] += 1
        if event.type == "payment.late_success":
            counts["late success"] += 1
    for payment in world.database.rows["payment"].values():
        counts["payment canceled"] += payment.state is PaymentState.CANCELED
        counts["late success"] += payment.reason == "LATE_SUCCESS"
        counts["hard deadline"] += payment.reason == "OUTCOME_UNKNOWN"
    for payout in world.database.rows["payout"].values():
        counts["hold refused"] += payout.reason == "INSUFFICIENT_FUNDS"
    return []
