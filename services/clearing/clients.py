"""The services that clearing calls, behind the ports of its use cases."""

from collections.abc import Collection, Sequence
from datetime import date, time
from typing import Final
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import grpc

from fisc.account.v1 import account_pb2, account_pb2_grpc
from fisc.common.v1 import money_pb2
from fisc.gateway.v1 import operations_pb2, operations_pb2_grpc
from fisc.router.v1 import router_pb2, router_pb2_grpc
from libs import log
from libs.errors import ErrorKind, RemoteError
from libs.rpc import client, deadline, status
from services.clearing.domain import settlement
from services.clearing.domain.model import BillFile, Channel
from services.clearing.domain.settlement import Booked, Transfer

CALL_TIMEOUT_S: Final = 10.0
BILL_TIMEOUT_S: Final = 120.0
BILL_BYTES_MAX: Final = 256 << 20
CHANNELS_PER_PAGE: Final = 1_000
IDEMPOTENT_METHODS: Final = {"router": ("fisc.router.v1.RouterService/ListChannels",)}

Metadata = Sequence[tuple[str, str | bytes]]

_log = log.get_logger()


def operator_metadata(token: str) -> Metadata:
    """What shows the gateway that the platform itself is calling."""
    return (("authorization", f"Bearer {token}"),)


class GatewayBills:
    """Bills, by the gateway's OperationsService."""

    def __init__(self, channel: grpc.aio.Channel, metadata: Metadata) -> None:
        """The channel stays the caller's to close."""
        self._stub = operations_pb2_grpc.OperationsServiceStub(channel)
        self._metadata = metadata

    async def fetch(self, channel_id: str, day: date) -> BillFile:
        """Return the whole file. Raises FiscError, with reason BILL_TOO_LARGE for an endless one."""
        request = operations_pb2.FetchBillRequest(
            channel_id=channel_id, business_date=day.isoformat()
        )
        call = self._stub.FetchBill(
            request,
            timeout=deadline.budget_s(BILL_TIMEOUT_S),
            metadata=grpc.aio.Metadata(*self._metadata),
        )
        first: operations_pb2.FetchBillResponse | None = None
        content = bytearray()
        try:
            async for response in call:
                first = first or response
                content += response.chunk
                if len(content) > BILL_BYTES_MAX:
                    raise RemoteError(
                        f"the bill is larger than {BILL_BYTES_MAX} bytes",
                        kind=ErrorKind.REJECTED,
                        reason="BILL_TOO_LARGE",
                    )
        except grpc.aio.AioRpcError as error:
            raise status.from_rpc_error(error) from error
        finally:
            call.cancel()
        if first is None:
            raise RemoteError(
                "the gateway sent no bill", kind=ErrorKind.INTERNAL, reason="BILL_MISSING"
            )
        return BillFile(
            provider=first.provider,
            is_empty=first.empty,
            checked_hash=first.checked_hash,
            content=bytes(content),
        )


class RouterChannels:
    """Channels, by the router."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        """The channel stays the caller's to close."""
        self._stub = router_pb2_grpc.RouterServiceStub(channel)

    async def list_channels(self) -> list[Channel]:
        """Return every channel whose zone this machine knows. Raises FiscError."""
        channels: list[Channel] = []
        token = ""
        while True:
            response = await client.call(
                self._stub.ListChannels,
                router_pb2.ListChannelsRequest(page_size=CHANNELS_PER_PAGE, page_token=token),
                timeout_s=CALL_TIMEOUT_S,
            )
            channels += [each for each in map(_channel, response.channels) if each is not None]
            token = response.next_page_token
            if not token:
                return channels


class AccountLedger:
    """The ledger, by the account service."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        """The channel stays the caller's to close."""
        self._stub = account_pb2_grpc.AccountServiceStub(channel)
        self._opened: set[str] = set()

    async def open_platform_accounts(self, currencies: Collection[str]) -> None:
        """Open fee income and channel cost in these currencies, once a process."""
        missing = sorted(set(currencies) - self._opened)
        if not missing:
            return
        accounts = [each for currency in missing for each in _platform_accounts(currency)]
        request = account_pb2.OpenAccountsRequest(
            request_id=f"clearing-platform-accounts-{'-'.join(missing)}", accounts=accounts
        )
        response = await client.call(self._stub.OpenAccounts, request, timeout_s=CALL_TIMEOUT_S)
        for account, result in zip(accounts, response.results, strict=True):
            if result.HasField("error"):
                _log.warning(
                    "platform account not opened",
                    account_id=account.account_id,
                    reason=result.error.reason,
                )
        self._opened |= set(missing)

    async def post(self, transfers: Sequence[Transfer]) -> list[Booked]:
        """Book in one call; a transfer that stands booked from before is answered as booked."""
        request = account_pb2.PostTransfersRequest(
            request_id=f"clearing-{transfers[0].transfer_id}"[:128],
            transfers=[_transfer(each) for each in transfers],
        )
        response = await client.call(self._stub.PostTransfers, request, timeout_s=CALL_TIMEOUT_S)
        return [
            Booked(
                transfer_id=result.transfer_id,
                booked=result.booked,
                reason=result.error.reason,
            )
            for result in response.results
        ]


def _channel(message: router_pb2.Channel) -> Channel | None:
    try:
        zone = ZoneInfo(message.zone)
        cut_off = time.fromisoformat(message.cut_off)
    except (ZoneInfoNotFoundError, ValueError):
        _log.warning("channel has no usable day", channel_id=message.channel_id)
        return None
    return Channel(
        channel_id=message.channel_id, provider=message.provider, zone=zone, cut_off=cut_off
    )


def _platform_accounts(currency: str) -> list[account_pb2.Account]:
    return [
        account_pb2.Account(
            account_id=settlement.fee_income_account(currency),
            role=account_pb2.ACCOUNT_ROLE_FEE_INCOME,
            currency=currency,
            display_name=f"Fee income {currency}",
        ),
        account_pb2.Account(
            account_id=settlement.channel_cost_account(currency),
            role=account_pb2.ACCOUNT_ROLE_CHANNEL_COST,
            currency=currency,
            display_name=f"Channel cost {currency}",
        ),
    ]


def _transfer(transfer: Transfer) -> account_pb2.Transfer:
    return account_pb2.Transfer(
        transfer_id=transfer.transfer_id,
        debit_account_id=transfer.debit_account_id,
        credit_account_id=transfer.credit_account_id,
        amount=money_pb2.Money(currency=transfer.currency, amount_minor=transfer.amount_minor),
        linked=transfer.linked,
        reference=transfer.reference,
        description=transfer.description,
        effective_date=transfer.effective_date.isoformat(),
    )
