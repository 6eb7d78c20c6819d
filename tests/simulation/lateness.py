"""What moved late: money that a channel moved for what had ended otherwise. It is booked apart, told once, and given back or a person's matter."""

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from services.gateway.domain import merchant, saga
from services.gateway.domain.follow_up import FollowUpState
from services.gateway.domain.payment import PaymentState
from services.gateway.domain.payout import PayoutState
from services.gateway.domain.refund import Refund, RefundOrigin
from services.gateway.domain.saga import Attempt, AttemptState
from tests.simulation.book import Entry
from tests.simulation.database import Database
from tests.simulation.invariants import Violation
from tests.simulation.neighbours import CURRENCIES

if TYPE_CHECKING:
    from tests.simulation.world import World

Book = Mapping[str, Entry]
_MOVED = frozenset({AttemptState.SUCCEEDED, AttemptState.RETURNED})
_OVER = frozenset({PaymentState.FAILED, PaymentState.CANCELED})


@dataclass(frozen=True, slots=True)
class Late:
    """One attempt that moved money which is not its subject's."""

    flow: str
    subject_id: str
    attempt: Attempt
    amount_minor: int
    currency: str

    @property
    def has_left(self) -> bool:
        """Whether the money went away from us, not to us."""
        return self.flow in {"refund", "payout"}

    @property
    def is_back(self) -> bool:
        return self.attempt.state is AttemptState.RETURNED

    @property
    def refund_id(self) -> str:
        """What gives back what came to us."""
        return f"ref_{self.attempt.attempt_id.partition('_')[2]}"

    @property
    def matter_id(self) -> str:
        """Whose case stands before people until it is squared."""
        return self.subject_id if self.has_left else self.refund_id

    @property
    def suspense(self) -> str:
        """Where it is booked until somebody has it back."""
        return merchant.late_success_account(self.currency)

    def sides(self, *, is_back: bool = False) -> tuple[str, str]:
        """The accounts that it debits and credits, or its return does."""
        receivable = merchant.receivable_account(self.attempt.channel_id, self.currency)
        is_out = self.has_left and not is_back
        return (self.suspense, receivable) if is_out else (receivable, self.suspense)


def late_of(database: Database, book: Book) -> Iterator[Late]:
    """All of the right amount; how much another one was is for people to find out."""
    for attempt in database.attempts.values():
        flow = attempt.operation.lower()
        row = database.rows[flow].get(attempt.subject_id)
        if row is None or attempt.state not in _MOVED or _is_its_own(flow, row, attempt):
            continue
        entry = book.get(attempt.out_ref)
        if entry is None or entry.amount_minor == row.amount_minor:
            yield Late(flow, attempt.subject_id, attempt, row.amount_minor, row.currency)


def _is_its_own(flow: str, row: Any, attempt: Attempt) -> bool:
    """Whether what the attempt moved is what its subject says was moved."""
    if flow == "payment":
        return attempt.number == row.attempts_count and row.state not in _OVER
    if flow == "payout":
        return attempt.number == row.attempts_count and row.state is not PayoutState.FAILED
    return bool(row.state is not FollowUpState.FAILED)


def check(world: "World", book: Book) -> list[Violation]:
    """I3, I4, I6 and I11 of all that moved late."""
    late = list(late_of(world.database, book))
    return [
        *_check_lies(late, book),
        *_check_matters(world, late),
        *_check_postings(world, late),
        *_check_suspense(world, late),
        *_check_told(world, late),
    ]


def _check_lies(late: list[Late], book: Book) -> Iterator[Violation]:
    """I3: nobody but a channel that broke its word moves anything late."""
    for each in late:
        entry = book.get(each.attempt.out_ref)
        if entry is None or not entry.has_lied:
            words = f"attempt {each.attempt.number} moved money late, and its channel never lied"
            yield Violation("I3", each.subject_id, words)


