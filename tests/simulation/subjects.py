"""What must be true of each payment, capture, refund and payout once all is quiet, by the channels' own books."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

from services.account.domain.commands import HoldState
from services.gateway.domain import saga
from services.gateway.domain.capture import Capture
from services.gateway.domain.follow_up import FollowUpState
from services.gateway.domain.payment import Payment, PaymentState
from services.gateway.domain.payout import Payout, PayoutState
from services.gateway.domain.refund import Refund, RefundOrigin
from services.gateway.domain.saga import Attempt, AttemptState
from tests.simulation.book import Entry, State
from tests.simulation.invariants import FOR_A_PERSON, TERMINAL, Violation
from tests.simulation.lateness import late_of

if TYPE_CHECKING:
    from tests.simulation.world import World

Book = Mapping[str, Entry]
_OPEN = frozenset({State.PENDING, State.AUTHORIZED})


def check(world: "World") -> list[Violation]:
    """I3 to I7 and I9, subject by subject."""
    book = the_book(world)
    rows = world.database.rows
    found: list[Violation] = []
    for payment in rows["payment"].values():
        found += _Payment(world, payment, book).check()
    for order in (*rows["capture"].values(), *rows["refund"].values()):
        found += _check_follow_up(world, order, book)
    for payout in rows["payout"].values():
        found += _check_payout(world, payout, book)
    return found + _check_strangers(world, book) + _check_reservations(world)


def the_book(world: "World") -> Book:
    """All channels' books."""
    return {
        ref: entry for channel in world.channels.values() for ref, entry in channel.book.items()
    }


