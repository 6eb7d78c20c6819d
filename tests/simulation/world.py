"""One seed's world: replicas, channels, neighbours and merchants; faults for a while, then peace, and the days after."""

import asyncio
import logging
import sys
from collections import Counter
from collections.abc import Callable, Mapping, MutableMapping
from dataclasses import dataclass, field
from functools import partial
from random import Random
from typing import Any

import structlog

from libs.saga.flow import FAULTS_MAX
from services.account.domain.accounts import Role
from services.gateway.domain import merchant
from services.gateway.domain.channel import Callback, CallbackAck, OutcomeKind
from services.gateway.domain.saga import AttemptState
from tests.simulation import invariants, laws, secrecy, storm
from tests.simulation.channels import PAYER_MAX_S, RELAPSE_MAX_S, Channel
from tests.simulation.chaos import Chaos
from tests.simulation.clearing import ClearingBooks, ClearingReplica
from tests.simulation.clients import Clients
from tests.simulation.connectors import Poison
from tests.simulation.database import Database
from tests.simulation.days import DAYS, Days
from tests.simulation.history import History
from tests.simulation.loop import Exhausted, Machine, SimulatedClock, SimulatedLoop, current_machine
from tests.simulation.neighbours import CURRENCIES, LedgerNode, RiskNode, RouterNode, bank_account
from tests.simulation.network import LATE_MAX_S, Network
from tests.simulation.outside import Outside
from tests.simulation.pace import Pace
from tests.simulation.people import People
from tests.simulation.replica import CONSUMERS, Replica
from tests.simulation.wallets import MERCHANTS, Wallets

