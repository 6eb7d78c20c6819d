"""One gateway process: the real flows, drivers, sweepers, pushers and use cases, wired as services.gateway.__main__ wires them."""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from functools import partial
from random import Random
from typing import Any, TypeVar

import asyncpg

from libs.batching.coalescer import Coalescer
from libs.db.errors import is_connection_lost
from libs.errors import ErrorKind, FiscError
from libs.ids import SortableIds
from libs.saga.drives import Drives
from libs.saga.engine import Engine, Flow
from libs.saga.flow import Decide, FlowTooNew
from services.gateway.clients.account import LedgerClient
from services.gateway.domain import follow_up, payment_flow, payout
from services.gateway.domain.saga import Answered
from services.gateway.handlers import messages
from services.gateway.usecases.bills import Bills
from services.gateway.usecases.bulk import BulkIntake, Lane
from services.gateway.usecases.callbacks import Callbacks
from services.gateway.usecases.captures import Captures
from services.gateway.usecases.doors import AllDoors, Door
from services.gateway.usecases.forcing import Forcing
from services.gateway.usecases.intake import Intake
from services.gateway.usecases.operations import Merchants
from services.gateway.usecases.payments import Payments
from services.gateway.usecases.payouts import Payouts
from services.gateway.usecases.performers import (
    CapturePerformer,
    PaymentPerformer,
    PayoutPerformer,
    RefundPerformer,
)
from services.gateway.usecases.refunds import Refunds
from services.gateway.usecases.screening import Screening
from services.gateway.workers import pushers
from tests.simulation.connectors import Poison, SimulatedChannels
from tests.simulation.database import Database, Layout
from tests.simulation.loop import Machine, SimulatedClock, context_of
from tests.simulation.neighbours import Neighbours
from tests.simulation.network import LinkLost, LinkRefused
from tests.simulation.outside import Outside
from tests.simulation.pace import Watch
from tests.simulation.registry import MemoryOperators, MemoryRegistry
from tests.simulation.stores import LAYOUTS, MemoryStore

NOTIFY_URL = "https://pay.example"
CALL_TIMEOUT_S = 12.0
LOOP_RESTART_S = 1.0
CONSUMERS = ("push-account", "push-router", "push-risk")
# The release before this one: it takes no captures, and knows no state that came with them.
RELEASE_BEFORE = 0
_NEW_STATES = frozenset({"AUTHORIZED", "READY", "RETURNED"})
OLD_LAYOUTS: Mapping[str, Layout] = {
    name: layout.of_release(RELEASE_BEFORE, sorted(layout.states - _NEW_STATES))
    for name, layout in LAYOUTS.items()
}
_BUGS = (AssertionError, TypeError, AttributeError, KeyError)

T = TypeVar("T")


class CallLost(Exception):
    """The replica did not answer in time; it may have done what was asked."""


class Unimplemented(FiscError):
    """This release does not know this."""

    kind = ErrorKind.UNAVAILABLE
    reason = "UNIMPLEMENTED"


