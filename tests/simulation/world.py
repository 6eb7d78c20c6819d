"""One seed's world: replicas, channels, neighbours and merchants; faults for a while, then peace until all is quiet."""

import asyncio
import contextlib
import random
from collections import Counter
from collections.abc import Iterator, MutableMapping
from dataclasses import dataclass, field
from functools import partial
from random import Random
from types import SimpleNamespace
from typing import Any

import structlog

from libs import crashpoints
from libs.resilience.breaker import Breaker
from services.account.domain.accounts import Role
from services.gateway.clients import peers
from services.gateway.domain import merchant, saga
from services.gateway.domain.channel import CallbackAck
from services.gateway.usecases import performers
from services.gateway.workers import pushers, sweepers
from tests.simulation import invariants
from tests.simulation.channels import PAYER_MAX_S, RELAPSE_MAX_S, Channel
from tests.simulation.chaos import ACTIONS, Chaos
from tests.simulation.clients import MERCHANT, Clients
from tests.simulation.connectors import Poison
from tests.simulation.database import Database, Subject
from tests.simulation.history import History
from tests.simulation.loop import (
    Exhausted,
    Machine,
    SimulatedClock,
    SimulatedLoop,
    current_machine,
)
from tests.simulation.neighbours import BANK, CURRENCY, LedgerNode, RiskNode, RouterNode
from tests.simulation.network import LATE_MAX_S, Network
from tests.simulation.replica import CONSUMERS, Outside, Replica

PAYMENTS = 20
PAYOUTS = 4
FUNDS_MINOR = 60_000
CHANNEL_IDS = ("alpha", "beta", "gamma")
FAULTS_S = 45.0
# After the faults, what is still under way at the channels and in the network needs this long to arrive.
CALM_S = max(LATE_MAX_S, PAYER_MAX_S, RELAPSE_MAX_S) + 1.0
QUIET_MAX_S = 1_500.0
LOOK_S = 4.0
STEPS_MAX = 2_000_000
DRIFT_MAX_S = 30.0
SHORT_DEADLINE_S = 240
SWEEP_INTERVAL_S = 1.5
SWEEP_INTERVAL_CALM_S = 8.0
# Deaths are likelier where the gateway names a crash point: some of those are reached seldom.
NAMED_POINT_WEIGHT = 3.0
TERMINAL = frozenset({"SUCCEEDED", "FAILED", "CANCELED", "MANUAL"})


@dataclass(kw_only=True)
class Report:
    """What a seed showed."""

    seed: int
    violations: list[invariants.Violation]
    counts: Counter[str]
    digest: str
    payments: int
    virtual_s: float
    steps: int
    lines: dict[str, list[str]] = field(default_factory=dict)


def run(seed: int) -> Report:
    """Lives through one seed."""
    world = World(seed)
    with _laws(world):
        return world.live()


