"""One fault at a time: a toxic in one wire while merchants call, then the wire heals and everything must add up."""

import asyncio
import random
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import Final

import grpc

from libs.testing.proxy import Bandwidth, Cut, Latency, Reset, Slicer, Swallow, Toxic, Way
from tests.chaos import audit
from tests.faults.load import FUNDS_MINOR, TRY_AGAIN, Load
from tests.faults.world import EDGES, World

BEFORE_S: Final = 1.0
FAULT_S: Final = 4.0
# A peer that swallows costs a whole timeout a call: it takes longer to be known for sick.
SWALLOW_S: Final = 8.0
AFTER_S: Final = 1.0
REPLAY_MAX_S: Final = 30.0
RECOVERY_MAX_S: Final = 15.0
# The longest silence of a saga is a back-off of 15 s after the lease of 15 s; beyond this it is stuck.
SETTLE_MAX_S: Final = 45.0
SETTLE_POLL_S: Final = 0.25
DIFFERENCES_SHOWN_MAX: Final = 5
TRANSITIONS: Final = "circuitbreaker_transitions_total"

TOXICS: Final[dict[str, tuple[Toxic, Way]]] = {
    "latency": (Latency(delay_s=0.15, jitter_s=0.15), Way.BOTH),
    "stall": (Latency(delay_s=6.0), Way.ANSWERS),
    "slow requests": (Bandwidth(bytes_per_s=4_000), Way.REQUESTS),
    "slow answers": (Bandwidth(bytes_per_s=4_000), Way.ANSWERS),
    "slicer": (Slicer(piece_bytes=16, pause_s=0.002), Way.BOTH),
    "reset": (Reset(), Way.BOTH),
    "cut": (Cut(), Way.BOTH),
    "half-open": (Swallow(), Way.BOTH),
    "requests lost": (Swallow(), Way.REQUESTS),
    "answers lost": (Swallow(), Way.ANSWERS),
}
# Which breaker must open, in which process; none is for postgres, and a channel's has the channel's name.
BREAKERS: Final = {
    "risk": ("gateway", "risk"),
    "router": ("gateway", "router"),
    "account": ("gateway", "account"),
    "redis": ("risk", "risk-redis"),
    "channel": ("gateway", ""),
}
TEARING: Final = frozenset({"reset", "cut"})
SWALLOWING: Final = frozenset({"half-open", "requests lost", "answers lost"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """A toxic in a wire."""

    edge: str
    toxic: str

    @property
    def name(self) -> str:
        return f"{self.edge}: {self.toxic}"

    @property
    def lasts_s(self) -> float:
        return SWALLOW_S if self.toxic in SWALLOWING else FAULT_S

    @property
    def opens_breaker(self) -> bool:
        """A hold waits five seconds for the ledger: three of them are more than a fault lasts."""
        if self.edge not in BREAKERS:
            return False
        return self.toxic in TEARING or (self.toxic in SWALLOWING and self.edge != "account")


@dataclass(slots=True, kw_only=True)
class Finding:
    """What came of a case."""

    case: Case
    calls: int = 0
    codes: Counter[grpc.StatusCode] = field(default_factory=Counter)
    opened: float = 0.0
    recovery_s: float = 0.0
    settle_s: float = 0.0
    violations: list[str] = field(default_factory=list)


ALL: Final = tuple(Case(edge=edge, toxic=toxic) for edge in EDGES for toxic in TOXICS)
QUICK: Final = tuple(
    Case(edge=edge, toxic=toxic)
    for edge, toxic in (
        ("risk", "reset"),
        ("router", "half-open"),
        ("account", "cut"),
        ("postgres", "reset"),
        ("redis", "half-open"),
        ("channel", "answers lost"),
    )
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Struck:
    """A case whose wire has healed and whose callers have been answered; its sagas may still be under way."""

    finding: Finding
    load: Load
    merchant_id: str
    healed_s: float


async def play(world: World, case: Case, seed: int) -> Finding:
    """One case from a healthy suite to a healthy suite."""
    return await settle(world, await strike(world, case, seed, lasts_s=case.lasts_s))


async def strike(world: World, case: Case, seed: int, *, lasts_s: float) -> Struck:
    """The fault, under the calls of a merchant of its own, until each call has its answer."""
    house = await world.new_house()
    await house.fund(FUNDS_MINOR)
    load = Load(house, random.Random(seed))
    finding = Finding(case=case)
    opened_before = await _opened(world, case)
    loading = asyncio.create_task(load.run(BEFORE_S + lasts_s + AFTER_S))
    await asyncio.sleep(BEFORE_S)
    toxic, ways = TOXICS[case.toxic]
    async with world.proxies[case.edge].poisoned(toxic, ways):
        await asyncio.sleep(lasts_s)
    healed_s = time.monotonic()
    finding.recovery_s = await _recover(load, healed_s, finding)
    await loading
    await load.replay(REPLAY_MAX_S)
    finding.opened = await _opened(world, case) - opened_before
    return Struck(finding=finding, load=load, merchant_id=house.merchant_id, healed_s=healed_s)


async def settle(world: World, struck: Struck) -> Finding:
    """Waits until all books agree on the merchant's calls, and judges."""
    finding, load = struck.finding, struck.load
    differences = await _settle(world, struck.merchant_id)
    finding.settle_s = time.monotonic() - struck.healed_s
    finding.calls, finding.codes = len(load.calls), load.codes()
    finding.violations += [*_judge(load, finding), *differences[:DIFFERENCES_SHOWN_MAX]]
    return finding


async def _recover(load: Load, healed_s: float, finding: Finding) -> float:
    """Seconds until a payment goes through again."""
    while time.monotonic() - healed_s < RECOVERY_MAX_S:
        if await load.send(load.pay()):
            return time.monotonic() - healed_s
        await asyncio.sleep(SETTLE_POLL_S)
    finding.violations.append(f"no payment went through within {RECOVERY_MAX_S:.0f} s of healing")
    return RECOVERY_MAX_S


async def _settle(world: World, merchant_id: str) -> list[str]:
    """What all books still disagree on when the time is up; empty as soon as they agree."""
    give_up_s = time.monotonic() + SETTLE_MAX_S
    while True:
        differences = await audit.audit(world.books, merchant_id)
        if not differences or time.monotonic() > give_up_s:
            return differences
        await asyncio.sleep(SETTLE_POLL_S)


def _judge(load: Load, finding: Finding) -> list[str]:
    violations = [
        f"callers were told {code.name} {count} times"
        for code, count in finding.codes.items()
        if code is not grpc.StatusCode.OK and code not in TRY_AGAIN
    ]
    unanswered = sum(not call.is_answered for call in load.calls)
    if unanswered:
        violations.append(f"{unanswered} calls had no answer after all their replays")
    if finding.case.opens_breaker and not finding.opened:
        violations.append("the breaker never opened")
    return violations


async def _opened(world: World, case: Case) -> float:
    """How often the breakers of this edge have opened so far."""
    if case.edge not in BREAKERS:
        return 0.0
    process, name = BREAKERS[case.edge]
    names = (name,) if name else world.channels
    opened = [await world.metric(process, TRANSITIONS, name=each, to="open") for each in names]
    return sum(opened)
