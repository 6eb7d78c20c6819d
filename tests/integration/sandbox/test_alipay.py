"""Our connector at the sandbox's Alipay, in key mode and in certificate mode."""

import asyncio
from urllib.parse import parse_qsl

import pytest

from services.gateway.channels.alipay.royalties import Part, Receiver, SplitOrder
from services.gateway.domain.channel import (
    CallbackMalformed,
    CallbackSignatureInvalid,
    ChannelMisconfigured,
    ChannelUnsupported,
    OutcomeKind,
)
from services.gateway.domain.next_action import CallSdk, ShowQr, SubmitForm, Wait
from tests.integration.sandbox import alipay_support
from tests.integration.sandbox.alipay_support import AMOUNT, Merchant
from tests.integration.sandbox.support import Receiver as Notified
from tests.integration.sandbox.support import Sandbox

RECEIVER = Receiver(kind="userId", account="2088000000000099")


@pytest.fixture
def merchant(alipay: Merchant) -> Merchant:
    return alipay


certificate_mode_only = pytest.mark.parametrize("alipay", ["certificate mode"], indirect=True)
key_mode_only = pytest.mark.parametrize("alipay", ["key mode"], indirect=True)


async def test_a_trade_inside_alipay_is_paid_queried_and_told(merchant: Merchant) -> None:
    created = await merchant.connector.charge(merchant.order("pay_1"))
    assert created.kind is OutcomeKind.PENDING
    assert created.next_action == CallSdk(parameters={"tradeNO": created.provider_ref})
    assert (await merchant.connector.query(merchant.sent("pay_1"))).kind is OutcomeKind.PENDING
    await merchant.pay("pay_1")
    paid = await merchant.connector.query(merchant.sent("pay_1"))
    assert (paid.kind, paid.amount_minor, paid.currency) == (OutcomeKind.SUCCEEDED, AMOUNT, "CNY")
    assert paid.provider_ref == created.provider_ref
    assert paid.paid_at is not None
    told = merchant.parse(await merchant.told())
    assert (told.kind, told.out_ref) == ("payment", "pay_1")
    assert (told.outcome.kind, told.outcome.amount_minor) == (OutcomeKind.SUCCEEDED, AMOUNT)
    assert told.outcome.paid_at == paid.paid_at


async def test_a_code_that_nobody_scanned_waits_and_can_be_closed(merchant: Merchant) -> None:
    shown = await merchant.connector.charge(merchant.order("pay_1", "ALIPAY_QR"))
    assert isinstance(shown.next_action, ShowQr)
    assert shown.next_action.content.startswith("https://qr.alipay.com/")
    waiting = await merchant.connector.query(merchant.sent("pay_1", "ALIPAY_QR"))
    assert (waiting.kind, waiting.code) == (OutcomeKind.PENDING, "ACQ.TRADE_NOT_EXIST")
    closed = await merchant.connector.close(merchant.sent("pay_1", "ALIPAY_QR"))
    assert closed.kind is OutcomeKind.CLOSED
    await merchant.pay("pay_1")
    [row] = await merchant.sandbox.book()
    assert row["times_charged"] == 0


async def test_a_scanned_code_is_paid_and_then_too_late_to_close(merchant: Merchant) -> None:
    await merchant.connector.charge(merchant.order("pay_1", "ALIPAY_QR"))
    await merchant.pay("pay_1")
    sent = merchant.sent("pay_1", "ALIPAY_QR")
    assert (await merchant.connector.query(sent)).kind is OutcomeKind.SUCCEEDED
    assert (await merchant.connector.close(sent)).kind is OutcomeKind.SUCCEEDED
    again = await merchant.connector.charge(merchant.order("pay_1", "ALIPAY_QR"))
    assert (again.kind, again.code) == (OutcomeKind.UNKNOWN, "ACQ.TRADE_HAS_SUCCESS")


