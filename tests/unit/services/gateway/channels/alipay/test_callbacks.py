"""Notifications: verified in their own charset, checked to be ours, then read."""

from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlencode

import pytest
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from hypothesis import given
from hypothesis import strategies as st

from services.gateway.channels.alipay import callbacks, signing
from services.gateway.channels.answers import Malformed
from services.gateway.domain.channel import (
    CallbackMalformed,
    CallbackSignatureInvalid,
    OutcomeKind,
)
from tests.unit.services.gateway.channels.alipay import conftest

NAMES = (
    "app_id", "notify_id", "notify_type", "msg_method", "biz_content", "trade_status",
    "out_trade_no", "total_amount", "gmt_payment", "out_biz_no", "gmt_refund", "charset",
)  # fmt: skip


def _parse(platform: Any, body: bytes, *, seller_id: str | None = None) -> Any:
    return callbacks.parse(
        body,
        keys=[platform.key.public_key()],
        app_id=platform.app_id,
        seller_id=platform.seller_id if seller_id is None else seller_id,
    )


@pytest.mark.parametrize(
    ("charset", "codec"),
    [("utf-8", "utf-8"), ("UTF-8", "utf-8"), ("GBK", "gbk"), ("gb2312", "gbk")],
)
def test_a_paid_trade_is_told_in_each_charset(platform: Any, charset: str, codec: str) -> None:
    told = _parse(platform, platform.form(platform.notice(charset=charset), codec=codec))
    assert (told.event_id, told.kind, told.out_ref) == ("n1", "payment", "pay_1")
    outcome = told.outcome
    assert (outcome.kind, outcome.amount_minor, outcome.currency) == (
        OutcomeKind.SUCCEEDED,
        1230,
        "CNY",
    )
    assert (outcome.provider_ref, outcome.paid_at) == (
        "2026111122001",
        datetime(2026, 11, 11, 4, 0, tzinfo=UTC),
    )


def test_a_refund_is_told_by_its_own_number_and_without_its_amount(platform: Any) -> None:
    fields = platform.notice(
        out_biz_no="ref_1", refund_fee="5.00", gmt_refund="2026-11-11 13:00:00.123"
    )
    told = _parse(platform, platform.form(fields))
    assert (told.kind, told.out_ref, told.outcome.kind) == (
        "refund",
        "ref_1",
        OutcomeKind.SUCCEEDED,
    )
    assert told.outcome.amount_minor is None
    assert told.outcome.paid_at == datetime(2026, 11, 11, 5, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("changes", "kind"),
    [
        ({"trade_status": "WAIT_BUYER_PAY", "gmt_payment": "-"}, OutcomeKind.PENDING),
        ({"trade_status": "TRADE_FINISHED"}, OutcomeKind.SUCCEEDED),
        ({"trade_status": "TRADE_CLOSED"}, OutcomeKind.SUCCEEDED),
        ({"trade_status": "TRADE_CLOSED", "gmt_payment": "-"}, OutcomeKind.CLOSED),
        ({"trade_status": "TRADE_NEW_WORD"}, OutcomeKind.UNKNOWN),
    ],
)
def test_each_status_means_what_the_payment_time_makes_of_it(
    platform: Any, changes: dict[str, str], kind: OutcomeKind
) -> None:
    assert _parse(platform, platform.form(platform.notice(**changes))).outcome.kind is kind


def test_a_transfer_is_told_in_a_message_of_its_own(platform: Any) -> None:
    content = '{"out_biz_no":"out_1","order_id":"o1","status":"REFUND","trans_amount":"50.00"}'
    fields = {
        "notify_id": "n2",
        "app_id": platform.app_id,
        "charset": "utf-8",
        "msg_method": "alipay.fund.trans.order.changed",
        "biz_content": content,
    }
    told = _parse(platform, platform.form(fields))
    assert (told.kind, told.out_ref) == ("payout", "out_1")
    assert (told.outcome.kind, told.outcome.amount_minor) == (OutcomeKind.RETURNED, 5000)
    other = platform.form({**fields, "msg_method": "alipay.open.app.changed"})
    with pytest.raises(CallbackMalformed):
        _parse(platform, other)


