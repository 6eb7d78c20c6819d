"""A gateway and its neighbours as running services, and short words for what tests do with them."""

import contextlib
import dataclasses
import secrets
from collections.abc import AsyncIterator, Sequence
from typing import Any

import grpc
import httpx
from google.rpc import error_details_pb2
from grpc_status import rpc_status

from deploy.local.environment import LocalSettings
from deploy.local.postgres import USER
from deploy.local.suite import operator_token
from fisc.account.v1 import account_pb2, account_pb2_grpc
from fisc.common.v1 import method_pb2, money_pb2
from fisc.gateway.v1 import (
    bulk_pb2_grpc,
    operations_pb2,
    operations_pb2_grpc,
    payment_pb2,
    payment_pb2_grpc,
)
from fisc.risk.v1 import risk_pb2_grpc
from fisc.router.v1 import router_pb2, router_pb2_grpc
from libs.testing import eventually

GROUPS = ("sandbox,router,risk,account", "gateway")
TIMEOUT_S = 15.0


@dataclasses.dataclass
class House:
    """What a test needs of the running services."""

    payments: "payment_pb2_grpc.PaymentServiceAsyncStub"
    files: "bulk_pb2_grpc.PayoutFileServiceAsyncStub"
    operations: "operations_pb2_grpc.OperationsServiceAsyncStub"
    account: "account_pb2_grpc.AccountServiceAsyncStub"
    router: "router_pb2_grpc.RouterServiceAsyncStub"
    risk: "risk_pb2_grpc.RiskServiceAsyncStub"
    sandbox: httpx.AsyncClient
    settings: LocalSettings
    operator: tuple[tuple[str, str], ...]
    merchant_id: str = ""
    key: tuple[tuple[str, str], ...] = ()

    @property
    def gateway_database_url(self) -> str:
        password = (self.settings.data_dir / "postgres.password").read_text().strip()
        port = self.settings.postgres_port
        return f"postgresql://{USER}:{password}@127.0.0.1:{port}/fisc_gateway"

    async def new_merchant(self, currencies: tuple[str, ...] = ("CNY",), **policy: Any) -> None:
        """Registers a merchant and takes its key."""
        self.merchant_id = f"m{secrets.token_hex(6)}"
        await self.operations.CreateMerchant(
            operations_pb2.CreateMerchantRequest(
                request_id=self.merchant_id,
                merchant=operations_pb2.Merchant(
                    merchant_id=self.merchant_id,
                    display_name=self.merchant_id,
                    currencies=currencies,
                    **policy,
                ),
            ),
            timeout=TIMEOUT_S,
            metadata=self.operator,
        )
        self.key = await self.new_key(self.merchant_id)

    async def new_key(self, request_id: str) -> tuple[tuple[str, str], ...]:
        """Another API key of the current merchant, as metadata."""
        made = await self.operations.CreateApiKey(
            operations_pb2.CreateApiKeyRequest(request_id=request_id, merchant_id=self.merchant_id),
            timeout=TIMEOUT_S,
            metadata=self.operator,
        )
        return (("authorization", f"Bearer {made.api_key}"),)

    async def new_channel(
        self,
        *methods: method_pb2.PaymentMethod.ValueType,
        operations: tuple[method_pb2.Operation.ValueType, ...] = (
            method_pb2.OPERATION_PAYMENT,
            method_pb2.OPERATION_AUTHORIZATION,
            method_pb2.OPERATION_REFUND,
        ),
        fee_ppm: int = 6000,
        used_for: Sequence[method_pb2.PaymentMethod.ValueType] = (),
        **profile: Any,
    ) -> str:
        """A channel of its own at the sandbox, known to router and gateway. Returns its id."""
        channel_id = f"c{secrets.token_hex(6)}"
        secret = secrets.token_hex(16)
        quiet = {"latency_ms": [0, 0], "decline_rate": 0, "soft_decline_rate": 0, **profile}
        answer = await self.sandbox.post(
            "/control/accounts",
            json={
                "provider": "simpay",
                "account_id": channel_id,
                "secret": secret,
                "profile": quiet,
            },
        )
        answer.raise_for_status()
        await self.router.UpsertChannel(
            router_pb2.UpsertChannelRequest(
                request_id=channel_id,
                channel=router_pb2.Channel(
                    channel_id=channel_id,
                    provider="simpay",
                    display_name=channel_id,
                    status=router_pb2.CHANNEL_STATUS_ENABLED,
                    methods=methods,
                    operations=operations,
                    currencies=["CNY"],
                    fee=router_pb2.FeeSchedule(rate_ppm=fee_ppm),
                    zone="Asia/Shanghai",
                    cut_off="00:00",
                ),
            ),
            timeout=TIMEOUT_S,
        )
        await self.operations.UpsertChannelAccount(
            operations_pb2.UpsertChannelAccountRequest(
                request_id=channel_id,
                channel_account=operations_pb2.ChannelAccount(
                    channel_id=channel_id,
                    provider="simpay",
                    base_url=f"{self.sandbox.base_url}/simpay/{channel_id}".replace(
                        "//simpay", "/simpay"
                    ),
                    currencies=["CNY"],
                    zone="Asia/Shanghai",
                    methods=used_for,
                ),
                credentials={"secret": secret},
            ),
            timeout=TIMEOUT_S,
            metadata=self.operator,
        )
        return channel_id

    async def fault(self, channel_id: str, fault: str, **details: Any) -> None:
        """Tells the sandbox to misbehave."""
        answer = await self.sandbox.post(
            "/control/faults", json={"account_id": channel_id, "fault": fault, **details}
        )
        answer.raise_for_status()

    async def book(self, channel_id: str) -> list[dict[str, Any]]:
        """The sandbox's own book of a channel."""
        answer = await self.sandbox.get("/control/book", params={"account_id": channel_id})
        rows: list[dict[str, Any]] = (
            answer.json()["rows"] if isinstance(answer.json(), dict) else answer.json()
        )
        return rows

    async def pay(
        self, *channels: str, amount_minor: int = 1999, **fields: Any
    ) -> payment_pb2.Payment:
        """CreatePayment of the current merchant over these channels only."""
        request = payment_pb2.CreatePaymentRequest(
            **{
                "request_id": secrets.token_hex(8),
                "amount": money_pb2.Money(currency="CNY", amount_minor=amount_minor),
                "method": method_pb2.PAYMENT_METHOD_CARD,
                "channel_ids": channels,
                **fields,
            }
        )
        response = await self.payments.CreatePayment(request, timeout=TIMEOUT_S, metadata=self.key)
        return response.payment

    async def get(self, payment_id: str) -> payment_pb2.Payment:
        response = await self.payments.GetPayment(
            payment_pb2.GetPaymentRequest(payment_id=payment_id),
            timeout=TIMEOUT_S,
            metadata=self.key,
        )
        return response.payment

    async def ended(self, payment_id: str, timeout_s: float = 20.0) -> payment_pb2.Payment:
        """The payment once it is neither PROCESSING nor PENDING."""
        waiting = {payment_pb2.Payment.STATE_PROCESSING, payment_pb2.Payment.STATE_PENDING}

        async def has_ended() -> payment_pb2.Payment | None:
            payment = await self.get(payment_id)
            return None if payment.state in waiting else payment

        ended = await eventually(has_ended, timeout_s)
        assert ended is not None
        return ended

    async def fund(self, amount_minor: int) -> None:
        """A deposit from the bank to the merchant's available balance."""
        opened = await self.account.OpenAccounts(
            account_pb2.OpenAccountsRequest(
                request_id="bank",
                accounts=[
                    account_pb2.Account(
                        account_id="platform/bank/CNY",
                        role=account_pb2.ACCOUNT_ROLE_BANK_MIRROR,
                        currency="CNY",
                    )
                ],
            ),
            timeout=TIMEOUT_S,
        )
        assert opened.results[0].HasField("account")
        posted = await self.account.PostTransfers(
            account_pb2.PostTransfersRequest(
                request_id=self.merchant_id,
                transfers=[
                    account_pb2.Transfer(
                        transfer_id=f"{self.merchant_id}:fund",
                        debit_account_id="platform/bank/CNY",
                        credit_account_id=f"merchant/{self.merchant_id}/available/CNY",
                        amount=money_pb2.Money(currency="CNY", amount_minor=amount_minor),
                    )
                ],
            ),
            timeout=TIMEOUT_S,
        )
        assert posted.results[0].booked

    async def balance(self, account_id: str) -> account_pb2.Balance:
        response = await self.account.GetAccount(
            account_pb2.GetAccountRequest(account_id=account_id), timeout=TIMEOUT_S
        )
        return response.balance


