"""What the audit says of money that moved late; everything else it says is tried by the crash matrix."""

from dataclasses import replace
from typing import Any

import pytest

from tests.chaos.audit import Snapshot, differences

PAYOUT = "pout_1"
LATE = {
    "attempt_id": "att_1",
    "subject_id": PAYOUT,
    "operation": "PAYOUT",
    "channel_id": "a",
    "out_ref": "p1",
    "number": 1,
    "state": "SUCCEEDED",
}
SEEN = Snapshot(
    subjects={
        "payment": [],
        "capture": [],
        "refund": [],
        "payout": [
            {
                "id": PAYOUT,
                "state": "FAILED",
                "amount_minor": 700,
                "attempts_count": 1,
                "next_run_at": None,
            }
        ],
    },
    attempts=[LATE],
    endings={PAYOUT: 1},
    told_late={PAYOUT: 1},
    cases={PAYOUT},
    transfers={"att_1:late": {"amount_minor": 700}},
    holds={PAYOUT: {"state": "VOIDED"}},
    items={"att_1": {"amount_minor": 700}},
    book=[
        {"account_id": "a", "out_ref": "p1", "kind": "payout", "status": "SUCCEEDED", "amount": 700}
    ],
    accounts=[],
    whole=False,
)
BACK: dict[str, Any] = {
    "attempts": [{**LATE, "state": "RETURNED"}],
    "cases": set(),
    "transfers": {**SEEN.transfers, "att_1:late-return": {"amount_minor": 700}},
    "items": {**SEEN.items, "att_1:return": {"amount_minor": 700}},
}


def test_a_payout_that_left_late_and_is_a_persons_matter_agrees_with_all_books() -> None:
    assert list(differences(SEEN)) == []


def test_a_late_payout_that_came_back_needs_no_person() -> None:
    assert list(differences(replace(SEEN, **BACK))) == []


@pytest.mark.parametrize(
    "without",
    [
        {"transfers": {}},
        {"items": {}},
        {"cases": set()},
        {"told_late": {}},
        {"told_late": {PAYOUT: 2}},
        {"attempts": [{**LATE, "state": "CLOSED"}]},
        {**BACK, "transfers": SEEN.transfers},
        {**BACK, "items": SEEN.items},
    ],
)
def test_what_is_missing_of_a_late_payout_is_a_difference(without: dict[str, Any]) -> None:
    assert list(differences(replace(SEEN, **without)))
