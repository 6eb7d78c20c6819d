"""Faults over the wire: what the caller sees, and what the book says really happened."""

import asyncio
import hashlib
import time
from typing import Any

import httpx
import pytest

from tests.integration.sandbox.support import DAY, Receiver, Sandbox, charge, eventually


async def plant(sandbox: Sandbox, fault: str, **more: Any) -> None:
    await sandbox.control("POST", "faults", account_id="sim_a", fault=fault, **more)


async def fired(sandbox: Sandbox) -> list[tuple[str, str]]:
    log = await sandbox.control("GET", "faults")
    return [(entry["fault"], entry["out_ref"]) for entry in log["fired"]]


async def test_a_dead_channel_hangs_up_and_has_done_nothing(sandbox: Sandbox) -> None:
    await sandbox.simpay_account()
    await sandbox.simpay_account("sim_b")
    await plant(sandbox, "down")
    with pytest.raises(httpx.RemoteProtocolError):
        await sandbox.simpay("POST", "/charges", charge("pay_1"))
    with pytest.raises(httpx.RemoteProtocolError):
        await sandbox.simpay("GET", "/charges/pay_1")
    other = await sandbox.simpay("POST", "/charges", charge("pay_1"), account_id="sim_b")
    assert other.status_code == 200
    assert await sandbox.book(account_id="sim_a") == []
    assert await fired(sandbox) == [("down", "pay_1"), ("down", "pay_1")]
    await sandbox.control("DELETE", "faults", account_id="sim_a")
    assert (await sandbox.simpay("GET", "/charges/pay_1")).status_code == 404


async def test_a_timeout_after_charge_has_charged_once_although_nobody_was_told(
    sandbox: Sandbox,
) -> None:
    await sandbox.simpay_account(decline_rate=1.0)
    await plant(sandbox, "timeout_after_charge", count=1)
    with pytest.raises(httpx.ReadTimeout):
        await sandbox.simpay("POST", "/charges", charge("pay_1"), timeout=0.3)
    query = await sandbox.simpay("GET", "/charges/pay_1")
    again = await sandbox.simpay("POST", "/charges", charge("pay_1"))
    next_order = await sandbox.simpay("POST", "/charges", charge("pay_2"))
    assert (query.json()["status"], again.json()["status"]) == ("SUCCEEDED", "SUCCEEDED")
    assert next_order.json()["status"] == "DECLINED"
    assert [row["times_charged"] for row in await sandbox.book()] == [1, 0]
    assert await fired(sandbox) == [("timeout_after_charge", "pay_1")]


async def test_commit_then_error_strikes_only_the_reference_it_names(sandbox: Sandbox) -> None:
    await sandbox.simpay_account()
    await plant(sandbox, "commit_then_error", out_ref="ref_1")
    assert (await sandbox.simpay("POST", "/charges", charge("pay_1"))).status_code == 200
    body = {"refund_no": "ref_1", "order_no": "pay_1", "amount": 10, "currency": "CNY"}
    failed = await sandbox.simpay("POST", "/refunds", body)
    assert (failed.status_code, failed.json()["code"]) == (500, "SYSTEM_ERROR")
    assert (await sandbox.simpay("GET", "/refunds/ref_1")).json()["status"] == "SUCCEEDED"
    assert (await sandbox.simpay("POST", "/refunds", body)).json()["status"] == "SUCCEEDED"


async def test_errors_and_rate_limits_do_nothing_and_count_down(sandbox: Sandbox) -> None:
    await sandbox.simpay_account()
    await plant(sandbox, "error_5xx", count=1)
    await plant(sandbox, "rate_limited", count=1)
    seen = [await sandbox.simpay("POST", "/charges", charge("pay_1")) for _ in range(3)]
    assert [response.status_code for response in seen] == [500, 429, 200]
    assert seen[1].json()["code"] == "RATE_LIMITED"
    [row] = await sandbox.book()
    assert row["times_charged"] == 1


async def test_a_slow_channel_answers_late(sandbox: Sandbox) -> None:
    await sandbox.simpay_account()
    await plant(sandbox, "slow", latency_ms=200, count=1)
    started_s = time.monotonic()
    assert (await sandbox.simpay("POST", "/charges", charge("pay_1"))).status_code == 200
    assert time.monotonic() - started_s >= 0.2


