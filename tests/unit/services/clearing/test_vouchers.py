"""Every voucher balances, whatever the day brought, and books what the ledger books."""

from dataclasses import replace
from datetime import UTC, date, datetime

from hypothesis import given
from hypothesis import strategies as st

from services.clearing.domain import settlement, vouchers
from services.clearing.domain.model import Batch, ChannelFee, ItemKind
from services.clearing.domain.vouchers import Draft, Flow

DAY = date(2026, 3, 2)
NOON = datetime(2026, 3, 2, 4, tzinfo=UTC)
AMOUNTS = st.integers(0, 10**12)


def batch(gross_minor: int, refunds_minor: int, fees_minor: int) -> Batch:
    return Batch(
        batch_id="set_1",
        merchant_id="mer_1",
        currency="CNY",
        business_date=DAY,
        settle_date=date(2026, 3, 3),
        items_count=1,
        gross_minor=gross_minor,
        refunds_minor=refunds_minor,
        fees_minor=fees_minor,
        net_minor=gross_minor - refunds_minor - fees_minor,
        created_at=NOON,
        updated_at=NOON,
        next_run_at=NOON,
    )


def net_debits(draft: Draft | None) -> dict[str, int]:
    """Debit minus credit by subject, after the checks that hold for every voucher."""
    if draft is None:
        return {}
    assert len(draft.lines) >= 2
    assert all((line.debit_minor > 0) != (line.credit_minor > 0) for line in draft.lines)
    assert all(min(line.debit_minor, line.credit_minor) >= 0 for line in draft.lines)
    assert sum(line.debit_minor - line.credit_minor for line in draft.lines) == 0
    return {line.subject_code: line.debit_minor - line.credit_minor for line in draft.lines}


@given(gross=AMOUNTS, refunds=AMOUNTS, fees=st.integers(-(10**9), 10**9))
def test_a_settlement_balances_and_agrees_with_its_transfers(
    gross: int, refunds: int, fees: int
) -> None:
    settled = batch(gross, refunds, fees)
    debits = net_debits(vouchers.batch_voucher(settled))
    subjects = {
        settlement.pending_account("mer_1", "CNY"): "2202.pending",
        settlement.available_account("mer_1", "CNY"): "2202.available",
        settlement.fee_income_account("CNY"): "6051",
    }
    booked = dict.fromkeys(subjects.values(), 0)
    for transfer in settlement.batch_transfers(settled):
        assert transfer.amount_minor > 0
        booked[subjects[transfer.debit_account_id]] += transfer.amount_minor
        booked[subjects[transfer.credit_account_id]] -= transfer.amount_minor
    assert {subject: amount for subject, amount in booked.items() if amount} == debits


@given(amount=st.integers(1, 10**12), kind=st.sampled_from(ItemKind), settles=st.booleans())
def test_what_a_channel_moved_balances(amount: int, kind: ItemKind, settles: bool) -> None:
    flow = Flow(
        channel_id="sim-a",
        business_date=DAY,
        kind=kind,
        currency="CNY",
        amount_minor=amount,
        items_count=3,
        settles=settles,
    )
    debits = net_debits(vouchers.flow_voucher(flow, number=1))
    is_received = kind in {ItemKind.PAYMENT, ItemKind.PAYOUT_RETURN}
    assert debits["1122.sim-a"] == (amount if is_received else -amount)


def test_what_is_not_the_merchants_is_owed_back_and_no_part_of_what_they_are_owed() -> None:
    late = Flow(
        channel_id="sim-a",
        business_date=DAY,
        kind=ItemKind.PAYMENT,
        currency="CNY",
        amount_minor=700,
        items_count=1,
        settles=False,
    )
    back = replace(late, kind=ItemKind.REFUND)
    assert late.source == "late-success:sim-a:2026-03-02:CNY"
    assert back.source == "late-refund:sim-a:2026-03-02:CNY"
    assert net_debits(vouchers.flow_voucher(late, number=1)) == {
        "1122.sim-a": 700,
        "2241.late-success": -700,
    }
    assert net_debits(vouchers.flow_voucher(back, number=1)) == {
        "1122.sim-a": -700,
        "2241.late-success": 700,
    }


def test_a_late_payout_is_owed_to_us_until_it_has_come_back() -> None:
    late = Flow(
        channel_id="sim-a",
        business_date=DAY,
        kind=ItemKind.PAYOUT,
        currency="CNY",
        amount_minor=700,
        items_count=1,
        settles=False,
    )
    back = replace(late, kind=ItemKind.PAYOUT_RETURN)
    assert late.source == "late-payout:sim-a:2026-03-02:CNY"
    assert back.source == "late-payout-return:sim-a:2026-03-02:CNY"
    assert net_debits(vouchers.flow_voucher(late, number=1)) == {
        "1122.sim-a": -700,
        "2241.late-success": 700,
    }
    assert net_debits(vouchers.flow_voucher(back, number=1)) == {
        "1122.sim-a": 700,
        "2241.late-success": -700,
    }


@given(fee_e4=st.integers(-(10**12), 10**12))
def test_a_channel_fee_is_rounded_half_up_and_balances(fee_e4: int) -> None:
    booked = settlement.booked_minor(fee_e4)
    fee = ChannelFee(
        channel_id="sim-a",
        business_date=DAY,
        currency="CNY",
        fee_e4=fee_e4,
        booked_minor=booked,
    )
    assert abs(fee_e4 - booked * 10_000) <= 5_000
    assert net_debits(vouchers.fee_voucher(fee)).get("6603.channel-fee", 0) == booked
    moved = sum(transfer.amount_minor for transfer in settlement.fee_transfers(fee))
    assert moved == abs(booked)


def test_a_day_of_refunds_takes_from_what_the_merchant_may_use() -> None:
    net, fees = settlement.batch_transfers(batch(0, 500, -3))
    assert net.debit_account_id == "merchant/mer_1/available/CNY"
    assert net.credit_account_id == "merchant/mer_1/pending/CNY"
    assert (net.amount_minor, net.linked) == (497, True)
    assert fees.debit_account_id == "platform/fee-income/CNY"
    assert (fees.amount_minor, fees.linked) == (3, False)


def test_nothing_is_booked_for_nothing() -> None:
    assert not settlement.batch_transfers(batch(500, 500, 0))
    assert vouchers.batch_voucher(batch(500, 500, 0)) is None


def test_late_items_of_a_flow_get_a_voucher_of_their_own() -> None:
    flow = Flow(
        channel_id="sim-a",
        business_date=DAY,
        kind=ItemKind.PAYMENT,
        currency="CNY",
        amount_minor=1,
        items_count=1,
    )
    drafts = [vouchers.flow_voucher(flow, number=number) for number in (1, 2)]
    assert [draft.source for draft in drafts if draft] == [
        "collection:sim-a:2026-03-02:CNY",
        "collection:sim-a:2026-03-02:CNY#2",
    ]
