"""Plans are kept small and said again word for word."""

import zlib
from dataclasses import replace
from datetime import UTC, datetime

import orjson
import pytest

from services.router.domain.plan import Candidate, Exclusion, Plan, Policy
from services.router.store import plan_archive

PLAN = Plan(
    route_key="mer_1:order-1",
    candidates=tuple(
        Candidate(
            channel_id=channel_id,
            score=score,
            expected_cost_minor=12,
            success_rate=0.938_761,
            latency_ms=212.5,
            samples=431,
            reasons=(
                "expected success rate 93.9%: 405 of 431 succeeded in the last 30 minutes, prior included",
                "expected to answer in 212 ms",
                "fee 0.12 CNY",
                "lowest cost per success",
            ),
        )
        for channel_id, score in (("wechat-main", 0.912), ("银联-2", 0.875))
    ),
    exclusions=(Exclusion(channel_id="alipay", reason="METHOD_UNSUPPORTED"),),
    policy=Policy.BALANCED,
    explanation="wechat-main first, for the best balance of success rate, cost and time (score 0.912); "
    "1 more can take over, 1 excluded.",
    decided_at=datetime(2026, 11, 22, 12, 0, 0, 123_456, tzinfo=UTC),
)
# PLAN as the first release that packed plans has written it.
OF_THE_FIRST_RELEASE = bytes.fromhex(
    "78bbeaad91d5abc65b7095a702b925bab9899979c829dad2d00847310692402fc72c8d2dcccd0c514b332343"
    "233d53a402cdc4d810a548c3513218eb810a07130353501800f550af88003a08b98800f2f017129859fee5e4"
    "6d2f1aa7e81a21079485b9e968401128ff1273320b122b091527c819186716454aaee8b995ac0c044ce7c03c"
    "648835131922e72200754e13ad"
)


def unpacked(data: bytes) -> Plan:
    return plan_archive.unpack(data, PLAN.route_key, PLAN.decided_at)


@pytest.mark.parametrize(
    "plan", [PLAN, replace(PLAN, candidates=(), exclusions=(), explanation="")]
)
def test_a_packed_plan_says_word_for_word_what_it_said(plan: Plan) -> None:
    assert unpacked(plan_archive.pack(plan)) == plan


def test_a_plan_that_was_packed_long_ago_can_be_read() -> None:
    assert unpacked(OF_THE_FIRST_RELEASE) == PLAN


def test_a_packed_plan_is_a_third_of_its_text_or_less() -> None:
    assert len(plan_archive.pack(PLAN)) * 3 < len(orjson.dumps(PLAN))


def test_what_was_not_packed_here_is_refused() -> None:
    with pytest.raises(zlib.error):
        unpacked(zlib.compress(orjson.dumps(PLAN))[:-1] + b"\0")
