"""Judgements over gRPC: each kind of rule, idempotency, batches, outcomes."""

import asyncio

import pytest

from fisc.common.v1 import method_pb2, money_pb2
from fisc.risk.v1 import risk_pb2 as pb
from tests.integration.risk.support import (
    ALLOW,
    DENY,
    REVIEW,
    Fixture,
    FreshDatabase,
    StartRisk,
    day_limit,
    entry,
    evaluation,
    rule,
    velocity,
)


def single(amount_maximum_minor: int) -> pb.SingleLimit:
    return pb.SingleLimit(amount_maximum_minor=amount_maximum_minor)


async def test_without_rules_everything_is_allowed(risk: Fixture) -> None:
    decision = await risk.evaluate(evaluation("eval_1"))
    assert decision.verdict == ALLOW
    assert not decision.fired_rules
    assert decision.case_id == ""
    assert decision.evaluation_id == "eval_1"


async def test_a_single_limit_denies_above_its_amount_only(risk: Fixture) -> None:
    await risk.upsert(rule("single", single_limit=single(1_000)))
    assert (await risk.evaluate(evaluation("eval_1", 1_000))).verdict == ALLOW
    over = await risk.evaluate(evaluation("eval_2", 1_001))
    assert over.verdict == DENY
    (fired,) = over.fired_rules
    assert (fired.rule_id, fired.version) == ("single", 1)
    assert fired.detail == "10.01 CNY is above the single limit of 10.00 CNY"


async def test_a_disabled_rule_and_an_older_version_are_not_in_force(risk: Fixture) -> None:
    await risk.upsert(rule("single", single_limit=single(1)))
    await risk.upsert(rule("single", single_limit=single(1_000)))
    assert (await risk.evaluate(evaluation("eval_1"))).verdict == ALLOW
    off = rule("other", single_limit=single(1))
    off.enabled = False
    await risk.upsert(off)
    assert (await risk.evaluate(evaluation("eval_2"))).verdict == ALLOW


async def test_a_day_limit_spans_calls_and_ends_at_midnight_in_shanghai(risk: Fixture) -> None:
    await risk.upsert(rule("day", day_limit=day_limit(2_000)))
    assert (await risk.evaluate(evaluation("eval_1", 1_500))).verdict == ALLOW
    assert (await risk.evaluate(evaluation("eval_2", 600))).verdict == DENY
    assert (await risk.evaluate(evaluation("eval_3", 500))).verdict == ALLOW
    risk.clock.advance(12 * 3600 - 1)
    assert (await risk.evaluate(evaluation("eval_4", 1))).verdict == DENY
    risk.clock.advance(1)
    assert (await risk.evaluate(evaluation("eval_5", 2_000))).verdict == ALLOW


async def test_a_day_count_is_a_limit_too(risk: Fixture) -> None:
    await risk.upsert(rule("day", REVIEW, day_limit=day_limit(count_maximum=2)))
    verdicts = await risk.verdicts(*(evaluation(f"eval_{n}") for n in range(3)))
    assert verdicts == [ALLOW, ALLOW, REVIEW]


async def test_items_of_one_batch_see_each_other_in_the_order_of_arrival(risk: Fixture) -> None:
    await risk.upsert(rule("day", day_limit=day_limit(2_000)))
    await risk.upsert(rule("velocity", REVIEW, velocity_limit=velocity(3)))
    verdicts = await risk.verdicts(
        evaluation("eval_1", 1_500),
        evaluation("eval_2", 600),
        evaluation("eval_3", 500),
        evaluation("eval_4", 1, customer_id="c-2"),
    )
    assert verdicts == [ALLOW, DENY, ALLOW, REVIEW]


async def test_operations_at_the_same_time_never_pass_a_day_limit_together(risk: Fixture) -> None:
    await risk.upsert(rule("day", day_limit=day_limit(5_000)))
    async with asyncio.TaskGroup() as group:
        tasks = [
            group.create_task(risk.batch(evaluation(f"eval_{n}"), evaluation(f"more_{n}")))
            for n in range(8)
        ]
    verdicts = [result.decision.verdict for task in tasks for result in task.result()]
    assert sorted(verdicts) == [ALLOW] * 5 + [DENY] * 11


