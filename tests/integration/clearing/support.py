"""What the tests of clearing share: a gateway that tells and hands out what the test says, and short words."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any

import grpc
import pytest

from fisc.account.v1 import account_pb2, account_pb2_grpc
from fisc.clearing.v1 import clearing_pb2 as pb
from fisc.clearing.v1 import clearing_pb2_grpc
from fisc.common.v1 import events_pb2, method_pb2
from fisc.gateway.v1 import operations_pb2, operations_pb2_grpc
from fisc.router.v1 import router_pb2, router_pb2_grpc
from libs.db.pool import Pool
from libs.errors import ErrorKind, RemoteError
from libs.events import feed
from libs.rpc import status
from services.clearing.__main__ import Clearing
from tests.integration.calls import TIMEOUT_S
from tests.integration.clearing.facts import DAY, Facts, cny
from tests.integration.clearing.ledger import LossyLedger

HEADER = "order_no,refund_no,payout_no,kind,amount,currency,fee,status,provider_no,time"
PLACES = {"PAY": 0, "REFUND": 1, "PAYOUT": 2, "PAYOUT_RETURN": 2}


def simpay(*rows: tuple[str, str, int, int]) -> bytes:
    """A day file of (kind, our reference, amount, fee)."""
    lines = [HEADER]
    for kind, out_ref, amount, fee in rows:
        place = PLACES[kind]
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
        self.told: list[operations_pb2.SettleByBillRequest] = []
        self.is_away = False
        self.broken: set[str] = set()
        """References whose orders break over what they are told."""
        self.on_told: Callable[[str], Awaitable[bool]] = _settles_nothing
        """What a line's reference does; whether it settled an order."""

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

    async def SettleByBill(  # noqa: N802 -- named by the contract
        self, request: operations_pb2.SettleByBillRequest, context: Any
    ) -> operations_pb2.SettleByBillResponse:
        _authorize(context, self._token)
        if self.is_away:
            raise RemoteError("away", kind=ErrorKind.UNAVAILABLE, reason="UNAVAILABLE")
        self.told.append(request)
        good = [line.out_ref for line in request.lines if line.out_ref not in self.broken]
        settled = [await self.on_told(out_ref) for out_ref in good]
        return operations_pb2.SettleByBillResponse(
            settled_count=settled.count(True),
            unknown_count=settled.count(False),
            failed_count=len(request.lines) - len(good),
        )


async def _settles_nothing(_out_ref: str) -> bool:
    return False


@dataclass(kw_only=True)
class House(Facts):
    """A running clearing with its neighbours."""

    stub: "clearing_pb2_grpc.ClearingServiceAsyncStub"
    account: "account_pb2_grpc.AccountServiceAsyncStub"
    router: "router_pb2_grpc.RouterServiceAsyncStub"
    operations: FakeOperations
    pool: Pool
    clearing: Clearing
    replica: Callable[..., Awaitable[Clearing]]
    """Another one over the same database; settings may differ."""
    ledger: LossyLedger
    progress: Sequence[str] = ()
    """What the last close said."""

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

    def bill(self, channel_id: str, content: bytes, *, day: str = DAY) -> None:
        """Lay down what the channel will hand out."""
        self.operations.bills[f"{channel_id}/{day}"] = ("simpay", content)

    async def close(self, day: str = DAY) -> pb.DayReport:
        """Close the day; the report, which must come last and once."""
        request = pb.CloseDayRequest(request_id=f"close-{self.number()}", business_date=day)
        responses = [each async for each in self.stub.CloseDay(request, timeout=TIMEOUT_S)]
        self.progress = [each.progress for each in responses]
        assert all(response.progress for response in responses)
        assert [response.HasField("report") for response in responses].count(True) == 1
        return responses[-1].report

    async def close_fails(self) -> str:
        """Close the day; the reason for which that must fail."""
        request = pb.CloseDayRequest(request_id=f"close-{self.number()}", business_date=DAY)
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            [each async for each in self.stub.CloseDay(request, timeout=TIMEOUT_S)]
        return status.from_rpc_error(caught.value).reason

    @contextlib.asynccontextmanager
    async def in_background(self, clearing: Clearing | None = None) -> AsyncIterator[None]:
        """Run clearing's background loops inside the block."""
        loops = (clearing or self.clearing).background
        tasks = [asyncio.ensure_future(loop()) for loop in loops]
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

    async def decide(self, batch_id: str, decision: Any) -> pb.Batch:
        """A person's word about a batch."""
        request = self._decision(batch_id, decision)
        return (await self.call(self.stub.DecideBatch, request)).batch

    async def decision_refused(self, batch_id: str, decision: Any) -> RemoteError:
        """The error of a person's word about a batch."""
        return await self.refusal(self.stub.DecideBatch, self._decision(batch_id, decision))

    def _decision(self, batch_id: str, decision: Any) -> pb.DecideBatchRequest:
        return pb.DecideBatchRequest(
            request_id=f"decide-{self.number()}",
            batch_id=batch_id,
            decision=decision,
            actor="ops",
            note="said so",
        )

    async def posted(self, account_id: str) -> int:
        """What the ledger has booked on an account, on its normal side."""
        request = account_pb2.GetAccountRequest(account_id=account_id)
        return (await self.call(self.account.GetAccount, request)).balance.posted_minor

    async def balance(self, account_id: str) -> tuple[int, int]:
        """What is booked on an account, and how much of it is set aside."""
        request = account_pb2.GetAccountRequest(account_id=account_id)
        balance = (await self.call(self.account.GetAccount, request)).balance
        return balance.posted_minor, balance.held_minor

    async def give(self, account_id: str, amount_minor: int) -> None:
        """Book money onto an account, out of what a channel owes."""
        transfer = account_pb2.Transfer(
            transfer_id=f"give-{self.number()}",
            debit_account_id="channel/sim-a/receivable/CNY",
            credit_account_id=account_id,
            amount=cny(amount_minor),
        )
        request = account_pb2.PostTransfersRequest(
            request_id=transfer.transfer_id, transfers=[transfer]
        )
        await self.call(self.account.PostTransfers, request)

    async def ledger_imbalance(self) -> int:
        answer = await self.call(self.account.GetTrialBalance, account_pb2.GetTrialBalanceRequest())
        return answer.imbalance_minor

    async def events(self) -> list[tuple[str, str]]:
        """What clearing has told so far."""
        rows = await self.pool.fetch("SELECT type, subject_id FROM event_log ORDER BY seq")
        return [(row["type"], row["subject_id"]) for row in rows]
