"""Vouchers (记账凭证) for the finance system: balanced by construction, one for each source.

Subjects: 1122.<channel> 应收渠道款 · 2202.pending 应付商户待结算款 · 2202.available 应付商户可用款 ·
2241.late-success 其他应付款（迟到成功，待退） · 6051 手续费收入 · 6603.channel-fee 渠道手续费.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date

from services.clearing.domain.model import Batch, ChannelFee, ItemKind

PENDING = "2202.pending"
AVAILABLE = "2202.available"
LATE_SUCCESS = "2241.late-success"
FEE_INCOME = "6051"
CHANNEL_FEE = "6603.channel-fee"

# By kind and whether the money is the merchant's: the source's word, the summary's words, and the account beside the receivable.
_FLOWS = {
    (ItemKind.PAYMENT, True): ("collection", "收款 collection", PENDING),
    (ItemKind.REFUND, True): ("refund", "退款 refunds", PENDING),
    (ItemKind.PAYOUT, True): ("payout", "付款 payouts", AVAILABLE),
    (ItemKind.PAYOUT_RETURN, True): ("payout-return", "付款退票 returned payouts", AVAILABLE),
    (ItemKind.PAYMENT, False): ("late-success", "迟到成功 late successes", LATE_SUCCESS),
    (ItemKind.REFUND, False): ("late-refund", "迟到成功退回 late refunds", LATE_SUCCESS),
    (ItemKind.PAYOUT, False): ("late-payout", "迟到成功付款 late payouts", LATE_SUCCESS),
    (ItemKind.PAYOUT_RETURN, False): (
        "late-payout-return",
        "迟到成功付款退票 returns of late payouts",
        LATE_SUCCESS,
    ),
}
_RECEIVED = frozenset({ItemKind.PAYMENT, ItemKind.PAYOUT_RETURN})


@dataclass(frozen=True, slots=True, kw_only=True)
class VoucherLine:
    """One line; exactly one side is positive."""

    subject_code: str
    summary: str
    debit_minor: int = 0
    credit_minor: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Draft:
    """A voucher without an id. Debits equal credits."""

    voucher_date: date
    currency: str
    summary: str
    source: str
    lines: Sequence[VoucherLine]


@dataclass(frozen=True, slots=True, kw_only=True)
class Voucher(Draft):
    """A voucher as kept."""

    voucher_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Flow:
    """What one channel collected, gave back or paid out on one day, by our items."""

    channel_id: str
    business_date: date
    kind: ItemKind
    currency: str
    amount_minor: int
    items_count: int
    settles: bool = True

    @property
    def source(self) -> str:
        """What the first voucher of this flow is made from."""
        word, *_ = _FLOWS[self.kind, self.settles]
        return f"{word}:{self.channel_id}:{self.business_date.isoformat()}:{self.currency}"


def flow_voucher(flow: Flow, *, number: int) -> Draft | None:
    """Return the voucher of a flow; items that came after the first one get number 2 and on."""
    receivable = f"1122.{flow.channel_id}"
    _, words, owed = _FLOWS[flow.kind, flow.settles]
    received_minor = flow.amount_minor if flow.kind in _RECEIVED else -flow.amount_minor
    debits = {receivable: received_minor, owed: -received_minor}
    summary = f"{words} {flow.channel_id} {flow.business_date} ×{flow.items_count}"
    source = flow.source if number == 1 else f"{flow.source}#{number}"
    return _draft(flow.business_date, flow.currency, summary, source, debits)


def batch_voucher(batch: Batch) -> Draft | None:
    """Return the voucher of a settled batch, None when nothing moved."""
    return _draft(
        batch.business_date,
        batch.currency,
        f"商户结算 settlement {batch.merchant_id} {batch.business_date}",
        f"settlement:{batch.batch_id}",
        {
            PENDING: batch.net_minor + batch.fees_minor,
            AVAILABLE: -batch.net_minor,
            FEE_INCOME: -batch.fees_minor,
        },
    )


def fee_voucher(fee: ChannelFee) -> Draft | None:
    """Return the voucher of a channel's fee, None when it rounds to zero."""
    return _draft(
        fee.business_date,
        fee.currency,
        f"渠道手续费 channel fee {fee.channel_id} {fee.business_date}",
        f"channel-fee:{fee.channel_id}:{fee.business_date.isoformat()}:{fee.currency}",
        {CHANNEL_FEE: fee.booked_minor, f"1122.{fee.channel_id}": -fee.booked_minor},
    )


def _draft(
    day: date, currency: str, summary: str, source: str, debits: dict[str, int]
) -> Draft | None:
    """A voucher of these debits; a negative debit is a credit."""
    lines = [
        VoucherLine(
            subject_code=subject,
            summary=summary,
            debit_minor=max(amount_minor, 0),
            credit_minor=max(-amount_minor, 0),
        )
        for subject, amount_minor in sorted(debits.items(), key=lambda debit: debit[1] <= 0)
        if amount_minor != 0
    ]
    if not lines:
        return None
    return Draft(voucher_date=day, currency=currency, summary=summary, source=source, lines=lines)