async def test_velocity_fires_within_its_window_and_not_after_it(risk: Fixture) -> None:
    await risk.upsert(rule("velocity", velocity_limit=velocity(2, window_s=60)))
    assert await risk.verdicts(evaluation("eval_1"), evaluation("eval_2")) == [ALLOW, ALLOW]
    risk.clock.advance(59)
    fired = (await risk.evaluate(evaluation("eval_3"))).fired_rules[0]
    assert fired.detail == ("ip 203.0.113.9 made 3 operations within 60 s, above the maximum of 2")
    assert (await risk.evaluate(evaluation("eval_4", ip="203.0.113.10"))).verdict == ALLOW
    risk.clock.advance(1)
    assert (await risk.evaluate(evaluation("eval_5"))).verdict == ALLOW


async def test_a_repeated_evaluation_gets_the_recorded_decision_and_counts_once(
    risk: Fixture,
) -> None:
    await risk.upsert(rule("velocity", velocity_limit=velocity(2)))
    await risk.upsert(rule("day", day_limit=day_limit(count_maximum=2)))
    first = await risk.evaluate(evaluation("eval_1"))
    risk.clock.advance(1)
    for _ in range(3):
        assert await risk.evaluate(evaluation("eval_1")) == first
    again = await risk.batch(evaluation("eval_1"), evaluation("eval_2"), evaluation("eval_2"))
    assert again[0].decision == first
    assert again[1].decision.verdict == ALLOW
    assert again[2] == again[1]
    assert (await risk.evaluate(evaluation("eval_3"))).verdict == DENY


async def test_the_same_evaluation_sent_twice_at_once_has_one_decision(risk: Fixture) -> None:
    await risk.upsert(rule("day", REVIEW, day_limit=day_limit(amount_maximum_minor=1)))
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(risk.evaluate(evaluation("eval_1"))) for _ in range(6)]
    (case_id,) = {task.result().case_id for task in tasks}
    assert case_id.startswith("case_")
    total = await risk.pool.fetchrow("SELECT amount_minor, count FROM day_total")
    assert total is not None
    assert (int(total["amount_minor"]), total["count"]) == (1_000, 1)


async def test_an_evaluation_id_used_for_another_operation_is_refused(risk: Fixture) -> None:
    await risk.evaluate(evaluation("eval_1", 1_000))
    other = pb.EvaluateRequest(evaluation=evaluation("eval_1", 900_000))
    error = await risk.refusal(risk.stub.Evaluate, other)
    assert (error.reason, error.field) == ("EVALUATION_ID_REUSED", "evaluation.evaluation_id")


async def test_what_fails_gives_its_day_amount_back_once(risk: Fixture) -> None:
    await risk.upsert(rule("day", day_limit=day_limit(2_000)))
    assert await risk.verdicts(evaluation("eval_1"), evaluation("eval_2")) == [ALLOW, ALLOW]
    assert await risk.outcomes(False, "eval_1", "eval_1", "eval_unknown") == 1
    assert await risk.outcomes(False, "eval_1") == 0
    assert await risk.outcomes(True, "eval_2") == 1
    assert await risk.outcomes(False, "eval_2") == 0
    assert await risk.verdicts(evaluation("eval_3"), evaluation("eval_4")) == [ALLOW, DENY]


async def test_limits_of_one_operation_do_not_count_another(risk: Fixture) -> None:
    limit = rule("day", day_limit=day_limit(1_000))
    limit.operation = method_pb2.OPERATION_PAYOUT
    await risk.upsert(limit)
    payout = {"operation": method_pb2.OPERATION_PAYOUT}
    verdicts = await risk.verdicts(
        evaluation("eval_1"), evaluation("eval_2", **payout), evaluation("eval_3", **payout)
    )
    assert verdicts == [ALLOW, ALLOW, DENY]


