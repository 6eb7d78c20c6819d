"""What the tests of the router share: descriptions, queries, and short words for frequent calls."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from fisc.common.v1 import method_pb2, money_pb2
from fisc.router.v1 import router_pb2 as pb
from fisc.router.v1 import router_pb2_grpc
from libs.clock import FrozenClock
from libs.rpc import convert
from services.router.store import database
from services.router.usecases import Router
from tests.integration.calls import Caller

NOON = datetime(2026, 3, 2, 12, tzinfo=UTC)


def channel(channel_id: str, *, rate_ppm: int = 6_000, static_rank: int = 0) -> pb.Channel:
    """A channel that takes WeChat payments in CNY."""
    return pb.Channel(
        channel_id=channel_id,
        provider="simpay",
        display_name=channel_id,
        status=pb.CHANNEL_STATUS_ENABLED,
        methods=[method_pb2.PAYMENT_METHOD_WECHAT_QR],
        operations=[method_pb2.OPERATION_PAYMENT],
        currencies=["CNY"],
        amount_minimum_minor=1,
        amount_maximum_minor=5_000_000,
        fee=pb.FeeSchedule(rate_ppm=rate_ppm),
        zone="Asia/Shanghai",
        cut_off="00:00",
        static_rank=static_rank,
    )


def query(
    route_key: str,
    *,
    amount_minor: int = 10_000,
    currency: str = "CNY",
    policy: "pb.Policy.ValueType" = pb.POLICY_BALANCED,
    operation: "method_pb2.Operation.ValueType" = method_pb2.OPERATION_PAYMENT,
) -> pb.RouteQuery:
    """A WeChat payment of 100.00 CNY unless told otherwise."""
    return pb.RouteQuery(
        route_key=route_key,
        merchant_id="mer_1",
        amount=money_pb2.Money(currency=currency, amount_minor=amount_minor),
        method=method_pb2.PAYMENT_METHOD_WECHAT_QR,
        operation=operation,
        policy=policy,
    )


@dataclass(kw_only=True)
class Fixture(Caller):
    """The router's stub, with short words for what tests do often."""

    stub: "router_pb2_grpc.RouterServiceAsyncStub"
    router: Router
    pool: database.Pool
    clock: FrozenClock
    _numbers: int = 0

    async def upsert(self, described: pb.Channel, request_id: str = "") -> pb.Channel:
        """Create or replace a channel."""
        request = pb.UpsertChannelRequest(
            request_id=request_id or self._new("req"), channel=described
        )
        return (await self.call(self.stub.UpsertChannel, request)).channel

    async def route(self, asked: pb.RouteQuery) -> pb.Plan:
        """One plan."""
        return (await self.call(self.stub.Route, pb.RouteRequest(query=asked))).plan

    async def order(self, policy: "pb.Policy.ValueType" = pb.POLICY_BALANCED) -> list[str]:
        """The channels of a new plan, best first."""
        plan = await self.route(query(self._new("pay"), policy=policy))
        return [candidate.channel_id for candidate in plan.candidates]

    async def record(self, outcomes: Sequence[pb.AttemptOutcome]) -> int:
        """Feed back outcomes; how many were new."""
        request = pb.RecordOutcomesRequest(request_id=self._new("req"), outcomes=outcomes)
        return (await self.call(self.stub.RecordOutcomes, request)).recorded_count

    def outcomes(
        self, channel_id: str, *, successes: int = 0, failures: int = 0, latency_ms: int = 200
    ) -> list[pb.AttemptOutcome]:
        """New attempts of now, the successes first."""
        return [
            pb.AttemptOutcome(
                attempt_id=self._new("att"),
                channel_id=channel_id,
                method=method_pb2.PAYMENT_METHOD_WECHAT_QR,
                operation=method_pb2.OPERATION_PAYMENT,
                succeeded=number < successes,
                latency_ms=latency_ms,
                occurred_at=convert.to_timestamp(self.clock.now()),
            )
            for number in range(successes + failures)
        ]

    async def stats(self, channel_id: str) -> pb.ChannelStats:
        """The statistics of a channel with one method."""
        request = pb.GetChannelStatsRequest(channel_id=channel_id)
        (only,) = (await self.call(self.stub.GetChannelStats, request)).stats
        return only

    def _new(self, prefix: str) -> str:
        self._numbers += 1
        return f"{prefix}_{self._numbers:06}"
