"""Plans over gRPC: order, reasons, idempotency, refusals."""

import asyncio

import pytest

from fisc.common.v1 import method_pb2
from fisc.router.v1 import router_pb2 as pb
from libs.errors import ErrorKind
from tests.integration.router.support import Fixture, channel, query


async def three_channels(router: Fixture) -> None:
    await router.upsert(channel("cheap", rate_ppm=2_000))
    await router.upsert(channel("fast", rate_ppm=8_000))
    await router.upsert(channel("sure", rate_ppm=6_000))
    await router.record(router.outcomes("cheap", successes=93, failures=7, latency_ms=900))
    await router.record(router.outcomes("fast", successes=94, failures=6, latency_ms=100))
    await router.record(router.outcomes("sure", successes=100, latency_ms=900))
    # Only the long memory shall speak in these tests.
    router.clock.advance(120)


async def results(router: Fixture, *queries: pb.RouteQuery) -> list[pb.RouteResult]:
    request = pb.RouteBatchRequest(queries=queries)
    return list((await router.call(router.stub.RouteBatch, request)).results)


async def test_each_policy_orders_all_channels_by_what_it_favours(router: Fixture) -> None:
    await three_channels(router)
    assert (await router.order(pb.POLICY_CHEAPEST))[0] == "cheap"
    assert (await router.order(pb.POLICY_FASTEST))[0] == "fast"
    assert (await router.order(pb.POLICY_MOST_SUCCESSFUL))[0] == "sure"
    assert sorted(await router.order(pb.POLICY_BALANCED)) == ["cheap", "fast", "sure"]


async def test_a_plan_explains_itself(router: Fixture) -> None:
    await three_channels(router)
    plan = await router.route(query("pay_a", policy=pb.POLICY_UNSPECIFIED))
    assert plan.policy == pb.POLICY_BALANCED
    assert plan.candidates[0].channel_id in plan.explanation
    (sure,) = (each for each in plan.candidates if each.channel_id == "sure")
    assert sure.expected_cost_minor == 60
    assert sure.samples == 100
    assert "fee 0.60 CNY" in sure.reasons


async def test_the_same_route_key_gives_the_same_plan_though_the_world_has_changed(
    router: Fixture,
) -> None:
    await three_channels(router)
    first = await router.route(query("pay_a"))
    await router.record(
        router.outcomes(first.candidates[0].channel_id, failures=50, latency_ms=9_000)
    )
    assert await router.route(query("pay_a")) == first
    (in_batch,) = await results(router, query("pay_a"))
    assert in_batch.plan == first
    decision = await router.call(router.stub.GetDecision, pb.GetDecisionRequest(route_key="pay_a"))
    assert decision.plan == first
    assert [each.channel_id for each in first.candidates] != await router.order()


async def test_a_recorded_plan_is_given_again_when_no_channel_is_left(router: Fixture) -> None:
    await router.upsert(channel("only"))
    first = await router.route(query("pay_a"))
    await router.call(
        router.stub.SetChannelStatus,
        pb.SetChannelStatusRequest(
            request_id="r", channel_id="only", status=pb.CHANNEL_STATUS_DISABLED
        ),
    )
    assert await router.route(query("pay_a")) == first


async def test_concurrent_routing_of_one_key_decides_once(router: Fixture) -> None:
    await three_channels(router)
    async with asyncio.TaskGroup() as group:
        tasks = [
            group.create_task(router.route(query("pay_a", policy=policy)))
            for policy in (pb.POLICY_CHEAPEST, pb.POLICY_FASTEST, pb.POLICY_MOST_SUCCESSFUL) * 4
        ]
    assert len({task.result().SerializeToString(deterministic=True) for task in tasks}) == 1


async def test_a_key_of_another_operation_is_refused(router: Fixture) -> None:
    await three_channels(router)
    await router.route(query("pay_a"))
    error = await router.refusal(
        router.stub.Route, pb.RouteRequest(query=query("pay_a", amount_minor=10_001))
    )
    assert (error.kind, error.reason, error.field) == (
        ErrorKind.ALREADY_EXISTS,
        "ROUTE_KEY_REUSED",
        "route_key",
    )


