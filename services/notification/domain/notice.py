"""What is told: one event in the merchant's words, and the JSON body that carries it."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final, TypeAlias

BODY_BYTES_MAX: Final = 20_000
EVENT_TYPES: Final = frozenset(
    {
        "payment.authorized",
        "payment.succeeded",
        "payment.failed",
        "payment.canceled",
        "payment.manual",
        "capture.succeeded",
        "capture.failed",
        "refund.succeeded",
        "refund.failed",
        "payout.succeeded",
        "payout.failed",
        "payout.returned",
        "batch.settled",
    }
)

Data: TypeAlias = Mapping[str, str | int | None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Notice:
    """One event of one merchant; `data` is the resource right after the fact, and holds no secret."""

    event_id: str
    event_type: str
    merchant_id: str
    subject_id: str
    occurred_at: datetime
    data: Data


def body(notice: Notice) -> str:
    """The JSON to send: type, timestamp, data; at most BODY_BYTES_MAX bytes of UTF-8.

    A resource too large for that is replaced by its id, for the receiver to fetch the rest.
    """
    text = _render(notice, notice.data)
    if len(text.encode()) <= BODY_BYTES_MAX:
        return text
    return _render(notice, {"subject_id": notice.subject_id})


def moment(value: datetime) -> str:
    """A time as RFC 3339 text in UTC."""
    return value.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


def _render(notice: Notice, data: Data) -> str:
    content = {
        "type": notice.event_type,
        "timestamp": moment(notice.occurred_at),
        "data": dict(data),
    }
    return json.dumps(content, ensure_ascii=False, separators=(",", ":"))
