"""What the tests of the ledger share: its accounts, and short ways to ask."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

import asyncpg
import grpc

from fisc.account.v1 import account_pb2 as pb
from fisc.account.v1 import account_pb2_grpc, treasury_pb2_grpc
from fisc.common.v1 import money_pb2
from libs.clock import FrozenClock
from libs.rpc import client
from services.account.usecases.posting import Posting

MORNING = datetime(2026, 3, 2, 1, tzinfo=UTC)
TIMEOUT_S = 10.0

AVAILABLE = "merchant/m/available/CNY"
PENDING = "merchant/m/pending/CNY"
OTHER = "merchant/n/available/CNY"
BANK = "bank/icbc/CNY"
ROLES = {
    AVAILABLE: pb.ACCOUNT_ROLE_MERCHANT_AVAILABLE,
    PENDING: pb.ACCOUNT_ROLE_MERCHANT_PENDING,
    OTHER: pb.ACCOUNT_ROLE_MERCHANT_AVAILABLE,
    BANK: pb.ACCOUNT_ROLE_BANK_MIRROR,
}


def cny(amount_minor: int) -> money_pb2.Money:
    return money_pb2.Money(currency="CNY", amount_minor=amount_minor)


def account(account_id: str, role: pb.AccountRole.ValueType, currency: str = "CNY") -> pb.Account:
    owner_id = account_id.split("/")[1]
    return pb.Account(account_id=account_id, owner_id=owner_id, role=role, currency=currency)


def transfer(
    transfer_id: str, debit: str, credit: str, amount_minor: int, *, linked: bool = False
) -> pb.Transfer:
    return pb.Transfer(
        transfer_id=transfer_id,
        debit_account_id=debit,
        credit_account_id=credit,
        amount=cny(amount_minor),
        linked=linked,
    )


def hold(hold_id: str, amount_minor: int) -> pb.Hold:
    return pb.Hold(
        hold_id=hold_id,
        debit_account_id=AVAILABLE,
        credit_account_id=BANK,
        amount=cny(amount_minor),
        reference="pout_1",
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Ledger:
    """A running account service, seen by its client; refused calls raise libs.errors.FiscError."""

    stub: "account_pb2_grpc.AccountServiceAsyncStub"
    statements: "account_pb2_grpc.StatementServiceAsyncStub"
    treasury: "treasury_pb2_grpc.TreasuryServiceAsyncStub"
    posting: Posting
    pool: "asyncpg.Pool[asyncpg.Record]"
    clock: FrozenClock
    target: str

    async def open(self, *accounts: pb.Account) -> Sequence[pb.AccountResult]:
        request = pb.OpenAccountsRequest(request_id="r", accounts=accounts)
        answer = await client.call(self.stub.OpenAccounts, request, timeout_s=TIMEOUT_S)
        return answer.results

    async def post(self, *transfers: pb.Transfer) -> Sequence[pb.TransferResult]:
        request = pb.PostTransfersRequest(request_id="r", transfers=transfers)
        answer = await client.call(self.stub.PostTransfers, request, timeout_s=TIMEOUT_S)
        return answer.results

    async def fund(self, amount_minor: int, account_id: str = AVAILABLE) -> None:
        (result,) = await self.post(transfer(f"fund-{account_id}", BANK, account_id, amount_minor))
        assert result.booked

    async def place(self, *holds: pb.Hold) -> Sequence[pb.HoldResult]:
        request = pb.PlaceHoldsRequest(request_id="r", holds=holds)
        answer = await client.call(self.stub.PlaceHolds, request, timeout_s=TIMEOUT_S)
        return answer.results

    async def capture(self, hold_id: str, amount_minor: int = 0) -> pb.HoldResult:
        capture = pb.Capture(hold_id=hold_id, amount_minor=amount_minor)
        request = pb.CaptureHoldsRequest(request_id="r", captures=[capture])
        answer = await client.call(self.stub.CaptureHolds, request, timeout_s=TIMEOUT_S)
        return answer.results[0]

    async def void(self, *hold_ids: str) -> Sequence[pb.HoldResult]:
        request = pb.VoidHoldsRequest(request_id="r", hold_ids=hold_ids)
        answer = await client.call(self.stub.VoidHolds, request, timeout_s=TIMEOUT_S)
        return answer.results

    async def balance(self, account_id: str = AVAILABLE) -> pb.Balance:
        request = pb.GetAccountRequest(account_id=account_id)
        answer = await client.call(self.stub.GetAccount, request, timeout_s=TIMEOUT_S)
        return answer.balance

    async def entries(
        self, account_id: str, *, page_size: int = 0, page_token: str = ""
    ) -> pb.ListEntriesResponse:
        request = pb.ListEntriesRequest(
            account_id=account_id, page_size=page_size, page_token=page_token
        )
        return await client.call(self.stub.ListEntries, request, timeout_s=TIMEOUT_S)

    async def trial_balance(self, currency: str = "") -> pb.GetTrialBalanceResponse:
        request = pb.GetTrialBalanceRequest(currency=currency)
        return await client.call(self.stub.GetTrialBalance, request, timeout_s=TIMEOUT_S)


def stub_of(channel: grpc.aio.Channel) -> "account_pb2_grpc.AccountServiceAsyncStub":
    return account_pb2_grpc.AccountServiceStub(channel)


def statements_of(channel: grpc.aio.Channel) -> "account_pb2_grpc.StatementServiceAsyncStub":
    return account_pb2_grpc.StatementServiceStub(channel)


def treasury_of(channel: grpc.aio.Channel) -> "treasury_pb2_grpc.TreasuryServiceAsyncStub":
    return treasury_pb2_grpc.TreasuryServiceStub(channel)
