"""Protobuf ↔ domain of what is asked less often: changes, conversions, the past, sums, the proof."""

from fisc.account.v1 import account_pb2
from fisc.common.v1 import money_pb2
from libs.rpc import convert
from services.account.domain.accounts import AccountState, PastBalance, SubtreeLine
from services.account.domain.changes import Bounds, Change, ChangeVerdict
from services.account.domain.conversions import Amount, Conversion, ConversionVerdict
from services.account.handlers.convert import transfer_verdict_to_proto
from services.account.usecases.proof import Progress

_STATE_PREFIX = "ACCOUNT_STATE_"


def change_from_proto(change: account_pb2.AccountChange) -> Change:
    """Read what is to hold for an account; what is not set stays."""
    bounds = change.bounds
    name = account_pb2.AccountState.Name(change.state).removeprefix(_STATE_PREFIX)
    return Change(
        account_id=change.account_id,
        reason=change.reason,
        state=AccountState(name) if change.state else None,
        bounds=Bounds(
            floor_minor=bounds.floor_minor if bounds.HasField("floor_minor") else None,
            ceiling_minor=bounds.ceiling_minor if bounds.HasField("ceiling_minor") else None,
        )
        if change.HasField("bounds")
        else None,
    )


def change_verdict_to_proto(verdict: ChangeVerdict) -> account_pb2.AccountChangeResult:
    """Show what became of a change."""
    result = account_pb2.AccountChangeResult(
        account_id=verdict.account_id,
        changed=verdict.error is None,
        replayed=verdict.replayed,
        error=convert.error_to_item(verdict.error) if verdict.error else None,
    )
    if verdict.terms is not None:
        result.state = account_pb2.AccountState.Value(_STATE_PREFIX + verdict.terms.state)
        result.bounds.CopyFrom(
            account_pb2.AccountBounds(
                floor_minor=verdict.terms.floor_minor, ceiling_minor=verdict.terms.ceiling_minor
            )
        )
    return result


def conversion_from_proto(conversion: account_pb2.Conversion) -> Conversion:
    """Read a conversion; its currencies are judged with it."""
    return Conversion(
        conversion_id=conversion.conversion_id,
        debit_account_id=conversion.debit_account_id,
        sold=_amount(conversion.sold),
        credit_account_id=conversion.credit_account_id,
        bought=_amount(conversion.bought),
        sold_liquidity_account_id=conversion.sold_liquidity_account_id,
        bought_liquidity_account_id=conversion.bought_liquidity_account_id,
        spread_minor=conversion.spread_minor,
        spread_account_id=conversion.spread_account_id,
        reference=conversion.reference,
        effective_date=conversion.effective_date,
    )


def conversion_verdict_to_proto(verdict: ConversionVerdict) -> account_pb2.ConversionResult:
    """Show what became of a conversion."""
    return account_pb2.ConversionResult(
        conversion_id=verdict.conversion_id,
        booked=verdict.is_booked,
        replayed=verdict.is_replayed,
        error=convert.error_to_item(verdict.error) if verdict.error else None,
        transfers=map(transfer_verdict_to_proto, verdict.transfers),
    )


def progress_to_proto(progress: Progress) -> account_pb2.VerifyChainResponse:
    """Show how far the proof has come; heads only at its end."""
    heads = progress.heads if progress.is_done else ()
    return account_pb2.VerifyChainResponse(
        batches_count=progress.batches_count,
        transfers_count=progress.transfers_count,
        accounts_count=progress.accounts_count,
        done=progress.is_done,
        broken=progress.broken,
        heads=[f"{head.chain}:{head.number}:{head.hash.hex()}" for head in heads],
    )


def past_balance_to_proto(balance: PastBalance) -> account_pb2.Balance:
    """Show how an account stood; what was held then is not known."""
    return account_pb2.Balance(
        account_id=balance.account_id,
        currency=balance.currency,
        posted_minor=balance.posted_minor,
        available_minor=balance.posted_minor,
        sequence=balance.sequence,
    )


def closing_balance_to_proto(balance: PastBalance) -> account_pb2.ClosingBalance:
    """Show how an account stood at the end of a day."""
    return account_pb2.ClosingBalance(
        account_id=balance.account_id,
        currency=balance.currency,
        posted_minor=balance.posted_minor,
        sequence=balance.sequence,
    )


def subtree_line_to_proto(line: SubtreeLine) -> account_pb2.SubtreeLine:
    """Show a line of a roll-up."""
    return account_pb2.SubtreeLine(
        role=account_pb2.AccountRole.Value(f"ACCOUNT_ROLE_{line.role}"),
        currency=line.currency,
        accounts=line.accounts,
        posted_minor=line.posted_minor,
        held_minor=line.held_minor,
        available_minor=line.posted_minor - line.held_minor,
    )


def _amount(amount: money_pb2.Money) -> Amount:
    return Amount(currency=amount.currency, amount_minor=amount.amount_minor)
