"""Captures: take reserved money, read, list."""

from datetime import timedelta

from typing_extensions import override

from libs.errors import FiscError
from services.gateway.domain import saga
from services.gateway.domain.capability import Feature
from services.gateway.domain.capture import Capture
from services.gateway.domain.errors import (
    CaptureCurrencyMismatch,
    CaptureExceedsAuthorization,
    CaptureNotFound,
    CaptureUnsupported,
    PaymentNotAuthorized,
)
from services.gateway.domain.follow_up import FollowUpState
from services.gateway.domain.payment import Payment, PaymentState
from services.gateway.domain.saga import Attempt
from services.gateway.usecases.follow_ups import FollowUpOrder, FollowUps


class Captures(FollowUps[Capture]):
    """The capture use cases of all merchants."""

    @override
    def draft(
        self, payment: Payment, attempts: tuple[Attempt, ...], order: FollowUpOrder
    ) -> Capture:
        """Raises PaymentNotAuthorized, CaptureCurrencyMismatch, CaptureExceedsAuthorization, CaptureUnsupported."""
        if order.currency and order.currency != payment.currency:
            raise CaptureCurrencyMismatch(field="amount.currency", currency=payment.currency)
        if payment.state is not PaymentState.AUTHORIZED:
            raise PaymentNotAuthorized(field="payment_id", state=payment.state.value)
        amount_minor = _left_minor(payment) if order.amount_minor is None else order.amount_minor
        if not amount_minor:
            raise self.too_large(payment)
        self._check_offer(payment, attempts[-1].channel_id, amount_minor)
        now = self._clock.now()
        return Capture(
            capture_id=self._ids.new("cap"),
            payment_id=payment.payment_id,
            merchant_id=payment.merchant_id,
            request_id=order.request_id,
            fingerprint=order.fingerprint,
            amount_minor=amount_minor,
            currency=payment.currency,
            is_final=order.is_final,
            state=FollowUpState.SENT,
            channel_id=attempts[-1].channel_id,
            payment_out_ref=attempts[-1].out_ref,
            payment_amount_minor=payment.amount_minor,
            created_at=now,
            updated_at=now,
            hard_deadline_at=now + timedelta(seconds=saga.HARD_DEADLINE_S),
            next_run_at=saga.leased_until(now),
        )

    def _check_offer(self, payment: Payment, channel_id: str, amount_minor: int) -> None:
        is_first = not payment.captured_minor and not payment.capturing_minor
        if is_first and amount_minor == payment.amount_minor:
            return
        feature = Feature.PARTIAL_CAPTURE if is_first else Feature.MULTIPLE_CAPTURE
        if not self._channels.offers(channel_id, payment.method, feature):
            raise CaptureUnsupported(field="amount", channel_id=channel_id)

    @override
    def too_large(self, payment: Payment) -> FiscError:
        left_minor = _left_minor(payment)
        return CaptureExceedsAuthorization(
            f"{left_minor} minor units of this payment can still be captured",
            field="amount.amount_minor",
            capturable_minor=str(left_minor),
        )

    @override
    def not_found(self) -> FiscError:
        return CaptureNotFound(field="capture_id")


def _left_minor(payment: Payment) -> int:
    if payment.is_captured:
        return 0
    return payment.amount_minor - payment.captured_minor - payment.capturing_minor
