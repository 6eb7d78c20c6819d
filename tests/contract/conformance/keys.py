"""RSA keys for rigs: two pairs, since making one takes long."""

from dataclasses import dataclass
from functools import cache

from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)


@dataclass(frozen=True, slots=True)
class KeyPair:
    """Both halves in PEM."""

    private_pem: str
    public_pem: str


@cache
def rsa_pair(name: str) -> KeyPair:
    """The pair of this name, the same for the whole run."""
    del name
    key = generate_private_key(65537, 2048)
    public = key.public_key()
    return KeyPair(
        key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode(),
        public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode(),
    )
