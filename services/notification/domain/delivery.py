"""One event on its way to one endpoint: where it stands, and what an attempt makes of it."""

import enum
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from http import HTTPStatus
from typing import Final

# A delay is spread over this part of itself to either side, so that a receiver is not hit by all at once.
JITTER: Final = 0.1
_SUCCESS: Final = range(200, 300)
_REDIRECT: Final = range(300, 400)


class DeliveryState(enum.StrEnum):
    """Where a delivery stands."""

    PENDING = "PENDING"
    DELIVERED = "DELIVERED"
    DEAD = "DEAD"


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What one POST got: a status, or 0 and the reason why there was none."""

    http_status: int
    error: str = ""

    @property
    def is_success(self) -> bool:
        """Whether the receiver has heard."""
        return self.http_status in _SUCCESS

    @property
    def is_gone(self) -> bool:
        """Whether the receiver wants to hear nothing any more."""
        return self.http_status == HTTPStatus.GONE

    @property
    def reason(self) -> str:
        """What went wrong, UPPER_SNAKE; empty for a success."""
        if self.error or self.is_success:
            return self.error
        if self.http_status in _REDIRECT:
            return "REDIRECT_REFUSED"
        return f"HTTP_{self.http_status}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """One POST, as recorded."""

    attempted_at: datetime
    http_status: int
    latency_ms: int
    error: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivery:
    """A delivery. `next_attempt_at` is set while it is pending.

    `round_attempts` counts since it was made or last sent again by hand; `epoch` grows each time somebody takes it
    up, so that whoever held it before can tell.
    """

    delivery_id: str
    endpoint_id: str
    merchant_id: str
    event_id: str
    event_type: str
    subject_id: str
    body: str
    state: DeliveryState
    attempts_count: int
    round_attempts: int
    next_attempt_at: datetime | None
    epoch: int
    created_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """A due delivery that is ours until its lease ends, and what is needed to send it."""

    delivery_id: str
    endpoint_id: str
    epoch: int
    url: str
    body: str
    sealed_secrets: tuple[bytes, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Backlog:
    """What waits and what was given up."""

    pending_count: int
    oldest_pending_at: datetime | None
    dead_count: int


def after_attempt(
    delivery: Delivery,
    answer: Answer,
    *,
    epoch: int,
    now: datetime,
    delays_s: Sequence[float],
    jitter: float,
) -> Delivery:
    """The delivery after an attempt made under `epoch`; `jitter` is random in [0, 1).

    An attempt that was overtaken, by a redelivery or because its lease ran out, only counts. A failure of one that
    is no longer pending, because its endpoint was disabled, changes nothing else either.
    """
    counted = replace(delivery, attempts_count=delivery.attempts_count + 1)
    if epoch != delivery.epoch:
        return counted
    counted = replace(counted, round_attempts=delivery.round_attempts + 1)
    if answer.is_success:
        return replace(counted, state=DeliveryState.DELIVERED, next_attempt_at=None)
    if delivery.state is not DeliveryState.PENDING:
        return counted
    if delivery.round_attempts >= len(delays_s):
        return replace(counted, state=DeliveryState.DEAD, next_attempt_at=None)
    delay_s = spread(delays_s[delivery.round_attempts], jitter)
    return replace(counted, next_attempt_at=now + timedelta(seconds=delay_s))


def again(delivery: Delivery, now: datetime) -> Delivery:
    """The delivery pending again, due now, with the whole schedule before it."""
    return replace(
        delivery,
        state=DeliveryState.PENDING,
        round_attempts=0,
        next_attempt_at=now,
        epoch=delivery.epoch + 1,
    )


def spread(delay_s: float, jitter: float) -> float:
    """A delay moved by up to JITTER of itself; `jitter` in [0, 1) says where to."""
    return delay_s * (1 - JITTER + 2 * JITTER * jitter)
