"""The gateway's events become items, each once, with the right day and fee."""

from datetime import UTC, datetime

from fisc.clearing.v1 import clearing_pb2 as pb
from fisc.gateway.v1 import events_pb2 as gateway_events
from libs.testing import eventually
from tests.integration.clearing.support import House


async def test_successes_become_items_with_what_their_attempt_says(house: House) -> None:
    await house.paid("pay_1", 10_000)
    await house.refunded("ref_1", "pay_1", 2_500)
    await house.paid_out("pout_1", 700)
    await house.tell("payment.failed", "mer_1", "pay_2", gateway_events.PaymentEvent())
    await house.clearing.follower.catch_up()

    items = await house.items()

    assert set(items) == {"pay_1", "ref_1", "pout_1"}
    payment = items["pay_1"]
    assert (payment.kind, payment.channel_id) == (pb.ITEM_KIND_PAYMENT, "sim-a")
    assert (payment.out_ref, payment.provider_ref) == ("o-pay_1", "p-pay_1")
    assert payment.match_state == pb.Item.MATCH_STATE_UNMATCHED
    assert (payment.amount.amount_minor, payment.merchant_fee_minor) == (10_000, 60)
    assert items["ref_1"].merchant_fee_minor == -15
    assert items["pout_1"].kind == pb.ITEM_KIND_PAYOUT


async def test_a_stream_that_begins_again_makes_no_second_item(house: House) -> None:
    await house.plan("mer_1", rate_ppm=6_000, fee_refundable=True)
    await house.paid("pay_1", 10_000)
    await house.refunded("ref_1", "pay_1", 5_000)
    await house.clearing.follower.catch_up()
    before = await house.items()
    await house.pool.execute("UPDATE event_cursor SET cursor = ''")
    await house.refunded("ref_2", "pay_1", 5_000)

    await house.clearing.follower.catch_up()

    items = await house.items()
    assert set(items) == {"pay_1", "ref_1", "ref_2"}
    assert {key: items[key] for key in before} == before
    assert sum(item.merchant_fee_minor for item in items.values()) == 0


async def test_the_follower_takes_in_what_is_told_while_it_runs(house: House) -> None:
    async with house.in_background():
        await eventually(house.channels_known)
        await house.paid("pay_1", 10_000)
        await eventually(house.items)
        await house.paid("pay_2", 10_000)
        await eventually(lambda: house.has_items(2))
        # The platform's own accounts were opened meanwhile: asking for them raises nothing.
        await eventually(lambda: house.account_exists("platform/fee-income/CNY"))


async def test_the_business_day_is_the_channels(house: House) -> None:
    await house.add_channel("late", cut_off="23:00")
    evening = datetime(2026, 3, 2, 15, 0, tzinfo=UTC)
    await house.paid("pay_1", 100, channel_id="late", at=evening)
    await house.paid("pay_2", 100, channel_id="sim-a", at=evening)
    await house.paid("pay_3", 100, channel_id="unheard-of", at=evening)
    await house.clearing.follower.catch_up()  # learns "late" before it dates anything

    days = {key: item.business_date for key, item in (await house.items()).items()}

    assert days == {"pay_1": "2026-03-03", "pay_2": "2026-03-02", "pay_3": "2026-03-02"}


async def test_the_plan_of_the_day_decides_the_fee_and_a_later_one_changes_nothing(
    house: House,
) -> None:
    await house.plan("mer_1", rate_ppm=10_000, fixed_minor=5, payout_fixed_minor=80)
    await house.plan("mer_1", rate_ppm=20_000, effective_from="2026-03-03")
    await house.paid("pay_1", 1_000)
    await house.paid("pay_2", 1_000, at=datetime(2026, 3, 3, 4, tzinfo=UTC))
    await house.paid_out("pout_1", 500)
    await house.refunded("ref_1", "pay_1", 1_000)
    await house.clearing.follower.catch_up()
    await house.plan("mer_1", rate_ppm=0)

    fees = {key: item.merchant_fee_minor for key, item in (await house.items()).items()}

    assert fees == {"pay_1": 15, "pay_2": 20, "pout_1": 80, "ref_1": 0}
    plans = (await house.call(house.stub.ListFeePlans, pb.ListFeePlansRequest())).fee_plans
    assert [(plan.effective_from, plan.rate_ppm) for plan in plans] == [
        ("2026-01-01", 0),
        ("2026-03-03", 20_000),
    ]


async def test_a_plan_is_set_once_a_request(house: House) -> None:
    plan = pb.FeePlan(merchant_id="mer_1", rate_ppm=100, effective_from="2026-01-01")
    request = pb.UpsertFeePlanRequest(request_id="r1", fee_plan=plan)
    first = await house.call(house.stub.UpsertFeePlan, request)
    await house.plan("mer_1", rate_ppm=300)

    assert await house.call(house.stub.UpsertFeePlan, request) == first
    request.fee_plan.rate_ppm = 200
    error = await house.refusal(house.stub.UpsertFeePlan, request)
    assert (error.reason, error.kind.name) == ("REQUEST_ID_REUSED", "ALREADY_EXISTS")


async def test_lists_come_in_pages_without_gap_or_repetition(house: House) -> None:
    for number in range(5):
        await house.paid(f"pay_{number}", 100)
        await house.plan("mer_1", rate_ppm=1, effective_from=f"2026-01-0{number + 1}")
    await house.clearing.follower.catch_up()
    seen: list[str] = []
    request = pb.ListItemsRequest(page_size=2)
    while True:
        answer = await house.call(house.stub.ListItems, request)
        seen += [item.subject_id for item in answer.items]
        if not answer.next_page_token:
            break
        request.page_token = answer.next_page_token
    assert seen == [f"pay_{number}" for number in range(5)]

    first = await house.call(house.stub.ListFeePlans, pb.ListFeePlansRequest(page_size=3))
    rest = await house.call(
        house.stub.ListFeePlans, pb.ListFeePlansRequest(page_token=first.next_page_token)
    )
    days = [plan.effective_from for plan in (*first.fee_plans, *rest.fee_plans)]
    assert days == [f"2026-01-0{number}" for number in range(1, 6)]
