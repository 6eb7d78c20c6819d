"""How one transfer is decided, and a chain of them; ledger.py says in which order checks are made."""

from collections.abc import Sequence
from dataclasses import replace

from libs.errors import FiscError
from libs.money import AMOUNT_MINOR_MAX
from services.account.domain import errors
from services.account.domain.accounts import Balance
from services.account.domain.commands import Transfer, TransferVerdict
from services.account.domain.work import Work

_CONTENT = (
    ("debit_account_id", "debit_account_id"),
    ("credit_account_id", "credit_account_id"),
    ("currency", "amount.currency"),
    ("reference", "reference"),
    ("description", "description"),
    ("balancing", "balancing"),
    ("keep_minor", "keep_minor"),
    ("reverses_transfer_id", "reverses_transfer_id"),
)


def post(work: Work, transfer: Transfer) -> TransferVerdict:
    """Book one transfer, or answer with what stands booked under its id, or say why not."""
    known = work.transfers.get(transfer.transfer_id)
    if known is not None:
        field = _difference(work, known, transfer)
        if field is None:
            return _verdict(work, known, replayed=True)
        return _verdict(work, transfer, error=errors.TransferIdReused(field=field))
    if transfer.balancing is None and not transfer.reverses_transfer_id:
        error = work.refusal(transfer) or work.book(transfer)
        return _verdict(work, transfer, error=error)
    resolved = _resolved(work, transfer)
    if isinstance(resolved, FiscError):
        return _verdict(work, transfer, error=resolved)
    error = work.book(resolved)
    if error is None and (original_id := resolved.reverses_transfer_id):
        reversed_minor = work.reversed_minor.get(original_id, 0) + resolved.amount_minor
        work.put(work.reversed_minor, original_id, reversed_minor)
    return _verdict(work, resolved, error=error)


def post_chain(work: Work, chain: Sequence[Transfer]) -> list[TransferVerdict]:
    """Book all of the chain or none; what had been booked before it stays booked."""
    verdicts: list[TransferVerdict] = []
    with work.chain() as undoing:
        for transfer in chain:
            verdicts.append(post(work, transfer))
            if verdicts[-1].error is not None:
                undoing.is_failed = True
                break
    if not undoing.is_failed:
        return verdicts
    failed, error = len(verdicts) - 1, verdicts[-1].error
    return [
        _verdict(work, transfer, error=error)
        if position == failed
        else post(work, transfer)
        if transfer.transfer_id in work.transfers
        else _verdict(
            work,
            transfer,
            error=errors.LinkedFailed(failed_transfer_id=chain[failed].transfer_id),
        )
        for position, transfer in enumerate(chain)
    ]


def _resolved(work: Work, asked: Transfer) -> Transfer | FiscError:
    """Return the transfer with the sides and the amount that the ledger decides, or why it cannot."""
    if not asked.reverses_transfer_id:
        error = work.refusal(asked, amount_min_minor=0)
        amount_minor = 0 if error else _balanced_minor(work, asked)
    elif asked.balancing is not None:
        return errors.BalancingUnsupported("a reversal cannot balance", field="balancing")
    else:
        original = work.transfers.get(asked.reverses_transfer_id)
        if original is None or original.debit_account_id not in work.balances:
            return errors.TransferNotFound(field="reverses_transfer_id")
        swapped = _swapped(original, asked)
        if isinstance(swapped, FiscError):
            return swapped
        error = work.refusal(swapped, amount_min_minor=0)
        rest_minor = original.amount_minor - work.reversed_minor.get(original.transfer_id, 0)
        amount_minor = asked.amount_minor or rest_minor
        if error is None and (not rest_minor or amount_minor > rest_minor):
            error = errors.ReversalTooLarge(field="amount.amount_minor", rest_minor=str(rest_minor))
        asked = swapped
    if error is not None:
        return error
    if amount_minor is None:
        return errors.BalancingUnsupported(field="balancing")
    if amount_minor <= 0:
        return errors.NothingToMove(field="amount.amount_minor")
    return replace(asked, amount_minor=amount_minor, requested_minor=asked.amount_minor)


def _swapped(original: Transfer, asked: Transfer) -> Transfer | FiscError:
    """Return what is asked with the original's sides, the other way; they may be left out."""
    for field, wanted in (
        ("debit_account_id", original.credit_account_id),
        ("credit_account_id", original.debit_account_id),
    ):
        if getattr(asked, field) not in {"", wanted}:
            return errors.ReversalDiffers(field=field)
    if asked.currency != original.currency:
        return errors.ReversalDiffers(field="amount.currency")
    return replace(
        asked,
        debit_account_id=original.credit_account_id,
        credit_account_id=original.debit_account_id,
    )


def _balanced_minor(work: Work, asked: Transfer) -> int | None:
    """What the account that gives has to give, at most what is asked; None if neither gives."""
    debit = work.balances[asked.debit_account_id]
    credit = work.balances[asked.credit_account_id]
    giver: Balance
    if debit.role.is_credit_normal:
        giver = debit
    elif not credit.role.is_credit_normal:
        giver = credit
    else:
        return None
    keep_minor = max(asked.keep_minor, giver.floor_minor or 0)
    return min(asked.amount_minor or AMOUNT_MINOR_MAX, giver.available_minor - keep_minor)


def _difference(work: Work, known: Transfer, asked: Transfer) -> str | None:
    """Name the first field in which two transfers differ; no effective date agrees with any."""
    for attribute, field in _CONTENT:
        value = getattr(asked, attribute)
        if getattr(known, attribute) != value and not (
            asked.reverses_transfer_id and not value and attribute.endswith("account_id")
        ):
            return field
    known_minor = known.amount_minor if known.requested_minor is None else known.requested_minor
    if known_minor != asked.amount_minor:
        return "amount.amount_minor"
    booked_on = known.effective_date or work.booking_day.isoformat()
    if asked.effective_date and asked.effective_date != booked_on:
        return "effective_date"
    return None


def _verdict(
    work: Work, transfer: Transfer, *, error: FiscError | None = None, replayed: bool = False
) -> TransferVerdict:
    return TransferVerdict(
        transfer_id=transfer.transfer_id,
        booked=error is None,
        replayed=replayed,
        error=error,
        debit=work.balances.get(transfer.debit_account_id),
        credit=work.balances.get(transfer.credit_account_id),
        applied_minor=transfer.amount_minor if error is None else 0,
    )
