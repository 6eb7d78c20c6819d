"""Random batches against a second, plain implementation of the same promises."""

import copy
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta

from hypothesis import given, settings
from hypothesis import strategies as st

from services.account.domain import batch, ledger
from services.account.domain.accounts import Balance, Role
from services.account.domain.batch import Book
from services.account.domain.commands import (
    CaptureHold,
    Command,
    Hold,
    HoldVerdict,
    PlaceHold,
    Transfer,
    TransferVerdict,
    VoidHold,
)

NOW = datetime(2026, 3, 2, 8, tzinfo=UTC)
DAY = date(2026, 3, 2)

ROLES = {
    "m/available": (Role.MERCHANT_AVAILABLE, "CNY"),
    "n/available": (Role.MERCHANT_AVAILABLE, "CNY"),
    "m/pending": (Role.MERCHANT_PENDING, "CNY"),
    "wechat": (Role.CHANNEL_RECEIVABLE, "CNY"),
    "bank": (Role.BANK_MIRROR, "CNY"),
    "bank-usd": (Role.BANK_MIRROR, "USD"),
}
CREDIT_NORMAL = {"m/available", "n/available", "m/pending"}
FLOORED = {"m/available", "n/available"}
ACCOUNT_IDS = [*ROLES, "nowhere"]


@dataclass
class ModelHold:
    """A hold as the model keeps it; content is (debit, credit, currency, amount)."""

    state: str
    content: tuple[str, str, str, int] | None
    captured: int = 0


@dataclass
class Model:
    """The ledger as dicts: a signed balance for each account, credits positive."""

    net: dict[str, int] = field(default_factory=lambda: dict.fromkeys(ROLES, 0))
    booked: dict[str, tuple[object, ...]] = field(default_factory=dict)
    holds: dict[str, ModelHold] = field(default_factory=dict)

    def held(self, account_id: str) -> int:
        contents = [hold.content for hold in self.holds.values() if hold.state == "HELD"]
        return sum(content[3] for content in contents if content and content[0] == account_id)

    def may_not(self, debit: str, credit: str, currency: str, amount: int) -> str | None:
        if debit == credit:
            return "SAME_ACCOUNT"
        if debit not in ROLES or credit not in ROLES:
            return "ACCOUNT_NOT_FOUND"
        if {ROLES[debit][1], ROLES[credit][1]} != {currency}:
            return "CURRENCY_MISMATCH"
        if debit in FLOORED and self.net[debit] - self.held(debit) < amount:
            return "INSUFFICIENT_FUNDS"
        return None

    def transfer(self, item: Transfer) -> str:
        content = (item.debit_account_id, item.credit_account_id, item.currency, item.amount_minor)
        if item.transfer_id in self.booked:
            same = self.booked[item.transfer_id] == content
            return "replayed" if same else "TRANSFER_ID_REUSED"
        refusal = self.may_not(*content)
        if refusal:
            return refusal
        self.booked[item.transfer_id] = content
        self.net[item.debit_account_id] -= item.amount_minor
        self.net[item.credit_account_id] += item.amount_minor
        return "booked"

    def chain(self, items: list[Transfer]) -> list[str]:
        before = copy.deepcopy(self)
        outcomes = [self.transfer(item) for item in items]
        bad = [n for n, outcome in enumerate(outcomes) if outcome not in {"booked", "replayed"}]
        if not bad or len(items) == 1:
            return outcomes
        self.net, self.booked = before.net, before.booked
        return [
            outcomes[bad[0]]
            if n == bad[0]
            else (self.transfer(item) if item.transfer_id in self.booked else "LINKED_FAILED")
            for n, item in enumerate(items)
        ]

    def place(self, hold: Hold) -> str:
        content = (hold.debit_account_id, hold.credit_account_id, hold.currency, hold.amount_minor)
        known = self.holds.get(hold.hold_id)
        if known:
            if known.content and known.content != content:
                return "HOLD_ID_REUSED"
            return "HOLD_VOIDED" if known.state == "VOIDED" else "accepted"
        refusal = self.may_not(*content)
        if refusal in {None, "INSUFFICIENT_FUNDS"} and content[0] not in CREDIT_NORMAL:
            refusal = "ACCOUNT_NOT_HOLDABLE"
        if refusal:
            return refusal
        self.holds[hold.hold_id] = ModelHold("HELD", content)
        return "accepted"

    def capture(self, item: CaptureHold) -> str:
        known = self.holds.get(item.hold_id)
        if not known:
            return "HOLD_NOT_FOUND"
        if known.state == "VOIDED" or not known.content:
            return "HOLD_VOIDED"
        debit, credit, currency, amount = known.content
        asked = item.amount_minor or amount
        if known.state == "CAPTURED":
            return "accepted" if asked == known.captured else "HOLD_CAPTURED"
        if asked > amount:
            return "CAPTURE_TOO_LARGE"
        known.state, known.captured = "CAPTURED", asked
        self.booked[f"{item.hold_id}:capture"] = (debit, credit, currency, asked)
        self.net[debit] -= asked
        self.net[credit] += asked
        return "accepted"

    def void(self, hold_id: str) -> str:
        known = self.holds.setdefault(hold_id, ModelHold("VOIDED", None))
        if known.state == "CAPTURED":
            return "HOLD_CAPTURED"
        known.state = "VOIDED"
        return "accepted"


