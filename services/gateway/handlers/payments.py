"""PaymentService: what merchants call."""

import hashlib
from collections.abc import AsyncIterator
from typing import Any, TypeAlias

import grpc
from google.protobuf.message import Message

from fisc.gateway.v1 import payment_pb2, payment_pb2_grpc
from libs.errors import FiscError
from libs.paging import PageRequest
from libs.rpc.convert import error_to_item
from libs.rpc.interceptors import Validator
from libs.rpc.status import RequestInvalid
from services.gateway.clients.wire import METHOD_NAMES, ROUTINGS
from services.gateway.domain import method as methods
from services.gateway.domain.payment import Payment
from services.gateway.handlers import admission, auth, messages
from services.gateway.usecases.captures import Captures
from services.gateway.usecases.follow_ups import FollowUpOrder
from services.gateway.usecases.operations import Merchants
from services.gateway.usecases.payments import PaymentOrder, Payments
from services.gateway.usecases.payouts import PayoutRequest, Payouts
from services.gateway.usecases.refunds import Refunds

SERVICE_NAME = "fisc.gateway.v1.PaymentService"
Context: TypeAlias = "grpc.aio.ServicerContext[Any, Any]"


class PaymentHandlers(payment_pb2_grpc.PaymentServiceServicer):
    """Contract ↔ use cases."""

    def __init__(
        self,
        *,
        merchants: Merchants,
        payments: Payments,
        captures: Captures,
        refunds: Refunds,
        payouts: Payouts,
        gate: admission.Gate,
    ) -> None:
        self._merchants = merchants
        self._payments = payments
        self._captures = captures
        self._refunds = refunds
        self._payouts = payouts
        self._gate = gate
        self._validator = Validator()

    def register(self, server: grpc.aio.Server) -> None:
        payment_pb2_grpc.add_PaymentServiceServicer_to_server(self, server)

    async def CreatePayment(
        self, request: payment_pb2.CreatePaymentRequest, context: Context
    ) -> payment_pb2.CreatePaymentResponse:
        merchant = await auth.merchant_of(context, self._merchants)
        with self._gate.share(merchant.merchant_id):
            payment = await self._payments.create(merchant, _payment_order(request))
        return payment_pb2.CreatePaymentResponse(payment=messages.payment(payment))

    async def BatchCreatePayments(
        self, request: payment_pb2.BatchCreatePaymentsRequest, context: Context
    ) -> payment_pb2.BatchCreatePaymentsResponse:
        merchant_id = (merchant := await auth.merchant_of(context, self._merchants)).merchant_id
        orders = [self._order_or_refusal(each) for each in request.requests]
        with self._gate.share(merchant_id), self._gate.items(merchant_id, len(orders)):
            answers = await self._payments.create_all(merchant, orders)
        return payment_pb2.BatchCreatePaymentsResponse(results=map(_payment_result, answers))

    async def GetPayment(
        self, request: payment_pb2.GetPaymentRequest, context: Context
    ) -> payment_pb2.GetPaymentResponse:
        merchant = await auth.merchant_of(context, self._merchants)
        payment = await self._payments.get(merchant.merchant_id, request.payment_id)
        return payment_pb2.GetPaymentResponse(payment=messages.payment(payment))

    async def ListPayments(
        self, request: payment_pb2.ListPaymentsRequest, context: Context
    ) -> payment_pb2.ListPaymentsResponse:
        merchant = await auth.merchant_of(context, self._merchants)
        page = await self._payments.page(
            merchant.merchant_id,
            messages.payment_states_named(request.state),
            request.order_ref,
            PageRequest(request.page_size, request.page_token),
        )
        return payment_pb2.ListPaymentsResponse(
            payments=[messages.payment(payment) for payment in page.items],
            next_page_token=page.next_token,
        )

    async def CancelPayment(
        self, request: payment_pb2.CancelPaymentRequest, context: Context
    ) -> payment_pb2.CancelPaymentResponse:
        merchant = await auth.merchant_of(context, self._merchants)
        payment = await self._payments.cancel(merchant.merchant_id, request.payment_id)
        return payment_pb2.CancelPaymentResponse(payment=messages.payment(payment))

    async def WatchPayment(
        self, request: payment_pb2.WatchPaymentRequest, context: Context
    ) -> AsyncIterator[payment_pb2.WatchPaymentResponse]:
        merchant = await auth.merchant_of(context, self._merchants)
        async for payment in self._payments.watch(merchant.merchant_id, request.payment_id):
            yield payment_pb2.WatchPaymentResponse(payment=messages.payment(payment))

    async def CapturePayment(
        self, request: payment_pb2.CapturePaymentRequest, context: Context
    ) -> payment_pb2.CapturePaymentResponse:
        merchant = await auth.merchant_of(context, self._merchants)
        order = FollowUpOrder(
            request_id=request.request_id,
            fingerprint=_fingerprint(request),
            payment_id=request.payment_id,
            amount_minor=request.amount.amount_minor if request.HasField("amount") else None,
            currency=request.amount.currency,
            is_final=request.is_final,
        )
        with self._gate.share(merchant.merchant_id):
            capture = await self._captures.create(merchant.merchant_id, order)
        return payment_pb2.CapturePaymentResponse(capture=messages.capture(capture))

    async def VoidPayment(
        self, request: payment_pb2.VoidPaymentRequest, context: Context
    ) -> payment_pb2.VoidPaymentResponse:
        merchant = await auth.merchant_of(context, self._merchants)
        payment = await self._payments.void(merchant.merchant_id, request.payment_id)
        return payment_pb2.VoidPaymentResponse(payment=messages.payment(payment))

    async def GetCapture(
        self, request: payment_pb2.GetCaptureRequest, context: Context
    ) -> payment_pb2.GetCaptureResponse:
        merchant = await auth.merchant_of(context, self._merchants)
        capture = await self._captures.get(merchant.merchant_id, request.capture_id)
        return payment_pb2.GetCaptureResponse(capture=messages.capture(capture))

    async def ListCaptures(
        self, request: payment_pb2.ListCapturesRequest, context: Context
    ) -> payment_pb2.ListCapturesResponse:
        merchant = await auth.merchant_of(context, self._merchants)
        page = await self._captures.page(
            merchant.merchant_id,
            request.payment_id,
            PageRequest(request.page_size, request.page_token),
        )
        return payment_pb2.ListCapturesResponse(
            captures=[messages.capture(capture) for capture in page.items],
            next_page_token=page.next_token,
        )

    async def CreateRefund(
        self, request: payment_pb2.CreateRefundRequest, context: Context
    ) -> payment_pb2.CreateRefundResponse:
        merchant = await auth.merchant_of(context, self._merchants)
        order = FollowUpOrder(
            request_id=request.request_id,
            fingerprint=_fingerprint(request),
            payment_id=request.payment_id,
            amount_minor=request.amount.amount_minor,
            currency=request.amount.currency,
            note=request.note,
        )
        with self._gate.share(merchant.merchant_id):
            refund = await self._refunds.create(merchant.merchant_id, order)
        return payment_pb2.CreateRefundResponse(refund=messages.refund(refund))

    async def GetRefund(
        self, request: payment_pb2.GetRefundRequest, context: Context
    ) -> payment_pb2.GetRefundResponse:
        merchant = await auth.merchant_of(context, self._merchants)
        refund = await self._refunds.get(merchant.merchant_id, request.refund_id)
        return payment_pb2.GetRefundResponse(refund=messages.refund(refund))

    async def ListRefunds(
        self, request: payment_pb2.ListRefundsRequest, context: Context
    ) -> payment_pb2.ListRefundsResponse:
        merchant = await auth.merchant_of(context, self._merchants)
        page = await self._refunds.page(
            merchant.merchant_id,
            request.payment_id,
            PageRequest(request.page_size, request.page_token),
        )
        return payment_pb2.ListRefundsResponse(
            refunds=[messages.refund(refund) for refund in page.items],
            next_page_token=page.next_token,
        )

    async def CreatePayout(
        self, request: payment_pb2.CreatePayoutRequest, context: Context
    ) -> payment_pb2.CreatePayoutResponse:
        merchant = await auth.merchant_of(context, self._merchants)
        with self._gate.share(merchant.merchant_id):
            payout = await self._payouts.create(merchant, _payout_request(request))
        return payment_pb2.CreatePayoutResponse(payout=messages.payout(payout))

    async def GetPayout(
        self, request: payment_pb2.GetPayoutRequest, context: Context
    ) -> payment_pb2.GetPayoutResponse:
        merchant = await auth.merchant_of(context, self._merchants)
        payout = await self._payouts.get(merchant.merchant_id, request.payout_id)
        return payment_pb2.GetPayoutResponse(payout=messages.payout(payout))

    async def ListPayouts(
        self, request: payment_pb2.ListPayoutsRequest, context: Context
    ) -> payment_pb2.ListPayoutsResponse:
        merchant = await auth.merchant_of(context, self._merchants)
        page = await self._payouts.page(
            merchant.merchant_id, PageRequest(request.page_size, request.page_token)
        )
        return payment_pb2.ListPayoutsResponse(
            payouts=[messages.payout(payout) for payout in page.items],
            next_page_token=page.next_token,
        )

    def _order_or_refusal(
        self, request: payment_pb2.CreatePaymentRequest
    ) -> PaymentOrder | RequestInvalid:
        try:
            self._validator.check(request)
        except RequestInvalid as error:
            return error
        return _payment_order(request)


