"""What channels really did, counted once, moves the plans."""

import asyncio
from datetime import timedelta

from fisc.common.v1 import method_pb2
from fisc.router.v1 import router_pb2 as pb
from libs.errors import ErrorKind
from libs.rpc import convert
from services.router.usecases import Router
from tests.integration.router.support import Fixture, channel, query


async def test_a_channel_that_dies_sinks_within_five_failures_and_its_plan_says_why(
    router: Fixture,
) -> None:
    await router.upsert(channel("main", rate_ppm=5_000))
    await router.upsert(channel("spare", rate_ppm=6_000))
    for channel_id in ("main", "spare"):
        await router.record(router.outcomes(channel_id, successes=200))
    assert await router.order() == ["main", "spare"]
    for _ in range(5):
        await router.record(router.outcomes("main", failures=1))
    plan = await router.route(query("pay_after"))
    assert [each.channel_id for each in plan.candidates] == ["spare", "main"]
    assert plan.candidates[1].reasons[0].startswith("failing now: only 15 of its last 20")


async def test_a_channel_that_died_is_tried_again_after_a_minute_of_silence(
    router: Fixture,
) -> None:
    await router.upsert(channel("main", rate_ppm=3_000))
    await router.upsert(channel("spare", rate_ppm=9_000))
    await router.record(router.outcomes("main", successes=400))
    await router.record(router.outcomes("spare", successes=400))
    await router.record(router.outcomes("main", failures=10))
    assert await router.order() == ["spare", "main"]
    router.clock.advance(61)
    assert await router.order() == ["main", "spare"]
    # After the silence one success is all that the short memory holds.
    await router.record(router.outcomes("main", successes=1))
    assert await router.order() == ["main", "spare"]


async def test_outcomes_leave_the_window_after_thirty_minutes(router: Fixture) -> None:
    await router.upsert(channel("main"))
    await router.record(router.outcomes("main", successes=10, failures=10))
    assert (await router.stats("main")).samples == 20
    router.clock.advance(31 * 60)
    await router.router.refresh()
    stats = await router.stats("main")
    assert (stats.samples, stats.success_rate, stats.window_s) == (0, 0.9, 1_800)


async def test_an_attempt_is_counted_once_however_often_it_is_told(router: Fixture) -> None:
    await router.upsert(channel("main"))
    outcomes = router.outcomes("main", successes=3, failures=1)
    assert await router.record([*outcomes, *outcomes]) == 4
    assert await router.record(outcomes) == 0
    more = router.outcomes("main", successes=2)
    assert await router.record([*outcomes, *more]) == 2
    stats = await router.stats("main")
    assert (stats.samples, stats.successes) == (6, 5)
    await router.router.refresh()
    assert await router.stats("main") == stats


async def test_the_same_outcomes_told_at_once_are_counted_once(router: Fixture) -> None:
    await router.upsert(channel("main"))
    outcomes = router.outcomes("main", successes=60, failures=40)
    async with asyncio.TaskGroup() as group:
        orders = (outcomes, outcomes[::-1]) * 4
        tasks = [group.create_task(router.record(each)) for each in orders]
    assert sum(task.result() for task in tasks) == 100
    stats = await router.stats("main")
    assert (stats.samples, stats.successes) == (100, 60)


async def test_the_payers_fault_is_not_held_against_the_channel(router: Fixture) -> None:
    await router.upsert(channel("main"))
    declined = router.outcomes("main", failures=30)
    for outcome in declined:
        outcome.business_decline = True
    assert await router.record(declined) == 30
    stats = await router.stats("main")
    assert (stats.samples, stats.success_rate) == (0, 0.9)
    assert stats.latency_ms < 300


async def test_another_replica_sees_the_outcomes_and_channels_after_its_refresh(
    router: Fixture,
) -> None:
    replica = Router(router.pool, router.clock)
    await router.upsert(channel("main"))
    await router.record(router.outcomes("main", successes=50))
    assert await replica.get_channel_stats("") == []
    await replica.refresh()
    assert await replica.get_channel_stats("") == await router.router.get_channel_stats("")
    assert (await replica.get_channel_stats(""))[0][2].samples == 50


async def test_late_news_is_counted_in_its_own_minute_and_raises_no_alarm(
    router: Fixture,
) -> None:
    await router.upsert(channel("main"))
    late = router.outcomes("main", failures=10)
    for outcome in late:
        occurred_at = router.clock.now() - timedelta(minutes=20)
        outcome.occurred_at.CopyFrom(convert.to_timestamp(occurred_at))
    await router.record(late)
    assert (await router.stats("main")).success_rate == 0.45
    router.clock.advance(11 * 60)
    await router.router.refresh()
    assert (await router.stats("main")).samples == 0


async def test_outcomes_of_an_unknown_channel_wait_for_its_description(router: Fixture) -> None:
    assert await router.record(router.outcomes("later", successes=5)) == 5
    await router.upsert(channel("later"))
    assert (await router.stats("later")).samples == 5


async def test_an_outcome_without_a_method_is_refused_and_none_is_counted(
    router: Fixture,
) -> None:
    outcomes = router.outcomes("main", successes=2)
    outcomes[1].method = method_pb2.PAYMENT_METHOD_UNSPECIFIED
    request = pb.RecordOutcomesRequest(request_id="r", outcomes=outcomes)
    error = await router.refusal(router.stub.RecordOutcomes, request)
    assert (error.kind, error.field) == (ErrorKind.INVALID, "outcomes[1].method")
    assert await router.pool.fetchval("SELECT count(*) FROM outcome") == 0


async def test_statistics_of_an_unknown_channel_are_not_found(router: Fixture) -> None:
    error = await router.refusal(
        router.stub.GetChannelStats, pb.GetChannelStatsRequest(channel_id="nobody")
    )
    assert (error.kind, error.reason) == (ErrorKind.NOT_FOUND, "CHANNEL_NOT_FOUND")