async def test_a_batch_answers_each_item_in_order_with_a_plan_or_its_reason(
    router: Fixture,
) -> None:
    await three_channels(router)
    await router.route(query("pay_old"))
    got = await results(
        router,
        query("pay_a"),
        query("pay_b", currency="XYZ"),
        query("pay_old"),
        query("pay_c", amount_minor=5_000_001),
        query("pay_d", operation=method_pb2.OPERATION_REFUND),
        query("pay_a"),
        query("pay_old", amount_minor=1),
        query("pay_e", currency="USD"),
    )
    assert [each.plan.route_key or each.error.reason for each in got] == [
        "pay_a",
        "UNKNOWN_CURRENCY",
        "pay_old",
        "NO_CHANNEL",
        "OPERATION_NOT_ROUTABLE",
        "pay_a",
        "ROUTE_KEY_REUSED",
        "NO_CHANNEL",
    ]
    assert got[1].error.field == "amount.currency"
    assert "cheap: AMOUNT_TOO_LARGE" in got[3].error.metadata["exclusions"]
    assert await router.pool.fetchval("SELECT count(*) FROM decision") == 2


async def test_a_large_batch_is_planned_whole(router: Fixture) -> None:
    await three_channels(router)
    got = await results(router, *(query(f"pay_{number}") for number in range(256)))
    assert [each.plan.route_key for each in got] == [f"pay_{number}" for number in range(256)]
    assert await router.pool.fetchval("SELECT count(*) FROM decision") == 256


async def test_drained_and_disabled_channels_are_left_out_at_once(router: Fixture) -> None:
    await three_channels(router)
    for number, status in enumerate((pb.CHANNEL_STATUS_DRAINED, pb.CHANNEL_STATUS_DISABLED)):
        await router.call(
            router.stub.SetChannelStatus,
            pb.SetChannelStatusRequest(
                request_id=f"r{number}", channel_id=("cheap", "fast")[number], status=status
            ),
        )
    plan = await router.route(query("pay_a"))
    assert [each.channel_id for each in plan.candidates] == ["sure"]
    assert [(each.channel_id, each.reason) for each in plan.exclusions] == [
        ("cheap", "CHANNEL_DRAINED"),
        ("fast", "CHANNEL_DISABLED"),
    ]


async def test_a_router_without_channels_says_so(router: Fixture) -> None:
    error = await router.refusal(router.stub.Route, pb.RouteRequest(query=query("pay_a")))
    assert (error.kind, error.reason) == (ErrorKind.REJECTED, "NO_CHANNEL")


async def test_an_unknown_decision_is_not_found(router: Fixture) -> None:
    error = await router.refusal(
        router.stub.GetDecision, pb.GetDecisionRequest(route_key="pay_none")
    )
    assert (error.kind, error.reason) == (ErrorKind.NOT_FOUND, "DECISION_NOT_FOUND")


@pytest.mark.parametrize(
    ("asked", "reason", "field"),
    [
        (query("pay_a", currency="XYZ"), "UNKNOWN_CURRENCY", "amount.currency"),
        (query("pay_a", currency="cny"), "INVALID_ARGUMENT", "query.amount.currency"),
        (query("pay_a", amount_minor=0), "INVALID_ARGUMENT", "query.amount"),
        (query("pay_a", amount_minor=-1), "INVALID_ARGUMENT", "query.amount"),
        (
            query("pay_a", amount_minor=10**15 + 1),
            "INVALID_ARGUMENT",
            "query.amount.amount_minor",
        ),
        (query(""), "INVALID_ARGUMENT", "query.route_key"),
        (query("k" * 129), "INVALID_ARGUMENT", "query.route_key"),
        (pb.RouteQuery(route_key="pay_a", merchant_id="m"), "INVALID_ARGUMENT", "query.amount"),
    ],
)
async def test_bad_queries_are_refused_with_the_field(
    router: Fixture, asked: pb.RouteQuery, reason: str, field: str
) -> None:
    await router.upsert(channel("only"))
    error = await router.refusal(router.stub.Route, pb.RouteRequest(query=asked))
    assert (error.kind, error.reason, error.field) == (ErrorKind.INVALID, reason, field)
    assert await router.pool.fetchval("SELECT count(*) FROM decision") == 0