@pytest.mark.parametrize(
    "change",
    [
        {"total_amount": "0.01"},
        {"out_trade_no": "pay_2"},
        {"charset": "gbk"},
        {"extra": "1"},
        {"sign": "AAAA"},
        {"sign": "not base64!"},
        {"sign": ""},
        {"sign_type": "RSA"},
    ],
)
def test_a_changed_notice_proves_nothing(platform: Any, change: dict[str, str]) -> None:
    fields = platform.notice(subject="ascii")
    signature = signing.sign(platform.key, signing.notice_content(fields).encode())
    bent = {**fields, "sign_type": "RSA2", "sign": signature, **change}
    with pytest.raises(CallbackSignatureInvalid):
        _parse(platform, conftest.encoded(bent))


def test_a_stranger_signs_nothing_for_alipay(platform: Any, stranger: RSAPrivateKey) -> None:
    fields = platform.notice()
    signature = signing.sign(stranger, signing.notice_content(fields).encode())
    forged = conftest.encoded({**fields, "sign_type": "RSA2", "sign": signature})
    with pytest.raises(CallbackSignatureInvalid):
        _parse(platform, forged)


@pytest.mark.parametrize(
    "changes",
    [
        {"app_id": "2021000000000002"},
        {"seller_id": "2088000000000001"},
        {"seller_id": "-"},
        {"notify_id": "-"},
        {"notify_type": "batch_refund_notify"},
        {"out_trade_no": "-"},
        {"trade_status": "-"},
        {"total_amount": "-"},
        {"total_amount": "12.345"},
        {"total_amount": "-1.00"},
        {"gmt_payment": "yesterday"},
        {"gmt_payment": "0001-01-01 00:00:00"},
    ],
)
def test_a_genuine_notice_that_is_not_for_us_or_makes_no_sense(
    platform: Any, changes: dict[str, str]
) -> None:
    with pytest.raises(CallbackMalformed):
        _parse(platform, platform.form(platform.notice(**changes)))


def test_any_seller_is_ours_where_none_is_configured(platform: Any) -> None:
    body = platform.form(platform.notice(seller_id="2088000000000001"))
    assert _parse(platform, body, seller_id="").out_ref == "pay_1"


@pytest.mark.parametrize(
    "body",
    [
        b"a=1&a=2",
        b"charset=latin-1&a=%ff",
        b"a=%ff",
        b"a=\xe4\xb8\xad",
        b"&".join(b"n%d=1" % number for number in range(200)),
        b"a=" + b"x" * 70_000,
    ],
)
def test_a_body_that_is_no_form_is_malformed(body: bytes) -> None:
    with pytest.raises(Malformed):
        callbacks.read_form(body)


@given(body=st.binary(max_size=200))
def test_no_bytes_break_the_reader_of_forms(body: bytes) -> None:
    try:
        callbacks.read_form(body)
    except Malformed:
        return


@given(
    fields=st.dictionaries(
        st.sampled_from(NAMES),
        st.text('0129-: .中a{}"\\%&=\0', max_size=30)
        | st.sampled_from(["2021", "trade_status_sync", "TRADE_SUCCESS", "utf-8", "1.00", "{}"]),
    )
)
def test_no_genuine_form_breaks_the_receiver(fields: dict[str, str]) -> None:
    body = urlencode({**fields, "sign_type": "RSA2", "sign": "x"}).encode()
    try:
        form = callbacks.read_form(body)
        callbacks._read(form, app_id="2021", seller_id="")
    except Malformed:
        return


def test_only_the_word_success_stops_the_deliveries() -> None:
    accepted, refused = callbacks.acknowledge(ok=True), callbacks.acknowledge(ok=False)
    assert (accepted.status, accepted.body) == (200, b"success")
    assert refused.body != b"success"
