"""Which channel comes first, and what is said about it."""

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.router.domain import errors, scoring
from services.router.domain.channel import (
    Channel,
    ChannelStatus,
    FeeSchedule,
    Method,
    Operation,
)
from services.router.domain.plan import Plan, Policy, RouteQuery
from services.router.domain.statistics import Arm, ArmKey, Counts, Recent

NOON = datetime(2026, 3, 2, 12, tzinfo=UTC)
QUERY = RouteQuery(
    route_key="pay_1",
    merchant_id="mer_1",
    currency="CNY",
    amount_minor=10_000,
    method=Method.WECHAT_QR,
    operation=Operation.PAYMENT,
    policy=Policy.BALANCED,
    allowed_channel_ids=frozenset(),
)


def channel(channel_id: str, *, rate_ppm: int = 6_000, static_rank: int = 0) -> Channel:
    return Channel(
        channel_id=channel_id,
        provider="simpay",
        display_name=channel_id.title(),
        status=ChannelStatus.ENABLED,
        methods=(Method.WECHAT_QR,),
        operations=(Operation.PAYMENT,),
        currencies=("CNY",),
        amount_minimum_minor=100,
        amount_maximum_minor=1_000_000,
        fee=FeeSchedule(rate_ppm=rate_ppm, fixed_minor=0, minimum_minor=0, maximum_minor=0),
        zone="Asia/Shanghai",
        cut_off="00:00",
        static_rank=static_rank,
    )


def arm(success_percent: int, latency_ms: int, samples: int = 1_000) -> Arm:
    return Arm(
        window=Counts(
            samples=samples,
            successes=samples * success_percent // 100,
            latency_sum_ms=samples * latency_ms,
        )
    )


def make_plan(channels: list[Channel], arms: Mapping[str, Arm], query: RouteQuery = QUERY) -> Plan:
    keyed = {ArmKey(key, query.method, query.operation): each for key, each in arms.items()}
    return scoring.make_plan(query, channels, scoring.Assessor(keyed, NOON), NOON)


def order(plan: Plan) -> list[str]:
    return [candidate.channel_id for candidate in plan.candidates]


THREE = [channel("cheap", rate_ppm=2_000), channel("fast", rate_ppm=8_000), channel("sure")]
THREE_ARMS = {"cheap": arm(93, 900), "fast": arm(94, 100), "sure": arm(99, 900)}


@pytest.mark.parametrize(
    ("policy", "first"),
    [
        (Policy.CHEAPEST, "cheap"),
        (Policy.FASTEST, "fast"),
        (Policy.MOST_SUCCESSFUL, "sure"),
    ],
)
def test_each_policy_puts_its_own_favourite_first(policy: Policy, first: str) -> None:
    plan = make_plan(THREE, THREE_ARMS, replace(QUERY, policy=policy))
    assert order(plan)[0] == first
    assert plan.explanation.startswith(f"{first} first, for the ")
    assert len(plan.candidates) == 3


@pytest.mark.parametrize("policy", list(Policy))
def test_a_dead_channel_comes_last_however_cheap_and_fast_it_fails(policy: Policy) -> None:
    channels = [channel("dead", rate_ppm=0), channel("dear", rate_ppm=12_000)]
    arms = {"dead": arm(1, 1), "dear": arm(90, 1_500)}
    assert order(make_plan(channels, arms, replace(QUERY, policy=policy))) == ["dear", "dead"]


def test_a_channel_that_fails_now_says_so_and_sinks() -> None:
    failing = Arm(
        window=Counts(samples=500, successes=490, latency_sum_ms=50_000),
        recent=Recent(successes=(True,) * 10 + (False,) * 10, last_at=NOON),
    )
    plan = make_plan([channel("a"), channel("b")], {"a": failing, "b": arm(91, 100)})
    assert order(plan) == ["b", "a"]
    assert "only 10 of its last 20 outcomes succeeded" in plan.candidates[1].reasons[0]


def test_without_statistics_the_static_rank_decides_and_then_the_id() -> None:
    channels = [channel("c", static_rank=1), channel("b", static_rank=1), channel("z")]
    plan = make_plan(channels, {}, replace(QUERY, policy=Policy.MOST_SUCCESSFUL))
    assert order(plan) == ["z", "b", "c"]
    assert "no outcomes in the last 30 minutes" in plan.candidates[0].reasons[0]


