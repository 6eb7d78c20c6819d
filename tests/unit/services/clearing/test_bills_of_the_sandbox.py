"""What the sandbox writes as a bill, clearing reads; the two were written apart from one format."""

from dataclasses import replace
from datetime import date, datetime

import pytest

from services.clearing.domain import bills
from services.clearing.domain.bills.model import LineStatus
from services.clearing.domain.model import ItemKind
from services.sandbox import bills as sandbox_bills
from services.sandbox import records
from services.sandbox.clock import SHANGHAI
from services.sandbox.records import Account, Capture, Order, Payout, Profile, Refund
from services.sandbox.simpay.bills import day_file
from services.sandbox.wechat.bills import trade_bill

DAY = date(2026, 11, 12)
PAID_AT = datetime(2026, 11, 12, 17, 7, 11, tzinfo=SHANGHAI)
ACCOUNT = Account(
    provider="wechat",
    account_id="1601959334",
    terms={"appid": "wx81be3101902f7cb2"},
    profile=Profile(fee_bps=100),
)
ORDER = Order(
    account_id=ACCOUNT.account_id,
    out_ref="o1",
    status=records.SUCCEEDED,
    amount=200_001,
    currency="CNY",
    method="NATIVE",
    description="tea, `two` cups\nno sugar",
    attach="",
    payer="someone",
    notify_url="",
    deadline_ms=None,
    auto_pay_at_ms=None,
    provider_ref="4200000925",
    qr_content="",
    code="",
    message="",
    fee=2_000,
    times_charged=1,
    created_at=PAID_AT,
    paid_at=PAID_AT,
)
REFUND = Refund(
    account_id=ACCOUNT.account_id,
    out_ref="r1",
    order_ref="o1",
    status=records.SUCCEEDED,
    amount=5_000,
    currency="CNY",
    reason="",
    notify_url="",
    provider_ref="5030080717",
    code="",
    fee=50,
    settle_at_ms=None,
    created_at=PAID_AT,
    finished_at=PAID_AT,
)
CAPTURE = Capture(
    account_id=ACCOUNT.account_id,
    out_ref="c1",
    order_ref="o2",
    status=records.SUCCEEDED,
    amount=400,
    currency="CNY",
    is_final=True,
    notify_url="",
    provider_ref="C1",
    code="",
    fee=4,
    settle_at_ms=None,
    created_at=PAID_AT,
    finished_at=PAID_AT,
)
PAYOUT = Payout(
    account_id=ACCOUNT.account_id,
    out_ref="u1",
    status=records.RETURNED,
    amount=700,
    currency="CNY",
    payee_account="6222",
    payee_name="",
    description="",
    provider_ref="P1",
    code="ACCOUNT_CLOSED",
    fee=5,
    settle_at_ms=None,
    created_at=PAID_AT,
    finished_at=PAID_AT,
    returned_at=PAID_AT.replace(hour=18),
)


@pytest.mark.parametrize("day", [DAY, date(2026, 11, 11)])
@pytest.mark.parametrize("mark", [True, False])
def test_wechats(day: date, mark: bool) -> None:
    content = trade_bill(ACCOUNT, day, [ORDER, REFUND], {"o1": ORDER}, byte_order_mark=mark)
    lines = bills.parse("wechat", content).lines
    assert {(line.kind, line.out_ref, line.amount_minor, line.fee_e4) for line in lines} == {
        (ItemKind.PAYMENT, "o1", 200_001, 20_000_000),
        (ItemKind.REFUND, "r1", 5_000, -500_000),
    }
    assert {line.occurred_at for line in lines} == {PAID_AT}


def test_simpays() -> None:
    content = day_file([ORDER, replace(REFUND, fee=0)])
    payment, refund = bills.parse("simpay", content).lines
    assert (payment.out_ref, payment.amount_minor, payment.fee_e4) == ("o1", 200_001, 20_000_000)
    assert (refund.kind, refund.out_ref, refund.provider_ref) == (
        ItemKind.REFUND,
        "r1",
        "5030080717",
    )


def test_simpays_captures_and_returned_payouts() -> None:
    content = day_file([CAPTURE, PAYOUT, sandbox_bills.payout_return(PAYOUT)])
    lines = bills.parse("simpay", content).lines
    assert [(line.kind, line.out_ref, line.amount_minor, line.fee_e4) for line in lines] == [
        (ItemKind.PAYMENT, "c1", 400, 40_000),
        (ItemKind.PAYOUT, "u1", 700, 50_000),
        (ItemKind.PAYOUT_RETURN, "u1", 700, 0),
    ]
    assert [line.occurred_at.hour for line in lines] == [17, 17, 18]
    assert {line.status for line in lines} == {LineStatus.SUCCEEDED}
