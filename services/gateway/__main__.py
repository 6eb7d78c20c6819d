"""Starts the gateway: `python -m services.gateway` migrates the database, then serves until SIGTERM."""

import random
import secrets
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from functools import partial
from pathlib import Path
from typing import Any, Final, Generic, TypeVar

import grpc

from fisc.account.v1 import account_pb2_grpc
from fisc.common.v1 import events_pb2_grpc
from fisc.risk.v1 import risk_pb2_grpc
from fisc.router.v1 import router_pb2_grpc
from libs import config, log
from libs.batching import Coalescer
from libs.clock import Clock, SystemClock
from libs.db import migrate
from libs.db.pool import Pool, open_pool
from libs.events import feed
from libs.ids import SortableIds
from libs.rpc import client, server
from services.gateway.channels.directory import Directory, FernetSealer
from services.gateway.channels.http import ChannelHttp
from services.gateway.clients.account import LedgerClient
from services.gateway.clients.risk import RiskClient
from services.gateway.clients.router import RouterClient
from services.gateway.config import Settings
from services.gateway.domain import payment, payout, refund
from services.gateway.domain.payment import Payment
from services.gateway.domain.payout import Payout
from services.gateway.domain.refund import Refund
from services.gateway.handlers import admission, messages, operations, payments
from services.gateway.handlers.auth import OperatorInterceptor
from services.gateway.store.registry import Registry
from services.gateway.store.sagas import NewSaga, SagaStore, SagaTable, SavedStep, nudge_in_review
from services.gateway.usecases.callbacks import Callbacks
from services.gateway.usecases.driver import Decide, Driver, Drives, Performer
from services.gateway.usecases.operations import ChannelAccounts, Inspection, Merchants
from services.gateway.usecases.payments import Payments
from services.gateway.usecases.payouts import Payouts
from services.gateway.usecases.performers import PaymentPerformer, PayoutPerformer, RefundPerformer
from services.gateway.usecases.ports import EventEncoder
from services.gateway.usecases.refunds import Refunds
from services.gateway.usecases.screening import Screening
from services.gateway.workers import callback_receiver, pushers, review_ear, sweepers

MIGRATIONS: Final = Path(__file__).parent / "migrations"
SERVICE_NAMES: Final = (payments.SERVICE_NAME, operations.SERVICE_NAME, feed.SERVICE_NAME)

S = TypeVar("S", bound=Payment | Refund | Payout)


class Gateway:
    """The wired service; nothing is awaited and nothing started by wiring it."""

    def __init__(
        self,
        settings: Settings,
        pool: Pool,
        http: ChannelHttp,
        peers: Sequence[grpc.aio.Channel],
        clock: Clock,
    ) -> None:
        """`peers`: channels to risk, router and account."""
        to_risk, to_router, to_account = peers
        risk_stub = risk_pb2_grpc.RiskServiceStub(to_risk)
        router_stub = router_pb2_grpc.RouterServiceStub(to_router)
        account_stub = account_pb2_grpc.AccountServiceStub(to_account)
        self.risk = RiskClient(risk_stub)
        self.router = RouterClient(router_stub)
        self.ledger = LedgerClient(account_stub)
        self.registry = Registry(pool)
        self.store = SagaStore(pool)
        self.sealer = FernetSealer(settings.seal_key.get_secret_value())
        self.channels = Directory(
            rows=self.registry,
            sealer=self.sealer,
            http=http,
            clock=clock,
            timeout_s=settings.channel_timeout_s,
        )
        self.clock = clock
        self.drives = Drives()
        self.feed = feed.EventFeedServicer(pool)
        self._wire_flows(settings.callback_base_url.rstrip("/"))
        self.gate = self._wire_gate(settings)
        self.callbacks = Callbacks(
            registry=self.registry,
            store=self.store,
            channels=self.channels,
            payments=self.payments.driver,
            refunds=self.refunds.driver,
            drives=self.drives,
            clock=clock,
        )
        self.background: Sequence[Callable[[], Awaitable[None]]] = (
            self.gate.watch_lag,
            self.payments.sweeper.run,
            self.refunds.sweeper.run,
            self.payouts.sweeper.run,
            partial(sweepers.keep_gauges, self.store, clock),
            self.router.keep_static_order,
            self.channels.keep_fresh,
            pushers.Pusher("push-account", self.registry, pushers.to_account(account_stub)).run,
            pushers.Pusher("push-router", self.registry, pushers.to_router(router_stub)).run,
            pushers.Pusher("push-risk", self.registry, pushers.to_risk(risk_stub)).run,
            review_ear.listening(
                events_pb2_grpc.EventFeedServiceStub(to_risk), pool, nudge_in_review, clock
            ),
        )

    def _wire_flows(self, notify_base_url: str) -> None:
        flow = partial(Flow, store=self.store, drives=self.drives, clock=self.clock)
        self.payments: Flow[Payment] = flow(
            name="payment",
            table=self.store.payments,
            decide=payment.decide,
            perform=PaymentPerformer(self.channels, self.risk, self.clock, notify_base_url),
            encode=messages.encode_payment_events,
        )
        self.refunds: Flow[Refund] = flow(
            name="refund",
            table=self.store.refunds,
            decide=refund.decide,
            perform=RefundPerformer(self.channels, notify_base_url),
            encode=messages.encode_refund_events,
        )
        self.payouts: Flow[Payout] = flow(
            name="payout",
            table=self.store.payouts,
            decide=payout.decide,
            perform=PayoutPerformer(self.channels, self.risk, self.ledger),
            encode=messages.encode_payout_events,
        )

    def _wire_gate(self, settings: Settings) -> admission.Gate:
        commits, recoveries = self._commits, [flow.sweeper for flow in self._flows]
        return admission.Gate(
            in_flight_max=settings.in_flight_max,
            share_max=settings.merchant_in_flight_max or (settings.in_flight_max + 1) // 2,
            sagas_begun=lambda: len(self.drives) - sum(each.in_flight for each in recoveries),
            commit_waited_s=lambda: max(commit.waited_s for commit in commits),
        )

    @property
    def _flows(self) -> "Sequence[Flow[Any]]":
        return (self.payments, self.refunds, self.payouts)

    @property
    def _commits(self) -> Sequence[Coalescer[Any, Any]]:
        return [commit for flow in self._flows for commit in (flow.create, flow.save)]

    @property
    def coalescers(self) -> Sequence[Coalescer[Any, Any]]:
        """To be started before serving and stopped after it."""
        return (
            *self._commits,
            self.risk.coalescer,
            self.router.coalescer,
            self.ledger.coalescer,
        )

    def registrations(self) -> Sequence[server.Registration]:
        """The servicers."""
        ids = SortableIds(self.clock, random.SystemRandom())
        merchants = Merchants(
            registry=self.registry, ledger=self.ledger, clock=self.clock, ids=ids, secrets=_Tokens()
        )
        payment_cases = Payments(
            driver=self.payments.driver,
            drives=self.drives,
            table=self.store.payments,
            screening=Screening(self.risk, self.router),
            clock=self.clock,
            ids=ids,
        )
        refund_cases = Refunds(
            driver=self.refunds.driver,
            drives=self.drives,
            store=self.store,
            clock=self.clock,
            ids=ids,
        )
        payout_cases = Payouts(
            driver=self.payouts.driver,
            drives=self.drives,
            table=self.store.payouts,
            screening=Screening(self.risk, self.router),
            clock=self.clock,
            ids=ids,
        )
        channel_accounts = ChannelAccounts(
            registry=self.registry,
            ledger=self.ledger,
            channels=self.channels,
            sealer=self.sealer,
            clock=self.clock,
        )
        public = payments.PaymentHandlers(
            merchants=merchants,
            payments=payment_cases,
            refunds=refund_cases,
            payouts=payout_cases,
            gate=self.gate,
        )
        internal = operations.OperationsHandlers(
            merchants=merchants,
            channels=channel_accounts,
            payments=payment_cases,
            inspection=Inspection(registry=self.registry, store=self.store),
            clock=self.clock,
        )
        return (public.register, internal.register, self.feed.register)


