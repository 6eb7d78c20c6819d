"""FiscClient: the PaymentService of a gateway, as Python methods."""

import asyncio
import random
import time
from collections.abc import AsyncIterator, Sequence
from types import TracebackType
from typing import Any, Final, Self, TypeVar

import grpc

from fisc.client import errors, transport, words
from fisc.client.payout_files import PayoutFiles
from fisc.client.words import Amount, MethodName, PaymentStateName, PayoutMethodName, RoutingName
from fisc.gateway.v1 import bulk_pb2_grpc, payment_pb2, payment_pb2_grpc

TIMEOUT_S: Final = 10.0
# The 15 minutes a payer has by default, and a little more for the channel's word.
WATCH_TIMEOUT_S: Final = 20 * 60.0
# Reconnections of one watch without a word in between.
WATCH_RECONNECTIONS_MAX: Final = 4
WATCH_BACKOFF_INITIAL_S: Final = 0.1
PAGE_SIZE: Final = 100
PAYMENT_ENDED: Final = frozenset(
    {
        payment_pb2.Payment.STATE_SUCCEEDED,
        payment_pb2.Payment.STATE_FAILED,
        payment_pb2.Payment.STATE_CANCELED,
        payment_pb2.Payment.STATE_MANUAL,
    }
)

_NOT_OPEN: Final = "use the client inside `async with FiscClient(…) as fisc:`"

Request = TypeVar("Request")
Response = TypeVar("Response")
Item = TypeVar("Item")


