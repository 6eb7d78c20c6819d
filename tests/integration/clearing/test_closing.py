"""A day is closed: bills are believed or not, matched, settled, booked, and told of."""

import asyncio
from datetime import UTC, datetime

import asyncpg
import pytest

from fisc.clearing.v1 import clearing_pb2 as pb
from tests.integration.clearing.days import (
    assert_batches_are_the_sum_of_their_items,
    assert_vouchers_balance,
    good_day,
)
from tests.integration.clearing.facts import DAY, NOON
from tests.integration.clearing.support import House, simpay

OPEN = pb.Difference.STATE_OPEN
RESOLVED = pb.Difference.STATE_RESOLVED


async def test_a_day_on_which_all_agree_is_closed_and_settled(house: House) -> None:
    await good_day(house)

    report = await house.close()

    assert report.closed
    assert (report.payments_count, report.refunds_count, report.payouts_count) == (3, 1, 0)
    assert (report.matched_count, report.differences_count) == (4, 0)
    channels = {each.channel_id: each for each in report.channels}
    assert (channels["sim-a"].items_count, channels["sim-a"].lines_count) == (3, 3)
    assert (channels["sim-a"].net_minor, channels["sim-a"].channel_fee_e4) == (11_000, 570_000)
    assert channels["sim-b"].statement_state == "FETCHED"
    one, two = sorted(report.batches, key=lambda batch: batch.merchant_id)
    assert (one.gross_minor, one.refunds_minor, one.fees_minor) == (30_000, 4_000, 156)
    assert (two.net_minor, two.items_count) == (4_970, 1)
    assert all(batch.state == pb.Batch.STATE_SETTLED for batch in report.batches)
    assert {batch.settle_date for batch in report.batches} == {"2026-03-03"}
    await assert_batches_are_the_sum_of_their_items(house)


async def test_what_is_settled_is_in_the_ledger_and_in_vouchers(house: House) -> None:
    await good_day(house)
    report = await house.close()

    assert await house.posted("merchant/mer_1/available/CNY") == 25_844
    assert await house.posted("merchant/mer_1/pending/CNY") == -26_000
    assert await house.posted("merchant/mer_2/available/CNY") == 4_970
    assert await house.posted("platform/fee-income/CNY") == 186
    assert await house.posted("platform/channel-cost/CNY") == 117
    assert await house.posted("channel/sim-a/receivable/CNY") == -57
    assert await house.ledger_imbalance() == 0
    await assert_vouchers_balance(house)
    sources = {voucher.source.split(":")[0] for voucher in await house.vouchers()}
    assert sources == {"collection", "refund", "settlement", "channel-fee"}
    assert len(await house.vouchers()) == report.vouchers_count == 7


async def test_closing_again_changes_nothing(house: House) -> None:
    await good_day(house)
    first = await house.close()
    vouchers, items = await house.vouchers(), await house.items()
    events, balance = await house.events(), await house.posted("merchant/mer_1/available/CNY")

    second = await house.close()

    assert second == first
    assert await house.vouchers() == vouchers
    assert await house.items() == items
    assert await house.events() == events
    assert await house.posted("merchant/mer_1/available/CNY") == balance
    assert house.operations.asked.count("sim-a") == 1


async def test_two_closes_at_once_do_everything_once(house: House) -> None:
    await good_day(house)
    async with asyncio.TaskGroup() as group:
        closes = [group.create_task(house.close()) for _ in range(3)]
    report = await house.close()

    assert report.closed
    assert all(close.result().business_date == DAY for close in closes)
    assert sum(batch.net_minor for batch in report.batches) == 25_844 + 4_970
    assert await house.posted("merchant/mer_1/available/CNY") == 25_844
    assert await house.posted("platform/channel-cost/CNY") == 117
    assert report.vouchers_count == 7
    kinds = [kind for kind, _ in await house.events()]
    assert sorted(kinds) == ["batch.settled", "batch.settled", "day.closed"]
    await assert_batches_are_the_sum_of_their_items(house)
    await assert_vouchers_balance(house)


