"""The ledger a second time, as plainly as can be: dicts of integers, one command after another."""

from dataclasses import dataclass, field
from datetime import date, datetime

from services.account.domain.changes import Change
from services.account.domain.commands import (
    CaptureGroup,
    CaptureHold,
    Command,
    Hold,
    PlaceHold,
    Transfer,
    VoidGroup,
    VoidHold,
)

LIMIT = 10**15
Outcome = tuple[str, int]


@dataclass
class PlainAccount:
    """Credits count as positive in `net`, whatever the normal side."""

    sign: int
    currency: str
    tenant: str = ""
    floor: int | None = None
    ceiling: int | None = None
    state: str = "OPEN"
    net: int = 0
    held: int = 0

    @property
    def posted(self) -> int:
        return self.sign * self.net


@dataclass
class PlainHold:
    """`log` has the name and amount of each capture."""

    state: str
    content: tuple[object, ...] | None = None
    debit: str = ""
    credit: str = ""
    amount: int = 0
    group: str = ""
    ends_at: datetime | None = None
    taken: int = 0
    log: list[tuple[str, int]] = field(default_factory=list)


class Plain:
    """What the engine promises, in the shortest words."""

    def __init__(self, accounts: dict[str, PlainAccount], day: date, back: int, ahead: int) -> None:
        self.accounts = accounts
        self.days = (day.toordinal() - back, day.toordinal() + ahead)
        self.day = day
        self.booked: dict[str, tuple[Transfer, str, str, int]] = {}
        self.taken_back: dict[str, int] = {}
        self.holds: dict[str, PlainHold] = {}
        self.groups: dict[str, list[str]] = {}
        self.barred: set[str] = set()

    def run(self, commands: list[Command], now: datetime) -> list[Outcome]:
        outcomes: list[Outcome] = []
        chain: list[Command] = []
        for position, command in enumerate(commands):
            chain.append(command)
            following = commands[position + 1] if position + 1 < len(commands) else None
            if not (linked(command) and type(following) is type(command)):
                outcomes += self._chain(chain, now)
                chain = []
        return outcomes

    def change(self, change: Change) -> str:
        account = self.accounts.get(change.account_id)
        if account is None:
            return "ACCOUNT_NOT_FOUND"
        state = change.state.value if change.state else account.state
        floor, ceiling = account.floor, account.ceiling
        if change.bounds:
            floor, ceiling = change.bounds.floor_minor, change.bounds.ceiling_minor
        if state == "CLOSED" and (account.net or account.held):
            return "ACCOUNT_NOT_EMPTY"
        if ceiling is not None and ceiling < (floor or 0):
            return "BOUNDS_INVALID"
        if floor is not None and account.posted - account.held < floor:
            return "BALANCE_OUT_OF_BOUNDS"
        if ceiling is not None and account.posted > ceiling:
            return "BALANCE_OUT_OF_BOUNDS"
        account.state, account.floor, account.ceiling = state, floor, ceiling
        return ""

    def _chain(self, chain: list[Command], now: datetime) -> list[Outcome]:
        for command in chain:
            self._expire(command, now)
        if len(chain) == 1:
            return [self._one(chain[0], now)]
        sums = {key: (each.net, each.held) for key, each in self.accounts.items()}
        originals = {each.reverses_transfer_id for each in chain if isinstance(each, Transfer)}
        taken_back = {name: self.taken_back.get(name, 0) for name in originals}
        before = [self._id(command) in self._rows(command) for command in chain]
        outcomes: list[Outcome] = []
        for command in chain:
            outcomes.append(self._one(command, now))
            if outcomes[-1][0] not in {"booked", "replayed", "accepted"}:
                break
        else:
            return outcomes
        for key, (net, held) in sums.items():
            self.accounts[key].net, self.accounts[key].held = net, held
        self.taken_back.update(taken_back)
        for command, is_old in zip(chain, before, strict=True):
            if not is_old:
                self._rows(command).pop(self._id(command), None)
        failed = len(outcomes) - 1
        return [
            outcomes[-1]
            if position == failed
            else (
                self._one(command, now)
                if self._id(command) in self._rows(command)
                else ("LINKED_FAILED", 0)
            )
            for position, command in enumerate(chain)
        ]

    def _one(self, command: Command, now: datetime) -> Outcome:
        match command:
            case Transfer():
                return self._transfer(command)
            case PlaceHold(hold=hold):
                return self._place(hold, now), 0
            case CaptureHold():
                return self._capture(command), 0
            case VoidHold(hold_id=hold_id):
                return self._void(hold_id), 0
            case CaptureGroup(group_id=group) | VoidGroup(group_id=group):
                return self._group(command, group), 0
        raise AssertionError(command)

    def _transfer(self, asked: Transfer) -> Outcome:
        if asked.transfer_id in self.booked:
            known, debit, credit, applied = self.booked[asked.transfer_id]
            is_same = self._same(known, asked, debit, credit)
            return ("replayed", applied) if is_same else ("TRANSFER_ID_REUSED", 0)
        debit, credit, amount = asked.debit_account_id, asked.credit_account_id, asked.amount_minor
        original = asked.reverses_transfer_id
        if original:
            refusal = self._reversal_refusal(asked)
            if refusal:
                return refusal, 0
            credit, debit = self.booked[original][1:3]
        refusal = self._refusal(debit, credit, asked, 0 if asked.balancing or original else 1)
        if refusal:
            return refusal, 0
        if original or asked.balancing:
            decided = self._left(asked) if original else self._spare(asked, debit, credit)
            if isinstance(decided, str):
                return decided, 0
            amount = decided
        refusal = self._move(debit, credit, amount)
        if refusal:
            return refusal, 0
        self.booked[asked.transfer_id] = (asked, debit, credit, amount)
        if original:
            self.taken_back[original] = self.taken_back.get(original, 0) + amount
        return "booked", amount

    def _reversal_refusal(self, asked: Transfer) -> str:
        if asked.balancing:
            return "BALANCING_UNSUPPORTED"
        if asked.reverses_transfer_id not in self.booked:
            return "TRANSFER_NOT_FOUND"
        original, debit, credit, _ = self.booked[asked.reverses_transfer_id]
        fits = (
            asked.debit_account_id in {"", credit}
            and asked.credit_account_id in {"", debit}
            and original.currency == asked.currency
        )
        return "" if fits else "REVERSAL_DIFFERS"

    def _left(self, asked: Transfer) -> int | str:
        moved = self.booked[asked.reverses_transfer_id][3]
        left = moved - self.taken_back.get(asked.reverses_transfer_id, 0)
        amount = asked.amount_minor or left
        return amount if left and amount <= left else "REVERSAL_TOO_LARGE"

    def _spare(self, asked: Transfer, debit: str, credit: str) -> int | str:
        giver = self.accounts[debit]
        if giver.sign < 0:
            giver = self.accounts[credit]
            if giver.sign > 0:
                return "BALANCING_UNSUPPORTED"
        keep = max(asked.keep_minor, giver.floor or 0)
        amount = min(asked.amount_minor or LIMIT, giver.posted - giver.held - keep)
        return amount if amount > 0 else "NOTHING_TO_MOVE"

    def _same(self, known: Transfer, asked: Transfer, debit: str, credit: str) -> bool:
        blank = {""} if asked.reverses_transfer_id else set[str]()
        return (
            asked.debit_account_id in blank | {debit}
            and asked.credit_account_id in blank | {credit}
            and (known.currency, known.amount_minor, known.reference, known.description)
            == (asked.currency, asked.amount_minor, asked.reference, asked.description)
            and (known.balancing, known.keep_minor, known.reverses_transfer_id)
            == (asked.balancing, asked.keep_minor, asked.reverses_transfer_id)
            and asked.effective_date in {"", known.effective_date or self.day.isoformat()}
        )

    def _refusal(self, debit: str, credit: str, asked: Transfer | Hold, least: int) -> str:
        if not least <= asked.amount_minor <= LIMIT:
            return "AMOUNT_OUT_OF_RANGE"
        if isinstance(asked, Transfer) and asked.effective_date:
            try:
                day = date.fromisoformat(asked.effective_date).toordinal()
            except ValueError:
                return "INVALID_EFFECTIVE_DATE"
            if not self.days[0] <= day <= self.days[1]:
                return "EFFECTIVE_DATE_OUT_OF_WINDOW"
        if debit == credit:
            return "SAME_ACCOUNT"
        if debit not in self.accounts or credit not in self.accounts:
            return "ACCOUNT_NOT_FOUND"
        giver, taker = self.accounts[debit], self.accounts[credit]
        if {giver.currency, taker.currency} != {asked.currency}:
            return "CURRENCY_MISMATCH"
        if giver.tenant != taker.tenant:
            return "BOOK_MISMATCH"
        for account, frozen in ((giver, "DEBITS_FROZEN"), (taker, "CREDITS_FROZEN")):
            if account.state == "CLOSED":
                return "ACCOUNT_CLOSED"
            if account.state in {frozen, "FROZEN"}:
                return "ACCOUNT_FROZEN"
        return ""

    def _move(self, debit: str, credit: str, amount: int, released: int = 0) -> str:
        giver, taker = self.accounts[debit], self.accounts[credit]
        giver.net, giver.held, taker.net = (
            giver.net - amount, giver.held - released, taker.net + amount
        )  # fmt: skip
        refusal = outside(giver) or outside(taker)
        if refusal:
            giver.net, giver.held, taker.net = (
                giver.net + amount, giver.held + released, taker.net - amount
            )  # fmt: skip
        return refusal

    def _place(self, asked: Hold, now: datetime) -> str:
        content = (asked.debit_account_id, asked.credit_account_id, asked.currency,
                   asked.amount_minor, asked.reference, asked.group_id)  # fmt: skip
        known = self.holds.get(asked.hold_id)
        if known:
            if known.content and known.content != content:
                return "HOLD_ID_REUSED"
            ended = known.state in {"VOIDED", "EXPIRED"}
            return f"HOLD_{known.state}" if ended else "accepted"
        if asked.group_id in self.barred:
            return "HOLD_VOIDED"
        refusal = self._refusal(asked.debit_account_id, asked.credit_account_id, asked, 1)
        if refusal:
            return refusal
        account = self.accounts[asked.debit_account_id]
        if account.sign < 0:
            return "ACCOUNT_NOT_HOLDABLE"
        if asked.expires_at and asked.expires_at <= now:
            return "HOLD_EXPIRED"
        account.held += asked.amount_minor
        refusal = outside(account)
        if refusal:
            account.held -= asked.amount_minor
            return refusal
        self.holds[asked.hold_id] = PlainHold(
            "HELD", content, asked.debit_account_id, asked.credit_account_id, asked.amount_minor,
            asked.group_id, asked.expires_at,
        )  # fmt: skip
        self.groups.setdefault(asked.group_id, []).append(asked.hold_id)
        return "accepted"

    def _capture(self, asked: CaptureHold, *, name: str = "") -> str:
        hold = self.holds.get(asked.hold_id)
        if hold is None:
            return "HOLD_NOT_FOUND"
        name = name or asked.capture_id
        for number, (old, amount) in enumerate(hold.log):
            if old == name:
                was_all = number == len(hold.log) - 1 and hold.taken == hold.amount
                same = asked.amount_minor == amount or (was_all and asked.amount_minor == 0)
                return "accepted" if same else "CAPTURE_ID_REUSED"
        if hold.state in {"VOIDED", "EXPIRED"}:
            return f"HOLD_{hold.state}"
        if hold.state == "CAPTURED":
            once = not hold.log and not name and (asked.amount_minor or hold.amount) == hold.taken
            return "accepted" if once else "HOLD_CAPTURED"
        if not name and (asked.keep_open or hold.log):
            return "CAPTURE_ID_REQUIRED"
        left = hold.amount - hold.taken
        amount = asked.amount_minor or left
        if amount > left:
            return "CAPTURE_TOO_LARGE"
        if self.accounts[hold.credit].state == "CLOSED":
            return "ACCOUNT_CLOSED"
        stays = asked.keep_open and amount < left
        refusal = self._move(hold.debit, hold.credit, amount, amount if stays else left)
        if refusal:
            return refusal
        hold.taken += amount
        hold.state = "HELD" if stays else "CAPTURED"
        if name:
            hold.log.append((name, amount))
        return "accepted"

    def _void(self, hold_id: str) -> str:
        hold = self.holds.setdefault(hold_id, PlainHold("VOIDED"))
        if hold.state == "CAPTURED":
            return "HOLD_CAPTURED"
        if hold.state == "HELD":
            self._end(hold, "VOIDED")
        return "accepted"

    def _group(self, command: Command, group: str) -> str:
        names = sorted(self._of(group))
        if not names and isinstance(command, CaptureGroup):
            return "HOLD_VOIDED" if group in self.barred else "HOLD_NOT_FOUND"
        sums = {key: (each.net, each.held) for key, each in self.accounts.items()}
        before = {name: (self.holds[name].state, self.holds[name].taken, list(self.holds[name].log))
                  for name in names}  # fmt: skip
        for name in names:
            hold = self.holds[name]
            if isinstance(command, VoidGroup):
                outcome = self._void(name)
            elif hold.state == "CAPTURED":
                outcome = "accepted"
            else:
                label = f"group:{group}" if hold.log else ""
                outcome = self._capture(CaptureHold(hold_id=name), name=label)
            if outcome != "accepted":
                for key, (net, held) in sums.items():
                    self.accounts[key].net, self.accounts[key].held = net, held
                for key, (state, taken, log) in before.items():
                    old = self.holds[key]
                    old.state, old.taken, old.log = state, taken, log
                return outcome
        if isinstance(command, VoidGroup):
            self.barred.add(group)
        return "accepted"

    def _expire(self, command: Command, now: datetime) -> None:
        match command:
            case PlaceHold(hold=Hold(hold_id=hold_id)) | CaptureHold(hold_id=hold_id):
                names = [hold_id]
            case VoidHold(hold_id=hold_id):
                names = [hold_id]
            case CaptureGroup(group_id=group) | VoidGroup(group_id=group):
                names = self._of(group)
            case _:
                return
        for name in names:
            hold = self.holds.get(name)
            if hold and hold.state == "HELD" and hold.ends_at and hold.ends_at <= now:
                self._end(hold, "EXPIRED")

    def _of(self, group: str) -> list[str]:
        """A group's holds; those whose chain failed were never placed."""
        names = self.groups.get(group, [])
        return [
            name
            for name in dict.fromkeys(names)
            if name in self.holds and self.holds[name].group == group
        ]

    def _end(self, hold: PlainHold, state: str) -> None:
        self.accounts[hold.debit].held -= hold.amount - hold.taken
        hold.state = state

    def _id(self, command: Command) -> str:
        return command.transfer_id if isinstance(command, Transfer) else command.hold.hold_id  # type: ignore[union-attr]  # only these are linked

    def _rows(self, command: Command) -> dict[str, object]:
        return self.booked if isinstance(command, Transfer) else self.holds  # type: ignore[return-value]  # of either


def linked(command: Command) -> bool:
    if isinstance(command, Transfer):
        return command.linked
    return isinstance(command, PlaceHold) and command.hold.linked


def outside(account: PlainAccount) -> str:
    if account.floor is not None and account.posted - account.held < account.floor:
        return "INSUFFICIENT_FUNDS"
    if account.ceiling is not None and account.posted > account.ceiling:
        return "CEILING_EXCEEDED"
    return ""
