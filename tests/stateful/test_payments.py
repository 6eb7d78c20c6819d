"""A payment with everything that may follow it, against a plain book of what the channels did."""

from dataclasses import replace
from datetime import timedelta
from functools import partial
from typing import Any, cast

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from libs.saga.flow import FAULTS_MAX, StaleWrite
from services.gateway.domain import follow_up, payment_flow, saga
from services.gateway.domain.authorization import CHANNEL_KEEPS_S
from services.gateway.domain.channel import Outcome
from services.gateway.domain.errors import CaptureInFlight, PaymentNotCancelable
from services.gateway.domain.follow_up import FollowUpState
from services.gateway.domain.payment import ENDED, Payment, PaymentState, Verdicts
from services.gateway.domain.refund import RefundOrigin
from services.gateway.domain.saga import Answered, Attempt, AttemptState, Command, Signal, Step
from tests.stateful.channel import SILENCE, Channel, Order, reserves
from tests.stateful.heard import Heard
from tests.stateful.searching import run_machine
from tests.stateful.world import Place, World, capture_of, refund_of
from tests.unit.services.gateway.domain.orders import AMOUNT_MINOR, NOW, PAYMENT

ROUNDS_MAX = 200
PAY = PAYMENT.payment_id
AMOUNTS = st.sampled_from([1, 200, 300, 500, AMOUNT_MINOR])
TROUBLES = ("open", "refused", "softly", "lost", "unheard")
KEPT = timedelta(seconds=CHANNEL_KEEPS_S)
NO = frozenset({PaymentState.FAILED, PaymentState.CANCELED})
SAID_NO = frozenset({AttemptState.DECLINED, AttemptState.CLOSED})


