"""Holds of the ledger against a plain model: placed, captured, voided, expired, twice, too early and too late."""

from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from services.account.domain import batch, ledger
from services.account.domain.accounts import Balance, Role
from services.account.domain.batch import Book
from services.account.domain.commands import (
    CAPTURE_SUFFIX,
    CaptureHold,
    Command,
    ExpireHold,
    Hold,
    HoldVerdict,
    PlaceHold,
    Transfer,
    TransferVerdict,
    VoidHold,
)
from tests.stateful import searching
from tests.stateful.searching import run_machine

NOW = datetime(2026, 3, 2, 8, tzinfo=UTC)
DAY = date(2026, 3, 2)
AVAILABLE, TRANSIT, BANK = "merchant/available", "platform/transit", "bank"
ROLES = {
    AVAILABLE: Role.MERCHANT_AVAILABLE,
    TRANSIT: Role.IN_TRANSIT,
    BANK: Role.BANK_MIRROR,
}
START_MINOR = 1_000
HOLDS = st.sampled_from(["h1", "h2", "h3", "h4"])
AMOUNTS = st.sampled_from([1, 100, 400, 600, START_MINOR])
LIVES_S = st.sampled_from([None, 60, 3_600])


@dataclass
class Model:
    """One hold, in words and integers."""

    state: str
    amount_minor: int = 0
    ends_at: datetime | None = None
    captured_minor: int = 0


