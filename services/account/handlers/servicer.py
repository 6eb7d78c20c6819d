"""AccountService: every method turns a request into one use case and its result into a response."""

from typing import Any

import grpc
from typing_extensions import override

from fisc.account.v1 import account_pb2 as pb
from fisc.account.v1 import account_pb2_grpc
from libs.paging import PageRequest
from libs.rpc import convert as rpc_convert
from services.account.handlers import convert, convert_operations
from services.account.handlers.statements import StatementServicer
from services.account.usecases.chart import Chart
from services.account.usecases.posting import Posting

SERVICE_NAME = pb.DESCRIPTOR.services_by_name["AccountService"].full_name
STATEMENTS_NAME = pb.DESCRIPTOR.services_by_name["StatementService"].full_name

Context = grpc.aio.ServicerContext[Any, Any]


class AccountServicer(account_pb2_grpc.AccountServiceServicer):
    """The ledger over gRPC."""

    def __init__(self, chart: Chart, posting: Posting) -> None:
        """Serve these use cases."""
        self._chart = chart
        self._posting = posting

    def register(self, server: grpc.aio.Server) -> None:
        """Add the service, and that of its statements, to a server."""
        account_pb2_grpc.add_AccountServiceServicer_to_server(self, server)
        account_pb2_grpc.add_StatementServiceServicer_to_server(
            StatementServicer(self._chart), server
        )

    @override
    async def OpenAccounts(
        self, request: pb.OpenAccountsRequest, context: Context
    ) -> pb.OpenAccountsResponse:
        requested = [convert.account_from_proto(account) for account in request.accounts]
        results = await self._chart.open_accounts(requested)
        return pb.OpenAccountsResponse(results=map(convert.account_result_to_proto, results))

    @override
    async def GetAccount(
        self, request: pb.GetAccountRequest, context: Context
    ) -> pb.GetAccountResponse:
        account, balance = await self._chart.get_account(request.account_id)
        return pb.GetAccountResponse(
            account=convert.account_to_proto(account, balance.terms.state),
            balance=convert.balance_to_proto(balance),
        )

    @override
    async def ListAccounts(
        self, request: pb.ListAccountsRequest, context: Context
    ) -> pb.ListAccountsResponse:
        page = await self._chart.list_accounts(
            owner_id=request.owner_id,
            role=convert.role_from_proto(request.role),
            page=PageRequest(request.page_size, request.page_token),
        )
        return pb.ListAccountsResponse(
            accounts=[
                convert.account_to_proto(account, balance.terms.state)
                for account, balance in page.items
            ],
            balances=[convert.balance_to_proto(balance) for _, balance in page.items],
            next_page_token=page.next_token,
        )

    @override
    async def GetBalances(
        self, request: pb.GetBalancesRequest, context: Context
    ) -> pb.GetBalancesResponse:
        if request.HasField("at_sequence"):
            past = await self._chart.get_balance_at_sequence(
                request.account_ids[0], request.at_sequence
            )
        elif request.HasField("at_time"):
            at = rpc_convert.from_timestamp(request.at_time)
            past = await self._chart.get_balances_at_time(request.account_ids, at)
        else:
            balances = await self._chart.get_balances(request.account_ids)
            return pb.GetBalancesResponse(balances=map(convert.balance_to_proto, balances))
        return pb.GetBalancesResponse(balances=map(convert_operations.past_balance_to_proto, past))

    @override
    async def PostTransfers(
        self, request: pb.PostTransfersRequest, context: Context
    ) -> pb.PostTransfersResponse:
        transfers = [convert.transfer_from_proto(transfer) for transfer in request.transfers]
        verdicts = await self._posting.post_transfers(transfers)
        return pb.PostTransfersResponse(results=map(convert.transfer_verdict_to_proto, verdicts))

    @override
    async def PlaceHolds(
        self, request: pb.PlaceHoldsRequest, context: Context
    ) -> pb.PlaceHoldsResponse:
        verdicts = await self._posting.place_holds(
            list(map(convert.hold_from_proto, request.holds))
        )
        return pb.PlaceHoldsResponse(results=map(convert.hold_verdict_to_proto, verdicts))

    @override
    async def CaptureHolds(
        self, request: pb.CaptureHoldsRequest, context: Context
    ) -> pb.CaptureHoldsResponse:
        captures = [convert.capture_from_proto(capture) for capture in request.captures]
        verdicts = await self._posting.capture_holds(captures)
        return pb.CaptureHoldsResponse(results=map(convert.hold_verdict_to_proto, verdicts))

    @override
    async def VoidHolds(
        self, request: pb.VoidHoldsRequest, context: Context
    ) -> pb.VoidHoldsResponse:
        verdicts = await self._posting.void_holds(request.hold_ids, request.group_ids)
        return pb.VoidHoldsResponse(results=map(convert.hold_verdict_to_proto, verdicts))

    @override
    async def ListEntries(
        self, request: pb.ListEntriesRequest, context: Context
    ) -> pb.ListEntriesResponse:
        page = await self._chart.list_entries(
            request.account_id, PageRequest(request.page_size, request.page_token)
        )
        return pb.ListEntriesResponse(
            entries=map(convert.entry_to_proto, page.items),
            next_page_token=page.next_token,
        )

    @override
    async def GetTrialBalance(
        self, request: pb.GetTrialBalanceRequest, context: Context
    ) -> pb.GetTrialBalanceResponse:
        trial_balance = await self._chart.get_trial_balance(request.currency)
        return convert.trial_balance_to_proto(trial_balance)

    @override
    async def ChangeAccounts(
        self, request: pb.ChangeAccountsRequest, context: Context
    ) -> pb.ChangeAccountsResponse:
        changes = list(map(convert_operations.change_from_proto, request.changes))
        verdicts = await self._chart.change_accounts(request.request_id, changes)
        return pb.ChangeAccountsResponse(
            results=map(convert_operations.change_verdict_to_proto, verdicts)
        )

    @override
    async def PostConversions(
        self, request: pb.PostConversionsRequest, context: Context
    ) -> pb.PostConversionsResponse:
        conversions = list(map(convert_operations.conversion_from_proto, request.conversions))
        verdicts = await self._posting.post_conversions(conversions)
        return pb.PostConversionsResponse(
            results=map(convert_operations.conversion_verdict_to_proto, verdicts)
        )

    @override
    async def GetSubtree(
        self, request: pb.GetSubtreeRequest, context: Context
    ) -> pb.GetSubtreeResponse:
        lines = await self._chart.get_subtree(request.account_id)
        return pb.GetSubtreeResponse(lines=map(convert_operations.subtree_line_to_proto, lines))

    @override
    async def ListClosingBalances(
        self, request: pb.ListClosingBalancesRequest, context: Context
    ) -> pb.ListClosingBalancesResponse:
        page = await self._chart.list_closing_balances(
            request.day, PageRequest(request.page_size, request.page_token)
        )
        return pb.ListClosingBalancesResponse(
            balances=map(convert_operations.closing_balance_to_proto, page.items),
            next_page_token=page.next_token,
        )
