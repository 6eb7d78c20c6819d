"""Serial numbers as Alipay computes them, and whom a chain makes us trust."""

import base64
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID
from hypothesis import given
from hypothesis import strategies as st

from services.gateway.channels.alipay import certificates
from services.gateway.channels.alipay.certificates import Untrusted

VALID = datetime(2021, 1, 1, tzinfo=UTC)


def _name(text: str) -> x509.Name:
    return x509.Name(
        [
            x509.NameAttribute(NameOID.COUNTRY_NAME, "CN"),
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, "Ant, Financial"),
            x509.NameAttribute(NameOID.COMMON_NAME, text),
        ]
    )


def _issue(
    subject: str, key: RSAPrivateKey, issuer: str, by: RSAPrivateKey, *, authority: bool
) -> bytes:
    return (
        x509.CertificateBuilder()
        .subject_name(_name(subject))
        .issuer_name(_name(issuer))
        .public_key(key.public_key())
        .serial_number(abs(hash((subject, issuer, authority))) + 1)
        .not_valid_before(VALID - timedelta(days=1))
        .not_valid_after(VALID + timedelta(days=1))
        .add_extension(x509.BasicConstraints(ca=authority, path_length=None), critical=True)
        .sign(by, SHA256())
        .public_bytes(Encoding.PEM)
    )


def test_serial_numbers_are_those_of_alipays_own_sdk(vectors: dict[str, Any]) -> None:
    [ours] = certificates.read(vectors["app_certificate"].encode())
    assert certificates.serial(ours) == vectors["app_cert_sn"]
    [theirs] = certificates.read(vectors["alipay_certificate"].encode())
    assert certificates.serial(theirs) == vectors["alipay_cert_sn"]
    # Of four roots, one is signed with SM2 and one on an elliptic curve: neither counts.
    assert (
        certificates.root_serial(vectors["root_bundle"].encode())
        == (vectors["alipay_root_cert_sn"])
    )


def test_alipays_real_chain_leads_to_its_real_root(vectors: dict[str, Any]) -> None:
    chain = vectors["alipay_certificate"] + vectors["issuer_of_the_alipay_certificate"]
    roots = vectors["root_bundle"].encode()
    assert certificates.trust(chain.encode(), roots, now=VALID).serial == vectors["alipay_cert_sn"]
    with pytest.raises(Untrusted, match="not valid at this time"):
        certificates.trust(chain.encode(), roots, now=VALID + timedelta(days=900))
    with pytest.raises(Untrusted, match="leads to none of the roots"):
        certificates.trust(vectors["alipay_certificate"].encode(), roots, now=VALID)
    with pytest.raises(Untrusted, match="leads to none of the roots"):
        certificates.trust(vectors["app_certificate"].encode(), roots, now=VALID)


def test_a_chain_must_have_been_signed_by_authorities(rsa_keys: list[RSAPrivateKey]) -> None:
    root, issuer, head = rsa_keys
    roots = _issue("root", root, "root", root, authority=True)
    middle = _issue("middle", issuer, "root", root, authority=True)
    leaf = _issue("alipay", head, "middle", issuer, authority=False)
    assert certificates.trust(leaf + middle, roots, now=VALID).key == head.public_key()
    impostor = _issue("middle", issuer, "root", head, authority=True)
    with pytest.raises(Untrusted, match="not signed by its issuer"):
        certificates.trust(leaf + impostor, roots, now=VALID)
    merchant = _issue("middle", issuer, "root", root, authority=False)
    with pytest.raises(Untrusted, match="no authority"):
        certificates.trust(leaf + merchant, roots, now=VALID)


def test_a_successor_is_in_the_same_name_from_the_same_issuer(
    rsa_keys: list[RSAPrivateKey],
) -> None:
    root, old, new = rsa_keys
    roots = _issue("root", root, "root", root, authority=True)
    known = certificates.trust(
        _issue("alipay", old, "root", root, authority=False), roots, now=VALID
    )
    following = _issue("alipay", new, "root", root, authority=False)
    assert certificates.successor(following, known, roots, now=VALID).key == new.public_key()
    merchant = _issue("some merchant", new, "root", root, authority=False)
    with pytest.raises(Untrusted, match="not in the name"):
        certificates.successor(merchant, known, roots, now=VALID)


@pytest.mark.parametrize(
    "bundle",
    [
        b"",
        b"-----BEGIN CERTIFICATE-----",
        b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----",
        b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----" * 17,
        b"-----BEGIN CERTIFICATE-----\n" + b"A" * 70_000,
    ],
)
def test_a_bundle_that_holds_nothing_is_refused(bundle: bytes) -> None:
    with pytest.raises(Untrusted):
        certificates.read(bundle)


@given(bundle=st.binary(max_size=200))
def test_no_bytes_break_the_reader_of_bundles(bundle: bytes) -> None:
    for written in (bundle, b"-----BEGIN CERTIFICATE-----" + base64.b64encode(bundle)):
        try:
            certificates.read(written)
        except Untrusted:
            continue


@given(content=st.text(max_size=100))
def test_no_text_breaks_what_was_downloaded(content: str) -> None:
    try:
        certificates.downloaded(content)
    except Untrusted:
        return