class Process:
    """One incarnation of one process. It lives until its machine dies."""

    def __init__(self, machine: Machine, outside: Outside) -> None:
        self.machine = machine
        self.is_serving = True
        self.outside = outside
        self.loop = outside.network.loop
        self.context = context_of(machine)
        self.clock = SimulatedClock(self.loop, machine)
        self.background: list[asyncio.Task[None]] = []

    def start(self) -> None:
        self.loop.create_task(self._run(), context=self.context.copy())

    async def call(self, work: Callable[[Any], Coroutine[Any, Any, T]]) -> T:
        """An RPC from outside. Raises CallLost, and what the use case raises."""
        network, answer = self.outside.network, self.loop.create_future()

        def begin() -> None:
            task: asyncio.Task[T] = self.loop.create_task(work(self))
            task.add_done_callback(finish)

        def finish(task: asyncio.Task[T]) -> None:
            error = task.exception()
            if isinstance(error, _BUGS):
                self.outside.complaints.append(f"a call broke: {error!r}")
            self.loop.call_later(network.delay_s(), _pass_on, task, answer, context=network.context)

        if self.is_serving:
            self.loop.call_later(network.delay_s(), begin, context=self.context.copy())
        try:
            async with asyncio.timeout(CALL_TIMEOUT_S if self.is_serving else LOOP_RESTART_S):
                result: T = await answer
                return result
        except TimeoutError:
            raise CallLost from None

    @property
    def database(self) -> Database:
        """This service's."""
        return self.outside.database

    async def carry(self, operation: str, transact: Callable[[], T]) -> T:
        """A transaction of this process's database."""
        database = self.database

        def act() -> T:
            database.actor = self.machine
            return transact()

        try:
            return await self.outside.network.transact(operation, act)
        except (LinkLost, LinkRefused) as error:
            raise asyncpg.ConnectionDoesNotExistError("connection was closed") from error

    async def _run(self) -> None:
        for coalescer in self.coalescers():
            await coalescer.start()
        self.background += [self.loop.create_task(self._keep(loop)) for loop in self.loops()]

    def coalescers(self) -> "Sequence[Coalescer[Any, Any]]":
        raise AssertionError("each process has its own")

    def loops(self) -> Sequence[Callable[[], Awaitable[None]]]:
        raise AssertionError("each process has its own")

    async def _keep(self, loop: Callable[[], Awaitable[None]]) -> None:
        """Restarts a background loop that broke, as libs.rpc.server does."""
        while True:
            try:
                await loop()
            except Exception as error:  # noqa: BLE001 -- what kind it is decides whether it is a finding
                is_outside = isinstance(error, FiscError | Poison | LinkLost | LinkRefused)
                if not (is_outside or is_connection_lost(error)):
                    self.outside.complaints.append(f"a background loop broke: {error!r}")
                await asyncio.sleep(LOOP_RESTART_S)


