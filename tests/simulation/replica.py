"""One gateway process: the real flows, drivers, sweepers, pushers and use cases, wired as services.gateway.__main__ wires them."""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from random import Random
from typing import Any, TypeVar

import asyncpg

from libs.batching import Coalescer
from libs.db.errors import is_connection_lost
from libs.errors import FiscError
from libs.ids import SortableIds
from services.gateway.__main__ import Flow
from services.gateway.clients.account import LedgerClient
from services.gateway.domain import payment, payout, refund
from services.gateway.domain.payment import Payment
from services.gateway.domain.payout import Payout
from services.gateway.domain.refund import Refund
from services.gateway.handlers import messages
from services.gateway.usecases.callbacks import Callbacks
from services.gateway.usecases.driver import Drives
from services.gateway.usecases.payments import Payments
from services.gateway.usecases.payouts import Payouts
from services.gateway.usecases.performers import PaymentPerformer, PayoutPerformer, RefundPerformer
from services.gateway.usecases.refunds import Refunds
from services.gateway.usecases.screening import Screening
from services.gateway.workers import pushers
from tests.simulation.channels import Channel
from tests.simulation.chaos import Chaos
from tests.simulation.connectors import Poison, SimulatedChannels
from tests.simulation.database import Database
from tests.simulation.loop import Machine, SimulatedClock, context_of
from tests.simulation.neighbours import LedgerNode, Neighbours, RiskNode, RouterNode
from tests.simulation.network import LinkLost, LinkRefused, Network
from tests.simulation.stores import MemoryRegistry, MemoryStore

NOTIFY_URL = "https://pay.example"
CALL_TIMEOUT_S = 12.0
LOOP_RESTART_S = 1.0
CONSUMERS = ("push-account", "push-router", "push-risk")

T = TypeVar("T")


class CallLost(Exception):
    """The replica did not answer in time; it may have done what was asked."""


class Outside:
    """What all replicas share: the database, the neighbours, the channels and the network to them."""

    def __init__(
        self,
        *,
        network: Network,
        chaos: Chaos,
        database: Database,
        risk: RiskNode,
        router: RouterNode,
        ledger: LedgerNode,
        channels: Mapping[str, Channel],
    ) -> None:
        self.network = network
        self.chaos = chaos
        self.database = database
        self.risk = risk
        self.router = router
        self.ledger = ledger
        self.channels = channels
        self.complaints: list[str] = []


