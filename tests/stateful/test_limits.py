"""Captures and refunds of one payment against plain integers, and a database that refuses what the code must never ask."""

import asyncio
from dataclasses import replace
from datetime import datetime, timedelta
from functools import partial
from typing import Any

import asyncpg
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from libs.saga.flow import StaleWrite
from services.gateway.domain import follow_up, payment_flow, saga
from services.gateway.domain.capture import Capture
from services.gateway.domain.channel import Outcome, OutcomeKind
from services.gateway.domain.errors import CaptureInFlight, ForceRefused
from services.gateway.domain.follow_up import FollowUpState
from services.gateway.domain.payment import Payment, PaymentState, Verdicts
from services.gateway.domain.refund import Refund
from services.gateway.domain.saga import Answered, Attempt, Command, Signal, Step
from tests.stateful.searching import run_machine
from tests.stateful.world import Place, World, capture_of, refund_of
from tests.unit.services.gateway.domain.orders import AMOUNT_MINOR, NOW, PAYMENT

PAY = PAYMENT.payment_id
AMOUNTS = st.sampled_from([1, 200, 300, 500, 700, AMOUNT_MINOR])
# Equal ones, so that whichever of them is first, the story goes on alike.
COUNTS = st.integers(1, 4)
WORDS = st.sampled_from(
    [
        OutcomeKind.SUCCEEDED,
        OutcomeKind.SUCCEEDED,
        OutcomeKind.DECLINED_HARD,
        OutcomeKind.PENDING,
        OutcomeKind.UNKNOWN,
    ]
)


