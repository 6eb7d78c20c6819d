"""A refund (退款): gives back all or part of what was captured of a payment, or all of what a channel took late."""

import enum
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import ClassVar, TypeAlias

from typing_extensions import override

from services.gateway.domain import follow_up, saga
from services.gateway.domain.follow_up import FollowUp, FollowUpState
from services.gateway.domain.saga import Attempt, Step


class RefundOrigin(enum.StrEnum):
    """Who wanted it."""

    MERCHANT = "MERCHANT"
    LATE_SUCCESS = "LATE_SUCCESS"
    """The platform: a channel took money for a payment that had ended otherwise, or that another attempt had paid."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Refund(FollowUp):
    """One order to give a payer's money back."""

    kind: ClassVar[str] = "refund"

    refund_id: str
    note: str
    origin: RefundOrigin = RefundOrigin.MERCHANT

    @property
    @override
    def beside_success(self) -> tuple[object, ...]:
        if self.origin is RefundOrigin.LATE_SUCCESS:
            resolution, reason = "REFUNDED", saga.LATE_SUCCESS
            return (
                saga.CloseCase(subject_id=self.refund_id, resolution=resolution, reason=reason),
            )
        return ()

    @property
    @override
    def takes_of_payment(self) -> bool:
        return self.origin is RefundOrigin.MERCHANT


RefundStep: TypeAlias = Step[Refund, Attempt]


def of_late_success(
    attempt: Attempt,
    *,
    payment_id: str,
    payment_out_ref: str,
    merchant_id: str,
    amount_minor: int,
    payment_amount_minor: int,
    currency: str,
    now: datetime,
) -> tuple[saga.OpenCase, RefundStep]:
    """What gives back what this attempt took late, and its case. Its id is the attempt's, so that one success is refunded once."""
    refund = Refund(
        refund_id=f"ref_{attempt.attempt_id.partition('_')[2]}",
        payment_id=payment_id,
        merchant_id=merchant_id,
        request_id=f"late-success:{attempt.attempt_id}",
        fingerprint="",
        amount_minor=amount_minor,
        currency=currency,
        note="",
        origin=RefundOrigin.LATE_SUCCESS,
        state=FollowUpState.READY,
        channel_id=attempt.channel_id,
        payment_out_ref=payment_out_ref,
        payment_amount_minor=payment_amount_minor,
        created_at=now,
        updated_at=now,
        hard_deadline_at=now + timedelta(seconds=saga.HARD_DEADLINE_S),
        next_run_at=now,
    )
    # The refund's own: a payment may have several late successes, and other matters before a person, which this one must not close.
    case = saga.late_success_of(refund.refund_id, merchant_id, is_agreed=True)
    return case, follow_up.open_later(refund, now)
