"""The simpay protocol, spoken by a client written from the documentation."""

import asyncio
import hashlib

import pytest

from tests.integration.sandbox.support import DAY, Receiver, Sandbox, charge, eventually


async def test_a_charge_succeeds_and_its_answer_is_signed(sandbox: Sandbox) -> None:
    await sandbox.simpay_account(fee_bps=38)
    response = await sandbox.simpay("POST", "/charges", charge("pay_1", 10_000))
    answer = response.json()
    assert (response.status_code, answer["status"], answer["fee"]) == (200, "SUCCEEDED", 38)
    assert answer["provider_no"]
    assert answer["paid_at"].endswith("+08:00")
    assert sandbox.is_genuine(response.headers, response.content)


async def test_the_same_order_again_is_answered_the_same_and_charged_once(sandbox: Sandbox) -> None:
    await sandbox.simpay_account()
    first = await sandbox.simpay("POST", "/charges", charge("pay_1"))
    again = await sandbox.simpay("POST", "/charges", charge("pay_1"))
    other = await sandbox.simpay("POST", "/charges", charge("pay_1", 1001))
    assert first.json() == again.json()
    assert (other.status_code, other.json()["code"]) == (409, "ORDER_CONFLICT")
    [row] = await sandbox.book(account_id="sim_a")
    assert (row["out_ref"], row["amount"], row["times_charged"]) == ("pay_1", 1000, 1)


@pytest.mark.parametrize(
    ("body", "field"),
    [
        (charge("pay_1", 0), "/amount"),
        (charge("pay_1", -5), "/amount"),
        (charge("pay_1") | {"amount": "1000"}, "/amount"),
        (charge("pay_1") | {"amount": 10**15 + 1}, "/amount"),
        (charge("pay_1") | {"currency": "yuan"}, "/currency"),
        (charge("../etc"), "/order_no"),
        (charge("pay_1", expires_at="2020-01-01T00:00:00+08:00"), "/expires_at"),
        ({"amount": 5}, "/order_no"),
    ],
)
async def test_a_bad_field_is_named_and_nothing_is_charged(
    sandbox: Sandbox, body: dict[str, object], field: str
) -> None:
    await sandbox.simpay_account()
    response = await sandbox.simpay("POST", "/charges", body)
    assert (response.status_code, response.json()["code"]) == (400, "PARAM_ERROR")
    assert response.json()["detail"]["field"] == field
    assert await sandbox.book() == []


async def test_a_wrong_secret_an_old_timestamp_and_a_changed_body_are_refused(
    sandbox: Sandbox,
) -> None:
    await sandbox.simpay_account()
    old = await sandbox.simpay("POST", "/charges", charge("pay_1"), skew_s=-301)
    headers = sandbox.signed("POST", "/simpay/sim_a/charges", b"{}")
    changed = await sandbox.http.post(
        f"{sandbox.url}/simpay/sim_a/charges", content=b'{"a":1}', headers=headers
    )
    genuine, sandbox.secret = sandbox.secret, "another"
    wrong = await sandbox.simpay("POST", "/charges", charge("pay_1"))
    sandbox.secret = genuine
    assert [r.status_code for r in (old, changed, wrong)] == [401, 401, 401]
    assert {r.json()["code"] for r in (old, changed, wrong)} == {"SIGN_ERROR"}
    assert await sandbox.book() == []


async def test_declines_depend_on_nothing_but_account_and_reference(sandbox: Sandbox) -> None:
    await sandbox.simpay_account("sim_a", decline_rate=0.3, soft_decline_rate=0.3)
    await sandbox.simpay_account("sim_b", decline_rate=0.3, soft_decline_rate=0.3)
    codes: dict[str, list[str]] = {"sim_a": [], "sim_b": []}
    for account_id, found in codes.items():
        for number in range(40):
            body = charge(f"pay_{number}")
            response = await sandbox.simpay("POST", "/charges", body, account_id=account_id)
            again = await sandbox.simpay("GET", f"/charges/pay_{number}", account_id=account_id)
            assert again.json() == response.json()
            found.append(response.json()["code"])
    assert codes["sim_a"] != codes["sim_b"]
    assert {"", "CARD_EXPIRED", "CHANNEL_BUSY"} <= set(codes["sim_a"] + codes["sim_b"])


async def test_a_token_can_ask_for_a_decline(sandbox: Sandbox) -> None:
    await sandbox.simpay_account()
    body = charge("pay_1", payer_token="sim:insufficient_funds")
    answer = (await sandbox.simpay("POST", "/charges", body)).json()
    assert (answer["status"], answer["code"]) == ("DECLINED", "INSUFFICIENT_FUNDS")


