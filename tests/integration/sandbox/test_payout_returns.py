"""Payouts that the payee's bank sends back after they had succeeded (退票)."""

from typing import Any

import pytest

from tests.integration.sandbox.support import DAY, Receiver, Sandbox, eventually

NEXT_DAY = "2026-11-12"


@pytest.fixture
async def account(sandbox: Sandbox) -> str:
    await sandbox.control("POST", "clock", now=f"{DAY}T10:00:00+08:00")
    return await sandbox.simpay_account(opening_balance=1000, payout_fee=5)


def payout(payout_no: str = "out_1", **more: Any) -> dict[str, Any]:
    return {
        "payout_no": payout_no,
        "amount": 700,
        "currency": "CNY",
        "payee_account": "6222000000000000",
        "payee_name": "A",
    } | more


async def bill(sandbox: Sandbox, day: str) -> list[list[str]]:
    content = (await sandbox.simpay("GET", f"/bills/{day}")).text
    return [row.split(",")[2:8] for row in content.splitlines()[1:-1]]


async def test_a_payout_sent_back_is_told_billed_on_its_own_day_and_back_on_the_balance(
    sandbox: Sandbox, account: str, receiver: Receiver
) -> None:
    await sandbox.simpay("POST", "/payouts", payout(notify_url=receiver.url))
    [paid] = await eventually(lambda: receiver.received)
    assert (paid.json["kind"], paid.json["payout_no"]) == ("payout", "out_1")
    assert (paid.json["status"], paid.json["returned_at"]) == ("SUCCEEDED", None)
    await sandbox.control("POST", "clock", now=f"{NEXT_DAY}T09:00:00+08:00")
    order = {"account_id": account, "out_ref": "out_1"}
    answer = await sandbox.control("POST", "return", **order)
    assert answer == {"status": "RETURNED", "code": "ACCOUNT_CLOSED"}
    assert await sandbox.control("POST", "return", **order) == answer
    await eventually(lambda: len(receiver.received) == 2)
    told = receiver.received[1].json
    assert (told["kind"], told["status"], told["code"]) == ("payout", "RETURNED", "ACCOUNT_CLOSED")
    assert told["returned_at"].startswith(NEXT_DAY)
    assert told["event_id"] != paid.json["event_id"]
    found = (await sandbox.simpay("GET", "/payouts/out_1")).json()
    assert (found["status"], found["paid_at"][:10]) == ("RETURNED", DAY)
    assert (await sandbox.simpay("POST", "/payouts", payout())).json() == found
    assert (await sandbox.simpay("GET", "/balance")).json()["available"] == 995
    assert await bill(sandbox, DAY) == [["out_1", "PAYOUT", "700", "CNY", "5", "SUCCEEDED"]]
    assert await bill(sandbox, NEXT_DAY) == [
        ["out_1", "PAYOUT_RETURN", "700", "CNY", "0", "SUCCEEDED"]
    ]
    rows = [(row["kind"], row["status"], row["time"][:10]) for row in await sandbox.book()]
    assert rows == [("payout", "RETURNED", DAY), ("payout_return", "RETURNED", NEXT_DAY)]


async def test_only_a_paid_payout_can_come_back(sandbox: Sandbox, account: str) -> None:
    failed = await sandbox.simpay("POST", "/payouts", payout(amount=2000))
    assert failed.json()["status"] == "FAILED"
    answer = await sandbox.control("POST", "return", account_id=account, out_ref="out_1")
    assert answer["status"] == "FAILED"
    assert (await sandbox.simpay("GET", "/balance")).json()["available"] == 1000
    url = f"{sandbox.url}/control/return"
    unknown = await sandbox.http.post(url, json={"account_id": account, "out_ref": "out_9"})
    assert (unknown.status_code, unknown.json()["code"]) == (404, "PAYOUT_NOT_FOUND")


async def test_banks_send_payouts_back_by_themselves_at_the_profiles_rate(
    sandbox: Sandbox, receiver: Receiver
) -> None:
    await sandbox.simpay_account(payout_return_rate=1.0, payout_return_after_ms=[100, 100])
    answer = await sandbox.simpay("POST", "/payouts", payout(notify_url=receiver.url))
    assert answer.json()["status"] == "SUCCEEDED"
    await eventually(lambda: len(receiver.received) == 2)
    assert receiver.received[1].json["status"] == "RETURNED"


async def test_the_page_has_a_button_that_sends_a_payout_back(
    sandbox: Sandbox, account: str
) -> None:
    await sandbox.simpay("POST", "/payouts", payout())
    page = (await sandbox.http.get(f"{sandbox.url}/")).text
    assert "Send back" in page
    assert 'action="/return"' in page
    form = {"account_id": account, "out_ref": "out_1"}
    pressed = await sandbox.http.post(f"{sandbox.url}/return", data=form)
    assert (pressed.status_code, pressed.headers["location"]) == (303, "/")
    page = (await sandbox.http.get(f"{sandbox.url}/")).text
    assert "Send back" not in page
    assert "sent back" in page
    assert (await sandbox.simpay("GET", "/payouts/out_1")).json()["status"] == "RETURNED"
