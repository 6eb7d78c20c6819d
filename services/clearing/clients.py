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
from libs.rpc import client, convert, deadline, status
from services.clearing.domain import settlement
from services.clearing.domain.bills.model import BillLine
from services.clearing.domain.model import BillFile, Channel, ItemKind, Told
from services.clearing.domain.settlement import Booked, Transfer
from services.clearing.domain.sweeping import HoldAnswer, Standing, Sweep

CALL_TIMEOUT_S: Final = 10.0
BILL_TIMEOUT_S: Final = 120.0
BILL_BYTES_MAX: Final = 256 << 20
CHANNELS_PER_PAGE: Final = 1_000
# A saga's call must end before its lease does, so that nobody else takes the saga over meanwhile.
OPEN_TIMEOUT_S: Final = 2.5
POST_TIMEOUT_S: Final = 5.0
HOLD_TIMEOUT_S: Final = 5.0
SETTLE_TIMEOUT_S: Final = 30.0
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

    async def settle(
        self, channel_id: str, day: date, lines: Sequence[BillLine], *, is_complete: bool
    ) -> Told:
        """Tell of succeeded lines without an item; complete in the last call. Raises FiscError."""
        request = operations_pb2.SettleByBillRequest(
            channel_id=channel_id,
            business_date=day.isoformat(),
            lines=map(_bill_line, lines),
            is_complete=is_complete,
        )
        response = await client.call(
            self._stub.SettleByBill, request, timeout_s=SETTLE_TIMEOUT_S, metadata=self._metadata
        )
        return Told(
            lines_count=len(lines),
            settled_count=response.settled_count,
            absent_count=response.absent_count,
            unknown_count=response.unknown_count,
            failed_count=response.failed_count,
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
        response = await client.call(self._stub.OpenAccounts, request, timeout_s=OPEN_TIMEOUT_S)
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
        response = await client.call(self._stub.PostTransfers, request, timeout_s=POST_TIMEOUT_S)
        return [
            Booked(
                transfer_id=result.transfer_id,
                booked=result.booked,
                reason=result.error.reason,
            )
            for result in response.results
        ]

    async def standing(self, account_id: str) -> Standing | None:
        """Return how an account stands, None if there is none such. Raises FiscError."""
        request = account_pb2.GetBalancesRequest(account_ids=[account_id])
        response = await client.call(self._stub.GetBalances, request, timeout_s=HOLD_TIMEOUT_S)
        return next(
            (
                Standing(currency=balance.currency, available_minor=balance.available_minor)
                for balance in response.balances
            ),
            None,
        )

    async def place_hold(self, sweep: Sweep) -> HoldAnswer:
        """Set the sweep's amount aside, once by its id. Raises FiscError when nobody knows."""
        hold = account_pb2.Hold(
            hold_id=sweep.sweep_id,
            debit_account_id=sweep.source_account_id,
            credit_account_id=sweep.target_account_id,
            amount=money_pb2.Money(currency=sweep.currency, amount_minor=sweep.amount_minor),
            reference=sweep.sweep_id,
        )
        request = account_pb2.PlaceHoldsRequest(request_id=f"{sweep.sweep_id}:hold", holds=[hold])
        response = await client.call(self._stub.PlaceHolds, request, timeout_s=HOLD_TIMEOUT_S)
        return _hold_answer(response.results)

    async def capture_hold(self, sweep: Sweep) -> HoldAnswer:
        """Move all that the sweep has set aside, once. Raises FiscError when nobody knows."""
        capture = account_pb2.Capture(
            hold_id=sweep.sweep_id, description=f"归集 sweep {sweep.memo}".strip()
        )
        request = account_pb2.CaptureHoldsRequest(
            request_id=f"{sweep.sweep_id}:move", captures=[capture]
        )
        response = await client.call(self._stub.CaptureHolds, request, timeout_s=HOLD_TIMEOUT_S)
        return _hold_answer(response.results)

    async def void_hold(self, sweep: Sweep) -> HoldAnswer:
        """Release the sweep's hold, or bar it from being placed. Raises FiscError when nobody knows."""
        request = account_pb2.VoidHoldsRequest(
            request_id=f"{sweep.sweep_id}:void", hold_ids=[sweep.sweep_id]
        )
        response = await client.call(self._stub.VoidHolds, request, timeout_s=HOLD_TIMEOUT_S)
        return _hold_answer(response.results)


def _hold_answer(results: Sequence[account_pb2.HoldResult]) -> HoldAnswer:
    """The one answer; raises RemoteError of a ledger that did not answer."""
    if len(results) != 1:
        raise RemoteError(
            "the ledger did not answer", kind=ErrorKind.INTERNAL, reason="ANSWER_MISSING"
        )
    (result,) = results
    return HoldAnswer(
        is_accepted=result.accepted,
        reason=result.error.reason,
        captured_minor=result.hold.captured_minor,
    )


def _bill_line(line: BillLine) -> operations_pb2.BillLine:
    return operations_pb2.BillLine(
        out_ref=line.out_ref,
        amount=money_pb2.Money(currency=line.currency, amount_minor=line.amount_minor),
        provider_ref=line.provider_ref,
        paid_at=convert.to_timestamp(line.occurred_at),
        is_return=line.kind is ItemKind.PAYOUT_RETURN,
    )


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
