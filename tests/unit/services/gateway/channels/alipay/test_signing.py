"""What is signed, character by character; an independent SDK agrees in both directions."""

import json
from collections.abc import Mapping
from typing import Any

import alipay as python_alipay_sdk
import pytest
from Cryptodome.PublicKey import RSA
from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key
from hypothesis import given
from hypothesis import strategies as st

from services.gateway.channels.alipay import requests, signing
from services.gateway.channels.answers import Malformed, SignatureInvalid
from tests.unit.services.gateway.channels.alipay import conftest

QUERY = "alipay.trade.query"
NODE = "alipay_trade_query_response"
_text = st.text('ab中\U0001f375{}[]"\\/:,= \n', max_size=20)
_json = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**12), 10**12) | _text,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(_text, inner, max_size=4),
    max_leaves=12,
)


@pytest.fixture(scope="module")
def sdk(platform: Any) -> Any:
    untyped: Any = python_alipay_sdk
    return untyped.AliPay(
        platform.app_id,
        app_private_key_string=conftest.private_pem(platform.app_key),
        alipay_public_key_string=conftest.public_pem(platform.key),
    )


def _signed(platform: Any, content: Mapping[str, object], **more: str) -> dict[str, str]:
    parameters = requests.parameters(
        QUERY, content, app_id=platform.app_id, now=platform.now, serials={}, **more
    )
    covered = signing.request_content(parameters).encode()
    return {**parameters, "sign": signing.sign(platform.app_key, covered)}


def test_a_request_is_signed_over_its_sorted_pairs_without_what_is_empty() -> None:
    pairs = {"b": "2 &=中", "sign": "x", "a": "1", "empty": "", "sign_type": "RSA2"}
    assert signing.request_content(pairs) == "a=1&b=2 &=中&sign_type=RSA2"
    assert signing.notice_content(pairs) == "a=1&b=2 &=中&empty="


def test_the_sdk_signs_the_same_parameters_the_same_way(platform: Any, sdk: Any) -> None:
    content = {"out_trade_no": "pay_1", "subject": "a&b=c/d 咖啡"}
    ours = _signed(platform, content, notify_url="https://shop.example/notify?x=1&y=2")
    unsigned = {name: value for name, value in ours.items() if name != "sign"}
    assert sdk.sign_data(unsigned) == requests.order_string({**unsigned}) + "&sign=" + (
        requests.order_string({"sign": ours["sign"]}).removeprefix("sign=")
    )


def test_the_sdk_believes_what_we_sign_and_we_believe_what_it_signs(
    platform: Any, sdk: Any
) -> None:
    signed = _signed(platform, {"out_trade_no": "咖啡"})
    covered = signing.request_content(signed)
    sdk._alipay_public_key = RSA.import_key(conftest.public_pem(platform.app_key))
    assert sdk._verify(covered, signed["sign"])
    ours = [platform.app_key.public_key()]
    signing.verify(ours, covered.encode(), sdk._sign(covered))
    with pytest.raises(SignatureInvalid):
        signing.verify(ours, covered.encode() + b" ", sdk._sign(covered))


@pytest.mark.parametrize(
    "inner",
    [
        '{"code":"10000","qr_code":"https:\\/\\/qr.alipay.com\\/bax"}',
        '{ "code" : "10000" , "msg":"\\u6210\\u529f" }',
        '{"code":"10000","note":"a \\"quote\\", {brace} and \\\\"}',
        '{"code":"10000","note":",\\"sign\\":\\"no\\""}',
        '{"code":"10000","amount":45.0,"deep":{"sign":"inner","list":[{"a":"}"}]}}',
        "{}",
    ],
)
def test_the_very_characters_of_the_inner_object_are_taken(platform: Any, inner: str) -> None:
    body = platform.answer(QUERY, inner)
    taken = signing.take_apart(body, method=QUERY)
    assert taken.content == inner.encode()
    signing.verify([platform.key.public_key()], taken.content, taken.signature)
    spaced = body.replace(b'{"alipay', b' \n{ "alipay', 1).replace(b',"sign":"', b' ,\t"sign" : "')
    assert signing.take_apart(spaced, method=QUERY).content == inner.encode()


def test_an_answer_in_gbk_is_cut_where_its_characters_end(platform: Any) -> None:
    inner = '{"code":"40004","sub_msg":"交易\\\\不存在乗"}'
    content = inner.encode("gbk")
    signature = signing.sign(platform.key, content)
    body = f'{{"{NODE}":'.encode() + content + f',"sign":"{signature}"}}'.encode()
    taken = signing.take_apart(body, method=QUERY, charset="GBK")
    assert taken.content == content
    signing.verify([platform.key.public_key()], taken.content, taken.signature)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b"{}",
        b"null",
        b'{"other_response":{}}',
        b'{"alipay_trade_query_response":"text","sign":"x"}',
        b'{"alipay_trade_query_response":{},"error_response":{},"sign":"x"}',
        b'{"alipay_trade_query_response":{"a":1},"alipay_trade_query_response":{},"sign":"x"}',
        b'{"alipay_trade_query_response":{},"sign":"x","sign":"y"}',
        b'{"alipay_trade_query_response":{},"sign":1}',
        b'{"alipay_trade_query_response":{},"sign":"x"} {}',
        b'{"alipay_trade_query_response":{},"sign":"x"',
        b'{"alipay_trade_query_response":{}"sign":"x"}',
        b"{1:{}}",
        b'\xff\xfe{"alipay_trade_query_response":{}}',
        b'{"alipay_trade_query_response":' + b"[" * 100_000,
        b'{"alipay_trade_query_response":{"n":' + b"9" * 10_000 + b"}}",
    ],
)
def test_what_is_not_one_answer_is_malformed(body: bytes) -> None:
    with pytest.raises(Malformed):
        signing.take_apart(body, method=QUERY)


def test_an_error_answer_may_carry_no_signature() -> None:
    taken = signing.take_apart(b'{"error_response":{"code":"40002"}}', method=QUERY)
    assert (taken.content, taken.signature, taken.certificate_serial) == (
        b'{"code":"40002"}',
        "",
        "",
    )


@given(body=st.binary(max_size=300))
def test_no_bytes_break_the_reader(body: bytes) -> None:
    try:
        signing.take_apart(body, method=QUERY)
    except Malformed:
        return


@given(
    inner=st.dictionaries(_text, _json, max_size=5),
    others=st.dictionaries(
        _text.filter(lambda name: name not in (NODE, "sign")), _json, max_size=3
    ),
    ascii_only=st.booleans(),
    indent=st.none() | st.integers(0, 3),
)
def test_whatever_stands_around_it_the_inner_object_is_found_exactly(
    inner: dict[str, Any], others: dict[str, Any], ascii_only: bool, indent: int | None
) -> None:
    others = {name: value for name, value in others.items() if name != signing.ERROR_NODE}
    others.pop("alipay_cert_sn", None)
    written = json.dumps(inner, ensure_ascii=ascii_only, indent=indent)
    around = "".join(f"{json.dumps(name)}:{json.dumps(value)}," for name, value in others.items())
    body = f'{{{around}"{NODE}":{written},"sign":"s"}}'.encode()
    taken = signing.take_apart(body, method=QUERY)
    assert (taken.content, taken.signature) == (written.encode(), "s")


@given(signature=st.text(max_size=60))
def test_no_text_passes_for_a_signature(signature: str) -> None:
    key = _KEY
    with pytest.raises(SignatureInvalid):
        signing.verify([key], b"content", signature)


_KEY = generate_private_key(65537, 2048).public_key()