class World:
    """Everything of one seed."""

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self.loop = SimulatedLoop(Random(f"{seed} order"), STEPS_MAX)
        self.rng = Random(f"{seed} events")
        self.chaos = Chaos(Random(f"{seed} faults"), self.crash)
        self.history = History(self.loop)
        self.network = Network(self.loop, self.chaos, Random(f"{seed} network"))
        self.database = Database()
        self.database.observers.append(self._observe)
        self.ledger = LedgerNode(self.history, SimulatedClock(self.loop).now)
        self.risk = RiskNode(self.network, self.chaos, self.rng)
        self.router = RouterNode(CHANNEL_IDS, self.rng)
        self.channels = {
            channel_id: Channel(
                channel_id,
                network=self.network,
                chaos=self.chaos,
                rng=self.rng,
                history=self.history,
                deliver=self._deliver,
            )
            for channel_id in CHANNEL_IDS
        }
        self.outside = Outside(
            network=self.network,
            chaos=self.chaos,
            database=self.database,
            risk=self.risk,
            router=self.router,
            ledger=self.ledger,
            channels=self.channels,
        )
        self.breaches: list[invariants.Violation] = []
        self.hard_deadline_s = saga.HARD_DEADLINE_S
        self.dead_channel = ""
        if self.rng.random() < 0.08:
            self.dead_channel = self.rng.choice(CHANNEL_IDS)
            self.hard_deadline_s = SHORT_DEADLINE_S
        self.replicas: dict[str, Replica] = {}
        self.clients = Clients(
            rng=self.rng,
            chaos=self.chaos,
            history=self.history,
            database=self.database,
            replica=lambda: self.rng.choice(list(self.replicas.values())),
        )

    def live(self) -> Report:
        """From the first request to the last invariant."""
        try:
            self.loop.run(self._story())
        except Exhausted as error:
            self.breaches.append(invariants.Violation("I16", "", f"{error}"))
        except Exception as error:  # noqa: BLE001 -- what no caller expects is a finding
            self.breaches.append(invariants.Violation("unexpected", "", _innermost(error)))
        self.chaos.counts["write fenced"] += self.database.fenced_count
        violations = self.breaches + invariants.check(self)
        subjects = dict.fromkeys(violation.subject_id for violation in violations)
        return Report(
            seed=self.seed,
            violations=violations,
            counts=self.chaos.counts,
            digest=self.history.digest(),
            payments=len(self.database.rows["payment"]),
            virtual_s=self.loop.now_s,
            steps=self.loop.steps,
            lines={subject_id: self.history.of(subject_id) for subject_id in subjects},
        )

    def crash(self, machine: Machine) -> None:
        """The process is gone at once; another one takes its place after a while."""
        machine.is_alive = False
        self.history.add("", f"{machine.name} is killed")
        delay_s = 0.2 + self.rng.random() * (15.0 if self.chaos.is_on else 0.1)
        self.loop.call_later(delay_s, self._boot, machine.name, context=self.network.context)

    def reach(self, point: str) -> None:
        """A named crash point of the gateway itself."""
        self.chaos.crashes(current_machine(), point, weight=NAMED_POINT_WEIGHT)

    def complain(
        self, _: Any, level: str, event: MutableMapping[str, Any]
    ) -> MutableMapping[str, Any]:
        """What the gateway logs as an error is a finding, unless it was a planted accident."""
        error = event.get("exc_info")
        if level == "error" and not isinstance(error, Poison):
            self.outside.complaints.append(f"{event.get('event')} {error!r} {event.get('reason')}")
        raise structlog.DropEvent

    async def _story(self) -> None:
        self._found()
        for number in range(self.rng.choice((2, 3))):
            self._boot(f"replica {number + 1}")
        async with asyncio.TaskGroup() as busy:
            for work in self.clients.work(PAYMENTS, PAYOUTS):
                busy.create_task(work)
            busy.create_task(self._torment())
        await self._come_to_rest()
        await self._ask_again()
        await self._come_to_rest()

    def _found(self) -> None:
        merchant_id, ledger = MERCHANT.merchant_id, self.ledger
        ledger.open(merchant.available_account(merchant_id, CURRENCY), Role.MERCHANT_AVAILABLE)
        ledger.open(merchant.pending_account(merchant_id, CURRENCY), Role.MERCHANT_PENDING)
        ledger.open(merchant.payout_transit_account(CURRENCY), Role.IN_TRANSIT)
        ledger.open(BANK, Role.BANK_MIRROR)
        for channel_id in CHANNEL_IDS:
            account_id = merchant.receivable_account(channel_id, CURRENCY)
            ledger.open(account_id, Role.CHANNEL_RECEIVABLE)
        ledger.fund(merchant_id, FUNDS_MINOR)

    def _boot(self, name: str) -> None:
        drift_s = self.rng.choice((0.0, 0.0, self.rng.uniform(-DRIFT_MAX_S, DRIFT_MAX_S)))
        if drift_s:
            self.chaos.counts["clocks apart"] += 1
        self.replicas[name] = Replica(
            Machine(name, drift_s), self.outside, Random(f"{self.rng.random()}")
        )
        self.replicas[name].start()
        self.history.add("", f"{name} starts, its clock off by {drift_s:.1f} s")

    async def _torment(self) -> None:
        """Strikes at machines and links, then lets go of everything."""
        if self.dead_channel:
            self.chaos.counts["channel dead for ever"] += 1
            until_s = float("inf")
            self.loop.call_later(
                20.0,
                self.network.take_down,
                self.dead_channel,
                until_s,
                context=self.network.context,
            )
        gentleness_s = self.rng.choice((4.0, 8.0, 20.0))
        while self.loop.now_s < FAULTS_S:
            await asyncio.sleep(self.rng.random() * gentleness_s)
            self._strike(self.rng.choice(ACTIONS))
        self.chaos.is_on = False
        self.network.restore(but=self.dead_channel)
        for replica in self.replicas.values():
            self.loop.wake(replica.machine)
        for pace in ("IDLE_MAX_S", "IDLE_S"):
            vars(pushers)[pace] = SWEEP_INTERVAL_CALM_S
        sweepers.SWEEP_INTERVAL_S = SWEEP_INTERVAL_CALM_S
        self.history.add("", "the faults are over")

    def _strike(self, action: str) -> None:
        machine = self.rng.choice(list(self.replicas.values())).machine
        until_s = self.loop.now_s + self.rng.uniform(1.0, 20.0)
        self.chaos.counts[action] += 1
        if action == "replica killed" and machine.is_alive:
            self.crash(machine)
        elif action == "replica paused beyond its lease":
            machine.is_paused = True
            wake_s = self.rng.uniform(5.0, 2.5 * saga.LEASE_S)
            self.loop.call_later(wake_s, self.loop.wake, machine, context=self.network.context)
            self.history.add("", f"{machine.name} is paused for {wake_s:.1f} s")
        elif action == "database away":
            self.network.take_down("database", self.loop.now_s + self.rng.uniform(0.2, 4.0))
        elif action == "channel away":
            self.network.take_down(self.rng.choice(CHANNEL_IDS), until_s)
        elif action == "neighbour away":
            self.network.take_down(self.rng.choice(("risk", "router", "account")), until_s)

    async def _come_to_rest(self) -> None:
        """Waits until nothing is left to do. What never ends is found by the invariants."""
        for channel_id in CHANNEL_IDS:
            if channel_id != self.dead_channel:
                assert not self.network.is_down(channel_id)
        calm_at_s = FAULTS_S + CALM_S
        limit_s = self.loop.now_s + QUIET_MAX_S
        while self.loop.now_s < limit_s:
            await asyncio.sleep(LOOK_S)
            if self.loop.now_s > calm_at_s and self._is_quiet():
                return

    def _is_quiet(self) -> bool:
        end = self.database.events[-1].cursor if self.database.events else ""
        return (
            all(
                subject.state in TERMINAL
                for rows in self.database.rows.values()
                for subject in rows.values()
            )
            and all(self.database.cursors.get(consumer, "") == end for consumer in CONSUMERS)
            and all(task.done() for c in self.channels.values() for task in c.deliveries)
        )

    async def _ask_again(self) -> None:
        """The same request again, long after: the same answer. Another body: refused."""
        orders = self.clients.payment_orders
        for order in self.rng.sample(orders, 2):
            await self.clients.repeat_payment(order)
        await self.clients.send_other_body(self.rng.choice(orders))

    async def _deliver(
        self, channel_id: str, headers: dict[str, str], body: bytes
    ) -> CallbackAck | None:
        replica = self.rng.choice(list(self.replicas.values()))
        try:
            return await replica.call(
                lambda door: door.callbacks.receive(channel_id, headers, body)
            )
        except Exception as error:  # noqa: BLE001 -- a channel sees no more than that it failed
            self.history.add("callback", f"{body.decode()} failed: {type(error).__name__}")
            return None

    def _observe(self, name: str, old: Subject | None, new: Subject) -> None:
        subject_id = str(getattr(new, f"{name}_id"))
        before = "" if old is None else f"{old.state} → "
        words = f"row {before}{new.state} {new.reason} v{new.version} e{new.epoch}"
        self.history.add(subject_id, words)
        self.breaches += invariants.check_write(subject_id, old, new)


