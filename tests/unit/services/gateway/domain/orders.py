"""Orders as tests know them, and a way to lead one through its flow by hand."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any, Generic, TypeVar

from libs.saga.flow import Decide
from services.gateway.domain import follow_up, payment_flow, payout, saga
from services.gateway.domain.capture import Capture
from services.gateway.domain.channel import Outcome, OutcomeKind
from services.gateway.domain.follow_up import FollowUpState
from services.gateway.domain.payment import Payment, PaymentState, Verdicts
from services.gateway.domain.payout import Payout, PayoutState
from services.gateway.domain.refund import Refund
from services.gateway.domain.saga import Answered, Attempt, Signal, Step

NOW = datetime(2026, 11, 11, 4, 0, tzinfo=UTC)
VISIBLE = NOW + timedelta(seconds=saga.VISIBILITY_WINDOW_S)
DEADLINE = NOW + timedelta(days=1)
AMOUNT_MINOR = 1_000
PAYMENT = Payment(
    payment_id="pay_00000000000000000000000001",
    merchant_id="mer_1",
    request_id="order-1",
    fingerprint="f",
    order_ref="",
    description="",
    amount_minor=AMOUNT_MINOR,
    currency="CNY",
    method="CARD",
    payer_token="",
    state=PaymentState.SENT,
    evaluation_id="mer_1:order-1",
    plan=(),
    created_at=NOW,
    updated_at=NOW,
    expires_at=NOW + timedelta(minutes=15),
    hard_deadline_at=DEADLINE,
    next_run_at=None,
)
_FOLLOW_UP: dict[str, Any] = {
    "payment_id": PAYMENT.payment_id,
    "merchant_id": "mer_1",
    "fingerprint": "f",
    "amount_minor": 100,
    "currency": "CNY",
    "state": FollowUpState.SENT,
    "channel_id": "a",
    "payment_out_ref": "p1",
    "payment_amount_minor": AMOUNT_MINOR,
    "created_at": NOW,
    "updated_at": NOW,
    "hard_deadline_at": DEADLINE,
    "next_run_at": saga.leased_until(NOW),
}
REFUND = Refund(
    refund_id="ref_00000000000000000000000001", request_id="back-1", note="", **_FOLLOW_UP
)
CAPTURE = Capture(
    capture_id="cap_00000000000000000000000001",
    request_id="take-1",
    is_final=False,
    **_FOLLOW_UP,
)
PAYOUT = Payout(
    payout_id="pout_00000000000000000000000001",
    merchant_id="mer_1",
    request_id="salary-1",
    fingerprint="f",
    amount_minor=AMOUNT_MINOR,
    currency="CNY",
    payee_account="6222000011112222",
    payee_name="payee",
    payee_bank_code="",
    description="",
    state=PayoutState.HOLDING,
    evaluation_id="mer_1:payout:salary-1",
    plan=(),
    created_at=NOW,
    updated_at=NOW,
    hard_deadline_at=DEADLINE,
    next_run_at=None,
)

S = TypeVar("S", bound=Payment | Capture | Refund | Payout)


def answered(
    kind: OutcomeKind,
    number: int = 1,
    *,
    latency_ms: int | None = 5,
    attempt: Attempt | None = None,
    **details: Any,
) -> Answered:
    """A channel's word on an attempt; `details` are the outcome's other fields."""
    outcome = Outcome(kind=kind, **details)
    return Answered(outcome=outcome, attempt_number=number, latency_ms=latency_ms, attempt=attempt)


class Walk(Generic[S]):
    """One subject on its way: what was last decided, and every attempt as it stands."""

    def __init__(self, decide: Decide[S, Attempt], step: Step[S, Attempt]) -> None:
        self._decide = decide
        self.now = NOW
        self.step = step
        self.subject = step.subject
        self.attempts = {each.number: each for each in step.attempts}

    @property
    def attempt(self) -> Attempt | None:
        """The current one."""
        return self.attempts[max(self.attempts)] if self.attempts else None

    def at(self, now: datetime) -> "Walk[S]":
        """Lets time pass."""
        self.now = now
        return self

    def offer(self, signal: Signal) -> Step[S, Attempt] | None:
        """What the flow makes of a signal; taken if it is anything."""
        step = self._decide(self.subject, self.attempt, signal, self.now)
        if step is not None:
            self.step, self.subject = step, step.subject
            self.attempts |= {each.number: each for each in step.attempts}
        return step

    def hear(self, signal: Signal) -> Step[S, Attempt]:
        """The same, of a signal that must mean something."""
        step = self.offer(signal)
        assert step is not None, signal
        return step

    def told(self, kind: OutcomeKind, **details: Any) -> Step[S, Attempt]:
        """Hears a word of the channel on the current attempt."""
        number = self.attempt.number if self.attempt else 1
        return self.hear(answered(kind, number, **details))

    def change(self, **columns: Any) -> None:
        """What a statement of another row's transaction writes: a capture reserves, settles, gives back."""
        subject: Any = self.subject
        self.subject = replace(subject, version=subject.version + 1, **columns)


def pay(
    *plan: str, risk: str = "ALLOW", capture_later: bool = False, **columns: Any
) -> Walk[Payment]:
    """A payment just opened."""
    draft = replace(PAYMENT, capture_later=capture_later, **columns)
    step = payment_flow.open_payment(draft, Verdicts(risk=risk, case_id="case_1", plan=plan), NOW)
    return Walk(payment_flow.decide, step)


def authorized(*plan: str) -> Walk[Payment]:
    """A payment whose money is reserved."""
    walk = pay(*(plan or ("a",)), capture_later=True)
    walk.told(OutcomeKind.AUTHORIZED)
    return walk


def refund(**columns: Any) -> Walk[Refund]:
    """A refund just sent."""
    return Walk(follow_up.decide, follow_up.open_now(replace(REFUND, **columns), NOW))


def capture(**columns: Any) -> Walk[Capture]:
    """A capture just sent."""
    return Walk(follow_up.decide, follow_up.open_now(replace(CAPTURE, **columns), NOW))


def pay_out(*plan: str, risk: str = "ALLOW") -> Walk[Payout]:
    """A payout just opened: the ledger is asked first."""
    step = payout.open_payout(PAYOUT, risk, "case_1", plan, NOW)
    return Walk(payout.decide, step)


def sent_out(*plan: str) -> Walk[Payout]:
    """A payout whose money is held and whose order is out."""
    walk = pay_out(*(plan or ("a",)))
    walk.hear(saga.HoldPlaced())
    return walk