@pytest.mark.parametrize("method", ["ALIPAY_PAGE", "ALIPAY_WAP"])
async def test_the_payers_browser_brings_the_form_to_the_cashier(
    merchant: Merchant, method: str
) -> None:
    handed = await merchant.connector.charge(merchant.order("pay_1", method))
    form = handed.next_action
    assert isinstance(form, SubmitForm)
    assert await merchant.sandbox.book() == []
    page = await merchant.sandbox.http.post(form.url, data=dict(form.fields))
    assert page.status_code == 200
    assert "¥ 12.30" in page.text
    assert "一杯咖啡" in page.text
    pressed = {"account_id": merchant.app_id, "out_ref": "pay_1"}
    await merchant.sandbox.http.post(f"{merchant.sandbox.url}/pay", data=pressed)
    paid = await merchant.connector.query(merchant.sent("pay_1", method))
    assert (paid.kind, paid.amount_minor) == (OutcomeKind.SUCCEEDED, AMOUNT)
    forged = {**dict(form.fields), "biz_content": "{}"}
    refused = await merchant.sandbox.http.post(form.url, data=forged)
    assert (refused.status_code, "isv.invalid-signature" in refused.text) == (400, True)


async def test_the_payers_phone_takes_the_order_string(merchant: Merchant) -> None:
    handed = await merchant.connector.charge(merchant.order("pay_1", "ALIPAY_APP"))
    assert isinstance(handed.next_action, CallSdk)
    string = handed.next_action.parameters["orderStr"]
    phone = f"{merchant.sandbox.url}/alipay/phone"
    result = (await merchant.sandbox.http.post(phone, content=string)).json()
    assert result == {"resultStatus": "8000", "out_trade_no": "pay_1"}
    await merchant.pay("pay_1")
    sent = merchant.sent("pay_1", "ALIPAY_APP")
    assert (await merchant.connector.query(sent)).kind is OutcomeKind.SUCCEEDED
    bent = string.replace("12.30", "0.01")
    result = (await merchant.sandbox.http.post(phone, content=bent)).json()
    assert (result["resultStatus"], result["sub_code"]) == ("4000", "isv.invalid-signature")


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        ("281234567890120001", OutcomeKind.SUCCEEDED),
        ("281234567890120002", OutcomeKind.DECLINED_HARD),
        ("281234567890129999", OutcomeKind.PENDING),
        ("131234567890129999", OutcomeKind.DECLINED_HARD),
    ],
)
async def test_the_till_scans_the_payers_code(
    merchant: Merchant, code: str, kind: OutcomeKind
) -> None:
    outcome = await merchant.connector.charge(
        merchant.order("pay_1", "ALIPAY_CODE", auth_code=code)
    )
    assert outcome.kind is kind
    if kind is OutcomeKind.SUCCEEDED:
        assert (outcome.amount_minor, outcome.currency) == (AMOUNT, "CNY")
    if kind is OutcomeKind.PENDING:
        assert isinstance(outcome.next_action, Wait)
        sent = merchant.sent("pay_1", "ALIPAY_CODE")
        assert (await merchant.connector.query(sent)).kind is OutcomeKind.PENDING
        assert (await merchant.connector.close(sent)).kind is OutcomeKind.CLOSED
        assert (await merchant.connector.query(sent)).kind is OutcomeKind.CLOSED


async def test_a_code_payment_that_never_arrived_is_barred_by_a_cancel(merchant: Merchant) -> None:
    sent = merchant.sent("pay_1", "ALIPAY_CODE")
    assert (await merchant.connector.close(sent)).kind is OutcomeKind.CLOSED
    late = merchant.order("pay_1", "ALIPAY_CODE", auth_code="281234567890120001")
    outcome = await merchant.connector.charge(late)
    assert (outcome.kind, outcome.code) == (OutcomeKind.CLOSED, "ACQ.TRADE_HAS_CLOSE")
    assert all(row["times_charged"] == 0 for row in await merchant.sandbox.book())


