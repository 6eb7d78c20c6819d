"""What an earlier release has recorded is said again as it was."""

from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path

import asyncpg
import pytest

from fisc.router.v1 import router_pb2 as pb
from libs.clock import FrozenClock
from libs.db import migrate
from libs.db.pool import open_pool
from services.router.domain import errors
from services.router.domain.channel import Method, Operation
from services.router.domain.plan import Policy, RouteQuery
from services.router.handlers import convert
from services.router.usecases import Router
from tests.conftest import migrations_dir
from tests.integration.router.support import NOON

PLAN = """{
  "policy": "BALANCED", "route_key": "mer_1:old", "exclusions": [{"channel_id": "b", "reason": "CHANNEL_DRAINED"}],
  "candidates": [{"score": 0.95, "reasons": ["fee 0.12 CNY"], "samples": 0, "channel_id": "a",
                  "latency_ms": 500.0, "success_rate": 0.9, "expected_cost_minor": 12}],
  "decided_at": "2026-03-01T08:00:00.000001+00:00", "explanation": "a first, in the words of that day."
}"""
WRITTEN = f"""
INSERT INTO decision VALUES ('mer_1:old', 'mer_1', 'CNY', 1999, 'CARD', 'PAYMENT', '{PLAN}', '2026-03-01 08:00+00')
"""


@pytest.fixture
async def upgraded(
    empty_database: Callable[[], Awaitable[str]], tmp_path: Path
) -> "asyncpg.Pool[asyncpg.Record]":
    """A database of the first release, in use, brought up to this one."""
    first = tmp_path / "0001_initial.py"
    first.write_text((migrations_dir("router") / first.name).read_text())
    url = await empty_database()
    await migrate.upgrade(url, tmp_path)
    connection = await asyncpg.connect(url)
    await connection.execute(WRITTEN)
    await connection.close()
    await migrate.upgrade(url, migrations_dir("router"))
    return await open_pool(url, size=4, application_name="test")


async def test_a_plan_of_an_earlier_release_is_given_again_in_its_own_words(
    upgraded: "asyncpg.Pool[asyncpg.Record]",
) -> None:
    router = Router(upgraded, FrozenClock(NOON))
    asked = RouteQuery(
        route_key="mer_1:old",
        merchant_id="mer_1",
        currency="CNY",
        amount_minor=1999,
        method=Method.CARD,
        operation=Operation.PAYMENT,
        policy=Policy.CHEAPEST,
        allowed_channel_ids=frozenset(),
    )
    async with upgraded:
        again = convert.plan_to_proto(await router.route(asked))
        assert again == convert.plan_to_proto(await router.get_decision("mer_1:old"))
        with pytest.raises(errors.RouteKeyReused):
            await router.route(replace(asked, amount_minor=2000))
    assert again.explanation == "a first, in the words of that day."
    assert again.policy == pb.POLICY_BALANCED
    assert [(each.channel_id, list(each.reasons)) for each in again.candidates] == [
        ("a", ["fee 0.12 CNY"])
    ]
    assert [each.reason for each in again.exclusions] == ["CHANNEL_DRAINED"]
