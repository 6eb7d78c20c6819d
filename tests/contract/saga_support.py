"""Payments, captures, refunds and payouts as the stores' contract tests make them."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

from libs.events.log import NewEvent
from libs.saga.flow import LEASE_S
from libs.saga.table import Saved
from services.gateway.domain import follow_up, payment_flow, saga
from services.gateway.domain.capture import Capture
from services.gateway.domain.channel import Outcome, OutcomeKind
from services.gateway.domain.follow_up import FollowUpState
from services.gateway.domain.payment import Payment, PaymentState, PaymentStep, Verdicts
from services.gateway.domain.payout import Payout, PayoutState
from services.gateway.domain.refund import Refund
from services.gateway.domain.saga import Answered, Attempt, Step
from services.gateway.handlers import messages
from services.gateway.store.operators import OperatorStore
from services.gateway.store.registry import Registry
from services.gateway.store.sagas import SagaStore

NOW = datetime(2026, 11, 11, 4, 0, tzinfo=UTC)
LEASE = timedelta(seconds=LEASE_S)
DAY = timedelta(days=1)
AMOUNT_MINOR = 1_000

F = TypeVar("F", Capture, Refund)


@dataclass
class Stores:
    """All stores over one database."""

    sagas: SagaStore
    registry: Registry
    operators: OperatorStore


def payment(
    number: int = 1,
    request_id: str = "",
    plan: tuple[str, ...] = ("a", "b"),
    *,
    capture_later: bool = False,
) -> Payment:
    return Payment(
        payment_id=f"pay_{number:026d}",
        merchant_id="mer_1",
        request_id=request_id or f"order-{number}",
        fingerprint="f",
        order_ref="",
        description="",
        amount_minor=AMOUNT_MINOR,
        currency="CNY",
        method="CARD",
        payer_token="",
        capture_later=capture_later,
        state=PaymentState.SENT,
        evaluation_id=f"mer_1:order-{number}",
        plan=plan,
        created_at=NOW,
        updated_at=NOW,
        expires_at=NOW + timedelta(minutes=15),
        hard_deadline_at=NOW + DAY,
        next_run_at=None,
    )


def opened(draft: Payment) -> PaymentStep:
    verdicts = Verdicts(risk="ALLOW", case_id="", plan=draft.plan)
    return payment_flow.open_payment(draft, verdicts, NOW)


def answered(step: PaymentStep, kind: OutcomeKind) -> PaymentStep:
    """What a channel's word makes of the current attempt."""
    attempt = step.attempt
    assert attempt is not None
    signal = Answered(outcome=Outcome(kind=kind), attempt_number=attempt.number, latency_ms=5)
    after = payment_flow.decide(step.subject, attempt, signal, NOW)
    assert after is not None
    return after


def saved(step: Step[Any, Attempt]) -> Saved[Any, Attempt]:
    """As the driver hands it to the store."""
    encode: dict[type[Any], Any] = {
        Payment: messages.encode_payment_events,
        Capture: messages.encode_capture_events,
        Refund: messages.encode_refund_events,
        Payout: messages.encode_payout_events,
    }
    events: Sequence[NewEvent] = encode[type(step.subject)](step)
    return Saved(step=step, events=events)


def capture(
    number: int, amount_minor: int, payment_id: str, *, is_final: bool = False
) -> Saved[Capture, Attempt]:
    order = Capture(
        capture_id=f"cap_{number:026d}", is_final=is_final, **_follow_up(amount_minor, payment_id),
        request_id=f"take-{number}",
    )  # fmt: skip
    return saved(follow_up.open_now(order, NOW))


def refund(number: int, amount_minor: int, payment_id: str) -> Saved[Refund, Attempt]:
    order = Refund(
        refund_id=f"ref_{number:026d}", note="", **_follow_up(amount_minor, payment_id),
        request_id=f"back-{number}",
    )  # fmt: skip
    return saved(follow_up.open_now(order, NOW))


def payout(number: int) -> Payout:
    return Payout(
        payout_id=f"pout_{number:026d}",
        merchant_id="mer_1",
        request_id=f"salary-{number}",
        fingerprint="f",
        amount_minor=100,
        currency="CNY",
        payee_account="6222000011112222",
        payee_name="payee",
        payee_bank_code="",
        description="",
        state=PayoutState.HOLDING,
        evaluation_id=f"mer_1:payout:{number}",
        plan=("a", "b"),
        created_at=NOW,
        updated_at=NOW,
        hard_deadline_at=NOW + DAY,
        next_run_at=None,
    )


async def create(stores: Stores, step: PaymentStep) -> PaymentStep:
    await stores.sagas.payments.create([saved(step)])
    return step


async def standing(
    stores: Stores, kind: OutcomeKind, number: int = 1, *, capture_later: bool = False
) -> PaymentStep:
    """A payment of which the channel has said this."""
    step = await create(stores, opened(payment(number, capture_later=capture_later)))
    after = answered(step, kind)
    await stores.sagas.payments.save([saved(after)])
    return after


async def paid(stores: Stores, number: int = 1) -> Payment:
    return (await standing(stores, OutcomeKind.SUCCEEDED, number)).subject


async def authorized(stores: Stores, number: int = 1) -> PaymentStep:
    return await standing(stores, OutcomeKind.AUTHORIZED, number, capture_later=True)


async def told(stores: Stores, asked: Saved[F, Attempt], *kinds: OutcomeKind) -> list[Any]:
    """What becomes of a follow-up that its channel says this of, one after the other."""
    results: list[Any] = []
    subject, attempt = asked.step.subject, asked.step.attempt
    is_refund = isinstance(subject, Refund)
    table: Any = stores.sagas.refunds if is_refund else stores.sagas.captures
    for kind in kinds:
        signal = Answered(outcome=Outcome(kind=kind), attempt_number=1)
        step = follow_up.decide(subject, attempt, signal, NOW)
        assert step is not None
        results += await table.save([saved(step)])
        subject, attempt = step.subject, step.attempt
    return results


async def row(stores: Stores, payment_id: str) -> Payment:
    loaded = await stores.sagas.payments.load(payment_id)
    assert loaded is not None
    return loaded[0]


async def event_types(stores: Stores) -> list[str]:
    return [event.type for event in await stores.registry.read_events("", 100)]


def due(step: PaymentStep, at: datetime, **changes: Any) -> PaymentStep:
    """The same, to be taken up at that time."""
    return replace(step, subject=replace(step.subject, next_run_at=at, **changes))


def _follow_up(amount_minor: int, payment_id: str) -> dict[str, Any]:
    return {
        "payment_id": payment_id,
        "merchant_id": "mer_1",
        "fingerprint": "f",
        "amount_minor": amount_minor,
        "currency": "CNY",
        "state": FollowUpState.SENT,
        "channel_id": "a",
        "payment_out_ref": saga.out_ref(payment_id, 1),
        "payment_amount_minor": AMOUNT_MINOR,
        "created_at": NOW,
        "updated_at": NOW,
        "hard_deadline_at": NOW + DAY,
        "next_run_at": NOW + LEASE,
    }