class FiscClient:
    """One merchant's connection to a gateway: `async with FiscClient(target, api_key=…) as fisc:`.

    Every call has a deadline: timeout_s of the call, else that of the client. Calls that got no
    answer are sent again, at most 4 times in all and within the deadline; that is safe, because
    mutating calls carry a request_id: the same one never takes effect twice. One is made when you
    give none; give your own, derived from your order, where you may have to come back after a crash.
    All methods raise FiscClientError. One client serves any number of concurrent calls of one
    event loop.
    """

    def __init__(
        self,
        target: str,
        *,
        api_key: str,
        credentials: grpc.ChannelCredentials | None = None,
        timeout_s: float = TIMEOUT_S,
    ) -> None:
        """Nothing is sent yet. Without `credentials` (grpc.ssl_channel_credentials()) the API key
        travels in plain text: for loopback and for meshes that encrypt by themselves.
        """
        self._target = target
        self._credentials = credentials
        self._timeout_s = timeout_s
        self._metadata = (("authorization", f"Bearer {api_key}"),)
        self._channel: grpc.aio.Channel | None = None
        self._opened_stub: payment_pb2_grpc.PaymentServiceAsyncStub | None = None
        self._opened_files: PayoutFiles | None = None

    async def __aenter__(self) -> Self:
        """Open the channel; it connects with the first call."""
        self._channel = transport.open_channel(self._target, self._credentials)
        self._opened_stub = payment_pb2_grpc.PaymentServiceStub(self._channel)
        self._opened_files = PayoutFiles(
            bulk_pb2_grpc.PayoutFileServiceStub(self._channel), self._call, self._metadata
        )
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Close the channel; calls in flight are cancelled."""
        if self._channel is not None:
            await self._channel.close(None)
        self._channel = self._opened_stub = self._opened_files = None

    @property
    def payout_files(self) -> PayoutFiles:
        """Whole files of payouts: send, watch, read their results."""
        if self._opened_files is None:
            raise RuntimeError(_NOT_OPEN)
        return self._opened_files

    async def create_payment(
        self,
        *,
        amount: Amount,
        method: MethodName,
        request_id: str | None = None,
        order_ref: str = "",
        description: str = "",
        customer_id: str = "",
        payer_token: str = "",
        auth_code: str = "",
        wallet_user_id: str = "",
        bank_code: str = "",
        account_id: str = "",
        return_url: str = "",
        ip: str = "",
        country: str = "",
        device_id: str = "",
        routing: RoutingName = "BALANCED",
        channel_ids: Sequence[str] = (),
        expires_in_s: int = 0,
        capture_later: bool = False,
        timeout_s: float | None = None,
    ) -> payment_pb2.Payment:
        """Take a payment; idempotent by request_id. `capture_later` only reserves the money: AUTHORIZED.

        Returns it as it stands: ended, or PENDING with a `next_action` for the payer, or still
        PROCESSING when the channel takes longer than the deadline. `payer_token` is a token, never
        a card number. `expires_in_s` 0 gives the payer 15 minutes. What a method needs (`auth_code` of the
        payer's wallet, their `wallet_user_id`, a `return_url` …) the contract says of each.
        """
        request = words.payment_request(
            amount=amount,
            method=method,
            request_id=request_id,
            order_ref=order_ref,
            description=description,
            customer_id=customer_id,
            payer_token=payer_token,
            auth_code=auth_code,
            wallet_user_id=wallet_user_id,
            bank_code=bank_code,
            account_id=account_id,
            ip=ip,
            country=country,
            device_id=device_id,
            routing=routing,
            channel_ids=channel_ids,
            expires_in_s=expires_in_s,
            capture_later=capture_later,
            return_url=return_url,
        )
        return (await self._call(self._stub.CreatePayment, request, timeout_s)).payment

    async def create_payments(
        self,
        requests: Sequence[payment_pb2.CreatePaymentRequest],
        *,
        timeout_s: float | None = None,
    ) -> list[payment_pb2.Payment | errors.FiscClientError]:
        """Take up to 256 payments in one call, made by `payment_request`; idempotent item by item.

        Answers each in order, as `create_payment` would return or raise it: an error is returned in
        its place, and where it `is_retryable` the same request may be sent again. Raises only what
        concerns the whole call.
        """
        request = payment_pb2.BatchCreatePaymentsRequest(requests=requests)
        answer = await self._call(self._stub.BatchCreatePayments, request, timeout_s)
        return [
            result.payment
            if result.HasField("payment")
            else errors.from_item(result.error, request_id=asked.request_id)
            for asked, result in zip(requests, answer.results, strict=True)
        ]

    async def get_payment(
        self, payment_id: str, *, timeout_s: float | None = None
    ) -> payment_pb2.Payment:
        """Return a payment. Raises NotFound."""
        request = payment_pb2.GetPaymentRequest(payment_id=payment_id)
        return (await self._call(self._stub.GetPayment, request, timeout_s)).payment

    async def cancel_payment(
        self, payment_id: str, *, request_id: str | None = None, timeout_s: float | None = None
    ) -> payment_pb2.Payment:
        """Ask to stop a payment; idempotent. If the channel says it was paid, it is paid.

        Raises NotFound, and Rejected (PAYMENT_NOT_CANCELABLE) when it has ended otherwise.
        """
        request = payment_pb2.CancelPaymentRequest(
            request_id=request_id or words.new_request_id(), payment_id=payment_id
        )
        return (await self._call(self._stub.CancelPayment, request, timeout_s)).payment

    async def capture_payment(
        self,
        payment_id: str,
        *,
        amount: Amount | None = None,
        is_final: bool = False,
        request_id: str | None = None,
        timeout_s: float | None = None,
    ) -> payment_pb2.Capture:
        """Take all that is left of an authorised payment, or `amount` of it; idempotent by request_id.

        `is_final` releases what it leaves. Raises NotFound, and Rejected (PAYMENT_NOT_AUTHORIZED,
        CAPTURE_EXCEEDS_AUTHORIZATION).
        """
        request = payment_pb2.CapturePaymentRequest(
            request_id=request_id or words.new_request_id(),
            payment_id=payment_id,
            amount=None if amount is None else words.money(amount),
            is_final=is_final,
        )
        return (await self._call(self._stub.CapturePayment, request, timeout_s)).capture

    async def void_payment(
        self, payment_id: str, *, request_id: str | None = None, timeout_s: float | None = None
    ) -> payment_pb2.Payment:
        """Release what an authorised payment has reserved and no capture took; idempotent.

        Raises NotFound, Rejected (PAYMENT_NOT_AUTHORIZED), and Conflict (CAPTURE_IN_FLIGHT).
        """
        request = payment_pb2.VoidPaymentRequest(
            request_id=request_id or words.new_request_id(), payment_id=payment_id
        )
        return (await self._call(self._stub.VoidPayment, request, timeout_s)).payment

    async def get_capture(
        self, capture_id: str, *, timeout_s: float | None = None
    ) -> payment_pb2.Capture:
        """Return a capture. Raises NotFound."""
        request = payment_pb2.GetCaptureRequest(capture_id=capture_id)
        return (await self._call(self._stub.GetCapture, request, timeout_s)).capture

    def list_payments(
        self,
        *,
        state: PaymentStateName | None = None,
        order_ref: str = "",
        page_size: int = PAGE_SIZE,
        timeout_s: float | None = None,
    ) -> AsyncIterator[payment_pb2.Payment]:
        """Every payment, newest first, fetched page by page; timeout_s is for one page."""

        async def fetch(page_token: str) -> tuple[Sequence[payment_pb2.Payment], str]:
            request = payment_pb2.ListPaymentsRequest(
                page_size=page_size,
                page_token=page_token,
                state=_state(state) if state else payment_pb2.Payment.STATE_UNSPECIFIED,
                order_ref=order_ref,
            )
            page = await self._call(self._stub.ListPayments, request, timeout_s)
            return page.payments, page.next_page_token

        return words.pages(fetch)

    async def watch_payment(
        self, payment_id: str, *, timeout_s: float = WATCH_TIMEOUT_S
    ) -> AsyncIterator[payment_pb2.Payment]:
        """The payment now, and after every change until it has ended.

        A connection that breaks is made anew, and no change is told twice. Raises NotFound, and
        DeadlineExceeded when the payment has not ended within timeout_s.
        """
        request = payment_pb2.WatchPaymentRequest(payment_id=payment_id)
        ends_at_s = time.monotonic() + timeout_s
        seen_version = 0
        reconnections = 0
        while True:
            rest_s = max(0.0, ends_at_s - time.monotonic())
            call = self._stub.WatchPayment(request, timeout=rest_s, metadata=self._metadata)
            try:
                async for response in call:
                    reconnections = 0
                    if response.payment.version > seen_version:
                        seen_version = response.payment.version
                        yield response.payment
                    if has_ended(response.payment):
                        return
            except grpc.aio.AioRpcError as error:
                failure = errors.from_rpc_error(error)
                is_lost = isinstance(failure, errors.Unavailable)
                if not is_lost or reconnections == WATCH_RECONNECTIONS_MAX:
                    raise failure from error
            finally:
                call.cancel()
            await asyncio.sleep(_backoff_s(reconnections))
            reconnections += 1

    async def wait_for_payment(
        self, payment_id: str, *, timeout_s: float = WATCH_TIMEOUT_S
    ) -> payment_pb2.Payment:
        """Return the payment once it has ended: SUCCEEDED, FAILED, CANCELED or MANUAL.

        Raises NotFound, and DeadlineExceeded when it has not ended within timeout_s; it goes on.
        """
        last = payment_pb2.Payment()
        async for payment in self.watch_payment(payment_id, timeout_s=timeout_s):
            last = payment
        return last

    async def create_refund(
        self,
        payment_id: str,
        *,
        amount: Amount,
        request_id: str | None = None,
        note: str = "",
        timeout_s: float | None = None,
    ) -> payment_pb2.Refund:
        """Give back all or part of a succeeded payment; idempotent by request_id.

        Raises NotFound, and Rejected (PAYMENT_NOT_REFUNDABLE, REFUND_TOO_LARGE).
        """
        request = payment_pb2.CreateRefundRequest(
            request_id=request_id or words.new_request_id(),
            payment_id=payment_id,
            amount=words.money(amount),
            note=note,
        )
        return (await self._call(self._stub.CreateRefund, request, timeout_s)).refund

    async def get_refund(
        self, refund_id: str, *, timeout_s: float | None = None
    ) -> payment_pb2.Refund:
        """Return a refund. Raises NotFound."""
        request = payment_pb2.GetRefundRequest(refund_id=refund_id)
        return (await self._call(self._stub.GetRefund, request, timeout_s)).refund

    def list_captures(
        self, *, payment_id: str = "", page_size: int = PAGE_SIZE, timeout_s: float | None = None
    ) -> AsyncIterator[payment_pb2.Capture]:
        """Every capture, of one payment or of all, newest first; timeout_s is for one page."""

        async def fetch(page_token: str) -> tuple[Sequence[payment_pb2.Capture], str]:
            request = payment_pb2.ListCapturesRequest(
                page_size=page_size, page_token=page_token, payment_id=payment_id
            )
            page = await self._call(self._stub.ListCaptures, request, timeout_s)
            return page.captures, page.next_page_token

        return words.pages(fetch)

    def list_refunds(
        self, *, payment_id: str = "", page_size: int = PAGE_SIZE, timeout_s: float | None = None
    ) -> AsyncIterator[payment_pb2.Refund]:
        """Every refund, of one payment or of all, newest first; timeout_s is for one page."""

        async def fetch(page_token: str) -> tuple[Sequence[payment_pb2.Refund], str]:
            request = payment_pb2.ListRefundsRequest(
                page_size=page_size, page_token=page_token, payment_id=payment_id
            )
            page = await self._call(self._stub.ListRefunds, request, timeout_s)
            return page.refunds, page.next_page_token

        return words.pages(fetch)

    async def create_payout(
        self,
        *,
        amount: Amount,
        payee_account: str,
        payee_name: str,
        payee_bank_code: str = "",
        request_id: str | None = None,
        description: str = "",
        method: PayoutMethodName = "BANK_TRANSFER",
        routing: RoutingName = "BALANCED",
        timeout_s: float | None = None,
    ) -> payment_pb2.Payout:
        """Send money from the available balance to a bank account or wallet; idempotent by request_id.

        A balance that does not suffice is a result: FAILED with reason INSUFFICIENT_FUNDS.
        """
        request = payment_pb2.CreatePayoutRequest(
            request_id=request_id or words.new_request_id(),
            amount=words.money(amount),
            payee=payment_pb2.Payee(
                account=payee_account, name=payee_name, bank_code=payee_bank_code
            ),
            description=description,
            method=words.method_of(method),
            routing=words.routing_of(routing),
        )
        return (await self._call(self._stub.CreatePayout, request, timeout_s)).payout

    async def get_payout(
        self, payout_id: str, *, timeout_s: float | None = None
    ) -> payment_pb2.Payout:
        """Return a payout. Raises NotFound."""
        request = payment_pb2.GetPayoutRequest(payout_id=payout_id)
        return (await self._call(self._stub.GetPayout, request, timeout_s)).payout

    def list_payouts(
        self, *, page_size: int = PAGE_SIZE, timeout_s: float | None = None
    ) -> AsyncIterator[payment_pb2.Payout]:
        """Every payout, newest first; timeout_s is for one page."""

        async def fetch(page_token: str) -> tuple[Sequence[payment_pb2.Payout], str]:
            request = payment_pb2.ListPayoutsRequest(page_size=page_size, page_token=page_token)
            page = await self._call(self._stub.ListPayouts, request, timeout_s)
            return page.payouts, page.next_page_token

        return words.pages(fetch)

    @property
    def _stub(self) -> "payment_pb2_grpc.PaymentServiceAsyncStub":
        if self._opened_stub is None:
            raise RuntimeError(_NOT_OPEN)
        return self._opened_stub

    async def _call(
        self,
        method: "grpc.aio.UnaryUnaryMultiCallable[Request, Response]",
        request: Request,
        timeout_s: float | None,
    ) -> Response:
        timeout_s = self._timeout_s if timeout_s is None else timeout_s
        try:
            return await method(request, timeout=timeout_s, metadata=self._metadata)
        except grpc.aio.AioRpcError as error:
            request_id: Any = getattr(request, "request_id", "")
            raise errors.from_rpc_error(error, request_id=request_id) from error


def has_ended(payment: payment_pb2.Payment) -> bool:
    """Whether a payment will not change any more by itself."""
    return payment.state in PAYMENT_ENDED


def _state(name: str) -> payment_pb2.Payment.State.ValueType:
    return payment_pb2.Payment.State.Value(f"STATE_{name}")


def _backoff_s(reconnections: int) -> float:
    """Doubling, each between half and the whole, so that clients do not come back together."""
    whole_s: float = WATCH_BACKOFF_INITIAL_S * 2**reconnections
    return whole_s * random.uniform(0.5, 1.0)  # noqa: S311 jitter keeps no secret
