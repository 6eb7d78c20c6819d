"""What CMB's bodies mean, and that none of them can break the reader."""

import base64
from datetime import UTC, date, datetime
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from libs import sm2
from services.gateway.channels.answers import Malformed
from services.gateway.channels.cmb import messages
from services.gateway.channels.cmb.envelope import Json, Number
from services.gateway.channels.cmb.settings import Settings, load
from services.gateway.domain.channel import ChannelMisconfigured, OutcomeKind, PayoutOrder

SCALAR = bytes.fromhex("3945208F7B2144B13F36E38AC6D39F95889393692860B51A42FB81EF4DF7C5B8")
VALUES = {
    "user_id": "N002463123",
    "private_key": base64.b64encode(SCALAR).decode(),
    "bank_public_key": base64.b64encode(
        sm2.PrivateKey.from_raw(SCALAR).public_key().point
    ).decode(),
    "cipher_key": "0123456789abcdef",
    "account": "755915711310210",
    "branch": "75",
    "business_mode": "00001",
    "duplicate_codes": "CSAC054",
}
OURS: Settings = load(VALUES)


def order(**changes: Any) -> PayoutOrder:
    fields: dict[str, Any] = {
        "out_ref": "p01",
        "method": "BANK_TRANSFER",
        "amount_minor": 123_456,
        "currency": "CNY",
        "payee_account": "6222000000000000",
        "payee_name": "某某公司",
        "payee_bank_code": "102100099996",
        "description": "货款",
        "notify_url": "",
        "sent_at": datetime(2026, 11, 11, tzinfo=UTC),
    }
    return PayoutOrder(**fields | changes)


def record(state: str, result: str = "", reason: str = "", **changes: object) -> Json:
    fields: Json = {
        "yurRef": "p01",
        "reqNbr": "R1",
        "ccyNbr": "10",
        "trsAmt": "1234.56",
        "reqSts": state,
        "rtnFlg": result,
        "rtnNar": reason,
    }
    return fields | changes


@pytest.mark.parametrize(
    ("state", "result", "reason", "kind", "code"),
    [
        ("AUT", "", "", OutcomeKind.PENDING, "AUT"),
        ("BNK", "", "", OutcomeKind.PENDING, "BNK"),
        ("WRF", "", "", OutcomeKind.UNKNOWN, "WRF"),
        ("XYZ", "", "", OutcomeKind.UNKNOWN, "XYZ"),
        ("FIN", "S", "", OutcomeKind.SUCCEEDED, "FIN_S"),
        ("FIN", "B", "收款人账户已销户", OutcomeKind.RETURNED, "ACCOUNT_CLOSED"),
        ("FIN", "F", "收方户名不符", OutcomeKind.DECLINED_HARD, "ACCOUNT_NAME_MISMATCH"),
        ("FIN", "F", "账户余额不足", OutcomeKind.DECLINED_SOFT, "INSUFFICIENT_FUNDS"),
        ("FIN", "R", "", OutcomeKind.DECLINED_HARD, "FIN_R"),
        ("FIN", "U", "", OutcomeKind.PENDING, "FIN_U"),
        ("FIN", "?", "", OutcomeKind.UNKNOWN, "FIN_?"),
        ("FIN", "", "", OutcomeKind.UNKNOWN, "FIN"),
        # A result means something only once the request is finished.
        ("NTE", "S", "", OutcomeKind.PENDING, "NTE_S"),
    ],
)
def test_state_and_result_together_say_what_became_of_it(
    state: str, result: str, reason: str, kind: OutcomeKind, code: str
) -> None:
    outcome = messages.state(record(state, result, reason), OURS)
    assert (outcome.kind, outcome.code, outcome.amount_minor) == (kind, code, 123_456)


def test_a_duplicate_says_nothing_of_the_first() -> None:
    told = messages.accepted({"errCod": "CSAC054", "errTxt": "业务参考号重复"}, OURS)
    assert told.kind is OutcomeKind.UNKNOWN


