"""A gateway without its processes: the real flows over a real store, and whoever works on them is the test.

`World` decides and writes as the driver does, one step at a time, so that a machine can let anything happen in between.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any, TypeVar

from libs.events.log import NewEvent
from libs.saga import flow
from libs.saga.flow import Step
from libs.saga.table import Saved
from services.gateway.domain import follow_up, payment_flow, payout, saga
from services.gateway.domain.capture import Capture
from services.gateway.domain.follow_up import FollowUpState
from services.gateway.domain.payment import Payment
from services.gateway.domain.refund import Refund
from services.gateway.domain.saga import Attempt, AttemptState, Signal
from services.gateway.handlers import messages
from services.gateway.store.sagas import SagaStore

T = TypeVar("T")

_DECIDE: dict[str, Any] = {
    "payment": payment_flow.decide,
    "capture": follow_up.decide,
    "refund": follow_up.decide,
    "payout": payout.decide,
}
_ENCODE: dict[str, Callable[[Any], Sequence[NewEvent]]] = {
    "payment": messages.encode_payment_events,
    "capture": messages.encode_capture_events,
    "refund": messages.encode_refund_events,
    "payout": messages.encode_payout_events,
}


class World:
    """A store, and the flows over it."""

    def __init__(self, store: SagaStore) -> None:
        self.store = store
        self.tables: dict[str, Any] = {table.flow: table for table in store.tables}

    def saved(self, kind: str, step: "Step[Any, Attempt]") -> Saved[Any, Attempt]:
        """A step with the facts it tells."""
        return Saved(step=step, events=_ENCODE[kind](step))

    async def create(self, kind: str, step: "Step[Any, Attempt]") -> Any:
        """What stands under its identity, which may be older."""
        [stored] = await self.tables[kind].create([self.saved(kind, step)])
        return _raised(stored)

    async def create_follow_up(self, order: Capture | Refund, now: datetime) -> Any:
        """None when the payment cannot bear it."""
        step = follow_up.open_now(order, now)
        return await self.store.create_follow_up(
            self.tables[order.kind], self.saved(order.kind, step)
        )

    async def load(self, kind: str, subject_id: str) -> tuple[Any, tuple[Attempt, ...]]:
        loaded: tuple[Any, tuple[Attempt, ...]] | None = await self.tables[kind].load(subject_id)
        assert loaded is not None, subject_id
        return loaded

    async def offer(
        self, kind: str, subject_id: str, signal: Signal, now: datetime
    ) -> "Step[Any, Attempt] | None":
        """Decides on what stands, and writes it."""
        subject, attempts = await self.load(kind, subject_id)
        attempt = attempts[-1] if attempts else None
        return await self.take(kind, subject, attempt, signal.as_of(attempts), now)

    async def take(
        self, kind: str, subject: Any, attempt: Attempt | None, signal: Signal, now: datetime
    ) -> "Step[Any, Attempt] | None":
        """Decides on what the caller believes to stand. Raises StaleWrite, and what the database refuses."""
        decided: Step[Any, Attempt] | None = _DECIDE[kind](subject, attempt, signal, now)
        if decided is None:
            return None
        step = flow.arrived(decided, subject, now)
        await self.write(kind, step)
        return step

    async def write(self, kind: str, step: "Step[Any, Attempt]") -> None:
        """Raises StaleWrite, and what the database refuses."""
        [result] = await self.tables[kind].save([self.saved(kind, step)])
        _raised(result)

    async def claim(self, kind: str, now: datetime) -> list[Any]:
        claimed: list[Any] = await self.tables[kind].claim(now, 100)
        return claimed


class Place:
    """Where machines run: an event loop of their own, and a store that begins empty with each example."""

    def __init__(self, loop: asyncio.AbstractEventLoop, begin: Callable[[], Awaitable[SagaStore]]):
        self._loop = loop
        self._begin = begin

    def run(self, work: Awaitable[T]) -> T:
        return self._loop.run_until_complete(work)

    def world(self) -> World:
        """An empty one."""
        return World(self.run(self._begin()))


def capture_of(
    payment: Payment,
    attempt: Attempt,
    number: int,
    amount_minor: int,
    now: datetime,
    *,
    final: bool,
) -> Capture:
    """An order to take of what this attempt has reserved."""
    return Capture(
        capture_id=f"cap_{number:026d}",
        is_final=final,
        **_order(payment, attempt, f"take-{number}", amount_minor, now),
    )


def refund_of(
    payment: Payment, attempt: Attempt, number: int, amount_minor: int, now: datetime
) -> Refund:
    """An order to give back what this attempt was paid."""
    return Refund(
        refund_id=f"ref_{number:026d}",
        note="",
        **_order(payment, attempt, f"back-{number}", amount_minor, now),
    )


def _order(
    payment: Payment, attempt: Attempt, request_id: str, amount_minor: int, now: datetime
) -> dict[str, Any]:
    return {
        "payment_id": payment.payment_id,
        "merchant_id": payment.merchant_id,
        "request_id": request_id,
        "fingerprint": "f",
        "amount_minor": amount_minor,
        "currency": payment.currency,
        "state": FollowUpState.SENT,
        "channel_id": attempt.channel_id,
        "payment_out_ref": attempt.out_ref,
        "payment_amount_minor": payment.amount_minor,
        "created_at": now,
        "updated_at": now,
        "hard_deadline_at": now + timedelta(seconds=saga.HARD_DEADLINE_S),
        "next_run_at": saga.leased_until(now),
    }


def succeeded(attempt: Attempt) -> Attempt:
    """An attempt as somebody who must not would write it."""
    return replace(attempt, state=AttemptState.SUCCEEDED)


def _raised(result: Any) -> Any:
    if isinstance(result, BaseException):
        raise result
    return result
