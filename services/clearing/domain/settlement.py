"""Settlement: what a batch books in the ledger, and in which accounts."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date

from libs.money import mul_div
from services.clearing.domain.bills.model import FEE_SCALE
from services.clearing.domain.model import Batch, ChannelFee


@dataclass(frozen=True, slots=True, kw_only=True)
class Transfer:
    """One booking. `linked` ties it to the next one: both are booked or none."""

    transfer_id: str
    debit_account_id: str
    credit_account_id: str
    currency: str
    amount_minor: int
    reference: str
    description: str
    effective_date: date
    linked: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Booked:
    """What became of a transfer; `reason` says why it was refused."""

    transfer_id: str
    booked: bool
    reason: str = ""


def fee_income_account(currency: str) -> str:
    """Fees earned from merchants."""
    return f"platform/fee-income/{currency}"


def channel_cost_account(currency: str) -> str:
    """Fees paid to channels."""
    return f"platform/channel-cost/{currency}"


def pending_account(merchant_id: str, currency: str) -> str:
    """Money earned but not settled; opened by the gateway."""
    return f"merchant/{merchant_id}/pending/{currency}"


def available_account(merchant_id: str, currency: str) -> str:
    """Money a merchant may use; opened by the gateway."""
    return f"merchant/{merchant_id}/available/{currency}"


def receivable_account(channel_id: str, currency: str) -> str:
    """What a channel has collected for us; opened by the gateway."""
    return f"channel/{channel_id}/receivable/{currency}"


def booked_minor(fee_e4: int) -> int:
    """Return a fee in whole minor units, half up; the rest stays in the e4 column."""
    return mul_div(fee_e4, 1, FEE_SCALE)


def batch_transfers(batch: Batch) -> list[Transfer]:
    """Return the chain that settles a batch: net to available, fees to fee income.

    The ids come from the batch, so that booking again books nothing. A negative amount (a day of
    refunds) goes the other way, zero is left out.
    """
    pending = pending_account(batch.merchant_id, batch.currency)
    legs = (
        ("net", available_account(batch.merchant_id, batch.currency), batch.net_minor),
        ("fees", fee_income_account(batch.currency), batch.fees_minor),
    )
    moving = [leg for leg in legs if leg[2] != 0]
    return [
        _move(
            f"{batch.batch_id}:{name}",
            pending,
            account_id,
            amount_minor,
            currency=batch.currency,
            reference=batch.batch_id,
            description=f"结算 settlement {name} {batch.business_date}",
            effective_date=batch.settle_date,
            linked=(name, account_id, amount_minor) != moving[-1],
        )
        for name, account_id, amount_minor in moving
    ]


def fee_transfers(fee: ChannelFee) -> list[Transfer]:
    """Return what books a channel's fee of one day; nothing when it rounds to zero."""
    if fee.booked_minor == 0:
        return []
    source = f"channel-fee:{fee.channel_id}:{fee.business_date}:{fee.currency}"
    return [
        _move(
            source,
            channel_cost_account(fee.currency),
            receivable_account(fee.channel_id, fee.currency),
            fee.booked_minor,
            currency=fee.currency,
            reference=source,
            description=f"渠道手续费 channel fee {fee.business_date}",
            effective_date=fee.business_date,
        )
    ]


def packed(chains: Sequence[Sequence[Transfer]], limit: int) -> list[list[Sequence[Transfer]]]:
    """Return chains in parts of at most `limit` transfers, in order; a chain is never split.

    A chain longer than the limit gets a part of its own.
    """
    parts: list[list[Sequence[Transfer]]] = []
    room = 0
    for chain in chains:
        if len(chain) > room:
            parts.append([])
            room = limit
        parts[-1].append(chain)
        room -= len(chain)
    return parts


def is_booked(transfers: Sequence[Transfer], results: dict[str, Booked]) -> bool:
    """Whether every one of these transfers stands booked."""
    return all(
        transfer.transfer_id in results and results[transfer.transfer_id].booked
        for transfer in transfers
    )


def _move(
    transfer_id: str,
    debit_account_id: str,
    credit_account_id: str,
    amount_minor: int,
    *,
    currency: str,
    reference: str,
    description: str,
    effective_date: date,
    linked: bool = False,
) -> Transfer:
    if amount_minor < 0:
        debit_account_id, credit_account_id = credit_account_id, debit_account_id
    return Transfer(
        transfer_id=transfer_id,
        debit_account_id=debit_account_id,
        credit_account_id=credit_account_id,
        currency=currency,
        amount_minor=abs(amount_minor),
        reference=reference,
        description=description,
        effective_date=effective_date,
        linked=linked,
    )