async def test_a_qr_order_waits_for_its_payer_who_is_told_by_callback(
    sandbox: Sandbox, receiver: Receiver
) -> None:
    await sandbox.simpay_account()
    body = charge("pay_1", method="ALIPAY_QR", notify_url=receiver.url)
    pending = (await sandbox.simpay("POST", "/charges", body)).json()
    assert pending["status"] == "PENDING"
    assert pending["qr_content"].startswith("simpay://")
    await sandbox.control("POST", "pay", account_id="sim_a", out_ref="pay_1")
    [told] = await eventually(lambda: receiver.received)
    assert sandbox.is_genuine(told.headers, told.body)
    assert (told.json["kind"], told.json["order_no"]) == ("payment", "pay_1")
    assert told.json["status"] == "SUCCEEDED"
    assert told.json["event_id"]


async def test_payers_pay_by_themselves_at_the_profiles_rate(sandbox: Sandbox) -> None:
    await sandbox.simpay_account(auto_pay_after_ms=[0, 20], pay_rate=0.5)
    for number in range(30):
        await sandbox.simpay("POST", "/charges", charge(f"pay_{number}", method="WECHAT_QR"))
    await asyncio.sleep(0.2)
    states = [row["status"] for row in await sandbox.book()]
    assert 5 < states.count("SUCCEEDED") < 25
    assert states.count("SUCCEEDED") + states.count("PENDING") == 30


async def test_a_callback_is_repeated_with_the_same_event_until_acknowledged(
    sandbox: Sandbox, receiver: Receiver
) -> None:
    await sandbox.simpay_account()
    receiver.refusals = 2
    await sandbox.simpay("POST", "/charges", charge("pay_1", notify_url=receiver.url))
    await eventually(lambda: len(receiver.received) == 3)
    await asyncio.sleep(0.15)
    assert len(receiver.received) == 3
    assert len({told.json["event_id"] for told in receiver.received}) == 1
    [callback] = await sandbox.control("GET", "callbacks")
    assert (callback["status"], callback["attempts"]) == ("DELIVERED", 3)


async def test_a_callback_nobody_acknowledges_is_given_up(
    sandbox: Sandbox, receiver: Receiver
) -> None:
    await sandbox.simpay_account()
    receiver.answer = b"fine"  # 200, but not the word asked for
    await sandbox.simpay("POST", "/charges", charge("pay_1", notify_url=receiver.url))
    await eventually(lambda: len(receiver.received) == 4)
    [callback] = await sandbox.control("GET", "callbacks")
    assert callback["status"] in ("WAITING", "GIVEN_UP")
    await asyncio.sleep(0.15)
    [callback] = await sandbox.control("GET", "callbacks")
    assert callback["status"] == "GIVEN_UP"
    assert len(receiver.received) == 4


async def test_closing_an_unknown_order_leaves_a_tombstone(sandbox: Sandbox) -> None:
    await sandbox.simpay_account()
    unknown = await sandbox.simpay("GET", "/charges/pay_1")
    assert (unknown.status_code, unknown.json()["code"]) == (404, "ORDER_NOT_FOUND")
    closed = await sandbox.simpay("POST", "/charges/pay_1/close")
    late = await sandbox.simpay("POST", "/charges", charge("pay_1"))
    assert closed.json()["status"] == "CLOSED"
    assert (late.status_code, late.json()["status"]) == (200, "CLOSED")
    assert [row["times_charged"] for row in await sandbox.book()] == [0]


async def test_closing_tells_the_truth_about_paid_and_pending_orders(sandbox: Sandbox) -> None:
    await sandbox.simpay_account()
    await sandbox.simpay("POST", "/charges", charge("pay_paid"))
    await sandbox.simpay("POST", "/charges", charge("pay_open", method="qr"))
    paid = await sandbox.simpay("POST", "/charges/pay_paid/close")
    pending = await sandbox.simpay("POST", "/charges/pay_open/close")
    assert (paid.json()["status"], pending.json()["status"]) == ("SUCCEEDED", "CLOSED")
    late = await sandbox.control("POST", "pay", account_id="sim_a", out_ref="pay_open")
    assert late == {"status": "CLOSED", "times_charged": 0}


