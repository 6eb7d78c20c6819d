"""Refunds: give back, read, list."""

from datetime import timedelta

from typing_extensions import override

from libs.errors import FiscError
from services.gateway.domain import saga
from services.gateway.domain.capability import Feature
from services.gateway.domain.errors import (
    PaymentNotRefundable,
    RefundCurrencyMismatch,
    RefundNotFound,
    RefundTooLarge,
    RefundUnsupported,
)
from services.gateway.domain.follow_up import FollowUpState
from services.gateway.domain.payment import Payment, PaymentState
from services.gateway.domain.refund import Refund
from services.gateway.domain.saga import Attempt, AttemptState
from services.gateway.usecases.follow_ups import FollowUpOrder, FollowUps


class Refunds(FollowUps[Refund]):
    """The refund use cases of all merchants."""

    @override
    def draft(
        self, payment: Payment, attempts: tuple[Attempt, ...], order: FollowUpOrder
    ) -> Refund:
        """Raises PaymentNotRefundable, RefundCurrencyMismatch, RefundUnsupported."""
        if order.currency != payment.currency:
            raise RefundCurrencyMismatch(field="amount.currency", currency=payment.currency)
        # An earlier attempt that was paid late is refunded by itself; the last one is what the merchant was paid by.
        paid = [attempt for attempt in attempts if attempt.state is AttemptState.SUCCEEDED]
        if payment.state is not PaymentState.SUCCEEDED or not paid:
            raise PaymentNotRefundable(field="payment_id", state=payment.state.value)
        is_all = order.amount_minor == payment.amount_minor
        feature = Feature.REFUND if is_all else Feature.PARTIAL_REFUND
        if not self._channels.offers(paid[-1].channel_id, payment.method, feature):
            raise RefundUnsupported(field="amount", channel_id=paid[-1].channel_id)
        now = self._clock.now()
        return Refund(
            refund_id=self._ids.new("ref"),
            payment_id=payment.payment_id,
            merchant_id=payment.merchant_id,
            request_id=order.request_id,
            fingerprint=order.fingerprint,
            amount_minor=order.amount_minor or 0,
            currency=order.currency,
            note=order.note,
            state=FollowUpState.SENT,
            channel_id=paid[-1].channel_id,
            payment_out_ref=paid[-1].out_ref,
            payment_amount_minor=payment.amount_minor,
            created_at=now,
            updated_at=now,
            hard_deadline_at=now + timedelta(seconds=saga.HARD_DEADLINE_S),
            next_run_at=saga.leased_until(now),
        )

    @override
    def too_large(self, payment: Payment) -> FiscError:
        rest_minor = payment.captured_minor - payment.refunded_minor
        return RefundTooLarge(
            f"{rest_minor} minor units of this payment can still be refunded",
            field="amount.amount_minor",
            refundable_minor=str(rest_minor),
        )

    @override
    def not_found(self) -> FiscError:
        return RefundNotFound(field="refund_id")