class HoldMachine(RuleBasedStateMachine):
    """A merchant with a thousand, and everything that sagas may ask of its holds, in any order."""

    def __init__(self) -> None:
        super().__init__()
        self.now = NOW
        self.balances = {
            key: Balance(account_id=key, role=role, currency="CNY") for key, role in ROLES.items()
        }
        self.transfers: dict[str, Transfer] = {}
        self.holds: dict[str, Hold] = {}
        self.model: dict[str, Model] = {}
        self.posted_minor = START_MINOR
        self._decide(self._transfer("start", START_MINOR, source=BANK, target=AVAILABLE))

    @rule(hold_id=HOLDS, amount_minor=AMOUNTS, life_s=LIVES_S)
    def a_hold_is_placed(self, hold_id: str, amount_minor: int, life_s: int | None) -> None:
        """The first time, a second time, or after it was released: the ledger cannot know which was meant."""
        ends_at = None if life_s is None else self.now + timedelta(seconds=life_s)
        expected = self._placed(hold_id, amount_minor, ends_at)
        hold = Hold(
            hold_id=hold_id,
            debit_account_id=AVAILABLE,
            credit_account_id=TRANSIT,
            currency="CNY",
            amount_minor=amount_minor,
            reference=hold_id,
            expires_at=ends_at,
        )
        assert self._reason(PlaceHold(hold=hold)) == expected

    def _placed(self, hold_id: str, amount_minor: int, ends_at: datetime | None) -> str:
        known = self._known(hold_id)
        if known is None:
            if self.available_minor < amount_minor:
                return "INSUFFICIENT_FUNDS"
            self.model[hold_id] = Model("HELD", amount_minor, ends_at)
            return ""
        if known.amount_minor not in {0, amount_minor}:
            return "HOLD_ID_REUSED"
        return {"VOIDED": "HOLD_VOIDED", "EXPIRED": "HOLD_EXPIRED"}.get(known.state, "")

    @rule(hold_id=HOLDS, amount_minor=st.sampled_from([0, 0, 1, 100, 400]))
    def it_is_captured(self, hold_id: str, amount_minor: int) -> None:
        expected = self._captured(hold_id, amount_minor)
        assert self._reason(CaptureHold(hold_id=hold_id, amount_minor=amount_minor)) == expected

    def _captured(self, hold_id: str, amount_minor: int) -> str:
        known = self._known(hold_id)
        if known is None:
            return "HOLD_NOT_FOUND"
        taken_minor = amount_minor or known.amount_minor
        if known.state in {"VOIDED", "EXPIRED"}:
            return f"HOLD_{known.state}"
        if known.state == "CAPTURED":
            return "" if taken_minor == known.captured_minor else "HOLD_CAPTURED"
        if taken_minor > known.amount_minor:
            return "CAPTURE_TOO_LARGE"
        known.state, known.captured_minor = "CAPTURED", taken_minor
        self.posted_minor -= taken_minor
        return ""

    @rule(hold_id=HOLDS)
    def it_is_voided(self, hold_id: str) -> None:
        """Also before it was placed: then the placing that comes late is barred."""
        known = self._known(hold_id)
        if known is None:
            self.model[hold_id] = Model("VOIDED")
        elif known.state == "HELD":
            known.state = "VOIDED"
        expected = "HOLD_CAPTURED" if self.model[hold_id].state == "CAPTURED" else ""
        assert self._reason(VoidHold(hold_id=hold_id)) == expected

    @rule(hold_id=HOLDS)
    def its_time_is_checked(self, hold_id: str) -> None:
        self._known(hold_id)
        assert self._reason(ExpireHold(hold_id=hold_id)) == ""

    @rule(passed_s=st.sampled_from([1, 59, 60, 3_600]))
    def time_passes(self, passed_s: int) -> None:
        self.now += timedelta(seconds=passed_s)

    @rule(amount_minor=AMOUNTS)
    def the_merchant_spends(self, amount_minor: int) -> None:
        name = f"spend-{len(self.transfers)}"
        # A hold whose time is up is released by whoever asks of it, not by a spender.
        fits = amount_minor <= self.available_minor
        verdict = self._decide(self._transfer(name, amount_minor, source=AVAILABLE, target=BANK))
        assert isinstance(verdict, TransferVerdict)
        assert verdict.booked == fits
        self.posted_minor -= amount_minor if fits else 0

    @rule(data=st.data(), times=st.integers(2, 4))
    def a_command_is_repeated_within_one_batch(self, data: st.DataObject, times: int) -> None:
        hold_id = data.draw(HOLDS)
        self._known(hold_id)
        expected = self._captured(hold_id, 0)
        verdicts = self._decide_all([CaptureHold(hold_id=hold_id)] * times)
        reasons = {each.error.reason if each.error else "" for each in verdicts}
        assert reasons == {expected}

    @invariant()
    def no_money_is_lost_or_held_twice(self) -> None:
        available = self.balances[AVAILABLE]
        held_minor = sum(each.amount_minor for each in self.model.values() if each.state == "HELD")
        assert available.posted_minor == self.posted_minor
        assert available.held_minor == held_minor
        assert available.available_minor >= 0
        debits = sum(each.debits_minor for each in self.balances.values())
        assert debits == sum(each.credits_minor for each in self.balances.values())

    @invariant()
    def every_hold_stands_as_it_should_and_has_at_most_one_transfer(self) -> None:
        assert {key: hold.state.value for key, hold in self.holds.items()} == {
            key: each.state for key, each in self.model.items()
        }
        captured = {
            key.partition(":")[0]: transfer.amount_minor
            for key, transfer in self.transfers.items()
            if key.endswith(CAPTURE_SUFFIX)
        }
        assert captured == {
            key: each.captured_minor for key, each in self.model.items() if each.state == "CAPTURED"
        }

    @property
    def available_minor(self) -> int:
        held = [each.amount_minor for each in self.model.values() if each.state == "HELD"]
        return self.posted_minor - sum(held)

    def _known(self, hold_id: str) -> Model | None:
        """The hold, expired if anybody asks after its time."""
        known = self.model.get(hold_id)
        if known is not None and known.state == "HELD" and known.ends_at is not None:
            known.state = "EXPIRED" if known.ends_at <= self.now else "HELD"
        return known

    def _transfer(self, name: str, amount_minor: int, *, source: str, target: str) -> Transfer:
        return Transfer(
            transfer_id=name,
            debit_account_id=source,
            credit_account_id=target,
            currency="CNY",
            amount_minor=amount_minor,
        )

    def _reason(self, command: Command) -> str:
        verdict = self._decide(command)
        assert isinstance(verdict, HoldVerdict)
        return verdict.error.reason if verdict.error is not None else ""

    def _decide(self, command: Command) -> HoldVerdict | TransferVerdict:
        [verdict] = self._decide_all([command])
        return verdict

    def _decide_all(self, commands: list[Command]) -> list[HoldVerdict | TransferVerdict]:
        """Loads what the commands need, decides, and keeps what changed: a store's part."""
        needs = batch.needs(commands)
        holds = {key: self.holds[key] for key in needs.hold_ids if key in self.holds}
        on_top = {
            account
            for hold in holds.values()
            for account in (hold.debit_account_id, hold.credit_account_id)
        }
        book = Book(
            balances={
                key: self.balances[key]
                for key in needs.account_ids | on_top
                if key in self.balances
            },
            transfers={
                key: self.transfers[key] for key in needs.transfer_ids if key in self.transfers
            },
            holds=holds,
        )
        decision = ledger.decide(book, commands, now=self.now, booking_day=DAY)
        self.balances |= {each.account_id: each for each in decision.balances}
        self.holds |= {
            each.hold_id: each for each in (*decision.holds_new, *decision.holds_changed)
        }
        self.transfers |= {each.transfer.transfer_id: each.transfer for each in decision.booked}
        return list(decision.verdicts)


def test_a_hold_is_taken_once_or_released_once_whatever_is_asked_of_it() -> None:
    run_machine(HoldMachine, searching.in_memory())
