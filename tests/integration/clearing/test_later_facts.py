"""Captures, late successes and payouts sent back are matched like all others, and settle as they should."""

from fisc.clearing.v1 import clearing_pb2 as pb
from fisc.gateway.v1 import payment_pb2
from tests.integration.clearing.days import (
    assert_batches_are_the_sum_of_their_items,
    assert_vouchers_balance,
)
from tests.integration.clearing.facts import DAY
from tests.integration.clearing.support import House, simpay

NEXT_DAY = "2026-03-03"


async def test_an_authorised_payment_is_told_by_its_captures(house: House) -> None:
    await house.captured("cap_1", "pay_1", 6_000)
    await house.captured("cap_2", "pay_1", 4_000)
    await house.paid("pay_1", 10_000, capture_method=payment_pb2.CAPTURE_METHOD_MANUAL)
    await house.refunded("ref_1", "pay_1", 5_000)
    await house.clearing.follower.catch_up()
    await house.refunded("ref_2", "pay_1", 5_000)
    await house.clearing.follower.catch_up()

    items = await house.items()

    assert set(items) == {"cap_1", "cap_2", "ref_1", "ref_2"}
    capture = items["cap_1"]
    assert (capture.kind, capture.payment_id, capture.out_ref) == (
        pb.ITEM_KIND_PAYMENT,
        "pay_1",
        "o-cap_1",
    )
    # The fee of both captures goes back with the payment, and no more.
    assert [items[key].merchant_fee_minor for key in ("cap_1", "cap_2")] == [36, 24]
    assert [items[key].merchant_fee_minor for key in ("ref_1", "ref_2")] == [-30, -30]


async def test_a_capture_and_its_refund_in_one_stretch_of_the_feed_agree_with_two(
    house: House,
) -> None:
    await house.captured("cap_1", "pay_1", 6_000)
    await house.clearing.follower.catch_up()
    await house.captured("cap_2", "pay_1", 4_000)
    await house.refunded("ref_1", "pay_1", 10_000)
    await house.clearing.follower.catch_up()
    assert sum(item.merchant_fee_minor for item in (await house.items()).values()) == 0


async def test_a_late_success_and_what_gives_it_back_are_matched_and_settle_nothing(
    house: House,
) -> None:
    await house.paid("pay_1", 1_000)
    await house.paid_late("pay_1", 1_000)
    await house.refunded("ref_late", "pay_1", 1_000, origin=payment_pb2.Refund.ORIGIN_LATE_SUCCESS)
    await house.clearing.follower.catch_up()
    await house.refunded("ref_1", "pay_1", 500)
    house.operations.empty.add(f"sim-b/{DAY}")
    house.bill(
        "sim-a",
        simpay(
            ("PAY", "o-pay_1", 1_000, 4),
            ("PAY", "o-pay_1-late", 1_000, 4),
            ("REFUND", "o-ref_late", 1_000, 0),
            ("REFUND", "o-ref_1", 500, 0),
        ),
    )

    report = await house.close()

    items = await house.items()
    late = items["att-pay_1-late"]
    assert (late.settles, late.merchant_fee_minor, late.merchant_id) == (False, 0, "mer_1")
    assert (late.channel_id, late.business_date) == ("sim-a", DAY)
    assert not items["ref_late"].settles
    assert items["ref_1"].merchant_fee_minor == -3  # the late refund is none of the payment's
    assert {item.match_state for item in items.values()} == {pb.Item.MATCH_STATE_MATCHED}
    assert (report.matched_count, report.differences_count, report.closed) == (4, 0, True)
    assert (report.payments_count, report.refunds_count) == (1, 1)
    assert report.late_successes_count == 1
    (batch,) = report.batches
    assert (batch.items_count, batch.gross_minor, batch.refunds_minor) == (2, 1_000, 500)
    assert not late.batch_id
    sources = {voucher.source.split(":")[0]: voucher for voucher in await house.vouchers()}
    owed = [line for line in sources["late-success"].lines if line.credit_minor]
    assert [(line.subject_code, line.credit_minor) for line in owed] == [
        ("2241.late-success", 1_000)
    ]
    assert {"collection", "refund", "late-refund"} < sources.keys()
    await assert_batches_are_the_sum_of_their_items(house)
    await assert_vouchers_balance(house)