class Replica:
    """One incarnation of one replica. It lives until its machine dies."""

    def __init__(self, machine: Machine, outside: Outside, rng: Random) -> None:
        self.machine = machine
        self._outside = outside
        self._loop = outside.network.loop
        self._context = context_of(machine)
        self._registry = MemoryRegistry(outside.database, self._carry)
        self._store = MemoryStore(outside.database, self._carry)
        self._clock = SimulatedClock(self._loop, machine)
        self._neighbours = Neighbours(outside.network, outside.risk, outside.router, outside.ledger)
        self._ledger = LedgerClient(self._neighbours.account_stub)
        self._channels = SimulatedChannels(
            outside.channels, outside.network, outside.chaos.strikes, self._clock
        )
        self._drives = Drives()
        self._wire_flows()
        self._wire_use_cases(SortableIds(self._clock, rng))

    def start(self) -> None:
        self._loop.create_task(self._run(), context=self._context.copy())

    async def call(self, work: Callable[["Replica"], Coroutine[Any, Any, T]]) -> T:
        """An RPC from outside. Raises CallLost, and what the use case raises."""
        network, answer = self._outside.network, self._loop.create_future()

        def begin() -> None:
            task: asyncio.Task[T] = self._loop.create_task(work(self))
            task.add_done_callback(finish)

        def finish(task: asyncio.Task[T]) -> None:
            error = task.exception()
            if isinstance(error, AssertionError | TypeError | AttributeError | KeyError):
                self._outside.complaints.append(f"a call broke: {error!r}")
            self._loop.call_later(
                network.delay_s(), _pass_on, task, answer, context=network.context
            )

        self._loop.call_later(network.delay_s(), begin, context=self._context.copy())
        try:
            async with asyncio.timeout(CALL_TIMEOUT_S):
                result: T = await answer
                return result
        except TimeoutError:
            raise CallLost from None

    async def _carry(self, operation: str, transact: Callable[[], T]) -> T:
        try:
            return await self._outside.network.transact(operation, transact)
        except (LinkLost, LinkRefused) as error:
            raise asyncpg.ConnectionDoesNotExistError("connection was closed") from error

    def _wire_flows(self) -> None:
        channels, risk = self._channels, self._neighbours
        self._payments: Flow[Payment] = Flow(
            name="payment",
            table=self._store.payments,
            decide=payment.decide,
            perform=PaymentPerformer(channels, risk, self._clock, NOTIFY_URL),
            encode=messages.encode_payment_events,
            store=self._store,
            drives=self._drives,
            clock=self._clock,
        )
        self._refunds: Flow[Refund] = Flow(
            name="refund",
            table=self._store.refunds,
            decide=refund.decide,
            perform=RefundPerformer(channels, NOTIFY_URL),
            encode=messages.encode_refund_events,
            store=self._store,
            drives=self._drives,
            clock=self._clock,
        )
        self._payouts: Flow[Payout] = Flow(
            name="payout",
            table=self._store.payouts,
            decide=payout.decide,
            perform=PayoutPerformer(channels, risk, self._ledger),
            encode=messages.encode_payout_events,
            store=self._store,
            drives=self._drives,
            clock=self._clock,
        )

    def _wire_use_cases(self, ids: SortableIds) -> None:
        screening = Screening(self._neighbours, self._neighbours)
        self.payments = Payments(
            driver=self._payments.driver,
            drives=self._drives,
            table=self._store.payments,
            screening=screening,
            clock=self._clock,
            ids=ids,
        )
        self.refunds = Refunds(
            driver=self._refunds.driver,
            drives=self._drives,
            store=self._store,
            clock=self._clock,
            ids=ids,
        )
        self.payouts = Payouts(
            driver=self._payouts.driver,
            drives=self._drives,
            table=self._store.payouts,
            screening=screening,
            clock=self._clock,
            ids=ids,
        )
        self.callbacks = Callbacks(
            registry=self._registry,
            store=self._store,
            channels=self._channels,
            drives=self._drives,
            payments=self._payments.driver,
            refunds=self._refunds.driver,
            clock=self._clock,
        )

    async def _run(self) -> None:
        flows: Sequence[Flow[Any]] = (self._payments, self._refunds, self._payouts)
        coalescers: list[Coalescer[Any, Any]] = [self._ledger.coalescer]
        coalescers += [commit for flow in flows for commit in (flow.create, flow.save)]
        for coalescer in coalescers:
            await coalescer.start()
        pushes = (
            pushers.to_account(self._neighbours.account_stub),
            pushers.to_router(self._neighbours.router_stub),
            pushers.to_risk(self._neighbours.risk_stub),
        )
        loops = [flow.sweeper.run for flow in flows]
        for consumer, push in zip(CONSUMERS, pushes, strict=True):
            loops.append(pushers.Pusher(consumer, self._registry, push).run)
        for loop in loops:
            self._loop.create_task(self._keep(loop))

    async def _keep(self, loop: Callable[[], Awaitable[None]]) -> None:
        """Restarts a background loop that broke, as libs.rpc.server does."""
        while True:
            try:
                await loop()
            except Exception as error:  # noqa: BLE001 -- what kind it is decides whether it is a finding
                if not (isinstance(error, FiscError | Poison) or is_connection_lost(error)):
                    self._outside.complaints.append(f"a background loop broke: {error!r}")
                await asyncio.sleep(LOOP_RESTART_S)


def _pass_on(task: "asyncio.Task[T]", answer: "asyncio.Future[T]") -> None:
    if answer.done():
        return
    error = task.exception()
    if error is not None:
        answer.set_exception(error)
    else:
        answer.set_result(task.result())