class LimitsMachine(RuleBasedStateMachine):
    """What is taken of an authorised payment, and given back; `reserved` is what each follow-up counts for."""

    def __init__(self, place: Place) -> None:
        super().__init__()
        self.run_async = place.run
        self.world: World = place.world()
        self.now: datetime = NOW
        self.reserved: dict[str, int] = {}
        self.taken_minor = 0
        # The first is the payment's own.
        self.counter = 1
        self.seen: tuple[Payment, Attempt] | None = None
        self.taken_at_once_minor = 0
        self.late: set[str] = set()

    @initialize(capture_later=st.booleans())
    def opens(self, capture_later: bool) -> None:
        draft = replace(PAYMENT, capture_later=capture_later)
        verdicts = Verdicts(risk="ALLOW", case_id="", plan=("a",))
        step = payment_flow.open_payment(draft, verdicts, NOW)
        self.run_async(self.world.create("payment", step))
        if capture_later:
            self._tell("payment", PAY, self._word(OutcomeKind.AUTHORIZED))
        else:
            self._tell("payment", PAY, self._word(OutcomeKind.SUCCEEDED))
            self.taken_minor = self.taken_at_once_minor = AMOUNT_MINOR

    @rule(minor=AMOUNTS, count=COUNTS, final=st.booleans())
    def captures_come_at_once(self, minor: int, count: int, final: bool) -> None:
        payment, attempt = self._payment()
        orders = [
            capture_of(payment, attempt, self._number(), minor, self.now, final=final)
            for _ in range(count)
        ]
        is_open = payment.state is PaymentState.AUTHORIZED and not payment.is_captured
        room_minor = AMOUNT_MINOR - payment.captured_minor - payment.capturing_minor
        self._all_at_once(orders, room_minor if is_open else 0)

    @rule(minor=AMOUNTS, count=COUNTS)
    def refunds_come_at_once(self, minor: int, count: int) -> None:
        payment, attempt = self._payment()
        orders = [
            refund_of(payment, attempt, self._number(), minor, self.now) for _ in range(count)
        ]
        is_paid = payment.state is PaymentState.SUCCEEDED
        room_minor = payment.captured_minor - payment.refunded_minor
        self._all_at_once(orders, room_minor if is_paid else 0)

    @precondition(lambda self: bool(self.reserved))
    @rule(data=st.data(), kinds=st.lists(WORDS, min_size=1, max_size=3))
    def channels_say_how_some_ended(self, data: st.DataObject, kinds: list[OutcomeKind]) -> None:
        for kind in kinds:
            self._hears(data.draw(st.sampled_from(sorted(self.reserved))), kind)

    def _hears(self, key: str, kind: OutcomeKind) -> None:
        flow, before = self._follow_up(key)
        step = self._tell(flow, key, self._word(kind))
        if before.state is FollowUpState.FAILED:
            self._heard_after_failure(key, before, step, is_paid=kind is OutcomeKind.SUCCEEDED)
        if step is None or step.subject.state == before.state:
            return
        self._account_for(key, step.subject)

    def _heard_after_failure(
        self, key: str, before: Any, step: "Step[Any, Attempt] | None", *, is_paid: bool
    ) -> None:
        """Money that moved all the same is told once, and takes nothing of the payment; of a capture, all of it goes back."""
        if not is_paid or key in self.late:
            assert step is None
            return
        assert step is not None
        self.late.add(key)
        assert (step.subject.state, step.events) == (before.state, (f"{before.kind}.late_success",))
        born = [each.subject for each in step.beside if isinstance(each, Step)]
        assert [each.amount_minor for each in born] == (
            [before.amount_minor] if isinstance(before, Capture) else []
        )

    @precondition(lambda self: bool(self.reserved))
    @rule(data=st.data(), to_state=st.sampled_from(["SUCCEEDED", "FAILED", "RESOLVED"]))
    def two_people_say_how_one_ended(self, data: st.DataObject, to_state: str) -> None:
        key = data.draw(st.sampled_from(sorted(self.reserved)))
        flow, before = self._follow_up(key)
        is_over = before.state in follow_up.ENDED
        try:
            step = self._tell(flow, key, saga.Forced(to_state=to_state))
        except ForceRefused:
            assert is_over != (to_state == "RESOLVED")
        else:
            assert step is not None
            assert is_over == (to_state == "RESOLVED")
            if not is_over:
                self._account_for(key, step.subject)

    @rule()
    def the_payment_is_taken_up(self) -> None:
        payment, attempt = self._payment()
        if payment.next_run_at is None:
            return
        self.now = max(self.now, payment.next_run_at)
        self.run_async(self.world.tables["payment"].retry(PAY, self.now))
        for claimed in self.run_async(self.world.claim("payment", self.now)):
            step = self.run_async(
                self.world.take("payment", claimed, attempt, saga.Due(), self.now)
            )
            assert step is not None
            self._check_end(step)
            self._close_if_asked(step)

    @precondition(lambda self: self.taken_minor > 0)
    @rule()
    def it_is_voided(self) -> None:
        payment, _ = self._payment()
        if payment.state is not PaymentState.AUTHORIZED:
            return
        try:
            step = self._tell("payment", PAY, saga.CancelRequested())
        except CaptureInFlight:
            assert payment.capturing_minor > 0
        else:
            assert step is None or payment.capturing_minor == 0
            self._close_if_asked(step)

    # What the database must refuse

    @rule()
    def who_has_slept_is_refused(self) -> None:
        payment, attempt = self._payment()
        asleep, self.seen = self.seen, (payment, attempt)
        if asleep is None or asleep[0].version == payment.version:
            return
        if asleep[0].state is PaymentState.AUTHORIZED:
            word = self._word(OutcomeKind.AUTHORIZED)
            with pytest.raises(StaleWrite):
                self.run_async(self.world.take("payment", *asleep, word, self.now))

    @rule(captured_minor=st.sampled_from([-1, AMOUNT_MINOR + 1, 10**15]))
    def nobody_writes_what_cannot_be(self, captured_minor: int) -> None:
        payment, _ = self._payment()
        self._is_refused(replace(payment, captured_minor=captured_minor))
        if payment.refunded_minor:
            self._is_refused(replace(payment, captured_minor=payment.refunded_minor - 1))
        if not payment.captured_minor:
            self._is_refused(replace(payment, state=PaymentState.SUCCEEDED))
        for key in sorted(self.reserved)[:1]:
            self._nobody_takes_its_number(payment, key)

    def _nobody_takes_its_number(self, payment: Payment, key: str) -> None:
        _, attempts = self.run_async(self.world.load(self._follow_up(key)[0], key))
        stolen = replace(attempts[0], subject_id=PAY, number=9)
        step: Step[Payment, Attempt] = Step(
            subject=replace(payment, version=payment.version + 1), attempts=(stolen,)
        )
        with pytest.raises(asyncpg.UniqueViolationError):
            self.run_async(self.world.write("payment", step))

    # What always holds

    @invariant()
    def the_rows_add_up(self) -> None:
        payment, _ = self._payment()
        captures = [minor for key, minor in self.reserved.items() if key.startswith("cap")]
        captures.append(self.taken_at_once_minor)
        refunds = [minor for key, minor in self.reserved.items() if key.startswith("ref")]
        assert payment.captured_minor == self.taken_minor
        assert payment.captured_minor + payment.capturing_minor == sum(captures)
        assert payment.refunded_minor == sum(refunds)
        assert sum(refunds) <= payment.captured_minor <= sum(captures) <= AMOUNT_MINOR
        if payment.state is PaymentState.SUCCEEDED:
            assert payment.captured_minor > 0

    # How it is done

    def _all_at_once(self, orders: "list[Capture] | list[Refund]", room_minor: int) -> None:
        async def ask() -> list[Any]:
            async with asyncio.TaskGroup() as group:
                tasks = [
                    group.create_task(self.world.create_follow_up(order, self.now))
                    for order in orders
                ]
            return [task.result() for task in tasks]

        taken = [
            order
            for order, stored in zip(orders, self.run_async(ask()), strict=True)
            if stored is not None
        ]
        assert len(taken) == min(len(orders), room_minor // orders[0].amount_minor)
        self.reserved |= {order.subject_id: order.amount_minor for order in taken}

    def _account_for(self, key: str, after: Any) -> None:
        """What a follow-up counts for once it has come into this state."""
        if after.state is FollowUpState.FAILED:
            self.reserved[key] = 0
        elif after.state is FollowUpState.SUCCEEDED and isinstance(after, Capture):
            self.taken_minor += after.amount_minor

    def _close_if_asked(self, step: "Step[Any, Attempt] | None") -> None:
        if step is not None and step.command is Command.CLOSE:
            self._tell("payment", PAY, self._word(OutcomeKind.CLOSED))

    def _is_refused(self, wrong: Payment) -> None:
        step: Step[Payment, Attempt] = Step(subject=replace(wrong, version=wrong.version + 1))
        with pytest.raises(asyncpg.CheckViolationError):
            self.run_async(self.world.write("payment", step))

    def _tell(self, flow: str, key: str, signal: Signal) -> "Step[Any, Attempt] | None":
        self.now += timedelta(milliseconds=50)
        step = self.run_async(self.world.offer(flow, key, signal, self.now))
        if flow == "payment" and step is not None:
            self._check_end(step)
        return step

    def _check_end(self, step: "Step[Any, Attempt]") -> None:
        """No payment ends while nobody knows what is taken of it."""
        if step.subject.state in {PaymentState.SUCCEEDED, PaymentState.CANCELED}:
            assert step.subject.capturing_minor == 0

    def _word(self, kind: OutcomeKind) -> Answered:
        return Answered(outcome=Outcome(kind=kind), attempt_number=1)

    def _payment(self) -> tuple[Payment, Attempt]:
        payment, attempts = self.run_async(self.world.load("payment", PAY))
        return payment, attempts[-1]

    def _follow_up(self, key: str) -> tuple[str, Any]:
        flow = "capture" if key.startswith("cap") else "refund"
        row, _ = self.run_async(self.world.load(flow, key))
        return flow, row

    def _number(self) -> int:
        self.counter += 1
        return self.counter


def test_nothing_is_taken_or_given_back_beyond_its_limit(place: tuple[Place, settings]) -> None:
    where, how_long = place
    run_machine(partial(LimitsMachine, where), how_long)
