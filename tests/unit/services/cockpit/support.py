"""Facts for the read model."""

from datetime import UTC, datetime
from typing import Any

from services.cockpit.domain.facts import Attempt, Fact, Kind

# Noon in Shanghai on 2026-11-20.
NOON = datetime(2026, 11, 20, 4, 0, tzinfo=UTC)


def attempt(number: int, channel_id: str, state: str, latency_ms: int = 100) -> Attempt:
    return Attempt(
        attempt_id=f"att_{number}",
        number=number,
        channel_id=channel_id,
        state=state,
        latency_ms=latency_ms,
    )


def fact(subject_id: str, state: str = "SUCCEEDED", *, at: datetime = NOON, **changes: Any) -> Fact:
    """A payment of 100.00 CNY that reached this state at this moment by both clocks."""
    values: dict[str, Any] = {
        "kind": Kind.PAYMENT,
        "merchant_id": "mer_1",
        "currency": "CNY",
        "amount_minor": 10_000,
        "channel_id": "wechat-main",
        "attempts_count": 1,
        "created_at": at,
        "updated_at": at,
        "succeeded_at": at if state == "SUCCEEDED" else None,
        "version": 2,
    }
    return Fact(subject_id=subject_id, state=state, **(values | changes))
