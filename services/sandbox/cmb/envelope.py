"""The bank's side of the envelope: SM4-CBC outside, an SM2 signature inside over sorted JSON."""

import base64
import json
import secrets
import time
from pathlib import Path
from typing import Any, Final

from cryptography.hazmat.primitives import padding
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

from libs import sm2

PLACEHOLDER: Final = "__signature_sigdat__"
_KEY_FILE_MODE: Final = 0o600
_BLOCK_BITS: Final = 128

Json = dict[str, Any]


class Refused(Exception):
    """The request is not one of this company's."""


class BankKey:
    """The bank's key pair, made on the first start and kept in the data directory."""

    def __init__(self, path: Path) -> None:
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            unfinished = path.with_suffix(".new")
            unfinished.touch(mode=_KEY_FILE_MODE)
            # One bit short of the order of the curve: always a key.
            unfinished.write_text(f"{secrets.randbits(255) | 1:064x}")
            unfinished.replace(path)
        self.private = sm2.PrivateKey.from_raw(bytes.fromhex(path.read_text()))
        self.public_base64 = base64.b64encode(self.private.public_key().point).decode()


def padded(user_id: str) -> bytes:
    """Sixteen bytes: the user id, and zeros as digits."""
    return (user_id + "0" * 16)[:16].encode()


def sorted_text(content: Json) -> bytes:
    """What is signed."""
    return json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def company_key(public_key: str) -> sm2.PublicKey:
    """A company's key. Raises ValueError."""
    return sm2.PublicKey.from_raw(base64.b64decode(public_key, validate=True))


def open_request(data: str, *, user_id: str, cipher_key: str, public_key: str) -> Json:
    """The request inside. Raises Refused."""
    try:
        cipher = Cipher(algorithms.SM4(cipher_key.encode()), modes.CBC(padded(user_id))).decryptor()
        plain = cipher.update(base64.b64decode(data, validate=True)) + cipher.finalize()
        unpadder = padding.PKCS7(_BLOCK_BITS).unpadder()
        content: Json = json.loads(unpadder.update(plain) + unpadder.finalize())
        signature = base64.b64decode(content["signature"]["sigdat"], validate=True)
        content["signature"]["sigdat"] = PLACEHOLDER
        request: Json = content["request"]
        key = company_key(public_key)
    except (ValueError, KeyError, TypeError) as error:
        raise Refused("the request cannot be opened") from error
    if not key.verify(signature, sorted_text(content), padded(user_id)):
        raise Refused("the signature does not hold")
    return request


def answer(
    content: Json, *, user_id: str, cipher_key: str, key: sm2.PrivateKey, spoiled: bool
) -> bytes:
    """Sign, then encrypt."""
    signature = {"sigdat": PLACEHOLDER, "sigtim": time.strftime("%Y%m%d%H%M%S")}
    whole = {"response": content, "signature": signature}
    raw = key.sign(sorted_text(whole), padded("stranger" if spoiled else user_id))
    signature["sigdat"] = base64.b64encode(raw).decode()
    padder = padding.PKCS7(_BLOCK_BITS).padder()
    plain = padder.update(json.dumps(whole, ensure_ascii=False).encode()) + padder.finalize()
    cipher = Cipher(algorithms.SM4(cipher_key.encode()), modes.CBC(padded(user_id))).encryptor()
    return base64.b64encode(cipher.update(plain) + cipher.finalize())