class Replica(Process):
    """A replica of the gateway."""

    def __init__(
        self, machine: Machine, outside: Outside, rng: Random, *, is_old: bool = False
    ) -> None:
        super().__init__(machine, outside)
        self.is_old = is_old
        watch = Watch(outside.pace, self.clock)
        self.registry = MemoryRegistry(
            outside.database,
            self.carry,
            merchants=outside.merchants,
            keys=outside.keys,
            channels=outside.channels,
            on_read=watch.reads,
        )
        self.store = MemoryStore(
            outside.database,
            self.carry,
            layouts=OLD_LAYOUTS if is_old else LAYOUTS,
            on_claim=watch.claims,
        )
        self._neighbours = Neighbours(outside.network, outside.risk, outside.router, outside.ledger)
        self._ledger = LedgerClient(self._neighbours.account_stub)
        self._channels = SimulatedChannels(
            outside.channels, outside.network, outside.chaos.strikes, self.clock
        )
        self._drives = Drives()
        self._wire_flows()
        self._wire_use_cases(SortableIds(self.clock, rng))
        self._wire_people(SortableIds(self.clock, rng))

    async def stop(self) -> None:
        """SIGTERM: takes no more calls, leaves what it has to the others, and hears what is out already."""
        self.is_serving = False
        for task in self.background:
            task.cancel()
        await self._engine.hand_over()

    def _wire_flows(self) -> None:
        channels, risk, store = self._channels, self._neighbours, self.store

        def flow(name: str, decide: Decide[Any, Any], perform: Any, encode: Any) -> Flow[Any, Any]:
            return Flow(
                table=getattr(store, f"{name}s"),
                decide=self.outside.buggy(decide),
                perform=perform,
                encode=encode,
                drives=self._drives,
                clock=self.clock,
            )

        self._flows = (
            flow(
                "payment",
                payment_flow.decide,
                PaymentPerformer(channels, risk, self.clock, NOTIFY_URL),
                messages.encode_payment_events,
            ),
            flow(
                "capture",
                follow_up.decide,
                CapturePerformer(channels, store.payments, NOTIFY_URL),
                messages.encode_capture_events,
            ),
            flow(
                "refund",
                follow_up.decide,
                RefundPerformer(channels, store.payments, NOTIFY_URL),
                messages.encode_refund_events,
            ),
            flow(
                "payout",
                payout.decide,
                PayoutPerformer(channels, risk, self._ledger, NOTIFY_URL),
                messages.encode_payout_events,
            ),
        )

        self._engine = Engine(self._flows, self._drives)

    def _wire_use_cases(self, ids: SortableIds) -> None:
        payments, captures, refunds, payouts = self._flows
        screening = Screening(self._neighbours, self._neighbours, self._channels)
        self._payments_in, self._payouts_in = (
            Intake[Any](
                screening=screening, driver=flow.driver, drives=self._drives, name=flow.name
            )
            for flow in (payments, payouts)
        )
        of_all: dict[str, Any] = {"drives": self._drives, "clock": self.clock, "ids": ids}
        of_follow_ups: dict[str, Any] = {"store": self.store, "channels": self._channels, **of_all}
        bulk = partial(_bulk, self._drives)
        self.payments = Payments(
            driver=payments.driver,
            table=self.store.payments,
            intake=self._payments_in,
            bulk=bulk(self._payments_in, self.store.payments),
            **of_all,
        )
        self.captures = Captures(driver=captures.driver, table=self.store.captures, **of_follow_ups)
        self.refunds = Refunds(driver=refunds.driver, table=self.store.refunds, **of_follow_ups)
        self.payouts = Payouts(
            table=self.store.payouts,
            intake=self._payouts_in,
            bulk=bulk(self._payouts_in, self.store.payouts),
            **of_all,
        )
        self.merchants = Merchants(
            registry=self.registry,
            ledger=self._ledger,
            secrets=_NoTokens(),
            clock=self.clock,
            ids=ids,
        )

    def _wire_people(self, ids: SortableIds) -> None:
        doors = {
            flow.name: Door(
                flow=flow.name,
                table=getattr(self.store, f"{flow.name}s"),
                driver=flow.driver,
                drives=self._drives,
            )
            for flow in self._flows
        }
        tellers = {name: self._teller(name, door.tell) for name, door in doors.items()}
        self.doors = AllDoors(doors)
        self.callbacks = Callbacks(
            registry=self.registry,
            store=self.store,
            channels=self._channels,
            tellers=tellers,
            clock=self.clock,
        )
        self.bills = Bills(
            registry=self.registry, store=self.store, tellers=tellers, clock=self.clock
        )
        self.forcing = Forcing(
            store=MemoryOperators(self.outside.database, self.carry),
            flows=doors,
            clock=self.clock,
            ids=ids,
        )

    def _teller(self, name: str, tell: Any) -> Any:
        """How this release hears what channels say; an old one knows nothing of captures."""

        async def hear(subject_id: str, answered: Answered) -> None:
            try:
                await (_too_new() if self._is_unknown(name) else tell(subject_id, answered))
            except FlowTooNew:
                self.outside.chaos.counts["too new for an old replica"] += 1
                raise

        return hear

    def coalescers(self) -> "Sequence[Coalescer[Any, Any]]":
        return [
            self._payments_in.coalescer,
            self._payouts_in.coalescer,
            self._ledger.coalescer,
            *self._engine.coalescers,
        ]

    def loops(self) -> Sequence[Callable[[], Awaitable[None]]]:
        pushes = (
            pushers.to_account(self._neighbours.account_stub),
            pushers.to_router(self._neighbours.router_stub),
            pushers.to_risk(self._neighbours.risk_stub),
        )
        sweepers = [flow.sweeper.run for flow in self._flows if not self._is_unknown(flow.name)]
        return [
            *sweepers,
            *(
                pushers.Pusher(consumer, self.registry, push).run
                for consumer, push in zip(CONSUMERS, pushes, strict=True)
            ),
        ]

    def _is_unknown(self, name: str) -> bool:
        return self.is_old and name == "capture"


async def _too_new() -> None:
    raise FlowTooNew


class _NoTokens:
    def token(self) -> str:
        raise AssertionError("nobody makes keys here")


def _pass_on(task: "asyncio.Task[T]", answer: "asyncio.Future[T]") -> None:
    if answer.done():
        return
    error = task.exception()
    if error is not None:
        answer.set_exception(error)
    else:
        answer.set_result(task.result())


def _bulk(drives: Drives, intake: Intake[Any], table: Any) -> BulkIntake[Any]:
    return BulkIntake(intake=intake, table=table, lane=Lane(), drives=drives)
