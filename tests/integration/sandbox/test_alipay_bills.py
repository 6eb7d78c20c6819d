"""Alipay's bills of a day: made by the sandbox, fetched by our connector, read by clearing."""

from datetime import date
from typing import Any

import pytest

from services.clearing.domain import bills as clearing
from services.gateway.domain.channel import BillHashMismatch, BillNotReady
from tests.integration.sandbox.alipay_support import Merchant
from tests.integration.sandbox.support import DAY


@pytest.fixture
def merchant(alipay: Merchant) -> Merchant:
    return alipay


async def _business(merchant: Merchant) -> None:
    connector = merchant.connector
    for number, amount in enumerate((1230, 10_000, 77), start=1):
        await connector.charge(merchant.order(f"pay_{number}", amount_minor=amount))
        await merchant.pay(f"pay_{number}")
    await connector.refund(merchant.refund("ref_1", "pay_2", 4_321))
    if merchant.certified:
        await connector.payout(merchant.payout("out_1"))
        await merchant.sandbox.control(
            "POST", "return", account_id=merchant.app_id, out_ref="out_1"
        )


def _read(content: bytes) -> set[tuple[Any, ...]]:
    lines = clearing.parse("alipay", content).lines
    return {(line.kind.value, line.out_ref, line.amount_minor, line.fee_e4) for line in lines}


@pytest.mark.parametrize("day", [DAY, "2026-11-12"])
async def test_clearing_reads_the_days_bill(merchant: Merchant, day: str) -> None:
    await merchant.set_clock(f"{day}T12:00:00+08:00")
    await _business(merchant)
    await merchant.set_clock("2026-11-13T10:00:00+08:00")
    bill = await merchant.connector.fetch_bill(date.fromisoformat(day))
    assert not bill.empty
    expected = {
        ("PAYMENT", "pay_1", 1230, 70_000),
        ("PAYMENT", "pay_2", 10_000, 600_000),
        ("PAYMENT", "pay_3", 77, 0),
        ("REFUND", "ref_1", 4_321, -260_000),
    }
    if merchant.certified:
        expected |= {("PAYOUT", "out_1", 5000, 0), ("PAYOUT_RETURN", "out_1", 5000, 0)}
    assert _read(bill.content) == expected


async def test_a_wrong_amount_in_the_bill_is_seen_and_a_missing_row_too(
    merchant: Merchant,
) -> None:
    await _business(merchant)
    await merchant.fault("bill_wrong_amount", out_ref="pay_1")
    await merchant.fault("bill_missing_row", out_ref="pay_3")
    await merchant.set_clock("2026-11-12T10:00:00+08:00")
    bill = await merchant.connector.fetch_bill(date.fromisoformat(DAY))
    lines = _read(bill.content)
    assert ("PAYMENT", "pay_1", 1330, 70_000) in lines
    assert not any(out_ref == "pay_3" for _, out_ref, *_ in lines)


async def test_a_bill_that_broke_off_is_refused_and_the_next_try_is_whole(
    merchant: Merchant,
) -> None:
    await _business(merchant)
    await merchant.set_clock("2026-11-12T10:00:00+08:00")
    await merchant.fault("bill_truncated")
    with pytest.raises(BillHashMismatch):
        await merchant.connector.fetch_bill(date.fromisoformat(DAY))
    assert not (await merchant.connector.fetch_bill(date.fromisoformat(DAY))).empty


async def test_no_bill_means_not_yet_or_nothing(merchant: Merchant) -> None:
    """A day that is not over is refused; a day that is over may have had nothing."""
    yesterday = date(2026, 11, 10)
    assert (await merchant.connector.fetch_bill(yesterday)).empty
    with pytest.raises(BillNotReady):
        await merchant.connector.fetch_bill(date.fromisoformat(DAY))
