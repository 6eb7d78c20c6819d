"""Money reserved first and taken later: what simpay answers, tells, bills, and keeps in its book."""

from typing import Any

import httpx
import pytest

from tests.integration.sandbox.support import DAY, Receiver, Sandbox, charge, eventually

LAST_MOMENT = "2026-11-18T09:59:50+08:00"
TOO_LATE = "2026-11-18T10:00:01+08:00"


@pytest.fixture
async def account(sandbox: Sandbox) -> str:
    await sandbox.control("POST", "clock", now=f"{DAY}T10:00:00+08:00")
    return await sandbox.simpay_account(fee_bps=60, fee_fixed=1, opening_balance=0)


async def reserve(sandbox: Sandbox, order_no: str = "pay_1", **more: Any) -> dict[str, Any]:
    body = charge(order_no, 1000, capture=False, **more)
    return dict((await sandbox.simpay("POST", "/charges", body)).json())


def capture(capture_no: str, amount: int, **more: Any) -> dict[str, Any]:
    terms = {"capture_no": capture_no, "order_no": "pay_1", "amount": amount, "currency": "CNY"}
    return terms | {"final": False} | more


async def take(sandbox: Sandbox, capture_no: str, amount: int, **more: Any) -> tuple[str, str]:
    response = await sandbox.simpay("POST", "/captures", capture(capture_no, amount, **more))
    answer = response.json()
    return answer.get("status") or str(response.status_code), answer["code"]


async def order(sandbox: Sandbox, order_no: str = "pay_1") -> tuple[str, str, int]:
    answer = (await sandbox.simpay("GET", f"/charges/{order_no}")).json()
    return answer["status"], answer["code"], answer["captured"]


async def balance(sandbox: Sandbox) -> int:
    return int((await sandbox.simpay("GET", "/balance")).json()["available"])


async def bill(sandbox: Sandbox, day: str = DAY) -> list[list[str]]:
    content = (await sandbox.simpay("GET", f"/bills/{day}")).text
    return [row.split(",") for row in content.splitlines()[1:-1]]


async def test_an_authorisation_reserves_for_a_week_and_moves_nothing(
    sandbox: Sandbox, account: str
) -> None:
    answer = await reserve(sandbox)
    assert (answer["status"], answer["amount"], answer["captured"]) == ("AUTHORIZED", 1000, 0)
    assert (answer["fee"], answer["paid_at"]) == (0, None)
    assert answer["authorized_until"][:15] == "2026-11-18T10:0"
    assert await reserve(sandbox) == answer
    at_once = await sandbox.simpay("POST", "/charges", charge("pay_1", 1000))
    assert (at_once.status_code, at_once.json()["code"]) == (409, "ORDER_CONFLICT")
    assert (await balance(sandbox), await bill(sandbox)) == (0, [])
    [row] = await sandbox.book()
    assert (row["kind"], row["status"], row["times_charged"]) == ("charge", "AUTHORIZED", 0)


async def test_a_qr_payer_authorises_and_the_merchant_is_told(
    sandbox: Sandbox, account: str, receiver: Receiver
) -> None:
    pending = await reserve(sandbox, method="ALIPAY_QR", notify_url=receiver.url)
    assert (pending["status"], pending["authorized_until"]) == ("PENDING", None)
    await sandbox.control("POST", "pay", account_id=account, out_ref="pay_1")
    [told] = await eventually(lambda: receiver.received)
    assert (told.json["kind"], told.json["status"]) == ("payment", "AUTHORIZED")


async def test_a_full_capture_takes_all_and_is_billed_with_its_fee(
    sandbox: Sandbox, account: str, receiver: Receiver
) -> None:
    await reserve(sandbox)
    body = capture("cap_1", 1000, notify_url=receiver.url)
    response = await sandbox.simpay("POST", "/captures", body)
    answer = response.json()
    assert sandbox.is_genuine(response.headers, response.content)
    assert (answer["status"], answer["amount"], answer["currency"]) == ("SUCCEEDED", 1000, "CNY")
    assert (answer["fee"], answer["paid_at"][:10]) == (7, DAY)
    assert answer["provider_no"]
    assert (await sandbox.simpay("GET", "/captures/cap_1")).json() == answer
    assert await order(sandbox) == ("SUCCEEDED", "", 1000)
    assert await balance(sandbox) == 993
    [row] = await bill(sandbox)
    assert row[:8] == ["pay_1", "", "", "CAPTURE", "1000", "CNY", "7", "SUCCEEDED"]
    assert (row[8], row[10]) == (answer["provider_no"], "cap_1")
    [taken] = [row for row in await sandbox.book() if row["kind"] == "capture"]
    assert (taken["out_ref"], taken["order_ref"], taken["amount"]) == ("cap_1", "pay_1", 1000)
    assert (taken["status"], taken["times_charged"], taken["fee"]) == ("SUCCEEDED", 1, 7)
    [told] = await eventually(lambda: receiver.received)
    assert (told.json["kind"], told.json["capture_no"]) == ("capture", "cap_1")
    assert told.json["status"] == "SUCCEEDED"


