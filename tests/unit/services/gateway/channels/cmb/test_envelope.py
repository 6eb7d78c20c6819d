"""CMB's envelope: what is signed, what is opened, and what is refused."""

import base64
from collections.abc import Callable
from datetime import datetime
from urllib.parse import parse_qs
from zoneinfo import ZoneInfo

import pytest
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from gmssl import func
from gmssl import sm2 as oracle_sm2
from gmssl import sm3 as oracle_sm3
from gmssl import sm4 as oracle_sm4
from hypothesis import given, settings
from hypothesis import strategies as st

from libs import sm2
from services.gateway.channels.answers import Malformed, SignatureInvalid
from services.gateway.channels.cmb import envelope
from services.gateway.channels.cmb.envelope import Number

USER_ID, CIPHER_KEY = "N002463123", b"0123456789abcdef"
SCALAR = bytes.fromhex("3945208F7B2144B13F36E38AC6D39F95889393692860B51A42FB81EF4DF7C5B8")
KEY = sm2.PrivateKey.from_raw(SCALAR)
SIGNED_AT = datetime(2026, 11, 11, 12, 0, 5, tzinfo=ZoneInfo("Asia/Shanghai"))
CONTENT: envelope.Json = {
    "request": {
        "head": {"userid": USER_ID, "funcode": "BB1PAYOP", "reqid": "20261111"},
        "body": {"b": [{"z": "货款", "a": 'a"b\\'}], "a": None},
    }
}


def seal() -> str:
    return envelope.seal(
        CONTENT, user_id=USER_ID, key=KEY, cipher_key=CIPHER_KEY, signed_at=SIGNED_AT
    )


def open_answer(body: bytes) -> envelope.Json:
    return envelope.open_answer(body, user_id=USER_ID, key=KEY.public_key(), cipher_key=CIPHER_KEY)


def test_sm4_is_that_of_its_standard() -> None:
    """GB/T 32907, annex A: one block."""
    key = block = bytes.fromhex("0123456789ABCDEFFEDCBA9876543210")
    encryptor = Cipher(algorithms.SM4(key), modes.ECB()).encryptor()
    assert encryptor.update(block).hex() == "681edf34d206965e86b3e94f536e4246"


def test_the_signer_is_named_by_sixteen_bytes() -> None:
    assert envelope.identifier("N002463123") == b"N002463123000000"
    assert envelope.identifier("N0024631234567890") == b"N002463123456789"


def test_keys_are_sorted_at_every_level_and_nothing_is_spaced() -> None:
    assert envelope.canonical(CONTENT) == (
        '{"request":{"body":{"a":null,"b":[{"a":"a\\"b\\\\","z":"货款"}]},'
        '"head":{"funcode":"BB1PAYOP","reqid":"20261111","userid":"N002463123"}}}'
    )


def test_numbers_stay_as_they_were_written() -> None:
    content = envelope.decode(b'{"b":1.00,"a":100,"c":-0.50,"d":1E5,"e":true}')
    assert envelope.canonical(content) == '{"a":100,"b":1.00,"c":-0.50,"d":1E5,"e":true}'
    assert content["b"] == Number("1.00")


def test_an_independent_implementation_opens_and_verifies_what_we_seal() -> None:
    cipher = oracle_sm4.CryptSM4()
    cipher.set_key(CIPHER_KEY, oracle_sm4.SM4_DECRYPT)
    plain = cipher.crypt_cbc(b"N002463123000000", base64.b64decode(seal()))
    signed = envelope.decode(plain)
    signature = signed["signature"]
    assert isinstance(signature, dict)
    assert signature["sigtim"] == "20261111120005"
    given, signature["sigdat"] = str(signature["sigdat"]), envelope.PLACEHOLDER
    raw = base64.b64decode(given)
    assert oracle_verifies(raw, envelope.canonical(signed).encode())
    assert not oracle_verifies(raw, envelope.canonical(signed).encode() + b" ")


def oracle_verifies(raw: bytes, message: bytes) -> bool:
    """gmssl over the digest that the standard makes of identifier, curve, key and message."""
    point = KEY.public_key().point[1:].hex()
    public = oracle_sm2.CryptSM2(private_key="", public_key=point)
    table = oracle_sm2.default_ecc_table
    name = b"N002463123000000"
    opening = (len(name) * 8).to_bytes(2).hex() + name.hex()
    opening += table["a"] + table["b"] + table["g"] + point
    z = oracle_sm3.sm3_hash(func.bytes_to_list(bytes.fromhex(opening)))
    digest = oracle_sm3.sm3_hash(func.bytes_to_list(bytes.fromhex(z) + message))
    return bool(public.verify(raw.hex(), bytes.fromhex(digest)))


