"""The crash matrix: one process dies at one named point of one operation; the client goes on, and all books must agree."""

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from libs.testing import eventually
from tests.chaos import audit
from tests.chaos.actor import Actor, GaveUp
from tests.chaos.scenarios import SCENARIOS, Case
from tests.chaos.world import World

FIRE_TIMEOUT_S: Final = 12.0
# Longer than a follower's back-off, since the next cases kill the feed again while it waits.
SETTLE_TIMEOUT_S: Final = 120.0
# Rows of earlier cases that come due while a point is armed would fire it in the wrong place.
CALM_S: Final = 4.0


@dataclass(kw_only=True)
class Result:
    """What became of a case. From the kill until the client has its outcome, and until all books agree on it."""

    name: str
    point: str
    fired: bool = False
    killed_at_s: float = 0.0
    outcome_s: float | None = None
    settled_s: float | None = None
    violations: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        outcome = "no outcome" if self.outcome_s is None else f"{self.outcome_s:5.1f} s"
        return f"{self.name:32} {outcome:>10}  {'; '.join(self.violations) or 'ok'}"


async def run(world: World, cases: Sequence[Case]) -> list[Result]:
    """One after the other up to the kill; the recoveries overlap."""
    results: list[Result] = []
    async with asyncio.TaskGroup() as recoveries:
        for case in cases:
            results += [await _begin(world, case, recoveries)]
    return results


async def _begin(world: World, case: Case, recoveries: asyncio.TaskGroup) -> Result:
    """Returns once the process is dead, or the operation has ended without."""
    result = Result(name=case.name, point=case.point)
    scenario = SCENARIOS[case.scenario]
    await world.rested(case.service)
    await world.serving()
    actor = await Actor.new(world)
    await actor.persist(lambda _: scenario.prepare(actor))
    await world.calm(CALM_S)
    world.arm(case.point, case.hits)
    operation = recoveries.create_task(_operate(actor, case, result))
    fired = await world.wait_fired(FIRE_TIMEOUT_S)
    if fired is None:
        result.violations.append("the crash point was never reached")
    else:
        result.fired, result.killed_at_s = True, fired[1]
        world.died(case.service, fired[1])
    recoveries.create_task(_settle(world, actor, operation, result))
    return result


async def _operate(actor: Actor, case: Case, result: Result) -> None:
    scenario = SCENARIOS[case.scenario]
    try:
        ended = await scenario.act(actor)
    except GaveUp as error:
        result.violations.append(f"the client gave up: {error}")
        return
    if ended.state != scenario.ends:
        result.violations.append(f"{ended.subject_id} ended as {ended.state}")


async def _settle(
    world: World, actor: Actor, operation: "asyncio.Task[None]", result: Result
) -> None:
    await operation
    try:
        await eventually(lambda: audit.clean(world, actor.house.merchant_id), SETTLE_TIMEOUT_S)
    except AssertionError:
        result.violations += await audit.audit(world, actor.house.merchant_id)
    result.violations += actor.oddities
    if result.fired and actor.ended:
        result.outcome_s = max(0.0, actor.ended[-1].ended_at_s - result.killed_at_s)
        result.settled_s = time.time() - result.killed_at_s
    print(result, flush=True)
