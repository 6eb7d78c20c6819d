"""A capture (请款): takes all or part of what an authorised payment has reserved."""

from dataclasses import dataclass
from datetime import datetime
from typing import ClassVar, TypeAlias

from typing_extensions import override

from services.gateway.domain import refund
from services.gateway.domain.follow_up import FollowUp
from services.gateway.domain.saga import Attempt, Step


@dataclass(frozen=True, slots=True, kw_only=True)
class Capture(FollowUp):
    """One order to take reserved money."""

    kind: ClassVar[str] = "capture"

    capture_id: str
    is_final: bool
    """It releases what it and earlier captures leave."""

    @override
    def beside_late_success(self, attempt: Attempt, now: datetime) -> tuple[object, ...]:
        """The payer gets it back: another capture may have taken its place."""
        return refund.of_late_success(
            attempt,
            payment_id=self.payment_id,
            payment_out_ref=self.payment_out_ref,
            merchant_id=self.merchant_id,
            amount_minor=self.amount_minor,
            payment_amount_minor=self.payment_amount_minor,
            currency=self.currency,
            now=now,
        )


CaptureStep: TypeAlias = Step[Capture, Attempt]
