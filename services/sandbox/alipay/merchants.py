"""What Alipay knows of a merchant: their own number, the key they sign with, and how they want to be spoken to."""

import base64
import binascii
from functools import lru_cache
from typing import Literal

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from pydantic import Field, field_validator

from services.sandbox.provider import Terms
from services.sandbox.records import Account


class AlipayTerms(Terms):
    """An application: `account_id` is its app_id."""

    seller_id: str = Field(pattern=r"^2088[0-9]{12}$")
    merchant_public_key_pem: str
    certificate_mode: Literal["", "true"] = ""
    charset: Literal["utf-8", "gbk"] = "utf-8"
    """In which notifications come."""
    messages_url: str = ""
    """Where the application is told of its transfers, instead of where each call says."""

    @field_validator("merchant_public_key_pem")
    @classmethod
    def _is_an_rsa_key(cls, value: str) -> str:
        _loaded(value)
        return value


def terms(account: Account) -> AlipayTerms:
    """What was registered for an account."""
    return _read(tuple(sorted(account.terms.items())))


def key(account: Account) -> rsa.RSAPublicKey:
    """The key that a merchant signs with."""
    return _loaded(terms(account).merchant_public_key_pem)


def has_signed(account: Account, message: bytes, signature: str) -> bool:
    """Whether the merchant signed the message."""
    try:
        raw = base64.b64decode(signature, validate=True)
        key(account).verify(raw, message, padding.PKCS1v15(), hashes.SHA256())
    except (InvalidSignature, binascii.Error, ValueError):
        return False
    return True


@lru_cache(maxsize=256)
def _read(given: tuple[tuple[str, str], ...]) -> AlipayTerms:
    return AlipayTerms.model_validate(dict(given))


@lru_cache(maxsize=256)
def _loaded(public_key_pem: str) -> rsa.RSAPublicKey:
    loaded = serialization.load_pem_public_key(public_key_pem.encode())
    if not isinstance(loaded, rsa.RSAPublicKey):
        raise ValueError("is not an RSA public key in PEM")  # noqa: TRY004 (bad input)
    return loaded
