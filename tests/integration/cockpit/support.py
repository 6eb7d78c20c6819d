"""A world for the cockpit: six fake services over real gRPC, whose answers the test sets."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import grpc
from google.protobuf import any_pb2

from fisc.account.v1 import account_pb2, account_pb2_grpc
from fisc.clearing.v1 import clearing_pb2, clearing_pb2_grpc
from fisc.common.v1 import events_pb2, events_pb2_grpc, method_pb2, money_pb2
from fisc.gateway.v1 import events_pb2 as gateway_pb2
from fisc.gateway.v1 import operations_pb2, operations_pb2_grpc, payment_pb2
from fisc.notification.v1 import notification_pb2, notification_pb2_grpc
from fisc.risk.v1 import risk_pb2, risk_pb2_grpc
from fisc.router.v1 import router_pb2, router_pb2_grpc
from libs import web
from libs.clock import SystemClock
from libs.errors import ErrorKind, RemoteError
from libs.rpc import client, convert
from libs.rpc.server import Registration, RpcServer
from services.cockpit import workers
from services.cockpit.clients.feed import GatewayFeed
from services.cockpit.clients.sources import Channels, GrpcSources
from services.cockpit.handlers import app
from services.cockpit.usecases import Cockpit

OPERATOR_TOKEN = "operator-of-this-test"
SERVICES = ("gateway", "router", "risk", "account", "clearing", "notification")
POLL_INTERVAL_S = 0.05
# Noon in Shanghai.
NOON = datetime(2026, 11, 20, 4, 0, tzinfo=UTC)


def money(amount_minor: int, currency: str = "CNY") -> money_pb2.Money:
    return money_pb2.Money(currency=currency, amount_minor=amount_minor)


def attempt(
    subject_id: str,
    number: int,
    channel_id: str,
    state: str,
    latency_ms: int = 120,
    *,
    code: str = "",
) -> gateway_pb2.AttemptRecord:
    return gateway_pb2.AttemptRecord(
        attempt_id=f"att_{subject_id}{number}",
        subject_id=subject_id,
        number=number,
        channel_id=channel_id,
        out_ref=f"{subject_id}A{number}",
        state=state,
        code=code,
        latency_ms=latency_ms,
        channel_fee_minor=-1,
    )


def payment_event(
    payment_id: str,
    *,
    amount_minor: int = 10_000,
    state: str = "SUCCEEDED",
    at: datetime = NOON,
    version: int = 2,
    currency: str = "CNY",
    merchant_id: str = "mer_teahouse",
    order_ref: str = "order-1",
    reason: str = "",
    attempts: tuple[gateway_pb2.AttemptRecord, ...] | None = None,
) -> events_pb2.Event:
    """One payment right after it came into this state; by default one attempt at wechat-main."""
    if attempts is None:
        outcome = {"SUCCEEDED": "SUCCEEDED", "FAILED": "DECLINED"}.get(state, "SENT")
        attempts = (attempt(payment_id, 1, "wechat-main", outcome),)
    payment = payment_pb2.Payment(
        payment_id=payment_id,
        merchant_id=merchant_id,
        order_ref=order_ref,
        amount=money(amount_minor, currency),
        method=method_pb2.PAYMENT_METHOD_WECHAT_QR,
        state=payment_pb2.Payment.State.Value(f"STATE_{state}"),
        reason=reason,
        channel_id=attempts[-1].channel_id if attempts else "",
        attempts_count=attempts[-1].number if attempts else 0,
        created_at=convert.to_timestamp(at - timedelta(seconds=2)),
        updated_at=convert.to_timestamp(at),
        succeeded_at=convert.to_timestamp(at) if state == "SUCCEEDED" else None,
        version=version,
    )
    payload = any_pb2.Any()
    payload.Pack(gateway_pb2.PaymentEvent(payment=payment, attempts=attempts))
    return events_pb2.Event(
        event_id=f"evt_{payment_id}_{version}",
        type=f"payment.{state.lower()}",
        merchant_id=merchant_id,
        subject_id=payment_id,
        occurred_at=convert.to_timestamp(at),
        payload=payload,
    )


@dataclass(slots=True)
class World:
    """What the fake services answer; change it at any time. `down` services do not listen."""

    events: list[events_pb2.Event] = field(default_factory=list)
    answers: dict[str, Any] = field(default_factory=dict)
    """By method name; without an entry the answer is empty."""
    servers: dict[str, RpcServer] = field(default_factory=dict)
    news: asyncio.Event = field(default_factory=asyncio.Event)

    def emit(self, *events: events_pb2.Event) -> None:
        self.events.extend(events)
        self.news.set()
        self.news = asyncio.Event()

    async def stop(self, service: str) -> None:
        await self.servers.pop(service).stop()

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[Mapping[str, str]]:
        """Serve everything; yields each service's target."""
        targets = {}
        for service, registrations in _registrations(self).items():
            self.servers[service] = RpcServer(registrations=registrations)
            await self.servers[service].start()
            targets[service] = self.servers[service].target
        try:
            yield targets
        finally:
            for running in self.servers.values():
                await running.stop()