class Flow(Generic[S]):
    """One flow's group commits, driver and sweeper."""

    def __init__(
        self,
        *,
        name: str,
        table: SagaTable[S],
        decide: Decide[S],
        perform: Performer[S],
        encode: EventEncoder[S],
        store: SagaStore,
        drives: Drives,
        clock: Clock,
    ) -> None:
        self.create = Coalescer[NewSaga[S], S](table.create, name=f"create-{name}")
        self.save = Coalescer[SavedStep[S], S](table.save, name=f"save-{name}")
        self.driver = Driver(
            flow=name,
            table=table,
            create=self.create,
            save=self.save,
            decide=decide,
            perform=perform,
            encode=encode,
            clock=clock,
        )
        self.sweeper = sweepers.Sweeper(
            flow=name, table=table, driver=self.driver, drives=drives, store=store, clock=clock
        )


class _Tokens:
    def token(self) -> str:
        return secrets.token_urlsafe(32)


async def main() -> None:
    """Migrate, connect, serve, and close what was opened."""
    settings = config.load(Settings)
    log.configure("gateway", settings.log_level, settings.log_format)
    await migrate.upgrade(settings.database_url, MIGRATIONS)
    async with AsyncExitStack() as stack:
        pool = await open_pool(
            settings.database_url, size=settings.db_pool_size, application_name="gateway"
        )
        await stack.enter_async_context(pool)
        http = await stack.enter_async_context(ChannelHttp())
        peers = [
            await stack.enter_async_context(client.open_channel(target, peer=peer))
            for peer, target in (
                ("risk", settings.risk_target),
                ("router", settings.router_target),
                ("account", settings.account_target),
            )
        ]
        gateway = Gateway(settings, pool, http, peers, SystemClock())
        for coalescer in gateway.coalescers:
            await stack.enter_async_context(coalescer)
        door = callback_receiver.serving(
            gateway.callbacks, settings.callback_host, settings.callback_port
        )

        async def is_ready() -> bool:
            return await pool.fetchval("SELECT true") is True

        await server.serve(
            service="gateway",
            settings=settings,
            registrations=gateway.registrations(),
            service_names=SERVICE_NAMES,
            background=(*gateway.background, door),
            ready=is_ready,
            on_drain=(gateway.feed.drain, gateway.drives.drain),
            extra_interceptors=(
                OperatorInterceptor(settings.operator_token.get_secret_value()),
                admission.AdmissionInterceptor(gateway.gate),
            ),
        )


if __name__ == "__main__":
    server.run(main())