class _Payment:
    """One payment's examination."""

    def __init__(self, world: "World", payment: Payment, book: Book) -> None:
        self._world = world
        self._payment = payment
        self._book = book
        self._attempts = world.database.attempts_of(payment.payment_id)
        self._entries = {
            attempt.number: book[attempt.out_ref]
            for attempt in self._attempts
            if attempt.out_ref in book
        }
        self._case = world.database.open_case_of(payment.payment_id)
        self._captured_late_minor = sum(
            late.amount_minor
            for late in late_of(world.database, book)
            if late.flow == "capture"
            and world.database.rows["capture"][late.subject_id].payment_id == payment.payment_id
        )
        self._found: list[Violation] = []

    def check(self) -> list[Violation]:
        payment = self._payment
        if payment.state.value not in TERMINAL:
            self._miss("I4", f"rests in {payment.state}, due {payment.next_run_at}")
        self._check_case()
        self._check_charges()
        self._check_ledger()
        if payment.state in {PaymentState.FAILED, PaymentState.CANCELED}:
            self._check_over()
        if payment.state is PaymentState.SUCCEEDED:
            self._check_paid()
        if self._case is None:
            self._compare()
        return self._found

    def _miss(self, invariant: str, words: str) -> None:
        self._found.append(Violation(invariant, self._payment.payment_id, words))

    def _check_case(self) -> None:
        """What stands before a person has a case, and a reason."""
        payment, has_lied = self._payment, any(e.has_lied for e in self._entries.values())
        for case in self._world.database.cases.values():
            is_odd = case.subject_id == payment.payment_id and case.reason in FOR_A_PERSON
            if is_odd and not has_lied:
                self._miss("I4", f"was before a human for no reason: {case.reason}")
        if payment.state is PaymentState.MANUAL:
            if self._case is None:
                self._miss("I4", "before a human who does not know of it")
            is_dead = self._world.dead_channel and payment.reason == saga.OUTCOME_UNKNOWN
            if not is_dead and not has_lied:
                self._miss("I4", f"before a human for no reason: {payment.reason}")
        elif self._case is not None and not has_lied:
            self._miss("I4", f"an open case for no reason: {self._case.reason}")

    def _late_refund(self, attempt: Attempt) -> Refund | None:
        refund_id = f"ref_{attempt.attempt_id.partition('_')[2]}"
        refund: Refund | None = self._world.database.rows["refund"].get(refund_id)
        return refund

    def _check_charges(self) -> None:
        """I3 and I5: of what channels took, one charge at most is the payment's; the rest is given back, or a person knows."""
        winner = self._attempts[-1].number if self._attempts else 0
        for number, entry in self._entries.items():
            if entry.state is not State.PAID or not entry.moved_minor:
                continue
            is_its_own = self._payment.state is PaymentState.SUCCEEDED and number == winner
            is_with_person = self._case is not None or self._payment.state is PaymentState.MANUAL
            attempt = self._attempts[number - 1]
            refund = self._late_refund(attempt)
            is_with_person = (
                is_with_person
                or attempt.attempt_id in self._world.people.squared
                or (
                    refund is not None
                    and (
                        refund.reason == saga.FORCED
                        or self._world.database.open_case_of(refund.refund_id) is not None
                    )
                )
            )
            if is_its_own or is_with_person or self._payment.capture_later:
                # What captures took of an authorised payment is theirs to explain.
                continue
            given_minor = _given_back_minor(self._book, entry)
            if given_minor != entry.moved_minor:
                invariant = "I3" if self._payment.state is PaymentState.SUCCEEDED else "I5"
                words = f"{entry.out_ref} took {entry.moved_minor}, {given_minor} given back"
                self._miss(invariant, f"{self._payment.state}, but {words}")
        live = [
            each
            for each in self._attempts
            if each.state is AttemptState.SUCCEEDED and self._late_refund(each) is None
        ]
        if len(live) > 1 and self._case is None:
            self._miss("I3", f"{len(live)} live charges")

    def _check_over(self) -> None:
        """I5: nothing is unknown, and nothing is reserved any more."""
        for attempt in self._attempts:
            is_definite = attempt.state in {AttemptState.DECLINED, AttemptState.CLOSED}
            is_late = self._late_refund(attempt) is not None
            # Whose channel is gone for ever, is told to release it for ever.
            is_dead = attempt.channel_id == self._world.dead_channel
            is_told = is_dead and self._payment.next_run_at is not None
            if not (is_definite or is_late or is_told) and self._case is None:
                self._miss(
                    "I5", f"{self._payment.state}, but attempt {attempt.number} is {attempt.state}"
                )
        for number, entry in self._entries.items():
            is_dead = self._attempts[number - 1].channel_id == self._world.dead_channel
            if entry.state in _OPEN and not is_dead:
                words = f"{entry.out_ref} is {entry.state.value}"
                self._miss("I5", f"{self._payment.state}, but {words}")
        if self._payment.captured_minor or self._payment.capturing_minor:
            self._miss("I5", f"{self._payment.state}, but captured")

    def _check_paid(self) -> None:
        """I6: one good attempt, and what was captured is what its captures took."""
        payment = self._payment
        good = [
            attempt
            for attempt in self._attempts
            if attempt.state is AttemptState.SUCCEEDED and self._late_refund(attempt) is None
        ]
        if len(good) != 1 and self._case is None:
            self._miss("I6", f"SUCCEEDED with {len(good)} good attempts")
        if not payment.capture_later:
            return
        taken_minor = sum(
            capture.amount_minor
            for capture in self._world.database.rows["capture"].values()
            if capture.payment_id == payment.payment_id and capture.state is FollowUpState.SUCCEEDED
        )
        if taken_minor != payment.captured_minor:
            self._miss("I6", f"{payment.captured_minor} captured, its captures took {taken_minor}")
        entry = self._entries.get(self._attempts[-1].number)
        if entry is not None and entry.state is State.AUTHORIZED:
            self._miss("I6", "SUCCEEDED, but the channel still reserves the rest")

    def _check_ledger(self) -> None:
        """I6: the ledger has what was paid, and nothing else."""
        payment, transfers = self._payment, self._world.ledger.transfers
        booked = transfers.get(f"{payment.payment_id}:collect")
        late = [
            refund
            for refund in self._world.database.rows["refund"].values()
            if refund.payment_id == payment.payment_id
            and refund.origin is RefundOrigin.LATE_SUCCESS
        ]
        if len({refund.request_id.split(":")[1] for refund in late}) < len(late):
            self._miss("I9", "a late success is given back twice")
        is_due = payment.state is PaymentState.SUCCEEDED and not payment.capture_later
        if is_due and (booked is None or booked.amount_minor != payment.amount_minor):
            self._miss("I6", "SUCCEEDED, but the ledger does not have it")
        if not is_due and booked is not None:
            self._miss("I6", f"{payment.state}, but the ledger has it as paid")

    def _compare(self) -> None:
        """I7: what the channels took is what our attempts say."""
        theirs = {
            entry.out_ref: entry.moved_minor
            for entry in self._entries.values()
            if entry.state is State.PAID and entry.moved_minor
        }
        ours = {
            attempt.out_ref: self._payment.amount_minor
            for attempt in self._attempts
            if attempt.state is AttemptState.SUCCEEDED
        }
        if self._payment.capture_later:
            taken_minor = self._payment.captured_minor + self._captured_late_minor
            last = self._attempts[-1].out_ref if self._attempts else ""
            ours = {last: taken_minor} if taken_minor else {}
        if theirs != ours and self._payment.state is not PaymentState.MANUAL:
            self._miss("I7", f"the channels say {theirs}, we say {ours}")