@contextlib.asynccontextmanager
async def serving(world: World) -> AsyncIterator[str]:
    """The real cockpit over this world, listening on a free port; yields its URL."""
    metadata = (("authorization", f"Bearer {OPERATOR_TOKEN}"),)
    async with contextlib.AsyncExitStack() as stack:
        targets = await stack.enter_async_context(world.running())
        channels = {
            name: await stack.enter_async_context(client.open_channel(targets[name], peer=name))
            for name in SERVICES
        }
        cockpit = Cockpit(GrpcSources(Channels(**channels), metadata), SystemClock())
        feed = GatewayFeed(channels["gateway"], metadata)
        background = workers.running(cockpit, feed, poll_interval_s=POLL_INTERVAL_S)
        application = app.build(cockpit, background=background)
        options = web.Options(on_stop=application.state.live.close)
        yield await stack.enter_async_context(web.running(application, options=options))


def _registrations(world: World) -> dict[str, list[Registration]]:
    def serve(add: Callable[[Any, Any], None], base: type[Any], *methods: str) -> Registration:
        servicer = _answering(world, base, methods)
        return lambda running: add(servicer, running)

    feed = _Feed(world)
    return {
        "gateway": [
            lambda running: events_pb2_grpc.add_EventFeedServiceServicer_to_server(feed, running),
            serve(
                operations_pb2_grpc.add_OperationsServiceServicer_to_server,
                operations_pb2_grpc.OperationsServiceServicer,
                "GetBacklog",
                "GetEvidence",
            ),
        ],
        "router": [
            serve(
                router_pb2_grpc.add_RouterServiceServicer_to_server,
                router_pb2_grpc.RouterServiceServicer,
                "ListChannels",
                "GetChannelStats",
            )
        ],
        "risk": [
            serve(
                risk_pb2_grpc.add_RiskServiceServicer_to_server,
                risk_pb2_grpc.RiskServiceServicer,
                "ListCases",
            )
        ],
        "account": [
            serve(
                account_pb2_grpc.add_AccountServiceServicer_to_server,
                account_pb2_grpc.AccountServiceServicer,
                "GetTrialBalance",
                "ListAccounts",
            )
        ],
        "clearing": [
            serve(
                clearing_pb2_grpc.add_ClearingServiceServicer_to_server,
                clearing_pb2_grpc.ClearingServiceServicer,
                "ListDifferences",
                "GetDayReport",
                "ListBatches",
            )
        ],
        "notification": [
            serve(
                notification_pb2_grpc.add_NotificationServiceServicer_to_server,
                notification_pb2_grpc.NotificationServiceServicer,
                "ListDeliveries",
            )
        ],
    }


_EMPTY: Mapping[str, Callable[[], Any]] = {
    "GetBacklog": operations_pb2.GetBacklogResponse,
    "ListChannels": router_pb2.ListChannelsResponse,
    "GetChannelStats": router_pb2.GetChannelStatsResponse,
    "ListCases": risk_pb2.ListCasesResponse,
    "GetTrialBalance": account_pb2.GetTrialBalanceResponse,
    "ListAccounts": account_pb2.ListAccountsResponse,
    "ListDifferences": clearing_pb2.ListDifferencesResponse,
    "GetDayReport": clearing_pb2.GetDayReportResponse,
    "ListBatches": clearing_pb2.ListBatchesResponse,
    "ListDeliveries": notification_pb2.ListDeliveriesResponse,
}


def _answering(world: World, base: type[Any], methods: tuple[str, ...]) -> Any:
    """A servicer whose methods answer what the world holds; GetEvidence goes by subject."""

    def method(name: str) -> Callable[..., Any]:
        async def answer(_self: Any, request: Any, context: Any) -> Any:
            if name in {"GetBacklog", "GetEvidence"}:
                _require_token(context)
            if name == "GetEvidence":
                known = world.answers.get(name, {})
                if request.subject_id not in known:
                    raise RemoteError("unknown", kind=ErrorKind.NOT_FOUND, reason="NOT_FOUND")
                return known[request.subject_id]
            return world.answers.get(name) or _EMPTY[name]()

        return answer

    return type("Answering", (base,), {name: method(name) for name in methods})()


class _Feed(events_pb2_grpc.EventFeedServiceServicer):
    def __init__(self, world: World) -> None:
        self._world = world

    async def StreamEvents(  # noqa: N802 -- the contract's name
        self, request: events_pb2.StreamEventsRequest, context: Any
    ) -> AsyncIterator[events_pb2.StreamEventsResponse]:
        _require_token(context)
        position = int(request.cursor or 0)
        while True:
            news = self._world.news
            events = self._world.events[position : position + request.batch_max]
            position += len(events)
            yield events_pb2.StreamEventsResponse(events=events, next_cursor=str(position))
            if len(events) < request.batch_max:
                await news.wait()


def _require_token(context: grpc.aio.ServicerContext[Any, Any]) -> None:
    metadata = dict(context.invocation_metadata() or ())
    if metadata.get("authorization") != f"Bearer {OPERATOR_TOKEN}":
        raise RemoteError(kind=ErrorKind.UNAUTHENTICATED, reason="OPERATOR_TOKEN_INVALID")
