"""The body says type, time and resource, and stays small."""

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone

from services.notification.domain import notice as notices
from services.notification.domain.notice import Notice

NOTICE = Notice(
    event_id="evt_1",
    event_type="payment.succeeded",
    merchant_id="mer_1",
    subject_id="pay_1",
    occurred_at=datetime(2026, 3, 2, 12, 0, 0, 5, tzinfo=UTC),
    data={"payment_id": "pay_1", "amount_minor": 1230, "description": "两杯茶", "expires_at": None},
)


def test_a_body_holds_type_timestamp_and_resource() -> None:
    assert json.loads(notices.body(NOTICE)) == {
        "type": "payment.succeeded",
        "timestamp": "2026-03-02T12:00:00.000005Z",
        "data": {
            "payment_id": "pay_1",
            "amount_minor": 1230,
            "description": "两杯茶",
            "expires_at": None,
        },
    }


def test_a_resource_that_is_too_large_is_replaced_by_its_id() -> None:
    large = replace(NOTICE, data={"description": "茶" * 7_000})
    body = notices.body(large)
    assert len(body.encode()) < notices.BODY_BYTES_MAX
    assert json.loads(body)["data"] == {"subject_id": "pay_1"}


def test_times_of_other_zones_are_told_in_utc() -> None:
    shanghai = timezone(timedelta(hours=8))
    told = notices.moment(datetime(2026, 3, 2, 20, tzinfo=shanghai))
    assert told == "2026-03-02T12:00:00.000000Z"