async def test_captures_add_up_to_the_authorised_amount_and_no_further(
    sandbox: Sandbox, account: str
) -> None:
    await reserve(sandbox)
    assert await take(sandbox, "cap_1", 400) == ("SUCCEEDED", "")
    assert await order(sandbox) == ("AUTHORIZED", "", 400)
    assert await take(sandbox, "cap_2", 601) == ("FAILED", "AMOUNT_EXCEEDED")
    assert await take(sandbox, "cap_3", 600) == ("SUCCEEDED", "")
    assert await order(sandbox) == ("SUCCEEDED", "", 1000)
    assert await take(sandbox, "cap_4", 1) == ("FAILED", "NOT_AUTHORIZED")
    # What failed stays failed under its number, whatever has become possible since.
    assert await take(sandbox, "cap_2", 601) == ("FAILED", "AMOUNT_EXCEEDED")
    assert [row[10] for row in await bill(sandbox)] == ["cap_1", "cap_3"]
    assert await balance(sandbox) == 1000 - 3 - 5


async def test_a_final_capture_releases_the_rest(sandbox: Sandbox, account: str) -> None:
    await reserve(sandbox)
    await take(sandbox, "cap_1", 100)
    assert await take(sandbox, "cap_2", 300, final=True) == ("SUCCEEDED", "")
    assert await order(sandbox) == ("SUCCEEDED", "", 400)
    assert await take(sandbox, "cap_3", 1) == ("FAILED", "NOT_AUTHORIZED")


async def test_the_same_capture_again_is_one_capture(sandbox: Sandbox, account: str) -> None:
    await reserve(sandbox)
    await reserve(sandbox, "pay_2")
    first = await sandbox.simpay("POST", "/captures", capture("cap_1", 400))
    again = await sandbox.simpay("POST", "/captures", capture("cap_1", 400))
    assert again.json() == first.json()
    assert await order(sandbox) == ("AUTHORIZED", "", 400)
    for change in (
        {"amount": 300},
        {"final": True},
        {"order_no": "pay_2"},
        {"currency": "USD"},
    ):
        other = await sandbox.simpay("POST", "/captures", capture("cap_1", 400) | change)
        assert (other.status_code, other.json()["code"]) == (409, "ORDER_CONFLICT"), change
    assert await order(sandbox) == ("AUTHORIZED", "", 400)


async def test_only_authorised_orders_are_captured(sandbox: Sandbox, account: str) -> None:
    assert await take(sandbox, "cap_1", 100) == ("404", "ORDER_NOT_FOUND")
    await sandbox.simpay("POST", "/charges", charge("paid"))
    await reserve(sandbox, "pending", method="qr")
    await sandbox.simpay("POST", "/charges/tombstone/close")
    for number, order_no in enumerate(("paid", "pending", "tombstone")):
        answer = await take(sandbox, f"cap_{number + 2}", 100, order_no=order_no)
        assert answer == ("FAILED", "NOT_AUTHORIZED"), order_no
    missing = await sandbox.simpay("GET", "/captures/cap_1")
    assert (missing.status_code, missing.json()["code"]) == (404, "CAPTURE_NOT_FOUND")


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"amount": 0}, "/amount"),
        ({"currency": "USD"}, "/currency"),
        ({"capture_no": "../etc"}, "/capture_no"),
        ({"final": "yes"}, "/final"),
    ],
)
async def test_a_bad_field_is_named_and_nothing_is_taken(
    sandbox: Sandbox, account: str, change: dict[str, object], field: str
) -> None:
    await reserve(sandbox)
    response = await sandbox.simpay("POST", "/captures", capture("cap_1", 400) | change)
    assert (response.status_code, response.json()["code"]) == (400, "PARAM_ERROR")
    assert response.json()["detail"]["field"] == field
    assert await order(sandbox) == ("AUTHORIZED", "", 0)


async def test_a_close_releases_what_was_not_captured(sandbox: Sandbox, account: str) -> None:
    await reserve(sandbox)
    await reserve(sandbox, "untouched")
    await take(sandbox, "cap_1", 400)
    drawn = (await sandbox.simpay("POST", "/charges/pay_1/close")).json()
    untouched = (await sandbox.simpay("POST", "/charges/untouched/close")).json()
    assert (drawn["status"], drawn["captured"]) == ("SUCCEEDED", 400)
    assert drawn["authorized_until"] is None
    assert (untouched["status"], untouched["captured"]) == ("CLOSED", 0)
    assert await take(sandbox, "cap_2", 1) == ("FAILED", "NOT_AUTHORIZED")
    assert await take(sandbox, "cap_3", 1, order_no="untouched") == ("FAILED", "NOT_AUTHORIZED")


