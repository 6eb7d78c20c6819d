"""A good day, and what must hold after any."""

from fisc.clearing.v1 import clearing_pb2 as pb
from tests.integration.clearing.support import House, simpay


async def good_day(house: House) -> None:
    """Two merchants on two channels, all agreed: fees 0.6 %, given back on refunds."""
    await house.paid("pay_1", 10_000)
    await house.paid("pay_2", 20_000, channel_id="sim-b")
    await house.paid("pay_3", 5_000, merchant_id="mer_2")
    await house.refunded("ref_1", "pay_1", 4_000)
    house.bill(
        "sim-a",
        simpay(
            ("PAY", "o-pay_1", 10_000, 38),
            ("PAY", "o-pay_3", 5_000, 19),
            ("REFUND", "o-ref_1", 4_000, 0),
        ),
    )
    house.bill("sim-b", simpay(("PAY", "o-pay_2", 20_000, 60)))


async def assert_batches_are_the_sum_of_their_items(house: House) -> None:
    items = (await house.items()).values()
    for batch in await house.batches():
        mine = [item for item in items if item.batch_id == batch.batch_id]
        assert len(mine) == batch.items_count
        assert {item.merchant_id for item in mine} == {batch.merchant_id}
        assert batch.fees_minor == sum(item.merchant_fee_minor for item in mine)
        gross, refunds = (
            sum(item.amount.amount_minor for item in mine if item.kind == kind)
            for kind in (pb.ITEM_KIND_PAYMENT, pb.ITEM_KIND_REFUND)
        )
        assert (batch.gross_minor, batch.refunds_minor) == (gross, refunds)
        assert batch.net_minor == gross - refunds - batch.fees_minor


async def assert_vouchers_balance(house: House) -> None:
    vouchers = await house.vouchers()
    assert len({voucher.source for voucher in vouchers}) == len(vouchers)
    for voucher in vouchers:
        assert len(voucher.lines) >= 2
        debits = sum(line.debit_minor for line in voucher.lines)
        assert debits == sum(line.credit_minor for line in voucher.lines) > 0
