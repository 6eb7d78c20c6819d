"""The ledger over gRPC."""

from collections.abc import Sequence

from fisc.account.v1 import account_pb2, account_pb2_grpc
from fisc.common.v1 import money_pb2
from libs.batching.coalescer import Coalescer
from libs.errors import ErrorKind
from libs.rpc import request_id
from libs.rpc.client import call
from libs.rpc.convert import error_from_item
from services.gateway.clients import peers
from services.gateway.domain.neighbours import HoldOrder, LedgerAccount

HOLD_TIMEOUT_S = 5.0
OPEN_TIMEOUT_S = 5.0


class LedgerClient:
    """Holds in batches. `coalescer` must be started by its owner."""

    def __init__(self, stub: "account_pb2_grpc.AccountServiceAsyncStub") -> None:
        self._stub = stub
        self.coalescer = Coalescer[HoldOrder, str](self._flush, name="account-hold")
        self._breaker = peers.breaker("account")

    async def open_accounts(self, accounts: Sequence[LedgerAccount]) -> None:
        request = account_pb2.OpenAccountsRequest(
            request_id=request_id.current() or "open-accounts",
            accounts=[
                account_pb2.Account(
                    account_id=account.account_id,
                    owner_id=account.owner_id,
                    role=account_pb2.AccountRole.Value(f"ACCOUNT_ROLE_{account.role}"),
                    currency=account.currency,
                    display_name=account.display_name,
                )
                for account in accounts
            ],
        )
        response = await call(self._stub.OpenAccounts, request, timeout_s=OPEN_TIMEOUT_S)
        for result in response.results:
            if result.WhichOneof("result") == "error":
                raise error_from_item(result.error, ErrorKind.REJECTED)

    async def place_hold(self, order: HoldOrder) -> str:
        return await self.coalescer.submit(order)

    async def _flush(self, orders: list[HoldOrder]) -> Sequence[str | BaseException]:
        request = account_pb2.PlaceHoldsRequest(
            request_id=orders[0].hold_id,
            holds=[
                account_pb2.Hold(
                    hold_id=order.hold_id,
                    debit_account_id=order.debit_account_id,
                    credit_account_id=order.credit_account_id,
                    amount=money_pb2.Money(
                        currency=order.currency, amount_minor=order.amount_minor
                    ),
                    reference=order.reference,
                )
                for order in orders
            ],
        )
        response = await call(
            self._stub.PlaceHolds, request, timeout_s=HOLD_TIMEOUT_S, breaker=self._breaker
        )
        return ["" if result.accepted else result.error.reason for result in response.results]
