"""Starts the gateway: `python -m services.gateway` migrates the database, then serves until SIGTERM."""

import random
import secrets
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from functools import partial
from pathlib import Path
from typing import Any, Final

import grpc

from fisc.account.v1 import account_pb2_grpc
from fisc.common.v1 import events_pb2_grpc
from fisc.risk.v1 import risk_pb2_grpc
from fisc.router.v1 import router_pb2_grpc
from libs import config, log
from libs.batching.coalescer import Coalescer
from libs.clock import Clock, SystemClock
from libs.db import migrate
from libs.db.pool import BY_KEYS, Pool, open_pool
from libs.events import feed
from libs.ids import SortableIds
from libs.rpc import client, server
from libs.saga.engine import Engine, Flow
from services.gateway.channels.directory import Directory, FernetSealer
from services.gateway.channels.http import ChannelHttp
from services.gateway.clients.account import LedgerClient
from services.gateway.clients.risk import RiskClient
from services.gateway.clients.router import RouterClient
from services.gateway.config import Settings
from services.gateway.domain import payout_file_flow
from services.gateway.domain.payment import Payment
from services.gateway.domain.payout import Payout
from services.gateway.domain.payout_file import PayoutFile
from services.gateway.handlers import admission, messages, operations, payments, payout_files
from services.gateway.handlers.auth import OperatorInterceptor
from services.gateway.store.operators import OperatorStore
from services.gateway.store.payout_files import PayoutFileStore
from services.gateway.store.registry import Registry
from services.gateway.store.sagas import SagaStore, SagaTable, nudge_in_review
from services.gateway.usecases.bills import Bills
from services.gateway.usecases.bulk import BulkIntake, Lane
from services.gateway.usecases.callbacks import Callbacks
from services.gateway.usecases.captures import Captures
from services.gateway.usecases.doors import AllDoors
from services.gateway.usecases.forcing import Forcing
from services.gateway.usecases.inspection import Inspection
from services.gateway.usecases.intake import Intake
from services.gateway.usecases.operations import ChannelAccounts, Merchants
from services.gateway.usecases.operators import Operators
from services.gateway.usecases.oversight import Oversight
from services.gateway.usecases.payments import Payments
from services.gateway.usecases.payout_file_performer import PayoutFilePerformer
from services.gateway.usecases.payout_files import PayoutFiles
from services.gateway.usecases.payouts import Payouts
from services.gateway.usecases.refunds import Refunds
from services.gateway.usecases.sagas import Encoders, Sagas
from services.gateway.usecases.screening import Screening
from services.gateway.workers import (
    callback_receiver,
    gauges,
    ledger_accounts,
    pushers,
    review_ear,
)