@pytest.mark.parametrize("fault", ["timeout_after_charge", "commit_then_error"])
async def test_a_charge_hidden_by_a_fault_is_unknown_until_a_query_finds_it(
    merchant: Merchant, fault: str
) -> None:
    await merchant.fault(fault)
    lost = await merchant.connector.charge(merchant.order("pay_1"))
    assert lost.kind is OutcomeKind.UNKNOWN
    found = await merchant.connector.query(merchant.sent("pay_1"))
    assert (found.kind, found.amount_minor) == (OutcomeKind.SUCCEEDED, AMOUNT)


async def test_a_busy_alipay_declines_softly_and_a_broken_one_says_nothing(
    merchant: Merchant,
) -> None:
    await merchant.fault("rate_limited")
    busy = await merchant.connector.charge(merchant.order("pay_1"))
    assert (busy.kind, busy.code) == (OutcomeKind.DECLINED_SOFT, "isv.app-call-limited")
    assert (await merchant.connector.query(merchant.sent("pay_1"))).kind is OutcomeKind.NOT_FOUND
    await merchant.fault("error_5xx")
    broken = await merchant.connector.charge(merchant.order("pay_1"))
    assert (broken.kind, broken.code) == (OutcomeKind.UNKNOWN, "HTTP_500")


async def test_refunds_tell_what_this_one_moved_and_repeats_move_nothing(
    merchant: Merchant,
) -> None:
    connector = merchant.connector
    await connector.charge(merchant.order("pay_1"))
    early = await connector.refund(merchant.refund("ref_1", "pay_1", 230))
    assert (early.kind, early.code) == (OutcomeKind.DECLINED_HARD, "ACQ.TRADE_STATUS_ERROR")
    await merchant.pay("pay_1")
    missing = await connector.query_refund(merchant.sent_refund("ref_1", "pay_1"))
    assert missing.kind is OutcomeKind.NOT_FOUND
    first = await connector.refund(merchant.refund("ref_1", "pay_1", 230))
    assert first.kind is OutcomeKind.SUCCEEDED
    again = await connector.refund(merchant.refund("ref_1", "pay_1", 230))
    assert (again.kind, again.amount_minor) == (OutcomeKind.SUCCEEDED, 230)
    other = await connector.refund(merchant.refund("ref_1", "pay_1", 231))
    assert (other.kind, other.code) == (OutcomeKind.UNKNOWN, "ACQ.DISCORDANT_REPEAT_REQUEST")
    second = await connector.refund(merchant.refund("ref_2", "pay_1", 1000))
    assert second.kind is OutcomeKind.SUCCEEDED
    found = await connector.query_refund(merchant.sent_refund("ref_2", "pay_1"))
    assert (found.kind, found.amount_minor) == (OutcomeKind.SUCCEEDED, 1000)
    assert found.paid_at is not None
    too_much = await connector.refund(merchant.refund("ref_3", "pay_1", 1))
    assert too_much.kind is OutcomeKind.DECLINED_HARD
    # Given back as a whole it shows as closed, and was paid all the same.
    whole = await connector.query(merchant.sent("pay_1"))
    assert (whole.kind, whole.code) == (OutcomeKind.SUCCEEDED, "TRADE_CLOSED")
    told = [merchant.parse(await merchant.told(count)) for count in (1, 2, 3)]
    assert [(one.kind, one.out_ref) for one in told] == [
        ("payment", "pay_1"),
        ("refund", "ref_1"),
        ("refund", "ref_2"),
    ]
    assert {one.outcome.kind for one in told} == {OutcomeKind.SUCCEEDED}


async def test_an_answer_or_a_notice_with_a_bad_signature_is_not_believed(
    merchant: Merchant,
) -> None:
    await merchant.connector.charge(merchant.order("pay_1"))
    await merchant.fault("bad_signature", operation="answer")
    doubtful = await merchant.connector.query(merchant.sent("pay_1"))
    assert (doubtful.kind, doubtful.code) == (OutcomeKind.UNKNOWN, "ANSWER_SIGNATURE_INVALID")
    await merchant.fault("bad_signature", operation="callback")
    await merchant.pay("pay_1")
    with pytest.raises(CallbackSignatureInvalid):
        merchant.parse(await merchant.told())