async def test_what_moved_late_either_way_is_matched_and_settles_nothing(house: House) -> None:
    await house.moved_late("capture.late_success", "cap_1", 400)
    await house.moved_late("refund.late_success", "ref_1", 300)
    await house.moved_late("payout.late_success", "pout_1", 200)
    await house.moved_late("payout.late_return", "pout_1", 200)
    house.operations.empty.add(f"sim-b/{DAY}")
    house.bill(
        "sim-a",
        simpay(
            ("PAY", "o-cap_1", 400, 0),
            ("REFUND", "o-ref_1", 300, 0),
            ("PAYOUT", "o-pout_1", 200, 0),
            ("PAYOUT_RETURN", "o-pout_1", 200, 0),
        ),
    )

    report = await house.close()

    items = await house.items()
    kinds = {key: item.kind for key, item in items.items()}
    assert kinds == {
        "att-cap_1": pb.ITEM_KIND_PAYMENT,
        "att-ref_1": pb.ITEM_KIND_REFUND,
        "att-pout_1": pb.ITEM_KIND_PAYOUT,
        "att-pout_1:return": pb.ITEM_KIND_PAYOUT_RETURN,
    }
    assert not any(item.settles or item.merchant_fee_minor for item in items.values())
    assert not await house.batches()
    assert (report.matched_count, report.differences_count) == (4, 0)
    owed = {
        voucher.source.split(":")[0]: sum(
            line.credit_minor - line.debit_minor
            for line in voucher.lines
            if line.subject_code == "2241.late-success"
        )
        for voucher in await house.vouchers()
    }
    assert {source: minor for source, minor in owed.items() if minor} == {
        "late-success": 400,
        "late-refund": -300,
        "late-payout": -200,
        "late-payout-return": 200,
    }
    await assert_vouchers_balance(house)


async def test_a_payout_and_its_return_have_one_reference_and_are_two_items(house: House) -> None:
    await house.plan("mer_1", rate_ppm=0, payout_fixed_minor=80)
    await house.paid_out("pout_1", 600)
    await house.sent_back("pout_1", 600)
    house.bill("sim-a", simpay(("PAYOUT", "o-pout_1", 600, 10)))
    house.bill("sim-a", simpay(("PAYOUT_RETURN", "o-pout_1", 600, 0)), day=NEXT_DAY)
    for day in (DAY, NEXT_DAY):
        house.operations.empty.add(f"sim-b/{day}")

    await house.close()
    report = await house.close(NEXT_DAY)

    items = await house.items()
    payout, back = items["pout_1"], items["pout_1:return"]
    assert (payout.out_ref, back.out_ref) == ("o-pout_1", "o-pout_1")
    assert (back.kind, back.business_date) == (pb.ITEM_KIND_PAYOUT_RETURN, NEXT_DAY)
    assert (payout.merchant_fee_minor, back.merchant_fee_minor) == (80, 0)
    assert not await house.differences()
    assert (report.payouts_count, report.payout_returns_count) == (0, 1)
    channels = {each.channel_id: each for each in report.channels}
    assert channels["sim-a"].net_minor == 600
    (voucher,) = [each for each in await house.vouchers() if "return" in each.source]
    assert {line.subject_code: line.debit_minor for line in voucher.lines} == {
        "1122.sim-a": 600,
        "2202.available": 0,
    }


async def test_a_return_in_the_bill_of_its_payouts_day_is_kept_apart(house: House) -> None:
    await house.paid_out("pout_1", 600)
    bill = simpay(("PAYOUT", "o-pout_1", 600, 10), ("PAYOUT_RETURN", "o-pout_1", 600, 0))
    house.bill("sim-a", bill)
    house.operations.empty.add(f"sim-b/{DAY}")

    report = await house.close()

    (difference,) = await house.differences()
    assert (difference.kind, difference.out_ref) == (pb.DIFFERENCE_KIND_LONG, "o-pout_1")
    assert (report.matched_count, report.closed) == (1, True)
    (told,) = [each for each in house.operations.told if each.channel_id == "sim-a"]
    assert [(line.out_ref, line.is_return) for line in told.lines] == [("o-pout_1", True)]


async def test_what_a_bill_settles_at_the_gateway_resolves_its_difference_in_the_same_close(
    house: House,
) -> None:
    async def settle(out_ref: str) -> bool:
        if out_ref == "o-pay_2":
            await house.paid("pay_2", 2_000)
        return out_ref == "o-pay_2"

    house.operations.on_told = settle
    await house.paid("pay_1", 1_000)
    house.operations.empty.add(f"sim-b/{DAY}")
    house.bill(
        "sim-a",
        simpay(
            ("PAY", "o-pay_1", 1_000, 4),
            ("PAY", "o-pay_2", 2_000, 8),
            ("PAY", "o-strange", 77, 0),
        ),
    )

    report = await house.close()

    by_channel = {each.channel_id: each for each in house.operations.told}
    told = by_channel["sim-a"]
    assert (told.business_date, told.is_complete) == (DAY, True)
    assert [(each.out_ref, each.amount.amount_minor) for each in told.lines] == [
        ("o-pay_2", 2_000),
        ("o-strange", 77),
    ]
    assert told.lines[0].provider_ref == "p-o-pay_2"
    # An empty bill says something as well: that nothing was there.
    assert (len(by_channel["sim-b"].lines), by_channel["sim-b"].is_complete) == (0, True)
    found = {each.out_ref: each for each in await house.differences()}
    assert found["o-pay_2"].state == pb.Difference.STATE_RESOLVED
    assert (found["o-pay_2"].resolved_by, bool(found["o-pay_2"].note)) == ("clearing", True)
    assert found["o-strange"].state == pb.Difference.STATE_OPEN
    assert (report.matched_count, report.closed) == (2, True)
    assert [batch.gross_minor for batch in report.batches] == [3_000]
    assert any("1 orders settled, 0 settled by absence, 1 not ours" in x for x in house.progress)
    await assert_vouchers_balance(house)


