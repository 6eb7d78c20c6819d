"""What the tests of clearing share: a gateway that tells and hands out what the test says, and short words."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import grpc

from fisc.account.v1 import account_pb2, account_pb2_grpc
from fisc.clearing.v1 import clearing_pb2 as pb
from fisc.clearing.v1 import clearing_pb2_grpc
from fisc.common.v1 import events_pb2, method_pb2, money_pb2
from fisc.gateway.v1 import events_pb2 as gateway_events
from fisc.gateway.v1 import operations_pb2, operations_pb2_grpc, payment_pb2
from fisc.router.v1 import router_pb2, router_pb2_grpc
from libs.db.pool import Pool
from libs.errors import ErrorKind, RemoteError
from libs.events import feed
from libs.events import log as event_log
from libs.rpc.convert import to_timestamp
from services.clearing.__main__ import Clearing
from tests.integration.calls import TIMEOUT_S, Caller

DAY = "2026-03-02"
NOON = datetime(2026, 3, 2, 4, tzinfo=UTC)
HEADER = "order_no,refund_no,payout_no,kind,amount,currency,fee,status,provider_no,time"


def cny(amount_minor: int) -> money_pb2.Money:
    return money_pb2.Money(currency="CNY", amount_minor=amount_minor)


def simpay(*rows: tuple[str, str, int, int]) -> bytes:
    """A day file of (kind, our reference, amount, fee)."""
    lines = [HEADER]
    for kind, out_ref, amount, fee in rows:
        place = ("PAY", "REFUND", "PAYOUT").index(kind)
        numbers = ["", "", ""]
        numbers[place] = out_ref
        lines.append(
            f"{','.join(numbers)},{kind},{amount},CNY,{fee},SUCCEEDED,p-{out_ref},{DAY}T12:00:00+08:00"
        )
    lines.append(f"#total,{len(rows)},{sum(row[2] for row in rows)}")
    return "\n".join(lines).encode() + b"\n"


def _authorize(context: Any, token: str) -> None:
    given = dict(context.invocation_metadata() or ())
    if given.get("authorization") != f"Bearer {token}":
        raise RemoteError("no", kind=ErrorKind.UNAUTHENTICATED, reason="OPERATOR_TOKEN_INVALID")


class GuardedFeed(feed.EventFeedServicer):
    """The real feed, behind the operator token as the gateway has it."""

    def __init__(self, pool: Pool, token: str) -> None:
        super().__init__(pool)
        self._token = token

    async def StreamEvents(  # noqa: N802 -- named by the contract
        self, request: events_pb2.StreamEventsRequest, context: Any
    ) -> AsyncIterator[events_pb2.StreamEventsResponse]:
        _authorize(context, self._token)
        async for response in super().StreamEvents(request, context):
            yield response


class FakeOperations(operations_pb2_grpc.OperationsServiceServicer):
    """Hands out the bills that a test has laid down, in small pieces; counts how often it was asked."""

    def __init__(self, token: str) -> None:
        self._token = token
        self.bills: dict[str, tuple[str, bytes]] = {}
        self.empty: set[str] = set()
        self.asked: list[str] = []

    def register(self, server: grpc.aio.Server) -> None:
        operations_pb2_grpc.add_OperationsServiceServicer_to_server(self, server)

    async def FetchBill(  # noqa: N802 -- named by the contract
        self, request: operations_pb2.FetchBillRequest, context: Any
    ) -> AsyncIterator[operations_pb2.FetchBillResponse]:
        _authorize(context, self._token)
        self.asked.append(request.channel_id)
        key = f"{request.channel_id}/{request.business_date}"
        if key in self.empty:
            yield operations_pb2.FetchBillResponse(provider="simpay", empty=True)
            return
        if key not in self.bills:
            raise RemoteError(
                "too early", kind=ErrorKind.UNAVAILABLE, reason="BILL_NOT_READY", retry_after_s=60
            )
        provider, content = self.bills[key]
        yield operations_pb2.FetchBillResponse(provider=provider, checked_hash="SHA256:00")
        for start in range(0, len(content), 100):
            yield operations_pb2.FetchBillResponse(chunk=content[start : start + 100])


@dataclass(kw_only=True)
class House(Caller):
    """A running clearing with its neighbours."""

    stub: "clearing_pb2_grpc.ClearingServiceAsyncStub"
    account: "account_pb2_grpc.AccountServiceAsyncStub"
    router: "router_pb2_grpc.RouterServiceAsyncStub"
    operations: FakeOperations
    gateway_pool: Pool
    pool: Pool
    clearing: Clearing
    _number: int = field(default=0)

    def number(self) -> int:
        self._number += 1
        return self._number

    async def add_channel(self, channel_id: str, *, cut_off: str = "00:00") -> None:
        """A channel that the router knows, with its receivable account."""
        await self.call(
            self.router.UpsertChannel,
            router_pb2.UpsertChannelRequest(
                request_id=f"channel-{self.number()}",
                channel=router_pb2.Channel(
                    channel_id=channel_id,
                    provider="simpay",
                    display_name=channel_id,
                    status=router_pb2.CHANNEL_STATUS_ENABLED,
                    methods=[method_pb2.PAYMENT_METHOD_WECHAT_QR],
                    operations=[method_pb2.OPERATION_PAYMENT],
                    currencies=["CNY"],
                    fee=router_pb2.FeeSchedule(),
                    zone="Asia/Shanghai",
                    cut_off=cut_off,
                ),
            ),
        )
        await self.open_account(
            f"channel/{channel_id}/receivable/CNY", account_pb2.ACCOUNT_ROLE_CHANNEL_RECEIVABLE
        )

    async def add_merchant(self, merchant_id: str) -> None:
        """A merchant's two accounts, as the gateway opens them."""
        roles = {
            "pending": account_pb2.ACCOUNT_ROLE_MERCHANT_PENDING,
            "available": account_pb2.ACCOUNT_ROLE_MERCHANT_AVAILABLE,
        }
        for name, role in roles.items():
            await self.open_account(f"merchant/{merchant_id}/{name}/CNY", role)

    async def open_account(self, account_id: str, role: account_pb2.AccountRole.ValueType) -> None:
        await self.call(
            self.account.OpenAccounts,
            account_pb2.OpenAccountsRequest(
                request_id=account_id,
                accounts=[account_pb2.Account(account_id=account_id, role=role, currency="CNY")],
            ),
        )

    async def plan(self, merchant_id: str, **terms: Any) -> pb.FeePlan:
        """Set a fee plan from the beginning of the year."""
        plan = pb.FeePlan(
            merchant_id=merchant_id,
            **{"effective_from": "2026-01-01", "settle_delay_days": 1, **terms},
        )
        request = pb.UpsertFeePlanRequest(request_id=f"plan-{self.number()}", fee_plan=plan)
        return (await self.call(self.stub.UpsertFeePlan, request)).fee_plan

    async def paid(
        self,
        payment_id: str,
        amount_minor: int,
        *,
        channel_id: str = "sim-a",
        merchant_id: str = "mer_1",
        at: datetime = NOON,
    ) -> None:
        """The gateway tells of a succeeded payment, after a decline elsewhere."""
        payload = gateway_events.PaymentEvent(
            payment=payment_pb2.Payment(
                payment_id=payment_id,
                merchant_id=merchant_id,
                amount=cny(amount_minor),
                channel_id=channel_id,
                succeeded_at=to_timestamp(at),
            ),
            attempts=[
                _attempt(f"{payment_id}-1", "sim-z", "DECLINED"),
                _attempt(payment_id, channel_id, "SUCCEEDED"),
            ],
        )
        await self.tell("payment.succeeded", merchant_id, payment_id, payload)

    async def refunded(
        self,
        refund_id: str,
        payment_id: str,
        amount_minor: int,
        *,
        channel_id: str = "sim-a",
        merchant_id: str = "mer_1",
        at: datetime = NOON,
    ) -> None:
        """The gateway tells of a succeeded refund."""
        payload = gateway_events.RefundEvent(
            refund=payment_pb2.Refund(
                refund_id=refund_id,
                payment_id=payment_id,
                merchant_id=merchant_id,
                amount=cny(amount_minor),
                channel_id=channel_id,
                succeeded_at=to_timestamp(at),
            ),
            attempt=_attempt(refund_id, channel_id, "SUCCEEDED"),
        )
        await self.tell("refund.succeeded", merchant_id, refund_id, payload)

    async def paid_out(
        self, payout_id: str, amount_minor: int, *, channel_id: str = "sim-a"
    ) -> None:
        """The gateway tells of a succeeded payout."""
        payload = gateway_events.PayoutEvent(
            payout=payment_pb2.Payout(
                payout_id=payout_id,
                merchant_id="mer_1",
                amount=cny(amount_minor),
                channel_id=channel_id,
                succeeded_at=to_timestamp(NOON),
            ),
            attempts=[_attempt(payout_id, channel_id, "SUCCEEDED")],
        )
        await self.tell("payout.succeeded", "mer_1", payout_id, payload)

    async def tell(self, kind: str, merchant_id: str, subject_id: str, payload: Any) -> None:
        """Append to the gateway's event log."""
        event = event_log.NewEvent(
            event_id=f"evt_{self.number()}",
            type=kind,
            merchant_id=merchant_id,
            subject_id=subject_id,
            occurred_at=NOON,
            payload=payload.SerializeToString(),
            payload_type=payload.DESCRIPTOR.full_name,
        )
        async with self.gateway_pool.acquire() as connection, connection.transaction():
            await event_log.append(connection, [event])

    def bill(self, channel_id: str, content: bytes, *, day: str = DAY) -> None:
        """Lay down what the channel will hand out."""
        self.operations.bills[f"{channel_id}/{day}"] = ("simpay", content)

    async def close(self, day: str = DAY) -> pb.DayReport:
        """Close the day; the report, which must come last and once."""
        request = pb.CloseDayRequest(request_id=f"close-{self.number()}", business_date=day)
        responses = [each async for each in self.stub.CloseDay(request, timeout=TIMEOUT_S)]
        assert all(response.progress for response in responses)
        assert [response.HasField("report") for response in responses].count(True) == 1
        return responses[-1].report

    @contextlib.asynccontextmanager
    async def in_background(self) -> AsyncIterator[None]:
        """Run clearing's background loops inside the block."""
        tasks = [asyncio.ensure_future(loop()) for loop in self.clearing.background]
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await task

    async def channels_known(self) -> bool:
        """Whether the router's channels have come."""
        return await self.pool.fetchval("SELECT count(*) > 0 FROM channel") is True

    async def has_items(self, count: int) -> bool:
        return len(await self.items()) == count

    async def account_exists(self, account_id: str) -> bool:
        """Whether the ledger has such an account."""
        try:
            await self.posted(account_id)
        except RemoteError as error:
            assert error.reason == "ACCOUNT_NOT_FOUND"
            return False
        return True

    async def items(self, **query: Any) -> dict[str, pb.Item]:
        answer = await self.call(self.stub.ListItems, pb.ListItemsRequest(**query))
        return {item.subject_id: item for item in answer.items}

    async def differences(self, **query: Any) -> Sequence[pb.Difference]:
        request = pb.ListDifferencesRequest(**query)
        return (await self.call(self.stub.ListDifferences, request)).differences

    async def batches(self) -> Sequence[pb.Batch]:
        return (await self.call(self.stub.ListBatches, pb.ListBatchesRequest())).batches

    async def vouchers(self) -> Sequence[pb.Voucher]:
        return (await self.call(self.stub.ListVouchers, pb.ListVouchersRequest())).vouchers

    async def resolve(self, difference_id: str) -> pb.Difference:
        request = pb.ResolveDifferenceRequest(
            request_id=f"resolve-{self.number()}",
            difference_id=difference_id,
            actor="finance",
            note="checked by phone",
        )
        return (await self.call(self.stub.ResolveDifference, request)).difference

    async def posted(self, account_id: str) -> int:
        """What the ledger has booked on an account, on its normal side."""
        request = account_pb2.GetAccountRequest(account_id=account_id)
        return (await self.call(self.account.GetAccount, request)).balance.posted_minor

    async def ledger_imbalance(self) -> int:
        answer = await self.call(self.account.GetTrialBalance, account_pb2.GetTrialBalanceRequest())
        return answer.imbalance_minor

    async def events(self) -> list[tuple[str, str]]:
        """What clearing has told so far."""
        rows = await self.pool.fetch("SELECT type, subject_id FROM event_log ORDER BY seq")
        return [(row["type"], row["subject_id"]) for row in rows]


def _attempt(subject_id: str, channel_id: str, state: str) -> gateway_events.AttemptRecord:
    return gateway_events.AttemptRecord(
        attempt_id=f"att-{subject_id}",
        subject_id=subject_id,
        channel_id=channel_id,
        out_ref=f"o-{subject_id}",
        provider_ref=f"p-{subject_id}",
        state=state,
    )
