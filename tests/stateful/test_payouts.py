"""A payout, from its hold to its return, against a plain ledger and a plain book of the banks."""

from dataclasses import dataclass, field, replace
from datetime import timedelta
from functools import partial
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
)

from libs.saga.flow import FAULTS_MAX, StaleWrite, Step
from services.gateway.domain import payout as payouts
from services.gateway.domain import saga
from services.gateway.domain.errors import ForceRefused
from services.gateway.domain.payout import Payout, PayoutState
from services.gateway.domain.saga import Answered, Attempt, AttemptState, Command, Signal
from tests.stateful.channel import SILENCE, Channel, Order
from tests.stateful.heard import Heard
from tests.stateful.searching import run_machine
from tests.stateful.world import Place, World
from tests.unit.services.gateway.domain.orders import AMOUNT_MINOR, NOW, PAYOUT

OUT = PAYOUT.payout_id
START_MINOR = 5 * AMOUNT_MINOR
ROUNDS_MAX = 200
TROUBLES = ("open", "refused", "softly", "lost", "unheard")
SAID_NO = frozenset({AttemptState.DECLINED, AttemptState.CLOSED})
AFTER_SUCCESS = frozenset({PayoutState.SUCCEEDED, PayoutState.RETURNED})


@dataclass
class Ledger:
    """What the merchant has, what is set aside, and what has left, as the account service would have it."""

    available_minor: int = START_MINOR
    hold: str = ""
    """held, captured or voided; "" for never asked for."""
    gone_minor: int = 0
    late_minor: int = 0
    """What left although it should not have, and has not come back."""
    booked: list[str] = field(default_factory=list)

    def place(self, *, has_funds: bool) -> Signal:
        """Once under its id; a hold that was voided before it came is barred."""
        if self.hold == "voided":
            return saga.HoldRefused(reason="HOLD_VOIDED")
        if not self.hold and not has_funds:
            return saga.HoldRefused(reason="INSUFFICIENT_FUNDS")
        if not self.hold:
            self.hold = "held"
            self.available_minor -= AMOUNT_MINOR
        return saga.HoldPlaced()

    def hear(self, event: str) -> None:
        """A fact of the payout, as facts.postings would book it. A refusal would stop the whole ledger."""
        if event == "payout.succeeded":
            assert self.hold == "held", "the ledger refuses to capture it"
            self.hold = "captured"
            self.gone_minor += AMOUNT_MINOR
        elif event == "payout.failed":
            assert self.hold != "captured", "the ledger refuses to void it"
            self.available_minor += AMOUNT_MINOR if self.hold == "held" else 0
            self.hold = "voided"
        elif event == "payout.returned":
            assert self.hold == "captured"
            self.gone_minor -= AMOUNT_MINOR
            self.available_minor += AMOUNT_MINOR
        elif event == "payout.late_success":
            self.late_minor += AMOUNT_MINOR
        elif event == "payout.late_return":
            self.late_minor -= AMOUNT_MINOR
        self.booked.append(event)