async def test_an_authorisation_runs_out_by_the_business_clock(
    sandbox: Sandbox, account: str
) -> None:
    for order_no in ("pay_1", "looked_at", "only_booked"):
        await reserve(sandbox, order_no)
    await take(sandbox, "cap_1", 400)
    await sandbox.control("POST", "clock", now=LAST_MOMENT)
    assert (await order(sandbox, "looked_at"))[0] == "AUTHORIZED"
    await sandbox.control("POST", "clock", now=TOO_LATE)
    assert await take(sandbox, "cap_2", 1, order_no="looked_at") == ("FAILED", "NOT_AUTHORIZED")
    assert await order(sandbox, "looked_at") == ("CLOSED", "AUTH_EXPIRED", 0)
    assert await order(sandbox) == ("SUCCEEDED", "", 400)
    [row] = [row for row in await sandbox.book() if row["out_ref"] == "only_booked"]
    assert (row["status"], row["code"]) == ("CLOSED", "AUTH_EXPIRED")


async def test_refunds_give_back_no_more_than_was_captured(sandbox: Sandbox, account: str) -> None:
    await reserve(sandbox)
    await sandbox.simpay("POST", "/charges", charge("other", 5000))  # so that the balance suffices

    async def refund(refund_no: str, amount: int) -> tuple[str, str]:
        terms = {"refund_no": refund_no, "order_no": "pay_1", "amount": amount, "currency": "CNY"}
        answer = (await sandbox.simpay("POST", "/refunds", terms)).json()
        return answer["status"], answer["code"]

    assert await refund("ref_1", 1) == ("FAILED", "ORDER_NOT_PAID")
    await take(sandbox, "cap_1", 400)
    assert await refund("ref_2", 401) == ("FAILED", "REFUND_AMOUNT_EXCEEDED")
    assert await refund("ref_3", 300) == ("SUCCEEDED", "")
    await sandbox.simpay("POST", "/charges/pay_1/close")
    assert await refund("ref_4", 101) == ("FAILED", "REFUND_AMOUNT_EXCEEDED")
    assert await refund("ref_5", 100) == ("SUCCEEDED", "")


async def test_a_slow_capture_is_processing_until_the_money_arrives(
    sandbox: Sandbox, account: str, receiver: Receiver
) -> None:
    await sandbox.simpay_account(settle_after_ms=[150, 150], fee_bps=0, opening_balance=0)
    await reserve(sandbox)
    assert await take(sandbox, "cap_1", 600, notify_url=receiver.url) == ("PROCESSING", "")
    assert (await order(sandbox), await balance(sandbox)) == (("AUTHORIZED", "", 600), 0)
    assert await take(sandbox, "cap_2", 600) == ("FAILED", "AMOUNT_EXCEEDED")
    [told] = await eventually(lambda: receiver.received)
    assert (told.json["capture_no"], told.json["status"]) == ("cap_1", "SUCCEEDED")
    assert await balance(sandbox) == 600


@pytest.mark.parametrize("fault", ["commit_then_error", "timeout_after_charge"])
async def test_a_capture_may_be_done_although_nobody_was_told(
    sandbox: Sandbox, account: str, fault: str
) -> None:
    await reserve(sandbox)
    body = {"account_id": account, "fault": fault, "operation": "capture", "count": 1}
    await sandbox.control("POST", "faults", **body)
    if fault == "commit_then_error":
        lost = await sandbox.simpay("POST", "/captures", capture("cap_1", 400))
        assert lost.status_code == 500
    else:
        with pytest.raises(httpx.ReadTimeout):
            await sandbox.simpay("POST", "/captures", capture("cap_1", 400), timeout=0.3)
    found = (await sandbox.simpay("GET", "/captures/cap_1")).json()
    assert (found["status"], found["amount"]) == ("SUCCEEDED", 400)
    assert await take(sandbox, "cap_1", 400) == ("SUCCEEDED", "")
    assert await order(sandbox) == ("AUTHORIZED", "", 400)


async def test_a_hidden_authorisation_is_found_by_a_query(sandbox: Sandbox, account: str) -> None:
    await sandbox.simpay_account(decline_rate=1.0)
    await sandbox.control("POST", "faults", account_id=account, fault="commit_then_error", count=1)
    assert (await reserve(sandbox))["code"] == "SYSTEM_ERROR"
    assert await order(sandbox) == ("AUTHORIZED", "", 0)


async def test_a_dead_channel_captures_nothing_and_lost_callbacks_are_lost(
    sandbox: Sandbox, account: str, receiver: Receiver
) -> None:
    await reserve(sandbox)
    for fault, operation in (("down", "capture"), ("lost_callback", "capture")):
        await sandbox.control(
            "POST", "faults", account_id=account, fault=fault, operation=operation, count=1
        )
    with pytest.raises(httpx.RemoteProtocolError):
        await sandbox.simpay("POST", "/captures", capture("cap_1", 400))
    assert await order(sandbox) == ("AUTHORIZED", "", 0)
    await take(sandbox, "cap_1", 400, notify_url=receiver.url)
    [callback] = await sandbox.control("GET", "callbacks")
    assert (callback["kind"], callback["status"]) == ("capture", "LOST")


async def test_the_page_shows_what_is_reserved(sandbox: Sandbox, account: str) -> None:
    await reserve(sandbox)
    await take(sandbox, "cap_1", 400)
    page = (await sandbox.http.get(f"{sandbox.url}/")).text
    assert "Reserved" in page
    assert "10.00 CNY" in page
    assert "4.00 CNY" in page