async def test_a_bad_item_is_refused_alone_with_its_reason_and_field(risk: Fixture) -> None:
    unknown = evaluation("eval_2", amount=money_pb2.Money(currency="XYZ", amount_minor=5))
    bad_ip = evaluation("eval_3", ip="not-an-address")
    nothing = evaluation("eval_4")
    nothing.method = method_pb2.PAYMENT_METHOD_UNSPECIFIED
    good, *bad = await risk.batch(evaluation("eval_1"), unknown, bad_ip, nothing)
    assert good.decision.verdict == ALLOW
    assert [(item.error.reason, item.error.field) for item in bad] == [
        ("UNKNOWN_CURRENCY", "amount.currency"),
        ("BAD_IP_ADDRESS", "ip"),
        ("METHOD_REQUIRED", "method"),
    ]
    error = await risk.refusal(risk.stub.Evaluate, pb.EvaluateRequest(evaluation=unknown))
    assert (error.reason, error.field) == ("UNKNOWN_CURRENCY", "evaluation.amount.currency")


@pytest.mark.parametrize("amount_minor", [0, -1, 10**15 + 1])
async def test_an_amount_that_is_not_positive_or_too_large_is_refused(
    risk: Fixture, amount_minor: int
) -> None:
    bad = evaluation("eval_1")
    bad.amount.amount_minor = amount_minor
    error = await risk.refusal(risk.stub.Evaluate, pb.EvaluateRequest(evaluation=bad))
    assert error.reason == "INVALID_ARGUMENT"
    assert error.field is not None
    assert error.field.startswith("evaluation.amount")


@pytest.mark.parametrize(("fallback", "verdict"), [("allow", ALLOW), ("review", REVIEW)])
async def test_without_redis_velocity_falls_back_and_limits_still_hold(
    fresh_database: FreshDatabase, start_risk: StartRisk, fallback: str, verdict: int
) -> None:
    nobody_listens = "redis://127.0.0.1:1/0"
    async with start_risk(await fresh_database("risk"), nobody_listens, fallback) as risk:
        await risk.upsert(rule("velocity", velocity_limit=velocity(1)))
        await risk.upsert(rule("day", day_limit=day_limit(2_000)))
        async with asyncio.timeout(5):
            decisions = [await risk.evaluate(evaluation(f"eval_{n}")) for n in range(6)]
        assert [decision.verdict for decision in decisions] == [verdict] * 2 + [DENY] * 4
        fired = {item.rule_id for item in decisions[0].fired_rules}
        assert fired == (set() if verdict == ALLOW else {"velocity-unavailable"})


async def test_a_redis_that_lost_everything_counts_anew(risk: Fixture, redis_url: str) -> None:
    from libs import cache

    await risk.upsert(rule("velocity", velocity_limit=velocity(1)))
    assert await risk.verdicts(evaluation("eval_1"), evaluation("eval_2")) == [ALLOW, DENY]
    async with cache.open_redis(redis_url) as redis:
        await redis.flushall()
        await redis.script_flush()
    assert await risk.verdicts(evaluation("eval_3"), evaluation("eval_4")) == [ALLOW, DENY]


async def test_a_full_batch_is_judged_in_order(risk: Fixture) -> None:
    await risk.upsert(rule("day", day_limit=day_limit(200_000)))
    await risk.upsert(rule("velocity", REVIEW, velocity_limit=velocity(250)))
    await risk.add(entry(pb.LIST_NAME_BLOCK, "c-9"))
    results = await risk.batch(*(evaluation(f"eval_{n:03}") for n in range(256)))
    assert [result.decision.evaluation_id for result in results] == [
        f"eval_{n:03}" for n in range(256)
    ]
    verdicts = [result.decision.verdict for result in results]
    assert verdicts == [ALLOW] * 200 + [DENY] * 56
