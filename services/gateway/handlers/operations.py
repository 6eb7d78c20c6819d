"""OperationsService: what operators and the platform's own services call. Its part for people stands in `interventions`."""

from collections.abc import AsyncIterator, Callable, Mapping
from datetime import date
from typing import Any, Final, TypeAlias

import grpc

from fisc.common.v1 import money_pb2
from fisc.gateway.v1 import operations_pb2, operations_pb2_grpc
from libs.clock import Clock
from libs.paging import PageRequest
from libs.rpc.convert import from_timestamp, to_timestamp
from services.gateway.channels import registry
from services.gateway.channels.provider import Provider
from services.gateway.clients.wire import METHOD_NAMES, METHODS
from services.gateway.domain.errors import BusinessDateInvalid
from services.gateway.domain.merchant import ChannelAccount, Merchant
from services.gateway.handlers import auth, messages
from services.gateway.handlers.interventions import InterventionHandlers
from services.gateway.usecases.bills import BillLine, Bills
from services.gateway.usecases.forcing import Forcing
from services.gateway.usecases.inspection import Inspection
from services.gateway.usecases.operations import ChannelAccounts, Merchants
from services.gateway.usecases.operators import Operators
from services.gateway.usecases.oversight import Oversight
from services.gateway.usecases.payments import Payments

SERVICE_NAME = "fisc.gateway.v1.OperationsService"
CHUNK_BYTES = 64 * 1024
Context: TypeAlias = "grpc.aio.ServicerContext[Any, Any]"
# A flow's name is also its field in the answer.
SUBJECTS: Final[Mapping[str, Callable[[Any], Any]]] = {
    "payment": messages.payment,
    "capture": messages.capture,
    "refund": messages.refund,
    "payout": messages.payout,
}


class OperationsHandlers(InterventionHandlers):
    """Contract ↔ use cases."""

    def __init__(
        self,
        *,
        merchants: Merchants,
        channels: ChannelAccounts,
        payments: Payments,
        inspection: Inspection,
        bills: Bills,
        operators: Operators,
        oversight: Oversight,
        forcing: Forcing,
        clock: Clock,
    ) -> None:
        super().__init__(operators=operators, oversight=oversight, forcing=forcing)
        self._merchants = merchants
        self._channels = channels
        self._payments = payments
        self._inspection = inspection
        self._bills = bills
        self._clock = clock

    def register(self, server: grpc.aio.Server) -> None:
        operations_pb2_grpc.add_OperationsServiceServicer_to_server(self, server)

    async def CreateMerchant(
        self, request: operations_pb2.CreateMerchantRequest, context: Context
    ) -> operations_pb2.CreateMerchantResponse:
        wanted = request.merchant
        stored = await self._merchants.create(
            Merchant(
                merchant_id=wanted.merchant_id,
                tenant_id=wanted.tenant_id,
                display_name=wanted.display_name,
                currencies=tuple(wanted.currencies),
                risk_down_allowed=wanted.risk_down_allowed,
                risk_down_limit_minor=wanted.risk_down_limit_minor,
                created_at=self._clock.now(),
            ),
            request.request_id,
            actor_id=auth.caller(),
        )
        return operations_pb2.CreateMerchantResponse(merchant=_merchant(stored))

    async def ListMerchants(
        self, request: operations_pb2.ListMerchantsRequest, context: Context
    ) -> operations_pb2.ListMerchantsResponse:
        page = await self._merchants.page(PageRequest(request.page_size, request.page_token))
        return operations_pb2.ListMerchantsResponse(
            merchants=[_merchant(merchant) for merchant in page.items],
            next_page_token=page.next_token,
        )

    async def CreateApiKey(
        self, request: operations_pb2.CreateApiKeyRequest, context: Context
    ) -> operations_pb2.CreateApiKeyResponse:
        key_id, api_key = await self._merchants.create_api_key(
            request.merchant_id, request.request_id, request.label, actor_id=auth.caller()
        )
        return operations_pb2.CreateApiKeyResponse(key_id=key_id, api_key=api_key)

    async def RevokeApiKey(
        self, request: operations_pb2.RevokeApiKeyRequest, context: Context
    ) -> operations_pb2.RevokeApiKeyResponse:
        await self._merchants.revoke_api_key(request.key_id, actor_id=auth.caller())
        return operations_pb2.RevokeApiKeyResponse()

    async def UpsertChannelAccount(
        self, request: operations_pb2.UpsertChannelAccountRequest, context: Context
    ) -> operations_pb2.UpsertChannelAccountResponse:
        wanted = request.channel_account
        account = ChannelAccount(
            channel_id=wanted.channel_id,
            provider=wanted.provider,
            base_url=wanted.base_url,
            currencies=tuple(wanted.currencies),
            zone=wanted.zone,
            methods=tuple(METHOD_NAMES[method] for method in wanted.methods),
        )
        stored = await self._channels.put(
            account, dict(request.credentials), actor_id=auth.caller()
        )
        return operations_pb2.UpsertChannelAccountResponse(
            channel_account=_channel_account(stored.account, stored.credential_names)
        )

    async def ListChannelAccounts(
        self, request: operations_pb2.ListChannelAccountsRequest, context: Context
    ) -> operations_pb2.ListChannelAccountsResponse:
        page = await self._channels.page(PageRequest(request.page_size, request.page_token))
        return operations_pb2.ListChannelAccountsResponse(
            channel_accounts=[
                _channel_account(stored.account, stored.credential_names) for stored in page.items
            ],
            next_page_token=page.next_token,
        )

    async def ListProviders(
        self, request: operations_pb2.ListProvidersRequest, context: Context
    ) -> operations_pb2.ListProvidersResponse:
        return operations_pb2.ListProvidersResponse(
            providers=[_provider(each) for _, each in sorted(registry.PROVIDERS.items())]
        )

    async def FetchBill(
        self, request: operations_pb2.FetchBillRequest, context: Context
    ) -> AsyncIterator[operations_pb2.FetchBillResponse]:
        provider = await self._channels.provider(request.channel_id)
        bill = await self._channels.fetch_bill(request.channel_id, _day(request.business_date))
        yield operations_pb2.FetchBillResponse(
            provider=provider,
            empty=bill.empty,
            checked_hash=f"{bill.hash_type}:{bill.hash_value}" if bill.hash_value else "",
        )
        for start in range(0, len(bill.content), CHUNK_BYTES):
            chunk = bill.content[start : start + CHUNK_BYTES]
            yield operations_pb2.FetchBillResponse(chunk=chunk)

    async def SettleByBill(
        self, request: operations_pb2.SettleByBillRequest, context: Context
    ) -> operations_pb2.SettleByBillResponse:
        settled = await self._bills.settle(
            request.channel_id,
            _day(request.business_date),
            [_bill_line(line) for line in request.lines],
            is_complete=request.is_complete,
        )
        return operations_pb2.SettleByBillResponse(
            settled_count=settled.settled_count,
            absent_count=settled.absent_count,
            unknown_count=settled.unknown_count,
            failed_count=settled.failed_count,
        )

    async def GetChannelBalance(
        self, request: operations_pb2.GetChannelBalanceRequest, context: Context
    ) -> operations_pb2.GetChannelBalanceResponse:
        balance = await self._channels.balance(request.channel_id)
        return operations_pb2.GetChannelBalanceResponse(
            available=money_pb2.Money(
                currency=balance.currency, amount_minor=balance.available_minor
            )
        )

    async def GetEvidence(
        self, request: operations_pb2.GetEvidenceRequest, context: Context
    ) -> operations_pb2.GetEvidenceResponse:
        evidence = await self._inspection.evidence(request.subject_id)
        response = operations_pb2.GetEvidenceResponse(
            attempts=[messages.attempt(attempt) for attempt in evidence.attempts],
            history=[
                operations_pb2.HistoryLine(at=to_timestamp(at), text=text)
                for at, text in evidence.history
            ],
        )
        subject = SUBJECTS[evidence.flow](evidence.subject)
        getattr(response, evidence.flow).CopyFrom(subject)
        return response

    async def SearchPayments(
        self, request: operations_pb2.SearchPaymentsRequest, context: Context
    ) -> operations_pb2.SearchPaymentsResponse:
        page = await self._payments.page(
            request.merchant_id,
            messages.payment_states_named(request.state),
            "",
            PageRequest(request.page_size, request.page_token),
        )
        return operations_pb2.SearchPaymentsResponse(
            payments=[messages.payment(payment) for payment in page.items],
            next_page_token=page.next_token,
        )

    async def GetBacklog(
        self, request: operations_pb2.GetBacklogRequest, context: Context
    ) -> operations_pb2.GetBacklogResponse:
        lines, events_unpushed = await self._inspection.backlog()
        now = self._clock.now()
        return operations_pb2.GetBacklogResponse(
            lines=[
                operations_pb2.BacklogLine(
                    flow=line.flow,
                    state=line.state,
                    count=line.count,
                    oldest_age_s=max(0, int((now - line.oldest_at).total_seconds())),
                )
                for line in lines
            ],
            events_unpushed=events_unpushed,
        )


