"""Protobuf ↔ domain, field by field."""

from datetime import UTC, datetime

from fisc.account.v1 import account_pb2
from fisc.common.v1 import money_pb2
from libs.errors import FiscError
from libs.rpc import convert
from services.account.domain import errors
from services.account.domain.accounts import (
    Account,
    AccountState,
    Balance,
    Entry,
    Role,
    TrialBalance,
)
from services.account.domain.commands import (
    Balancing,
    CaptureGroup,
    CaptureHold,
    Hold,
    HoldVerdict,
    Transfer,
    TransferVerdict,
    capture_transfer_id,
)

_ROLE_PREFIX = "ACCOUNT_ROLE_"
_ACCOUNT_STATE_PREFIX = "ACCOUNT_STATE_"
_STATE_PREFIX = "STATE_"
_DIRECTION_PREFIX = "DIRECTION_"
_NOT_OPENED_YET = datetime.min.replace(tzinfo=UTC)


def role_from_proto(number: int) -> Role | None:
    """Return the role, None where it is not set. Raises UnknownRole."""
    if not number:
        return None
    value = account_pb2.AccountRole.DESCRIPTOR.values_by_number.get(number)
    if value is None:
        raise errors.UnknownRole(field="role")
    return Role(value.name.removeprefix(_ROLE_PREFIX))


def account_from_proto(account: account_pb2.Account) -> Account:
    """Read an account to be opened; the service decides when that was. Raises UnknownRole."""
    role = role_from_proto(account.role)
    if role is None:
        raise errors.UnknownRole(field="role")
    return Account(
        account_id=account.account_id,
        owner_id=account.owner_id,
        role=role,
        currency=account.currency,
        display_name=account.display_name,
        parent_id=account.parent_id,
        opened_at=_NOT_OPENED_YET,
        tenant_id=account.tenant_id,
        floor_minor=account.floor_minor if account.HasField("floor_minor") else None,
        ceiling_minor=account.ceiling_minor if account.HasField("ceiling_minor") else None,
        counterparty_id=account.counterparty_id,
    )


def account_to_proto(
    account: Account, state: AccountState = AccountState.OPEN
) -> account_pb2.Account:
    """Show an account."""
    return account_pb2.Account(
        account_id=account.account_id,
        owner_id=account.owner_id,
        role=account_pb2.AccountRole.Value(_ROLE_PREFIX + account.role),
        currency=account.currency,
        display_name=account.display_name,
        parent_id=account.parent_id,
        opened_at=convert.to_timestamp(account.opened_at),
        tenant_id=account.tenant_id,
        floor_minor=account.floor_minor,
        ceiling_minor=account.ceiling_minor,
        counterparty_id=account.counterparty_id,
        state=account_pb2.AccountState.Value(_ACCOUNT_STATE_PREFIX + state),
    )


def account_result_to_proto(result: Account | FiscError) -> account_pb2.AccountResult:
    """Show an account, or why it could not be opened."""
    if isinstance(result, Account):
        return account_pb2.AccountResult(account=account_to_proto(result))
    return account_pb2.AccountResult(error=convert.error_to_item(result))


def balance_to_proto(balance: Balance) -> account_pb2.Balance:
    """Show a balance, on the account's normal side."""
    return account_pb2.Balance(
        account_id=balance.account_id,
        currency=balance.currency,
        posted_minor=balance.posted_minor,
        held_minor=balance.held_minor,
        available_minor=balance.available_minor,
        sequence=balance.sequence,
    )


def transfer_from_proto(transfer: account_pb2.Transfer) -> Transfer:
    """Read a transfer to be booked."""
    return Transfer(
        transfer_id=transfer.transfer_id,
        debit_account_id=transfer.debit_account_id,
        credit_account_id=transfer.credit_account_id,
        currency=transfer.amount.currency,
        amount_minor=transfer.amount.amount_minor,
        reference=transfer.reference,
        description=transfer.description,
        effective_date=transfer.effective_date,
        linked=transfer.linked,
        balancing=Balancing.AT_MOST if transfer.balancing else None,
        keep_minor=transfer.keep_minor,
        reverses_transfer_id=transfer.reverses_transfer_id,
    )