async def test_a_bill_that_the_gateway_was_away_for_is_told_at_a_later_close(house: House) -> None:
    for day in (DAY, NEXT_DAY):
        house.operations.empty.add(f"sim-b/{day}")
        house.bill("sim-a", simpay(("PAY", f"o-{day}", 50, 0)), day=day)
    house.operations.is_away = True

    report = await house.close()

    assert report.closed
    assert any("gateway not told of the bill" in line for line in house.progress)
    assert not house.operations.told
    house.operations.is_away = False

    async def settle(out_ref: str) -> bool:
        if out_ref == f"o-{DAY}":
            await house.paid(DAY, 50)
        return out_ref == f"o-{DAY}"

    house.operations.on_told = settle
    await house.close(NEXT_DAY)
    told = [
        (each.business_date, [line.out_ref for line in each.lines])
        for each in house.operations.told
        if each.channel_id == "sim-a"
    ]
    assert told == [(DAY, [f"o-{DAY}"]), (NEXT_DAY, [f"o-{NEXT_DAY}"])]
    (resolved,) = await house.differences(state=pb.Difference.STATE_RESOLVED)
    assert resolved.business_date == DAY
    assert [each.source for each in await house.vouchers() if each.voucher_date == DAY][:1] == [
        f"collection:sim-a:{DAY}:CNY"
    ]
    house.operations.told.clear()
    await house.close(NEXT_DAY)
    days = [each.business_date for each in house.operations.told if each.channel_id == "sim-a"]
    assert days == [NEXT_DAY]  # what is closed again is told again, what was told before is not


async def test_a_bill_with_a_line_that_could_not_be_told_is_told_again_at_a_later_close(
    house: House,
) -> None:
    for day in (DAY, NEXT_DAY):
        house.operations.empty.add(f"sim-b/{day}")
    house.bill("sim-a", simpay(("PAY", "o-broken", 50, 0), ("PAY", "o-good", 60, 0)))
    house.bill("sim-a", simpay(), day=NEXT_DAY)
    house.operations.broken = {"o-broken"}

    report = await house.close()

    assert report.closed
    assert any("1 could not be told; next time" in line for line in house.progress)
    house.operations.broken.clear()
    house.operations.told.clear()
    for _ in range(2):
        await house.close(NEXT_DAY)
    told = [
        (each.business_date, [line.out_ref for line in each.lines], each.is_complete)
        for each in house.operations.told
        if each.channel_id == "sim-a"
    ]
    assert told == [
        (DAY, ["o-broken", "o-good"], True),
        (NEXT_DAY, [], True),
        (NEXT_DAY, [], True),
    ]


async def test_a_bill_of_many_unknown_lines_is_told_in_parts_and_ended_once(
    house: House,
) -> None:
    house.operations.empty.add(f"sim-b/{DAY}")
    rows = [("PAY", f"o-{number}", 1, 0) for number in range(5_001)]
    house.bill("sim-a", simpay(*rows))
    await house.close()
    told = [each for each in house.operations.told if each.channel_id == "sim-a"]
    assert [(len(each.lines), each.is_complete) for each in told] == [(5_000, False), (1, True)]
    refs = [line.out_ref for each in told for line in each.lines]
    assert refs == [row[1] for row in rows]


async def test_of_a_bill_in_parts_none_is_called_the_last_when_an_earlier_one_could_not_be_told(
    house: House,
) -> None:
    house.operations.empty.add(f"sim-b/{DAY}")
    house.bill("sim-a", simpay(*[("PAY", f"o-{number}", 1, 0) for number in range(5_001)]))
    house.operations.broken = {"o-7"}
    await house.close()
    told = [each for each in house.operations.told if each.channel_id == "sim-a"]
    assert [(len(each.lines), each.is_complete) for each in told] == [(5_000, False), (1, False)]