def _payment_result(answer: Payment | FiscError) -> payment_pb2.CreatePaymentResult:
    if isinstance(answer, FiscError):
        return payment_pb2.CreatePaymentResult(error=error_to_item(answer))
    return payment_pb2.CreatePaymentResult(payment=messages.payment(answer))


def _payment_order(request: payment_pb2.CreatePaymentRequest) -> PaymentOrder:
    return PaymentOrder(
        request_id=request.request_id,
        fingerprint=_fingerprint(request),
        amount_minor=request.amount.amount_minor,
        currency=request.amount.currency,
        method=METHOD_NAMES[request.method],
        order_ref=request.order_ref,
        description=request.description,
        customer_id=request.payer.customer_id,
        payer_token=request.payer.payer_token,
        auth_code=request.payer.auth_code,
        wallet_user_id=request.payer.wallet_user_id,
        bank_code=request.payer.bank_code,
        payer_account_id=request.payer.account_id,
        return_url=request.return_url,
        ip=request.payer.ip,
        country=request.payer.country,
        device_id=request.payer.device_id,
        routing=ROUTINGS[request.routing],
        channel_ids=tuple(request.channel_ids),
        expires_in_s=request.expires_in_s,
        capture_later=request.capture_method == payment_pb2.CAPTURE_METHOD_MANUAL,
    )


def _payout_request(request: payment_pb2.CreatePayoutRequest) -> PayoutRequest:
    return PayoutRequest(
        request_id=request.request_id,
        fingerprint=_fingerprint(request),
        amount_minor=request.amount.amount_minor,
        currency=request.amount.currency,
        payee_account=request.payee.account,
        payee_name=request.payee.name,
        payee_bank_code=request.payee.bank_code,
        description=request.description,
        method=METHOD_NAMES[request.method] if request.method else methods.PAYOUT_DEFAULT,
        routing=ROUTINGS[request.routing],
    )


def _fingerprint(request: Message) -> str:
    """Hash of everything a request says: the same request_id must always come with the same."""
    return hashlib.sha256(request.SerializeToString(deterministic=True)).hexdigest()