def _check_matters(world: "World", late: list[Late]) -> Iterator[Violation]:
    """I4 and I5: it is given back or squared, or people know of it."""
    for each in late:
        refund: Refund | None = world.database.rows["refund"].get(each.refund_id)
        if not each.has_left and refund is None:
            yield Violation("I5", each.subject_id, "moved late, and nothing gives it back")
        is_given_back = refund is not None and refund.state is FollowUpState.SUCCEEDED
        open_ = {case.reason for case in world.database.open_cases_of(each.matter_id)}
        is_over = is_given_back or each.is_back
        is_squared = each.attempt.attempt_id in world.people.squared
        if not (is_over or is_squared or saga.LATE_SUCCESS in open_):
            yield Violation("I4", each.subject_id, "moved late, and nobody knows of it")
    matters: dict[str, list[Late]] = {}
    for each in late:
        matters.setdefault(each.matter_id, []).append(each)
    for matter_id, of_it in matters.items():
        open_ = {case.reason for case in world.database.open_cases_of(matter_id)}
        if saga.LATE_SUCCESS in open_ and all(each.is_back for each in of_it):
            yield Violation("I4", matter_id, "all that left late is back, and its case still open")


def _check_postings(world: "World", late: list[Late]) -> Iterator[Violation]:
    """I6: each is booked in its own direction."""
    for each in late:
        transfer_id = f"{each.attempt.attempt_id}:late"
        yield from _check_posting(world, each, transfer_id, each.sides())
        transfer_id = f"{each.attempt.attempt_id}:late-return"
        if each.is_back:
            yield from _check_posting(world, each, transfer_id, each.sides(is_back=True))


def _check_posting(
    world: "World", late: Late, transfer_id: str, sides: tuple[str, str]
) -> Iterator[Violation]:
    booked = world.ledger.transfers.get(transfer_id)
    if booked is None:
        yield Violation("I6", late.subject_id, f"the ledger does not have {transfer_id}")
    elif (booked.debit_account_id, booked.credit_account_id) != sides:
        yield Violation("I6", late.subject_id, f"{transfer_id} is booked the wrong way round")
    elif booked.amount_minor != late.amount_minor:
        yield Violation("I6", late.subject_id, f"{transfer_id} is of {booked.amount_minor}")


def _check_suspense(world: "World", late: list[Late]) -> Iterator[Violation]:
    """I6: the ledger keeps in suspense what is neither given back nor squared, and nothing else."""
    for currency in CURRENCIES:
        open_minor = sum(
            refund.amount_minor * -1
            for refund in world.database.rows["refund"].values()
            if refund.origin is RefundOrigin.LATE_SUCCESS
            and refund.state is FollowUpState.SUCCEEDED
            and refund.currency == currency
        )
        for each in late:
            if each.currency != currency:
                continue
            sign = -1 if each.has_left else 1
            settled = each.is_back + (each.attempt.attempt_id in world.people.squared)
            open_minor += sign * each.amount_minor * (1 - settled)
        account_id = merchant.late_success_account(currency)
        balance = world.ledger.balances[account_id]
        booked_minor = balance.credits_minor - balance.debits_minor
        if booked_minor != open_minor:
            words = f"the ledger says {booked_minor}, and {open_minor} is open"
            yield Violation("I6", account_id, words)


def _check_told(world: "World", late: list[Late]) -> Iterator[Violation]:
    """I11: each is told once, and its return once."""
    due: Counter[tuple[str, str]] = Counter()
    for each in late:
        due[each.subject_id, "late_success"] += 1
        due[each.subject_id, "late_return"] += each.is_back
    told: Counter[tuple[str, str]] = Counter()
    for event in world.database.events:
        ending = event.type.partition(".")[2]
        told[event.subject_id, ending] += ending in {"late_success", "late_return"}
    for subject_id, ending in due.keys() | told.keys():
        times, due_times = told[subject_id, ending], due[subject_id, ending]
        if times != due_times:
            words = f"{ending} told {times} times, not {due_times}"
            yield Violation("I11", subject_id, words)


def count(world: "World", book: Book) -> None:
    """Notes what this world has shown of it."""
    counts, database = world.chaos.counts, world.database
    for event in database.events:
        if event.type.endswith((".late_success", ".late_return")):
            counts[event.type] += 1
    failed = {event.subject_id for event in database.events if event.type == "refund.failed"}
    for event in database.events:
        is_late = event.type == "refund.succeeded" and event.subject_id in failed
        counts["late success given back after all"] += is_late
    for case in database.cases.values():
        counts["late success refunded by itself"] += case.resolution == "REFUNDED"
        counts["matter resolved by two people"] += case.resolution == saga.RESOLVED
    of_payouts = Counter(each.subject_id for each in late_of(database, book) if each.has_left)
    counts["two late successes of one payout"] += sum(times > 1 for times in of_payouts.values())