def _given_back_minor(book: Book, charge: Entry) -> int:
    return sum(
        entry.amount_minor
        for entry in book.values()
        if entry.payment_out_ref == charge.out_ref
        and entry.kind == "refund"
        and entry.state is State.PAID
    )


def _check_follow_up(world: "World", order: Capture | Refund, book: Book) -> list[Violation]:
    found: list[Violation] = []

    def miss(invariant: str, words: str) -> None:
        found.append(Violation(invariant, order.subject_id, words))

    (attempt,) = world.database.attempts_of(order.subject_id)
    entry = book.get(attempt.out_ref)
    if order.state.value not in TERMINAL:
        miss("I4", f"rests in {order.state}, due {order.next_run_at}")
    if order.state is FollowUpState.FAILED and entry and entry.state is State.PENDING:
        miss("I5", f"FAILED, but {entry.state.value}")
    has_moved = attempt.state is AttemptState.SUCCEEDED
    if order.state is FollowUpState.FAILED and has_moved and not order.takes_of_payment:
        miss("I5", "FAILED, but it has given back what it was to give back")
    word = "refund" if isinstance(order, Refund) else "collect"
    is_booked = f"{order.subject_id}:{word}" in world.ledger.transfers
    if (order.state is FollowUpState.SUCCEEDED) is not is_booked:
        miss("I6", f"{order.state}, booked: {is_booked}")
    if order.state is FollowUpState.MANUAL:
        has_lied = entry is not None and entry.has_lied
        if not (world.dead_channel or has_lied):
            miss("I4", f"before a human for no reason: {order.reason}")
        if world.database.open_case_of(order.subject_id) is None:
            miss("I4", "before a human who does not know of it")
        return found
    is_late = order.state is FollowUpState.FAILED and has_moved and isinstance(order, Refund)
    is_owed = order.state is FollowUpState.FAILED and not order.takes_of_payment
    is_over = not (is_late or is_owed)
    if is_over and world.database.open_case_of(order.subject_id) is not None:
        miss("I4", f"{order.state}, but its case is still open")
    theirs = {entry.out_ref: entry.amount_minor} if entry and entry.state is State.PAID else {}
    ours = {}
    if has_moved:
        ours = {attempt.out_ref: order.amount_minor}
    if theirs != ours:
        miss("I7", f"the channel says {theirs}, we say {ours}")
    return found