def _merchant(merchant: Merchant) -> operations_pb2.Merchant:
    return operations_pb2.Merchant(
        merchant_id=merchant.merchant_id,
        tenant_id=merchant.tenant_id,
        display_name=merchant.display_name,
        currencies=merchant.currencies,
        risk_down_allowed=merchant.risk_down_allowed,
        risk_down_limit_minor=merchant.risk_down_limit_minor,
    )


def _channel_account(
    account: ChannelAccount, credential_names: tuple[str, ...]
) -> operations_pb2.ChannelAccount:
    return operations_pb2.ChannelAccount(
        channel_id=account.channel_id,
        provider=account.provider,
        base_url=account.base_url,
        currencies=account.currencies,
        zone=account.zone,
        methods=[METHODS[method] for method in account.methods],
        credential_names=credential_names,
    )


def _provider(provider: Provider) -> operations_pb2.Provider:
    message = operations_pb2.Provider
    return message(
        name=provider.name,
        display_name=provider.display_name,
        credentials=[
            message.Credential(
                name=each.name,
                description=each.description,
                is_secret=each.is_secret,
                is_required=each.is_required,
            )
            for each in provider.credentials
        ],
        offers=[
            message.Offer(method=METHODS[method], features=sorted(features))
            for method, features in provider.capabilities.methods.items()
        ],
        account_features=sorted(provider.capabilities.account),
    )


def _bill_line(line: operations_pb2.BillLine) -> BillLine:
    return BillLine(
        out_ref=line.out_ref,
        amount_minor=line.amount.amount_minor,
        currency=line.amount.currency,
        provider_ref=line.provider_ref,
        paid_at=from_timestamp(line.paid_at) if line.HasField("paid_at") else None,
        is_return=line.is_return,
    )


def _day(text: str) -> date:
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise BusinessDateInvalid(field="business_date") from None