class PayoutMachine(RuleBasedStateMachine):
    """One payout; `order` is what its owner would do next."""

    def __init__(self, place: Place) -> None:
        super().__init__()
        self.run_async = place.run
        self.world: World = place.world()
        self.ledger, self.bank, self.heard = Ledger(), Channel(), Heard()
        self.now = NOW
        self.order: tuple[Command, Attempt | None] | None = None
        self.is_booked = False
        self.stands = (0, 0)
        self.seen: tuple[Payout, Attempt | None] | None = None
        self.is_open = False
        self.is_said_paid = False
        self.is_squared = False

    @initialize(
        plan=st.sampled_from([("a",), ("a", "b"), ("a", "b", "c")]),
        risk=st.sampled_from(["ALLOW"] * 7 + ["REVIEW"]),
        fates=st.lists(st.sampled_from(["done", "done", "softly", *TROUBLES]), max_size=3),
    )
    def opens(self, plan: tuple[str, ...], risk: str, fates: list[str]) -> None:
        step = payouts.open_payout(PAYOUT, risk, "case_1", plan, self.now)
        self.run_async(self.world.create("payout", step))
        self.is_open = True
        self._remember(step)
        for fate in fates:
            if self.order is not None:
                self._act(fate)

    @rule()
    def the_same_request_comes_again(self) -> None:
        draft = replace(PAYOUT, payout_id=f"{OUT[:-1]}9")
        step = payouts.open_payout(draft, "ALLOW", "", ("a",), self.now)
        assert self.run_async(self.world.create("payout", step)).payout_id == OUT

    @precondition(lambda self: self._row().state is PayoutState.REVIEW)
    @rule(signal=st.sampled_from([saga.Approved(), saga.Rejected()]))
    def a_person_decides(self, signal: Signal) -> None:
        self._tell(signal)

    @precondition(lambda self: self.order is not None)
    @rule()
    def its_owner_does_what_he_must(self) -> None:
        self._act("done")

    @precondition(lambda self: self.order is not None)
    @rule(fate=st.sampled_from(TROUBLES))
    def its_owner_meets_trouble(self, fate: str) -> None:
        self._act(fate)

    @precondition(lambda self: self.order is not None)
    @rule()
    def its_owner_dies(self) -> None:
        self.order = None

    @rule()
    def time_passes_and_it_is_taken_up(self) -> None:
        self._sweep()

    @rule()
    def whoever_takes_it_up_dies_at_once(self) -> None:
        due_at = self._row().next_run_at
        if due_at is not None:
            self.now = max(self.now, due_at)
            self.run_async(self.world.claim("payout", self.now))

    @rule()
    def a_day_passes(self) -> None:
        """Everybody is slow to act."""
        self.now += timedelta(days=1)

    @rule(data=st.data())
    def a_bank_carries_it_out(self, data: st.DataObject) -> None:
        waiting = [each for each in self._attempts() if self._at_bank(each).state == "open"]
        if waiting:
            self._at_bank(data.draw(st.sampled_from(waiting))).state = "paid"

    @rule(data=st.data())
    def a_bank_notifies(self, data: st.DataObject) -> None:
        known = [each for each in self._attempts() if not self._at_bank(each).is_unseen]
        if known:
            self._callback(data.draw(st.sampled_from(known)))

    @precondition(lambda self: self._row().state is PayoutState.SUCCEEDED)
    @rule(is_told=st.booleans())
    def the_payees_bank_sends_it_back(self, is_told: bool) -> None:
        attempt = self._attempts()[-1]
        if self._at_bank(attempt).state == "paid":
            self._at_bank(attempt).state = "returned"
            if is_told:
                self._callback(attempt)

    @rule(data=st.data())
    def a_bank_pays_what_it_had_refused(self, data: st.DataObject) -> None:
        said_no = [each for each in self._attempts() if each.state in SAID_NO]
        said_no = [each for each in said_no if not self._at_bank(each).has_lied]
        if said_no:
            attempt = data.draw(st.sampled_from(said_no))
            order = self._at_bank(attempt)
            order.state, order.has_lied = "paid", True
            self._callback(attempt)

    @rule(data=st.data(), is_told=st.booleans())
    def what_a_bank_paid_late_is_sent_back(self, data: st.DataObject, is_told: bool) -> None:
        late = [each for each in self._attempts() if self._at_bank(each).has_lied]
        late = [each for each in late if self._at_bank(each).state == "paid"]
        if late:
            attempt = data.draw(st.sampled_from(late))
            self._at_bank(attempt).state = "returned"
            if is_told:
                self._callback(attempt)

    @rule()
    def somebody_falls_asleep(self) -> None:
        attempts = self._attempts()
        self.seen = self._row(), attempts[-1] if attempts else None

    @precondition(lambda self: self.seen is not None)
    @rule()
    def who_has_slept_is_refused(self) -> None:
        assert self.seen is not None
        payout, attempt = self.seen
        if (payout.version, payout.epoch) == self.stands or payout.next_run_at is None:
            return
        with pytest.raises(StaleWrite):
            self.run_async(self.world.take("payout", payout, attempt, saga.Due(), self.now))

    @rule(to_state=st.sampled_from(["SUCCEEDED", "FAILED", "RETURNED", "MANUAL", "RESOLVED"]))
    @precondition(lambda self: self._row().state in payouts.ENDED | {PayoutState.MANUAL})
    def two_people_say_how_it_ended(self, to_state: str) -> None:
        before = self._row()
        is_paid = before.state is PayoutState.SUCCEEDED
        may = {"SUCCEEDED", "FAILED"} if before.state is PayoutState.MANUAL else {"RESOLVED"}
        try:
            self._tell(saga.Forced(to_state=to_state))
        except ForceRefused:
            assert to_state not in (may | {"RETURNED"} if is_paid else may)
        else:
            assert to_state in (may | {"RETURNED"} if is_paid else may)
            self.is_said_paid |= to_state in {"SUCCEEDED", "RETURNED"}
            if to_state == "RESOLVED":
                self.is_squared = True
                assert (self._row().state, self.heard.cases) == (before.state, set())

    @invariant()
    def the_money_is_all_there(self) -> None:
        row, ledger = self._row(), self.ledger
        held_minor = AMOUNT_MINOR if ledger.hold == "held" else 0
        assert ledger.available_minor + held_minor + ledger.gone_minor == START_MINOR
        assert ledger.booked.count("payout.succeeded") <= 1
        assert ledger.booked.count("payout.returned") <= ledger.booked.count("payout.succeeded")
        if row.state is PayoutState.FAILED:
            assert ledger.hold == "voided", "no hold remains of what failed"
        if row.state in {PayoutState.SENT, PayoutState.PENDING, PayoutState.UNKNOWN}:
            assert ledger.hold == "held", "nothing is sent that is not held"
        assert (ledger.hold == "captured") == ("payout.succeeded" in ledger.booked)
        self.is_booked |= row.state in AFTER_SUCCESS
        assert not self.is_booked or row.state in AFTER_SUCCESS
        assert (row.version, row.epoch) >= self.stands
        self.stands = (row.version, row.epoch)
        assert row.next_run_at is not None or row.state in payouts.ENDED | {PayoutState.MANUAL}
        sent = [self._at_bank(each) for each in self._attempts()]
        # I3: nothing is sent twice, but by a bank that had said no.
        assert sum(each.state in {"paid", "open"} and not each.has_lied for each in sent) <= 1

    def teardown(self) -> None:
        if not self.is_open:
            return
        for order in self.bank.orders.values():
            order.state = "paid" if order.state == "open" else order.state
        for _ in range(ROUNDS_MAX):
            row = self._row()
            if row.state is PayoutState.REVIEW:
                self._tell(saga.Rejected())
            elif self.order is not None:
                self._act("done")
            elif row.state is PayoutState.SUCCEEDED and self._came_back_unheard():
                # Its return after the watch is in the bank's bill.
                self._callback(self._attempts()[-1])
            elif row.next_run_at is None:
                break
            elif row.state is PayoutState.MANUAL and self._at_bank(self._attempts()[-1]).is_unseen:
                self._tell(saga.Forced(to_state="FAILED"))
            else:
                self._sweep()
        else:
            raise AssertionError("it never comes to rest")
        self.the_money_is_all_there()
        for attempt in self._attempts():
            # What nobody has heard of by then is in the bank's bill.
            if not self._at_bank(attempt).is_unseen:
                self._callback(attempt)
        self.the_money_is_all_there()
        self._check_books()

    def _came_back_unheard(self) -> bool:
        is_watched = self._row().next_run_at is not None
        return not is_watched and self._at_bank(self._attempts()[-1]).state == "returned"

    def _check_books(self) -> None:
        """I7: once it is quiet, the banks' books are ours."""
        assert self._row().state in payouts.ENDED
        if self.is_said_paid:
            # What two people say is their word, not the machine's.
            return
        sent = [self._at_bank(each) for each in self._attempts()]
        paid = [each for each in sent if each.state == "paid"]
        assert self.ledger.gone_minor + self.ledger.late_minor == len(paid) * AMOUNT_MINOR
        if self.ledger.late_minor and not self.is_squared:
            assert self.heard.cases == {(OUT, saga.LATE_SUCCESS)}, "a person must know of it"

    # How it is done

    def _row(self) -> Payout:
        row, _ = self.run_async(self.world.load("payout", OUT))
        payout: Payout = row
        return payout

    def _attempts(self) -> tuple[Attempt, ...]:
        _, attempts = self.run_async(self.world.load("payout", OUT))
        return attempts

    def _at_bank(self, attempt: Attempt) -> Order:
        return self.bank.order(attempt.out_ref, AMOUNT_MINOR)

    def _remember(self, step: "Step[Any, Attempt]") -> None:
        self.heard.listen(step)
        for event in step.events:
            self.ledger.hear(event)
        if isinstance(step.command, Command):
            attempts = self._attempts()
            self.order = (step.command, attempts[-1] if attempts else None)
        elif step.subject.next_run_at is None:
            self.order = None

    def _tell(self, signal: Signal) -> None:
        self.now += timedelta(milliseconds=50)
        step = self.run_async(self.world.offer("payout", OUT, signal, self.now))
        if step is not None:
            self._remember(step)

    def _callback(self, attempt: Attempt) -> None:
        outcome = self.bank.says(attempt.out_ref)
        self._tell(Answered(outcome=outcome, attempt_number=attempt.number, attempt=attempt))

    def _sweep(self) -> None:
        row = self._row()
        if row.next_run_at is None:
            return
        self.now = max(self.now, row.next_run_at)
        if row.faults_count >= FAULTS_MAX:
            # Its owners died too often; a person has looked.
            self.run_async(self.world.tables["payout"].retry(OUT, self.now))
        for claimed in self.run_async(self.world.claim("payout", self.now)):
            attempts = self._attempts()
            attempt = attempts[-1] if attempts else None
            step = self.run_async(self.world.take("payout", claimed, attempt, saga.Due(), self.now))
            assert step is not None, "a row that is due has something to do"
            self._remember(step)

    def _act(self, fate: str) -> None:
        assert self.order is not None
        command, attempt = self.order
        self.order = None
        if command is Command.REVIEW:
            self._tell(saga.StillOpen())
        elif command is Command.HOLD:
            has_funds = fate != "refused"
            answer = (
                saga.HoldUnknown() if fate == "unheard" else self.ledger.place(has_funds=has_funds)
            )
            self._tell(saga.HoldUnknown() if fate == "lost" else answer)
        else:
            assert attempt is not None
            self._ask(command, attempt, fate)

    def _ask(self, command: Command, attempt: Attempt, fate: str) -> None:
        order = self._at_bank(attempt)
        if command is Command.ORDER and order.is_unseen and fate != "unheard":
            order.state = {"refused": "refused", "softly": "refused", "open": "open"}.get(
                fate, "paid"
            )
        is_silent = fate in {"lost", "unheard"}
        says = self.bank.says(attempt.out_ref, softly=fate == "softly")
        self._tell(
            Answered(
                outcome=SILENCE if is_silent else says,
                attempt_number=attempt.number,
                latency_ms=5 if command is Command.ORDER else None,
                attempt=attempt,
            )
        )


def test_a_payout_never_loses_money_nor_sends_it_twice(place: tuple[Place, settings]) -> None:
    where, how_long = place
    run_machine(partial(PayoutMachine, where), how_long)