PAYMENTS = 50
PAYOUTS = 8
FUNDS_MINOR = 60_000
CHANNEL_IDS = ("alpha", "beta", "gamma")
NIGHT_S = 30.0
# After the faults, what is still under way at the channels and in the network needs this long to arrive.
CALM_S = max(LATE_MAX_S, PAYER_MAX_S, RELAPSE_MAX_S) + 1.0
QUIET_MAX_S = 3_600.0
LOOK_S = 4.0
LOOK_GROWTH = 1.2
# Whatever is due later than this waits for its time; everything else is at work.
WAITING_S = 120.0
STEPS_MAX = 2_000_000
DRIFT_MAX_S = 30.0
RESTART_MAX_S = 6.0
DEAD_SHARE = 0.06
POISON_SHARE = 0.06
ROLLING_SHARE = 0.15
NIGHT_SHARE = 0.3
REFUND_DAYS = (1, 2)
# The points that the services name lie densely on every path.
NAMED_POINT_WEIGHT = 0.8
READ_EACH = 100
ACCEPTED = 200
_KNOWN_TO_BE_PAID = frozenset({AttemptState.SUCCEEDED, AttemptState.RETURNED})


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
    with laws.over(
        seed=seed,
        loop=world.loop,
        reach=world.reach,
        processors=[*world.reader.processors, world.complain],
        level=logging.INFO if world.reader.is_reading else logging.ERROR,
        are_metrics_kept=world.reader.is_reading,
    ):
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
        self.reader = secrecy.Reader(is_reading=seed % READ_EACH == 1)
        self.wallets = Wallets(Random(f"{seed} secrets"), with_keys=self.reader.is_reading)
        channel = partial(
            Channel,
            network=self.network,
            chaos=self.chaos,
            rng=self.rng,
            history=self.history,
            deliver=self._deliver,
        )
        self.channels = {channel_id: channel(channel_id) for channel_id in CHANNEL_IDS}
        self.outside = Outside(
            network=self.network,
            chaos=self.chaos,
            database=self.database,
            risk=self.risk,
            router=self.router,
            ledger=self.ledger,
            channels=self.channels,
            merchants=self.wallets.merchants,
            keys=self.wallets.keys,
        )
        self.breaches: list[invariants.Violation] = []
        self.funds_minor = FUNDS_MINOR
        self.dead_channel = self.rng.choice(CHANNEL_IDS) if self._chance(DEAD_SHARE) else ""
        self.is_rolling = self._chance(ROLLING_SHARE)
        self.poisoned_request_id = ""
        if self._chance(POISON_SHARE):
            self.poisoned_request_id = f"order-{self.rng.randrange(PAYMENTS)}"
        self.outside.poisoned_request_id = self.poisoned_request_id
        self.books = ClearingBooks(CHANNEL_IDS)
        self.books.database.observers.append(self._observe)
        self.clearing_pace = Pace(self.loop, self.books.database)
        self.replicas: dict[str, Replica] = {}
        self.clearing: dict[str, ClearingReplica] = {}
        self._names: list[str] = []
        self._wire_people()

    def _wire_people(self) -> None:
        self.clients = Clients(
            rng=self.rng,
            chaos=self.chaos,
            history=self.history,
            database=self.database,
            wallets=self.wallets,
            replica=self._any_replica,
        )
        self.people = People(
            rng=self.rng,
            chaos=self.chaos,
            history=self.history,
            database=self.database,
            channels=self.channels,
            clients=self.clients,
            ledger=self.ledger,
        )
        self.days = Days(
            loop=self.loop,
            rng=self.rng,
            channels=list(self.channels.values()),
            clients=self.clients,
            clearing=self._any_clearing,
            is_taken_in=lambda: self._is_read("clearing"),
        )

    @property
    def processes(self) -> Mapping[str, Replica | ClearingReplica]:
        """All that may die, by name."""
        return self.replicas | self.clearing

    def live(self) -> Report:
        """From the first request to the last invariant."""
        try:
            self.loop.run(self._story())
        except Exhausted as error:
            self.breaches.append(invariants.Violation("I16", "", f"{error}"))
        except Exception as error:  # noqa: BLE001 -- what no caller expects is a finding
            self.breaches.append(invariants.Violation("unexpected", "", _innermost(error)))
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
        delay_s = 0.2 + self.rng.random() * (RESTART_MAX_S if self.chaos.is_on else 0.1)
        self.loop.call_later(delay_s, self.boot, machine.name, context=self.network.context)

    def reach(self, point: str) -> None:
        """A named crash point of a service itself."""
        self.chaos.crashes(current_machine(), point, weight=NAMED_POINT_WEIGHT)

    def complain(
        self, _: Any, level: str, event: MutableMapping[str, Any]
    ) -> MutableMapping[str, Any]:
        """What a service logs as an error is a finding, unless it was a planted accident."""
        if level == "error":
            error = event.get("exc_info")
            error = sys.exc_info()[1] if error is True else error
            if event.get("event") == "saga quarantined" and self.poisoned_request_id:
                self.chaos.counts["poison quarantined"] += 1
            elif not isinstance(error, Poison):
                words = f"{event.get('event')} {error!r} {event.get('reason')}"
                self.outside.complaints.append(words)
        raise structlog.DropEvent

    async def _story(self) -> None:
        self._found()
        for number in range(self.rng.choice((2, 3))):
            self.boot(f"replica {number + 1}")
        for number in range(2):
            self.boot(f"clearing {number + 1}")
        async with asyncio.TaskGroup() as busy:
            for work in self.clients.work(PAYMENTS, PAYOUTS):
                busy.create_task(work)
            busy.create_task(storm.rage(self))
        await self._come_to_rest(after_s=storm.FAULTS_S + CALM_S)
        await self._ask_again()
        await self._live_through_days()
        await self._come_to_rest()

    async def _live_through_days(self) -> None:
        for number in range(DAYS):
            if self.breaches or self.outside.complaints:
                # What has gone wrong by now may go wrong for days; it has been seen.
                return
            day = self.days.today
            await self.days.sleep_until_bills(day)
            is_night = number < DAYS - 1 and self._chance(NIGHT_SHARE)
            if is_night:
                self.chaos.is_on = True
            if number in REFUND_DAYS:
                await self.clients.refund_another_day(number)
            await self.days.close(day)
            if number == 0 and self.poisoned_request_id:
                self._mend()
            if number < DAYS - 1:
                # What people end on the last morning would be in no bill any more.
                await self.people.look()
            if is_night:
                await asyncio.sleep(NIGHT_S)
                self.chaos.is_on = False
            await self._come_to_rest(after_s=self.loop.now_s + is_night * CALM_S)

    def _mend(self) -> None:
        """A release without the bug."""
        for rows in self.database.rows.values():
            for row in rows.values():
                is_poisoned = row.request_id == self.poisoned_request_id
                self.chaos.counts["poisoned"] += is_poisoned and row.faults_count >= FAULTS_MAX
        self.outside.poisoned_request_id = ""

    def _found(self) -> None:
        ledger = self.ledger
        for currency in CURRENCIES:
            ledger.open(bank_account(currency), Role.BANK_MIRROR, currency)
            for each in MERCHANTS:
                available = merchant.available_account(each.merchant_id, currency)
                pending = merchant.pending_account(each.merchant_id, currency)
                ledger.open(available, Role.MERCHANT_AVAILABLE, currency)
                ledger.open(pending, Role.MERCHANT_PENDING, currency)
            ledger.open(merchant.payout_transit_account(currency), Role.IN_TRANSIT, currency)
            ledger.open(merchant.late_success_account(currency), Role.SUSPENSE, currency)
            for channel_id in CHANNEL_IDS:
                account_id = merchant.receivable_account(channel_id, currency)
                ledger.open(account_id, Role.CHANNEL_RECEIVABLE, currency)
        for each in MERCHANTS:
            ledger.fund(each.merchant_id, FUNDS_MINOR)

    def boot(self, name: str) -> None:
        """A new incarnation."""
        drift_s = self.rng.choice((0.0, 0.0, self.rng.uniform(-DRIFT_MAX_S, DRIFT_MAX_S)))
        if drift_s:
            self.chaos.counts["clocks apart"] += 1
        machine, rng = Machine(name, drift_s), Random(f"{self.rng.random()}")
        if name.startswith("clearing"):
            self.clearing[name] = ClearingReplica(
                machine, self.outside, rng, books=self.books, pace=self.clearing_pace
            )
        else:
            is_old = self.is_rolling and name == "replica 1" and self.loop.now_s < storm.FAULTS_S
            self.chaos.counts["releases side by side"] += is_old
            self.replicas[name] = Replica(machine, self.outside, rng, is_old=is_old)
            self._names = list(self.replicas)
        self.processes[name].start()
        self.history.add("", f"{name} starts, its clock off by {drift_s:.1f} s")

    async def _come_to_rest(self, after_s: float = 0.0) -> None:
        """Waits until nothing is left to do but to wait. What never ends is found by the invariants."""
        limit_s, look_s = self.loop.now_s + QUIET_MAX_S, LOOK_S
        while self.loop.now_s < limit_s:
            await asyncio.sleep(look_s)
            look_s *= LOOK_GROWTH
            if self.loop.now_s > after_s and self._is_quiet():
                return

    def _is_quiet(self) -> bool:
        soon = SimulatedClock(self.loop).now().timestamp() + WAITING_S
        return (
            all(
                row.next_run_at is None
                or row.next_run_at.timestamp() > soon
                or row.faults_count >= FAULTS_MAX
                for database in (self.database, self.books.database)
                for rows in database.rows.values()
                for row in rows.values()
            )
            and all(self._is_read(consumer) for consumer in (*CONSUMERS, "clearing"))
            and all(task.done() for c in self.channels.values() for task in c.deliveries)
        )

    def _is_read(self, consumer: str) -> bool:
        end = self.database.events[-1].cursor if self.database.events else ""
        at_home = self.books.database if consumer == "clearing" else self.database
        return at_home.cursors.get(consumer, "") == end

    async def _ask_again(self) -> None:
        """The same request again, long after: the same answer. Another body: refused."""
        orders = self.clients.payment_orders
        for owner, order in self.rng.sample(orders, 2):
            await self.clients.repeat_payment(owner, order)
        await self.clients.send_other_body(*self.rng.choice(orders))

    async def _deliver(
        self, channel_id: str, headers: dict[str, str], body: bytes
    ) -> CallbackAck | None:
        try:
            acknowledged: CallbackAck = await self._any_replica().call(
                lambda door: door.callbacks.receive(channel_id, headers, body)
            )
        except Exception as error:  # noqa: BLE001 -- a channel sees no more than that it failed
            self.history.add("callback", f"{body.decode()} failed: {type(error).__name__}")
            return None
        if acknowledged.status == ACCEPTED:
            self._check_applied(channel_id, self.channels[channel_id].callbacks[body])
        return acknowledged

    def _check_applied(self, channel_id: str, callback: Callback) -> None:
        """I10: what a channel may forget because we have it, we have."""
        attempt = self.database.find_attempt(channel_id, callback.out_ref)
        is_paid = callback.outcome.kind is OutcomeKind.SUCCEEDED
        if is_paid and (attempt is None or attempt.state not in _KNOWN_TO_BE_PAID):
            words = f"{callback.event_id} acknowledged, and not written"
            subject_id = callback.out_ref if attempt is None else attempt.subject_id
            self.breaches.append(invariants.Violation("I10", subject_id, words))

    def _any_replica(self) -> Replica:
        return self.replicas[self.rng.choice(self._names)]

    def _any_clearing(self) -> ClearingReplica:
        return self.clearing[self.rng.choice(list(self.clearing))]

    def _chance(self, share: float) -> bool:
        return self.rng.random() < share

    def later(self, delay_s: float, call: Callable[..., object], *arguments: Any) -> None:
        """Outside of all machines."""
        self.loop.call_later(delay_s, call, *arguments, context=self.network.context)

    def _observe(self, name: str, old: Any, new: Any) -> None:
        subject_id = str(getattr(new, f"{name}_id"))
        before = "" if old is None else f"{old.state} → "
        words = f"row {before}{new.state} {new.reason} v{new.version} e{new.epoch}"
        self.history.add(subject_id, words)
        self.breaches += invariants.check_write(name, subject_id, old, new)


def _innermost(error: BaseException) -> str:
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return repr(error)