def test_an_error_without_a_number_of_the_banks_was_not_taken_in() -> None:
    told = messages.accepted({"errCod": "CSAC001", "errTxt": "收方账号不存在"}, OURS)
    assert (told.kind, told.code) == (OutcomeKind.DECLINED_HARD, "ACCOUNT_NOT_FOUND")
    perhaps = messages.accepted({"errCod": "CSAC001", "errTxt": "?", "reqNbr": "R1"}, OURS)
    assert perhaps.kind is OutcomeKind.UNKNOWN


def test_a_payment_names_the_payees_bank() -> None:
    there = messages.payment(order(), OURS)
    assert (there["bnkFlg"], there["brdNbr"], there["trsAmt"]) == ("N", "102100099996", "1234.56")
    here = messages.payment(order(payee_bank_code="308584000013"), OURS)
    assert here["bnkFlg"] == "Y"
    assert "brdNbr" not in here


def test_the_same_payments_are_the_same_batch_in_any_order() -> None:
    first, second = order(out_ref="p01"), order(out_ref="p02")
    numbers = {
        messages.records(messages.batch(orders, OURS), "bb1bmdbhx1")[0]["bthNbr"]
        for orders in ([first, second], [second, first])
    }
    assert len(numbers) == 1


@pytest.mark.parametrize(
    "amount", ["1.234", "abc", "NaN", "Infinity", "1e30", "", 5, None, "9" * 30]
)
def test_an_amount_that_is_not_exact_fen_is_malformed(amount: object) -> None:
    with pytest.raises(Malformed):
        messages.fen({"trsAmt": amount}, "trsAmt")


@given(minor=st.integers(min_value=0, max_value=10**15))
def test_amounts_come_back_as_they_went(minor: int) -> None:
    assert messages.fen({"a": Number(messages.yuan(minor))}, "a") == minor


@pytest.mark.parametrize("name", ["funcode", "userid", "reqid"])
def test_an_answer_to_another_question_is_malformed(name: str) -> None:
    head = {"funcode": "F", "userid": "U", "reqid": "R", "resultcode": "SUC0000"}
    content: Json = {"response": {"head": head | {name: "x"}, "body": {}}}
    with pytest.raises(Malformed):
        messages.response(content, function="F", user_id="U", request_id="R")


def test_the_bill_holds_the_pages_as_they_came() -> None:
    pages = [{"ntrbptrsz1": [{"cotflg": "N"}], "ntqactrsz2": [{"trsamt": Number("1.00")}]}]
    file = messages.bill(date(2026, 11, 11), pages, OURS)
    assert orjson.loads(file.content)["pages"][0]["ntqactrsz2"] == [{"trsamt": "1.00"}]
    assert not file.empty
    assert messages.bill(date(2026, 11, 11), [{}], OURS).empty


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("private_key", "AAAA"),
        ("private_key", "?"),
        ("bank_public_key", base64.b64encode(bytes(65)).decode()),
        ("cipher_key", "short"),
        ("account", ""),
        ("batch_count_max", "0"),
        ("batch_count_max", "1001"),
        ("batch_window_ms", "-1"),
    ],
)
def test_credentials_that_cannot_work_are_refused(name: str, value: str) -> None:
    with pytest.raises(ChannelMisconfigured):
        load(VALUES | {name: value})


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.text(max_size=10) | st.integers().map(str).map(Number),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                (
                    "yurRef",
                    "reqSts",
                    "rtnFlg",
                    "trsAmt",
                    "ccyNbr",
                    "errCod",
                    "cotflg",
                    "trsseq",
                    "avlblv",
                )
            ),
            inner,
            max_size=4,
        )
    ),
    max_leaves=10,
)


@settings(max_examples=300, deadline=None)
@given(
    body=st.dictionaries(
        st.sampled_from(
            ("bb1payqrz1", "ntqacinfz", "ntrbptrsz1", "ntqactrsz2", "trsseq", "reqSts", "ccyNbr")
        ),
        ANYTHING,
        max_size=5,
    )
)
def test_no_body_breaks_the_reader(body: Json) -> None:
    for read in (
        lambda: messages.state(body, OURS),
        lambda: messages.accepted(body, OURS),
        lambda: messages.balance(body, OURS),
        lambda: messages.next_sequence(body),
        lambda: messages.bill(date(2026, 11, 11), [body], OURS),
        lambda: messages.response(body, function="F", user_id="U", request_id="R"),
    ):
        try:
            read()
        except Malformed:
            continue