async def test_refunds_never_exceed_the_charge_and_keep_their_number(
    sandbox: Sandbox, receiver: Receiver
) -> None:
    await sandbox.simpay_account()
    await sandbox.simpay("POST", "/charges", charge("pay_1", 1000))
    refund = {"order_no": "pay_1", "currency": "CNY", "notify_url": receiver.url}

    async def ask(refund_no: str, amount: int) -> tuple[int, str]:
        body = refund | {"refund_no": refund_no, "amount": amount}
        response = await sandbox.simpay("POST", "/refunds", body)
        return response.status_code, response.json().get("code") or response.json()["status"]

    assert await ask("ref_1", 600) == (200, "SUCCEEDED")
    assert await ask("ref_1", 600) == (200, "SUCCEEDED")
    assert await ask("ref_1", 500) == (409, "REFUND_CONFLICT")
    assert await ask("ref_2", 500) == (200, "REFUND_AMOUNT_EXCEEDED")
    assert await ask("ref_3", 400) == (200, "SUCCEEDED")
    found = (await sandbox.simpay("GET", "/refunds/ref_2")).json()
    assert (found["status"], found["code"]) == ("FAILED", "REFUND_AMOUNT_EXCEEDED")
    missing = await sandbox.simpay("GET", "/refunds/ref_9")
    assert (missing.status_code, missing.json()["code"]) == (404, "REFUND_NOT_FOUND")
    await eventually(lambda: len(receiver.received) == 2)
    assert {told.json["refund_no"] for told in receiver.received} == {"ref_1", "ref_3"}
    assert receiver.received[0].json["refunded_at"].endswith("+08:00")


async def test_payouts_take_from_the_balance_and_fail_when_it_is_short(sandbox: Sandbox) -> None:
    await sandbox.simpay_account(opening_balance=1000, fee_bps=0)
    await sandbox.simpay("POST", "/charges", charge("pay_1", 500))
    payout = {"currency": "CNY", "payee_account": "6222000000000000", "payee_name": "A"}
    paid = await sandbox.simpay("POST", "/payouts", payout | {"payout_no": "out_1", "amount": 1200})
    again = await sandbox.simpay(
        "POST", "/payouts", payout | {"payout_no": "out_1", "amount": 1200}
    )
    short = await sandbox.simpay("POST", "/payouts", payout | {"payout_no": "out_2", "amount": 301})
    assert paid.json()["status"] == "SUCCEEDED"
    assert again.json() == paid.json()
    assert (short.json()["status"], short.json()["code"]) == ("FAILED", "NOT_ENOUGH")
    assert (await sandbox.simpay("GET", "/payouts/out_1")).json() == paid.json()
    balance = (await sandbox.simpay("GET", "/balance")).json()
    assert balance == {"currency": "CNY", "available": 300}


async def test_the_bill_lists_the_business_day_and_adds_up(sandbox: Sandbox) -> None:
    await sandbox.simpay_account(fee_bps=60)
    await sandbox.control("POST", "clock", now=f"{DAY}T23:00:00+08:00")
    await sandbox.simpay("POST", "/charges", charge("pay_1", 10_000))
    await sandbox.simpay("POST", "/charges", charge("pay_2", 500, payer_token="sim:CARD_EXPIRED"))
    body = {"refund_no": "ref_1", "order_no": "pay_1", "amount": 4000, "currency": "CNY"}
    await sandbox.simpay("POST", "/refunds", body)
    out = {"payout_no": "out_1", "amount": 700, "currency": "CNY", "payee_account": "6222"}
    await sandbox.simpay("POST", "/payouts", out)
    await sandbox.control("POST", "clock", now="2026-11-12T00:00:05+08:00")
    await sandbox.simpay("POST", "/charges", charge("pay_next_day"))
    response = await sandbox.simpay("GET", f"/bills/{DAY}")
    assert response.headers["content-type"] == "text/csv; charset=utf-8"
    assert response.headers["x-sim-sha256"] == hashlib.sha256(response.content).hexdigest()
    assert sandbox.is_genuine(response.headers, response.content)
    header, *rows, total = response.text.splitlines()
    assert header == (
        "order_no,refund_no,payout_no,kind,amount,currency,fee,status,provider_no,time,capture_no"
    )
    cells = [row.split(",") for row in rows]
    assert [row[:8] for row in cells] == [
        ["pay_1", "", "", "PAY", "10000", "CNY", "60", "SUCCEEDED"],
        ["pay_1", "ref_1", "", "REFUND", "4000", "CNY", "0", "SUCCEEDED"],
        ["", "", "out_1", "PAYOUT", "700", "CNY", "0", "SUCCEEDED"],
    ]
    assert all(row[9].startswith(f"{DAY}T23:00:0") and row[9].endswith("+08:00") for row in cells)
    assert total == "#total,3,14700"


async def test_an_empty_day_has_an_empty_bill_and_a_future_day_none(sandbox: Sandbox) -> None:
    await sandbox.simpay_account()
    empty = await sandbox.simpay("GET", "/bills/2020-01-01")
    future = await sandbox.simpay("GET", "/bills/2999-01-01")
    assert empty.text.splitlines()[1:] == ["#total,0,0"]
    assert (future.status_code, future.json()["code"]) == (404, "BILL_NOT_READY")