MIGRATIONS: Final = Path(__file__).parent / "migrations"
ENCODERS: Final = Encoders(
    payment=messages.encode_payment_events,
    capture=messages.encode_capture_events,
    refund=messages.encode_refund_events,
    payout=messages.encode_payout_events,
)
SERVICE_NAMES: Final = (
    payments.SERVICE_NAME,
    payout_files.SERVICE_NAME,
    operations.SERVICE_NAME,
    feed.SERVICE_NAME,
)


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
        self.people = OperatorStore(pool)
        self.sealer = FernetSealer(settings.seal_key.get_secret_value())
        self.channels = Directory(
            rows=self.registry,
            sealer=self.sealer,
            http=http,
            clock=clock,
            timeout_s=settings.channel_timeout_s,
        )
        self.clock = clock
        self.ids = SortableIds(clock, random.SystemRandom())
        self.operators = Operators(store=self.people, clock=clock, ids=self.ids, secrets=_Tokens())
        self.sagas = Sagas(
            store=self.store,
            channels=self.channels,
            risk=self.risk,
            ledger=self.ledger,
            encoders=ENCODERS,
            clock=clock,
            notify_base_url=settings.callback_base_url.rstrip("/"),
        )
        screening = Screening(self.risk, self.router, self.channels)
        self.payments_in: Intake[Payment] = self._wire_intake(screening, self.sagas.payments)
        self.payouts_in: Intake[Payout] = self._wire_intake(screening, self.sagas.payouts)
        self._wire_bulk_work(pool)
        self.feed = feed.EventFeedServicer(pool)
        self.gate = self._wire_gate(settings)
        self.callbacks = Callbacks(
            registry=self.registry,
            store=self.store,
            channels=self.channels,
            tellers=self.sagas.tellers,
            clock=clock,
        )
        self.accounts = ChannelAccounts(
            registry=self.registry,
            ledger=self.ledger,
            channels=self.channels,
            sealer=self.sealer,
            clock=clock,
        )
        self._pushers = (
            pushers.Pusher("push-account", self.registry, pushers.to_account(account_stub)),
            pushers.Pusher("push-router", self.registry, pushers.to_router(router_stub)),
            pushers.Pusher("push-risk", self.registry, pushers.to_risk(risk_stub)),
        )
        self._hear_reviews = review_ear.listening(
            events_pb2_grpc.EventFeedServiceStub(to_risk), pool, nudge_in_review, clock
        )

    @property
    def background(self) -> Sequence[Callable[[], Awaitable[None]]]:
        """Loops for as long as the process lives; the opening of accounts ends when they are open."""
        return (
            self.gate.watch_lag,
            partial(ledger_accounts.open_all, self.accounts.open_ledger_accounts),
            *self.sagas.engine.background,
            *self.file_engine.background,
            partial(gauges.keep, self.store, self.clock),
            self.router.keep_static_order,
            self.channels.keep_fresh,
            *(pusher.run for pusher in self._pushers),
            self._hear_reviews,
        )

    def _wire_intake(self, screening: Screening, flow: Flow[Any, Any]) -> Intake[Any]:
        return Intake(
            screening=screening, driver=flow.driver, drives=self.sagas.drives, name=flow.name
        )

    def _wire_bulk_work(self, pool: Pool) -> None:
        """What brings many at once: batches of payments, and files of payouts, which are sagas of their own."""
        self.lane = Lane()
        self.files = PayoutFileStore(pool)
        self.payouts = Payouts(
            table=self.store.payouts,
            drives=self.sagas.drives,
            intake=self.payouts_in,
            bulk=self._wire_bulk(self.payouts_in, self.store.payouts),
            clock=self.clock,
            ids=self.ids,
        )
        self.file_flow: Flow[PayoutFile, None] = Flow(
            table=self.files.files,
            decide=payout_file_flow.decide,
            perform=PayoutFilePerformer(
                store=self.files, merchants=self.registry, payouts=self.payouts
            ),
            encode=lambda _: (),
            drives=self.sagas.drives,
            clock=self.clock,
        )
        self.file_engine = Engine((self.file_flow,), self.sagas.drives)

    def _wire_bulk(self, intake: Intake[Any], table: SagaTable[Any]) -> BulkIntake[Any]:
        return BulkIntake(intake=intake, table=table, lane=self.lane, drives=self.sagas.drives)

    def _wire_gate(self, settings: Settings) -> admission.Gate:
        commits = self.sagas.engine.coalescers
        return admission.Gate(
            in_flight_max=settings.in_flight_max,
            share_max=settings.merchant_in_flight_max or (settings.in_flight_max + 1) // 2,
            sagas_begun=self._sagas_begun,
            commit_waited_s=lambda: max(commit.waited_s for commit in commits),
        )

    def _sagas_begun(self) -> int:
        """By single calls: bulk work has places of its own, and files are taken up by a sweeper."""
        others = self.lane.in_flight + self.file_engine.recoveries_count
        return self.sagas.in_flight_count - others

    @property
    def coalescers(self) -> Sequence[Coalescer[Any, Any]]:
        """To be started before serving and stopped after it."""
        return (
            *self.sagas.engine.coalescers,
            *self.file_engine.coalescers,
            self.payments_in.coalescer,
            self.payouts_in.coalescer,
            self.ledger.coalescer,
        )

    def registrations(self) -> Sequence[server.Registration]:
        """The servicers."""
        merchants = Merchants(
            registry=self.registry,
            ledger=self.ledger,
            clock=self.clock,
            ids=self.ids,
            secrets=_Tokens(),
        )
        payment_cases = Payments(
            driver=self.sagas.payments.driver,
            drives=self.sagas.drives,
            table=self.store.payments,
            intake=self.payments_in,
            bulk=self._wire_bulk(self.payments_in, self.store.payments),
            clock=self.clock,
            ids=self.ids,
        )
        public = self._public(merchants, payment_cases)
        internal = self._internal(merchants, payment_cases)
        bulk = payout_files.PayoutFileHandlers(
            merchants=merchants,
            files=PayoutFiles(
                store=self.files, driver=self.file_flow.driver, clock=self.clock, ids=self.ids
            ),
        )
        return (public.register, bulk.register, internal.register, self.feed.register)

    def _public(self, merchants: Merchants, payment_cases: Payments) -> payments.PaymentHandlers:
        common: dict[str, Any] = {
            "drives": self.sagas.drives,
            "clock": self.clock,
            "ids": self.ids,
        }
        return payments.PaymentHandlers(
            merchants=merchants,
            payments=payment_cases,
            captures=Captures(
                driver=self.sagas.captures.driver,
                store=self.store,
                table=self.store.captures,
                channels=self.channels,
                **common,
            ),
            refunds=Refunds(
                driver=self.sagas.refunds.driver,
                store=self.store,
                table=self.store.refunds,
                channels=self.channels,
                **common,
            ),
            payouts=self.payouts,
            gate=self.gate,
        )

    def _internal(
        self, merchants: Merchants, payment_cases: Payments
    ) -> operations.OperationsHandlers:
        return operations.OperationsHandlers(
            merchants=merchants,
            channels=self.accounts,
            payments=payment_cases,
            inspection=Inspection(
                registry=self.registry,
                store=self.store,
                rows={table.flow: table for table in self.store.tables},
                operators=self.people,
                clock=self.clock,
            ),
            bills=Bills(
                registry=self.registry,
                store=self.store,
                tellers=self.sagas.tellers,
                clock=self.clock,
            ),
            operators=self.operators,
            oversight=Oversight(
                sagas=AllDoors(self.sagas.doors),
                flows=self.sagas.doors,
                store=self.people,
                clock=self.clock,
            ),
            forcing=Forcing(
                store=self.people, flows=self.sagas.doors, clock=self.clock, ids=self.ids
            ),
            clock=self.clock,
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
            settings.database_url,
            size=settings.db_pool_size,
            application_name="gateway",
            settings=BY_KEYS,
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
            on_drain=(
                gateway.file_engine.hand_over,
                gateway.sagas.engine.hand_over,
                gateway.feed.drain,
            ),
            outer_interceptors=(admission.Doorkeeper(gateway.gate),),
            extra_interceptors=(
                OperatorInterceptor(settings.operator_token.get_secret_value(), gateway.operators),
                admission.AdmissionInterceptor(gateway.gate),
            ),
        )


if __name__ == "__main__":
    server.run(main())