async def test_a_wrong_amount_a_missing_row_and_an_extra_row_are_found(house: House) -> None:
    for number in range(1, 5):
        await house.paid(f"pay_{number}", 1_000 * number)
    house.operations.empty.add(f"sim-b/{DAY}")
    house.bill(
        "sim-a",
        simpay(
            ("PAY", "o-pay_1", 1_000, 4),
            ("PAY", "o-pay_2", 2_100, 8),
            ("PAY", "o-strange", 77, 0),
            ("PAY", "o-pay_4", 4_000, 15),
        ),
    )

    report = await house.close()

    found = {each.out_ref: each for each in await house.differences(business_date=DAY)}
    assert {ref: pb.DifferenceKind.Name(each.kind)[16:] for ref, each in found.items()} == {
        "o-pay_2": "AMOUNT",
        "o-pay_3": "SHORT",
        "o-strange": "LONG",
    }
    wrong = found["o-pay_2"]
    assert (wrong.our_amount.amount_minor, wrong.channel_amount.amount_minor) == (2_000, 2_100)
    assert (wrong.subject_id, wrong.merchant_id, wrong.line_number) == ("pay_2", "mer_1", 3)
    assert not found["o-strange"].HasField("our_amount")
    assert not found["o-pay_3"].HasField("channel_amount")
    assert all(each.state == OPEN and each.detail for each in found.values())
    assert (report.matched_count, report.differences_open_count) == (2, 3)
    (batch,) = report.batches
    assert (batch.gross_minor, batch.items_count) == (5_000, 2)
    await house.close()
    assert len(await house.differences()) == 3


async def test_a_resolved_difference_is_settled_with_the_next_close(house: House) -> None:
    await house.paid("pay_1", 1_000)
    await house.paid("pay_2", 2_000)
    house.operations.empty.add(f"sim-b/{DAY}")
    house.bill("sim-a", simpay(("PAY", "o-pay_1", 1_000, 4), ("PAY", "o-pay_2", 2_100, 8)))
    await house.close()
    (difference,) = await house.differences()

    resolved = await house.resolve(difference.difference_id)
    report = await house.close("2026-03-03")

    assert (resolved.state, resolved.resolved_by, resolved.note) == (
        RESOLVED,
        "finance",
        "checked by phone",
    )
    assert not report.batches
    assert [(batch.business_date, batch.gross_minor) for batch in await house.batches()] == [
        (DAY, 1_000),
        (DAY, 2_000),
    ]
    await assert_batches_are_the_sum_of_their_items(house)
    request = pb.ResolveDifferenceRequest(
        request_id="other", difference_id=difference.difference_id, actor="x", note="y"
    )
    error = await house.refusal(house.stub.ResolveDifference, request)
    assert error.reason == "DIFFERENCE_RESOLVED"
    request.difference_id = "diff_none"
    error = await house.refusal(house.stub.ResolveDifference, request)
    assert error.reason == "DIFFERENCE_NOT_FOUND"


async def test_an_operation_in_the_neighbouring_days_bill_is_no_difference(house: House) -> None:
    after_midnight = datetime(2026, 3, 2, 16, 0, 1, tzinfo=UTC)
    await house.paid("pay_1", 1_000, at=after_midnight)
    house.bill("sim-a", simpay(("PAY", "o-pay_1", 1_000, 4)))
    for channel_id, day in (("sim-a", "2026-03-03"), ("sim-b", DAY), ("sim-b", "2026-03-03")):
        house.operations.empty.add(f"{channel_id}/{day}")

    first = await house.close()
    assert [each.kind for each in await house.differences(state=OPEN)] == [pb.DIFFERENCE_KIND_LONG]
    second = await house.close("2026-03-03")

    assert not await house.differences(state=OPEN)
    (vanished,) = await house.differences(state=RESOLVED)
    assert vanished.resolved_by == "clearing"
    (item,) = (await house.items()).values()
    assert (item.business_date, item.match_state) == ("2026-03-03", pb.Item.MATCH_STATE_MATCHED)
    assert (first.matched_count, second.matched_count, second.closed) == (0, 1, True)


async def test_an_item_that_comes_late_answers_its_long_difference(house: House) -> None:
    house.operations.empty.add(f"sim-b/{DAY}")
    house.bill("sim-a", simpay(("PAY", "o-pay_1", 1_000, 4)))
    assert (await house.close()).differences_open_count == 1
    await house.paid("pay_1", 1_000)

    report = await house.close()

    assert (report.differences_count, report.differences_open_count) == (1, 0)
    assert (report.matched_count, report.closed) == (1, True)
    assert [batch.net_minor for batch in report.batches] == [994]
    sources = [voucher.source for voucher in await house.vouchers()]
    assert f"collection:sim-a:{DAY}:CNY" in sources


