"""What providers' signatures have in common: RSA keys of their own in the data directory, and fresh timestamps."""

import time
from pathlib import Path

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

SKEW_MAX_S = 300
KEY_BITS = 2048

_KEY_FILE_MODE = 0o600


def load_or_make(path: Path) -> rsa.RSAPrivateKey:
    """A provider's own key pair, made on the first start and kept in `path`."""
    if not path.exists():
        _write_new_key(path)
    loaded = serialization.load_pem_private_key(path.read_bytes(), password=None)
    if not isinstance(loaded, rsa.RSAPrivateKey):
        raise TypeError(f"{path} does not hold an RSA key")
    return loaded


def public_pem(key: rsa.RSAPrivateKey) -> str:
    """Its public half."""
    encoding, kind = serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    return key.public_key().public_bytes(encoding, kind).decode()


def is_fresh(timestamp: str) -> bool:
    """Whether a signature's time is within five minutes of ours."""
    if not (timestamp.isascii() and timestamp.isdigit()):
        return False
    return abs(int(timestamp) - time.time()) <= SKEW_MAX_S


def _write_new_key(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    key = rsa.generate_private_key(public_exponent=65537, key_size=KEY_BITS)
    unfinished = path.with_suffix(".new")
    unfinished.touch(mode=_KEY_FILE_MODE)
    unfinished.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    unfinished.replace(path)