def _check_payout(world: "World", payout: Payout, book: Book) -> list[Violation]:
    found: list[Violation] = []

    def miss(invariant: str, words: str) -> None:
        found.append(Violation(invariant, payout.payout_id, words))

    attempts = world.database.attempts_of(payout.payout_id)
    entries = [book[attempt.out_ref] for attempt in attempts if attempt.out_ref in book]
    paid = [entry for entry in entries if entry.state in {State.PAID, State.RETURNED}]
    hold = world.ledger.holds.get(payout.payout_id)
    state = HoldState.VOIDED if hold is None else hold.state
    transfers = world.ledger.transfers
    if payout.state.value not in TERMINAL:
        miss("I4", f"rests in {payout.state}, due {payout.next_run_at}")
    if paid and (hold is None or hold.is_tombstone):
        miss("I2", "money left that was never held")
    if payout.state is PayoutState.FAILED:
        if any(entry.state is State.PENDING for entry in entries):
            miss("I5", "FAILED, but the channel still may pay")
        if state is not HoldState.VOIDED:
            miss("I5", f"FAILED, but its hold is {state}")
    is_gone = payout.state in {PayoutState.SUCCEEDED, PayoutState.RETURNED}
    is_booked = f"{payout.payout_id}:payout" in transfers
    if is_gone and (state is not HoldState.CAPTURED or not is_booked):
        miss("I6", f"{payout.state}, but its hold is {state}, booked: {is_booked}")
    is_back = payout.state is PayoutState.RETURNED
    if is_back is not (f"{payout.payout_id}:return" in transfers):
        miss("I6", f"{payout.state}, but its return is booked: {not is_back}")
    return found + _compare_payout(world, payout, attempts, paid)


def _compare_payout(
    world: "World", payout: Payout, attempts: tuple[Attempt, ...], paid: list[Entry]
) -> list[Violation]:
    """I7: what the channels have sent, and what came back, is what our attempts say."""
    if payout.state is PayoutState.MANUAL:
        if world.database.open_case_of(payout.payout_id) is None:
            return [Violation("I4", payout.payout_id, "before a human who does not know of it")]
        if world.dead_channel:
            return []
        words = f"before a human for no reason: {payout.reason}"
        return [Violation("I4", payout.payout_id, words)]
    theirs = {entry.out_ref: entry.state.value for entry in paid}
    ours = {
        attempt.out_ref: "RETURNED" if attempt.state is AttemptState.RETURNED else "PAID"
        for attempt in attempts
        if attempt.state in {AttemptState.SUCCEEDED, AttemptState.RETURNED}
    }
    if theirs == ours:
        return []
    return [Violation("I7", payout.payout_id, f"the channels say {theirs}, we say {ours}")]


def _check_strangers(world: "World", book: Book) -> list[Violation]:
    """I7 the other way, and I9: nothing stands in a channel's book that we do not know."""
    found = []
    known = {attempt.out_ref for attempt in world.database.attempts.values()}
    for out_ref, entry in book.items():
        if out_ref not in known:
            found.append(Violation("I7", out_ref, "the channel has an order that we never wrote"))
        if entry.kind == "charge":
            minor = _given_back_minor(book, entry)
            if minor > entry.moved_minor:
                words = f"{minor} were given back of {entry.moved_minor}"
                found.append(Violation("I9", out_ref, words))
    return found


def _check_reservations(world: "World") -> list[Violation]:
    """I9: what a payment notes as given back, or in flight, is what its orders say."""
    found = []
    rows = world.database.rows
    for payment in rows["payment"].values():
        refunds = [
            refund
            for refund in rows["refund"].values()
            if refund.payment_id == payment.payment_id
            and refund.origin is RefundOrigin.MERCHANT
            and refund.state is not FollowUpState.FAILED
        ]
        captures = [
            capture
            for capture in rows["capture"].values()
            if capture.payment_id == payment.payment_id
            and capture.state not in {FollowUpState.FAILED, FollowUpState.SUCCEEDED}
        ]
        in_flight_minor = sum(capture.amount_minor for capture in captures)
        if in_flight_minor != payment.capturing_minor:
            words = f"{payment.capturing_minor} noted, {in_flight_minor} in flight"
            found.append(Violation("I9", payment.payment_id, words))
        reserved_minor = sum(refund.amount_minor for refund in refunds)
        if reserved_minor != payment.refunded_minor or reserved_minor > payment.captured_minor:
            words = f"{payment.refunded_minor} noted, {reserved_minor} given back"
            found.append(Violation("I9", payment.payment_id, words))
    return found