async def test_a_day_of_refunds_goes_back_from_what_the_merchant_has(house: House) -> None:
    await good_day(house)
    await house.close()
    next_day = datetime(2026, 3, 3, 4, tzinfo=UTC)
    await house.refunded("ref_2", "pay_1", 6_000, at=next_day)
    house.operations.empty.add("sim-b/2026-03-03")
    bill = simpay(("REFUND", "o-ref_2", 6_000, 0))
    house.bill("sim-a", bill, day="2026-03-03")

    report = await house.close("2026-03-03")

    (batch,) = report.batches
    assert (batch.net_minor, batch.fees_minor) == (-5_964, -36)
    assert batch.state == pb.Batch.STATE_SETTLED
    assert await house.posted("merchant/mer_1/available/CNY") == 25_844 - 5_964
    assert await house.posted("platform/fee-income/CNY") == 150
    assert await house.ledger_imbalance() == 0
    await assert_vouchers_balance(house)


async def test_a_batch_that_the_ledger_refuses_waits_and_is_booked_later(house: House) -> None:
    await house.refunded("ref_1", "pay_0", 500)
    house.operations.empty.add(f"sim-b/{DAY}")
    house.bill("sim-a", simpay(("REFUND", "o-ref_1", 500, 0)))

    report = await house.close()

    (batch,) = report.batches
    assert (batch.state, report.closed) == (pb.Batch.STATE_REFUSED, False)
    assert batch.reason == "INSUFFICIENT_FUNDS"
    next_day = datetime(2026, 3, 3, 4, tzinfo=UTC)
    await house.paid("pay_1", 10_000, at=next_day)
    house.operations.empty.add("sim-b/2026-03-03")
    house.bill("sim-a", simpay(("PAY", "o-pay_1", 10_000, 0)), day="2026-03-03")
    await house.close("2026-03-03")
    report = await house.close()
    assert report.closed
    assert await house.posted("merchant/mer_1/available/CNY") == 9_940 - 500


async def test_payouts_are_matched_and_cost_their_fee(house: House) -> None:
    await house.plan("mer_1", rate_ppm=0, payout_fixed_minor=80)
    await house.paid("pay_1", 1_000)
    await house.paid_out("pout_1", 600)
    house.operations.empty.add(f"sim-b/{DAY}")
    bill = simpay(("PAY", "o-pay_1", 1_000, 4), ("PAYOUT", "o-pout_1", 600, 10))
    house.bill("sim-a", bill)

    report = await house.close()

    assert (report.payouts_count, report.matched_count, report.closed) == (1, 2, True)
    (batch,) = report.batches
    assert (batch.gross_minor, batch.fees_minor, batch.net_minor) == (1_000, 80, 920)
    await assert_batches_are_the_sum_of_their_items(house)
    await assert_vouchers_balance(house)


async def test_what_happened_is_told_once_and_in_order(house: House) -> None:
    await house.paid("pay_1", 1_000)
    await house.paid("pay_2", 2_000)
    house.operations.empty.add(f"sim-b/{DAY}")
    house.bill("sim-a", simpay(("PAY", "o-pay_1", 1_000, 4)))
    report = await house.close()
    (difference,) = await house.differences()
    await house.resolve(difference.difference_id)
    (batch,) = report.batches

    assert await house.events() == [
        ("difference.opened", difference.difference_id),
        ("batch.settled", batch.batch_id),
        ("day.closed", DAY),
        ("difference.resolved", difference.difference_id),
    ]
    payload = await house.pool.fetchval(
        "SELECT payload FROM event_log WHERE type = 'batch.settled'"
    )
    assert pb.Batch.FromString(payload) == batch


async def test_the_latest_day_is_reported_when_none_is_named(house: House) -> None:
    nothing = await house.call(house.stub.GetDayReport, pb.GetDayReportRequest())
    assert nothing.report == pb.DayReport()
    await good_day(house)
    closed = await house.close()
    latest = await house.call(house.stub.GetDayReport, pb.GetDayReportRequest())
    assert latest.report == closed


async def test_the_database_refuses_a_voucher_that_does_not_balance(house: House) -> None:
    async def write(lines: list[tuple[int, int]]) -> None:
        async with house.pool.acquire() as connection, connection.transaction():
            await connection.execute(
                "INSERT INTO voucher VALUES ('vou_x', '2026-03-02', 'CNY', 's', 'src', $1)", NOON
            )
            await connection.executemany(
                "INSERT INTO voucher_line VALUES ('vou_x', $1, 'a', 's', $2, $3)",
                [(position, *line) for position, line in enumerate(lines)],
            )

    for lines in ([], [(5, 0)], [(5, 0), (0, 4)], [(5, 5), (1, 1)]):
        with pytest.raises(asyncpg.CheckViolationError):
            await write(lines)
    await write([(5, 0), (0, 5)])
    with pytest.raises(asyncpg.RestrictViolationError):
        await house.pool.execute("UPDATE voucher_line SET debit_minor = 6 WHERE debit_minor = 5")
