"""A steady mix of operations while the house falls down, each with the kills it lived through."""

import asyncio
import itertools
import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from tests.chaos.actor import QR, Actor, GaveUp
from tests.chaos.world import World

ACTORS: Final = 6
PAUSE_S: Final = 0.05
FUNDS_MINOR: Final = 100_000
PAYOUT_MAX_MINOR: Final = 20
FAULT_RATE: Final = 0.03
FAULTS: Final = ("timeout_after_charge", "commit_then_error", "down", "error_5xx", "lost_callback")


@dataclass(kw_only=True)
class Load:
    """Actors that pay, refund and pay out until told to stop. Seeded, so that the mix of a run can be had again."""

    world: World
    seed: int
    actors: list[Actor] = field(default_factory=list)
    violations: list[str] = field(default_factory=list)
    _is_over: bool = False

    async def prepare(self) -> None:
        for _ in range(ACTORS):
            actor = await Actor.new(self.world)
            await actor.persist(lambda _, actor=actor: _equip(actor))  # type: ignore[misc]  # bound early
            self.actors.append(actor)

    async def run(self) -> None:
        """Until `stop`, and then until every operation under way has its outcome."""
        async with asyncio.TaskGroup() as group:
            for number, actor in enumerate(self.actors):
                group.create_task(self._work(actor, random.Random(self.seed + number)))

    def stop(self) -> None:
        self._is_over = True

    @property
    def operations_count(self) -> int:
        return sum(len(actor.ended) for actor in self.actors)

    def recoveries_s(self, kills_at_s: Sequence[float]) -> list[float]:
        """For every operation under way at a kill: from the last such kill to its outcome."""
        ended = itertools.chain.from_iterable(actor.ended for actor in self.actors)
        return [
            operation.ended_at_s - max(lived_through)
            for operation in ended
            if (
                lived_through := [
                    at_s
                    for at_s in kills_at_s
                    if operation.began_at_s <= at_s <= operation.ended_at_s
                ]
            )
        ]

    async def _work(self, actor: Actor, rng: random.Random) -> None:
        while not self._is_over:
            try:
                await self._operate(actor, rng)
            except GaveUp as error:
                self.violations.append(f"a client gave up: {error}")
                return
            await asyncio.sleep(PAUSE_S)

    async def _operate(self, actor: Actor, rng: random.Random) -> None:
        if rng.random() < FAULT_RATE:
            fault = rng.choice(FAULTS)
            await actor.persist(
                lambda _: actor.house.fault(rng.choice(actor.channels), fault, count=1)
            )
        drawn = rng.random()
        if drawn < 0.15:
            await actor.payout(rng.randint(1, PAYOUT_MAX_MINOR))
        elif drawn < 0.25:
            await actor.pay(QR)
        elif drawn < 0.4:
            if (await actor.authorize()).state == "AUTHORIZED":
                await (actor.capture() if drawn < 0.35 else actor.void())
        elif (await actor.pay()).state == "SUCCEEDED" and drawn < 0.6:
            await actor.refund()


async def _equip(actor: Actor) -> None:
    await actor.open_channels(
        {"soft_decline_rate": 0.2, "decline_rate": 0.05, "latency_ms": [5, 60]},
        {"latency_ms": [5, 60], "auto_pay_after_ms": [100, 1500], "notify_immediate": True},
    )
    await actor.house.fund(FUNDS_MINOR)


def percentile(values: Sequence[float], share: float) -> float:
    """0 of nothing."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))] if ordered else 0.0
