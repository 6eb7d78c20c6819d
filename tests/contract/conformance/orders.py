"""Orders as the gateway would send them, and as it would remember them."""

from datetime import UTC, date, datetime, timedelta
from typing import Any

from services.gateway.domain.channel import Outcome, SentOrder
from services.gateway.domain.next_action import ShowQr

AMOUNT = 1230
PAYOUT = 5000
DAY = date(2026, 11, 11)
NEXT_DAY = DAY + timedelta(days=1)
SENT_AT = datetime(2026, 11, 11, 4, 0, tzinfo=UTC)
PAY, REF, CAP, OUT = "pay00000001", "ref00000001", "cap00000001", "out00000001"
NEVER = "pay99999999"


def sent(out_ref: str, **changes: Any) -> SentOrder:
    """An order of this number, as we remember it."""
    fields: dict[str, Any] = {
        "out_ref": out_ref,
        "method": "WECHAT_QR",
        "amount_minor": AMOUNT,
        "currency": "CNY",
        "sent_at": SENT_AT,
    }
    return SentOrder(**{**fields, **changes})


def qr_of(outcome: Outcome) -> str:
    """What the payer is to scan."""
    assert isinstance(outcome.next_action, ShowQr)
    return outcome.next_action.content