def test_the_reasons_name_fee_rate_and_time() -> None:
    plan = make_plan(THREE, THREE_ARMS)
    (cheap,) = (each for each in plan.candidates if each.channel_id == "cheap")
    assert cheap.expected_cost_minor == 20
    assert "fee 0.20 CNY" in cheap.reasons
    assert "lowest cost per success" in cheap.reasons
    assert "930 of 1000 succeeded" in cheap.reasons[0]


def test_everything_left_out_is_named_with_its_reason() -> None:
    base = channel("x")
    channels = [
        replace(base, channel_id="good"),
        replace(base, channel_id="ex-card", methods=(Method.CARD,)),
        replace(base, channel_id="ex-currency", currencies=("USD",)),
        replace(base, channel_id="ex-disabled", status=ChannelStatus.DISABLED),
        replace(base, channel_id="ex-drained", status=ChannelStatus.DRAINED),
        replace(base, channel_id="ex-large", amount_maximum_minor=9_999),
        replace(base, channel_id="ex-payout", operations=(Operation.PAYOUT,)),
        replace(base, channel_id="ex-small", amount_minimum_minor=10_001),
    ]
    plan = make_plan(channels, {})
    assert order(plan) == ["good"]
    assert [(each.channel_id, each.reason) for each in plan.exclusions] == [
        ("ex-card", "METHOD_UNSUPPORTED"),
        ("ex-currency", "CURRENCY_UNSUPPORTED"),
        ("ex-disabled", "CHANNEL_DISABLED"),
        ("ex-drained", "CHANNEL_DRAINED"),
        ("ex-large", "AMOUNT_TOO_LARGE"),
        ("ex-payout", "OPERATION_UNSUPPORTED"),
        ("ex-small", "AMOUNT_TOO_SMALL"),
    ]


def test_the_limits_themselves_are_allowed_and_zero_means_none() -> None:
    exact = replace(channel("x"), amount_minimum_minor=10_000, amount_maximum_minor=10_000)
    assert order(make_plan([exact], {})) == ["x"]
    assert order(make_plan([replace(exact, amount_maximum_minor=0)], {})) == ["x"]


def test_only_allowed_channels_are_planned() -> None:
    query = replace(QUERY, allowed_channel_ids=frozenset({"sure"}))
    plan = make_plan(THREE, THREE_ARMS, query)
    assert order(plan) == ["sure"]
    assert {each.reason for each in plan.exclusions} == {"NOT_ALLOWED"}


def test_when_nothing_fits_the_refusal_says_why_for_each() -> None:
    with pytest.raises(errors.NoChannel) as refusal:
        make_plan([replace(channel("x"), status=ChannelStatus.DISABLED)], {})
    assert refusal.value.metadata == {"exclusions": "x: CHANNEL_DISABLED"}


@pytest.mark.parametrize(
    ("query", "error", "field"),
    [
        (replace(QUERY, currency="XYZ"), errors.UnknownCurrency, "amount.currency"),
        (replace(QUERY, operation=Operation.REFUND), errors.OperationNotRoutable, "operation"),
    ],
)
def test_what_no_channel_could_do_is_refused_with_the_field(
    query: RouteQuery, error: type[errors.UnknownCurrency], field: str
) -> None:
    with pytest.raises(error) as refusal:
        make_plan(THREE, {}, query)
    assert refusal.value.field == field


def test_the_cost_of_a_success_counts_the_failed_tries() -> None:
    # p = 1/2: two tries a success, one of them failed: 2 x 60 + 0.5 % of 10,000 = 170.
    assert scoring.cost_per_success_micro(60, 10_000, 0.5) == 170_000_000
    assert scoring.cost_per_success_micro(60, 10_000, 1.0) == 60_000_000
    assert scoring.time_to_success_ms(200, 0.5) == 2 * 200 + 1_000


ARMS = st.builds(arm, st.integers(0, 100), st.integers(0, 60_000), st.integers(0, 5_000))


@given(
    st.dictionaries(st.sampled_from("abcdef"), st.tuples(st.integers(0, 10**6), ARMS), min_size=1),
    st.sampled_from(Policy),
)
def test_a_plan_is_sorted_bounded_and_independent_of_the_order_of_channels(
    world: dict[str, tuple[int, Arm]], policy: Policy
) -> None:
    channels = [channel(key, rate_ppm=rate_ppm) for key, (rate_ppm, _) in world.items()]
    arms = {key: each for key, (_, each) in world.items()}
    query = replace(QUERY, policy=policy)
    plan = make_plan(channels, arms, query)
    scores = [candidate.score for candidate in plan.candidates]
    assert scores == sorted(scores, reverse=True)
    assert all(0 <= score <= 1 for score in scores)
    assert make_plan(channels[::-1], arms, query) == plan
