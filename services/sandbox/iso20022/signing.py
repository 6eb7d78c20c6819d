"""The bank's side of HTTP Message Signatures (RFC 9421): verifies companies, signs its answers with Ed25519."""

import base64
import hashlib
import re
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa, utils
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

SKEW_MAX_S: Final = 300
_KEY_FILE_MODE: Final = 0o600
_COVERED: Final = ("@method", "@path", "@query", "content-digest")
_INPUT: Final = re.compile(r'([a-z]+)=(\(((?:"[^"]+" ?)+)\)(?:;[a-z]+=(?:"[^"]*"|\d+))*)')


class Refused(Exception):
    """The request is not one of this company's."""


class BankKey:
    """The bank's key pair, made on the first start and kept in the data directory."""

    def __init__(self, path: Path) -> None:
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            unfinished = path.with_suffix(".new")
            unfinished.touch(mode=_KEY_FILE_MODE)
            unfinished.write_bytes(
                Ed25519PrivateKey.generate().private_bytes(
                    serialization.Encoding.PEM,
                    serialization.PrivateFormat.PKCS8,
                    serialization.NoEncryption(),
                )
            )
            unfinished.replace(path)
        loaded = serialization.load_pem_private_key(path.read_bytes(), None)
        if not isinstance(loaded, Ed25519PrivateKey):
            raise TypeError(f"{path} does not hold an Ed25519 key")
        self.private = loaded
        encoded = loaded.public_key().public_bytes(
            serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        )
        self.public_pem = encoded.decode()


def digest(body: bytes) -> str:
    """Content-Digest of RFC 9530."""
    return "sha-256=:" + base64.b64encode(hashlib.sha256(body).digest()).decode() + ":"


def check(
    public_key_pem: str, *, method: str, path: str, headers: Mapping[str, str], body: bytes
) -> None:
    """Raise Refused unless the company signed this request just now."""
    found = _INPUT.fullmatch(headers.get("signature-input", ""))
    if found is None or headers.get("content-digest") != digest(body):
        raise Refused("no signature, or another body")
    label, parameters, covered = found[1], found[2], found[3]
    if tuple(name.strip('"') for name in covered.split()) != _COVERED:
        raise Refused("the signature covers something else")
    created = re.search(r";created=(\d+)", parameters)
    if created is None or abs(int(created[1]) - time.time()) > SKEW_MAX_S:
        raise Refused("the signature is too old, or too new")
    values = dict(zip(_COVERED, (method, path, "?", digest(body)), strict=True))
    text = "".join(f'"{name}": {values[name]}\n' for name in _COVERED)
    text += f'"@signature-params": {parameters}'
    given = re.fullmatch(rf"{label}=:([A-Za-z0-9+/=]+):", headers.get("signature", ""))
    if given is None or not _holds(public_key_pem, base64.b64decode(given[1]), text.encode()):
        raise Refused("the signature does not hold")


CompanyKey = Ed25519PublicKey | rsa.RSAPublicKey | ec.EllipticCurvePublicKey


def company_key(public_key_pem: str) -> CompanyKey:
    """A company's key. Raises ValueError."""
    key = serialization.load_pem_public_key(public_key_pem.encode())
    if not isinstance(key, CompanyKey):
        raise ValueError("neither Ed25519, RSA nor an elliptic curve")  # noqa: TRY004 (bad input)
    return key


def _holds(public_key_pem: str, signature: bytes, text: bytes) -> bool:
    key = company_key(public_key_pem)
    try:
        if isinstance(key, Ed25519PublicKey):
            key.verify(signature, text)
        elif isinstance(key, rsa.RSAPublicKey):
            key.verify(
                signature, text, padding.PSS(padding.MGF1(hashes.SHA512()), 64), hashes.SHA512()
            )
        else:
            half = len(signature) // 2
            numbers = (int.from_bytes(part) for part in (signature[:half], signature[half:]))
            key.verify(utils.encode_dss_signature(*numbers), text, ec.ECDSA(hashes.SHA256()))
    except InvalidSignature:
        return False
    return True


def answer_headers(
    key: Ed25519PrivateKey, *, status: int, body: bytes, method: str, path: str, spoiled: bool
) -> dict[str, str]:
    """The headers that sign an answer to a request."""
    lines = {
        '"@status"': str(status),
        '"content-digest"': digest(body),
        '"@method";req': method,
        '"@path";req': path,
        '"@query";req': "?",
    }
    parameters = f'({" ".join(lines)});created={int(time.time())};keyid="bank"'
    text = "".join(f"{name}: {value}\n" for name, value in lines.items())
    text += f'"@signature-params": {parameters}' + ("?" if spoiled else "")
    signature = base64.b64encode(key.sign(text.encode())).decode()
    return {
        "Content-Digest": lines['"content-digest"'],
        "Signature-Input": f"bank={parameters}",
        "Signature": f"bank=:{signature}:",
    }
