"""How a command on a hold is decided; one whose time is up expires before anything else."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime

from libs.errors import FiscError
from services.account.domain import errors
from services.account.domain.accounts import AccountState
from services.account.domain.commands import (
    CAPTURES_MAX,
    CaptureGroup,
    CaptureHold,
    ExpireHold,
    Hold,
    HoldCommand,
    HoldState,
    HoldVerdict,
    PlaceHold,
    Transfer,
    VoidGroup,
    VoidHold,
    capture_transfer_id,
)
from services.account.domain.work import Work

# The expiry is left out: a retry may well compute it anew, and the first placement's counts.
_CONTENT = (
    ("debit_account_id", "debit_account_id"),
    ("credit_account_id", "credit_account_id"),
    ("currency", "amount.currency"),
    ("amount_minor", "amount.amount_minor"),
    ("reference", "reference"),
    ("group_id", "group_id"),
)


def handle(work: Work, command: HoldCommand) -> HoldVerdict:
    """Decide one command."""
    match command:
        case PlaceHold(hold=asked):
            return _verdict(work, asked.hold_id, _place(work, asked))
        case CaptureHold(hold_id=hold_id):
            return _verdict(work, hold_id, _capture(work, command))
        case VoidHold(hold_id=hold_id):
            return _verdict(work, hold_id, _void(work, hold_id))
        case ExpireHold(hold_id=hold_id):
            _expire_if_due(work, hold_id)
            return _verdict(work, hold_id, None)
        case CaptureGroup() | VoidGroup():
            return _handle_group(work, command)


def place_chain(work: Work, chain: Sequence[PlaceHold]) -> list[HoldVerdict]:
    """Place all of the chain or none; what had been placed before it stays placed."""
    for command in chain:
        _expire_if_due(work, command.hold.hold_id)
    placed: list[FiscError | None] = []
    with work.chain() as undoing:
        for command in chain:
            placed.append(_place(work, command.hold))
            if placed[-1] is not None:
                undoing.is_failed = True
                break
    if not undoing.is_failed:
        return [_verdict(work, command.hold.hold_id, None) for command in chain]
    failed, error = len(placed) - 1, placed[-1]
    failed_id = chain[failed].hold.hold_id
    return [
        _verdict(work, command.hold.hold_id, error)
        if position == failed
        else handle(work, command)
        if command.hold.hold_id in work.holds
        else _verdict(work, command.hold.hold_id, errors.LinkedFailed(failed_hold_id=failed_id))
        for position, command in enumerate(chain)
    ]


def _handle_group(work: Work, command: CaptureGroup | VoidGroup) -> HoldVerdict:
    members = sorted(
        hold.hold_id for hold in work.holds.values() if hold.group_id == command.group_id
    )
    error: FiscError | None = None
    for hold_id in members:
        _expire_if_due(work, hold_id)
    with work.chain() as undoing:
        if isinstance(command, VoidGroup):
            work.put(work.groups, command.group_id, True)
        elif not members:
            is_barred = work.groups.get(command.group_id, False)
            reason = errors.HoldVoided if is_barred else errors.HoldNotFound
            error = reason(field="group_id")
        for hold_id in members:
            if isinstance(command, CaptureGroup):
                capture = CaptureHold(hold_id=hold_id, description=command.description)
                error = _capture_of_group(work, capture)
            else:
                error = _void(work, hold_id)
            if error is not None:
                error.metadata["failed_hold_id"] = hold_id
                break
        undoing.is_failed = error is not None
    return HoldVerdict(
        hold_id="",
        hold=None,
        error=error,
        group_id=command.group_id,
        group_holds=[work.holds[hold_id] for hold_id in members],
    )


def _place(work: Work, asked: Hold) -> FiscError | None:
    _expire_if_due(work, asked.hold_id)
    known = work.holds.get(asked.hold_id)
    if known is not None:
        return _replacement_refusal(known, asked)
    if work.groups.get(asked.group_id):
        return errors.HoldVoided(field="group_id")
    error = work.refusal(asked)
    if error is None and not work.balances[asked.debit_account_id].role.is_credit_normal:
        error = errors.AccountNotHoldable(field="debit_account_id")
    if error is None and _is_due(asked, work.now):
        error = errors.HoldExpired(field="expires_at")
    if error is None:
        error = work.hold_back(asked.debit_account_id, asked.amount_minor)
    if error is None:
        work.put(work.holds, asked.hold_id, asked)
        if asked.group_id and asked.group_id not in work.groups:
            work.put(work.groups, asked.group_id, False)
    return error


def _capture(work: Work, command: CaptureHold) -> FiscError | None:
    _expire_if_due(work, command.hold_id)
    hold = work.holds.get(command.hold_id)
    if hold is None:
        return errors.HoldNotFound(field="hold_id")
    for position, (capture_id, amount_minor) in enumerate(hold.captures):
        if command.capture_id == capture_id:
            is_last = position == len(hold.captures) - 1
            took_all = is_last and hold.captured_minor == hold.amount_minor
            if command.amount_minor in {amount_minor, 0 if took_all else amount_minor}:
                return None
            return errors.CaptureIdReused(field="amount_minor", captured_minor=str(amount_minor))
    is_over = hold.state is HoldState.CAPTURED
    amount_minor = command.amount_minor or (hold.amount_minor if is_over else hold.rest_minor)
    error = _capture_refusal(hold, command, amount_minor)
    if error is not None or is_over:
        return error
    return _take(work, hold, command, amount_minor)


def _capture_of_group(work: Work, command: CaptureHold) -> FiscError | None:
    """Capture all that is left of one hold of a group, though its earlier captures have names."""
    hold = work.holds[command.hold_id]
    if hold.state is HoldState.CAPTURED:
        return None
    if hold.captures:
        command = replace(command, capture_id=f"group:{hold.group_id}")
    return _capture(work, command)


def _take(work: Work, hold: Hold, command: CaptureHold, amount_minor: int) -> FiscError | None:
    """Book a capture. Funds were set aside for it, and a freeze came later; a closed account is closed."""
    credit = work.balances[hold.credit_account_id]
    if credit.terms.state is AccountState.CLOSED:
        return errors.AccountClosed(field="hold_id", account_id=credit.account_id)
    transfer = Transfer(
        transfer_id=capture_transfer_id(hold.hold_id, hold.captures_count + 1),
        debit_account_id=hold.debit_account_id,
        credit_account_id=hold.credit_account_id,
        currency=hold.currency,
        amount_minor=amount_minor,
        reference=hold.reference,
        description=command.description,
    )
    if transfer.transfer_id in work.transfers:
        return errors.TransferIdReused(field="hold_id", transfer_id=transfer.transfer_id)
    is_open = command.keep_open and amount_minor < hold.rest_minor
    error = work.book(transfer, released_minor=amount_minor if is_open else hold.rest_minor)
    if error is None:
        named = ((command.capture_id, amount_minor),) if command.capture_id else ()
        changed = replace(
            hold,
            state=HoldState.HELD if is_open else HoldState.CAPTURED,
            captured_minor=hold.captured_minor + amount_minor,
            captures=hold.captures + named,
        )
        work.put(work.holds, hold.hold_id, changed)
    return error


def _void(work: Work, hold_id: str) -> FiscError | None:
    _expire_if_due(work, hold_id)
    hold = work.holds.get(hold_id)
    if hold is None:
        work.put(work.holds, hold_id, Hold(hold_id=hold_id, state=HoldState.VOIDED))
    elif hold.state is HoldState.CAPTURED:
        return errors.HoldCaptured(field="hold_id")
    elif hold.state is HoldState.HELD:
        _release(work, hold, HoldState.VOIDED)
    return None


def _expire_if_due(work: Work, hold_id: str) -> None:
    hold = work.holds.get(hold_id)
    if hold is not None and hold.state is HoldState.HELD and _is_due(hold, work.now):
        _release(work, hold, HoldState.EXPIRED)


def _release(work: Work, hold: Hold, state: HoldState) -> None:
    work.hold_back(hold.debit_account_id, -hold.rest_minor)
    work.put(work.holds, hold.hold_id, replace(hold, state=state))


def _verdict(work: Work, hold_id: str, error: FiscError | None) -> HoldVerdict:
    return HoldVerdict(hold_id=hold_id, hold=work.holds.get(hold_id), error=error)


def _replacement_refusal(known: Hold, asked: Hold) -> FiscError | None:
    """Say why a hold that stands does not answer a request to place it."""
    if not known.is_tombstone:
        for attribute, field in _CONTENT:
            if getattr(known, attribute) != getattr(asked, attribute):
                return errors.HoldIdReused(field=field)
    if known.state is HoldState.VOIDED:
        return errors.HoldVoided(field="hold_id")
    if known.state is HoldState.EXPIRED:
        return errors.HoldExpired(field="hold_id")
    return None


def _capture_refusal(hold: Hold, command: CaptureHold, amount_minor: int) -> FiscError | None:
    if hold.state is HoldState.VOIDED:
        return errors.HoldVoided(field="hold_id")
    if hold.state is HoldState.EXPIRED:
        return errors.HoldExpired(field="hold_id")
    if hold.state is HoldState.CAPTURED:
        # Without names, a hold is captured once: the same amount again is the same capture.
        is_same = not (command.capture_id or hold.captures) and hold.captured_minor == amount_minor
        if is_same:
            return None
        return errors.HoldCaptured(field="amount_minor", captured_minor=str(hold.captured_minor))
    if not command.capture_id and (command.keep_open or hold.captures):
        return errors.CaptureIdRequired(field="capture_id")
    if len(hold.captures) >= CAPTURES_MAX:
        return errors.TooManyCaptures(field="hold_id", captures_max=str(CAPTURES_MAX))
    if amount_minor > hold.rest_minor:
        return errors.CaptureTooLarge(field="amount_minor", amount_minor=str(hold.rest_minor))
    return None


def _is_due(hold: Hold, now: datetime) -> bool:
    return hold.expires_at is not None and hold.expires_at <= now