def transfer_verdict_to_proto(verdict: TransferVerdict) -> account_pb2.TransferResult:
    """Show what became of a transfer."""
    return account_pb2.TransferResult(
        transfer_id=verdict.transfer_id,
        booked=verdict.booked,
        replayed=verdict.replayed,
        error=convert.error_to_item(verdict.error) if verdict.error else None,
        debit_balance=balance_to_proto(verdict.debit) if verdict.debit else None,
        credit_balance=balance_to_proto(verdict.credit) if verdict.credit else None,
        applied_amount_minor=verdict.applied_minor,
    )


def hold_from_proto(hold: account_pb2.Hold) -> Hold:
    """Read a hold to be placed; its state and what was captured are the service's to say."""
    has_expiry = hold.HasField("expires_at")
    return Hold(
        hold_id=hold.hold_id,
        debit_account_id=hold.debit_account_id,
        credit_account_id=hold.credit_account_id,
        currency=hold.amount.currency,
        amount_minor=hold.amount.amount_minor,
        reference=hold.reference,
        expires_at=convert.from_timestamp(hold.expires_at) if has_expiry else None,
        linked=hold.linked,
        group_id=hold.group_id,
    )


def capture_from_proto(capture: account_pb2.Capture) -> CaptureHold | CaptureGroup:
    """Read how much of a hold to take, or which group."""
    if capture.group_id:
        return CaptureGroup(group_id=capture.group_id, description=capture.description)
    return CaptureHold(
        hold_id=capture.hold_id,
        amount_minor=capture.amount_minor,
        description=capture.description,
        keep_open=capture.keep_open,
        capture_id=capture.capture_id,
    )


def hold_verdict_to_proto(verdict: HoldVerdict) -> account_pb2.HoldResult:
    """Show what became of a hold or a group."""
    return account_pb2.HoldResult(
        hold_id=verdict.hold_id,
        accepted=verdict.error is None,
        hold=_hold_to_proto(verdict.hold) if verdict.hold else None,
        error=convert.error_to_item(verdict.error) if verdict.error else None,
        group_id=verdict.group_id,
        group_holds=map(_hold_to_proto, verdict.group_holds),
    )


def _hold_to_proto(hold: Hold) -> account_pb2.Hold:
    amount = money_pb2.Money(currency=hold.currency, amount_minor=hold.amount_minor)
    return account_pb2.Hold(
        hold_id=hold.hold_id,
        debit_account_id=hold.debit_account_id,
        credit_account_id=hold.credit_account_id,
        amount=None if hold.is_tombstone else amount,
        reference=hold.reference,
        state=account_pb2.Hold.State.Value(_STATE_PREFIX + hold.state),
        captured_minor=hold.captured_minor,
        expires_at=convert.to_timestamp(hold.expires_at) if hold.expires_at else None,
        group_id=hold.group_id,
        captures=[
            account_pb2.HoldCapture(
                capture_id=capture_id,
                amount_minor=amount_minor,
                transfer_id=capture_transfer_id(hold.hold_id, number),
            )
            for number, (capture_id, amount_minor) in enumerate(hold.captures, start=1)
        ],
    )


def entry_to_proto(entry: Entry) -> account_pb2.Entry:
    """Show a line of a statement."""
    return account_pb2.Entry(
        sequence=entry.sequence,
        transfer_id=entry.transfer_id,
        direction=account_pb2.Direction.Value(_DIRECTION_PREFIX + entry.direction),
        amount=money_pb2.Money(currency=entry.currency, amount_minor=entry.amount_minor),
        balance_after_minor=entry.balance_after_minor,
        counter_account_id=entry.counter_account_id,
        reference=entry.reference,
        description=entry.description,
        effective_date=entry.effective_date,
        booked_at=convert.to_timestamp(entry.booked_at),
    )


def trial_balance_to_proto(trial_balance: TrialBalance) -> account_pb2.GetTrialBalanceResponse:
    """Show the proof."""
    return account_pb2.GetTrialBalanceResponse(
        lines=[
            account_pb2.TrialBalanceLine(
                role=account_pb2.AccountRole.Value(_ROLE_PREFIX + line.role),
                currency=line.currency,
                accounts=line.accounts,
                debits_minor=line.debits_minor,
                credits_minor=line.credits_minor,
            )
            for line in trial_balance.lines
        ],
        imbalance_minor=trial_balance.imbalance_minor,
        transfers_count=trial_balance.transfers_count,
    )