class Rows:
    """What a store would keep between batches."""

    def __init__(self) -> None:
        self.balances = {
            account_id: Balance(account_id=account_id, role=role, currency=currency)
            for account_id, (role, currency) in ROLES.items()
        }
        self.transfers: dict[str, Transfer] = {}
        self.holds: dict[str, Hold] = {}
        self.entries: list[tuple[str, int, int]] = []

    def run(self, commands: list[Command], now: datetime) -> list[str]:
        needs = batch.needs(commands)
        known_holds = {key: self.holds[key] for key in needs.hold_ids & self.holds.keys()}
        accounts = set(needs.account_ids).union(
            *({h.debit_account_id, h.credit_account_id} for h in known_holds.values())
        )
        book = Book(
            balances={key: self.balances[key] for key in accounts & self.balances.keys()},
            transfers={
                key: self.transfers[key] for key in needs.transfer_ids & self.transfers.keys()
            },
            holds=known_holds,
        )
        decision = ledger.decide(book, commands, now=now, booking_day=DAY)
        for new in decision.booked:
            transfer = new.transfer
            assert transfer.transfer_id not in self.transfers
            self.transfers[transfer.transfer_id] = transfer
            self.entries.append(
                (transfer.debit_account_id, new.debit_sequence, new.debit_balance_after_minor)
            )
            self.entries.append(
                (transfer.credit_account_id, new.credit_sequence, new.credit_balance_after_minor)
            )
        self.balances.update({balance.account_id: balance for balance in decision.balances})
        self.holds.update({h.hold_id: h for h in [*decision.holds_new, *decision.holds_changed]})
        return [_outcome(verdict) for verdict in decision.verdicts]


def _outcome(verdict: TransferVerdict | HoldVerdict) -> str:
    if verdict.error is not None:
        return verdict.error.reason
    if isinstance(verdict, HoldVerdict):
        return "accepted"
    return "replayed" if verdict.replayed else "booked"


_amounts = st.integers(1, 60)
_accounts = st.sampled_from(ACCOUNT_IDS)
_currencies = st.sampled_from(["CNY", "CNY", "CNY", "CNY", "USD"])
_hold_ids = st.sampled_from([f"h{n}" for n in range(6)])
_transfers = st.builds(
    Transfer,
    transfer_id=st.sampled_from([f"t{n}" for n in range(40)]),
    debit_account_id=_accounts,
    credit_account_id=_accounts,
    currency=_currencies,
    amount_minor=_amounts,
    linked=st.booleans(),
)
_fundings = st.builds(
    Transfer,
    transfer_id=st.sampled_from([f"f{n}" for n in range(20)]),
    debit_account_id=st.just("bank"),
    credit_account_id=st.sampled_from(sorted(CREDIT_NORMAL)),
    currency=st.just("CNY"),
    amount_minor=_amounts,
    linked=st.booleans(),
)
_holds = st.builds(
    PlaceHold,
    hold=st.builds(
        Hold,
        hold_id=_hold_ids,
        debit_account_id=st.sampled_from([*FLOORED, "m/pending", "bank"]),
        credit_account_id=_accounts,
        currency=_currencies,
        amount_minor=_amounts,
    ),
)
_captures = st.builds(CaptureHold, hold_id=_hold_ids, amount_minor=st.integers(0, 60))
_voids = st.builds(VoidHold, hold_id=_hold_ids)
_batches = st.lists(
    st.lists(st.one_of(_transfers, _fundings, _holds, _captures, _voids), max_size=12), max_size=6
)


def _expected(model: Model, commands: list[Command]) -> list[str]:
    outcomes: list[str] = []
    waiting: list[Transfer] = []
    for position, command in enumerate(commands):
        if isinstance(command, Transfer):
            waiting.append(command)
            following = commands[position + 1 : position + 2]
            if command.linked and following and isinstance(following[0], Transfer):
                continue
            outcomes += model.chain(waiting)
            waiting = []
        elif isinstance(command, PlaceHold):
            outcomes.append(model.place(command.hold))
        elif isinstance(command, CaptureHold):
            outcomes.append(model.capture(command))
        elif isinstance(command, VoidHold):
            outcomes.append(model.void(command.hold_id))
    return outcomes


@settings(max_examples=300, deadline=None)
@given(_batches)
def test_every_batch_ends_as_the_plain_model_says(batches: list[list[Command]]) -> None:
    rows, model = Rows(), Model()

    for number, commands in enumerate(batches):
        outcomes = rows.run(commands, NOW + timedelta(seconds=number))

        assert outcomes == _expected(model, commands)
        for account_id, balance in rows.balances.items():
            assert balance.credits_minor - balance.debits_minor == model.net[account_id]
            assert balance.held_minor == model.held(account_id)


@settings(max_examples=200, deadline=None)
@given(_batches)
def test_debits_equal_credits_and_no_floor_is_broken_and_statements_have_no_gap(
    batches: list[list[Command]],
) -> None:
    rows = Rows()

    for commands in batches:
        rows.run(commands, NOW)

        for currency in ("CNY", "USD"):
            of_currency = [b for b in rows.balances.values() if b.currency == currency]
            assert sum(b.debits_minor - b.credits_minor for b in of_currency) == 0
        assert all(rows.balances[account_id].available_minor >= 0 for account_id in FLOORED)
    for account_id, balance in rows.balances.items():
        lines = [entry[1:] for entry in rows.entries if entry[0] == account_id]
        assert [sequence for sequence, _ in lines] == list(range(1, balance.sequence + 1))
        assert not lines or lines[-1][1] == balance.posted_minor


@settings(max_examples=100, deadline=None)
@given(_batches)
def test_a_batch_sent_twice_moves_money_once(batches: list[list[Command]]) -> None:
    rows = Rows()
    for commands in batches:
        rows.run(commands, NOW)
        transfers = [command for command in commands if isinstance(command, Transfer)]
        booked = [t for t in transfers if rows.transfers.get(t.transfer_id) == t]
        balances = dict(rows.balances)

        outcomes = rows.run([*booked], NOW + timedelta(days=1))

        assert set(outcomes) <= {"replayed"}
        assert rows.balances == balances