async def test_a_bad_signature_spoils_one_answer(sandbox: Sandbox) -> None:
    await sandbox.simpay_account()
    await plant(sandbox, "bad_signature", count=1)
    spoiled = await sandbox.simpay("POST", "/charges", charge("pay_1"))
    sound = await sandbox.simpay("GET", "/charges/pay_1")
    assert not sandbox.is_genuine(spoiled.headers, spoiled.content)
    assert sandbox.is_genuine(sound.headers, sound.content)


async def test_callbacks_can_be_doubled_lost_and_badly_signed(
    sandbox: Sandbox, receiver: Receiver
) -> None:
    await sandbox.simpay_account()
    await plant(sandbox, "duplicate_callback", out_ref="pay_twice", count=1)
    await plant(sandbox, "lost_callback", out_ref="pay_lost", count=1)
    await plant(sandbox, "bad_signature", out_ref="pay_bad", operation="callback", count=1)
    for order_no in ("pay_lost", "pay_twice", "pay_bad"):
        await sandbox.simpay("POST", "/charges", charge(order_no, notify_url=receiver.url))
    await eventually(lambda: len(receiver.received) == 3)
    await asyncio.sleep(0.1)
    told = [(item.json["order_no"], item.json["event_id"]) for item in receiver.received]
    assert sorted(order_no for order_no, _ in told) == ["pay_bad", "pay_twice", "pay_twice"]
    assert len({event_id for order_no, event_id in told if order_no == "pay_twice"}) == 1
    genuine = {
        item.json["order_no"]: sandbox.is_genuine(item.headers, item.body)
        for item in receiver.received
    }
    assert genuine == {"pay_bad": False, "pay_twice": True}


async def test_a_wrong_bill_stays_wrong_until_the_faults_are_cleared(sandbox: Sandbox) -> None:
    await sandbox.simpay_account()
    await sandbox.control("POST", "clock", now=f"{DAY}T10:00:00+08:00")
    for number in range(4):
        await sandbox.simpay("POST", "/charges", charge(f"pay_{number}", 1000))
    await plant(sandbox, "bill_wrong_amount", out_ref="pay_1", count=1)
    await plant(sandbox, "bill_missing_row", out_ref="pay_2", count=1)

    async def bill() -> dict[str, str]:
        rows = (await sandbox.simpay("GET", f"/bills/{DAY}")).text.splitlines()[1:-1]
        return {row.split(",")[0]: row.split(",")[4] for row in rows}

    assert await bill() == {"pay_0": "1000", "pay_1": "1100", "pay_3": "1000"}
    assert await bill() == {"pay_0": "1000", "pay_1": "1100", "pay_3": "1000"}
    assert {row["amount"] for row in await sandbox.book()} == {1000}
    await sandbox.control("DELETE", "faults", account_id="sim_a")
    assert set((await bill()).values()) == {"1000"}


async def test_a_truncated_bill_does_not_fit_its_hash(sandbox: Sandbox) -> None:
    await sandbox.simpay_account()
    await sandbox.simpay("POST", "/charges", charge("pay_1"))
    await plant(sandbox, "bill_truncated", count=1)
    day = (await sandbox.control("GET", "clock"))["business_date"]
    broken = await sandbox.simpay("GET", f"/bills/{day}")
    whole = await sandbox.simpay("GET", f"/bills/{day}")
    for response, fits in ((broken, False), (whole, True)):
        digest = hashlib.sha256(response.content).hexdigest()
        assert (response.headers["x-sim-sha256"] == digest) is fits


async def test_a_fault_for_nobody_or_of_no_kind_is_refused(sandbox: Sandbox) -> None:
    await sandbox.simpay_account()
    url = f"{sandbox.url}/control/faults"
    nobody = await sandbox.http.post(url, json={"account_id": "x", "fault": "down"})
    no_kind = await sandbox.http.post(url, json={"account_id": "sim_a", "fault": "sleepy"})
    assert (nobody.status_code, no_kind.status_code) == (404, 400)
    assert no_kind.json()["detail"]["field"] == "/fault"