def error_info(error: grpc.aio.AioRpcError) -> error_details_pb2.ErrorInfo:
    """What the server says of itself about an error."""
    status = rpc_status.from_call(error)  # type: ignore[no-untyped-call]  # no stubs
    assert status is not None
    info = error_details_pb2.ErrorInfo()
    assert any(detail.Unpack(info) for detail in status.details)
    return info


def reason_of(error: grpc.aio.AioRpcError) -> str:
    return str(error_info(error).reason)


@contextlib.asynccontextmanager
async def open_house(settings: LocalSettings) -> AsyncIterator[House]:
    """The services of a running suite, and a fresh merchant."""

    def channel(service: str) -> grpc.aio.Channel:
        return grpc.aio.insecure_channel(f"127.0.0.1:{settings.port(service)}")

    async with (
        channel("gateway") as gateway,
        channel("account") as account,
        channel("router") as router,
        channel("risk") as risk,
        httpx.AsyncClient(base_url=f"http://127.0.0.1:{settings.port('sandbox')}") as sandbox,
    ):
        made = House(
            payments=payment_pb2_grpc.PaymentServiceStub(gateway),
            files=bulk_pb2_grpc.PayoutFileServiceStub(gateway),
            operations=operations_pb2_grpc.OperationsServiceStub(gateway),
            account=account_pb2_grpc.AccountServiceStub(account),
            router=router_pb2_grpc.RouterServiceStub(router),
            risk=risk_pb2_grpc.RiskServiceStub(risk),
            sandbox=sandbox,
            settings=settings,
            operator=(("authorization", f"Bearer {operator_token(settings.data_dir)}"),),
        )
        await made.new_merchant()
        yield made
