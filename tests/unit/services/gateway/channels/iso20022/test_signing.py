"""HTTP message signatures against the examples of RFC 9421, and what must not pass."""

import base64
from datetime import UTC, datetime, timedelta

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)
from hypothesis import given, settings
from hypothesis import strategies as st

from services.gateway.channels.answers import SignatureInvalid
from services.gateway.channels.iso20022 import signing

NOW = datetime(2026, 11, 11, 4, 0, tzinfo=UTC)
BODY = b"<Document/>"
# RFC 9421, B.1.4 (the key, as a JWK's `d`) and B.2.6.
_SEED = base64.urlsafe_b64decode("n4Ni-HpISpVObnQMW0wOhCKROaIKqKtW_2ZYb2p9KcU=")
ED25519 = (
    ed25519.Ed25519PrivateKey.from_private_bytes(_SEED)
    .private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    .decode()
)
ED25519_PUBLIC = """-----BEGIN PUBLIC KEY-----
MCowBQYDK2VwAyEAJrQLj5P/89iXES9+vFgrIy29clF9CC/oPPsw3c5D0bs=
-----END PUBLIC KEY-----
"""
EXAMPLE = {
    '"date"': "Tue, 20 Apr 2021 02:07:55 GMT",
    '"@method"': "POST",
    '"@path"': "/foo",
    '"@authority"': "example.com",
    '"content-type"': "application/json",
    '"content-length"': "18",
}
PARAMETERS = (
    '("date" "@method" "@path" "@authority" "content-type" "content-length")'
    ';created=1618884473;keyid="test-key-ed25519"'
)
SIGNATURE = (
    "wqcAqbmYJ2ji2glfAMaRy4gruYYnx2nEFN2HN6jrnDnQCK1u02Gb04v9EDgwUPiu4A0w6vuQv5lIp5WPpBKRCw=="
)


def test_the_rfcs_signature_is_made_and_verified() -> None:
    text = signing.base(tuple(EXAMPLE), EXAMPLE, PARAMETERS)
    key = signing.load_private(ED25519)
    assert base64.b64encode(signing.sign(key, text)).decode() == SIGNATURE
    public = signing.load_public(ED25519_PUBLIC)
    assert signing.verify(public, base64.b64decode(SIGNATURE), text)
    assert not signing.verify(public, base64.b64decode(SIGNATURE), text + b" ")


def test_the_rfcs_digest() -> None:
    """RFC 9530, appendix D: the digest of a JSON text with its line end."""
    digest = "sha-256=:X48E9qOokqqrvdts8nOJRJN3OWDUoyWxBf7kbu9DBPE=:"
    assert signing.content_digest(b'{"hello": "world"}') == digest


KEYS: dict[str, signing.PrivateKey] = {
    "ed25519": ed25519.Ed25519PrivateKey.generate(),
    "p256": ec.generate_private_key(ec.SECP256R1()),
    "rsa": rsa.generate_private_key(65537, 2048),
}


@pytest.mark.parametrize("name", KEYS)
def test_every_kind_of_key_signs_what_its_other_half_verifies(name: str) -> None:
    made = KEYS[name]
    pem = made.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
    spki = made.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()
    signature = signing.sign(signing.load_private(pem), b"text")
    assert signing.verify(signing.load_public(spki), signature, b"text")
    assert not signing.verify(signing.load_public(spki), signature, b"other")
    assert not signing.verify(signing.load_public(spki), signature[:-1], b"text")


def pem_of(key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey) -> str:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()


@pytest.mark.parametrize(
    "pem", ["", "?", ED25519_PUBLIC, pem_of(ec.generate_private_key(ec.SECP384R1()))]
)
def test_other_keys_are_refused(pem: str) -> None:
    with pytest.raises(ValueError, match=r"key|Ed25519|PEM"):
        signing.load_private(pem)


def answer(**changes: str) -> tuple[dict[str, str], dict[str, str]]:
    """Headers of an answer, and the request's values."""
    request = signing.request_values("GET", "/payments/p1", "", signing.content_digest(b""))
    values = {'"@status"': "200", '"content-digest"': signing.content_digest(BODY)}
    values |= {f"{name};req": value for name, value in request.items()}
    components = changes.get("components", " ".join(signing.ANSWER_COMPONENTS))
    created = changes.get("created", str(int(NOW.timestamp())))
    parameters = f'({components});created={created};keyid="bank"'
    text = signing.base(components.split(" "), values, parameters)
    raw = base64.b64encode(signing.sign(signing.load_private(ED25519), text)).decode()
    return {
        "content-digest": changes.get("digest", signing.content_digest(BODY)),
        "signature-input": changes.get("input", f"bank={parameters}"),
        "signature": changes.get("signature", f"bank=:{raw}:"),
    }, request


def verify(
    headers: dict[str, str], request: dict[str, str], *, status: int = 200, body: bytes = BODY
) -> None:
    signing.verify_answer(
        signing.load_public(ED25519_PUBLIC),
        status=status,
        headers=headers,
        body=body,
        request=request,
        now=NOW,
    )


def test_a_good_answer_passes_and_none_like_it() -> None:
    headers, request = answer()
    verify(headers, request)
    with pytest.raises(SignatureInvalid):
        verify(headers, request, status=404)
    with pytest.raises(SignatureInvalid):
        verify(headers, request, body=BODY + b" ")
    with pytest.raises(SignatureInvalid):
        verify(headers, request | {'"@path"': "/payments/p2"})


@pytest.mark.parametrize(
    "changes",
    [
        {"components": '"@status" "content-digest"'},
        {
            "components": '"@status" "@status" "content-digest" "@method";req "@path";req "@query";req'
        },
        {"created": str(int((NOW - timedelta(seconds=301)).timestamp()))},
        {"created": str(int((NOW + timedelta(seconds=301)).timestamp()))},
        {"digest": "sha-256=:AAAA:"},
        {"input": ""},
        {"input": "bank=()"},
        {"input": "x" * 5000},
        {"signature": "bank=:!:"},
        {"signature": "other=:AAAA:"},
        {"signature": "bank=::"},
        {"signature": ""},
    ],
)
def test_an_answer_that_is_not_quite_right_is_refused(changes: dict[str, str]) -> None:
    headers, request = answer(**changes)
    with pytest.raises(SignatureInvalid):
        verify(headers, request)


@settings(max_examples=200, deadline=None)
@given(
    name=st.sampled_from(("signature-input", "signature", "content-digest")),
    value=st.text(max_size=200),
)
def test_no_header_breaks_the_reader(name: str, value: str) -> None:
    headers, request = answer()
    with pytest.raises(SignatureInvalid):
        verify(headers | {name: value}, request)