async def test_a_stranger_moves_nothing(merchant: Merchant) -> None:
    stranger = alipay_support.new_key()
    if merchant.certified:
        with pytest.raises(ChannelMisconfigured, match="not that of our key"):
            merchant.connect(app_private_key=alipay_support.private_pem(stranger))
        return
    forger = merchant.connect(app_private_key=alipay_support.private_pem(stranger))
    outcome = await forger.charge(merchant.order("pay_1"))
    assert (outcome.kind, outcome.code) == (OutcomeKind.UNKNOWN, "ANSWER_SIGNATURE_INVALID")
    assert "isv.invalid-signature" in outcome.message
    assert await merchant.sandbox.book() == []


async def test_a_notice_for_another_merchant_is_refused(merchant: Merchant) -> None:
    await merchant.connector.charge(merchant.order("pay_1"))
    await merchant.pay("pay_1")
    told = await merchant.told()
    for changed in ({"app_id": "2021000000000002"}, {"seller_id": "2088000000000001"}):
        other = merchant.connect(**changed)
        with pytest.raises(CallbackMalformed):
            other.parse_callback(told.headers, told.body, alipay_support.NOON)


async def test_a_notice_is_delivered_until_success_is_answered(merchant: Merchant) -> None:
    merchant.receiver.answer = b"fail"
    await merchant.connector.charge(merchant.order("pay_1"))
    await merchant.pay("pay_1")
    await merchant.told(3)
    merchant.receiver.answer = merchant.connector.acknowledge(ok=True).body
    count = len(merchant.receiver.received)
    await merchant.told(count + 1)
    await asyncio.sleep(0.3)
    assert len(merchant.receiver.received) == count + 1
    assert {merchant.parse(told).event_id for told in merchant.receiver.received} == {
        merchant.parse(merchant.receiver.received[0]).event_id
    }


async def test_a_notice_in_gbk_is_read(
    merchant: Merchant, sandbox: Sandbox, receiver: Notified
) -> None:
    await sandbox.control(
        "POST",
        "accounts",
        provider="alipay",
        account_id=merchant.app_id,
        seller_id=alipay_support.SELLER,
        merchant_public_key_pem=alipay_support.public_pem(merchant.key),
        certificate_mode="true" if merchant.certified else "",
        charset="gbk",
        profile={"callback_after_ms": [0, 0], "auto_pay_after_ms": None},
    )
    await merchant.connector.charge(merchant.order("pay_1", description="镕鑫的咖啡"))
    await merchant.pay("pay_1")
    told = await merchant.told()
    subject = dict(parse_qsl(told.body.decode(), encoding="gbk"))["subject"]
    assert subject == "镕鑫的咖啡"
    assert merchant.parse(told).out_ref == "pay_1"


@certificate_mode_only
async def test_a_new_certificate_is_fetched_and_believed(merchant: Merchant) -> None:
    await merchant.connector.charge(merchant.order("pay_1"))
    await merchant.replace_key()
    await merchant.pay("pay_1")
    with pytest.raises(CallbackSignatureInvalid):
        merchant.parse(await merchant.told())
    paid = await merchant.connector.query(merchant.sent("pay_1"))
    assert paid.kind is OutcomeKind.SUCCEEDED
    assert merchant.parse(await merchant.told()).out_ref == "pay_1"


@key_mode_only
async def test_a_new_key_is_believed_where_both_are_configured(merchant: Merchant) -> None:
    await merchant.connector.charge(merchant.order("pay_1"))
    replaced = await merchant.replace_key()
    before = await merchant.connector.query(merchant.sent("pay_1"))
    assert before.code == "ANSWER_SIGNATURE_INVALID"
    both = merchant.keys["alipay_public_key"] + replaced
    after = await merchant.connect(alipay_public_key=both).query(merchant.sent("pay_1"))
    assert after.kind is OutcomeKind.PENDING


@key_mode_only
async def test_key_mode_pays_nothing_out(merchant: Merchant) -> None:
    with pytest.raises(ChannelUnsupported):
        await merchant.connector.payout(merchant.payout("out_1"))


