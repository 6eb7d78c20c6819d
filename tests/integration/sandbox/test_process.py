"""The sandbox as a process: it starts from its environment, survives a kill, and ends cleanly."""

import asyncio
import contextlib
import os
import signal
import socket
import sqlite3
import stat
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx

from services.sandbox import app
from tests.integration.sandbox.support import DAY, Merchant, Receiver, Sandbox, charge, eventually


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@asynccontextmanager
async def process(data_dir: Path) -> AsyncIterator[tuple[asyncio.subprocess.Process, Sandbox]]:
    port = free_port()
    environment = os.environ | {
        "FISC_SANDBOX_HTTP_PORT": str(port),
        "FISC_SANDBOX_METRICS_PORT": "0",
        "FISC_SANDBOX_DATA_DIR": str(data_dir),
        "FISC_SANDBOX_CALLBACK_BACKOFF_S": "[0.1, 0.1]",
    }
    running = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "services.sandbox", env=environment
    )
    async with httpx.AsyncClient(timeout=5, trust_env=False) as http:
        sandbox = Sandbox(f"http://127.0.0.1:{port}", http)
        for _ in range(600):
            try:
                if (await http.get(f"{sandbox.url}/healthz")).status_code == 200:
                    break
            except httpx.ConnectError:
                await asyncio.sleep(0.05)
        try:
            yield running, sandbox
        finally:
            if running.returncode is None:
                running.kill()
                await running.wait()


async def test_a_kill_loses_nothing_that_was_answered(
    tmp_path: Path, merchant: Merchant, receiver: Receiver
) -> None:
    wechat = {
        "provider": "wechat",
        "account_id": merchant.mchid,
        "appid": merchant.appid,
        "apiv3_key": merchant.apiv3_key,
        "merchant_serial": merchant.serial,
        "merchant_public_key_pem": merchant.public_key_pem,
    }
    async with process(tmp_path) as (running, sandbox):
        await sandbox.simpay_account(callback_after_ms=[600, 600])
        first = await sandbox.control("POST", "accounts", **wechat)
        await sandbox.control("POST", "clock", now=f"{DAY}T12:00:00+08:00")
        await sandbox.control("POST", "faults", account_id="sim_a", fault="error_5xx", count=2)
        assert (await sandbox.simpay("GET", "/balance")).status_code == 500
        await sandbox.control("DELETE", "faults", account_id="sim_a")
        await sandbox.control("POST", "faults", account_id="sim_a", fault="rate_limited", count=1)
        await sandbox.control(
            "POST", "faults", account_id="sim_a", fault="slow", out_ref="pay_9", latency_ms=1
        )
        assert (await sandbox.simpay("GET", "/balance")).status_code == 429
        body = charge("pay_1", notify_url=receiver.url)
        answer = (await sandbox.simpay("POST", "/charges", body)).json()
        running.kill()
        await running.wait()
    async with process(tmp_path) as (running, sandbox):
        assert (await sandbox.simpay("GET", "/charges/pay_1")).json() == answer
        assert (await sandbox.simpay("POST", "/charges", body)).json() == answer
        assert (await sandbox.control("GET", "clock"))["business_date"] == DAY
        assert await sandbox.control("POST", "accounts", **wechat) == first
        faults = await sandbox.control("GET", "faults")
        assert [fault["out_ref"] for fault in faults["standing"]] == ["pay_9"]
        assert [entry["fault"] for entry in faults["fired"]] == ["error_5xx", "rate_limited"]
        [told] = await eventually(lambda: receiver.received)
        assert told.json["order_no"] == "pay_1"
        running.send_signal(signal.SIGTERM)
        assert await asyncio.wait_for(running.wait(), 10) == 0
    key = tmp_path / "wechat_platform_key.pem"
    assert stat.S_IMODE(key.stat().st_mode) == 0o600


async def test_a_waiting_payer_still_pays_after_a_restart(tmp_path: Path) -> None:
    async with process(tmp_path) as (_, sandbox):
        await sandbox.simpay_account(auto_pay_after_ms=[400, 400])
        body = charge("pay_1", method="WECHAT_QR")
        assert (await sandbox.simpay("POST", "/charges", body)).json()["status"] == "PENDING"
    async with process(tmp_path) as (_, sandbox):
        state = ""
        for _ in range(100):
            state = (await sandbox.simpay("GET", "/charges/pay_1")).json()["status"]
            if state == "SUCCEEDED":
                break
            await asyncio.sleep(0.05)
        assert state == "SUCCEEDED"


async def test_a_book_of_an_earlier_version_is_brought_up_to_date(tmp_path: Path) -> None:
    path = tmp_path / app.BOOK_FILE
    async with process(tmp_path) as (_, sandbox):
        await sandbox.simpay_account()
        before = (await sandbox.simpay("POST", "/charges", charge("pay_1"))).json()
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as book:
        for index in ("charge_order_authorized", "payout_return_day"):
            book.execute(f"DROP INDEX {index}")
        book.execute("DROP TABLE capture")
        for table, column in (
            ("charge_order", "capture_later"),
            ("charge_order", "captured"),
            ("charge_order", "authorized_until"),
            ("payout", "notify_url"),
            ("payout", "return_at_ms"),
            ("payout", "returned_at"),
        ):
            book.execute(f"ALTER TABLE {table} DROP COLUMN {column}")
    async with process(tmp_path) as (_, sandbox):
        assert (await sandbox.simpay("GET", "/charges/pay_1")).json() == before
        held = await sandbox.simpay("POST", "/charges", charge("pay_2", capture=False))
        assert held.json()["status"] == "AUTHORIZED"


async def test_a_payout_is_still_sent_back_after_a_restart(tmp_path: Path) -> None:
    body = {"payout_no": "out_1", "amount": 5, "currency": "CNY", "payee_account": "6222"}
    async with process(tmp_path) as (_, sandbox):
        await sandbox.simpay_account(payout_return_rate=1.0, payout_return_after_ms=[400, 400])
        answer = await sandbox.simpay("POST", "/payouts", body)
        assert answer.json()["status"] == "SUCCEEDED"
    async with process(tmp_path) as (_, sandbox):
        state = ""
        for _ in range(100):
            state = (await sandbox.simpay("GET", "/payouts/out_1")).json()["status"]
            if state == "RETURNED":
                break
            await asyncio.sleep(0.05)
        assert state == "RETURNED"


async def test_the_page_lists_pending_orders_and_its_button_pays(sandbox: Sandbox) -> None:
    await sandbox.simpay_account()
    body = charge("pay_1", 1230, method="WECHAT_QR", description="<b>tea</b>")
    await sandbox.simpay("POST", "/charges", body)
    page = (await sandbox.http.get(f"{sandbox.url}/")).text
    assert "pay_1" in page
    assert "12.30 CNY" in page
    assert "&lt;b&gt;tea" in page
    form = {"account_id": "sim_a", "out_ref": "pay_1"}
    pressed = await sandbox.http.post(f"{sandbox.url}/pay", data=form)
    assert (pressed.status_code, pressed.headers["location"]) == (303, "/")
    assert "Nothing is waiting" in (await sandbox.http.get(f"{sandbox.url}/")).text
    [row] = await sandbox.book()
    assert (row["status"], row["times_charged"]) == ("SUCCEEDED", 1)