class PaymentMachine(RuleBasedStateMachine):
    """One payment, its captures and refunds; `orders` holds what each owner would do next."""

    def __init__(self, place: Place) -> None:
        super().__init__()
        self.run_async = place.run
        self.world: World = place.world()
        self.channel, self.heard = Channel(), Heard()
        self.now = NOW
        self.kinds = {PAY: "payment"}
        self.amounts: dict[str, int] = {}
        self.orders: dict[str, tuple[Command, Attempt | None]] = {}
        self.seen: tuple[Payment, Attempt | None] | None = None
        self.stands = (0, 0)
        self.is_paid = False

    @initialize(
        plan=st.sampled_from([("a",), ("a", "b"), ("a", "b", "c")]),
        capture_later=st.booleans(),
        risk=st.sampled_from(["ALLOW"] * 7 + ["REVIEW"]),
        fate=st.sampled_from(["done"] * 5 + ["waits", *TROUBLES]),
    )
    def opens(self, plan: tuple[str, ...], capture_later: bool, risk: str, fate: str) -> None:
        self.draft = replace(PAYMENT, capture_later=capture_later)
        self.verdicts = Verdicts(risk=risk, case_id="case_1", plan=plan)
        step = payment_flow.open_payment(self.draft, self.verdicts, self.now)
        self.run_async(self.world.create("payment", step))
        self._remember(PAY, step)
        if fate != "waits" and self.orders:
            self._act(PAY, fate)

    # What merchants do

    @rule()
    def the_same_request_comes_again(self) -> None:
        draft = replace(self.draft, payment_id=f"{PAY[:-1]}9", fingerprint="other")
        step = payment_flow.open_payment(draft, self.verdicts, self.now)
        stored = self.run_async(self.world.create("payment", step))
        assert (stored.payment_id, stored.fingerprint) == (PAY, "f")

    @precondition(lambda self: len(self.kinds) > 1 or self.now > NOW + timedelta(minutes=1))
    @rule()
    def it_is_canceled(self) -> None:
        before = self._payment()
        try:
            self._tell(PAY, saga.CancelRequested())
        except PaymentNotCancelable:
            assert before.state in ENDED
        except CaptureInFlight:
            assert before.capturing_minor > 0

    @precondition(lambda self: self.draft.capture_later)
    @rule(amount_minor=AMOUNTS, final=st.booleans())
    def it_is_captured(self, amount_minor: int, final: bool) -> None:
        payment, attempt = self._payment(), self._attempts()[-1:]
        taken_minor = payment.captured_minor + payment.capturing_minor
        may = payment.state is PaymentState.AUTHORIZED and not payment.is_captured
        if not attempt:
            return
        number = self._number()
        order = capture_of(payment, attempt[0], number, amount_minor, self.now, final=final)
        stored = self.run_async(self.world.create_follow_up(order, self.now))
        assert (stored is not None) == (may and taken_minor + amount_minor <= AMOUNT_MINOR)
        if stored is not None:
            self._adopt("capture", order.capture_id, amount_minor)

    @rule(amount_minor=AMOUNTS)
    def it_is_refunded(self, amount_minor: int) -> None:
        payment = self._payment()
        paid = [each for each in self._attempts() if each.state is AttemptState.SUCCEEDED]
        if not paid:
            return
        order = refund_of(payment, paid[-1], self._number(), amount_minor, self.now)
        stored = self.run_async(self.world.create_follow_up(order, self.now))
        rest_minor = payment.captured_minor - payment.refunded_minor
        may = payment.state is PaymentState.SUCCEEDED and amount_minor <= rest_minor
        assert (stored is not None) == may
        if stored is not None:
            self._adopt("refund", order.refund_id, amount_minor)

    # What the platform does

    @rule()
    def owners_do_what_they_must(self) -> None:
        for subject_id in sorted(self.orders):
            self._act(subject_id, "done")

    @precondition(lambda self: bool(self.orders))
    @rule(data=st.data(), fate=st.sampled_from(TROUBLES))
    def an_owner_meets_trouble(self, data: st.DataObject, fate: str) -> None:
        self._act(data.draw(st.sampled_from(sorted(self.orders))), fate)

    @precondition(lambda self: bool(self.orders))
    @rule(data=st.data())
    def an_owner_dies(self, data: st.DataObject) -> None:
        del self.orders[data.draw(st.sampled_from(sorted(self.orders)))]

    @rule(data=st.data())
    def time_passes_and_what_is_due_is_taken_up(self, data: st.DataObject) -> None:
        self._sweep(data.draw(st.sampled_from(sorted(self.kinds))))

    @rule(days=st.sampled_from([1, 8]))
    def days_pass(self, days: int) -> None:
        """Everybody is slow to act."""
        self.now += timedelta(days=days)

    @precondition(lambda self: self.seen is not None)
    @rule(signal=st.sampled_from([saga.Due(), saga.CancelRequested()]))
    def who_has_slept_writes_what_he_believes(self, signal: Signal) -> None:
        assert self.seen is not None
        payment, attempt = self.seen
        is_stale = payment.version < self._payment().version
        try:
            step = self.run_async(self.world.take("payment", payment, attempt, signal, self.now))
        except (PaymentNotCancelable, CaptureInFlight):
            return
        except StaleWrite:
            assert is_stale
            return
        assert step is None or not is_stale
        if step is not None:
            self._remember(PAY, step)

    @rule()
    def somebody_falls_asleep(self) -> None:
        attempts = self._attempts()
        self.seen = self._payment(), attempts[-1] if attempts else None

    @precondition(lambda self: self._payment().state is PaymentState.REVIEW)
    @rule(signal=st.sampled_from([saga.Approved(), saga.Rejected()]))
    def a_person_decides(self, signal: Signal) -> None:
        self._tell(PAY, signal)

    # What channels and payers do

    @rule()
    def a_payer_pays(self) -> None:
        for each in self._attempts():
            if self._order(each).state == "open":
                self._pay(each)

    @rule(data=st.data())
    def a_channel_notifies(self, data: st.DataObject) -> None:
        subject_id = data.draw(st.sampled_from(sorted(self.kinds)))
        known = [each for each in self._attempts(subject_id) if not self._order(each).is_unseen]
        if known:
            self._callback(subject_id, data.draw(st.sampled_from(known)))

    @rule(data=st.data())
    def a_channel_does_what_it_had_refused(self, data: st.DataObject) -> None:
        subject_id = data.draw(st.sampled_from(sorted(self.kinds)))
        said_no = [each for each in self._attempts(subject_id) if each.state in SAID_NO]
        if subject_id == PAY and self.draft.capture_later:
            # What an earlier channel reserves, its own time releases.
            said_no = [each for each in self._attempts()[-1:] if each in said_no]
        if said_no:
            attempt = data.draw(st.sampled_from(said_no))
            self._order(attempt).has_lied = True
            self._pay(attempt)
            self._callback(subject_id, attempt)

    # What always holds

    @invariant()
    def the_promises_hold(self) -> None:
        payment = self._payment()
        self._check_attempts(payment)
        self._check_sums(payment)
        assert (payment.version, payment.epoch) >= self.stands
        self.stands = (payment.version, payment.epoch)
        self.is_paid |= payment.state is PaymentState.SUCCEEDED
        assert not self.is_paid or payment.state is PaymentState.SUCCEEDED
        assert payment.next_run_at is not None or payment.state in ENDED

    def teardown(self) -> None:
        if not hasattr(self, "draft"):
            return
        assert any(not self._settle_one() for _ in range(ROUNDS_MAX)), "it never comes to rest"
        self.the_promises_hold()
        self._check_books()

    def _settle_one(self) -> bool:
        """An honest world goes on; False when there is nothing left to do."""
        for subject_id in sorted(self.orders):
            self._act(subject_id, "done")
            return True
        if self._payment().state is PaymentState.REVIEW:
            self._tell(PAY, saga.Rejected())
            return True
        for subject_id in sorted(self.kinds):
            row = self._row(subject_id)
            is_left = row.state == "MANUAL" and subject_id != PAY
            if is_left and (out_ref := self._left_at_the_channel(subject_id)):
                # Nobody sends or closes it any more: the channel's own time ends it, and people hear of it.
                self.channel.close(out_ref)
                self._sweep(subject_id)
            elif row.next_run_at is not None:
                self._sweep(subject_id)
            else:
                continue
            return True
        return False

    def _left_at_the_channel(self, subject_id: str) -> str:
        attempt = self._attempts(subject_id)[-1]
        return attempt.out_ref if self._order(attempt).state in {"unseen", "open"} else ""

    def _check_attempts(self, payment: Payment) -> None:
        orders = [self._order(each) for each in self._attempts()]
        good = [each for each in orders if each.state in {"paid", "reserved"} and not each.has_lied]
        # I3: no payer is charged twice, but by a channel that had said no; I5: what has failed takes no money any more.
        assert len(good) <= 1
        if payment.state in NO:
            assert all(each.has_lied or each.state in {"refused", "closed"} for each in orders)

    def _check_sums(self, payment: Payment) -> None:
        captures, refunds = self._rows("capture"), self._rows("refund")
        if payment.capture_later:
            done = [row for row in captures if row.state is FollowUpState.SUCCEEDED]
            assert payment.captured_minor == sum(row.amount_minor for row in done)
        under_way = [row for row in captures if row.state not in follow_up.ENDED]
        assert payment.capturing_minor == sum(row.amount_minor for row in under_way)
        asked = [row for row in refunds if row.origin is RefundOrigin.MERCHANT]
        assert payment.refunded_minor == sum(
            row.amount_minor for row in asked if row.state is not FollowUpState.FAILED
        )
        # I9
        assert payment.refunded_minor <= payment.captured_minor <= payment.amount_minor

    def _check_books(self) -> None:
        """I7: once it is quiet, the channels' books are ours."""
        payment, orders = self._payment(), [self._order(each) for each in self._attempts()]
        assert payment.state in ENDED - {PaymentState.MANUAL}, payment
        honest = [each for each in orders if each.state == "paid" and not each.has_lied]
        taken = [each.captured_minor or each.amount_minor for each in honest]
        assert payment.captured_minor == sum(taken)
        # What a channel would not release, its own time has.
        recent = [each for each in self._attempts() if self.now < each.sent_at + KEPT]
        assert all(self._order(each).state != "reserved" for each in recent), "nobody needs it"
        moved = {key: self._moved_late(key) for key in self.kinds}
        assert self.heard.late == set().union(*moved.values())
        late = [row for row in self._rows("refund") if row.origin is RefundOrigin.LATE_SUCCESS]
        taken_late = [key for key in moved if not key.startswith("ref")]
        assert len(late) == sum(len(moved[key]) for key in taken_late)
        # What a channel will not give back of those is a person's case, and so is what it gave back twice.
        given = [row for row in self._rows("refund") if moved[row.refund_id]]
        not_given = [row for row in late if row.state is FollowUpState.FAILED]
        due = {(row.refund_id, saga.LATE_SUCCESS) for row in (*given, *not_given)}
        assert self.heard.cases == due
        done = [row for row in late if row.state is FollowUpState.SUCCEEDED]
        given_back_minor = sum(
            order.amount_minor
            for out_ref, order in self.channel.orders.items()
            if out_ref.startswith("r") and order.state == "paid"
        )
        late_minor = sum(row.amount_minor for row in (*done, *given))
        assert given_back_minor == payment.refunded_minor + late_minor

    def _moved_late(self, subject_id: str) -> set[str]:
        """The attempts whose channel moved money after it had refused to."""
        if getattr(self._row(subject_id), "origin", "") == RefundOrigin.LATE_SUCCESS:
            return set()
        found = [(each.attempt_id, self._order(each)) for each in self._attempts(subject_id)]
        return {key for key, order in found if order.has_lied and order.state == "paid"}

    # How it is done

    def _number(self) -> int:
        """The first is the payment's own."""
        return len(self.kinds) + 1

    def _row(self, subject_id: str) -> Any:
        row, _ = self.run_async(self.world.load(self.kinds[subject_id], subject_id))
        return row

    def _rows(self, kind: str) -> list[Any]:
        return [self._row(key) for key, each in self.kinds.items() if each == kind]

    def _payment(self) -> Payment:
        return cast(Payment, self._row(PAY))

    def _attempts(self, subject_id: str = PAY) -> tuple[Attempt, ...]:
        return self.run_async(self.world.load(self.kinds[subject_id], subject_id))[1]

    def _order(self, attempt: Attempt) -> Order:
        return self.channel.order(
            attempt.out_ref, self.amounts.get(attempt.subject_id, AMOUNT_MINOR)
        )

    def _pay(self, attempt: Attempt) -> None:
        self._order(attempt).pay(reserves=reserves(attempt, self.draft))

    def _adopt(self, kind: str, subject_id: str, amount_minor: int) -> None:
        self.kinds[subject_id] = kind
        self.amounts[subject_id] = amount_minor
        self.orders[subject_id] = (Command.ORDER, self._attempts(subject_id)[-1])

    def _remember(self, subject_id: str, step: "Step[Any, Attempt]") -> None:
        """Whoever wrote this step goes on with its command."""
        self.heard.listen(step)
        if isinstance(step.command, Command):
            attempts = self._attempts(subject_id)
            self.orders[subject_id] = (step.command, attempts[-1] if attempts else None)
        elif step.subject.next_run_at is None:
            self.orders.pop(subject_id, None)
        for born in (each.subject for each in step.beside if isinstance(each, Step)):
            self.kinds[born.refund_id] = "refund"
            self.amounts[born.refund_id] = born.amount_minor

    def _tell(self, subject_id: str, signal: Signal) -> None:
        step = self.run_async(
            self.world.offer(self.kinds[subject_id], subject_id, signal, self.now)
        )
        if step is not None:
            self._remember(subject_id, step)

    def _callback(self, subject_id: str, attempt: Attempt) -> None:
        self._answer(subject_id, attempt, self.channel.says(attempt.out_ref), None)

    def _answer(
        self, subject_id: str, attempt: Attempt, outcome: Outcome, latency_ms: int | None
    ) -> None:
        signal = Answered(
            outcome=outcome, attempt_number=attempt.number, latency_ms=latency_ms, attempt=attempt
        )
        self._tell(subject_id, signal)

    def _sweep(self, subject_id: str) -> None:
        row, kind = self._row(subject_id), self.kinds[subject_id]
        if row.next_run_at is None:
            return
        self.now = max(self.now, row.next_run_at)
        if row.faults_count >= FAULTS_MAX:
            # Its owners died too often; a person has looked.
            self.run_async(self.world.tables[kind].retry(subject_id, self.now))
        for row in self.run_async(self.world.claim(kind, self.now)):
            key = getattr(row, f"{kind}_id")
            attempts = self._attempts(key)
            step = self.run_async(
                self.world.take(kind, row, attempts[-1] if attempts else None, saga.Due(), self.now)
            )
            assert step is not None, "a row that is due has something to do"
            self._remember(key, step)

    def _act(self, subject_id: str, fate: str) -> None:
        command, attempt = self.orders.pop(subject_id)
        self.now += timedelta(milliseconds=50)
        if command is Command.REVIEW:
            self._tell(subject_id, saga.StillOpen())
            return
        assert attempt is not None
        self._order(attempt)
        if fate != "unheard":
            self.channel.obey(command, attempt, self._row(subject_id), fate)
        says = self.channel.says(attempt.out_ref, softly=fate == "softly")
        outcome = SILENCE if fate in {"lost", "unheard"} else says
        self._answer(subject_id, attempt, outcome, 5 if command is Command.ORDER else None)


def test_a_payment_keeps_its_promises_whatever_happens(place: tuple[Place, settings]) -> None:
    where, how_long = place
    run_machine(partial(PaymentMachine, where), how_long)