@certificate_mode_only
async def test_transfers_are_made_once_asked_for_told_and_may_come_back(
    merchant: Merchant,
) -> None:
    connector = merchant.connector
    assert (await connector.balance()).available_minor == 10_000_000_000
    unknown = await connector.query_payout(merchant.sent_payout("out_1"))
    assert unknown.kind is OutcomeKind.NOT_FOUND
    done = await connector.payout(merchant.payout("out_1"))
    assert done.kind is OutcomeKind.SUCCEEDED
    again = await connector.payout(merchant.payout("out_1"))
    assert (again.kind, again.provider_ref) == (OutcomeKind.SUCCEEDED, done.provider_ref)
    other = await connector.payout(merchant.payout("out_1", amount_minor=1))
    assert (other.kind, other.code) == (OutcomeKind.UNKNOWN, "PAYMENT_INFO_INCONSISTENCY")
    told = merchant.parse(await merchant.told())
    assert (told.kind, told.out_ref, told.outcome.amount_minor) == ("payout", "out_1", 5000)
    nobody = await connector.payout(merchant.payout("out_2", payee_account="nobody@x"))
    assert (nobody.kind, nobody.code) == (OutcomeKind.DECLINED_HARD, "PAYEE_NOT_EXIST")
    await merchant.sandbox.control("POST", "return", account_id=merchant.app_id, out_ref="out_1")
    returned = await connector.query_payout(merchant.sent_payout("out_1"))
    assert returned.kind is OutcomeKind.RETURNED
    assert (await connector.balance()).available_minor == 10_000_000_000


@certificate_mode_only
async def test_a_hidden_transfer_is_found_and_a_bank_card_is_served(merchant: Merchant) -> None:
    await merchant.fault("commit_then_error", operation="payout")
    lost = await merchant.connector.payout(merchant.payout("out_1", method="BANK_TRANSFER"))
    assert (lost.kind, lost.code) == (OutcomeKind.UNKNOWN, "aop.ACQ.SYSTEM_ERROR")
    found = await merchant.connector.query_payout(merchant.sent("out_1", "BANK_TRANSFER"))
    assert (found.kind, found.amount_minor) == (OutcomeKind.SUCCEEDED, 5000)


async def test_a_paid_trade_is_divided_among_bound_receivers(merchant: Merchant) -> None:
    connector = merchant.connector
    created = await connector.charge(merchant.order("pay_1", amount_minor=10_000))
    await merchant.pay("pay_1")

    def split(out_ref: str, amount_minor: int) -> SplitOrder:
        part = Part(receiver=RECEIVER, amount_minor=amount_minor, description="share")
        return SplitOrder(
            out_ref=out_ref, trade_no=created.provider_ref, parts=[part], is_final=True
        )

    stranger = await connector.split(split("split_1", 3000))
    assert (stranger.kind, stranger.code) == (
        OutcomeKind.DECLINED_HARD,
        "ACQ.ROYALTY_RECEIVER_INVALID",
    )
    assert (await connector.bind("bind_1", [RECEIVER], bound=True)).kind is OutcomeKind.SUCCEEDED
    greedy = await connector.split(split("split_1", 3001))
    assert greedy.code == "ACQ.ALLOC_AMOUNT_VALIDATE_ERROR"
    await merchant.fault("commit_then_error", operation="split")
    assert (await connector.split(split("split_1", 3000))).kind is OutcomeKind.UNKNOWN
    assert (await connector.split(split("split_1", 3000))).kind is OutcomeKind.SUCCEEDED
    found = await connector.query_split("split_1", created.provider_ref)
    assert (found.kind, found.amount_minor) == (OutcomeKind.SUCCEEDED, 3000)
    missing = await connector.query_split("split_9", created.provider_ref)
    assert missing.kind is OutcomeKind.NOT_FOUND
    assert (await connector.bind("bind_2", [RECEIVER], bound=False)).kind is OutcomeKind.SUCCEEDED
    assert (await connector.split(split("split_2", 1))).kind is OutcomeKind.DECLINED_HARD