def _innermost(error: BaseException) -> str:
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return repr(error)


@contextlib.contextmanager
def _laws(world: World) -> Iterator[None]:
    """Chance, time, crash points and logs answer to this world while it lives."""
    before = structlog.get_config()
    kept = (
        sweepers.SWEEP_INTERVAL_S,
        pushers.IDLE_MAX_S,
        pushers.IDLE_S,
        saga.HARD_DEADLINE_S,
        saga.PENDING_DEADLINE_S,
        crashpoints._armed,
        vars(performers)["time"],
        peers.breaker,
    )
    random.seed(world.seed)
    structlog.configure(
        processors=[world.complain],
        wrapper_class=structlog.make_filtering_bound_logger(40),
        cache_logger_on_first_use=False,
    )
    sweepers.SWEEP_INTERVAL_S = pushers.IDLE_MAX_S = pushers.IDLE_S = SWEEP_INTERVAL_S
    vars(saga)["HARD_DEADLINE_S"] = vars(saga)["PENDING_DEADLINE_S"] = world.hard_deadline_s
    vars(crashpoints)["_armed"] = world.reach
    vars(performers)["time"] = SimpleNamespace(perf_counter=world.loop.time)
    vars(peers)["breaker"] = partial(
        Breaker,
        consecutive_failures_max=peers.CONSECUTIVE_FAILURES_MAX,
        open_s=peers.OPEN_S,
        clock=SimulatedClock(world.loop),
    )
    try:
        yield
    finally:
        sweepers.SWEEP_INTERVAL_S, pushers.IDLE_MAX_S, pushers.IDLE_S = kept[:3]
        vars(saga)["HARD_DEADLINE_S"], vars(saga)["PENDING_DEADLINE_S"] = kept[3:5]
        vars(crashpoints)["_armed"] = kept[5]
        vars(performers)["time"], vars(peers)["breaker"] = kept[6:8]
        structlog.configure(**before)