def test_we_verify_and_open_what_an_independent_implementation_seals() -> None:
    content = envelope.decode(b'{"response":{"head":{"a":1.00}},"signature":{"sigtim":"1"}}')
    content["signature"] = {"sigtim": "1", "sigdat": envelope.PLACEHOLDER}
    point = KEY.public_key().point[1:].hex()
    signer = oracle_sm2.CryptSM2(private_key=SCALAR.hex(), public_key=point)
    table, name = oracle_sm2.default_ecc_table, b"N002463123000000"
    opening = (len(name) * 8).to_bytes(2).hex() + name.hex()
    opening += table["a"] + table["b"] + table["g"] + point
    z = oracle_sm3.sm3_hash(func.bytes_to_list(bytes.fromhex(opening)))
    message = bytes.fromhex(z) + envelope.canonical(content).encode()
    digest = oracle_sm3.sm3_hash(func.bytes_to_list(message))
    raw = bytes.fromhex(signer.sign(bytes.fromhex(digest), func.random_hex(64)))
    content["signature"] = {"sigtim": "1", "sigdat": base64.b64encode(raw).decode()}
    cipher = oracle_sm4.CryptSM4()
    cipher.set_key(CIPHER_KEY, oracle_sm4.SM4_ENCRYPT)
    body = base64.b64encode(cipher.crypt_cbc(name, envelope.canonical(content).encode()))
    assert open_answer(body) == content


def test_the_form_survives_the_way_there() -> None:
    data = seal()
    form = parse_qs(envelope.form("BB1PAYOP", USER_ID, data).decode())
    assert form == {"ALG": ["SM"], "DATA": [data], "FUNCODE": ["BB1PAYOP"], "UID": [USER_ID]}


@pytest.mark.parametrize(
    "spoil",
    [
        lambda body: body[:-4],
        lambda body: body[:40] + b"A" + body[41:],
        lambda _: b"",
        lambda _: b"hello",
        lambda body: base64.b64encode(bytes(32)) + body,
    ],
)
def test_what_was_changed_on_the_way_is_not_believed(spoil: Callable[[bytes], bytes]) -> None:
    body = seal().encode()
    assert open_answer(body)["request"] == CONTENT["request"]
    with pytest.raises((SignatureInvalid, Malformed)):
        open_answer(spoil(body))


def test_a_refusal_of_the_front_is_no_answer() -> None:
    with pytest.raises(envelope.TransportRefused, match="not on the list"):
        open_answer(b"CDCServer:10.0.0.1 ErrMsg:not on the list")


@pytest.mark.parametrize(
    "text",
    [b"[]", b'{"a":1,"a":2}', b'{"a":NaN}', b"[" * 100_000, b'{"a":' * 100_000, b"\xff", b""],
)
def test_what_is_no_object_with_each_key_once_is_malformed(text: bytes) -> None:
    with pytest.raises(Malformed):
        envelope.decode(text)


@settings(max_examples=300, deadline=None)
@given(body=st.binary(max_size=400))
def test_no_bytes_break_the_reader(body: bytes) -> None:
    with pytest.raises((SignatureInvalid, Malformed, envelope.TransportRefused)):
        open_answer(body)


JSON = st.recursive(
    st.none() | st.booleans() | st.text(max_size=20) | st.integers().map(str).map(Number),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4)
    ),
    max_leaves=12,
)


@settings(max_examples=200, deadline=None)
@given(content=st.dictionaries(st.text(max_size=8), JSON, max_size=4))
def test_what_is_signed_reads_back_as_it_was(content: envelope.Json) -> None:
    assert envelope.decode(envelope.canonical(content).encode("utf-8", "surrogatepass")) == content


def test_what_another_key_has_signed_is_not_believed() -> None:
    """Whoever knows the cipher's key alone is not the bank."""
    stranger = sm2.PrivateKey.from_raw(bytes(31) + b"\x07")
    body = envelope.seal(
        CONTENT, user_id=USER_ID, key=stranger, cipher_key=CIPHER_KEY, signed_at=SIGNED_AT
    ).encode()
    with pytest.raises(SignatureInvalid, match="does not fit"):
        open_answer(body)
