"""A PaymentService in memory, behind the real server: its validation, deadlines and error mapping."""

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import grpc
from google.protobuf.message import Message
from typing_extensions import override

from fisc.common.v1 import verdict_pb2
from fisc.gateway.v1 import payment_pb2, payment_pb2_grpc
from libs.errors import ErrorKind, FiscError

API_KEY = "key-of-the-test"
_STATE = payment_pb2.Payment


class ApiKeyInvalid(FiscError):
    """The API key is unknown."""

    kind = ErrorKind.UNAUTHENTICATED
    reason = "API_KEY_INVALID"


class RequestIdReused(FiscError):
    """This request_id was used before with another body."""

    kind = ErrorKind.ALREADY_EXISTS
    reason = "REQUEST_ID_REUSED"


class PaymentNotFound(FiscError):
    """There is no such payment."""

    kind = ErrorKind.NOT_FOUND
    reason = "PAYMENT_NOT_FOUND"


class FakeGateway(payment_pb2_grpc.PaymentServiceServicer):
    """Takes what it is sent, once a request_id. Tests script its failures and slowness."""

    def __init__(self) -> None:
        self.received: list[Message] = []
        self.failures: list[FiscError] = []
        self.failures_after_effect: list[FiscError] = []
        self.delay_s = 0.0
        self.payments: dict[str, payment_pb2.Payment] = {}
        self.breaks_of_watch = 0
        self.next_states: list[payment_pb2.Payment.State.ValueType] = []
        self._bodies: dict[str, tuple[bytes, Any]] = {}

    def register(self, server: grpc.aio.Server) -> None:
        payment_pb2_grpc.add_PaymentServiceServicer_to_server(self, server)

    @override
    async def CreatePayment(
        self, request: payment_pb2.CreatePaymentRequest, context: Any
    ) -> payment_pb2.CreatePaymentResponse:
        payment = await self._once(request, context, lambda: self._new_payment(request))
        return payment_pb2.CreatePaymentResponse(payment=payment)

    @override
    async def BatchCreatePayments(
        self, request: payment_pb2.BatchCreatePaymentsRequest, context: Any
    ) -> payment_pb2.BatchCreatePaymentsResponse:
        await self._enter(request, context)
        refused = verdict_pb2.ItemError(
            reason="CURRENCY_NOT_ENABLED", kind=verdict_pb2.ItemError.KIND_REJECTED
        )
        return payment_pb2.BatchCreatePaymentsResponse(
            results=[
                payment_pb2.CreatePaymentResult(payment=self._new_payment(each))
                if each.amount.currency == "CNY"
                else payment_pb2.CreatePaymentResult(error=refused)
                for each in request.requests
            ]
        )

    @override
    async def GetPayment(
        self, request: payment_pb2.GetPaymentRequest, context: Any
    ) -> payment_pb2.GetPaymentResponse:
        await self._enter(request, context)
        return payment_pb2.GetPaymentResponse(payment=self._find(request.payment_id))

    @override
    async def ListPayments(
        self, request: payment_pb2.ListPaymentsRequest, context: Any
    ) -> payment_pb2.ListPaymentsResponse:
        await self._enter(request, context)
        chosen = [
            payment
            for payment in reversed(self.payments.values())
            if request.state in (_STATE.STATE_UNSPECIFIED, payment.state)
            and request.order_ref in ("", payment.order_ref)
        ]
        start = int(request.page_token or "0")
        end = start + (request.page_size or 100)
        return payment_pb2.ListPaymentsResponse(
            payments=chosen[start:end], next_page_token=str(end) if end < len(chosen) else ""
        )

    @override
    async def CancelPayment(
        self, request: payment_pb2.CancelPaymentRequest, context: Any
    ) -> payment_pb2.CancelPaymentResponse:
        def cancel() -> payment_pb2.Payment:
            payment = self._find(request.payment_id)
            payment.state = _STATE.STATE_CANCELED
            return payment

        payment = await self._once(request, context, cancel)
        return payment_pb2.CancelPaymentResponse(payment=payment)

    @override
    async def CapturePayment(
        self, request: payment_pb2.CapturePaymentRequest, context: Any
    ) -> payment_pb2.CapturePaymentResponse:
        capture = payment_pb2.Capture(
            capture_id="cap_1",
            payment_id=request.payment_id,
            request_id=request.request_id,
            amount=request.amount if request.HasField("amount") else None,
            is_final=request.is_final,
            state=payment_pb2.Capture.STATE_SUCCEEDED,
        )
        capture = await self._once(request, context, lambda: capture)
        return payment_pb2.CapturePaymentResponse(capture=capture)

    @override
    async def VoidPayment(
        self, request: payment_pb2.VoidPaymentRequest, context: Any
    ) -> payment_pb2.VoidPaymentResponse:
        payment = await self._once(request, context, lambda: self._find(request.payment_id))
        return payment_pb2.VoidPaymentResponse(payment=payment)

    @override
    async def GetCapture(
        self, request: payment_pb2.GetCaptureRequest, context: Any
    ) -> payment_pb2.GetCaptureResponse:
        await self._enter(request, context)
        capture = payment_pb2.Capture(capture_id=request.capture_id)
        return payment_pb2.GetCaptureResponse(capture=capture)

    @override
    async def ListCaptures(
        self, request: payment_pb2.ListCapturesRequest, context: Any
    ) -> payment_pb2.ListCapturesResponse:
        await self._enter(request, context)
        capture = payment_pb2.Capture(payment_id=request.payment_id)
        return payment_pb2.ListCapturesResponse(captures=[capture])

    @override
    async def WatchPayment(
        self, request: payment_pb2.WatchPaymentRequest, context: Any
    ) -> AsyncIterator[payment_pb2.WatchPaymentResponse]:
        await self._enter(request, context)
        payment = self._find(request.payment_id)
        yield payment_pb2.WatchPaymentResponse(payment=payment)
        while self.next_states:
            if self.breaks_of_watch:
                self.breaks_of_watch -= 1
                await context.abort(grpc.StatusCode.UNAVAILABLE, "the connection is too old")
            payment.state = self.next_states.pop(0)
            payment.version += 1
            yield payment_pb2.WatchPaymentResponse(payment=payment)
        if payment.state == _STATE.STATE_PENDING:
            await asyncio.sleep(60)

    @override
    async def CreateRefund(
        self, request: payment_pb2.CreateRefundRequest, context: Any
    ) -> payment_pb2.CreateRefundResponse:
        refund = payment_pb2.Refund(
            refund_id="ref_1",
            payment_id=request.payment_id,
            request_id=request.request_id,
            amount=request.amount,
            note=request.note,
            state=payment_pb2.Refund.STATE_SUCCEEDED,
        )
        refund = await self._once(request, context, lambda: refund)
        return payment_pb2.CreateRefundResponse(refund=refund)

    @override
    async def GetRefund(
        self, request: payment_pb2.GetRefundRequest, context: Any
    ) -> payment_pb2.GetRefundResponse:
        await self._enter(request, context)
        refund = payment_pb2.Refund(refund_id=request.refund_id)
        return payment_pb2.GetRefundResponse(refund=refund)

    @override
    async def ListRefunds(
        self, request: payment_pb2.ListRefundsRequest, context: Any
    ) -> payment_pb2.ListRefundsResponse:
        await self._enter(request, context)
        refund = payment_pb2.Refund(payment_id=request.payment_id)
        return payment_pb2.ListRefundsResponse(refunds=[refund])

    @override
    async def CreatePayout(
        self, request: payment_pb2.CreatePayoutRequest, context: Any
    ) -> payment_pb2.CreatePayoutResponse:
        payout = payment_pb2.Payout(
            payout_id="pout_1",
            request_id=request.request_id,
            amount=request.amount,
            payee=request.payee,
            state=payment_pb2.Payout.STATE_SUCCEEDED,
        )
        payout = await self._once(request, context, lambda: payout)
        return payment_pb2.CreatePayoutResponse(payout=payout)

    @override
    async def GetPayout(
        self, request: payment_pb2.GetPayoutRequest, context: Any
    ) -> payment_pb2.GetPayoutResponse:
        await self._enter(request, context)
        return payment_pb2.GetPayoutResponse(payout=payment_pb2.Payout(payout_id=request.payout_id))

    @override
    async def ListPayouts(
        self, request: payment_pb2.ListPayoutsRequest, context: Any
    ) -> payment_pb2.ListPayoutsResponse:
        await self._enter(request, context)
        return payment_pb2.ListPayoutsResponse(payouts=[payment_pb2.Payout(payout_id="pout_1")])

    def _new_payment(self, request: payment_pb2.CreatePaymentRequest) -> payment_pb2.Payment:
        payment_id = f"pay_{len(self.payments) + 1}"
        payment = payment_pb2.Payment(
            payment_id=payment_id,
            request_id=request.request_id,
            order_ref=request.order_ref,
            amount=request.amount,
            method=request.method,
            state=_STATE.STATE_PENDING if self.next_states else _STATE.STATE_SUCCEEDED,
            version=1,
            capture_method=request.capture_method,
        )
        self.payments[payment_id] = payment
        return payment

    def _find(self, payment_id: str) -> payment_pb2.Payment:
        if payment_id not in self.payments:
            raise PaymentNotFound(field="payment_id")
        return self.payments[payment_id]

    async def _enter(self, request: Message, context: Any) -> None:
        self.received.append(request)
        if dict(context.invocation_metadata()).get("authorization") != f"Bearer {API_KEY}":
            raise ApiKeyInvalid
        await asyncio.sleep(self.delay_s)
        if self.failures:
            raise self.failures.pop(0)

    async def _once(self, request: Any, context: Any, make: Callable[[], Any]) -> Any:
        await self._enter(request, context)
        body = request.SerializeToString(deterministic=True)
        if request.request_id not in self._bodies:
            self._bodies[request.request_id] = (body, make())
        known_body, answer = self._bodies[request.request_id]
        if known_body != body:
            raise RequestIdReused(field="request_id")
        if self.failures_after_effect:
            raise self.failures_after_effect.pop(0)
        return answer
