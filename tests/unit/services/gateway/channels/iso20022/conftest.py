"""An account's settings and an order, for the tests of ISO 20022."""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest

from services.gateway.channels.iso20022 import settings
from services.gateway.channels.iso20022.settings import Settings
from services.gateway.domain.channel import PayoutOrder

VALUES = {
    "initiating_party": "Fisc",
    "debtor_name": "Fisc & Partner",
    "debtor_account": "DE02120300000000202051",
    "debtor_agent_bic": "BYLADEM1001",
    "currency": "EUR",
    "zone": "Europe/Berlin",
}


@pytest.fixture
def values() -> dict[str, str]:
    return dict(VALUES)


@pytest.fixture
def make_settings() -> Callable[..., Settings]:
    def make(**changes: str) -> Settings:
        return settings.load(VALUES | changes, window_max_ms=settings.FILE_WINDOW_MAX_MS)

    return make


@pytest.fixture
def make_order() -> Callable[..., PayoutOrder]:
    def make(out_ref: str = "p01", **changes: Any) -> PayoutOrder:
        fields: dict[str, Any] = {
            "out_ref": out_ref,
            "method": "BANK_TRANSFER",
            "amount_minor": 123_456,
            "currency": "EUR",
            "payee_account": "GB33BUKB20201555555555",
            "payee_name": "A <B> & C",
            "payee_bank_code": "",
            "description": "invoice 7",
            "notify_url": "",
            "sent_at": datetime(2026, 11, 11, tzinfo=UTC),
        }
        return PayoutOrder(**fields | changes)

    return make
