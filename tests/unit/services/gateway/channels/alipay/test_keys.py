"""Credentials as they are stored: what is taken, and what is said about the rest."""

import base64
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1
from cryptography.hazmat.primitives.asymmetric.ec import generate_private_key as generate_curve
from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)

from services.gateway.channels.alipay import keys
from services.gateway.channels.answers import SignatureInvalid
from services.gateway.domain.channel import ChannelMisconfigured


def test_keys_may_be_bare_base64_as_alipays_tool_writes_them(platform: Any) -> None:
    for form in (PrivateFormat.PKCS8, PrivateFormat.TraditionalOpenSSL):
        private = platform.app_key.private_bytes(Encoding.DER, form, NoEncryption())
        public = platform.key.public_key().public_bytes(
            Encoding.DER, PublicFormat.SubjectPublicKeyInfo
        )
        bare = {
            "app_private_key": base64.b64encode(private).decode(),
            "alipay_public_key": base64.b64encode(public).decode(),
        }
        loaded = keys.load(platform.credentials | bare, now=platform.now)
        assert loaded.app_key.public_key() == platform.app_key.public_key()
        assert list(loaded.trusted) == [platform.key.public_key()]
        assert not loaded.is_certificate_mode


def _curve() -> str:
    return (
        generate_curve(SECP256R1())
        .private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        .decode()
    )


def _short() -> str:
    return (
        generate_private_key(65537, 1024)
        .private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        .decode()
    )


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"app_id": ""}, "app_id"),
        ({"app_private_key": ""}, "app_private_key"),
        ({"app_private_key": "hush"}, "app_private_key"),
        ({"app_private_key": "a curve"}, "app_private_key"),
        ({"app_private_key": "a short one"}, "app_private_key"),
        ({"alipay_public_key": ""}, "alipay_public_key"),
        ({"alipay_public_key": "hush"}, "alipay_public_key"),
        ({"alipay_public_key": "-----BEGIN NOTHING-----"}, "alipay_public_key"),
        ({"alipay_cert_pem": "hush"}, "alipay_root_cert_pem"),
        (
            {"alipay_cert_pem": "x", "alipay_root_cert_pem": "y", "app_cert_pem": "z"},
            "alipay_cert_pem",
        ),
    ],
)
def test_what_cannot_be_used_is_named_and_not_shown(
    platform: Any, changes: dict[str, str], field: str
) -> None:
    made = {"a curve": _curve, "a short one": _short}
    changes = {name: made[value]() if value in made else value for name, value in changes.items()}
    with pytest.raises(ChannelMisconfigured) as caught:
        keys.load(platform.credentials | changes, now=platform.now)
    assert caught.value.field == field
    assert "hush" not in str(caught.value)


def test_key_mode_takes_no_certificate(platform: Any) -> None:
    loaded = keys.load(platform.credentials, now=platform.now)
    assert loaded.of_answer("whatever") == loaded.trusted
    with pytest.raises(SignatureInvalid):
        loaded.accept("AAAA", serial="x", now=platform.now)
